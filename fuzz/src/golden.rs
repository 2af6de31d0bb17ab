//! Golden traces: what machines say to each other in the outcomes that matter, one line each, in
//! `fuzz/traces`.
//!
//! They are made for eyes, and for diffs: whoever changes what peers say to each other sees here
//! what that does. The world of a trace is small and its network even, so that a change of one
//! decision changes few lines.

use std::sync::Arc;
use std::time::Duration;

use towpath_core::path::Policy;
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use crate::content::Content;
use crate::peer::Tells;
use crate::pipe::Quality;
use crate::world::{Ending, Firewall, Manners, Wish, World};

/// All traces, by the names of their files.
pub const NAMES: &[&str] = &[
    "handshake",
    "direct",
    "dial-fails-then-relay",
    "liar-is-caught",
    "resume-after-kill",
    "crash-with-torn-writes",
    "relay-cut-and-reconnect",
    "two-sources",
    "folder",
    "sharer-dies-and-others-inherit",
];

const CHUNK: usize = 256 * 1024;

/// Plays the scenario of this name; answers its lines.
///
/// # Errors
/// There is none of this name, or something did not hold.
pub fn play(name: &str) -> Result<String, String> {
    let mut stage = Stage::new();
    match name {
        "handshake" => {
            stage.world.tells = Tells::Bytes;
            stage.file(1);
            stage.share(0);
            stage.get(Policy::Direct, 1_000);
        }
        "direct" => {
            stage.file(3 * CHUNK + 1);
            stage.share(0);
            stage.get(Policy::Auto, 1_000);
        }
        "dial-fails-then-relay" => {
            stage.file(2 * CHUNK);
            let sharer = stage.share(0);
            stage.world.hosts[sharer].firewall = Firewall::Drop;
            stage.get(Policy::Sequential, 1_000);
        }
        "liar-is-caught" => {
            stage.file(3 * CHUNK);
            let liar = stage.share(0);
            stage.world.hosts[liar].manners = Manners::FalseEvery(1);
            stage.share(100);
            stage.get(Policy::Direct, 1_000);
        }
        "resume-after-kill" => {
            stage.file(4 * CHUNK);
            stage.share(0);
            let getter = stage.get(Policy::Direct, 1_000);
            stage.end_and_start(getter, Ending::Killed, 1_900, 2_500);
        }
        "crash-with-torn-writes" => {
            stage.file(6 * CHUNK);
            stage.share(0);
            let getter = stage.get(Policy::Direct, 1_000);
            stage.end_and_start(getter, Ending::Crashed, 2_350, 3_000);
        }
        "relay-cut-and-reconnect" => {
            stage.file(4 * CHUNK);
            stage.share(0);
            stage.get(Policy::Relay, 1_000);
            stage.world.cut_relay_at(at(1_900));
        }
        "two-sources" => {
            stage.file(4 * CHUNK);
            stage.share(0);
            stage.share(100);
            stage.get(Policy::Direct, 1_000);
        }
        "folder" => {
            stage.content = Arc::new(Content::folder(&mut Rng::new([2; 32]), &[3, CHUNK, 0, 7]));
            stage.share(0);
            stage.get(Policy::Direct, 1_000);
        }
        "sharer-dies-and-others-inherit" => {
            stage.file(4 * CHUNK);
            let sharer = stage.share(0);
            stage.world.hosts[sharer].bows_out = Some(Ending::Killed);
            for start in [1_000, 1_100] {
                let getter = stage.get(Policy::Direct, start);
                stage.world.hosts[getter].leaves = false;
            }
        }
        _ => return Err(format!("there is no trace of the name {name}")),
    }
    stage.play()
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// A small world: all wires carry 1 MB/s, 20 ms from host to host.
struct Stage {
    world: World,
    content: Arc<Content>,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(Rng::new([1; 32]), 64 << 20);
        world.tells = Tells::Story;
        world.ticks_early = false;
        Self { world, content: Arc::new(Content::file(&mut Rng::new([2; 32]), 0)) }
    }

    fn file(&mut self, length: usize) {
        self.content = Arc::new(Content::file(&mut Rng::new([2; 32]), length));
    }

    fn add(&mut self, wish: Wish, start: u64) -> usize {
        let wire = Quality::even(Duration::from_millis(10), 1_000_000);
        let host = self.world.add(wish, wire, &self.content);
        self.world.hosts[host].config.prefer_aes = false;
        self.world.start_at(at(start), host);
        host
    }

    fn share(&mut self, start: u64) -> usize {
        self.add(Wish::Share, start)
    }

    fn get(&mut self, policy: Policy, start: u64) -> usize {
        let host = self.add(Wish::Get(policy), start);
        self.world.hosts[host].leaves = true;
        host
    }

    fn end_and_start(&mut self, host: usize, ending: Ending, end: u64, start: u64) {
        self.world.stop_at(at(end), host, ending);
        self.world.start_at(at(start), host);
    }

    fn play(mut self) -> Result<String, String> {
        let all_done = |world: &World| world.hosts.iter().all(|host| host.is_done());
        // Every host must have begun before it can be said to be done.
        self.world.run(at(1_200), |_| false)?;
        self.world.run(at(60_000), all_done)?;
        if !all_done(&self.world) {
            return Err(format!("somebody is not done:\n{}", self.world.story));
        }
        // Last words.
        self.world.run(self.world.now + Duration::from_secs(1), |_| false)?;
        Ok(self.world.story)
    }
}
