//! What the tracker hears, call by call.

use alloc::string::String;
use alloc::vec::Vec;

use super::super::*;
use super::hostile::Hand;
use crate::id::{Descriptor, Hash, Kind};
use crate::limits::{HEARTBEAT_INTERVAL, MAX_ANNOUNCES_AT_ONCE};
use crate::path::Policy;
use crate::tracker_api::{CallError, Request, Response};

/// Calls of the last input, and what they are.
fn calls(hand: &Hand) -> Vec<(CallId, &'static str)> {
    let calls = hand.transmits.iter().filter_map(|transmit| match transmit {
        Transmit::Call { call, request, .. } => Some((
            *call,
            match request {
                Request::Register { .. } => "register",
                Request::Announce { .. } => "announce",
                Request::Heartbeat { .. } => "heartbeat",
                Request::Remove { .. } => "remove",
                Request::Lookup { .. } => "lookup",
            },
        )),
        _ => None,
    });
    calls.collect()
}

fn names(hand: &Hand) -> Vec<&'static str> {
    calls(hand).into_iter().map(|(_, name)| name).collect()
}

fn share(hand: &mut Hand, number: u32) {
    let root = Hash([number as u8; 32]);
    let descriptor = Descriptor { kind: Kind::File, length_bytes: 9, root };
    let (content, secret, name) = (ContentKey(number), None, String::from("name"));
    hand.put(Input::Share { content, descriptor, secret, name, contents: None });
}

fn log_in(hand: &mut Hand, token: &str) -> CallId {
    hand.put(Input::Relay { token: Some(String::from(token)) });
    let [(call, "register")] = calls(hand)[..] else { panic!("{:?}", names(hand)) };
    call
}

fn done(hand: &mut Hand, call: CallId) {
    let result = Ok(Response::Done { next_heartbeat_seconds: None });
    hand.put(Input::Reply { call, result });
}

#[test]
fn shares_are_announced_a_few_at_a_time_and_then_comes_the_heartbeat() {
    let mut hand = Hand::new();
    let shares = 2 * MAX_ANNOUNCES_AT_ONCE + 3;
    (1..=shares as u32).for_each(|number| share(&mut hand, number));
    let register = log_in(&mut hand, "token");
    done(&mut hand, register);
    let mut open = calls(&hand);
    assert_eq!(names(&hand), ["announce"; MAX_ANNOUNCES_AT_ONCE]);
    let mut announced = 0;
    while let Some((call, _)) = open.pop() {
        done(&mut hand, call);
        announced += 1;
        let told = |event: &Event| matches!(event, Event::Announced(_));
        assert_eq!(hand.events.iter().filter(|event| told(event)).count(), 1);
        open.extend(calls(&hand));
        assert!(open.len() <= MAX_ANNOUNCES_AT_ONCE);
        assert!(open.len() == MAX_ANNOUNCES_AT_ONCE || announced + open.len() == shares);
    }
    assert_eq!(announced, shares);
    hand.now = hand.now + HEARTBEAT_INTERVAL;
    hand.put(Input::Tick);
    assert_eq!(names(&hand), ["heartbeat"]);
    // One more share waits for no heartbeat, and delays none.
    share(&mut hand, 99);
    assert_eq!(names(&hand), ["announce"]);
}

#[test]
fn no_heartbeat_is_sent_before_all_is_said() {
    let mut hand = Hand::new();
    share(&mut hand, 1);
    share(&mut hand, 2);
    let register = log_in(&mut hand, "token");
    done(&mut hand, register);
    let [(first, _), (second, _)] = calls(&hand)[..] else { panic!("{:?}", names(&hand)) };
    done(&mut hand, first);
    hand.now = hand.now + HEARTBEAT_INTERVAL;
    hand.put(Input::Tick);
    assert_eq!(names(&hand), [""; 0]);
    done(&mut hand, second);
    hand.now = hand.now + HEARTBEAT_INTERVAL;
    hand.put(Input::Tick);
    assert_eq!(names(&hand), ["heartbeat"]);
}

#[test]
fn an_answer_from_before_a_new_login_says_nothing() {
    let mut hand = Hand::new();
    share(&mut hand, 1);
    let old = log_in(&mut hand, "one");
    let new = log_in(&mut hand, "two");
    done(&mut hand, old);
    assert_eq!(names(&hand), [""; 0]);
    done(&mut hand, new);
    assert_eq!(names(&hand), ["announce"]);
    let (announce, _) = calls(&hand)[0];
    let third = log_in(&mut hand, "three");
    done(&mut hand, announce);
    assert!(hand.events.is_empty(), "not announced under this login");
    hand.put(Input::Reply { call: third, result: Err(CallError::Unauthorized) });
    assert!(matches!(hand.events[..], [Event::TrackerTrouble(_)]));
}

#[test]
fn a_tracker_that_fails_is_asked_again_later_each_time() {
    let mut hand = Hand::new();
    share(&mut hand, 1);
    let mut register = log_in(&mut hand, "token");
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        let result = Err(CallError::Unreachable(String::from("down")));
        hand.put(Input::Reply { call: register, result });
        let again = hand.node.timers.get(&Timer::Announce).unwrap();
        let pause = again.since(hand.now);
        let longest = Duration::from_secs(seconds);
        assert!(pause <= longest && pause >= longest * 3 / 4, "{pause:?} of {longest:?}");
        hand.now = again;
        hand.put(Input::Tick);
        let [(call, "register")] = calls(&hand)[..] else { panic!("{:?}", names(&hand)) };
        register = call;
    }
}

#[test]
fn nothing_is_said_without_a_login_or_while_an_error_makes_us_wait() {
    let mut hand = Hand::new();
    share(&mut hand, 1);
    assert_eq!(names(&hand), [""; 0]);
    let register = log_in(&mut hand, "token");
    let result = Err(CallError::Unreachable(String::from("down")));
    hand.put(Input::Reply { call: register, result });
    share(&mut hand, 2);
    assert_eq!(names(&hand), [""; 0]);
}

#[test]
fn what_has_become_complete_is_announced_again_and_nothing_else_is() {
    let mut hand = Hand::new();
    share(&mut hand, 1);
    let register = log_in(&mut hand, "token");
    done(&mut hand, register);
    for seeder in [true, false, true] {
        let [(announce, "announce")] = calls(&hand)[..] else { panic!("{:?}", names(&hand)) };
        done(&mut hand, announce);
        hand.node.announce(ContentKey(1), seeder, false);
        hand.put(Input::Tick);
        assert_eq!(names(&hand), [""; 0], "that is what was said");
        hand.node.announce(ContentKey(1), !seeder, false);
        hand.put(Input::Tick);
    }
}

/// Whether it said to want the relay, or not to.
fn wants(hand: &Hand) -> Vec<bool> {
    let wants = hand.transmits.iter().filter_map(|transmit| match transmit {
        Transmit::WantRelay(wanted) => Some(*wanted),
        _ => None,
    });
    wants.collect()
}

#[test]
fn the_relay_is_wanted_for_serving_and_for_every_policy_but_direct() {
    for (serve, policy, wanted) in [
        (false, Policy::Auto, true),
        (false, Policy::Relay, true),
        (false, Policy::Direct, false),
        (true, Policy::Direct, true),
    ] {
        let mut hand = Hand::new();
        let (content, locator, secret) = (ContentKey(1), Locator([1; 32]), None);
        let (sink, timeout) = (Sink::Store, None);
        hand.put(Input::Get { content, locator, secret, policy, sink, serve, timeout });
        assert_eq!(wants(&hand) == [true], wanted, "{serve} {policy:?}");
    }
}

#[test]
fn a_login_is_missed_only_where_it_is_wanted_and_not_there() {
    let login = |hand: &Hand| hand.node.timers.get(&Timer::Login).is_some();
    let mut hand = Hand::new();
    share(&mut hand, 1);
    assert!(wants(&hand) == [true] && login(&hand));
    hand.put(Input::Stop(ContentKey(1)));
    assert!(wants(&hand) == [false] && !login(&hand));
    let mut hand = Hand::new();
    hand.put(Input::Relay { token: Some(String::from("token")) });
    share(&mut hand, 1);
    assert!(wants(&hand) == [true] && !login(&hand));
}

#[test]
fn a_login_that_was_refused_three_times_is_made_anew() {
    let mut hand = Hand::new();
    share(&mut hand, 1);
    let mut register = log_in(&mut hand, "token");
    for number in 1..=7 {
        hand.put(Input::Reply { call: register, result: Err(CallError::Unauthorized) });
        let anew: &[bool] = if number % 3 == 0 { &[false, true] } else { &[] };
        assert_eq!(wants(&hand), anew, "{number}");
        hand.now = hand.node.timers.get(&Timer::Announce).unwrap();
        hand.put(Input::Tick);
        let [(call, "register")] = calls(&hand)[..] else { panic!("{:?}", names(&hand)) };
        register = call;
    }
}
