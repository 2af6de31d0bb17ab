//! One circuit's books, at the edges of its windows.

use alloc::vec;
use alloc::vec::Vec;

use super::*;

const KIB: usize = 1024;
const START: usize = RELAY_WINDOW_START_BYTES;
/// What a full frame takes of the hub's window.
const FULL: usize = MAX_RELAY_PAYLOAD_BYTES + RELAY_FRAME_COST_BYTES;
const MOST: usize = MAX_RELAY_PAYLOAD_BYTES;
const PLENTY: u32 = 8 * 1024 * 1024;

fn circuit() -> Circuit {
    Circuit::new(Instant::ZERO, LinkId(1), State::Open, Sending::default())
}

fn push(sending: &mut Sending, bytes: usize) {
    sending.push(Bytes::from(vec![7; bytes]));
}

/// The payload of the next frame, which there must be.
fn frame(sending: &mut Sending) -> usize {
    match sending.turn(1, usize::MAX, MOST) {
        Some(Turn::Frame(_, payload)) => payload,
        other => panic!("{other:?}"),
    }
}

// Spec R22
#[test]
fn a_session_may_hand_in_what_both_windows_and_its_share_allow() {
    let full = u32::try_from(FULL).unwrap();
    for (credit, grant, share, expected) in [
        (100_000, PLENTY, usize::MAX, 100_000),
        (1, PLENTY, usize::MAX, 1),
        (0, PLENTY, usize::MAX, 0),
        (PLENTY, full, usize::MAX, MAX_RELAY_PAYLOAD_BYTES),
        (PLENTY, full + 1, usize::MAX, MAX_RELAY_PAYLOAD_BYTES + 1 - RELAY_FRAME_COST_BYTES),
        (PLENTY, 3 * full, usize::MAX, 3 * MAX_RELAY_PAYLOAD_BYTES),
        (PLENTY, 257, usize::MAX, 1),
        (PLENTY, 256, usize::MAX, 0),
        (PLENTY, 0, usize::MAX, 0),
        (PLENTY, PLENTY, 70_000, 70_000),
        (PLENTY, PLENTY, 0, 0),
    ] {
        let mut sending = Sending::new(credit, grant);
        assert_eq!(sending.allow(share), expected, "{credit} {grant} {share}");
        assert_eq!(sending.allow(share), 0, "once");
    }
}

#[test]
fn more_room_is_told_in_steps_unless_the_session_stands_still() {
    const STEP: usize = RELAY_WRITABLE_STEP_BYTES;
    let mut sending = Sending::new(PLENTY, PLENTY);
    assert_eq!(sending.allow(20_000), 20_000);
    assert_eq!(sending.allow(20_000 + STEP - 1), 0, "it may hand in something already");
    assert_eq!(sending.allow(20_000 + STEP), STEP);
    push(&mut sending, 20_000 + STEP);
    assert_eq!(sending.allow(20_000 + 2 * STEP - 1), 0, "what it handed in waits");
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), 20_000 + STEP);
    assert_eq!(sending.allow(20_000 + 2 * STEP - 1), 0, "the socket has not taken it");
    sending.confirmed(20_000 + STEP);
    assert_eq!(sending.allow(1), 1, "nothing else would wake it");
}

#[test]
fn what_the_socket_has_not_taken_counts_against_the_share() {
    let mut sending = Sending::new(PLENTY, PLENTY);
    assert_eq!(sending.allow(100_000), 100_000);
    push(&mut sending, 40_000);
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), 40_000);
    assert_eq!(sending.allow(100_000), 0, "60,000 may come, 40,000 are on their way");
    sending.confirmed(30_000);
    assert_eq!(sending.allow(100_000), 30_000);
    sending.confirmed(10_000);
    assert_eq!(sending.allow(100_000), 0, "a step is more than that");
    assert_eq!(sending.allow(110_000), 20_000);
}

// Spec R22, R23
#[test]
fn a_frame_takes_its_payload_of_both_windows_and_its_cost_of_the_hubs() {
    let mut sending = Sending::new(1_000, 2_000);
    push(&mut sending, 3_000);
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), 1_000, "the receiver's window");
    assert!(matches!(sending.turn(1, usize::MAX, MOST), Some(Turn::Idle)));
    sending.credit(5_000);
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), 2_000 - 1_256 - 256, "the hub's window");
    assert!(matches!(sending.turn(1, usize::MAX, MOST), Some(Turn::Idle)));
    assert!(!sending.wants_turn(), "nothing is left of the hub's window");
    sending.grant(256);
    assert!(!sending.wants_turn(), "a frame's cost is no frame");
    sending.grant(1);
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), 1);
    sending.grant(10_000);
    assert!(!sending.wants_turn(), "it has its place");
    assert_eq!(frame(&mut sending), 3_000 - 1_000 - 488 - 1, "what was handed in");
    assert!(sending.is_empty());
    assert_eq!(sending.give_back(u32::MAX), 10_000 - 1_511 - 256);
}

// Spec R25
#[test]
fn the_hub_gets_back_what_it_wants_and_no_more_than_there_is() {
    let mut sending = Sending::new(PLENTY, 1_000);
    assert_eq!(sending.give_back(0), 0);
    assert_eq!(sending.give_back(300), 300);
    assert_eq!(sending.give_back(701), 700);
    assert_eq!(sending.give_back(1), 0);
    push(&mut sending, 1);
    assert!(!sending.wants_turn());
}

#[test]
fn nobody_has_a_turn_who_has_nothing_to_send_or_may_not() {
    let mut idle = Sending::new(PLENTY, PLENTY);
    assert!(!idle.wants_turn());
    idle.push(Bytes::new());
    assert!(idle.is_empty() && !idle.wants_turn(), "nothing was handed in");
    push(&mut idle, 1);
    assert!(!idle.is_empty());
    assert!(idle.wants_turn());
    let mut shut = Sending::new(0, PLENTY);
    push(&mut shut, 1);
    assert!(!shut.wants_turn());
    assert!(matches!(shut.turn(1, usize::MAX, MOST), Some(Turn::Idle)));
}

// Spec R27
#[test]
fn a_turn_is_one_full_frame_and_what_was_left_over_before() {
    let mut sending = Sending::new(PLENTY, PLENTY);
    push(&mut sending, 4 * MAX_RELAY_PAYLOAD_BYTES);
    assert!(sending.wants_turn());
    for _ in 0..4 {
        assert_eq!(frame(&mut sending), MAX_RELAY_PAYLOAD_BYTES);
        push(&mut sending, MAX_RELAY_PAYLOAD_BYTES);
        assert!(matches!(sending.turn(1, usize::MAX, MOST), Some(Turn::Over)));
    }
    let mut sending = Sending::new(PLENTY, PLENTY);
    push(&mut sending, RELAY_TURN_BYTES + 1);
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), MAX_RELAY_PAYLOAD_BYTES);
    assert!(
        matches!(sending.turn(1, usize::MAX, MOST), Some(Turn::Over)),
        "six bytes are one too many"
    );
    let mut sending = Sending::new(PLENTY, PLENTY);
    push(&mut sending, RELAY_TURN_BYTES);
    assert!(sending.wants_turn());
    assert_eq!(frame(&mut sending), MAX_RELAY_PAYLOAD_BYTES);
    assert_eq!(frame(&mut sending), RELAY_TURN_BYTES - MAX_RELAY_PAYLOAD_BYTES);
}

// Spec R27
#[test]
fn turns_on_a_slow_wire_are_as_short_as_its_frames() {
    let mut sending = Sending::new(PLENTY, PLENTY);
    push(&mut sending, 100_000);
    assert!(sending.wants_turn());
    let mut turns = vec![];
    let mut frames = 0;
    while turns.len() < 4 {
        match sending.turn(1, usize::MAX, 100) {
            Some(Turn::Frame(_, 100)) => frames += 1,
            Some(Turn::Over) => turns.push(core::mem::take(&mut frames)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(turns, [2, 1, 1, 1], "what a long turn left is two short ones");
}

#[test]
fn a_frame_that_the_socket_has_no_room_for_waits() {
    let mut sending = Sending::new(PLENTY, PLENTY);
    push(&mut sending, 1_000);
    assert!(sending.wants_turn());
    assert!(sending.turn(1, 999, MOST).is_none());
    assert!(sending.turn(1, 0, MOST).is_none());
    assert!(matches!(sending.turn(1, 1_000, MOST), Some(Turn::Frame(_, 1_000))));
}

#[test]
fn frames_are_cut_from_pieces_of_any_size() {
    let mut sending = Sending::new(PLENTY, PLENTY);
    let all: Vec<u8> = (0..150_000_u32).map(|i| ((i * 7_919) >> 5) as u8).collect();
    let mut rest = &all[..];
    for length in [1, 65_535, 1, 0, 70_000, 14_463] {
        let (piece, after) = rest.split_at(length);
        sending.push(Bytes::copy_from_slice(piece));
        rest = after;
    }
    assert!(rest.is_empty() && sending.wants_turn());
    let mut got = vec![];
    let mut lengths = vec![];
    loop {
        match sending.turn(9, usize::MAX, MOST) {
            Some(Turn::Frame(frame, payload)) => {
                assert_eq!(frame[..5], [2, 0, 0, 0, 9]);
                assert_eq!(frame.len(), 5 + payload);
                got.extend_from_slice(&frame[5..]);
                lengths.push(payload);
            }
            Some(Turn::Over) => {}
            Some(Turn::Idle) => break,
            None => panic!("there is room"),
        }
    }
    assert_eq!(lengths, [65_536, 65_536, 18_928]);
    assert!(got == all);
}

// Spec R21
#[test]
fn credit_is_saved_up_to_a_quarter_of_the_window() {
    let mut circuit = circuit();
    assert!(circuit.receiving.arrived(300_000));
    assert_eq!(circuit.consumed(Instant::ZERO, START / 4 - 1), 0);
    assert_eq!(circuit.consumed(Instant::ZERO, 1), START / 4);
    assert_eq!(circuit.consumed(Instant::ZERO, 1), 0);
    assert!(circuit.receiving.arrived(START - 300_000 + START / 4), "that is all it may send");
    assert!(!circuit.receiving.arrived(1));
}

#[test]
fn credit_of_a_large_window_is_saved_up_to_a_mebibyte() {
    let mut circuit = circuit();
    circuit.receiving.window.set(8 * RELAY_CREDIT_STEP_BYTES);
    circuit.receiving.credit_bytes = 8 * RELAY_CREDIT_STEP_BYTES;
    assert!(circuit.receiving.arrived(2 * RELAY_CREDIT_STEP_BYTES));
    assert_eq!(circuit.consumed(Instant::ZERO, RELAY_CREDIT_STEP_BYTES - 1), 0);
    assert_eq!(circuit.consumed(Instant::ZERO, 1), RELAY_CREDIT_STEP_BYTES);
}

// Spec R21, R23
#[test]
fn nothing_comes_beyond_the_window_and_nothing_is_consumed_that_did_not_come() {
    let mut circuit = circuit();
    assert_eq!(circuit.consumed(Instant::ZERO, usize::MAX), 0);
    assert!(circuit.receiving.arrived(START - 1));
    assert!(!circuit.receiving.arrived(2));
    assert!(circuit.receiving.arrived(1));
    assert!(!circuit.receiving.arrived(1));
    let credit = circuit.consumed(Instant::ZERO, usize::MAX);
    assert_eq!(credit, 2 * START, "it was used up at once: the window is twice as large");
    assert!(circuit.receiving.arrived(credit));
    assert!(!circuit.receiving.arrived(1));
}

#[test]
fn the_first_answer_says_how_long_a_round_trip_is() {
    let at = |ms| Instant::ZERO + Duration::from_millis(ms);
    for (second_half, window) in [(120, 2 * START), (121, START)] {
        let mut circuit = circuit();
        circuit.answered(at(10));
        circuit.answered(at(5_000));
        assert!(circuit.receiving.arrived(START));
        let first = circuit.consumed(at(100), START / 2);
        let second = circuit.consumed(at(second_half), START / 2);
        assert_eq!(first + second, window, "{second_half} ms");
    }
    const { assert!(START.is_multiple_of(4 * KIB)) };
}
