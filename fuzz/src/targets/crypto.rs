//! Handshakes, records and chunk frames: what arrives as it was sent is taken, and nothing else.

use bytes::BytesMut;
use towpath_core::crypto::noise::{Handshake, Pattern};
use towpath_core::crypto::public_key;
use towpath_core::crypto::record::RecordCipher;
use towpath_core::limits::{CHUNK_BYTES, MAX_PROOF_HASHES, MAX_RECORD_PLAINTEXT_BYTES, TAG_BYTES};
use towpath_core::session::{ChunkFrame, Suite};
use towpath_core::wire::RequestId;

use super::feed::Feed;

fn suite(feed: &mut Feed<'_>) -> Suite {
    feed.pick(&[Suite::ChaChaPoly, Suite::AesGcm])
}

/// Changes `bytes` as the feed says; whether they are another message now.
fn spoil(feed: &mut Feed<'_>, bytes: &mut Vec<u8>) -> bool {
    let before = bytes.clone();
    match feed.u8() % 8 {
        0 => bytes.truncate(usize::from(feed.u8())),
        1 => bytes.extend_from_slice(feed.bytes8()),
        2 => *bytes = feed.bytes8().to_vec(),
        3 if !bytes.is_empty() => {
            let at = usize::from(feed.u8()) % bytes.len();
            bytes[at] ^= feed.u8();
        }
        // A key of zeros makes a secret that everybody knows.
        4 => bytes.iter_mut().take(32).for_each(|byte| *byte = 0),
        _ => {}
    }
    *bytes != before
}

/// A handshake of either pattern, whose messages are changed on the way.
pub fn noise(data: &[u8]) {
    let mut feed = Feed::new(data);
    let pattern = feed.pick(&[Pattern::Ik, Pattern::Xx]);
    let (suite, knows) = (suite(&mut feed), feed.bool());
    let (one, two) = ([1; 32], [2; 32]);
    let other = feed.u8() == 255;
    let known =
        (knows || pattern == Pattern::Ik).then(|| public_key(if other { &[3; 32] } else { &two }));
    let prologue = feed.bytes8();
    let same = !feed.bool();
    let other_prologue = if same { prologue } else { feed.bytes8() };
    let mut sides = [
        Handshake::new(pattern, suite, true, prologue, one, [11; 32], known),
        Handshake::new(pattern, suite, false, other_prologue, two, [12; 32], None),
    ];
    let mut changed =
        prologue != other_prologue || known.is_some_and(|key| key != public_key(&two));
    for (number, length) in pattern.message_bytes().iter().enumerate() {
        let (from, to) = (number % 2, 1 - number % 2);
        let payload = if feed.u8() == 255 { feed.bytes8() } else { &[] };
        let Ok(mut message) = sides[from].write_payload(payload) else {
            assert!(changed);
            return;
        };
        assert_eq!(message.len(), length + payload.len());
        let spoilt = spoil(&mut feed, &mut message);
        changed |= spoilt;
        if let Err(error) = sides[to].read_message(&message) {
            assert!(changed || !payload.is_empty(), "{error}");
            // It is over, for ever.
            assert!(!sides[to].is_finished());
            assert!(
                sides[to].write_message().is_err() && sides[to].read_message(&message).is_err()
            );
            return;
        }
        // What is in the clear can be cut off on the way, and shows in the next message.
        assert!(payload.is_empty() || spoilt, "payloads are refused");
        // The first message's ephemeral key is not authenticated yet.
        assert!(!spoilt || number == 0, "message {number} was changed and taken");
        changed |= spoilt;
    }
    assert!(!changed, "a handshake that was tampered with is complete");
    let [first, second] = sides.map(Handshake::finish);
    assert_eq!(first.handshake_hash, second.handshake_hash);
    assert_eq!((first.remote, second.remote), (public_key(&two), public_key(&one)));
    carry(&mut feed, first.send, second.receive);
    carry(&mut feed, second.send, first.receive);
}

/// Records one after another, some of them changed on the way, repeated or left out.
fn carry(feed: &mut Feed<'_>, mut sender: RecordCipher, mut receiver: RecordCipher) {
    for _ in 0..1 + feed.u8() % 8 {
        let plain = feed.bytes8();
        let mut record = plain.to_vec();
        let tag = sender.seal(&mut record);
        record.extend_from_slice(&tag);
        let mut bad = record.clone();
        if spoil(feed, &mut bad) {
            let records = receiver.records();
            if feed.bool() {
                let mut out = vec![0; bad.len().saturating_sub(TAG_BYTES)];
                assert!(receiver.open_into(&bad, &mut out).is_err(), "a forgery passed");
            } else {
                assert!(receiver.open_in_place(&mut bad).is_err(), "a forgery passed");
            }
            assert_eq!(receiver.records(), records, "it is as it was");
        }
        let sealed = record.clone();
        if feed.bool() {
            let mut out = vec![0xEE; plain.len()];
            receiver.open_into(&record, &mut out).expect("it is as it was sent");
            assert_eq!(out, plain);
        } else {
            assert_eq!(receiver.open_in_place(&mut record), Ok(plain.len()));
            assert_eq!(&record[..plain.len()], plain);
        }
        assert!(receiver.open_in_place(&mut sealed.clone()).is_err(), "a repetition passed");
    }
    assert_eq!(sender.records(), receiver.records());
}

pub(super) fn noise_seeds() -> Vec<Vec<u8>> {
    let good = |pattern: u8, suite: u8| {
        [&[pattern, suite, 1, 0, 3][..], b"abc", &[0, 0, 7, 0, 7, 0, 7, 1, 5], b"hello"].concat()
    };
    vec![
        good(0, 0),
        good(1, 1),
        vec![0, 0, 0, 255, 0, 0],
        vec![1, 0, 0, 0, 0, 0, 0, 7, 0, 3, 9, 1],
        vec![0, 0, 0, 0, 0, 0, 255, 2, 9, 9, 7],
        vec![1, 1, 0, 0, 0, 0, 0, 4],
        vec![1, 1, 0, 0, 0, 1, 1, 1],
    ]
}

/// Records of one direction, with rekeying.
pub fn record(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (suite, every) = (suite(&mut feed), 1 + u64::from(feed.u8() % 4));
    let key = [feed.u8(); 32];
    let new = || RecordCipher::new(suite, &key).with_rekey_every(every);
    carry(&mut feed, new(), new());
}

pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 2, 9, 3, 2, 65, 66, 7, 0, 1, 67, 3, 0, 1, 1, 0, 0, 0, 0],
        vec![1, 0, 0, 5, 1, 1, 2, 0, 1, 2, 3, 1, 7, 1],
    ]
}

/// A chunk on its way out, of any length, in a buffer that was used before.
pub fn chunk_frame(data: &[u8]) {
    let mut feed = Feed::new(data);
    let length = 1 + feed.u32() as usize % CHUNK_BYTES;
    let hashes = usize::from(feed.u8()) % (MAX_PROOF_HASHES + 1);
    let request = RequestId(feed.u32());
    let mut buffer = BytesMut::zeroed(feed.u32() as usize % (CHUNK_BYTES + 2_000));
    buffer.fill(0xEE);
    let mut frame = ChunkFrame::new(request, length, hashes, buffer);
    assert_eq!((frame.length_bytes(), frame.request()), (length, request));
    assert_eq!(frame.proof_mut().len(), hashes * 32);
    frame.proof_mut().fill(0xBB);
    let mut filled = 0;
    for part in frame.body_mut() {
        assert!(!part.is_empty());
        for byte in part {
            *byte = filled as u8;
            filled += 1;
        }
    }
    assert_eq!(filled, length);
    let suite = suite(&mut feed);
    let sealed = frame.seal(&mut RecordCipher::new(suite, &[5; 32]));
    let plain = open_records(&sealed, &mut RecordCipher::new(suite, &[5; 32]));
    let (head, rest) = plain.split_at(10);
    assert_eq!(head[0], 15);
    assert_eq!(head[1..5], ((5 + hashes * 32 + length) as u32).to_be_bytes());
    assert_eq!(head[5..9], request.0.to_be_bytes());
    assert_eq!(usize::from(head[9]), hashes);
    let (proof, body) = rest.split_at(hashes * 32);
    assert!(proof.iter().all(|byte| *byte == 0xBB));
    assert_eq!(body.len(), length);
    assert!(body.iter().enumerate().all(|(at, byte)| *byte == at as u8));
}

/// The plaintext of whole records.
pub(super) fn open_records(mut sealed: &[u8], cipher: &mut RecordCipher) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((length, rest)) = sealed.split_first_chunk() {
        let (record, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        let mut record = record.to_vec();
        let opened = cipher.open_in_place(&mut record).expect("it was just sealed");
        assert!(opened > 0 && opened <= MAX_RECORD_PLAINTEXT_BYTES);
        plain.extend_from_slice(&record[..opened]);
        sealed = rest;
    }
    assert!(sealed.is_empty());
    plain
}

pub(super) fn chunk_frame_seeds() -> Vec<Vec<u8>> {
    let seed = |length: u32, hashes: u8, buffer: u32| {
        [&length.to_be_bytes()[..], &[hashes, 0, 0, 0, 7], &buffer.to_be_bytes()].concat()
    };
    vec![seed(0, 0, 0), seed(65_509, 0, 100), seed(262_143, 20, 262_144), seed(69_615, 3, 5_000)]
}
