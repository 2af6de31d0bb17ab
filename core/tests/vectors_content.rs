//! The vectors of the spec's chapters "Content" and "Link": Merkle trees by libtorrent, the rest by
//! scripts that share no code with us.

use serde_json::Value;
use towpath_core::id::{Descriptor, Hash, Kind, Secret};
use towpath_core::limits::{CHUNK_BYTES, LEAF_BYTES};
use towpath_core::link::{Link, LinkError};
use towpath_core::manifest::{Decoder, Encoder, Entry, What, decode_entry, resolve_link};
use towpath_core::merkle::{
    LeafRange, TreeBuilder, TreeLayout, chunk_count, chunk_hash, proof_length, verify_chunk,
    verify_range,
};
use towpath_core::name::sanitize;

fn vectors(json: &str) -> Vec<Value> {
    list(json, "vectors")
}

fn list(json: &str, name: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(json).expect("a JSON file");
    let vectors = file[name].as_array().expect("an array of vectors").clone();
    assert!(vectors.len() >= 5, "a file of vectors that lost its vectors tests nothing");
    vectors
}

fn hex(vector: &Value, name: &str) -> Vec<u8> {
    let text = text(vector, name);
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn secret(vector: &Value) -> Option<Secret> {
    let secret = vector.get("secret").filter(|secret| !secret.is_null())?;
    let secret: Hash = secret.as_str().and_then(|text| text.parse().ok()).expect("a secret in hex");
    Some(Secret::new(secret.0))
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} is a string in {vector}"))
}

fn number(vector: &Value, name: &str) -> u64 {
    vector[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {vector}"))
}

fn hashes(vector: &Value, name: &str) -> Vec<Hash> {
    let list = vector[name].as_array().unwrap_or_else(|| panic!("{name} is a list in {vector}"));
    let hash = |value: &Value| value.as_str().and_then(|hash| hash.parse().ok());
    list.iter().map(|value| hash(value).expect("a hash in hex")).collect()
}

// Spec C1, C2, C3, C4, C6, C8
#[test]
fn merkle_trees_are_those_of_libtorrent() {
    let vectors = vectors(include_str!("../../spec/vectors/merkle.json"));
    let longest = vectors.iter().map(|v| number(v, "length_bytes")).max().unwrap();
    let content: Vec<u8> =
        (0..longest).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    for vector in &vectors {
        let length = number(vector, "length_bytes");
        let data = &content[..length as usize];
        let root: Hash = text(vector, "root").parse().unwrap();
        let chunks: Vec<Hash> =
            data.chunks(CHUNK_BYTES).map(|chunk| chunk_hash(length, chunk)).collect();
        assert_eq!(chunks, hashes(vector, "chunk_hashes"), "{length}");
        assert_eq!(chunks.len() as u64, chunk_count(length));

        let mut builder = TreeBuilder::new(length);
        let layout = TreeLayout::new(length);
        let mut nodes = vec![Hash([0; 32]); layout.nodes() as usize];
        for chunk in &chunks {
            for (position, hash) in builder.push(*chunk) {
                nodes[position as usize] = hash;
            }
        }
        assert_eq!(builder.finish(), root, "{length}");

        for case in vector["chunk_proofs"].as_array().unwrap() {
            let index = number(case, "chunk");
            let proof = hashes(case, "proof");
            let ours: Vec<Hash> = layout
                .proof(index)
                .map(|node| node.map_or_else(|padding| padding, |at| nodes[at as usize]))
                .collect();
            assert_eq!(ours, proof, "{length} {index}");
            assert_eq!(proof.len(), proof_length(length));
            let chunk = data.chunks(CHUNK_BYTES).nth(index as usize).unwrap();
            assert!(verify_chunk(root, length, index, &proof, chunk), "{length} {index}");
        }
        for case in vector["leaf_proofs"].as_array().unwrap() {
            let range = LeafRange { level: 0, index: number(case, "leaf") };
            let leaf = data.chunks(LEAF_BYTES).nth(range.index as usize).unwrap();
            let proof = hashes(case, "proof");
            assert!(verify_range(root, length, range, &proof, leaf).is_some(), "{length}");
        }
    }
}

// Spec C10, C11, C12
#[test]
fn ids_and_locators_are_those_of_the_spec() {
    for vector in vectors(include_str!("../../spec/vectors/ids.json")) {
        let descriptor = Descriptor {
            kind: Kind::try_from(number(&vector, "kind") as u8).unwrap(),
            length_bytes: number(&vector, "length_bytes"),
            root: text(&vector, "root").parse().unwrap(),
        };
        assert_eq!(descriptor.id().to_string(), text(&vector, "id"));
        let locator = descriptor.locator(secret(&vector).as_ref());
        assert_eq!(locator.to_string(), text(&vector, "locator"));
    }
}

// Spec C10, C11
#[test]
fn other_kinds_and_other_texts_are_no_ids() {
    for refused in list(include_str!("../../spec/vectors/ids.json"), "refused") {
        let text = refused.as_str().expect("a text");
        assert!(text.parse::<Hash>().is_err(), "{text:?}");
    }
    let file: Value =
        serde_json::from_str(include_str!("../../spec/vectors/ids.json")).expect("a JSON file");
    for kind in file["refused_kinds"].as_array().expect("a list") {
        assert!(Kind::try_from(kind.as_u64().expect("a number") as u8).is_err(), "{kind}");
    }
}

/// What a vector of `ranges.json` says about its data, as far as there are so many.
fn check_range(vector: &Value, content: &[u8]) -> Option<Hash> {
    let range = LeafRange { level: number(vector, "level") as u32, index: number(vector, "index") };
    let (start, end) = (number(vector, "start") as usize, number(vector, "end") as usize);
    let data = &content[start..end.min(content.len())];
    let root = text(vector, "root").parse().expect("a hash");
    verify_range(root, number(vector, "length_bytes"), range, &hashes(vector, "proof"), data)
}

// Spec C5, C6, C6b, C7, C8
#[test]
fn runs_of_leaves_prove_themselves_and_nothing_else() {
    let json = include_str!("../../spec/vectors/ranges.json");
    let content: Vec<u8> =
        (0..2_u64 << 20).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let vectors = vectors(json);
    let levels = |level| vectors.iter().filter(|v| number(v, "level") == level).count();
    assert!((0..=4).all(|level| levels(level) > 4), "every level has its vectors");
    for vector in &vectors {
        let hash = check_range(vector, &content).map(|hash| hash.to_string());
        assert_eq!(hash.as_deref(), Some(text(vector, "hash")), "{vector}");
    }
    for vector in list(json, "refused") {
        assert_eq!(check_range(&vector, &content), None, "{}", vector["why"]);
    }
}

// Spec L1, L2, L3, L4, L6
#[test]
fn links_are_read_as_the_spec_says() {
    let json = include_str!("../../spec/vectors/links.json");
    for vector in vectors(json) {
        let link: Link = text(&vector, "text").parse().unwrap();
        assert_eq!(link.tracker, text(&vector, "tracker"));
        assert_eq!(link.locator.to_string(), text(&vector, "locator"));
        assert_eq!(link.secret, secret(&vector));
        assert_eq!(link.to_string().parse(), Ok(link));
    }
    for vector in list(json, "refused") {
        let error = match text(&vector, "error") {
            "not_a_url" => LinkError::NotAUrl,
            "cut" => LinkError::Cut,
            "bad_locator" => LinkError::BadLocator,
            "bad_secret" => LinkError::BadSecret,
            other => panic!("{other} is no error of a link"),
        };
        assert_eq!(text(&vector, "text").parse::<Link>(), Err(error), "{vector}");
    }
}

// Spec C14
#[test]
fn names_are_made_harmless_as_the_spec_says() {
    for vector in vectors(include_str!("../../spec/vectors/names.json")) {
        assert_eq!(sanitize(text(&vector, "suggested")), text(&vector, "name"), "{vector}");
    }
}

fn entry(vector: &Value) -> Entry {
    let what = match text(vector, "kind") {
        "folder" => What::Folder,
        "file" => What::File {
            length_bytes: number(vector, "length_bytes"),
            root: text(vector, "root").parse().expect("a root in hex"),
        },
        "link" => What::Link { target: hex(vector, "target") },
        other => panic!("{other} is no kind of entry"),
    };
    let seconds = vector["seconds"].as_i64().expect("a number of seconds");
    Entry {
        path: hex(vector, "path"),
        mode: number(vector, "mode") as u16,
        mtime: (seconds, number(vector, "nanoseconds") as u32),
        what,
    }
}

// Spec C18, C21, C22, K9
#[test]
fn manifests_are_read_and_written_as_the_spec_says() {
    for vector in vectors(include_str!("../../spec/vectors/manifest.json")) {
        let bytes = hex(&vector, "bytes");
        let mut decoder = Decoder::new(bytes.len() as u64).unwrap();
        decoder.push(&bytes);
        let mut encoder = Encoder::new();
        let mut encoded = encoder.header();
        for expected in vector["entries"].as_array().unwrap() {
            let (offset, first_chunk, read) = decoder.next_entry().unwrap().unwrap();
            assert_eq!(read, entry(expected));
            assert_eq!(offset, number(expected, "offset"));
            assert_eq!(first_chunk, number(expected, "first_chunk"));
            encoder.entry(&read, &mut encoded).unwrap();
            let (length, alone) = decode_entry(&bytes[offset as usize..]).unwrap();
            assert_eq!((offset as usize + length, alone), (encoded.len(), read));
        }
        assert_eq!(decoder.next_entry(), Ok(None));
        let sums = (number(&vector, "chunks"), number(&vector, "content_bytes"));
        assert_eq!(decoder.finish(), Ok(sums));
        assert_eq!(encoded, bytes);
    }
}

// Spec C5, C15, C16, C17, C18, C19, C20, C23, C24, C15b, C15c, C17b, C17c, C17d, C20b, C27
#[test]
fn hostile_manifests_are_refused_each_with_its_rule() {
    for vector in list(include_str!("../../spec/vectors/manifest.json"), "refused") {
        let bytes = hex(&vector, "bytes");
        for piece in [1, usize::MAX] {
            let mut decoder = Decoder::new(bytes.len() as u64).unwrap();
            let mut error = None;
            for bytes in bytes.chunks(piece) {
                decoder.push(bytes);
                while error.is_none() {
                    match decoder.next_entry() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(rule) => error = Some(rule),
                    }
                }
            }
            let error = error.or_else(|| decoder.finish().err());
            assert_eq!(error.map(|rule| rule.0), Some(text(&vector, "error")), "{vector}");
        }
    }
}

// Spec C25
#[test]
fn targets_of_links_name_what_the_spec_says() {
    for vector in list(include_str!("../../spec/vectors/manifest.json"), "resolved") {
        let names = vector["names"].as_str().map(|path| path.as_bytes().to_vec());
        let link = text(&vector, "link").as_bytes();
        assert_eq!(resolve_link(link, text(&vector, "target").as_bytes()), names, "{vector}");
    }
}
