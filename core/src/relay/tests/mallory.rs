//! A client in the hands of a test.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::BytesMut;

use super::world::{HOST, World};
use crate::close::{CloseReason, Misbehaviour};
use crate::crypto::public_key;
use crate::id::Instance;
use crate::limits::{PACE_PERIOD, RELAY_WINDOW_MAX_BYTES};
use crate::relay::frame::{ToClient, ToHub, begin_data, data_circuit};
use crate::relay::hub::{self, ConnId};
use crate::relay::seal::{self, Seal};

/// A client in the hands of the test: it knows how to log in and says what it is told to.
pub(super) struct Mallory {
    pub(super) conn: ConnId,
    pub(super) me: Instance,
    pub(super) seal: Seal,
    seen: usize,
}

pub(super) const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

pub(super) fn instance(byte: u8) -> Instance {
    Instance { peer: public_key(&[byte; 32]), number: u64::from(byte) }
}

impl Mallory {
    /// Up to the end of the handshake.
    pub(super) fn half(world: &mut World, byte: u8) -> Self {
        Self::half_after(world, byte, Duration::ZERO)
    }

    /// Up to the end of the handshake, whose last message is late.
    pub(super) fn half_after(world: &mut World, byte: u8, wait: Duration) -> Self {
        let conn = world.raw_connection(IP);
        let mut noise = seal::handshake(true, HOST, [byte; 32], [byte ^ 0x55; 32]);
        let first = noise.write_message().unwrap();
        world.raw_message(conn, &seal::handshake_frame(&first));
        let second = world.raw[&conn][0].clone();
        noise.read_message(&second[1..]).unwrap();
        let third = noise.write_message().unwrap();
        world.run(wait);
        world.raw_message(conn, &seal::handshake_frame(&third));
        Self { conn, me: instance(byte), seal: Seal::new(noise.finish()), seen: 1 }
    }

    pub(super) fn new(world: &mut World, byte: u8) -> Self {
        Self::half(world, byte).login(world, byte)
    }

    pub(super) fn login(mut self, world: &mut World, byte: u8) -> Self {
        self.say(world, &ToHub::Login { instance: u64::from(byte) });
        let heard = self.hear(world);
        assert!(matches!(heard[..], [ToClient::Welcome { .. }]), "{heard:?}");
        self
    }

    pub(super) fn say(&mut self, world: &mut World, message: &ToHub) {
        self.say_bytes(world, &message.encode());
    }

    pub(super) fn say_bytes(&mut self, world: &mut World, plaintext: &[u8]) {
        let message = self.seal.seal(plaintext);
        world.raw_message(self.conn, &message);
    }

    pub(super) fn data(&self, world: &mut World, circuit: u32, bytes: usize) {
        let mut frame = begin_data(circuit, bytes);
        frame.resize(frame.len() + bytes, 7);
        world.raw_message(self.conn, &frame);
    }

    /// The control messages that came since the last time; data frames are skipped.
    pub(super) fn hear(&mut self, world: &World) -> Vec<ToClient> {
        let messages = &world.raw[&self.conn][self.seen..];
        self.seen = world.raw[&self.conn].len();
        let control = messages.iter().filter(|message| message[0] == 1);
        control
            .map(|message| {
                let mut message = BytesMut::from(&message[..]);
                ToClient::decode(self.seal.open(&mut message).unwrap()).unwrap()
            })
            .collect()
    }

    /// A circuit to a peer of the world: its number.
    pub(super) fn open(&mut self, world: &mut World, circuit: u32, to: Instance) -> u32 {
        self.say(world, &ToHub::Open { circuit, to, window_bytes: 1 << 20 });
        world.run(Duration::from_millis(20));
        let heard = self.hear(world);
        assert!(matches!(heard[..], [ToClient::Opened { .. }]), "{heard:?}");
        circuit
    }

    /// Its socket has taken everything.
    pub(super) fn take(&self, world: &mut World) {
        world.tell_hub(hub::Input::Sent { conn: self.conn, bytes: usize::MAX });
    }

    /// Its socket shows that it is a fast one: the whole backlog may wait for it.
    pub(super) fn hurry(&self, world: &mut World) {
        world.run(PACE_PERIOD);
        self.take(world);
    }

    /// Calls without more.
    pub(super) fn call(&mut self, world: &mut World, circuit: u32, to: Instance) {
        let window_bytes = RELAY_WINDOW_MAX_BYTES as u32;
        self.say(world, &ToHub::Open { circuit, to, window_bytes });
    }

    /// Takes the call that came last.
    pub(super) fn accept(&mut self, world: &mut World) -> u32 {
        let heard = self.hear(world);
        let Some(&ToClient::Incoming { circuit, .. }) = heard.last() else { panic!("{heard:?}") };
        let window_bytes = RELAY_WINDOW_MAX_BYTES as u32;
        self.say(world, &ToHub::Accept { circuit, window_bytes });
        circuit
    }

    /// The payload lengths and circuits of all data frames that came.
    pub(super) fn frames(&self, world: &World) -> Vec<(u32, usize)> {
        let data = world.raw[&self.conn].iter().filter(|message| message[0] == 2);
        data.map(|frame| (data_circuit(frame).unwrap(), frame.len() - 5)).collect()
    }
}

pub(super) fn misbehaved(rule: &'static str) -> CloseReason {
    CloseReason::Misbehaved(Misbehaviour(rule))
}
