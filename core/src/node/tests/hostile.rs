//! A node against a peer whose every word is chosen by the test: who gets what, and what is
//! believed.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::super::*;
use crate::close::{CloseReason, Incompatibility, Misbehaviour};
use crate::crypto::proof::{REQUESTER, SEEDER, make};
use crate::id::{ChunkRef, Descriptor, Hash, Kind, PeerId, Secret, Space};
use crate::path::Policy;
use crate::session::{Command, Event as SessionEvent, Role, Setup, Suite};
use crate::tracker_api::{PeerEntry, Request, Response};
use crate::wire::{Handle, Message, RequestId};

pub(super) const KEY: ContentKey = ContentKey(1);
pub(super) const HASH: [u8; 32] = [3; 32];
pub(super) const SECRET: [u8; 32] = [7; 32];

pub(super) fn descriptor() -> Descriptor {
    Descriptor { kind: Kind::File, length_bytes: 100, root: Hash([5; 32]) }
}

pub(super) fn locator() -> Locator {
    descriptor().locator(Some(&Secret::new(SECRET)))
}

pub(super) fn instance(id: u8) -> Instance {
    Instance { peer: PeerId([id; 32]), number: u64::from(id) }
}

pub(super) fn proof(secret: [u8; 32], role: u8, locator: Locator, hash: [u8; 32]) -> [u8; 32] {
    make(&Secret::new(secret), role, locator, &hash)
}

/// A node, and what it said to the last input.
pub(super) struct Hand {
    pub(super) node: Node,
    pub(super) now: Instant,
    pub(super) transmits: Vec<Transmit>,
    pub(super) events: Vec<Event>,
}

impl Hand {
    pub(super) fn new() -> Self {
        let config = Config {
            me: instance(1),
            prefer_aes: true,
            accept_strangers: false,
            limit_up_bytes_per_second: None,
            limit_down_bytes_per_second: None,
        };
        let node = Node::new(Instant::ZERO, Rng::new([1; 32]), config);
        Self { node, now: Instant::ZERO, transmits: Vec::new(), events: Vec::new() }
    }

    pub(super) fn put(&mut self, input: Input) {
        self.node.handle_input(self.now, input);
        self.transmits.clear();
        self.events.clear();
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => self.transmits.push(transmit),
                Output::Event(event) => self.events.push(event),
                Output::Timeout(_) => return,
            }
        }
    }

    /// One that shares a file.
    pub(super) fn seeder() -> Self {
        let mut hand = Self::new();
        hand.put(Input::Share {
            content: KEY,
            descriptor: descriptor(),
            secret: Some(Secret::new(SECRET)),
            name: String::from("name"),
            contents: None,
        });
        hand
    }

    /// A link that came to it, and is up.
    pub(super) fn link(&mut self, incoming: u64, peer: u8) -> LinkId {
        let from = IncomingFrom::Circuit(PeerId([peer; 32]));
        self.put(Input::Incoming { incoming, from });
        let accepted = self.transmits.iter().find_map(|transmit| match transmit {
            Transmit::Accept { link, .. } => Some(*link),
            _ => None,
        });
        let link = accepted.unwrap();
        self.established(link, instance(peer));
        link
    }

    pub(super) fn established(&mut self, link: LinkId, who: Instance) {
        let Instance { peer, number: instance } = who;
        let (suite, handshake_hash) = (Suite::ChaChaPoly, HASH);
        let event = SessionEvent::Established { peer, instance, suite, handshake_hash };
        self.put(Input::Session { link, event });
    }

    pub(super) fn hear(&mut self, link: LinkId, message: Message) {
        self.put(Input::Session { link, event: SessionEvent::Message(message) });
    }

    /// One that looks for the file, and what it dials when it hears of a seeder.
    fn getter() -> (Self, LinkId, Setup) {
        Self::getter_of(locator())
    }

    pub(super) fn getter_of(locator: Locator) -> (Self, LinkId, Setup) {
        let mut hand = Self::new();
        hand.put(Input::Get {
            content: KEY,
            locator,
            secret: Some(Secret::new(SECRET)),
            policy: Policy::Direct,
            sink: Sink::Store,
            serve: false,
            timeout: None,
        });
        let lookup = hand.transmits.iter().find_map(|transmit| match transmit {
            Transmit::Call { call, request: Request::Lookup { .. }, .. } => Some(*call),
            _ => None,
        });
        let entry = PeerEntry {
            instance: instance(2),
            addresses: vec![SocketAddr::from(([10, 0, 0, 2], 1_000))],
            suites: vec![Suite::AesGcm, Suite::ChaChaPoly],
            relay: false,
            seeder: true,
        };
        let result = Ok(Response::Peers(vec![entry]));
        hand.put(Input::Reply { call: lookup.unwrap(), result });
        let (link, setup) = hand.dialled().unwrap();
        (hand, link, setup)
    }

    fn dialled(&self) -> Option<(LinkId, Setup)> {
        self.transmits.iter().find_map(|transmit| match transmit {
            Transmit::Dial { link, setup, .. } => Some((*link, setup.clone())),
            _ => None,
        })
    }

    /// What it said to the peer.
    pub(super) fn said(&self) -> Vec<Message> {
        let said = self.transmits.iter().filter_map(|transmit| match transmit {
            Transmit::Session { command: Command::Send(message), .. } => Some(message.clone()),
            _ => None,
        });
        said.collect()
    }

    pub(super) fn closed(&self) -> Option<&CloseReason> {
        self.transmits.iter().find_map(|transmit| match transmit {
            Transmit::Session { command: Command::Close(reason), .. } => Some(reason),
            _ => None,
        })
    }
}

pub(super) fn misbehaved(rule: &'static str) -> CloseReason {
    CloseReason::Misbehaved(Misbehaviour(rule))
}

// Spec M7, M11
#[test]
fn whoever_proves_the_secret_is_proven_it_and_told_what_there_is() {
    let mut hand = Hand::seeder();
    let link = hand.link(1, 9);
    let (handle, locator) = (Handle(4), locator());
    let proof_of = |role| proof(SECRET, role, locator, HASH);
    hand.hear(link, Message::Open { handle, locator, proof: proof_of(REQUESTER) });
    let (descriptor, name, space) = (descriptor(), String::from("name"), Space::Root);
    let opened = Message::Opened { handle, proof: proof_of(SEEDER), descriptor, name };
    assert_eq!(hand.said(), [opened, Message::HaveAll { handle, space }]);
}

// Spec M7b, M9, K8
#[test]
fn an_unknown_locator_and_a_wrong_proof_get_the_same_answer() {
    let unknown = Locator([1; 32]);
    for (locator, proof) in [
        (unknown, proof(SECRET, REQUESTER, unknown, HASH)),
        (locator(), proof([8; 32], REQUESTER, locator(), HASH)),
        (locator(), proof([0; 32], REQUESTER, locator(), HASH)),
        (locator(), proof(SECRET, SEEDER, locator(), HASH)),
        // What was seen in another session.
        (locator(), proof(SECRET, REQUESTER, locator(), [4; 32])),
        // The id without the secret.
        (Locator(descriptor().id().0), proof([0; 32], REQUESTER, locator(), HASH)),
    ] {
        let mut hand = Hand::seeder();
        let link = hand.link(1, 9);
        hand.hear(link, Message::Open { handle: Handle(4), locator, proof });
        assert_eq!(hand.said(), [Message::Refused { handle: Handle(4) }]);
        assert_eq!(hand.transmits.len(), 1);
        assert!(hand.events.is_empty());
        let chunk = ChunkRef { space: Space::Root, index: 0 };
        hand.hear(link, Message::Request { request: RequestId(1), handle: Handle(4), chunk });
        assert_eq!(hand.closed(), Some(&misbehaved("request_of_unopened_share")));
    }
}

// Spec M9
#[test]
fn what_was_opened_in_one_session_is_not_open_in_another() {
    let mut hand = Hand::seeder();
    let (one, other) = (hand.link(1, 9), hand.link(2, 8));
    let (handle, locator) = (Handle(0), locator());
    let right = proof(SECRET, REQUESTER, locator, HASH);
    hand.hear(one, Message::Open { handle, locator, proof: right });
    let chunk = ChunkRef { space: Space::Root, index: 0 };
    let request = Message::Request { request: RequestId(1), handle, chunk };
    hand.hear(other, request.clone());
    assert_eq!(hand.closed(), Some(&misbehaved("request_of_unopened_share")));
    hand.hear(one, request);
    let serves = |transmit: &Transmit| {
        matches!(transmit, Transmit::Session { command: Command::Serve { .. }, .. })
    };
    assert!(hand.transmits.iter().any(serves));
}

// Spec C13, M8, M8b, K5
#[test]
fn another_share_than_the_one_of_the_link_is_not_taken() {
    let right = proof(SECRET, SEEDER, locator(), HASH);
    let longer = Descriptor { length_bytes: 101, ..descriptor() };
    let manifest = Descriptor { kind: Kind::Manifest, ..descriptor() };
    for (proof, descriptor, good) in [
        (right, descriptor(), true),
        (right, longer, false),
        (right, manifest, false),
        (right, Descriptor { root: Hash([6; 32]), ..descriptor() }, false),
        (proof(SECRET, REQUESTER, locator(), HASH), descriptor(), false),
        (proof([8; 32], SEEDER, locator(), HASH), descriptor(), false),
        (proof(SECRET, SEEDER, locator(), [4; 32]), descriptor(), false),
    ] {
        let (mut hand, link, _) = Hand::getter();
        hand.established(link, instance(2));
        let said = hand.said();
        let [Message::Open { handle, locator: asked, .. }] = said[..] else { panic!("{said:?}") };
        assert_eq!(asked, locator());
        let name = String::from("name");
        hand.hear(link, Message::Opened { handle, proof, descriptor, name });
        let described = |event: &Event| matches!(event, Event::Described { .. });
        assert_eq!(hand.events.iter().any(described), good);
        let blamed = |event: &Event| {
            matches!(event, Event::PeerDropped { reason: PeerDropReason::NotTheShare, .. })
        };
        assert_eq!(hand.events.iter().any(blamed), !good);
        assert_eq!(hand.closed().is_some(), !good);
    }
}

// Spec M22, M23
#[test]
fn handles_are_given_once_and_used_when_they_are_open() {
    let (handle, locator) = (Handle(4), locator());
    let mut hand = Hand::seeder();
    let link = hand.link(1, 9);
    let right = proof(SECRET, REQUESTER, locator, HASH);
    hand.hear(link, Message::Open { handle, locator, proof: right });
    assert!(hand.closed().is_none());
    hand.hear(link, Message::Open { handle, locator, proof: right });
    assert_eq!(hand.closed(), Some(&misbehaved("handle_used_twice")));
    let mut hand = Hand::seeder();
    let link = hand.link(1, 9);
    hand.hear(link, Message::Complete { handle });
    assert_eq!(hand.closed(), Some(&misbehaved("complete_of_unopened_share")));

    let space = Space::Root;
    let open = |hand: &mut Hand, link| {
        hand.established(link, instance(2));
        match hand.said()[..] {
            [Message::Open { handle, .. }] => handle,
            _ => panic!("{:?}", hand.transmits),
        }
    };
    let (mut hand, link, _) = Hand::getter();
    let given = open(&mut hand, link);
    hand.hear(link, Message::HaveAll { handle: Handle(given.0 + 1), space });
    assert_eq!(hand.closed(), Some(&misbehaved("unknown_handle")));
    let (mut hand, link, _) = Hand::getter();
    let given = open(&mut hand, link);
    hand.hear(link, Message::HaveAll { handle: given, space });
    assert_eq!(hand.closed(), Some(&misbehaved("have_before_opened")));
}

// Spec P4
#[test]
fn another_key_than_the_announced_one_is_a_failed_dial() {
    let (mut hand, link, setup) = Hand::getter();
    let Role::Initiator { remote, .. } = setup.role else { panic!("{setup:?}") };
    assert_eq!(remote, Some(instance(2).peer));
    hand.established(link, instance(3));
    assert!(hand.said().is_empty() && hand.closed().is_some());
}

// Spec S5
#[test]
fn a_refused_suite_is_replaced_once_by_the_one_that_all_speak() {
    let (mut hand, link, setup) = Hand::getter();
    let suite = |setup: Setup| match setup.role {
        Role::Initiator { suite, .. } => suite,
        Role::Responder { .. } => panic!("we dial"),
    };
    assert_eq!(suite(setup), Suite::AesGcm);
    let refused = |link| Input::Session {
        link,
        event: SessionEvent::Closed(CloseReason::Incompatible(Incompatibility::Suite)),
    };
    hand.put(refused(link));
    let (second, setup) = hand.dialled().unwrap();
    assert_eq!(suite(setup), Suite::ChaChaPoly);
    assert_ne!(second, link, "over a new stream");
    hand.put(refused(second));
    assert!(hand.dialled().is_none(), "and not for ever");
}
