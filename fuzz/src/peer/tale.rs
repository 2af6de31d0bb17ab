//! What is worth telling of what machines say to each other: one short line each, for golden
//! traces.

use std::fmt::Debug;

use towpath_core::node::{self, StoreResult};
use towpath_core::relay::client;
use towpath_core::session;
use towpath_core::tracker_api::{Request, Response};
use towpath_core::wire::Message;

use super::{Effect, Peer, Work};

/// How much a peer tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tells {
    /// Nothing.
    #[default]
    Nothing,
    /// What nodes and relay clients decide, and which messages they send.
    Story,
    /// Also how many bytes each session sends.
    Bytes,
}

impl Peer {
    pub(super) fn tale(&mut self, tale: impl FnOnce() -> Option<(&'static str, String)>) {
        if self.tells != Tells::Nothing
            && let Some((machine, what)) = tale()
        {
            self.effects.push(Effect::Tale(machine, what));
        }
    }
}

fn node(what: String) -> Option<(&'static str, String)> {
    Some(("node", what))
}

fn relay(what: String) -> Option<(&'static str, String)> {
    Some(("relay", what))
}

/// A name of a variant, without what it holds.
fn name(what: &impl Debug) -> String {
    let text = format!("{what:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_lowercase()
}

pub(super) fn of_work(work: &Work) -> Option<(&'static str, String)> {
    match work {
        Work::Node(node::Input::ChunkStored { chunk, result, .. }) => match result {
            StoreResult::Written => {
                node(format!("chunk {:?} {} is written", chunk.space, chunk.index))
            }
            StoreResult::False => node(format!("chunk {:?} {} is FALSE", chunk.space, chunk.index)),
            StoreResult::Failed(why) => node(format!("store failed: {why}")),
        },
        Work::Node(node::Input::DialFailed { link, error }) => {
            node(format!("{} failed: {error:?}", link_name(*link)))
        }
        Work::Node(node::Input::Reply { result, .. }) => match result {
            Ok(Response::Done { .. }) => node("tracker: done".into()),
            Ok(Response::Peers(peers)) => node(format!("tracker: {} peers", peers.len())),
            Err(error) => node(format!("tracker: {error:?}")),
        },
        Work::Node(node::Input::Begin { space, have, shape, .. }) => {
            let had = (0..shape.chunks).filter(|index| have.contains(*index)).count();
            node(format!("begins {space:?} with {had} of {} chunks", shape.chunks))
        }
        Work::Node(node::Input::Shutdown) => node("is told to stop".into()),
        Work::Node(node::Input::Finished(_)) => node("the target stands under its name".into()),
        Work::Node(_) | Work::Client(_) | Work::Session(..) => None,
        Work::Dialled(link) => node(format!("{} is open", link_name(*link))),
        Work::Incoming(..) => node("a stream comes in".into()),
    }
}

pub(super) fn of_node(transmit: &node::Transmit) -> Option<(&'static str, String)> {
    match transmit {
        node::Transmit::Dial { link, to, .. } => node(format!("{} dials {to}", link_name(*link))),
        node::Transmit::OpenCircuit { link, .. } => {
            node(format!("{} asks for a circuit", link_name(*link)))
        }
        node::Transmit::Accept { link, .. } => node(format!("{} is accepted", link_name(*link))),
        node::Transmit::Refuse { .. } => node("refuses a stream".into()),
        node::Transmit::Abandon { link } => node(format!("{} is abandoned", link_name(*link))),
        node::Transmit::Session { link, command } => match command {
            session::Command::Send(message) if is_news(message) => {
                node(format!("{} says {}", link_name(*link), name(message)))
            }
            session::Command::Close(reason) => {
                node(format!("{} is closed: {reason}", link_name(*link)))
            }
            session::Command::Send(_)
            | session::Command::Serve { .. }
            | session::Command::Forget { .. }
            | session::Command::Request { .. }
            | session::Command::Recycle(_) => None,
        },
        node::Transmit::Call { request, .. } => match request {
            Request::Register { .. } => node("calls: register".into()),
            Request::Announce { seeder, .. } => node(format!("calls: announce, whole: {seeder}")),
            Request::Heartbeat { .. } => node("calls: heartbeat".into()),
            Request::Lookup { .. } => node("calls: lookup".into()),
            Request::Remove { .. } => node("calls: remove".into()),
        },
        node::Transmit::WantRelay(want) => node(format!("wants the relay: {want}")),
        node::Transmit::StoreChunk { chunk, link, .. } => {
            let link = link_name(*link);
            node(format!("chunk {:?} {} came over {link}", chunk.space, chunk.index))
        }
        node::Transmit::Deliver { chunk, .. } => node(format!("hands on chunk {}", chunk.index)),
    }
}

/// Whether a message decides anything; requests and chunks are many.
const fn is_news(message: &Message) -> bool {
    match message {
        Message::Open { .. }
        | Message::Opened { .. }
        | Message::Refused { .. }
        | Message::HaveAll { .. }
        | Message::HaveBits { .. }
        | Message::Complete { .. }
        | Message::Bye => true,
        Message::Hello { .. }
        | Message::HaveChunk { .. }
        | Message::Request { .. }
        | Message::Cancel { .. }
        | Message::Unavailable { .. }
        | Message::Ping { .. }
        | Message::Pong { .. } => false,
    }
}

pub(super) fn of_event(event: &node::Event) -> Option<(&'static str, String)> {
    let what = match event {
        node::Event::Announced(_) => "announced".into(),
        node::Event::TrackerTrouble(why) => format!("has trouble with the tracker: {why}"),
        node::Event::Waiting(_) => "waits: nobody is online".into(),
        node::Event::Described { descriptor, .. } => {
            format!("described: {:?}, {} bytes", descriptor.kind, descriptor.length_bytes)
        }
        node::Event::Path { path, reason, .. } => format!("path: {path:?}, {reason}"),
        node::Event::Unreachable { reason, .. } => format!("unreachable: {reason}"),
        node::Event::PeerDropped { reason, .. } => format!("drops a peer: {reason:?}"),
        node::Event::SpaceComplete(_, space) => format!("{space:?} is complete"),
        node::Event::Failed(_, why) => format!("failed: {why:?}"),
        node::Event::Receiver { path, done: true, .. } => {
            format!("a receiver is done, path {path:?}")
        }
        node::Event::Receiver { .. } => return None,
        node::Event::Stopped => "stopped".into(),
    };
    Some(("tells", what))
}

pub(super) fn of_client(transmit: &client::Transmit) -> Option<(&'static str, String)> {
    match transmit {
        client::Transmit::Connect => relay("connects".into()),
        client::Transmit::Disconnect => relay("disconnects".into()),
        client::Transmit::Opened { link } => relay(format!("{} has a circuit", link_name(*link))),
        client::Transmit::Ended { link, reason } => {
            relay(format!("{}: the circuit ended: {reason}", link_name(*link)))
        }
        client::Transmit::Send { .. }
        | client::Transmit::Deliver { .. }
        | client::Transmit::Writable { .. } => None,
    }
}

pub(super) fn of_client_event(event: &client::Event) -> Option<(&'static str, String)> {
    match event {
        client::Event::LoggedIn { .. } => relay("is logged in".into()),
        client::Event::LoggedOut(why) => relay(format!("is logged out: {why}")),
        client::Event::OpenFailed { link, error } => {
            relay(format!("{}: no circuit: {error:?}", link_name(*link)))
        }
        client::Event::Incoming { .. } => relay("somebody asks for a circuit".into()),
    }
}

pub(super) fn of_session(
    link: towpath_core::id::LinkId,
    output: &towpath_core::output::Output<session::Transmit, session::Event>,
    tells: Tells,
) -> Option<(&'static str, String)> {
    use towpath_core::output::Output;
    let link = link_name(link);
    let what = match output {
        Output::Event(session::Event::Established { suite, .. }) => {
            format!("{link} is established, {suite:?}")
        }
        Output::Event(session::Event::Closed(reason)) => format!("{link} is over: {reason}"),
        Output::Event(session::Event::Message(message)) if is_news(message) => {
            format!("{link} hears {}", name(message))
        }
        Output::Transmit(session::Transmit::Send(bytes)) if tells == Tells::Bytes => {
            format!("{link} sends {} bytes", bytes.len())
        }
        Output::Transmit(session::Transmit::ReadChunk { chunk, .. }) => {
            format!("{link} serves chunk {:?} {}", chunk.space, chunk.index)
        }
        Output::Event(_) | Output::Transmit(_) | Output::Timeout(_) => return None,
    };
    Some(("session", what))
}

fn link_name(link: towpath_core::id::LinkId) -> String {
    format!("link {}", link.0)
}
