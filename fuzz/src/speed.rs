//! What one peer carries on a long fat network: 1 Gbit/s, 100 ms round trip, one sharer, one
//! getter.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::path::Policy;
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use crate::content::Content;
use crate::pipe::Quality;
use crate::world::{Wish, World};

/// What was measured, in virtual time.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Bits of the file in a second, from the command to the end: asking, dialling and handshakes
    /// included.
    pub whole_mbit_per_second: f64,
    /// The same for the second half of the bytes.
    pub steady_mbit_per_second: f64,
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whole_mbit_per_second: whole, steady_mbit_per_second: steady } = self;
        write!(f, "{whole:.0} Mbit/s from the command on, {steady:.0} Mbit/s in the second half")
    }
}

/// Fetches so many bytes. Through the relay the hub stands in the middle, 25 ms from either side.
///
/// # Errors
/// What did not hold.
pub fn measure(policy: Policy, length_bytes: u64) -> Result<Speed, String> {
    let mut rng = Rng::new([7; 32]);
    let content = Arc::new(Content::monotonous(&mut rng, length_bytes));
    let mut world = World::new(rng.fork("world", 0), 64 << 20);
    let quality = Quality::even(Duration::from_millis(25), 125_000_000);
    let sharer = world.add(Wish::Share, quality, &content);
    let getter = world.add(Wish::Get(policy), quality, &content);
    world.start_at(Instant::ZERO, sharer);
    let started = Instant::ZERO + Duration::from_secs(1);
    world.start_at(started, getter);
    let late = started + Duration::from_secs(600);
    let half = length_bytes / 2;
    world.run(late, |world| world.figures(getter, 0).received_bytes >= half)?;
    let (halfway, before) = (world.now, world.figures(getter, 0).received_bytes);
    world.run(late, |world| world.hosts[getter].finished_at().is_some())?;
    let finished = world.hosts[getter].finished_at().ok_or("it did not finish")?;
    let rate = |bytes: u64, since| bytes as f64 * 8.0 / finished.since(since).as_secs_f64() / 1e6;
    Ok(Speed {
        whole_mbit_per_second: rate(length_bytes, started),
        steady_mbit_per_second: rate(length_bytes - before, halfway),
    })
}
