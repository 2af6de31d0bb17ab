//! What is watched of every peer while it acts, beyond what it says of itself.
//!
//! - **Onlooker.** Every byte that goes to a stream is seen. No two sealed records of a world may
//!   begin with the same eight bytes: messages and chunks begin alike, so that a key that meets a
//!   nonce twice shows there, and by chance it does not happen in the age of the universe.
//! - **Books of requests.** What was asked and is neither answered nor cancelled must still be
//!   wanted: a chunk that is stored is asked of nobody.
//! - **Paths.** What a store would make of a manifest that the core lets pass lies within the
//!   target: in folders that the manifest has, behind no link, without `..`.
//!
//! A peer collects ([`Oracle`]), the world looks at it after every input ([`Watch`]).

use std::collections::{BTreeMap, BTreeSet};

use towpath_core::id::{ChunkRef, ContentKey, LinkId, Locator};
use towpath_core::manifest::{Entry, What, resolve_link};
use towpath_core::node::{self, StoreResult};
use towpath_core::session::preamble::PREAMBLE_BYTES;
use towpath_core::session::{Command, Event, Role};
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

/// What is known of one peer.
#[derive(Debug, Default)]
pub struct Oracle {
    wires: BTreeMap<LinkId, Wire>,
    /// How records began that were sealed since the world looked last.
    beginnings: Vec<u64>,
    /// Downloads by what they fetch; one that is begun again takes the place of the last.
    downloads: BTreeMap<Locator, ContentKey>,
    /// What was opened, or asked to be.
    opened: BTreeMap<(LinkId, Handle), Locator>,
    /// Open requests that were not cancelled.
    asked: BTreeMap<(LinkId, RequestId), (ContentKey, ChunkRef)>,
    broken: Option<String>,
}

/// What one link has sent.
#[derive(Debug)]
struct Wire {
    /// Bytes to come that belong to no record: the preamble.
    clear: usize,
    /// A record that is not whole.
    rest: Vec<u8>,
}

/// What a node hears.
#[derive(Debug, Clone, Copy)]
pub enum News {
    /// This is to be fetched.
    Wanted(ContentKey, Locator),
    /// This chunk is on disk.
    Stored(ContentKey, ChunkRef),
    /// This link has ended, and what was asked on it with it.
    Closed(LinkId),
}

/// What is known of all peers together.
#[derive(Debug, Default)]
pub struct Watch {
    beginnings: BTreeSet<u64>,
}

impl Oracle {
    /// A link hands bytes to its stream.
    pub fn sent(&mut self, link: LinkId, role: &Role, bytes: &[u8]) {
        let wire = self.wires.entry(link).or_insert_with(|| {
            let clear = match role {
                Role::Initiator { .. } => PREAMBLE_BYTES,
                Role::Responder { .. } => 0,
            };
            Wire { clear, rest: Vec::new() }
        });
        let cleared = wire.clear.min(bytes.len());
        wire.clear -= cleared;
        wire.rest.extend_from_slice(&bytes[cleared..]);
        let mut rest = &wire.rest[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<2>()
            && let Some((record, after)) =
                after.split_at_checked(usize::from(u16::from_be_bytes(*prefix)))
        {
            let Some(beginning) = record.first_chunk() else { break };
            self.beginnings.push(u64::from_be_bytes(*beginning));
            rest = after;
        }
        let used = wire.rest.len() - rest.len();
        wire.rest.drain(..used);
    }

    /// The node tells a session something.
    pub fn commanded(&mut self, link: LinkId, command: &Command) {
        match command {
            Command::Request { request, handle, chunk } => {
                let locator = self.opened.get(&(link, *handle));
                if let Some(key) = locator.and_then(|locator| self.downloads.get(locator)) {
                    self.asked.insert((link, *request), (*key, *chunk));
                }
            }
            Command::Send(Message::Open { handle, locator, .. }) => {
                self.opened.insert((link, *handle), *locator);
            }
            Command::Send(Message::Cancel { request }) => {
                self.asked.remove(&(link, *request));
            }
            Command::Send(_)
            | Command::Serve { .. }
            | Command::Forget { .. }
            | Command::Recycle(_)
            | Command::Close(_) => {}
        }
    }

    /// A session tells the node something.
    pub fn came(&mut self, link: LinkId, event: &Event) {
        match event {
            Event::Message(Message::Unavailable { request, why: Unavailable::Withdrawn }) => {
                // Whoever withdraws a share answers all its requests like this, one by one.
                if let Some((key, _)) = self.asked.remove(&(link, *request)) {
                    self.asked.retain(|(of, _), (asked, _)| *of != link || *asked != key);
                }
            }
            Event::Chunk { request, .. } | Event::Message(Message::Unavailable { request, .. }) => {
                self.asked.remove(&(link, *request));
            }
            Event::Closed(_) => drop(self.wires.remove(&link)),
            Event::Established { .. }
            | Event::Message(_)
            | Event::Progress { .. }
            | Event::Served { .. } => {}
        }
    }

    /// What the node is about to hear that matters here.
    #[must_use]
    pub const fn news(input: &node::Input) -> Option<News> {
        match input {
            node::Input::Get { content, locator, .. } => Some(News::Wanted(*content, *locator)),
            node::Input::ChunkStored { content, chunk, result: StoreResult::Written, .. } => {
                Some(News::Stored(*content, *chunk))
            }
            node::Input::Session { link, event: Event::Closed(_) } => Some(News::Closed(*link)),
            _ => None,
        }
    }

    /// The node has heard it and acted: what is on disk is asked of nobody any more.
    pub fn check(&mut self, news: Option<News>) {
        let stored = match news {
            Some(News::Stored(content, chunk)) => (content, chunk),
            Some(News::Wanted(content, locator)) => {
                self.downloads.insert(locator, content);
                return;
            }
            Some(News::Closed(link)) => {
                self.opened.retain(|(of, _), _| *of != link);
                return self.asked.retain(|(of, _), _| *of != link);
            }
            None => return,
        };
        let (_, chunk) = stored;
        if let Some(((link, _), _)) = self.asked.iter().find(|(_, asked)| **asked == stored) {
            self.broken = Some(format!("has {chunk:?}, and still asks {link:?} for it"));
        }
    }
}

impl Watch {
    /// Looks at a peer after an input.
    ///
    /// # Errors
    /// What it must not do.
    pub fn look(&mut self, oracle: &mut Oracle) -> Result<(), String> {
        for beginning in oracle.beginnings.drain(..) {
            if !self.beginnings.insert(beginning) {
                return Err("sealed two records with one key and one nonce".into());
            }
        }
        oracle.broken.take().map_or(Ok(()), Err)
    }
}

/// Looks where the entries of a manifest would come to lie.
///
/// # Errors
/// The entry that would not lie within the target.
pub fn check_paths(entries: &[Entry]) -> Result<(), String> {
    let mut folders = BTreeSet::from([&b""[..]]);
    for Entry { path, what, .. } in entries {
        let name = String::from_utf8_lossy(path);
        if path.split(|byte| *byte == b'/').any(|part| part == b".." || part == b".") {
            return Err(format!("{name} would lie outside of the target"));
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
        if !folders.contains(parent) {
            return Err(format!("{name} would lie in something that is no folder"));
        }
        match what {
            What::Folder => drop(folders.insert(path)),
            What::File { .. } => {}
            What::Link { target } if resolve_link(path, target).is_some() => {}
            What::Link { .. } => return Err(format!("{name} would lead out of the target")),
        }
    }
    Ok(())
}
