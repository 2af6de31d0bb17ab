//! The relay's hub and its client, each with the others around it: two clients and a hub whose
//! messages wait until they are handed on, in any order between connections, sometimes changed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::public_key;
use towpath_core::id::{Instance, LinkId};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::relay::hub::{self, ConnId, Hub};
use towpath_core::time::{Instant, UnixTime};

use super::{Answer, Gen, Machine, answer};

const HOST: &str = "relay.example";

/// A hub and two clients; one of the three is under test.
pub(super) struct Relayed {
    hub_is_tested: bool,
    /// Whether the one under test got an input.
    told: bool,
    now: Instant,
    hub: Hub,
    peers: [Peer; 2],
    connections: u64,
    links: u64,
    /// What the one under test has said and the test has not asked for yet.
    said: VecDeque<String>,
}

struct Peer {
    me: Instance,
    client: Client,
    conn: Option<ConnId>,
    to_hub: VecDeque<Bytes>,
    to_client: VecDeque<Bytes>,
    /// Bytes that the driver has and has not confirmed, here and at the hub.
    unconfirmed: usize,
    hub_unconfirmed: usize,
    /// What sessions may hand in.
    allowed: BTreeMap<LinkId, usize>,
    unconsumed: BTreeMap<LinkId, usize>,
    incoming: Vec<u64>,
}

#[derive(Clone, Copy)]
pub(super) enum Deed {
    Tick,
    Want(bool),
    Connected,
    Disconnected,
    /// The next message reaches the hub, whole or changed.
    ToHub(bool),
    ToClient(bool),
    Sent(usize),
    HubSent(usize),
    Open,
    OpenNobody,
    Answer(bool),
    Data(usize),
    Consumed,
    Close,
    /// Both are connected if they are not, and all that waits is handed on, again and again.
    Meet,
    Shutdown,
}

pub(super) fn hub() -> Machine<Relayed, (usize, Deed)> {
    Machine {
        new: |now, random| Relayed::new(now, random, true),
        put: Relayed::put,
        poll: Relayed::poll,
        input: deed,
        tick: || (0, Deed::Tick),
        finish: || vec![(0, Deed::Shutdown)],
    }
}

pub(super) fn client() -> Machine<Relayed, (usize, Deed)> {
    Machine { new: |now, random| Relayed::new(now, random, false), finish: Vec::new, ..hub() }
}

fn deed(random: &mut Gen) -> (usize, Deed) {
    let who = random.below(2) as usize;
    let deed = match random.below(64) {
        0 => Deed::Want(random.below(4) > 0),
        1 if random.below(3) == 0 => Deed::Connected,
        2 if random.below(3) == 0 => Deed::Disconnected,
        1..=14 => Deed::Meet,
        15..=24 => Deed::ToHub(random.below(150) == 0),
        25..=35 => Deed::ToClient(random.below(150) == 0),
        36..=38 => Deed::Sent(random.pick(&[1, 30, 1_000_000])),
        39..=41 => Deed::HubSent(random.pick(&[1, 30, 1_000_000])),
        42..=47 => Deed::Open,
        48 => Deed::OpenNobody,
        49..=53 => Deed::Answer(random.below(5) > 0),
        54..=58 => Deed::Data(random.pick(&[1, 5_000, 200_000])),
        59..=62 => Deed::Consumed,
        _ => Deed::Close,
    };
    (who, deed)
}

impl Relayed {
    fn new(now: Instant, random: &mut Gen, hub_is_tested: bool) -> Self {
        let config = hub::Config {
            secret_key: [77; 32],
            token_key: [78; 32],
            buffer_budget_bytes: random.pick(&[100_000, 1 << 20, 1 << 26]),
            max_connections_per_ip: 8,
            max_connections: 10,
        };
        let hub = Hub::new(now, random.rng(), config);
        let mut peer = |byte: u8| {
            let me = Instance { peer: public_key(&[byte; 32]), number: u64::from(byte) };
            let config = client::Config { me, secret_key: [byte; 32], host: HOST.into() };
            Peer {
                me,
                client: Client::new(now, random.rng(), config),
                conn: None,
                to_hub: VecDeque::new(),
                to_client: VecDeque::new(),
                unconfirmed: 0,
                hub_unconfirmed: 0,
                allowed: BTreeMap::new(),
                unconsumed: BTreeMap::new(),
                incoming: vec![],
            }
        };
        let (peers, said) = ([peer(1), peer(2)], VecDeque::new());
        let mut this =
            Self { hub_is_tested, told: false, now, hub, peers, connections: 0, links: 0, said };
        this.put(now, (0, Deed::Meet));
        this
    }

    /// Each deed brings the time to the one under test, be it with a tick alone.
    fn put(&mut self, now: Instant, (who, deed): (usize, Deed)) {
        self.now = self.now.max(now);
        self.told = false;
        self.act(now, who, deed);
        if !self.told {
            self.act(now, 0, Deed::Tick);
        }
    }

    fn act(&mut self, now: Instant, who: usize, deed: Deed) {
        let peer = &mut self.peers[who];
        match deed {
            Deed::Tick if self.hub_is_tested => self.tell_hub(now, hub::Input::Tick),
            Deed::Tick => self.tell_client(now, 0, client::Input::Tick),
            Deed::Want(want) => self.tell_client(now, who, client::Input::Want(want)),
            Deed::Connected => self.connect(now, who),
            Deed::Disconnected => self.disconnect(now, who),
            Deed::ToHub(wrong) => {
                let (Some(conn), Some(message)) = (peer.conn, peer.to_hub.pop_front()) else {
                    return;
                };
                let bytes = spoil(&message, wrong);
                self.tell_hub(now, hub::Input::Message { conn, bytes });
            }
            Deed::ToClient(wrong) => {
                let Some(message) = peer.to_client.pop_front() else { return };
                let message = spoil(&message, wrong);
                self.tell_client(now, who, client::Input::Message(message));
            }
            Deed::Sent(most) => {
                let bytes = most.min(peer.unconfirmed);
                peer.unconfirmed -= bytes;
                self.tell_client(now, who, client::Input::Sent { bytes });
            }
            Deed::HubSent(most) => {
                let bytes = most.min(peer.hub_unconfirmed);
                peer.hub_unconfirmed -= bytes;
                let Some(conn) = peer.conn else { return };
                self.tell_hub(now, hub::Input::Sent { conn, bytes });
            }
            Deed::Open | Deed::OpenNobody => {
                let mut to = self.peers[1 - who].me;
                to.number += u64::from(matches!(deed, Deed::OpenNobody));
                let link = self.link();
                self.tell_client(now, who, client::Input::Open { link, to });
            }
            Deed::Answer(yes) => {
                let Some(incoming) = peer.incoming.pop() else { return };
                let link = self.link();
                let input = if yes {
                    client::Input::Accept { incoming, link }
                } else {
                    client::Input::Refuse { incoming }
                };
                self.tell_client(now, who, input);
            }
            Deed::Data(most) => {
                let Some((&link, allowed)) = peer.allowed.last_key_value() else { return };
                let bytes = Bytes::from(vec![7; most.min(*allowed)]);
                peer.allowed.insert(link, allowed - bytes.len());
                self.tell_client(now, who, client::Input::Data { link, bytes });
            }
            Deed::Consumed => {
                let Some((link, bytes)) = peer.unconsumed.pop_last() else { return };
                self.tell_client(now, who, client::Input::Consumed { link, bytes });
            }
            Deed::Close => {
                let Some((link, _)) = peer.allowed.pop_first() else { return };
                self.tell_client(now, who, client::Input::Close { link });
            }
            Deed::Meet => self.meet(now),
            Deed::Shutdown => self.tell_hub(now, hub::Input::Shutdown),
        }
    }

    fn link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }

    fn connect(&mut self, now: Instant, who: usize) {
        self.disconnect(now, who);
        self.connections += 1;
        let conn = ConnId(self.connections);
        self.peers[who].conn = Some(conn);
        let ephemeral = [self.connections as u8; 32];
        let (ip, host, unix_time) = (IpAddr::V4(Ipv4Addr::LOCALHOST), HOST.into(), UnixTime(0));
        self.tell_hub(now, hub::Input::Connected { conn, ip, host, ephemeral, unix_time });
        let ephemeral = [self.connections as u8 ^ 255; 32];
        self.tell_client(now, who, client::Input::Connected { ephemeral });
    }

    fn disconnect(&mut self, now: Instant, who: usize) {
        let peer = &mut self.peers[who];
        peer.to_hub.clear();
        peer.to_client.clear();
        peer.incoming.clear();
        peer.allowed.clear();
        (peer.unconfirmed, peer.hub_unconfirmed) = (0, 0);
        if let Some(conn) = peer.conn.take() {
            self.tell_hub(now, hub::Input::Disconnected(conn));
            self.tell_client(now, who, client::Input::Disconnected("the cable".into()));
        }
    }

    fn meet(&mut self, now: Instant) {
        for who in 0..2 {
            if self.peers[who].conn.is_none() || !self.peers[who].client.is_online() {
                self.tell_client(now, who, client::Input::Want(false));
                self.tell_client(now, who, client::Input::Want(true));
                self.connect(now, who);
            }
        }
        for _ in 0..6 {
            for who in 0..2 {
                self.act(now, who, Deed::Answer(true));
                for _ in 0..self.peers[who].to_hub.len() {
                    self.act(now, who, Deed::ToHub(false));
                }
                self.act(now, who, Deed::HubSent(usize::MAX));
                for _ in 0..self.peers[who].to_client.len() {
                    self.act(now, who, Deed::ToClient(false));
                }
                self.act(now, who, Deed::Sent(usize::MAX));
            }
        }
    }

    /// The one under test hears the time as it came, and what it says is kept for the test.
    fn tell_hub(&mut self, now: Instant, input: hub::Input) {
        self.told |= self.hub_is_tested;
        self.hub.handle_input(if self.hub_is_tested { now } else { self.now }, input);
        while let Some(said) = self.poll_hub() {
            if self.hub_is_tested {
                self.said.push_back(said);
            }
        }
    }

    fn tell_client(&mut self, now: Instant, who: usize, input: client::Input) {
        let tested = !self.hub_is_tested && who == 0;
        self.told |= tested;
        self.peers[who].client.handle_input(if tested { now } else { self.now }, input);
        while let Some(said) = self.poll_client(who) {
            if tested {
                self.said.push_back(said);
            }
        }
    }

    fn poll(&mut self) -> Answer {
        if let Some(said) = self.said.pop_front() {
            return Answer::Said(said);
        }
        if self.hub_is_tested {
            answer(&self.hub.poll_output())
        } else {
            answer(&self.peers[0].client.poll_output())
        }
    }

    fn poll_hub(&mut self) -> Option<String> {
        let output = self.hub.poll_output();
        match &output {
            Output::Timeout(_) => return None,
            Output::Transmit(hub::Transmit::Send { conn, message }) => {
                if let Some(peer) = self.peers.iter_mut().find(|peer| peer.conn == Some(*conn)) {
                    peer.hub_unconfirmed += message.len();
                    peer.to_client.push_back(message.clone());
                }
            }
            Output::Transmit(hub::Transmit::Close { conn, .. }) => {
                if let Some(peer) = self.peers.iter_mut().find(|peer| peer.conn == Some(*conn)) {
                    peer.conn = None;
                }
            }
            Output::Event(_) => {}
        }
        Some(format!("{output:?}"))
    }

    fn poll_client(&mut self, who: usize) -> Option<String> {
        let peer = &mut self.peers[who];
        let output = peer.client.poll_output();
        match &output {
            Output::Timeout(_) => return None,
            Output::Event(client::Event::Incoming { incoming, .. }) => {
                peer.incoming.push(*incoming);
            }
            Output::Event(_) => {}
            Output::Transmit(client::Transmit::Send { message }) => {
                peer.unconfirmed += message.len();
                peer.to_hub.push_back(message.clone());
            }
            Output::Transmit(client::Transmit::Writable { link, bytes }) => {
                *peer.allowed.entry(*link).or_default() += bytes;
            }
            Output::Transmit(client::Transmit::Deliver { link, bytes }) => {
                *peer.unconsumed.entry(*link).or_default() += bytes.len();
            }
            Output::Transmit(client::Transmit::Ended { link, .. }) => {
                peer.allowed.remove(link);
            }
            Output::Transmit(client::Transmit::Disconnect) => peer.conn = None,
            Output::Transmit(client::Transmit::Connect | client::Transmit::Opened { .. }) => {}
        }
        Some(format!("{output:?}"))
    }
}

fn spoil(message: &[u8], wrong: bool) -> BytesMut {
    let mut bytes = BytesMut::from(message);
    if wrong {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
    }
    bytes
}
