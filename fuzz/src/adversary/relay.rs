//! A relay that obeys nobody: it knows its key and its trade, and does with circuits what it likes.
//!
//! It stands where the real [`towpath_core::relay::hub::Hub`] stands. What it cannot do is read
//! what it carries; whatever else it does costs those who use it their time, and nothing more.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use towpath_core::crypto::noise::{Handshake, Pattern};
use towpath_core::crypto::record::RecordCipher;
use towpath_core::id::{Instance, PeerId};
use towpath_core::relay::frame::{
    CircuitEnd, DATA_HEADER_BYTES, FIRST_HUB_CIRCUIT, Goodbye, Kind, OpenError, PROLOGUE, ToClient,
    ToHub, begin_data, data_circuit, kind,
};
use towpath_core::relay::hub::{ConnId, Input};
use towpath_core::rng::Rng;
use towpath_core::session::Suite;

/// What is counted of it.
pub const TRICKS: &[&str] = &[
    "hostile relay: drops",
    "hostile relay: duplicates",
    "hostile relay: reorders",
    "hostile relay: cuts",
    "hostile relay: corrupts",
    "hostile relay: injects",
    "hostile relay: swaps circuits",
    "hostile relay: closes",
    "hostile relay: calls from nobody",
    "hostile relay: false login",
    "hostile relay: too much credit",
    "hostile relay: no credit",
    "hostile relay: refuses calls",
    "hostile relay: breaks its own rules",
];

/// What a circuit may send at first.
const WINDOW_BYTES: u32 = 512 * 1024;
/// What a frame costs beside its payload.
const FRAME_COST: u32 = 256;

/// The relay.
#[derive(Debug)]
pub struct HostileRelay {
    /// What it sends; `None` closes.
    pub out: Vec<(ConnId, Option<Bytes>)>,
    /// What it did.
    pub counts: Vec<&'static str>,
    secret_key: [u8; 32],
    rng: Rng,
    conns: BTreeMap<ConnId, Conn>,
    /// By a side of it: the other side.
    circuits: BTreeMap<(ConnId, u32), (ConnId, u32)>,
    held: Option<(ConnId, Bytes)>,
}

#[derive(Debug)]
struct Conn {
    handshake: Option<Handshake>,
    ciphers: Option<(RecordCipher, RecordCipher)>,
    peer: Option<PeerId>,
    instance: Option<Instance>,
    next_number: u32,
}

impl HostileRelay {
    /// One with the key of the real one, which it has stolen.
    #[must_use]
    pub const fn new(secret_key: [u8; 32], rng: Rng) -> Self {
        Self {
            out: Vec::new(),
            counts: Vec::new(),
            secret_key,
            rng,
            conns: BTreeMap::new(),
            circuits: BTreeMap::new(),
            held: None,
        }
    }

    /// Takes what the real one takes.
    pub fn input(&mut self, input: Input) {
        match input {
            Input::Connected { conn, host, ephemeral, .. } => {
                let prologue = [PROLOGUE, host.to_ascii_lowercase().as_bytes()].concat();
                let (xx, suite) = (Pattern::Xx, Suite::ChaChaPoly);
                let key = self.secret_key;
                let noise = Handshake::new(xx, suite, false, &prologue, key, ephemeral, None);
                let next_number = FIRST_HUB_CIRCUIT;
                let handshake = Some(noise);
                let new =
                    Conn { handshake, ciphers: None, peer: None, instance: None, next_number };
                self.conns.insert(conn, new);
            }
            Input::Message { conn, mut bytes } => match kind(&bytes) {
                Ok(Kind::Handshake) => self.handshake(conn, &bytes[1..]),
                Ok(Kind::Control) => {
                    let Some(known) = self.conns.get_mut(&conn) else { return };
                    let Some((_, receive)) = &mut known.ciphers else { return };
                    let Ok(length) = receive.open_in_place(&mut bytes[1..]) else { return };
                    if let Ok(message) = ToHub::decode(&bytes[1..=length]) {
                        self.control(conn, message);
                    }
                }
                Ok(Kind::Data) => self.data(conn, &bytes),
                Err(_) => {}
            },
            Input::Disconnected(conn) => self.forget(conn),
            Input::Tick | Input::Sent { .. } | Input::Shutdown => {}
        }
    }

    /// One in so many times it does this.
    fn likes(&mut self, trick: usize, one_in: u64) -> bool {
        let likes = self.rng.below(one_in) == 0;
        if likes {
            self.counts.push(TRICKS[trick]);
        }
        likes
    }

    fn forget(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        let ended: Vec<_> = self.circuits.iter().filter(|((of, _), _)| *of == conn).collect();
        let ended: Vec<_> = ended.into_iter().map(|(here, there)| (*here, *there)).collect();
        for (here, there) in ended {
            self.circuits.remove(&here);
            self.circuits.remove(&there);
            let (circuit, reason) = (there.1, CircuitEnd::Lost);
            self.tell(there.0, ToClient::Close { circuit, reason });
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.forget(conn);
        self.out.push((conn, None));
    }

    fn tell(&mut self, conn: ConnId, message: ToClient) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let Some((send, _)) = &mut known.ciphers else { return };
        let mut out = vec![Kind::Control as u8];
        out.extend(message.encode());
        let tag = send.seal(&mut out[1..]);
        out.extend_from_slice(&tag);
        self.out.push((conn, Some(Bytes::from(out))));
    }

    fn handshake(&mut self, conn: ConnId, message: &[u8]) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let Some(mut noise) = known.handshake.take() else { return };
        if noise.read_message(message).is_err() {
            return self.close(conn);
        }
        if noise.is_finished() {
            let finished = noise.finish();
            known.peer = Some(finished.remote);
            known.ciphers = Some((finished.send, finished.receive));
            return;
        }
        if let Ok(answer) = noise.write_message() {
            known.handshake = Some(noise);
            let frame = [&[Kind::Handshake as u8][..], &answer].concat();
            self.out.push((conn, Some(Bytes::from(frame))));
        }
    }

    fn login(&mut self, conn: ConnId, number: u64) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let Some(peer) = known.peer else { return };
        known.instance = Some(Instance { peer, number });
        // Tokens that are good for nothing: it is no friend of the tracker's.
        let token = ["", "token", "AAAA"][self.rng.below(3) as usize].to_owned();
        self.counts.push(TRICKS[9]);
        let observed = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
        self.tell(conn, ToClient::Welcome { token, observed, max_circuits: 0 });
        if self.likes(8, 2) {
            let from = self.nobody();
            let (window_bytes, hub_bytes) = (WINDOW_BYTES, WINDOW_BYTES);
            let circuit = self.number(conn);
            self.tell(conn, ToClient::Incoming { circuit, from, window_bytes, hub_bytes });
        }
    }

    fn nobody(&mut self) -> Instance {
        let peer = PeerId([self.rng.below(256) as u8; 32]);
        Instance { peer, number: self.rng.next_u64() }
    }

    /// The next number for a circuit that comes in.
    fn number(&mut self, conn: ConnId) -> u32 {
        let Some(known) = self.conns.get_mut(&conn) else { return FIRST_HUB_CIRCUIT };
        known.next_number += 1;
        known.next_number - 1
    }

    fn control(&mut self, conn: ConnId, message: ToHub) {
        match message {
            ToHub::Login { instance } => self.login(conn, instance),
            ToHub::Open { circuit, to, window_bytes } => self.open(conn, circuit, to, window_bytes),
            ToHub::Accept { circuit, window_bytes } => {
                let Some((to, circuit)) = self.circuits.get(&(conn, circuit)).copied() else {
                    return self.noise_for(conn, circuit);
                };
                let hub_bytes = if self.likes(11, 6) { 0 } else { WINDOW_BYTES };
                self.tell(to, ToClient::Opened { circuit, window_bytes, hub_bytes });
            }
            ToHub::Refuse { circuit } => {
                let Some((to, circuit)) = self.circuits.remove(&(conn, circuit)) else { return };
                self.circuits.remove(&(to, circuit));
                let reason = OpenError::Refused;
                self.tell(to, ToClient::OpenFailed { circuit, reason });
            }
            ToHub::Close { circuit } => {
                let Some((to, circuit)) = self.circuits.remove(&(conn, circuit)) else { return };
                self.circuits.remove(&(to, circuit));
                let reason = CircuitEnd::Closed;
                self.tell(to, ToClient::Close { circuit, reason });
            }
            ToHub::Credit { circuit, bytes } => {
                let Some((to, circuit)) = self.circuits.get(&(conn, circuit)).copied() else {
                    return;
                };
                let more = if self.likes(10, 4) { 1 << 23 } else { bytes };
                if !self.likes(11, 40) {
                    self.tell(to, ToClient::Credit { circuit, bytes: more });
                }
            }
            ToHub::Ping { nonce } => self.tell(conn, ToClient::Pong { nonce }),
            ToHub::Returned { .. } | ToHub::Pong { .. } => {}
        }
    }

    fn open(&mut self, conn: ConnId, circuit: u32, to: Instance, window_bytes: u32) {
        let from = self.conns.get(&conn).and_then(|known| known.instance);
        let callee = self.conns.iter().find(|(_, known)| known.instance == Some(to));
        let callee = callee.map(|(callee, _)| *callee);
        let (Some(from), Some(callee)) = (from, callee) else {
            let reason = OpenError::Absent;
            return self.tell(conn, ToClient::OpenFailed { circuit, reason });
        };
        if self.likes(12, 4) {
            let reason = OpenError::Busy;
            return self.tell(conn, ToClient::OpenFailed { circuit, reason });
        }
        let number = self.number(callee);
        self.circuits.insert((conn, circuit), (callee, number));
        self.circuits.insert((callee, number), (conn, circuit));
        let from = if self.likes(8, 6) { self.nobody() } else { from };
        let (circuit, hub_bytes) = (number, WINDOW_BYTES);
        self.tell(callee, ToClient::Incoming { circuit, from, window_bytes, hub_bytes });
    }

    /// Bytes on a circuit that has no other side.
    fn noise_for(&mut self, conn: ConnId, circuit: u32) {
        self.counts.push(TRICKS[5]);
        let noise: Vec<u8> = (0..200).map(|_| self.rng.below(256) as u8).collect();
        self.carry(conn, circuit, &noise);
    }

    fn carry(&mut self, conn: ConnId, circuit: u32, payload: &[u8]) {
        let mut frame = begin_data(circuit, payload.len());
        frame.extend_from_slice(payload);
        self.out.push((conn, Some(frame.freeze())));
    }

    fn data(&mut self, conn: ConnId, bytes: &[u8]) {
        let Ok(number) = data_circuit(bytes) else { return };
        let mut payload = bytes[DATA_HEADER_BYTES..].to_vec();
        if !self.likes(11, 200) {
            let bytes = u32::try_from(payload.len()).expect("a frame is short") + FRAME_COST;
            self.tell(conn, ToClient::HubCredit { circuit: number, bytes });
        }
        let Some((mut to, mut circuit)) = self.circuits.get(&(conn, number)).copied() else {
            return;
        };
        if self.likes(6, 60)
            && let Some((other, _)) = self.circuits.keys().nth(0).map(|key| (*key, ()))
        {
            (to, circuit) = other;
        }
        let middle = payload.len() / 2;
        if self.likes(0, 60) {
            return;
        } else if self.likes(1, 60) {
            self.carry(to, circuit, &payload);
        } else if self.likes(3, 60) && middle > 0 {
            payload.truncate(middle);
        } else if self.likes(4, 60) {
            payload[middle] ^= 1;
        } else if self.likes(5, 60) {
            self.carry(to, circuit, b"towpath");
        } else if self.likes(7, 60) {
            let reason = CircuitEnd::Closed;
            return self.tell(to, ToClient::Close { circuit, reason });
        } else if self.likes(13, 200) {
            return self.break_rules(to, circuit);
        }
        let held = self.held.take();
        if self.likes(2, 60) {
            let mut frame = begin_data(circuit, payload.len());
            frame.extend_from_slice(&payload);
            self.held = Some((to, frame.freeze()));
        } else {
            self.carry(to, circuit, &payload);
        }
        self.out.extend(held.map(|(to, frame)| (to, Some(frame))));
    }

    /// What no relay may say.
    fn break_rules(&mut self, to: ConnId, circuit: u32) {
        match self.rng.below(6) {
            0 => self.carry(to, circuit ^ 1_000_000, b"x"),
            1 => self.tell(to, ToClient::Token { token: "x".repeat(200) }),
            2 => {
                let (window_bytes, hub_bytes) = (WINDOW_BYTES, WINDOW_BYTES);
                self.tell(to, ToClient::Opened { circuit, window_bytes, hub_bytes });
            }
            3 => self.out.push((to, Some(Bytes::from_static(&[9, 9, 9])))),
            4 => self.out.push((to, Some(Bytes::from_static(&[1; 60])))),
            _ => {
                self.tell(to, ToClient::Goodbye { reason: Goodbye::Replaced });
                self.close(to);
            }
        }
    }
}
