//! Two links between the same two instances: the better path stays; on one path the one whose
//! initiator is the smaller instance (its key first).
//!
//! The loser is not cut: first everything that we have open on it is opened on the winner. Its
//! initiator closes it once neither side uses it; on the same path also after a while, because the
//! other side then has no reason to stay. A winner that dies gives the loser its life back.

use alloc::vec::Vec;

use super::super::{Event, Node, Timer};
use super::{Link, Origin};
use crate::close::{CloseReason, LocalClose};
use crate::id::{ContentKey, Instance, LinkId};
use crate::limits::RETIRE_TIMEOUT;
use crate::path::{PathKind, Policy, Reason};

/// Whether a download with this policy may use a link over this path when it has the choice.
pub(in super::super) const fn allows(policy: Policy, path: PathKind) -> bool {
    match (policy, path) {
        (Policy::Auto | Policy::Sequential, _)
        | (Policy::Direct, PathKind::Direct)
        | (Policy::Relay, PathKind::Relay) => true,
        (Policy::Direct, PathKind::Punched | PathKind::Relay)
        | (Policy::Relay, PathKind::Direct | PathKind::Punched) => false,
    }
}

impl Node {
    fn initiator(&self, link: &Link, peer: Instance) -> Instance {
        match link.origin {
            Origin::Ours(_) => self.config.me,
            Origin::Theirs(_) => peer,
        }
    }

    /// A link has come up: does it replace another, or another it?
    pub(super) fn settle_rivals(&mut self, new: LinkId, peer: Instance) {
        for old in self.links.to(peer) {
            if old == new {
                continue;
            }
            let (Some(a), Some(b)) = (self.links.table.get(&old), self.links.table.get(&new))
            else {
                continue;
            };
            let rank = |link: &Link| (link.path, self.initiator(link, peer));
            let (rank_old, rank_new) = (rank(a), rank(b));
            if rank_old == rank_new {
                // Both from one side: that side knows why.
                continue;
            }
            let (winner, loser) = if rank_new < rank_old { (new, old) } else { (old, new) };
            let same_path = a.path == b.path;
            self.retire(loser, winner, peer, same_path);
        }
    }

    fn retire(&mut self, loser: LinkId, winner: LinkId, peer: Instance, same_path: bool) {
        let Some(link) = self.links.table.get_mut(&loser) else { return };
        link.retiring = Some(winner);
        let ours = matches!(link.origin, Origin::Ours(_));
        let contents: Vec<ContentKey> = link.asks.values().map(|ask| ask.content).collect();
        let Some((path, _)) = self.links.up(winner) else { return };
        for key in contents {
            let Some(fetch) = self.fetch_mut(key) else { continue };
            if allows(fetch.wish.policy, path) {
                self.move_carrier(key, peer, winner);
                if !same_path {
                    let reason = Reason::DirectConnected;
                    self.event(Event::Path { content: key, peer: peer.peer, path, reason });
                }
                self.open_share(winner, key);
            }
        }
        if ours && same_path {
            self.set_timer(Timer::Retire(loser), RETIRE_TIMEOUT);
        }
        self.check_retiring(loser);
    }

    /// Closes a superseded link of ours that neither side uses any more.
    pub(in super::super) fn check_retiring(&mut self, loser: LinkId) {
        let Some(link) = self.links.up_mut(loser) else { return };
        let Some(winner) = link.retiring else { return };
        let ours = matches!(link.origin, Origin::Ours(_));
        if !ours || !link.asks.is_empty() || !link.serving.is_empty() {
            return;
        }
        let theirs: Vec<ContentKey> = link.opened.values().map(|opened| opened.content).collect();
        let Some(winner) = self.links.up_mut(winner) else { return };
        let moved =
            theirs.iter().all(|key| winner.opened.values().any(|opened| opened.content == *key));
        if moved {
            self.close_link(loser, &CloseReason::Local(LocalClose::Superseded));
        }
    }

    /// Looks again at all links that `winner` replaces.
    pub(in super::super) fn check_retiring_for(&mut self, winner: LinkId) {
        let Some((_, peer)) = self.links.up(winner) else { return };
        for link in self.links.to(peer) {
            self.check_retiring(link);
        }
    }

    pub(in super::super) fn on_retire(&mut self, loser: LinkId) {
        if self.links.up_mut(loser).is_some_and(|link| link.retiring.is_some()) {
            self.close_link(loser, &CloseReason::Local(LocalClose::Superseded));
        }
    }

    /// A winner has gone: those that it was to replace live on.
    pub(super) fn forget_rival(&mut self, gone: LinkId, peer: Instance) {
        for other in self.links.to(peer) {
            if let Some(link) = self.links.up_mut(other)
                && link.retiring == Some(gone)
            {
                link.retiring = None;
                self.timers.clear(&Timer::Retire(other));
            }
        }
    }
}

#[cfg(test)]
mod tests;
