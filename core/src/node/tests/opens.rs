//! Words about shares that are open, were open, or are still to be opened.

use alloc::vec::Vec;

use super::super::*;
use super::hostile::{Hand, KEY, instance, locator, misbehaved};
use super::strict::{asked, fetching};
use crate::close::{Awaited, CloseReason};
use crate::id::{ChunkRef, Space};
use crate::limits::OPEN_TIMEOUT;
use crate::path::Policy;
use crate::wire::{Handle, Message};

#[test]
fn a_chunk_that_is_named_alone_is_that_chunk() {
    for index in 0..10 {
        let (mut hand, link, handle) = fetching(10);
        let chunk = ChunkRef { space: Space::Root, index };
        hand.hear(link, Message::HaveChunk { handle, chunk });
        assert_eq!(asked(&hand).iter().map(|(_, index)| *index).collect::<Vec<_>>(), [index]);
    }
}

#[test]
fn an_opening_that_nobody_answers_ends_the_link() {
    let (mut hand, link, _) = Hand::getter_of(locator());
    hand.established(link, instance(2));
    hand.now = hand.now + OPEN_TIMEOUT.saturating_sub(Duration::from_nanos(1));
    hand.put(Input::Tick);
    assert_eq!(hand.closed(), None);
    hand.now = hand.now + Duration::from_nanos(1);
    hand.put(Input::Tick);
    assert_eq!(hand.closed(), Some(&CloseReason::Timeout(Awaited::Answer)));
}

// Spec M23
#[test]
fn a_word_on_what_was_open_is_late_and_on_what_never_was_a_lie() {
    let (mut hand, link, handle) = fetching(10);
    // Asked for two things more, so that the link stays when the first is not wanted any more.
    for key in [ContentKey(8), ContentKey(9)] {
        let locator = Locator([key.0 as u8; 32]);
        let (policy, sink) = (Policy::Direct, Sink::Store);
        let (secret, serve, timeout) = (None, false, None);
        hand.put(Input::Get { content: key, locator, secret, policy, sink, serve, timeout });
        (0..2).for_each(|_| hand.node.open_share(link, key));
        hand.put(Input::Tick);
        assert!(matches!(hand.said()[..], [Message::Open { .. }]), "once: {:?}", hand.said());
    }
    hand.put(Input::Stop(KEY));
    let space = Space::Root;
    hand.hear(link, Message::HaveAll { handle, space });
    assert_eq!(hand.node.counters().get("late_word_on_share"), 1);
    assert_eq!(hand.closed(), None);
    hand.hear(link, Message::HaveAll { handle: Handle(handle.0 + 3), space });
    assert_eq!(hand.closed(), Some(&misbehaved("unknown_handle")));
}
