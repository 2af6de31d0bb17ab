//! Who is online, and with what: the soft state, in memory, from which lookups and lists are
//! answered.
//!
//! The database is the truth about what was announced; this follows it. A peer is in here from the
//! moment it speaks (what it had announced is recalled from the database then) until its deadline:
//! 90 s after its last sign of life, 10 s after the end of its last relay session if it says
//! nothing more. A peer with an open relay session has no deadline. One ordered queue holds all
//! deadlines, so that an expiry costs what it touches and every answer is exact.
//!
//! It also knows from which IP addresses a key lately spoke to us: a public address is passed on
//! only if its owner proved in this way that it is its own, or anybody could aim all downloaders at
//! a stranger.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use towpath_core::id::{Instance, PeerId};
use towpath_core::limits::MAX_SHARES_PER_INSTANCE;

use crate::address::is_global;
use crate::limits::{
    MAX_HOLDERS, MAX_PEERS, MAX_SPOKEN_IPS, OFFLINE_AFTER, RELAY_GRACE, SPOKEN_FOR, WITHDRAW_AFTER,
};
use crate::model::{Change, Changed, FileKey, FileRow, PeerKey, PeerRow, Recalled};

/// The directory. Its lock is held for memory accesses only.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    peers: HashMap<PeerKey, Peer>,
    deadlines: BTreeSet<(Instant, PeerKey)>,
    files: HashMap<FileKey, File>,
    /// Public files, newest first.
    listed: BTreeSet<(Reverse<i64>, FileKey)>,
    holders: usize,
    /// Open relay sessions of each instance.
    relay: HashMap<Instance, u32>,
    spoken: HashMap<PeerId, Vec<(IpAddr, Instant)>>,
}

#[derive(Debug)]
struct Peer {
    row: Arc<PeerRow>,
    /// `None` while a relay session is open.
    deadline: Option<Instant>,
    /// What it has, and since when.
    held: HashMap<FileKey, Instant>,
}

#[derive(Debug)]
struct File {
    row: Arc<FileRow>,
    /// The name as it is searched.
    folded: Box<str>,
    /// Who has it, and whether all of it.
    holders: BTreeMap<PeerKey, bool>,
}

/// A file with its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) row: Arc<FileRow>,
    pub(crate) seeders: usize,
    pub(crate) leechers: usize,
}

/// A peer as others may see it.
#[derive(Debug, Clone)]
pub(crate) struct PeerView {
    pub(crate) row: Arc<PeerRow>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) seeder: bool,
}

/// What a heartbeat means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    /// Not in memory: recall it, and try again.
    Stranger,
    /// It names something that it never announced.
    Unknown,
    /// As it should be; it has these no more.
    Fine {
        /// What it did not name.
        withdrawn: Vec<FileKey>,
    },
}

impl Directory {
    fn at(&self, now: Instant) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.expire(now);
        inner
    }

    /// Follows a change that the database has made.
    pub(crate) fn apply(&self, now: Instant, change: &Change, changed: &Changed) {
        let mut inner = self.at(now);
        match (change, changed) {
            (Change::Register(row), _) => {
                inner.put_peer(now, row);
                inner.heard(now, &row.key);
            }
            (Change::Announce { by, seeder, .. }, Changed::File(file)) => {
                if !inner.peers.contains_key(&by.key) {
                    inner.put_peer(now, by);
                }
                inner.hold(now, &by.key, file, *seeder);
                inner.heard(now, &by.key);
            }
            (Change::Withdraw(peer, file), _) => inner.release(peer, file),
            (Change::Remove(peer), _) => inner.drop_peer(peer),
            (Change::DeleteFile(file), _) => inner.drop_file(file),
            (Change::Recall(_), Changed::Recalled(Some(recalled))) => inner.recall(now, recalled),
            (
                Change::Announce { .. }
                | Change::Recall(_)
                | Change::Touch(_)
                | Change::Prune { .. },
                _,
            ) => {}
        }
    }

    /// A sign of life; false if the peer is not in memory.
    pub(crate) fn heard(&self, now: Instant, peer: &PeerKey) -> bool {
        self.at(now).heard(now, peer)
    }

    /// The holder of this key spoke to us from there.
    pub(crate) fn spoke(&self, now: Instant, key: PeerId, ip: IpAddr) {
        let mut inner = self.at(now);
        if inner.spoken.len() >= MAX_PEERS && !inner.spoken.contains_key(&key) {
            return;
        }
        let ips = inner.spoken.entry(key).or_insert_with(|| Vec::with_capacity(1));
        ips.retain(|(old, _)| *old != ip);
        if ips.len() == MAX_SPOKEN_IPS {
            ips.remove(0);
        }
        ips.push((ip, now));
    }

    /// A relay session began; false if the peer is not in memory.
    pub(crate) fn relay_opened(&self, now: Instant, instance: Instance) -> bool {
        let mut inner = self.at(now);
        *inner.relay.entry(instance).or_default() += 1;
        inner.set_deadline(&PeerKey::Native(instance), None)
    }

    /// A relay session ended.
    pub(crate) fn relay_closed(&self, now: Instant, instance: Instance) {
        let mut inner = self.at(now);
        let Some(sessions) = inner.relay.get_mut(&instance) else { return };
        *sessions -= 1;
        if *sessions == 0 {
            inner.relay.remove(&instance);
            inner.set_deadline(&PeerKey::Native(instance), Some(now + RELAY_GRACE));
        }
    }

    /// A native peer says that it is there, with these.
    // spec T12
    pub(crate) fn heartbeat(&self, now: Instant, peer: &PeerKey, named: &[FileKey]) -> Heartbeat {
        let mut inner = self.at(now);
        if !inner.heard(now, peer) {
            return Heartbeat::Stranger;
        }
        let Some(known) = inner.peers.get(peer) else { return Heartbeat::Stranger };
        if named.iter().any(|file| !known.held.contains_key(file)) {
            return Heartbeat::Unknown;
        }
        let named: BTreeSet<&FileKey> = named.iter().collect();
        let stale = |since: Instant| now.saturating_duration_since(since) >= WITHDRAW_AFTER;
        let withdrawn = known
            .held
            .iter()
            .filter(|(file, since)| !named.contains(file) && stale(**since))
            .map(|(file, _)| file.clone())
            .collect();
        Heartbeat::Fine { withdrawn }
    }

    /// The peer, if it is in memory.
    pub(crate) fn peer(&self, now: Instant, peer: &PeerKey) -> Option<Arc<PeerRow>> {
        self.at(now).peers.get(peer).map(|peer| Arc::clone(&peer.row))
    }

    /// All peers that are online.
    pub(crate) fn peers(&self, now: Instant) -> Vec<Arc<PeerRow>> {
        self.at(now).peers.values().map(|peer| Arc::clone(&peer.row)).collect()
    }

    /// Whether an announce would change nothing, so that the database need not be asked. It counts
    /// as a sign of life then.
    pub(crate) fn is_known(
        &self,
        now: Instant,
        by: &PeerKey,
        file: &FileRow,
        seeder: bool,
    ) -> bool {
        let mut inner = self.at(now);
        let Some(known) = inner.files.get(&file.key) else { return false };
        let row = &known.row;
        let same = known.holders.get(by) == Some(&seeder)
            && row.public == file.public
            && row.size == file.size
            && row.chunk_count == file.chunk_count
            && (row.named_by != *by || row.name == file.name);
        same && inner.heard(now, by)
    }

    /// Whether a new announce of this peer can be taken; names the limit if not.
    // spec T18
    pub(crate) fn room_for(&self, now: Instant, by: &PeerKey) -> Result<(), &'static str> {
        let inner = self.at(now);
        let held = inner.peers.get(by).map_or(0, |peer| peer.held.len());
        if held >= MAX_SHARES_PER_INSTANCE {
            return Err("This peer announces too many files already.");
        }
        if inner.holders >= MAX_HOLDERS || inner.peers.len() >= MAX_PEERS {
            return Err("The tracker is full. Try again later.");
        }
        Ok(())
    }

    /// The name of a file may be replaced by that of a new announce: nobody who is online gave it.
    // spec T17
    pub(crate) fn is_orphan(&self, now: Instant, file: &FileKey, by: &PeerKey) -> bool {
        let inner = self.at(now);
        inner.files.get(file).is_none_or(|file| {
            file.row.named_by == *by || !file.holders.contains_key(&file.row.named_by)
        })
    }

    /// A file that somebody online has, and at most `max` of those who do: seeders first, among
    /// equals any. `random` decides which, if there are more.
    pub(crate) fn lookup(
        &self,
        now: Instant,
        file: &FileKey,
        max: usize,
        random: usize,
    ) -> Option<(Listed, Vec<PeerView>)> {
        let inner = self.at(now);
        let file = inner.files.get(file)?;
        let mut holders: Vec<(&PeerKey, bool)> =
            file.holders.iter().map(|(peer, seeder)| (peer, *seeder)).collect();
        let start = random % holders.len().max(1);
        holders.rotate_left(start);
        holders.sort_by_key(|(_, seeder)| !seeder);
        let views = holders
            .into_iter()
            .filter_map(|(key, seeder)| inner.view(now, key, seeder))
            .take(max)
            .collect();
        Some((file.listed(), views))
    }

    /// Public files that somebody online has, newest first; with a query those whose name holds it.
    // spec T15b
    pub(crate) fn list(
        &self,
        now: Instant,
        query: Option<&str>,
        offset: usize,
        limit: usize,
    ) -> Vec<Listed> {
        let query = query.map(str::to_lowercase);
        let inner = self.at(now);
        inner
            .listed
            .iter()
            .filter_map(|(_, key)| inner.files.get(key))
            .filter(|file| query.as_ref().is_none_or(|query| file.folded.contains(query.as_str())))
            .skip(offset)
            .take(limit)
            .map(File::listed)
            .collect()
    }

    /// Instances with an open relay session that have something public. Those that have not are not
    /// named: that somebody shares something in private is nobody's business.
    // spec K2
    pub(crate) fn relay_peers(&self, now: Instant, limit: usize) -> Vec<Instance> {
        let inner = self.at(now);
        let public = |instance: &Instance| {
            inner.peers.get(&PeerKey::Native(*instance)).is_some_and(|peer| {
                peer.held.keys().any(|key| inner.files.get(key).is_some_and(|f| f.row.public))
            })
        };
        let mut found: Vec<Instance> = inner.relay.keys().copied().filter(public).collect();
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// Drops what has run out.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut inner = self.at(now);
        let inner = &mut *inner;
        let recent = |at: Instant| now.saturating_duration_since(at) < SPOKEN_FOR;
        inner.spoken.retain(|_, ips| {
            ips.retain(|(_, at)| recent(*at));
            !ips.is_empty()
        });
    }
}

impl Inner {
    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.deadlines.first() {
            if *at > now {
                return;
            }
            let Some((_, key)) = self.deadlines.pop_first() else { return };
            self.drop_peer(&key);
        }
    }

    fn set_deadline(&mut self, key: &PeerKey, deadline: Option<Instant>) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        if let Some(old) = peer.deadline {
            self.deadlines.remove(&(old, key.clone()));
        }
        peer.deadline = deadline;
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key.clone()));
        }
        true
    }

    fn in_relay(&self, key: &PeerKey) -> bool {
        matches!(key, PeerKey::Native(instance) if self.relay.contains_key(instance))
    }

    // spec T13
    fn heard(&mut self, now: Instant, key: &PeerKey) -> bool {
        let deadline = if self.in_relay(key) { None } else { Some(now + OFFLINE_AFTER) };
        self.set_deadline(key, deadline)
    }

    fn put_peer(&mut self, now: Instant, row: &PeerRow) {
        let row = Arc::new(row.clone());
        if let Some(peer) = self.peers.get_mut(&row.key) {
            peer.row = row;
            return;
        }
        let key = row.key.clone();
        self.peers.insert(key.clone(), Peer { row, deadline: None, held: HashMap::new() });
        self.heard(now, &key);
    }

    fn hold(&mut self, now: Instant, by: &PeerKey, row: &Arc<FileRow>, seeder: bool) {
        let Some(peer) = self.peers.get_mut(by) else { return };
        peer.held.insert(row.key.clone(), now);
        let file = self.files.entry(row.key.clone()).or_insert_with(|| File {
            row: Arc::clone(row),
            folded: Box::default(),
            holders: BTreeMap::new(),
        });
        if file.holders.insert(by.clone(), seeder).is_none() {
            self.holders += 1;
        }
        self.listed.remove(&(Reverse(file.row.added_at), row.key.clone()));
        file.row = Arc::clone(row);
        if row.public {
            file.folded = row.name.to_lowercase().into();
            self.listed.insert((Reverse(row.added_at), row.key.clone()));
        }
    }

    fn recall(&mut self, now: Instant, recalled: &Recalled) {
        let key = &recalled.peer.key;
        if self.peers.contains_key(key) || self.peers.len() >= MAX_PEERS {
            return;
        }
        self.put_peer(now, &recalled.peer);
        for (file, seeder) in &recalled.files {
            if self.holders < MAX_HOLDERS {
                self.hold(now, key, file, *seeder);
            }
        }
    }

    /// The file loses a holder; without any it is no longer in memory.
    fn unhold(&mut self, by: &PeerKey, key: &FileKey) {
        let Some(file) = self.files.get_mut(key) else { return };
        if file.holders.remove(by).is_some() {
            self.holders -= 1;
        }
        if file.holders.is_empty() {
            self.listed.remove(&(Reverse(file.row.added_at), key.clone()));
            self.files.remove(key);
        }
    }

    fn release(&mut self, by: &PeerKey, file: &FileKey) {
        if let Some(peer) = self.peers.get_mut(by) {
            peer.held.remove(file);
        }
        self.unhold(by, file);
    }

    fn drop_peer(&mut self, key: &PeerKey) {
        let Some(peer) = self.peers.remove(key) else { return };
        if let Some(deadline) = peer.deadline {
            self.deadlines.remove(&(deadline, key.clone()));
        }
        for file in peer.held.keys() {
            self.unhold(key, file);
        }
    }

    fn drop_file(&mut self, key: &FileKey) {
        let Some(file) = self.files.get(key) else { return };
        let holders: Vec<PeerKey> = file.holders.keys().cloned().collect();
        for holder in holders {
            self.release(&holder, key);
        }
    }

    /// What others may see of a peer; nothing of a founding peer without an address.
    // spec T9
    fn view(&self, now: Instant, key: &PeerKey, seeder: bool) -> Option<PeerView> {
        let row = Arc::clone(&self.peers.get(key)?.row);
        let addresses = match key {
            PeerKey::Founding(_) => vec![row.founding_address?],
            PeerKey::Native(instance) => {
                let spoken = self.spoken.get(&instance.peer).map_or(&[][..], Vec::as_slice);
                let proven = |ip: IpAddr| {
                    spoken.iter().any(|(from, at)| {
                        *from == ip && now.saturating_duration_since(*at) < SPOKEN_FOR
                    })
                };
                let may_list = |a: &&SocketAddr| !is_global(a.ip()) || proven(a.ip());
                row.addresses.iter().filter(may_list).copied().collect()
            }
        };
        Some(PeerView { row, addresses, seeder })
    }
}

impl File {
    fn listed(&self) -> Listed {
        let seeders = self.holders.values().filter(|seeder| **seeder).count();
        Listed { row: Arc::clone(&self.row), seeders, leechers: self.holders.len() - seeders }
    }
}

#[cfg(test)]
mod tests;
