//! Requests in turn, what is taken back of them, and what openings cost.

use super::super::super::Input;
use super::super::super::Transmit;
use super::super::super::links::tests::{KEY, instance, stand, transmits};
use super::super::super::opens::Opened;
use super::*;

const OTHER: ContentKey = ContentKey(2);
const CHUNK: u64 = CHUNK_BYTES as u64;

fn serves(node: &mut Node) -> Vec<(LinkId, RequestId)> {
    let serves = transmits(node).into_iter().filter_map(|transmit| match transmit {
        Transmit::Session { link, command: Command::Serve { request, .. } } => {
            Some((link, request))
        }
        _ => None,
    });
    serves.collect()
}

/// A link of somebody who has opened the share.
fn receiver(node: &mut Node, number: u64) -> LinkId {
    let link = stand(node, instance(number), PathKind::Direct, false);
    let opened = Opened { content: KEY, withdrawn: false, complete: false };
    node.links.up_mut(link).unwrap().opened.insert(HANDLE, opened);
    node.contents.get_mut(&KEY).unwrap().opened_by.insert((link, HANDLE));
    link
}

fn chunk(index: u64) -> ChunkRef {
    ChunkRef { space: SPACE, index }
}

#[test]
fn a_small_chunk_takes_a_turn_of_its_bytes_and_its_cost() {
    let mut node = sharing(CHUNK + 9, None);
    node.upload = Upload::new(Instant::ZERO, Some(1_000_000));
    let [large, small] = [7, 8].map(|number| receiver(&mut node, number));
    let mut number = 0;
    let mut request = |node: &mut Node, link| {
        number += 1;
        node.on_request(link, RequestId(number), HANDLE, chunk(u64::from(link == small)));
    };
    [large, small, large, small].into_iter().for_each(|link| request(&mut node, link));
    let mut turns = Vec::new();
    // The limit lets one chunk pass at a time; whoever was given one asks for the next.
    while turns.len() < 600 {
        node.pump_upload();
        for (link, served) in serves(&mut node) {
            turns.push(link == small);
            node.links.up_mut(link).unwrap().serving.remove(&served);
            request(&mut node, link);
        }
        node.now = node.timers.get(&Timer::Upload).unwrap();
    }
    let between = turns.split(|small| !small).map(<[bool]>::len).skip(1);
    let fair = (CHUNK + SERVE_COST_BYTES) / (9 + SERVE_COST_BYTES);
    let whole: Vec<usize> = between.take(2).collect();
    assert!(whole.iter().all(|small| (*small as u64).abs_diff(fair) <= 1), "{whole:?} {fair}");
}

#[test]
fn nothing_is_served_after_the_goodbye() {
    let mut node = sharing(3 * CHUNK, None);
    node.upload = Upload::new(Instant::ZERO, Some(CHUNK));
    let link = receiver(&mut node, 7);
    (0..3).for_each(|index| node.on_request(link, RequestId(index), HANDLE, chunk(index.into())));
    node.handle_input(Instant::ZERO, Input::Tick);
    assert_eq!(serves(&mut node).len(), 2, "the bucket is in debt now");
    assert!(node.timers.get(&Timer::Upload).is_some());
    node.handle_input(Instant::ZERO, Input::Shutdown);
    assert_eq!(node.timers.get(&Timer::Upload), None);
    let later = Instant::ZERO + core::time::Duration::from_millis(1_500);
    node.handle_input(later, Input::Tick);
    assert_eq!(serves(&mut node), []);
}

#[test]
fn only_requests_of_the_share_that_is_taken_back_go() {
    let mut node = sharing(3 * CHUNK, None);
    let link = receiver(&mut node, 7);
    let up = node.links.up_mut(link).unwrap();
    for (number, content) in [(1, KEY), (2, OTHER), (3, KEY)] {
        let request = RequestId(number);
        up.waiting.push_back(Wanted { request, content, chunk: chunk(0) });
        up.serving.insert(RequestId(10 + number), Serving { content });
    }
    transmits(&mut node);
    node.withdraw_requests(link, KEY);
    let left = &node.links.up_mut(link).unwrap().waiting;
    assert_eq!(left.iter().map(|wanted| wanted.request.0).collect::<Vec<_>>(), [2]);
    let mut said = Vec::new();
    for transmit in transmits(&mut node) {
        match transmit {
            Transmit::Session {
                command: Command::Send(Message::Unavailable { request, .. }),
                ..
            } => said.push((request.0, false)),
            Transmit::Session { command: Command::Forget { request }, .. } => {
                said.push((request.0, true));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said, [(1, false), (3, false), (11, true), (13, true)]);
}

#[test]
fn one_session_may_ask_for_so_many_have_bits() {
    let mut node = sharing(9, None);
    let link = receiver(&mut node, 7);
    node.links.up_mut(link).unwrap().have_bytes = MAX_HAVE_BYTES_PER_SESSION - 2;
    for _ in 0..2 {
        node.tell_have_space(link, HANDLE, KEY, SPACE);
        assert!(node.links.up(link).is_some(), "that is allowed");
    }
    node.tell_have_space(link, HANDLE, KEY, SPACE);
    assert!(node.links.up(link).is_none());
    assert_eq!(node.counters.get("too_many_have_bits_asked_for"), 1);
}

#[test]
fn those_who_opened_the_share_before_hear_of_a_new_space() {
    let mut node = sharing(9, None);
    let links = [7, 8].map(|number| receiver(&mut node, number));
    transmits(&mut node);
    node.tell_new_space(KEY, SPACE);
    let mut told = Vec::new();
    for transmit in transmits(&mut node) {
        let all = Message::HaveAll { handle: HANDLE, space: SPACE };
        if let Transmit::Session { link, command: Command::Send(message) } = transmit {
            assert_eq!(message, all);
            told.push(link);
        }
    }
    assert_eq!(told, links);
}
