//! Which of two links stays, and when the other ends.

use super::super::tests::{KEY, ask, instance, stand};
use super::*;
use crate::node::contents::tests::sharing;
use crate::node::opens::Opened;
use crate::wire::Handle;

#[test]
fn a_policy_allows_its_own_path_and_a_free_one_all() {
    use PathKind::{Direct, Punched, Relay};
    for path in [Direct, Punched, Relay] {
        assert!(allows(Policy::Auto, path) && allows(Policy::Sequential, path));
        assert_eq!(allows(Policy::Direct, path), path == Direct);
        assert_eq!(allows(Policy::Relay, path), path == Relay);
    }
}

#[test]
fn the_better_path_stays_and_on_one_path_the_smaller_initiator() {
    // We are the smaller instance.
    for (old, new, stays) in [
        ((PathKind::Relay, true), (PathKind::Direct, false), Some(false)),
        ((PathKind::Direct, false), (PathKind::Relay, true), Some(true)),
        ((PathKind::Direct, true), (PathKind::Direct, false), Some(true)),
        ((PathKind::Direct, false), (PathKind::Direct, true), Some(false)),
        ((PathKind::Direct, true), (PathKind::Direct, true), None),
    ] {
        let mut node = sharing(9, None);
        let peer = instance(7);
        let first = stand(&mut node, peer, old.0, old.1);
        let second = stand(&mut node, peer, new.0, new.1);
        // So that the loser does not end at once.
        [first, second].into_iter().for_each(|link| ask(&mut node, link, KEY, true));
        node.settle_rivals(second, peer);
        let retiring = [first, second].map(|link| node.links.table[&link].retiring);
        let expected = match stays {
            Some(true) => [None, Some(first)],
            Some(false) => [Some(second), None],
            None => [None, None],
        };
        assert_eq!(retiring, expected);
        let loser = if stays == Some(true) { second } else { first };
        let ours = if stays == Some(true) { new.1 } else { old.1 };
        let clock = node.timers.get(&Timer::Retire(loser)).is_some();
        assert_eq!(clock, stays.is_some() && ours && old.0 == new.0);
    }
}

#[test]
fn a_loser_of_ours_ends_when_nothing_stands_on_it_alone() {
    let opened = || Opened { content: KEY, withdrawn: false, complete: false };
    let with = |prepare: &dyn Fn(&mut Node, LinkId, LinkId)| {
        let mut node = sharing(9, None);
        let peer = instance(7);
        let loser = stand(&mut node, peer, PathKind::Relay, true);
        let winner = stand(&mut node, peer, PathKind::Direct, true);
        node.links.up_mut(loser).unwrap().retiring = Some(winner);
        prepare(&mut node, loser, winner);
        node.check_retiring(loser);
        node.links.up(loser).is_none()
    };
    let open_on = |node: &mut Node, link: LinkId| {
        node.links.up_mut(link).unwrap().opened.insert(Handle(0), opened());
    };
    assert!(with(&|_, _, _| {}));
    assert!(!with(&|node, loser, _| ask(node, loser, KEY, true)), "we ask there");
    assert!(!with(&|node, loser, _| open_on(node, loser)), "the peer asks there");
    assert!(with(&|node, loser, winner| {
        open_on(node, loser);
        open_on(node, winner);
    }));
    assert!(!with(&|node, loser, winner| {
        open_on(node, loser);
        open_on(node, winner);
        let other = ContentKey(2);
        node.links.up_mut(winner).unwrap().opened.get_mut(&Handle(0)).unwrap().content = other;
    }));
    assert!(!with(&|node, loser, _| node.links.up_mut(loser).unwrap().retiring = None));
}

#[test]
fn a_loser_ends_in_time_unless_its_winner_has_gone() {
    for gone in [false, true] {
        let mut node = sharing(9, None);
        let peer = instance(7);
        let loser = stand(&mut node, peer, PathKind::Direct, true);
        let winner = stand(&mut node, peer, PathKind::Direct, true);
        node.links.up_mut(loser).unwrap().retiring = Some(winner);
        node.set_timer(Timer::Retire(loser), RETIRE_TIMEOUT);
        if gone {
            node.close_link(winner, &CloseReason::Local(LocalClose::Done));
            assert!(node.timers.get(&Timer::Retire(loser)).is_none());
        }
        node.on_retire(loser);
        assert_eq!(node.links.up(loser).is_some(), gone);
    }
}
