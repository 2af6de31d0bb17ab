//! Frames in every cut, rules that are broken, and the real thing over a pipe.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::decoder::unmask;
use super::*;

const MAX: usize = 70_000;

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(0x80 | n as u8),
        n @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    let start = frame.len();
    frame.extend(payload);
    unmask(&mut frame[start..], mask);
    frame
}

fn payload(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// Everything that comes of these pieces.
fn decode(pieces: &[&[u8]]) -> Result<Vec<Incoming>, Goodbye> {
    let mut decoder = Decoder::new(MAX);
    let mut all = Vec::new();
    for piece in pieces {
        let mut unread = *piece;
        while let Some(incoming) = decoder.feed(&mut unread)? {
            all.push(incoming);
        }
        assert!(unread.is_empty());
    }
    Ok(all)
}

fn message(bytes: &[u8]) -> Incoming {
    Incoming::Message(BytesMut::from(bytes))
}

#[test]
fn the_mask_of_the_rfc_comes_off() {
    // RFC 6455, section 5.7: a masked "Hello" (there as text).
    let hello = [0x82, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    assert_eq!(decode(&[&hello]), Ok(vec![message(b"Hello")]));
}

// Spec R2, R2c
#[test]
fn it_does_not_matter_where_the_bytes_are_cut() {
    let mut stream = Vec::new();
    let mut wanted = Vec::new();
    for n in [0, 1, 2, 3, 4, 5, 7, 8, 9, 125, 126, 127, 300] {
        stream.extend(frame(0x82, &payload(n)));
        wanted.push(message(&payload(n)));
    }
    stream.extend(frame(0x02, b"one, "));
    stream.extend(frame(0x89, b"ping"));
    stream.extend(frame(0x00, b""));
    stream.extend(frame(0x8A, b"pong"));
    stream.extend(frame(0x80, b"two"));
    stream.extend(frame(0x88, &[3, 232]));
    wanted.push(Incoming::Ping(Bytes::from_static(b"ping")));
    wanted.push(message(b"one, two"));
    wanted.push(Incoming::Close);
    for cut in 0..=stream.len() {
        let (a, b) = stream.split_at(cut);
        assert_eq!(decode(&[a, b]), Ok(clone(&wanted)), "cut at {cut}");
    }
    for cut in 0..=stream.len() {
        assert_eq!(decode_whole(&stream, cut), clone(&wanted), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode(&bytes), Ok(wanted));
}

/// The same, of buffers that may become messages.
fn decode_whole(stream: &[u8], cut: usize) -> Vec<Incoming> {
    let mut decoder = Decoder::new(MAX);
    let mut all = Vec::new();
    let (a, b) = stream.split_at(cut);
    for mut buffer in [BytesMut::from(a), BytesMut::from(b)] {
        while let Some(incoming) = decoder.feed_whole(&mut buffer).unwrap() {
            all.push(incoming);
        }
        assert!(buffer.is_empty());
    }
    all
}

#[test]
fn a_message_that_fills_its_buffer_stays_where_it_is() {
    for (wanted, length) in [(true, 40_000), (true, 60_000), (false, 20_000)] {
        let mut decoder = Decoder::new(MAX);
        let mut buffer = BytesMut::with_capacity(60_014);
        buffer.extend_from_slice(&frame(0x82, &payload(length)));
        let place = buffer.as_ptr_range();
        let Ok(Some(Incoming::Message(message))) = decoder.feed_whole(&mut buffer) else {
            panic!("it is whole")
        };
        assert!(message == payload(length));
        assert_eq!(place.contains(&message.as_ptr()), wanted, "{length}");
    }
}

#[test]
fn what_is_likely_to_come_is_what_came_last() {
    let mut decoder = Decoder::new(MAX);
    let mut likely = |length, cut| {
        let bytes = frame(0x82, &payload(length));
        let (mut start, mut rest) = bytes.split_at(cut);
        decoder.feed(&mut start).unwrap();
        let within = decoder.likely_bytes();
        decoder.feed(&mut rest).unwrap();
        (within, decoder.likely_bytes())
    };
    assert_eq!(likely(16 * 1024 - 1, 0), (None, None));
    assert_eq!(likely(16 * 1024, 0), (None, Some(16 * 1024 + 14)));
    assert_eq!(likely(60_000, 1), (None, Some(60_014)), "not within a head");
    assert_eq!(likely(50_000, 100), (None, Some(50_014)), "nor within a message");
    assert_eq!(likely(10, 0), (Some(50_014), None));
}

fn clone(all: &[Incoming]) -> Vec<Incoming> {
    all.iter()
        .map(|incoming| match incoming {
            Incoming::Message(bytes) => Incoming::Message(bytes.clone()),
            Incoming::Ping(bytes) => Incoming::Ping(bytes.clone()),
            Incoming::Close => Incoming::Close,
        })
        .collect()
}

// Spec R2b
#[test]
fn whoever_breaks_a_rule_is_told_the_code() {
    let unmasked = vec![0x82, 0x01, 0x00];
    let long_control = frame(0x89, &[0; 126]);
    let huge = [&[0x82, 0xFF][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    for (bytes, code) in [
        (frame(0x81, b"text"), code::UNSUPPORTED),
        (frame(0x83, b""), code::PROTOCOL),
        (frame(0x8B, b""), code::PROTOCOL),
        (frame(0xC2, b""), code::PROTOCOL),
        (frame(0x80, b"continued"), code::PROTOCOL),
        ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), code::PROTOCOL),
        (frame(0x09, b"half a ping"), code::PROTOCOL),
        (long_control, code::PROTOCOL),
        (unmasked, code::PROTOCOL),
        (frame(0x82, &payload(MAX + 1)), code::TOO_LONG),
        ([frame(0x02, &payload(MAX)), frame(0x80, b"x")].concat(), code::TOO_LONG),
        (huge, code::TOO_LONG),
    ] {
        let refused = decode(&[&bytes]).expect_err("it breaks a rule");
        assert_eq!(refused.code, code, "{refused:?}");
    }
    assert_eq!(decode(&[&frame(0x82, &payload(MAX))]), Ok(vec![message(&payload(MAX))]));
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let mut decoder = Decoder::new(MAX);
    let start = &frame(0x82, &payload(MAX))[..20];
    assert_eq!(decoder.feed(&mut &start[..]), Ok(None));
    assert!(decoder.room(false).is_none(), "nothing is made for a claim");
    assert!(decoder.room(true).is_some());
    let mut fresh = Decoder::new(MAX);
    assert_eq!(fresh.feed(&mut &start[..]), Ok(None));
    assert!(format!("{fresh:?}").len() < 500, "only what came is there");
}

#[test]
fn frames_are_written_whole_however_little_is_taken() {
    for step in [1, 2, 3, 7, 100, 5_000, usize::MAX] {
        let mut encoder = Encoder::default();
        let mut wanted = Vec::new();
        for n in [0, 1, 125, 126, 70_000] {
            encoder.message(payload(n).into());
            wanted.extend(server_frame(0x82, &payload(n)));
        }
        assert_eq!(encoder.backlog(), 70_252);
        encoder.close(&Goodbye::new(code::AWAY, "x".repeat(200)));
        let reason = [&1001_u16.to_be_bytes()[..], &[b'x'; 123]].concat();
        wanted.extend(server_frame(0x88, &reason));
        let (mut written, mut counted) = (Vec::<u8>::new(), 0);
        while !encoder.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = encoder.slices(&mut slices);
            let taken = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(step);
            let before = written.len();
            written.extend(taken);
            let n = written.len() - before;
            counted += encoder.advance(n);
        }
        assert_eq!((counted, encoder.backlog()), (70_252, 0));
        assert!(written == wanted, "step {step}");
    }
}

fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(n as u8),
        n @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

#[test]
fn a_pong_waits_for_half_a_frame_and_only_the_last_is_sent() {
    let mut encoder = Encoder::default();
    encoder.message(Bytes::from_static(b"message"));
    encoder.advance(3);
    encoder.pong(Bytes::from_static(b"first"));
    encoder.pong(Bytes::from_static(b"second"));
    encoder.message(Bytes::from_static(b"later"));
    let mut slices = [IoSlice::new(&[]); 9];
    let filled = encoder.slices(&mut slices);
    let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
    assert_eq!(all, b"essage\x8A\x06second\x82\x05later");
}

#[tokio::test]
async fn long_and_short_messages_come_through_a_stream_in_order() {
    let (client, server) = duplex(10_000);
    let mut web = Web::new(server, &frame(0x82, b"early")[..4], MAX);
    let (mut reading, mut writing) = tokio::io::split(client);
    let sizes: Vec<usize> = (0..200).map(|n| n * n * 7 % MAX).collect();
    let sent = sizes.clone();
    let client = tokio::spawn(async move {
        writing.write_all(&frame(0x82, b"early")[4..]).await.unwrap();
        for n in sent {
            writing.write_all(&frame(0x82, &payload(n))).await.unwrap();
        }
        writing.write_all(&frame(0x89, b"?")).await.unwrap();
        writing.write_all(&frame(0x88, b"")).await.unwrap();
        let mut all = Vec::new();
        reading.read_to_end(&mut all).await.unwrap();
        all
    });
    let mut wanted = vec![b"early".to_vec()];
    wanted.extend(sizes.into_iter().map(payload));
    for wanted in wanted {
        let message = poll_fn(|cx| web.poll_next(cx)).await.unwrap();
        assert!(message == wanted, "{} bytes", wanted.len());
    }
    assert!(matches!(poll_fn(|cx| web.poll_next(cx)).await, Err(End::Closed)));
    web.send(Bytes::from_static(b"last"));
    poll_fn(|cx| web.poll_drain(cx)).await.unwrap();
    drop(web);
    assert_eq!(client.await.unwrap(), b"\x8A\x01?\x82\x04last");
}

#[tokio::test]
async fn a_stream_that_ends_in_the_middle_is_closed() {
    for cut in [0, 1, 5, 8, 5_000] {
        let (mut client, server) = duplex(100_000);
        let mut web = Web::new(server, &[], MAX);
        client.write_all(&frame(0x82, &payload(10_000))[..cut]).await.unwrap();
        drop(client);
        assert!(matches!(poll_fn(|cx| web.poll_next(cx)).await, Err(End::Closed)));
    }
}

#[tokio::test]
async fn a_stream_that_has_fallen_silent_is_asked_for_little() {
    let (mut client, server) = duplex(1_000_000);
    let mut web = Web::new(server, &[], MAX);
    for _ in 0..2 {
        client.write_all(&frame(0x82, &payload(66_000))).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(poll_fn(|cx| web.poll_next(cx)).await.unwrap().len(), 66_000);
    }
    assert!(web.more && web.decoder.likely_bytes().is_some(), "more may be there");
    let silent = poll_fn(|cx| Poll::Ready(web.poll_next(cx).is_pending())).await;
    assert!(silent && !web.more, "no buffer for a long message is taken again");
}
