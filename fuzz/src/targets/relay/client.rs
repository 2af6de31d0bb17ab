//! A relay's client, its node and sessions, and a hub that has keys and no manners. Whatever the
//! hub grants is counted: the client stays within it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::noise::Handshake;
use towpath_core::crypto::public_key;
use towpath_core::crypto::record::RecordCipher;
use towpath_core::id::{Instance, LinkId};
use towpath_core::limits::{
    RELAY_BACKLOG_BYTES, RELAY_FRAME_COST_BYTES, RELAY_WINDOW_MAX_BYTES, RELAY_WINDOW_START_BYTES,
};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::relay::frame::{
    CircuitEnd, DATA_HEADER_BYTES, FIRST_HUB_CIRCUIT, Goodbye, Kind, OpenError, ToClient, ToHub,
    begin_data, data_circuit, kind,
};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use super::{
    HOST, HUB_KEY, MAX_UNCONFIRMED_BYTES, control_frame, handshake_frame, noise, open_control,
};
use crate::targets::feed::Feed;

/// What the fuzzer's hub has granted on one circuit, and what the client has.
#[derive(Default)]
struct Granted {
    /// What the client may still send.
    credit: u64,
    grant: u64,
    /// What we may still send, as the client said.
    window: u64,
}

/// A client and the fuzzer's hub.
struct Office {
    client: Client,
    now: Instant,
    asked_to_connect: bool,
    connected: bool,
    noise: Option<Handshake>,
    seal: Option<(RecordCipher, RecordCipher)>,
    unconfirmed: usize,
    connections: u8,
    links: u64,
    circuits: BTreeMap<u32, Granted>,
    /// Links whose stream is open, with what they may hand in and have not consumed.
    open: BTreeMap<LinkId, (usize, usize)>,
    /// Links that were asked for.
    asked: BTreeSet<LinkId>,
    incoming: Vec<u64>,
    last_incoming: u32,
}

/// Bytes become inputs of a relay's client: of its node, its sessions, and a hub without manners.
pub fn relay_client(data: &[u8]) {
    let mut feed = Feed::new(data);
    let me = Instance { peer: public_key(&[1; 32]), number: 3 };
    let config = client::Config { me, secret_key: [1; 32], host: HOST.into() };
    let mut office = Office {
        client: Client::new(Instant::ZERO, Rng::new([6; 32]), config),
        now: Instant::ZERO,
        asked_to_connect: false,
        connected: false,
        noise: None,
        seal: None,
        unconfirmed: 0,
        connections: 0,
        links: 0,
        circuits: BTreeMap::new(),
        open: BTreeMap::new(),
        asked: BTreeSet::new(),
        incoming: Vec::new(),
        last_incoming: FIRST_HUB_CIRCUIT,
    };
    office.input(client::Input::Want(true));
    while !feed.is_empty() {
        let op = feed.u8();
        office.act(&mut feed, op & 15, op >> 4);
    }
    office.input(client::Input::Want(false));
    office.tick(Duration::from_secs(6));
    assert!(!office.connected && office.open.is_empty() && !office.client.is_online());
}

impl Office {
    fn act(&mut self, feed: &mut Feed<'_>, op: u8, more: u8) {
        match op {
            0 => self.input(client::Input::Want(more > 2)),
            1 | 2 => self.connect(op == 2 || more > 8),
            3 | 4 => {
                let message = self.compose(feed, more);
                self.control(&message.encode());
            }
            5 if more < 8 => {
                let plain = feed.bytes8().to_vec();
                self.control(&plain);
            }
            5 => {
                let raw = BytesMut::from(feed.bytes8());
                self.message(raw);
            }
            6 => self.deliver(feed, more),
            7 => {
                self.links += 1;
                let link = LinkId(self.links);
                self.asked.insert(link);
                let to = Instance { peer: public_key(&[2; 32]), number: 1 };
                self.input(client::Input::Open { link, to });
            }
            8 => {
                let Some(incoming) = self.incoming.pop() else { return };
                if more < 12 {
                    self.links += 1;
                    let link = LinkId(self.links);
                    self.asked.insert(link);
                    self.input(client::Input::Accept { incoming, link });
                } else {
                    self.input(client::Input::Refuse { incoming });
                }
            }
            9 | 10 => {
                let most = usize::from(feed.u16()) * 16;
                let Some((link, (allowed, _))) = self.some_link(more) else { return };
                let bytes = most.min(*allowed);
                if bytes > 0 {
                    *allowed -= bytes;
                    let bytes = Bytes::from(vec![7; bytes]);
                    self.input(client::Input::Data { link, bytes });
                }
            }
            11 => {
                let most = usize::from(feed.u16()) * 16;
                let Some((link, (_, unconsumed))) = self.some_link(more) else { return };
                let bytes = most.min(*unconsumed);
                *unconsumed -= bytes;
                self.input(client::Input::Consumed { link, bytes });
            }
            12 => {
                let Some((link, _)) = self.some_link(more) else { return };
                self.open.remove(&link);
                self.asked.remove(&link);
                self.input(client::Input::Close { link });
            }
            13 => {
                let bytes = (usize::from(feed.u16()) * 16).min(self.unconfirmed);
                self.unconfirmed -= bytes;
                self.input(client::Input::Sent { bytes });
            }
            14 if self.connected || self.asked_to_connect => {
                self.disconnected();
                self.input(client::Input::Disconnected("cut".into()));
            }
            _ => self.tick(Duration::from_millis(u64::from(feed.u16()))),
        }
    }

    fn some_link(&mut self, more: u8) -> Option<(LinkId, &mut (usize, usize))> {
        let at = usize::from(more) % self.open.len().max(1);
        self.open.iter_mut().nth(at).map(|(link, state)| (*link, state))
    }

    fn connect(&mut self, politely: bool) {
        if !std::mem::take(&mut self.asked_to_connect) {
            return;
        }
        self.connected = true;
        self.connections = self.connections.wrapping_add(1);
        self.noise = Some(noise(false, HUB_KEY, [self.connections; 32]));
        self.input(client::Input::Connected { ephemeral: [self.connections ^ 255; 32] });
        if politely && self.seal.is_some() {
            let observed = [9, 9, 9, 9].into();
            let welcome = ToClient::Welcome { token: "t".into(), observed, max_circuits: 64 };
            self.control(&welcome.encode());
        }
    }

    fn compose(&mut self, feed: &mut Feed<'_>, more: u8) -> ToClient {
        let from = Instance { peer: public_key(&[2; 32]), number: 1 };
        let at = usize::from(feed.u8());
        let circuit = match self.circuits.keys().nth(at % (self.circuits.len() + 1)) {
            Some(circuit) => *circuit,
            None => feed.u32(),
        };
        let bytes = feed.u32() >> (feed.u8() % 32);
        let (window_bytes, hub_bytes) = (bytes, feed.u32() >> (feed.u8() % 32));
        match more {
            0..=2 => {
                self.last_incoming += 1;
                let circuit = self.last_incoming;
                ToClient::Incoming { circuit, from, window_bytes, hub_bytes }
            }
            3..=5 => ToClient::Opened { circuit, window_bytes, hub_bytes },
            6 => ToClient::OpenFailed { circuit, reason: OpenError::Absent },
            7 => ToClient::Close { circuit, reason: CircuitEnd::Closed },
            8 | 9 => ToClient::Credit { circuit, bytes },
            10 | 11 => ToClient::HubCredit { circuit, bytes },
            12 => ToClient::Reclaim { circuit, bytes },
            13 => ToClient::Ping { nonce: 9 },
            14 => ToClient::Token { token: "u".into() },
            _ => ToClient::Goodbye {
                reason: feed.pick(&[
                    Goodbye::Replaced,
                    Goodbye::Shutdown,
                    Goodbye::Misbehaved,
                    Goodbye::Limit,
                    Goodbye::Timeout,
                ]),
            },
        }
    }

    /// Says something under the seal, and remembers what it grants.
    fn control(&mut self, plain: &[u8]) {
        let Some((send, _)) = &mut self.seal else { return };
        let frame = control_frame(send, plain);
        match ToClient::decode(plain) {
            Ok(ToClient::Opened { circuit, window_bytes, hub_bytes }) => {
                // A call to the client is opened by itself, and nothing else is believed.
                let called_by_it = circuit < FIRST_HUB_CIRCUIT;
                if let Some(granted) = self.circuits.get_mut(&circuit).filter(|_| called_by_it) {
                    granted.credit = u64::from(window_bytes);
                    granted.grant = u64::from(hub_bytes);
                }
            }
            Ok(ToClient::Incoming { circuit, window_bytes, hub_bytes, .. }) => {
                let granted = self.circuits.entry(circuit).or_default();
                granted.credit = u64::from(window_bytes);
                granted.grant = u64::from(hub_bytes);
            }
            Ok(ToClient::Credit { circuit, bytes }) => {
                let granted = self.circuits.entry(circuit).or_default();
                granted.credit += u64::from(bytes);
            }
            Ok(ToClient::HubCredit { circuit, bytes }) => {
                let granted = self.circuits.entry(circuit).or_default();
                granted.grant += u64::from(bytes);
            }
            _ => {}
        }
        self.message(frame);
    }

    /// Bytes on a circuit, no more than the client said that it takes, or too many.
    fn deliver(&mut self, feed: &mut Feed<'_>, more: u8) {
        let at = usize::from(feed.u8()) % self.circuits.len().max(1);
        let most = usize::from(feed.u16()) + 1;
        let Some((circuit, granted)) = self.circuits.iter_mut().nth(at) else { return };
        let (circuit, within) = (*circuit, more < 12);
        let window = usize::try_from(granted.window).expect("windows are small");
        let length = if within { most.min(window) } else { most };
        if length == 0 {
            return;
        }
        granted.window = granted.window.saturating_sub(length as u64);
        let mut frame = begin_data(circuit, length);
        frame.resize(DATA_HEADER_BYTES + length, 1);
        self.message(frame);
    }

    fn message(&mut self, bytes: BytesMut) {
        if self.connected {
            self.input(client::Input::Message(bytes));
        }
    }

    fn disconnected(&mut self) {
        self.asked_to_connect = false;
        self.connected = false;
        self.noise = None;
        self.seal = None;
        self.unconfirmed = 0;
        self.circuits.clear();
        self.incoming.clear();
        self.last_incoming = FIRST_HUB_CIRCUIT;
    }

    fn tick(&mut self, later: Duration) {
        self.now = self.now + later;
        self.client.handle_input(self.now, client::Input::Tick);
        let next = self.drain();
        assert!(next > self.now, "a driver would spin");
    }

    fn input(&mut self, input: client::Input) {
        self.client.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) -> Instant {
        loop {
            match self.client.poll_output() {
                Output::Timeout(at) => return at,
                Output::Transmit(client::Transmit::Connect) => {
                    assert!(!self.connected && !self.asked_to_connect);
                    self.asked_to_connect = true;
                }
                Output::Transmit(client::Transmit::Disconnect) => {
                    assert!(self.connected || self.asked_to_connect);
                    self.disconnected();
                }
                Output::Transmit(client::Transmit::Send { message }) => self.hear(&message),
                Output::Transmit(client::Transmit::Deliver { link, bytes }) => {
                    assert!(!bytes.is_empty());
                    let (_, unconsumed) = self.open.get_mut(&link).expect("its stream is open");
                    *unconsumed += bytes.len();
                    assert!(*unconsumed <= RELAY_WINDOW_MAX_BYTES);
                }
                Output::Transmit(client::Transmit::Writable { link, bytes }) => {
                    let (allowed, _) = self.open.get_mut(&link).expect("its stream is open");
                    *allowed += bytes;
                    assert!(*allowed <= 2 * RELAY_BACKLOG_BYTES, "{allowed} bytes may wait");
                }
                Output::Transmit(client::Transmit::Opened { link }) => {
                    assert!(self.asked.contains(&link) && self.open.insert(link, (0, 0)).is_none());
                }
                Output::Transmit(client::Transmit::Ended { link, .. }) => {
                    assert!(self.asked.remove(&link), "it ends once");
                    self.open.remove(&link);
                }
                Output::Event(client::Event::OpenFailed { link, .. }) => {
                    assert!(self.asked.remove(&link) && !self.open.contains_key(&link));
                }
                Output::Event(client::Event::Incoming { incoming, .. }) => {
                    self.incoming.push(incoming);
                }
                Output::Event(client::Event::LoggedIn { .. }) => assert!(self.seal.is_some()),
                Output::Event(client::Event::LoggedOut(why)) => assert!(!why.is_empty()),
            }
        }
    }

    /// What the client says makes sense, and stays within what was granted.
    fn hear(&mut self, message: &Bytes) {
        assert!(self.connected, "nobody is there");
        self.unconfirmed += message.len();
        assert!(
            self.unconfirmed <= MAX_UNCONFIRMED_BYTES,
            "{} bytes for one socket",
            self.unconfirmed
        );
        match kind(message).expect("it says what can be read") {
            Kind::Handshake => self.shake(&message[1..]),
            Kind::Control => {
                let (_, receive) = self.seal.as_mut().expect("the handshake is complete");
                let plain = open_control(receive, message);
                let message = ToHub::decode(&plain).expect("it says what can be read");
                self.hear_control(&message);
            }
            Kind::Data => {
                let circuit = data_circuit(message).expect("it is a data frame");
                let payload = (message.len() - DATA_HEADER_BYTES) as u64;
                let granted = self.circuits.get_mut(&circuit).expect("it is open");
                let cost = payload + RELAY_FRAME_COST_BYTES as u64;
                assert!(payload <= granted.credit, "beyond the receiver's window");
                assert!(cost <= granted.grant, "beyond the hub's window");
                granted.credit -= payload;
                granted.grant -= cost;
            }
        }
    }

    fn hear_control(&mut self, message: &ToHub) {
        match *message {
            ToHub::Open { circuit, window_bytes, .. } => {
                let window = u64::from(window_bytes);
                let granted = Granted { window, ..Granted::default() };
                assert!(self.circuits.insert(circuit, granted).is_none(), "a number twice");
                assert_eq!(window_bytes as usize, RELAY_WINDOW_START_BYTES);
            }
            ToHub::Accept { circuit, window_bytes } => {
                let granted = self.circuits.get_mut(&circuit).expect("it was called");
                granted.window = u64::from(window_bytes);
            }
            ToHub::Credit { circuit, bytes } => {
                let granted = self.circuits.get_mut(&circuit).expect("it is open");
                granted.window += u64::from(bytes);
                assert!(granted.window <= RELAY_WINDOW_MAX_BYTES as u64);
            }
            ToHub::Returned { circuit, bytes } => {
                let granted = self.circuits.get_mut(&circuit).expect("it is open");
                assert!(u64::from(bytes) <= granted.grant, "more than it has");
                granted.grant -= u64::from(bytes);
            }
            ToHub::Login { instance } => assert_eq!(instance, 3),
            ToHub::Refuse { .. }
            | ToHub::Close { .. }
            | ToHub::Ping { .. }
            | ToHub::Pong { .. } => {}
        }
    }

    fn shake(&mut self, message: &[u8]) {
        let mut noise = self.noise.take().expect("in its turn");
        noise.read_message(message).expect("it is honest");
        if noise.is_finished() {
            let finished = noise.finish();
            assert_eq!(finished.remote, public_key(&[1; 32]));
            self.seal = Some((finished.send, finished.receive));
            return;
        }
        let answer = noise.write_message().expect("it is our turn");
        self.noise = Some(noise);
        self.input(client::Input::Message(handshake_frame(&answer)));
    }
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    let opened = [0x33, 0, 0, 16, 0, 0, 0, 0, 16, 0, 0, 0];
    let called = [0x03, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 16, 0, 0, 0, 0x08];
    let work = [0x09, 1, 0, 0x06, 0, 2, 0, 0x0B, 1, 0, 0x0D, 255, 255];
    let story = [&[0x02, 0x07], &opened[..], &work].concat();
    vec![
        story.clone(),
        [&[0x02], &called[..], &work].concat(),
        [&story[..], &[0x83, 0, 0, 0, 16, 0, 0, 0xC3, 0, 0, 0, 16, 0, 0, 0x0C]].concat(),
        [&story[..], &[0x73, 0, 0, 0, 0, 0, 0, 0x0E, 0x0F, 255, 255]].concat(),
        [&story[..], &[0x09, 255, 255, 0x0C, 0x00]].concat(),
        vec![0x01, 0x05, 2, 9, 9],
        vec![0x02, 0x85, 3, 0, 1, 2, 0x0F, 255, 255],
        vec![0x02, 0x0F, 0xFF, 0xFF, 0x0F, 0xFF, 0xFF],
        vec![0x0E, 0x0F, 0xFF, 0xFF, 0x02, 0xF3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0x02, 0x07, 0x63, 0, 0, 0, 0, 0, 0],
    ]
}
