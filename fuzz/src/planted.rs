//! The faults that can be planted (`world --break NAME`), to see that the world finds them.
//!
//! Those of the core stand in `core/src/planted.rs`, at the rules that they break; those of drivers
//! and disks in the world itself, which is driver and disk here. One is on at a time.

use towpath_core::planted::{Fault, plant};

use crate::scenario::{self, Outcome};
use crate::search::one;
use crate::world::Plant;

/// A fault that can be planted.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is wrong then.
    pub about: &'static str,
    place: Place,
}

/// Where a fault is planted.
#[derive(Debug, Clone, Copy)]
enum Place {
    Core(Fault),
    Driver(Plant),
}

const fn core(name: &'static str, fault: Fault, about: &'static str) -> Planted {
    Planted { name, about, place: Place::Core(fault) }
}

const fn driver(name: &'static str, plant: Plant, about: &'static str) -> Planted {
    Planted { name, about, place: Place::Driver(plant) }
}

/// All of them.
pub const ALL: &[Planted] = &[
    core("bad-proof", Fault::BadProof, "a chunk counts as proven whatever its proof says"),
    core("count-early", Fault::CountEarly, "a chunk counts as had before it is written"),
    core("reuse-nonce", Fault::ReuseNonce, "both sides stop counting records at the 40th"),
    core("one-key", Fault::OneKey, "both directions of a link have the same key"),
    core("never-rekey", Fault::NeverRekey, "a sender never changes its key, its receiver does"),
    core("lose-timer", Fault::LoseTimer, "a deadline that is moved is lost"),
    core("ignore-window", Fault::IgnoreWindow, "a circuit's sender ignores the receiver's window"),
    core("ignore-grant", Fault::IgnoreGrant, "a circuit's sender ignores the hub's window"),
    core("no-new-grant", Fault::NoNewGrant, "the hub never grants again what was taken"),
    core("over-budget", Fault::OverBudget, "the hub grants what its budget does not have"),
    core("leak-circuit", Fault::LeakCircuit, "the hub never frees a closed circuit"),
    core("leak-link", Fault::LeakLink, "a link to somebody who vanished is never given up"),
    core("no-proof", Fault::NoProof, "a share is opened to whoever knows its locator"),
    core(
        "serve-unopened",
        Fault::ServeUnopened,
        "a share is served to whoever asks, opened or not",
    ),
    core(
        "believe-seeder",
        Fault::BelieveSeeder,
        "what a seeder offers is believed to be the share",
    ),
    core("believe-length", Fault::BelieveLength, "the length of a frame is believed"),
    core("take-unasked", Fault::TakeUnasked, "a chunk is taken that nobody asked for"),
    core("any-version", Fault::AnyVersion, "a peer is spoken to whose versions do not fit"),
    core("follow-dots", Fault::FollowDots, "a path of a manifest may climb out of the share"),
    core("follow-link", Fault::FollowLink, "an entry of a manifest may lie behind a link"),
    core("lose-requests", Fault::LoseRequests, "what a dead link was asked is never asked again"),
    core("ignore-limit", Fault::IgnoreLimit, "limits on rates let everything pass"),
    core("no-blame", Fault::NoBlame, "whoever sends a false chunk is asked for the next one"),
    core("no-cancel", Fault::NoCancel, "a chunk that has come is not cancelled elsewhere"),
    core("no-ping", Fault::NoPing, "an idle link says nothing"),
    core("no-pong", Fault::NoPong, "a client of the relay leaves pings unanswered"),
    core("ignore-closed", Fault::IgnoreClosed, "the node goes on as if a dead link were up"),
    core("relay-first", Fault::RelayFirst, "the relay is used before a direct path was tried"),
    core("no-complete", Fault::NoComplete, "who has everything leaves without a word"),
    driver("trusting-disk", Plant::TrustingDisk, "a disk believes every chunk"),
    driver("forget-journal", Plant::ForgottenJournal, "a disk has forgotten what it holds"),
    driver("written-is-synced", Plant::WrittenIsSynced, "a crash loses what counts as had"),
    driver("lost-ticks", Plant::LostTicks, "clocks stop for good now and then"),
    driver("no-sent", Plant::NoSent, "nobody hears that his bytes have left"),
    driver("lost-pieces", Plant::LostPieces, "a piece is lost now and then, and not sent again"),
];

/// The fault of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Planted> {
    ALL.iter().find(|planted| planted.name == name)
}

impl Planted {
    /// Plays the scenario of `seed` with this fault.
    ///
    /// # Errors
    /// How the fault was found: what did not hold, or the assertion that failed.
    pub fn play(&self, seed: u64, verbose: bool) -> Result<Outcome, String> {
        let driver = match self.place {
            Place::Core(fault) => {
                plant(Some(fault));
                None
            }
            Place::Driver(plant) => Some(plant),
        };
        let outcome = one(seed, |seed| scenario::play_with(seed, verbose, driver));
        plant(None);
        outcome
    }
}
