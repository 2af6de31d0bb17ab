//! Asking in return: whoever opens at us what we are fetching has some of it, or will have soon, so
//! we open it there too, in the same session. A swarm then forms as fast as its members find one of
//! each pair, and a peer that cannot be dialled gives as well as it takes.
//!
//! Nobody vouches for such a peer, not even the tracker. It is asked for one chunk until it has
//! proven that, like all others; if that was false, its host is not asked in return again, and
//! after a few such lies nobody is, in this download. Peers that the tracker names are not touched
//! by that.

use super::contents::Stage;
use super::links::rivals::allows;
use super::peers::Peer;
use super::{Event, Node};
use crate::id::{ContentKey, Instance, LinkId};
use crate::limits::{MAX_LIES_IN_RETURN, MAX_PEERS_PER_DOWNLOAD};
use crate::path::Reason;

impl Node {
    /// The peer of this link has opened `key`, which we may be fetching ourselves.
    // spec P24b, P25
    pub(super) fn ask_in_return(&mut self, link: LinkId, key: ContentKey) {
        let Some((path, instance)) = self.links.up(link) else { return };
        let Some(host) = self.host_of(link) else { return };
        let ip = self.links.network(link);
        if self.banned.contains(&instance) || self.is_left_alone(&instance.peer, ip) {
            return;
        }
        let Some(fetch) = self.fetch_mut(key) else { return };
        let wanted = match fetch.stage {
            Stage::Described | Stage::Fetching(_) | Stage::Between(_) => true,
            Stage::Locating | Stage::Finished | Stage::Failed => false,
        };
        let known = fetch.peers.contains_key(&instance);
        let room =
            fetch.peers.values().filter(|peer| peer.is_active()).count() < MAX_PEERS_PER_DOWNLOAD;
        let trusted =
            fetch.lies_in_return < MAX_LIES_IN_RETURN && !fetch.hosts_of_lies.contains(&host);
        if !wanted || known || !room || !trusted || !allows(fetch.wish.policy, path) {
            return;
        }
        fetch.peers.insert(instance, Peer::in_return(instance, link));
        let reason = Reason::PeerCame;
        self.event(Event::Path { content: key, peer: instance.peer, path, reason });
        self.open_share(link, key);
    }

    /// What a peer sent that came by itself was false.
    pub(super) fn note_lie_in_return(&mut self, key: ContentKey, link: LinkId, instance: Instance) {
        let Some(host) = self.host_of(link) else { return };
        let Some(fetch) = self.fetch_mut(key) else { return };
        if fetch.peers.get(&instance).is_some_and(Peer::came_by_itself) {
            fetch.lies_in_return += 1;
            fetch.hosts_of_lies.insert(host);
        }
    }

    /// Forgets a peer that came by itself, whatever state it is in: nobody knows how to reach it.
    /// Answers whether it was one.
    pub(super) fn forget_if_it_came(&mut self, key: ContentKey, instance: Instance) -> bool {
        let came = |fetch: &mut super::contents::Fetch| {
            fetch.peers.get(&instance).is_some_and(Peer::came_by_itself)
        };
        if !self.fetch_mut(key).is_some_and(came) {
            return false;
        }
        self.end_peer(key, instance);
        if let Some(fetch) = self.fetch_mut(key) {
            fetch.peers.remove(&instance);
        }
        true
    }
}

#[cfg(test)]
mod tests;
