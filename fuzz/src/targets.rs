//! Fuzz targets: plain functions from bytes to nothing, which panic if something does not hold.
//!
//! Each knows how to make a few good inputs with the real encoders ([`Target::seeds`]); what a
//! fuzzer found beside them lies in `fuzz/corpus/NAME/`, and is replayed by `cargo test`. Inputs
//! that once broke something are kept in `fuzz/regressions/NAME/`, named by behaviour. How to run
//! them stands in `docs/fuzzing.md`.
//!
//! | module | what is fed |
//! |---|---|
//! | `formats` | wire messages, preambles, relay frames, manifests |
//! | `names` | links, names, ids, tokens |
//! | `tracker` | what tracker and peers say over HTTP |
//! | `merkle` | proofs that may lie |
//! | `websocket` | the tracker's frames |
//! | `crypto` | handshakes, records, chunk frames |
//! | `session` | a wire that changes bytes, a peer that says what it likes |
//! | `relay` | a hub among hostile clients, a client at a hostile hub |
//! | `world` | scenarios of the simulated world |
//! | `store` | manifests that become files, what an earlier run left, a cache |

mod crypto;
mod feed;
mod formats;
mod merkle;
mod names;
mod relay;
mod session;
mod store;
mod tracker;
mod websocket;
mod world;

pub use crypto::{chunk_frame, noise, record};
pub use formats::{manifest, preamble, relay_frame, wire_message};
pub use merkle::merkle;
pub use names::{id, link, name, token};
pub use relay::{hub, relay_client};
pub use session::{session_frames, session_wire};
pub use store::{manifest_to_disk, share_cache, target_resume};
pub use tracker::{tracker_reply, tracker_request};
pub use websocket::websocket;
pub use world::world;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of its function, its program and its folders.
    pub name: &'static str,
    /// Feeds it; panics if something does not hold.
    pub run: fn(&[u8]),
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longer inputs show nothing new.
    pub max_input_bytes: usize,
    /// What an input may cost at most; checked by the libFuzzer programs.
    pub max_heap_bytes: usize,
}

/// All targets.
pub const ALL: &[Target] = &[
    target("chunk_frame", chunk_frame, crypto::chunk_frame_seeds, 64).heap(2 << 20),
    target("hub", hub, relay::hub_seeds, 1024).heap(8 << 20),
    target("id", id, names::id_seeds, 256),
    target("link", link, names::link_seeds, 1024),
    target("manifest", manifest, formats::manifest_seeds, 4096),
    // Two bits for each chunk of the largest share are 16 MiB.
    target("manifest_to_disk", manifest_to_disk, store::folder_seeds, 1024).heap(20 << 20),
    target("merkle", merkle, merkle::seeds, 1024).heap(4 << 20),
    target("name", name, names::name_seeds, 1024),
    target("noise", noise, crypto::noise_seeds, 512),
    target("preamble", preamble, formats::preamble_seeds, 16),
    target("record", record, crypto::record_seeds, 512),
    target("relay_client", relay_client, relay::client_seeds, 1024).heap(16 << 20),
    target("relay_frame", relay_frame, formats::relay_frame_seeds, 1024),
    target("session_frames", session_frames, session::frames_seeds, 1024).heap(16 << 20),
    target("session_wire", session_wire, session::wire_seeds, 1024),
    target("share_cache", share_cache, store::cache_seeds, 512).heap(16 << 20),
    target("target_resume", target_resume, store::resume_seeds, 512).heap(64 << 20),
    target("token", token, names::token_seeds, 512),
    target("tracker_reply", tracker_reply, tracker::reply_seeds, 4096),
    target("tracker_request", tracker_request, tracker::request_seeds, 4096),
    target("websocket", websocket, websocket::seeds, 4096),
    target("wire_message", wire_message, formats::wire_message_seeds, 4200),
    target("world", world, world::seeds, 512).heap(1 << 30),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    max_input_bytes: usize,
) -> Target {
    Target { name, run, seeds, max_input_bytes, max_heap_bytes: 256 << 10 }
}

impl Target {
    const fn heap(mut self, max_heap_bytes: usize) -> Self {
        self.max_heap_bytes = max_heap_bytes;
        self
    }
}

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
