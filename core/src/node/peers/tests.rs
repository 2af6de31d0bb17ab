//! Peers by hand: their turns, their rests, and what becomes of their links.

use super::super::contents::Stage;
use super::super::contents::tests::getting;
use super::super::links::tests::{KEY, ask, instance, stand};
use super::*;
use crate::id::Space;
use crate::output::Output;

mod changes;

fn named(number: u64, seeder: bool) -> PeerEntry {
    let addresses = Vec::from([core::net::SocketAddr::from(([192, 0, 2, number as u8], 9))]);
    let instance = instance(number);
    PeerEntry { instance, addresses, suites: Vec::new(), relay: true, seeder }
}

fn fetch(node: &mut Node) -> &mut Fetch {
    node.contents.get_mut(&KEY).unwrap().fetch.as_mut().unwrap()
}

fn know(node: &mut Node, number: u64, seeder: bool) {
    fetch(node).peers.insert(instance(number), Peer::new(named(number, seeder)));
}

fn events(node: &mut Node) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match node.poll_output() {
            Output::Event(event) => events.push(event),
            Output::Transmit(_) => {}
            Output::Timeout(_) => return events,
        }
    }
}

#[test]
fn seeders_come_first_and_so_many_at_a_time() {
    let mut node = getting(Policy::Auto);
    let most = MAX_CONNECTING_PER_DOWNLOAD as u64;
    (1..=most + 1).for_each(|number| know(&mut node, number, number > most));
    node.connect_more(KEY);
    let peers = &fetch(&mut node).peers;
    let active = peers.values().filter(|peer| peer.is_active()).count() as u64;
    assert!(peers[&instance(most + 1)].is_active() && peers[&instance(most + 1)].is_connecting());
    assert_eq!((active, peers[&instance(most)].is_active()), (most, false));
    fetch(&mut node).stage = Stage::Finished;
    fetch(&mut node).peers.values_mut().for_each(|peer| peer.state = State::Known);
    node.connect_more(KEY);
    assert!(!fetch(&mut node).peers.values().any(Peer::is_active));
}

#[test]
fn a_peer_that_fails_rests_longer_each_time() {
    let mut node = getting(Policy::Auto);
    know(&mut node, 7, true);
    for seconds in [2, 4, 8, 16, 32, 60, 60] {
        node.rest_peer(KEY, instance(7));
        let rest = node.timers.get(&Timer::Rest(KEY, instance(7))).unwrap().since(node.now);
        let longest = core::time::Duration::from_secs(seconds);
        assert!(rest <= longest && rest >= longest * 3 / 4, "{rest:?} of {longest:?}");
    }
    node.peer_joined(KEY, instance(7), LinkId(0));
    assert_eq!(fetch(&mut node).peers[&instance(7)].failures, 0, "it works again");
}

#[test]
fn a_silent_peer_is_named_and_rests_and_its_link_ends() {
    let mut node = getting(Policy::Auto);
    know(&mut node, 7, true);
    let link = stand(&mut node, instance(7), PathKind::Direct, true);
    ask(&mut node, link, KEY, true);
    events(&mut node);
    node.on_silent(KEY, instance(7), link);
    let silent = PeerDropReason::Download(DropReason::Silent);
    let dropped =
        |event: &Event| matches!(event, Event::PeerDropped { reason, .. } if *reason == silent);
    assert!(events(&mut node).iter().any(dropped));
    assert!(matches!(fetch(&mut node).peers[&instance(7)].state, State::Resting));
    assert!(node.links.up(link).is_none());
}

#[test]
fn a_link_that_comes_up_is_used_by_those_who_wait_for_its_peer() {
    for (path, running, banned, used) in [
        (PathKind::Direct, true, false, true),
        (PathKind::Relay, true, false, false),
        (PathKind::Direct, false, false, false),
        (PathKind::Direct, true, true, false),
    ] {
        let mut node = getting(Policy::Auto);
        know(&mut node, 7, true);
        if !running {
            fetch(&mut node).stage = Stage::Failed;
        }
        if banned {
            fetch(&mut node).peers.get_mut(&instance(7)).unwrap().state = State::Banned;
        }
        let link = stand(&mut node, instance(7), path, false);
        node.offer_link(link, instance(7));
        assert_eq!(node.links.up_mut(link).unwrap().asks.len(), usize::from(used), "{path}");
    }
}

#[test]
fn a_wasteful_address_is_left_and_others_are_not() {
    let mut node = getting(Policy::Auto);
    fetch(&mut node).stage = Stage::Fetching(Space::Root);
    let links = [7, 8].map(|number| {
        know(&mut node, number, true);
        let link = stand(&mut node, instance(number), PathKind::Direct, true);
        ask(&mut node, link, KEY, true);
        link
    });
    let ip = node.links.network(links[0]);
    let most = crate::limits::MAX_WASTED_BYTES_PER_IP as usize;
    node.wasted(instance(9).peer, ip, most - 1);
    assert!(links.iter().all(|link| node.links.up(*link).is_some()));
    node.wasted(instance(9).peer, ip, 1);
    assert_eq!(links.map(|link| node.links.up(link).is_some()), [false, true]);
    assert!(matches!(fetch(&mut node).peers[&instance(7)].state, State::Resting));
    assert!(matches!(fetch(&mut node).peers[&instance(8)].state, State::Known));
    assert!(node.standing_link(KEY, instance(8)).is_some());
    let again = stand(&mut node, instance(7), PathKind::Direct, false);
    assert!(node.standing_link(KEY, instance(7)).is_none(), "{again:?}");
}

#[test]
fn a_wasteful_key_is_left_whatever_its_instance_and_address() {
    let mut node = getting(Policy::Auto);
    fetch(&mut node).stage = Stage::Fetching(Space::Root);
    let other = Instance { number: 9, ..instance(7) };
    know(&mut node, 7, true);
    let links = [instance(7), other, instance(8)].map(|who| {
        let link = stand(&mut node, who, PathKind::Direct, true);
        ask(&mut node, link, KEY, true);
        link
    });
    let most = crate::limits::MAX_WASTED_BYTES_PER_PEER as usize;
    node.wasted(instance(7).peer, None, most - 1);
    assert!(links.iter().all(|link| node.links.up(*link).is_some()));
    node.wasted(instance(7).peer, None, 1);
    assert_eq!(links.map(|link| node.links.up(link).is_some()), [false, false, true]);
    assert!(matches!(fetch(&mut node).peers[&instance(7)].state, State::Resting));
    let again = stand(&mut node, instance(7), PathKind::Direct, false);
    assert!(node.standing_link(KEY, instance(7)).is_none(), "{again:?}");
    fetch(&mut node).peers.remove(&instance(7));
    node.ask_in_return(again, KEY);
    assert!(!fetch(&mut node).peers.contains_key(&instance(7)), "nor in return");
    let circuit = stand(&mut node, instance(6), PathKind::Relay, false);
    node.ask_in_return(circuit, KEY);
    assert!(fetch(&mut node).peers.contains_key(&instance(6)), "others are");
}

#[test]
fn a_peer_that_came_is_forgotten_with_its_link_and_a_named_one_is_tried_again() {
    for came in [true, false] {
        let mut node = getting(Policy::Auto);
        let link = stand(&mut node, instance(7), PathKind::Direct, false);
        let mut peer = Peer::in_return(instance(7), link);
        if !came {
            peer = Peer { state: peer.state, ..Peer::new(named(7, true)) };
        }
        fetch(&mut node).peers.insert(instance(7), peer);
        let closed = CloseReason::Local(crate::close::LocalClose::Done);
        node.close_link(link, &closed);
        node.carrier_lost(KEY, instance(7), link, None);
        let peer = fetch(&mut node).peers.get(&instance(7));
        assert_eq!(peer.map(Peer::is_active), (!came).then_some(true));
    }
}
