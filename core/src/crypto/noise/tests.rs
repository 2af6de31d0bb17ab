//! Handshakes between two sides, and what makes them fail.

use super::*;
use crate::crypto::public_key;

const SUITES: [Suite; 2] = [Suite::ChaChaPoly, Suite::AesGcm];

fn pair(pattern: Pattern, suite: Suite) -> (Handshake, Handshake) {
    let remote = (pattern == Pattern::Ik).then(|| public_key(&[2; 32]));
    let ours = Handshake::new(pattern, suite, true, b"prologue", [1; 32], [3; 32], remote);
    let theirs = Handshake::new(pattern, suite, false, b"prologue", [2; 32], [4; 32], None);
    (ours, theirs)
}

/// Runs the whole handshake and answers the lengths of its messages.
fn run(a: &mut Handshake, b: &mut Handshake) -> Result<Vec<usize>, HandshakeError> {
    let mut lengths = Vec::new();
    let (mut from, mut to) = (a, b);
    while !from.is_finished() {
        let message = from.write_message()?;
        lengths.push(message.len());
        to.read_message(&message)?;
        core::mem::swap(&mut from, &mut to);
    }
    Ok(lengths)
}

#[test]
fn both_patterns_and_suites_end_in_the_same_keys() {
    for pattern in [Pattern::Ik, Pattern::Xx] {
        for suite in SUITES {
            let (mut a, mut b) = pair(pattern, suite);
            assert_eq!(run(&mut a, &mut b).unwrap(), pattern.message_bytes());
            assert_eq!(a.remote(), Some(public_key(&[2; 32])));
            let (mut a, mut b) = (a.finish(), b.finish());
            assert_eq!(a.remote, public_key(&[2; 32]));
            assert_eq!(b.remote, public_key(&[1; 32]));
            assert_eq!(a.handshake_hash, b.handshake_hash);
            for (send, receive) in [(&mut a.send, &mut b.receive), (&mut b.send, &mut a.receive)] {
                let mut data = *b"hello";
                let tag = send.seal(&mut data);
                let mut record = data.to_vec();
                record.extend_from_slice(&tag);
                assert_eq!(receive.open_in_place(&mut record), Ok(5));
            }
        }
    }
}

#[test]
fn an_error_reads_as_its_word() {
    assert_eq!(alloc::format!("{}", HandshakeError("handshake_key")), "handshake_key");
}

#[test]
fn the_same_bytes_in_give_the_same_bytes_out() {
    let once = || pair(Pattern::Ik, Suite::AesGcm).0.write_message().unwrap();
    assert_eq!(once(), once());
}

#[test]
fn another_prologue_or_key_fails_at_the_first_message_that_shows_it() {
    for suite in SUITES {
        let (mut a, _) = pair(Pattern::Ik, suite);
        let mut b = Handshake::new(Pattern::Ik, suite, false, b"other", [2; 32], [4; 32], None);
        assert_eq!(run(&mut a, &mut b), Err(HandshakeError("handshake_forged")));
        let (mut a, _) = pair(Pattern::Ik, suite);
        let mut b = Handshake::new(Pattern::Ik, suite, false, b"prologue", [5; 32], [4; 32], None);
        assert_eq!(run(&mut a, &mut b), Err(HandshakeError("handshake_forged")));
    }
}

#[test]
fn an_expected_key_is_checked_in_xx_too() {
    let other = Some(public_key(&[7; 32]));
    let suite = Suite::ChaChaPoly;
    let mut a = Handshake::new(Pattern::Xx, suite, true, b"prologue", [1; 32], [3; 32], other);
    let (_, mut b) = pair(Pattern::Xx, suite);
    assert_eq!(run(&mut a, &mut b), Err(HandshakeError("handshake_other_key")));
}

// Spec S3
#[test]
fn a_key_of_small_order_is_refused() {
    let (_, mut b) = pair(Pattern::Xx, Suite::ChaChaPoly);
    b.read_message(&[0; 32]).unwrap();
    assert_eq!(b.write_message(), Err(HandshakeError("handshake_key")));
    assert_eq!(b.write_message(), Err(HandshakeError("handshake_order")), "it is over");
}

// Spec S14
#[test]
fn a_failed_message_ends_it() {
    for pattern in [Pattern::Ik, Pattern::Xx] {
        let (mut a, mut b) = pair(pattern, Suite::AesGcm);
        let first = a.write_message().unwrap();
        b.read_message(&first).unwrap();
        let second = b.write_message().unwrap();
        let mut bad = second.clone();
        bad[40] ^= 1;
        assert!(a.read_message(&bad).is_err());
        assert_eq!(a.read_message(&second), Err(HandshakeError("handshake_order")));
        assert!(!a.is_finished());
    }
}

// Spec S12b
#[test]
fn no_bytes_make_it_panic_and_payloads_are_refused() {
    for pattern in [Pattern::Ik, Pattern::Xx] {
        for length in (0..200).chain([65_535, 65_536]) {
            let (_, mut b) = pair(pattern, Suite::ChaChaPoly);
            let answer = b.read_message(&vec![9; length]);
            assert_eq!(answer.is_ok(), pattern == Pattern::Xx && length == 32, "{length}");
            if length > 65_535 {
                assert_eq!(answer, Err(HandshakeError("handshake_length")));
            }
        }
        let (mut a, mut b) = pair(pattern, Suite::ChaChaPoly);
        let message = a.write_payload(b"early").unwrap();
        assert_eq!(b.read_message(&message), Err(HandshakeError("handshake_payload")));
    }
}

#[test]
#[should_panic(expected = "complete handshake")]
fn keys_of_half_a_handshake_are_not_to_be_had() {
    let (mut a, _) = pair(Pattern::Ik, Suite::AesGcm);
    let _ = a.write_message().unwrap();
    let _ = a.finish();
}
