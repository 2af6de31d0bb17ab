//! What changes for a peer: its turn comes, a link is better or is lost, the relay is there.

use core::time::Duration;

use super::*;
use crate::node::links::tests::transmits;
use crate::node::{Input, Transmit};
use crate::session::Role;

/// A peer that is reached so.
fn reach(node: &mut Node, number: u64, active: Active) {
    know(node, number, true);
    let peer = fetch(node).peers.get_mut(&instance(number)).unwrap();
    peer.state = State::Active(Box::new(active));
}

fn carried_by(link: LinkId) -> Active {
    Active { carrier: Some(Carrier { link, attempt: None }), ..Active::default() }
}

fn carrier(node: &mut Node, number: u64) -> Option<LinkId> {
    let active = node.active(KEY, instance(number))?;
    active.carrier.map(|carrier| carrier.link)
}

#[test]
fn a_standing_link_is_good_if_it_is_of_the_wanted_kind() {
    for (policy, place) in
        [(Policy::Auto, 0), (Policy::Sequential, 0), (Policy::Direct, 0), (Policy::Relay, 1)]
    {
        for first in [PathKind::Direct, PathKind::Relay] {
            let mut node = getting(policy);
            let last = if first == PathKind::Direct { PathKind::Relay } else { PathKind::Direct };
            let links = [first, last].map(|path| stand(&mut node, instance(7), path, true));
            let wanted = [PathKind::Direct, PathKind::Relay][place];
            let link = links[usize::from(wanted == last)];
            assert_eq!(node.standing_link(KEY, instance(7)), Some((link, wanted)));
        }
    }
}

// Spec S5
#[test]
fn aes_is_proposed_where_both_sides_are_fast() {
    let target = Target::Address(core::net::SocketAddr::from(([192, 0, 2, 7], 9)));
    for (we, they) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut node = getting(Policy::Auto);
        node.config.prefer_aes = we;
        reach(&mut node, 7, Active::default());
        let peer = fetch(&mut node).peers.get_mut(&instance(7)).unwrap();
        peer.entry.suites = Vec::from(if they { &[Suite::AesGcm][..] } else { &[] });
        transmits(&mut node);
        node.attempt(KEY, instance(7), Attempt(0), target);
        let transmits = transmits(&mut node);
        let [Transmit::Dial { setup, .. }] = &transmits[..] else { panic!("{transmits:?}") };
        let Role::Initiator { suite, .. } = setup.role else { panic!("we dial") };
        assert_eq!(suite, if we && they { Suite::AesGcm } else { Suite::ChaChaPoly });
    }
}

#[test]
fn an_attempt_that_is_abandoned_is_dialled_no_more() {
    let mut node = getting(Policy::Auto);
    reach(&mut node, 7, Active::default());
    for number in 0..2 {
        let target = Target::Address(core::net::SocketAddr::from(([192, 0, 2, number], 9)));
        node.attempt(KEY, instance(7), Attempt(number.into()), target);
    }
    let attempts = node.active(KEY, instance(7)).unwrap().attempts.clone();
    let (given_up, kept) = (attempts[&Attempt(0)], attempts[&Attempt(1)]);
    transmits(&mut node);
    node.abandon_attempt(KEY, instance(7), Attempt(0));
    let transmits = transmits(&mut node);
    assert!(matches!(transmits[..], [Transmit::Abandon { link }] if link == given_up));
    assert!(!node.links.table.contains_key(&given_up) && node.links.table.contains_key(&kept));
    let left = &node.active(KEY, instance(7)).unwrap().attempts;
    assert_eq!(*left, BTreeMap::from([(Attempt(1), kept)]));
}

#[test]
fn a_peer_that_has_rested_is_tried_again() {
    let mut node = getting(Policy::Auto);
    know(&mut node, 7, true);
    node.rest_peer(KEY, instance(7));
    node.connect_more(KEY);
    assert!(!fetch(&mut node).peers[&instance(7)].is_active());
    node.on_rested(KEY, instance(7));
    assert!(fetch(&mut node).peers[&instance(7)].is_active());
    fetch(&mut node).peers.get_mut(&instance(7)).unwrap().state = State::Banned;
    node.on_rested(KEY, instance(7));
    assert!(!fetch(&mut node).peers[&instance(7)].is_active());
}

#[test]
fn who_else_is_there_is_asked_when_the_last_one_is_gone() {
    for (others, running, giving_up, asks) in [
        (false, true, false, true),
        (true, true, false, false),
        (false, false, false, false),
        (false, true, true, false),
    ] {
        let mut node = getting(Policy::Auto);
        fetch(&mut node).lookup.in_vain = 3;
        if others {
            fetch(&mut node).joined.insert(LinkId(9));
        }
        if !running {
            fetch(&mut node).stage = Stage::Failed;
        }
        if giving_up {
            node.set_timer(Timer::GiveUp(KEY), Duration::from_secs(1));
        }
        node.after_loss(KEY);
        let asked = fetch(&mut node).lookup.in_vain == 0;
        assert_eq!(asked, asks, "{others} {running} {giving_up}");
    }
}

#[test]
fn a_carrier_is_moved_where_there_is_one() {
    let mut node = getting(Policy::Auto);
    reach(&mut node, 7, carried_by(LinkId(3)));
    reach(&mut node, 8, Active::default());
    know(&mut node, 9, true);
    (7..=9).for_each(|number| node.move_carrier(KEY, instance(number), LinkId(5)));
    assert_eq!([7, 8, 9].map(|number| carrier(&mut node, number)), [Some(LinkId(5)), None, None]);
}

#[test]
fn another_link_carries_on_if_the_share_is_open_there() {
    for opened in [false, true] {
        let mut node = getting(Policy::Auto);
        let [lost, unopened, open] =
            [0; 3].map(|_| stand(&mut node, instance(7), PathKind::Direct, true));
        ask(&mut node, lost, KEY, true);
        ask(&mut node, unopened, KEY, false);
        ask(&mut node, open, KEY, opened);
        reach(&mut node, 7, carried_by(lost));
        events(&mut node);
        let reason = CloseReason::Local(crate::close::LocalClose::Done);
        node.close_link(lost, &reason);
        let dropped = |event: &Event| matches!(event, Event::PeerDropped { .. });
        assert_eq!(events(&mut node).iter().any(dropped), !opened);
        // If it is open nowhere, the first link that stands is begun with anew.
        assert_eq!(carrier(&mut node, 7), Some(if opened { open } else { unopened }));
    }
}

#[test]
fn whoever_waits_for_the_relay_hears_when_it_is_there() {
    let mut node = getting(Policy::Relay);
    know(&mut node, 7, true);
    know(&mut node, 8, true);
    node.activate(KEY, instance(7));
    let circuits = |node: &mut Node, input| {
        node.handle_input(Instant::ZERO, input);
        let transmits = transmits(node);
        let opens = |transmit: &&Transmit| matches!(transmit, Transmit::OpenCircuit { .. });
        transmits.iter().filter(opens).count()
    };
    assert_eq!(circuits(&mut node, Input::Tick), 0);
    assert_eq!(circuits(&mut node, Input::Relay { token: Some("token".into()) }), 1);
}

#[test]
fn what_was_wasted_is_remembered_for_so_long_after_the_last_time_that_all_was_forgotten() {
    let mut node = getting(Policy::Auto);
    let (one, other) = (instance(7).peer, instance(8).peer);
    let most = crate::limits::MAX_WASTED_BYTES_PER_PEER as usize;
    let half = crate::limits::WASTE_MEMORY / 2;
    // Long after the beginning: what is known from then on is known for as long as ever.
    node.now = Instant::ZERO + half * 3;
    node.wasted(one, None, most);
    for (passed, remembered) in [(half, true), (half, false)] {
        node.now = node.now + passed;
        node.wasted(other, None, 1);
        assert_eq!(node.waste.is_spent_by_peer(&one), remembered);
    }
}
