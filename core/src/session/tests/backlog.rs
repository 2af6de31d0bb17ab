//! How much may wait in a session, exactly at its limits.

use alloc::vec;
use alloc::vec::Vec;

use super::pipe::*;
use crate::close::{CloseReason, LocalClose};
use crate::id::{Descriptor, Hash, Kind, Space};
use crate::limits::{MAX_ANSWER_BACKLOG_BYTES, MAX_CONTROL_BACKLOG_BYTES};
use crate::session::State;
use crate::wire::{Handle, Message};

/// Queues these, which fill a limit exactly, and one more; answers why the session closed.
fn overfill(messages: &[Message], more: &Message, most: usize) -> Option<CloseReason> {
    let mut peer = usual().0;
    for message in messages {
        let State::Open(open) = &mut peer.session.state else { panic!("it is established") };
        open.sender.message(message);
    }
    let State::Open(open) = &mut peer.session.state else { panic!("it is established") };
    assert_eq!(open.sender.control_bytes(), most);
    peer.session.check_backlog();
    let State::Open(open) = &mut peer.session.state else { panic!("so much may wait") };
    open.sender.message(more);
    peer.session.check_backlog();
    assert!(matches!(peer.session.state, State::Closed));
    peer.input(crate::session::Input::Tick);
    peer.closed().cloned()
}

// Spec S23b
#[test]
fn answers_and_all_messages_have_limits() {
    let handle = Handle(0);
    let descriptor = Descriptor { kind: Kind::File, length_bytes: 1, root: Hash([1; 32]) };
    let opened = |bytes: usize| {
        let name = "n".repeat(bytes);
        Message::Opened { handle, proof: [0; 32], descriptor, name }
    };
    // Frames of 339 bytes, and one of 97.
    let mut answers: Vec<Message> = vec![opened(255); MAX_ANSWER_BACKLOG_BYTES / 339];
    answers.push(opened(13));
    let closed = overfill(&answers, &Message::Pong { token: 0 }, MAX_ANSWER_BACKLOG_BYTES);
    let limit = LocalClose::Limit("MAX_ANSWER_BACKLOG_BYTES");
    assert_eq!(closed, Some(CloseReason::Local(limit)));

    let bits = |bytes: usize| {
        let bits = vec![0; bytes];
        Message::HaveBits { handle, space: Space::Root, first: 0, bits }
    };
    // Frames of 4,114 bytes, and one of 3,288.
    let mut control: Vec<Message> = vec![bits(4_096); MAX_CONTROL_BACKLOG_BYTES / 4_114];
    control.push(bits(3_270));
    let closed = overfill(&control, &Message::Ping { token: 0 }, MAX_CONTROL_BACKLOG_BYTES);
    let limit = LocalClose::Limit("MAX_CONTROL_BACKLOG_BYTES");
    assert_eq!(closed, Some(CloseReason::Local(limit)));
}
