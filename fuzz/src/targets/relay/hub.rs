//! A hub, and clients that have keys and no manners. Their data frames say whose they are, so that
//! none may come to the wrong one, or out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::noise::Handshake;
use towpath_core::crypto::public_key;
use towpath_core::crypto::record::RecordCipher;
use towpath_core::id::Instance;
use towpath_core::limits::MAX_RELAY_PAYLOAD_BYTES;
use towpath_core::output::Output;
use towpath_core::relay::frame::{
    DATA_HEADER_BYTES, FIRST_HUB_CIRCUIT, Kind, ToClient, ToHub, begin_data, data_circuit, kind,
};
use towpath_core::relay::hub::{self, ConnId, Hub};
use towpath_core::rng::Rng;
use towpath_core::time::{Instant, UnixTime};

use super::{
    HOST, HUB_KEY, MAX_UNCONFIRMED_BYTES, control_frame, handshake_frame, noise, open_control,
};
use crate::targets::feed::Feed;

const BUDGET_BYTES: usize = 400_000;
/// What a data frame says: connection and circuit, number of the frame.
const TAG_BYTES: usize = 16;

/// One WebSocket, as the fuzzer's side knows it.
struct Conn {
    id: ConnId,
    secret_key: [u8; 32],
    noise: Option<Handshake>,
    seal: Option<(RecordCipher, RecordCipher)>,
    unconfirmed: usize,
    frames: u64,
    /// Calls that came in.
    ringing: Vec<u32>,
    /// By circuit: whose bytes came last, and their number.
    heard: BTreeMap<u32, (u64, u64)>,
}

/// A hub and whoever is connected.
struct Hall {
    hub: Hub,
    now: Instant,
    conns: BTreeMap<u8, Conn>,
    ids: u64,
    online: BTreeSet<(u64, u64)>,
    stopped: bool,
}

/// Bytes become inputs of several connections of a hub.
pub fn hub(data: &[u8]) {
    let mut feed = Feed::new(data);
    let config = hub::Config {
        secret_key: HUB_KEY,
        token_key: [78; 32],
        buffer_budget_bytes: BUDGET_BYTES,
        max_connections_per_ip: 3,
        max_connections: 5,
    };
    let mut hall = Hall {
        hub: Hub::new(Instant::ZERO, Rng::new([5; 32]), config),
        now: Instant::ZERO,
        conns: BTreeMap::new(),
        ids: 0,
        online: BTreeSet::new(),
        stopped: false,
    };
    while !feed.is_empty() && !hall.stopped {
        let op = feed.u8();
        hall.act(&mut feed, op & 15, op >> 4);
    }
    for slot in 0..16 {
        hall.leave(slot);
    }
    if !hall.stopped {
        let stats = hall.hub.stats();
        assert_eq!((stats.connections, stats.online, stats.circuits), (0, 0, 0));
        assert_eq!(stats.reserved_bytes, 0, "nobody is there");
        assert!(hall.online.is_empty());
        hall.tick(Duration::from_secs(3_600));
        assert!(matches!(hall.hub.poll_output(), Output::Timeout(Instant::NEVER)));
    }
}

impl Hall {
    fn act(&mut self, feed: &mut Feed<'_>, op: u8, slot: u8) {
        let slot = slot % 7;
        match op {
            0 | 1 => self.come(slot, op == 1, feed),
            2 => {
                let raw = BytesMut::from(feed.bytes8());
                self.say(slot, raw);
            }
            3 => {
                let bytes = feed.bytes8().to_vec();
                self.control(slot, &bytes);
            }
            4..=8 => {
                let message = self.to_hub(feed, op, slot);
                self.control(slot, &message.encode());
            }
            9..=11 => self.data(feed, slot),
            12 => {
                let most = usize::from(feed.u16()) * 16;
                self.confirm(slot, most);
            }
            13 => {
                let millis = u64::from(feed.u16());
                self.tick(Duration::from_millis(millis));
            }
            14 => self.leave(slot),
            _ => {
                // Rarely: it ends everything.
                if feed.u8() == 255 {
                    self.input(hub::Input::Shutdown);
                } else {
                    for slot in 0..7 {
                        self.confirm(slot, usize::MAX);
                    }
                }
            }
        }
        let stats = self.hub.stats();
        assert!(stats.reserved_bytes <= BUDGET_BYTES, "{stats:?}");
        assert!(stats.connections == self.conns.len() && stats.online == self.online.len());
    }

    /// A new connection; `polite` ones log in.
    fn come(&mut self, slot: u8, polite: bool, feed: &mut Feed<'_>) {
        if self.conns.contains_key(&slot) {
            return;
        }
        self.ids += 1;
        let (id, number) = (ConnId(self.ids), self.ids as u8);
        let ip = [10, 0, 0, slot % 2].into();
        let secret_key = [slot / 2 + 1; 32];
        let conn = Conn {
            id,
            secret_key,
            noise: Some(noise(true, secret_key, [number; 32])),
            seal: None,
            unconfirmed: 0,
            frames: 0,
            ringing: Vec::new(),
            heard: BTreeMap::new(),
        };
        self.conns.insert(slot, conn);
        let (host, unix_time) = (HOST.to_owned(), UnixTime(1_000));
        let ephemeral = [number ^ 255; 32];
        self.input(hub::Input::Connected { conn: id, ip, host, ephemeral, unix_time });
        if !polite || !self.conns.contains_key(&slot) {
            return;
        }
        let noise = self.conns.get_mut(&slot).and_then(|conn| conn.noise.as_mut());
        let first = noise.map(|noise| noise.write_message().expect("it is our turn"));
        // The answer completes the handshake, in `hear`.
        self.say(slot, handshake_frame(&first.expect("it is there")));
        let instance = u64::from(feed.u8() % 3);
        self.control(slot, &ToHub::Login { instance }.encode());
    }

    fn to_hub(&self, feed: &mut Feed<'_>, op: u8, slot: u8) -> ToHub {
        let circuit = Self::circuit(feed);
        let bytes = feed.u32() >> (feed.u8() % 32);
        let window_bytes = bytes;
        let last_call = self.conns.get(&slot).and_then(|conn| conn.ringing.last().copied());
        match (op, feed.u8()) {
            (4, _) => {
                let called = feed.u8() % 7;
                let peer = public_key(&[called / 2 + 1; 32]);
                let to = Instance { peer, number: u64::from(feed.u8() % 3) };
                ToHub::Open { circuit, to, window_bytes }
            }
            (5, _) => ToHub::Accept { circuit: last_call.unwrap_or(circuit), window_bytes },
            (6, 0..=99) => ToHub::Close { circuit },
            (6, 100..=199) => ToHub::Refuse { circuit: last_call.unwrap_or(circuit) },
            (6, _) => ToHub::Login { instance: 1 },
            (7, 0..=199) => ToHub::Credit { circuit, bytes },
            (7, _) => ToHub::Returned { circuit, bytes },
            (_, 0..=99) => ToHub::Ping { nonce: 4 },
            (_, 100..=199) => ToHub::Pong { nonce: 1 },
            _ => ToHub::Returned { circuit, bytes },
        }
    }

    fn circuit(feed: &mut Feed<'_>) -> u32 {
        let number = feed.u8();
        let low = u32::from(number & 15);
        if number < 128 { low } else { FIRST_HUB_CIRCUIT + low }
    }

    /// A data frame that says whose it is.
    fn data(&mut self, feed: &mut Feed<'_>, slot: u8) {
        let circuit = Self::circuit(feed);
        let length = (usize::from(feed.u16()) + 1).clamp(TAG_BYTES, MAX_RELAY_PAYLOAD_BYTES);
        let Some(conn) = self.conns.get_mut(&slot) else { return };
        conn.frames += 1;
        let mut frame = begin_data(circuit, length);
        frame.extend_from_slice(&(conn.id.0 << 32 | u64::from(circuit)).to_be_bytes());
        frame.extend_from_slice(&conn.frames.to_be_bytes());
        frame.resize(DATA_HEADER_BYTES + length, 0xDA);
        self.say(slot, frame);
    }

    fn control(&mut self, slot: u8, plain: &[u8]) {
        let Some(conn) = self.conns.get_mut(&slot) else { return };
        let Some((send, _)) = &mut conn.seal else { return };
        let frame = control_frame(send, plain);
        self.say(slot, frame);
    }

    fn say(&mut self, slot: u8, bytes: BytesMut) {
        if let Some(conn) = self.conns.get(&slot) {
            self.input(hub::Input::Message { conn: conn.id, bytes });
        }
    }

    fn confirm(&mut self, slot: u8, most: usize) {
        let Some(conn) = self.conns.get_mut(&slot) else { return };
        let bytes = most.min(conn.unconfirmed);
        conn.unconfirmed -= bytes;
        let conn = conn.id;
        self.input(hub::Input::Sent { conn, bytes });
    }

    fn leave(&mut self, slot: u8) {
        if let Some(conn) = self.conns.remove(&slot) {
            self.input(hub::Input::Disconnected(conn.id));
        }
    }

    fn tick(&mut self, later: Duration) {
        self.now = self.now + later;
        let next = self.input(hub::Input::Tick);
        assert!(next > self.now, "a driver would spin");
    }

    fn input(&mut self, input: hub::Input) -> Instant {
        self.hub.handle_input(self.now, input);
        loop {
            match self.hub.poll_output() {
                Output::Timeout(at) => return at,
                Output::Transmit(hub::Transmit::Send { conn, message }) => {
                    let slot = self.slot_of(conn).expect("nobody else is spoken to");
                    self.hear(slot, &message);
                }
                Output::Transmit(hub::Transmit::Close { conn, .. }) => {
                    let slot = self.slot_of(conn).expect("it is closed once");
                    self.conns.remove(&slot);
                }
                Output::Event(hub::Event::LoggedIn(conn, instance)) => {
                    let slot = self.slot_of(conn).expect("it is connected");
                    assert_eq!(instance.peer, public_key(&self.conns[&slot].secret_key));
                    assert!(self.online.insert((conn.0, instance.number)));
                }
                Output::Event(hub::Event::LoggedOut(conn, instance)) => {
                    assert!(self.online.remove(&(conn.0, instance.number)));
                }
                Output::Event(hub::Event::Stopped) => self.stopped = true,
            }
        }
    }

    fn slot_of(&self, id: ConnId) -> Option<u8> {
        self.conns.iter().find(|(_, conn)| conn.id == id).map(|(slot, _)| *slot)
    }

    /// What the hub says makes sense.
    fn hear(&mut self, slot: u8, message: &Bytes) {
        let mut answer = None;
        let conn = self.conns.get_mut(&slot).expect("it was just found");
        conn.unconfirmed += message.len();
        assert!(
            conn.unconfirmed <= MAX_UNCONFIRMED_BYTES,
            "{} bytes for one socket",
            conn.unconfirmed
        );
        match kind(message).expect("it says what can be read") {
            Kind::Handshake => {
                let mut noise = conn.noise.take().expect("once");
                if noise.read_message(&message[1..]).is_ok() {
                    answer = noise.write_message().ok();
                    let finished = noise.finish();
                    conn.seal = Some((finished.send, finished.receive));
                }
            }
            Kind::Control => {
                let (_, receive) = conn.seal.as_mut().expect("the handshake is complete");
                let plain = open_control(receive, message);
                match ToClient::decode(&plain).expect("it says what can be read") {
                    ToClient::Incoming { circuit, .. } => {
                        assert!(circuit >= FIRST_HUB_CIRCUIT && !conn.ringing.contains(&circuit));
                        conn.ringing.push(circuit);
                    }
                    ToClient::Close { circuit, .. } => {
                        conn.heard.remove(&circuit);
                    }
                    _ => {}
                }
            }
            Kind::Data => {
                let circuit = data_circuit(message).expect("it is a data frame");
                let payload = &message[DATA_HEADER_BYTES..];
                let number =
                    |at: usize| payload[at..at + 8].iter().fold(0, |n, b| n << 8 | u64::from(*b));
                let is_ours = |bytes: &[u8]| bytes.iter().all(|b| *b == 0xDA);
                // The hub may have cut a long one: the rest of it has no tag.
                if payload.len() >= TAG_BYTES && is_ours(&payload[TAG_BYTES..]) && !is_ours(payload)
                {
                    let (from, frame) = (number(0), number(8));
                    let last = conn.heard.insert(circuit, (from, frame));
                    assert!(
                        last.is_none_or(|(by, before)| by == from && before < frame),
                        "bytes of another circuit, or out of order"
                    );
                }
            }
        }
        if let Some(answer) = answer {
            let id = conn.id;
            let bytes = handshake_frame(&answer);
            // As from its own input: the hub is in the middle of being drained by nobody else.
            self.input(hub::Input::Message { conn: id, bytes });
        }
    }
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    // Slots 0 and 2 log in; 0 calls 2, which accepts; both send; windows move; it ends.
    let log_in = [0x01, 0, 0x21, 0];
    let call = [0x04, 1, 0, 16, 0, 0, 0, 0, 2, 0];
    let accept = [0x25, 0x80, 0, 16, 0, 0, 0, 0];
    let data = [0x09, 1, 1, 0, 0x29, 0x80, 0, 90, 0x0A, 1, 255, 255];
    let credit = [0x27, 0x80, 0, 0, 4, 0, 0, 0];
    let confirm = [0x0C, 255, 255, 0x2C, 255, 255, 0x0F, 0];
    let close = [0x06, 1, 0, 0, 0, 0, 0, 0];
    let story = [&log_in[..], &call, &accept, &data, &credit, &confirm, &close].concat();
    vec![
        story.clone(),
        [&story[..story.len() - 8], &[0x2E]].concat(),
        [&log_in[..], &call, &[0x0D, 0x27, 0x10, 0x0D, 0xFF, 0xFF, 0x0D, 0xFF, 0xFF]].concat(),
        [&log_in[..], &call, &[0x26, 0x80, 0, 0, 0, 0, 0, 150]].concat(),
        [&log_in[..], &[0x0F, 255]].concat(),
        vec![0x00, 0, 0x02, 3, 0, 1, 2],
        [&log_in[..], &[0x03, 2, 99, 1, 0x02, 2, 1, 1]].concat(),
        [&log_in[..], &[0x31, 0, 0x41, 0, 0x51, 0, 0x61, 0]].concat(),
        [&log_in[..], &call, &accept, &data[..4].repeat(40)].concat(),
    ]
}
