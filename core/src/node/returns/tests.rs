//! Who is asked in return, and who is not.

use super::super::contents::Fetch;
use super::super::contents::tests::getting;
use super::super::links::tests::{KEY, instance, stand};
use super::*;
use crate::id::Space;
use crate::path::{PathKind, Policy};

/// A node that fetches, and a link from somebody.
fn getter(policy: Policy) -> (Node, LinkId) {
    let mut node = getting(policy);
    fetch(&mut node).stage = Stage::Fetching(Space::Root);
    let link = stand(&mut node, instance(7), PathKind::Direct, false);
    (node, link)
}

fn fetch(node: &mut Node) -> &mut Fetch {
    node.contents.get_mut(&KEY).unwrap().fetch.as_mut().unwrap()
}

/// Whether the peer is asked in return, once the node was prepared so.
fn asked(policy: Policy, prepare: impl Fn(&mut Node)) -> bool {
    let (mut node, link) = getter(policy);
    prepare(&mut node);
    node.ask_in_return(link, KEY);
    let peer = fetch(&mut node).peers.get(&instance(7));
    let came = peer.is_some_and(Peer::came_by_itself);
    assert_eq!(came, node.links.up_mut(link).is_some_and(|link| !link.asks.is_empty()));
    came
}

#[test]
fn whoever_opens_what_we_fetch_is_asked_in_return_unless_there_is_a_reason() {
    let active = |node: &mut Node, number: usize| {
        for number in 0..number as u64 {
            let who = Instance { number, ..instance(9) };
            fetch(node).peers.insert(who, Peer::in_return(who, LinkId(0)));
        }
    };
    assert!(asked(Policy::Auto, |_| {}));
    assert!(asked(Policy::Direct, |_| {}));
    assert!(!asked(Policy::Relay, |_| {}), "the link is not one that we may use");
    assert!(asked(Policy::Auto, |node| fetch(node).stage = Stage::Described));
    assert!(!asked(Policy::Auto, |node| fetch(node).stage = Stage::Locating));
    assert!(!asked(Policy::Auto, |node| fetch(node).stage = Stage::Finished));
    assert!(!asked(Policy::Auto, |node| {
        node.banned.insert(instance(7));
    }));
    assert!(asked(Policy::Auto, |node| active(node, MAX_PEERS_PER_DOWNLOAD - 1)));
    assert!(!asked(Policy::Auto, |node| active(node, MAX_PEERS_PER_DOWNLOAD)));
    assert!(asked(Policy::Auto, |node| fetch(node).lies_in_return = MAX_LIES_IN_RETURN - 1));
    assert!(!asked(Policy::Auto, |node| fetch(node).lies_in_return = MAX_LIES_IN_RETURN));
    assert!(!asked(Policy::Auto, |node| {
        let host = node.host_of(LinkId(0)).unwrap();
        fetch(node).hosts_of_lies.insert(host);
    }));
}

#[test]
fn lies_of_those_who_came_count_for_all_who_come() {
    let (mut node, link) = getter(Policy::Auto);
    node.note_lie_in_return(KEY, link, instance(7));
    assert_eq!(fetch(&mut node).lies_in_return, 0, "nobody whom we asked");
    assert!(!node.forget_if_it_came(KEY, instance(7)));
    node.ask_in_return(link, KEY);
    node.note_lie_in_return(KEY, link, instance(7));
    node.note_lie_in_return(KEY, link, instance(7));
    let host = node.host_of(link).unwrap();
    let fetched = fetch(&mut node);
    assert_eq!((fetched.lies_in_return, fetched.hosts_of_lies.contains(&host)), (2, true));
    assert!(node.forget_if_it_came(KEY, instance(7)));
    assert!(fetch(&mut node).peers.is_empty());
}
