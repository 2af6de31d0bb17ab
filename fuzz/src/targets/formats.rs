//! Binary formats: what is read is written as it was, whole or in pieces.

use towpath_core::close::Incompatibility;
use towpath_core::codec::DecodeError;
use towpath_core::crypto::noise::Pattern;
use towpath_core::id::{ChunkRef, Descriptor, Hash, Instance, Kind, Locator, PeerId, Space};
use towpath_core::limits::{MAX_HAVE_BITS, MAX_NAME_BYTES, MAX_RELAY_TOKEN_BYTES};
use towpath_core::manifest::{
    Decoder, Encoder, Entry, What, compare_paths, decode_entry, resolve_link,
};
use towpath_core::merkle::{ZERO_HASH, chunk_count};
use towpath_core::relay::frame::{
    self, CircuitEnd, DATA_HEADER_BYTES, Goodbye, OpenError, ToClient, ToHub,
};
use towpath_core::session::Suite;
use towpath_core::session::preamble::{Preamble, read_refusal, refusal};
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

use super::feed::pieces;

/// Bytes before the body of a wire message.
const FRAME_HEADER_BYTES: usize = 5;
const HELLO: u8 = 1;

/// The type of a frame and its body.
pub fn wire_message(data: &[u8]) {
    let Some((frame_type, body)) = data.split_first() else { return };
    let Ok(message) = Message::decode(*frame_type, body) else { return };
    match &message {
        Message::HaveBits { bits, .. } => {
            assert!(bits.len() <= MAX_HAVE_BITS / 8 && bits.capacity() <= body.len());
        }
        Message::Opened { name, .. } => {
            assert!(name.len() <= MAX_NAME_BYTES && name.capacity() <= body.len());
        }
        _ => {}
    }
    let mut frame = Vec::new();
    message.encode(&mut frame);
    let (header, again) = frame.split_at(FRAME_HEADER_BYTES);
    assert_eq!(header[0], *frame_type);
    assert_eq!(header[1..], (again.len() as u32).to_be_bytes());
    if *frame_type == HELLO {
        // Later versions may say more.
        assert!(body.starts_with(again));
    } else {
        assert_eq!(again, body);
    }
    assert_eq!(Message::decode(*frame_type, again), Ok(message));
}

pub(super) fn messages() -> Vec<Message> {
    let (handle, request, proof) = (Handle(7), RequestId(0x0102_0304), [0xA5; 32]);
    let chunk = ChunkRef { space: Space::Contents, index: 300 };
    let descriptor = Descriptor { kind: Kind::Manifest, length_bytes: 99_999, root: Hash([3; 32]) };
    let (space, name) = (Space::Root, "été.txt".to_owned());
    vec![
        Message::Hello { version_min: 1, version_max: 2, instance: 77 },
        Message::Open { handle, locator: Locator([9; 32]), proof },
        Message::Opened { handle, proof, descriptor, name },
        Message::Refused { handle },
        Message::HaveAll { handle, space },
        Message::HaveBits { handle, space, first: 800, bits: vec![0xF0, 1] },
        Message::HaveChunk { handle, chunk },
        Message::Request { request, handle, chunk },
        Message::Cancel { request },
        Message::Unavailable { request, why: Unavailable::SourceChanged },
        Message::Complete { handle },
        Message::Ping { token: u64::MAX },
        Message::Pong { token: 1 },
        Message::Bye,
    ]
}

pub(super) fn wire_message_seeds() -> Vec<Vec<u8>> {
    let all = messages().into_iter().map(|message| {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        frame.drain(1..FRAME_HEADER_BYTES);
        frame
    });
    all.collect()
}

/// The first bytes of a link, from either side.
pub fn preamble(data: &[u8]) {
    if let Ok(Some(preamble)) = Preamble::decode(data) {
        assert!(data.starts_with(&preamble.encode()));
    }
    if let Ok(Some(why)) = read_refusal(data) {
        let bytes = refusal(why).expect("what was read can be said");
        assert!(data.starts_with(&bytes));
    }
    // A beginning never promises what the whole does not keep.
    for end in 0..data.len() {
        let whole = Preamble::decode(data);
        match Preamble::decode(&data[..end]) {
            Ok(None) => {}
            early => assert_eq!(early, whole),
        }
        match read_refusal(&data[..end]) {
            Ok(None) => {}
            early => assert_eq!(early, read_refusal(data)),
        }
    }
}

pub(super) fn preamble_seeds() -> Vec<Vec<u8>> {
    let (version, pattern, suite) = (1, Pattern::Xx, Suite::AesGcm);
    let mut seeds = vec![
        Preamble { version, pattern, suite }.encode().to_vec(),
        Preamble { version, pattern: Pattern::Ik, suite: Suite::ChaChaPoly }.encode().to_vec(),
        b"GET / HTTP/1.1".to_vec(),
    ];
    let (version, key) = (Incompatibility::Version, Incompatibility::Key);
    for why in [version, Incompatibility::Pattern, Incompatibility::Suite, key] {
        seeds.extend(refusal(why).map(Vec::from));
    }
    seeds
}

/// A frame of the relay (first byte 0), or the plaintext of a control frame: to the hub (1), to a
/// client (2).
pub fn relay_frame(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which {
        0 => {
            if frame::kind(bytes) == Ok(frame::Kind::Data) {
                let circuit = frame::data_circuit(bytes).expect("it was checked");
                let payload = &bytes[DATA_HEADER_BYTES..];
                assert!(!payload.is_empty());
                let mut again = frame::begin_data(circuit, payload.len());
                again.extend_from_slice(payload);
                assert_eq!(again, bytes);
                frame::set_data_circuit(&mut again, !circuit);
                assert_eq!(frame::data_circuit(&again), Ok(!circuit));
            }
        }
        1 => {
            if let Ok(message) = ToHub::decode(bytes) {
                assert_eq!(message.encode(), bytes);
            }
        }
        _ => {
            let Ok(message) = ToClient::decode(bytes) else { return };
            if let ToClient::Welcome { token, .. } | ToClient::Token { token } = &message {
                assert!(token.len() <= MAX_RELAY_TOKEN_BYTES && token.capacity() <= bytes.len());
            }
            assert_eq!(message.encode(), bytes);
        }
    }
}

pub(super) fn to_hub() -> Vec<ToHub> {
    let to = Instance { peer: PeerId([4; 32]), number: 12 };
    let (circuit, window_bytes, bytes, nonce) = (1, 500_000, 60_000, 5);
    vec![
        ToHub::Login { instance: 12 },
        ToHub::Open { circuit, to, window_bytes },
        ToHub::Accept { circuit, window_bytes },
        ToHub::Refuse { circuit },
        ToHub::Close { circuit },
        ToHub::Credit { circuit, bytes },
        ToHub::Returned { circuit, bytes },
        ToHub::Ping { nonce },
        ToHub::Pong { nonce },
    ]
}

pub(super) fn to_client() -> Vec<ToClient> {
    let from = Instance { peer: PeerId([4; 32]), number: 12 };
    let token = "t".repeat(107);
    let observed = [2001_u16, 0xdb8, 0, 0, 0, 0, 0, 1].into();
    let (circuit, window_bytes, hub_bytes) = (frame::FIRST_HUB_CIRCUIT, 500_000, 400_000);
    let (bytes, nonce) = (60_000, 5);
    vec![
        ToClient::Welcome { token: token.clone(), observed, max_circuits: 64 },
        ToClient::Welcome { token: token.clone(), observed: [9, 9, 9, 9].into(), max_circuits: 1 },
        ToClient::Token { token },
        ToClient::Incoming { circuit, from, window_bytes, hub_bytes },
        ToClient::Opened { circuit: 1, window_bytes, hub_bytes },
        ToClient::OpenFailed { circuit: 1, reason: OpenError::Busy },
        ToClient::Close { circuit, reason: CircuitEnd::Lost },
        ToClient::Credit { circuit, bytes },
        ToClient::HubCredit { circuit, bytes },
        ToClient::Reclaim { circuit, bytes },
        ToClient::Ping { nonce },
        ToClient::Pong { nonce },
        ToClient::Goodbye { reason: Goodbye::Shutdown },
    ]
}

pub(super) fn relay_frame_seeds() -> Vec<Vec<u8>> {
    let mut data = frame::begin_data(1, 3);
    data.extend_from_slice(b"abc");
    let mut seeds = vec![[&[0], &data[..]].concat(), vec![0, 0, 1, 2, 3], vec![0, 1, 2, 3]];
    seeds.extend(to_hub().iter().map(|message| [vec![1], message.encode()].concat()));
    seeds.extend(to_client().iter().map(|message| [vec![2], message.encode()].concat()));
    seeds
}

/// A manifest, behind two bytes that say into what pieces it is cut.
pub fn manifest(data: &[u8]) {
    let Some((cuts, bytes)) = data.split_first_chunk::<2>() else { return };
    let (whole, end) = decode(bytes, &[]);
    let (cut, cut_end) = decode(bytes, cuts);
    assert!(cut.iter().eq(whole.iter()) && cut_end == end, "cuts do not matter");

    let mut encoder = Encoder::new();
    let mut again = encoder.header();
    let mut chunks = 0;
    let mut last: Option<&Entry> = None;
    for (offset, first_chunk, entry) in &whole {
        assert_eq!((*offset, *first_chunk), (again.len() as u64, chunks));
        check_entry(entry, last);
        if let What::File { length_bytes, .. } = entry.what {
            chunks += chunk_count(length_bytes);
        }
        encoder.entry(entry, &mut again).expect("what was read can be written");
        let alone = decode_entry(&bytes[*offset as usize..]);
        assert_eq!(alone, Ok((again.len() - *offset as usize, entry.clone())));
        last = Some(entry);
    }
    if let Ok(sums) = end {
        assert_eq!(again, bytes, "what is whole is written as it was");
        assert_eq!(sums, encoder.sums());
        assert_eq!(sums.0, chunks);
    } else if !whole.is_empty() {
        assert!(bytes.starts_with(&again));
    }
}

fn check_entry(entry: &Entry, last: Option<&Entry>) {
    if let Some(last) = last {
        assert!(compare_paths(&last.path, &entry.path).is_lt(), "in order, no duplicate");
    }
    let names = entry.path.split(|byte| *byte == b'/');
    let harmless = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    assert!(entry.path.is_empty() || names.clone().all(harmless));
    match &entry.what {
        What::Folder => {}
        What::File { length_bytes, root } => {
            assert!(!entry.path.is_empty() && (*length_bytes > 0 || *root == ZERO_HASH));
        }
        What::Link { target } => {
            let goal = resolve_link(&entry.path, target).expect("an allowed link leads inside");
            assert!(goal.is_empty() || goal.split(|byte| *byte == b'/').all(harmless));
        }
    }
}

type Decoded = (Vec<(u64, u64, Entry)>, Result<(u64, u64), DecodeError>);

fn decode(bytes: &[u8], cuts: &[u8]) -> Decoded {
    let mut all = Vec::new();
    let mut decoder = match Decoder::new(bytes.len() as u64) {
        Ok(decoder) => decoder,
        Err(error) => return (all, Err(error)),
    };
    for piece in pieces(bytes, cuts) {
        decoder.push(piece);
        loop {
            match decoder.next_entry() {
                Ok(Some(entry)) => all.push(entry),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_entry(), Err(error), "now and for ever");
                    return (all, Err(error));
                }
            }
        }
    }
    (all, decoder.finish())
}

pub(super) fn entries() -> Vec<Entry> {
    let file = |length_bytes| What::File {
        length_bytes,
        root: if length_bytes == 0 { ZERO_HASH } else { Hash([7; 32]) },
    };
    let link = |target: &str| What::Link { target: target.into() };
    let all = [
        ("", What::Folder),
        ("a", What::Folder),
        ("a/b", file(300_000)),
        ("a/empty", file(0)),
        ("a/up", link("../c")),
        ("c", file(5)),
        ("link", link("a/b")),
    ];
    let entry = |(path, what): (&str, What)| Entry {
        path: path.into(),
        mode: 0o755,
        mtime: (1_700_000_000, 5),
        what,
    };
    all.into_iter().map(entry).collect()
}

pub(super) fn manifest_seeds() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let mut bytes = [vec![3, 40], encoder.header()].concat();
    let mut seeds = vec![bytes.clone()];
    for entry in entries() {
        encoder.entry(&entry, &mut bytes).expect("they obey the rules");
    }
    seeds.push(bytes);
    seeds
}
