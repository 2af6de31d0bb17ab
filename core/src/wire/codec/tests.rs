//! Every message there and back, and every body that must be refused.

use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;

/// One of each, with values that would show swapped fields.
fn all() -> Vec<Message> {
    let chunk = ChunkRef { space: Space::Contents, index: 0x1_2345 };
    let (handle, request) = (Handle(0x0102_0304), RequestId(0x0506_0708));
    let descriptor =
        Descriptor { kind: Kind::Manifest, length_bytes: 0x1234_5678_9ABC, root: Hash([7; 32]) };
    vec![
        Message::Hello { version_min: 1, version_max: 2, instance: 0x1122_3344_5566_7788 },
        Message::Open { handle, locator: Locator([1; 32]), proof: [2; 32] },
        Message::Opened { handle, proof: [3; 32], descriptor, name: "Füße".to_string() },
        Message::Refused { handle },
        Message::HaveAll { handle, space: Space::Contents },
        Message::HaveBits { handle, space: Space::Root, first: 64, bits: vec![0xA5, 0x80] },
        Message::HaveChunk { handle, chunk },
        Message::Request { request, handle, chunk },
        Message::Cancel { request },
        Message::Unavailable { request, why: Unavailable::ReadFailed },
        Message::Complete { handle },
        Message::Ping { token: 0x99 },
        Message::Pong { token: 0x98 },
        Message::Bye,
    ]
}

fn frame(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

#[test]
fn every_message_goes_there_and_back() {
    for message in all() {
        let bytes = frame(&message);
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - HEADER_BYTES);
        assert!(is_message(bytes[0]));
        assert_eq!(Message::decode(bytes[0], &bytes[HEADER_BYTES..]), Ok(message));
    }
}

#[test]
fn every_body_that_is_cut_or_too_long_is_refused() {
    for message in all() {
        let bytes = frame(&message);
        let body = &bytes[HEADER_BYTES..];
        for length in 0..body.len() {
            // A bit field has no length of its own: the frame's length says how long it is.
            if matches!(message, Message::HaveBits { .. }) && length > 13 {
                continue;
            }
            assert!(Message::decode(bytes[0], &body[..length]).is_err(), "{message:?} {length}");
        }
        let longer = [body, &[0]].concat();
        let answer = Message::decode(bytes[0], &longer);
        match message {
            Message::Hello { .. } => assert_eq!(answer, Ok(message), "a later version's Hello"),
            Message::HaveBits { .. } => assert!(answer.is_ok()),
            _ => assert_eq!(answer, Err(DecodeError("trailing_bytes"))),
        }
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let refuse = |message: Message, word| {
        let bytes = frame(&message);
        let answer = Message::decode(bytes[0], &bytes[HEADER_BYTES..]);
        assert_eq!(answer, Err(DecodeError(word)), "{message:?}");
    };
    let handle = Handle(0);
    let chunk = ChunkRef { space: Space::Root, index: MAX_SHARE_CHUNKS };
    refuse(Message::HaveChunk { handle, chunk }, "out_of_range");
    refuse(Message::Request { request: RequestId(0), handle, chunk }, "out_of_range");
    let bits = |first, bits| Message::HaveBits { handle, space: Space::Root, first, bits };
    refuse(bits(4, vec![0]), "have_bits");
    refuse(bits(0, vec![]), "have_bits");
    refuse(bits(MAX_SHARE_CHUNKS, vec![0]), "out_of_range");
    refuse(bits(u64::MAX - 7, vec![0]), "out_of_range");
    refuse(Message::Hello { version_min: 2, version_max: 1, instance: 0 }, "version_range");
    let descriptor =
        Descriptor { kind: Kind::File, length_bytes: MAX_FILE_BYTES + 1, root: Hash([0; 32]) };
    let name = String::new();
    refuse(Message::Opened { handle, proof: [0; 32], descriptor, name }, "out_of_range");
    assert_eq!(Message::decode(0, &[]), Err(DecodeError("unknown_frame_type")));
    assert_eq!(Message::decode(CHUNK, &[]), Err(DecodeError("unknown_frame_type")));
    assert_eq!(Message::decode(10, &[0, 0, 0, 0, 4]), Err(DecodeError("unknown_reason")));
}

#[test]
fn the_largest_values_are_taken() {
    let (handle, request, space) = (Handle(0), RequestId(0), Space::Contents);
    let chunk = ChunkRef { space, index: MAX_SHARE_CHUNKS - 1 };
    let most = MAX_HAVE_BITS as u64;
    let descriptor =
        Descriptor { kind: Kind::File, length_bytes: MAX_FILE_BYTES, root: Hash([0; 32]) };
    let name = "n".repeat(MAX_NAME_BYTES);
    let bits = vec![0xFF; MAX_HAVE_BITS / 8];
    let last = MAX_SHARE_CHUNKS - most;
    for message in [
        Message::HaveChunk { handle, chunk },
        Message::Request { request, handle, chunk },
        Message::HaveBits { handle, space, first: last, bits: bits.clone() },
        Message::HaveBits { handle, space, first: MAX_SHARE_CHUNKS - 8, bits: vec![1] },
        Message::Opened { handle, proof: [0; 32], descriptor, name },
        Message::Hello { version_min: 1, version_max: 1, instance: u64::MAX },
    ] {
        let bytes = frame(&message);
        assert_eq!(Message::decode(bytes[0], &bytes[HEADER_BYTES..]), Ok(message));
    }
    let beyond = frame(&Message::HaveBits { handle, space, first: last + 8, bits });
    let answer = Message::decode(beyond[0], &beyond[HEADER_BYTES..]);
    assert_eq!(answer, Err(DecodeError("out_of_range")));
    let longer = frame(&Message::HaveBits { handle, space, first: 0, bits: vec![0; 4_096] });
    let longer = [&longer[HEADER_BYTES..], &[0]].concat();
    assert_eq!(Message::decode(HAVE_BITS, &longer), Err(DecodeError("have_bits")));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        kind in 0_u8..20,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(message) = Message::decode(kind, &body) {
            let bytes = frame(&message);
            prop_assert_eq!(Message::decode(kind, &bytes[HEADER_BYTES..]), Ok(message));
        }
    }
}
