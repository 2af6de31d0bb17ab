//! The links of a peer: their sessions, and the streams or circuits that carry them.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use towpath_core::close::{Awaited, CloseReason};
use towpath_core::id::LinkId;
use towpath_core::limits::{MAX_SEND_BACKLOG_BYTES, RELAY_WINDOW_MAX_BYTES};
use towpath_core::node;
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::session::{self, Session, Setup};
use towpath_core::time::Instant;
use towpath_core::wire::{Message, RequestId};

use super::{Effect, Peer, Tells, Who, Work, tale};
use crate::world::streams::WORDS_BYTES;

/// What carries a link.
#[derive(Debug)]
pub(super) enum Carrier {
    /// A stream of the world.
    Tcp,
    /// A circuit of our relay client.
    Circuit {
        writable_bytes: usize,
        unsent: VecDeque<Bytes>,
        unread: VecDeque<BytesMut>,
        read: usize,
        /// The session hears of the end when it has read everything.
        ended: Option<String>,
    },
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) setup: Setup,
    pub(super) who: Who,
    pub(super) carrier: Carrier,
    pub(super) session: Option<Session>,
    /// Its session is over; what is unsent is still sent.
    pub(super) closed: bool,
    pub(super) deadline: Instant,
    /// Our requests that are not answered.
    pub(super) asked: BTreeSet<RequestId>,
}

impl Peer {
    /// Links that it has, or that its node believes to have.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links.len().max(self.node.link_count())
    }

    /// The most requests that are open on one link, and on all of them.
    #[must_use]
    pub fn open_requests(&self) -> (usize, usize) {
        let open = || self.links.values().map(|link| link.asked.len());
        (open().max().unwrap_or(0), open().sum())
    }

    /// What they are, for people.
    #[must_use]
    pub fn describe_links(&self) -> String {
        let told = self.links.iter().map(|(id, link)| {
            let carrier = match link.carrier {
                Carrier::Tcp => "TCP",
                Carrier::Circuit { .. } => "circuit",
            };
            let runs = if link.session.is_some() { "running" } else { "not open" };
            format!("{id:?} {carrier} {runs} {:?}, next {:?}", link.setup.role, link.deadline)
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// The link's stream is open: its session starts.
    pub(super) fn open(&mut self, now: Instant, id: LinkId) {
        let mut ephemeral = [0; 32];
        for part in ephemeral.chunks_mut(8) {
            part.copy_from_slice(&self.keys.next_u64().to_be_bytes());
        }
        let Some(link) = self.links.get_mut(&id).filter(|link| link.session.is_none()) else {
            return;
        };
        let config = session::Config {
            setup: link.setup.clone(),
            secret_key: self.secret_key,
            ephemeral,
            channel_binding: Vec::new(),
        };
        link.session = Some(Session::new(now, self.rng.fork("session", id.0), config));
        self.session(now, id, None);
    }

    pub(super) fn session(&mut self, now: Instant, id: LinkId, input: Option<session::Input>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(session) = &mut link.session else { return };
        if let Some(session::Input::Command(session::Command::Request { request, .. })) = &input {
            link.asked.insert(*request);
        }
        if let Some(input) = input {
            session.handle_input(now, input);
        }
        let mut closed = false;
        loop {
            let output = session.poll_output();
            if self.tells != Tells::Nothing
                && let Some((machine, what)) = tale::of_session(id, &output, self.tells)
            {
                self.effects.push(Effect::Tale(machine, what));
            }
            match output {
                Output::Timeout(at) => {
                    link.deadline = at;
                    break;
                }
                Output::Event(event) => {
                    if !was_asked(&mut link.asked, &event) {
                        self.held_too_much = Some(("is a chunk that nobody asked for", 1));
                    }
                    self.oracle.came(id, &event);
                    if let session::Event::Closed(reason) = &event {
                        closed = true;
                        self.effects.extend(verdict(reason, link.who));
                    }
                    if let session::Event::Established { peer, .. } = &event {
                        link.who.peer = Some(*peer);
                    }
                    self.work.push_back(Work::Node(node::Input::Session { link: id, event }));
                }
                Output::Transmit(transmit) => match (transmit, &mut link.carrier) {
                    (session::Transmit::ReadChunk { request, content, chunk }, _) => {
                        self.effects.push(Effect::ReadChunk(id, request, content, chunk));
                    }
                    (session::Transmit::Send(bytes), Carrier::Tcp) => {
                        self.oracle.sent(id, &link.setup.role, &bytes);
                        self.effects.push(Effect::Write(id, bytes));
                    }
                    (session::Transmit::Read { max }, Carrier::Tcp) => {
                        self.effects.push(Effect::Read(id, max));
                    }
                    (session::Transmit::CloseStream, Carrier::Tcp) => {
                        self.effects.push(Effect::Close(id));
                    }
                    (session::Transmit::Send(bytes), Carrier::Circuit { unsent, .. }) => {
                        self.oracle.sent(id, &link.setup.role, &bytes);
                        unsent.push_back(bytes);
                        let waiting: usize = unsent.iter().map(Bytes::len).sum();
                        if waiting > MAX_SEND_BACKLOG_BYTES + WORDS_BYTES {
                            self.held_too_much = Some(("waits for a circuit", waiting));
                        }
                    }
                    (session::Transmit::Read { max }, Carrier::Circuit { read, .. }) => *read = max,
                    (session::Transmit::CloseStream, Carrier::Circuit { .. }) => closed = true,
                },
            }
        }
        link.closed |= closed;
        if closed {
            link.deadline = Instant::NEVER;
        }
        self.circuit(id);
        self.forget_if_over(id);
    }

    /// The link of a closed session goes when nothing of it is left to send.
    fn forget_if_over(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id).filter(|link| link.closed) else { return };
        match &link.carrier {
            Carrier::Tcp => self.effects.push(Effect::Close(id)),
            Carrier::Circuit { unsent, .. } if !unsent.is_empty() => return,
            Carrier::Circuit { .. } => {
                self.work.push_back(Work::Client(client::Input::Close { link: id }));
            }
        }
        self.links.remove(&id);
    }

    /// Moves bytes between a session and its circuit, as far as both sides allow.
    fn circuit(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Carrier::Circuit { writable_bytes, unsent, unread, read, ended } = &mut link.carrier
        else {
            return;
        };
        while *writable_bytes > 0 {
            let Some(mut bytes) = unsent.pop_front() else { break };
            let now = bytes.split_to(bytes.len().min(*writable_bytes));
            if !bytes.is_empty() {
                unsent.push_front(bytes);
            }
            *writable_bytes -= now.len();
            let sent = session::Input::Sent { bytes: now.len() };
            self.work.push_back(Work::Client(client::Input::Data { link: id, bytes: now }));
            self.work.push_back(Work::Session(id, sent));
        }
        if *read == 0 {
            return;
        }
        if let Some(mut bytes) = unread.pop_front() {
            let now = bytes.split_to(bytes.len().min(*read));
            if !bytes.is_empty() {
                unread.push_front(bytes);
            }
            *read = 0;
            let consumed = client::Input::Consumed { link: id, bytes: now.len() };
            self.work.push_back(Work::Session(id, session::Input::Received(now)));
            self.work.push_back(Work::Client(consumed));
        } else if let Some(why) = ended.take() {
            *read = 0;
            self.work.push_back(Work::Session(id, session::Input::Ended(Some(why))));
        }
    }

    /// The relay says something of a circuit: its session may go on.
    pub(super) fn circuit_goes_on(&mut self, id: LinkId) {
        if let Some(Link { carrier: Carrier::Circuit { unread, .. }, .. }) = self.links.get(&id) {
            let waiting: usize = unread.iter().map(BytesMut::len).sum();
            if waiting > RELAY_WINDOW_MAX_BYTES {
                self.held_too_much = Some(("came through a circuit", waiting));
            }
        }
        self.circuit(id);
        self.forget_if_over(id);
    }
}

/// Notes what an answer answers; whether it is one to something that was asked.
fn was_asked(asked: &mut BTreeSet<RequestId>, event: &session::Event) -> bool {
    match event {
        session::Event::Chunk { request, .. } => asked.remove(request),
        session::Event::Message(Message::Unavailable { request, .. }) => {
            asked.remove(request);
            true
        }
        _ => true,
    }
}

/// What the end of a session says of the other side.
const fn verdict(reason: &CloseReason, who: Who) -> Option<Effect> {
    match reason {
        CloseReason::Misbehaved(rule) => Some(Effect::Accuse(rule.0, who)),
        CloseReason::Timeout(Awaited::Liveness) => Some(Effect::GiveUp),
        CloseReason::Timeout(_)
        | CloseReason::Local(_)
        | CloseReason::Remote(_)
        | CloseReason::Incompatible(_) => None,
    }
}

pub(super) const fn circuit() -> Carrier {
    Carrier::Circuit {
        writable_bytes: 0,
        unsent: VecDeque::new(),
        unread: VecDeque::new(),
        read: 0,
        ended: None,
    }
}
