//! Faults that are planted on purpose, to see whether the simulated world finds them.
//!
//! A site is one word, `planted!(Fault)`, beside the rule that it breaks. Without the feature
//! `planted` the word is `false`, and what hangs on it is compiled to nothing; only the world turns
//! the feature on, and no product can ([`crate::HAS_PLANTED_FAULTS`]). One fault is on at a time,
//! for the whole process, so that machines need not carry it about.

use core::sync::atomic::{AtomicU8, Ordering};

/// A fault of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A chunk counts as proven whatever its proof says.
    BadProof = 1,
    /// A chunk counts as had when it has come, before it is verified and written.
    CountEarly,
    /// The record counter stands still after 40 records, on both sides.
    ReuseNonce,
    /// Both directions of a link have the same key.
    OneKey,
    /// A sender never changes its key; its receiver does.
    NeverRekey,
    /// A deadline that is moved is lost.
    LoseTimer,
    /// Whoever sends into a circuit ignores the receiver's window.
    IgnoreWindow,
    /// Whoever sends into a circuit ignores the hub's window.
    IgnoreGrant,
    /// The hub never grants again what a receiver has taken.
    NoNewGrant,
    /// The hub grants what its budget does not have.
    OverBudget,
    /// The hub never frees a circuit that its caller or callee has closed.
    LeakCircuit,
    /// A link to somebody who has vanished is never given up.
    LeakLink,
    /// A share is opened to whoever knows its locator.
    NoProof,
    /// A share is served to whoever asks, opened or not.
    ServeUnopened,
    /// The description that a seeder gives is believed, whatever the link says.
    BelieveSeeder,
    /// The length of a frame is believed, however long it is.
    BelieveLength,
    /// A chunk is taken that nobody asked for.
    TakeUnasked,
    /// A peer is spoken to whose versions do not fit.
    AnyVersion,
    /// A path of a manifest may climb out of the share.
    FollowDots,
    /// An entry of a manifest may have a link as its parent.
    FollowLink,
    /// What was asked of a link that has ended is never asked of another.
    LoseRequests,
    /// A limit on rates lets everything pass.
    IgnoreLimit,
    /// Whoever sends a false chunk is asked for the next one.
    NoBlame,
    /// A chunk that has come is not cancelled elsewhere.
    NoCancel,
    /// An idle link says nothing.
    NoPing,
    /// A client of the relay leaves pings unanswered.
    NoPong,
    /// The node goes on as if a link that has ended were up.
    IgnoreClosed,
    /// The relay is used although a direct path was not tried.
    RelayFirst,
    /// A receiver that has everything leaves without a word.
    NoComplete,
}

/// The fault that is on; 0 is none.
static ON: AtomicU8 = AtomicU8::new(0);

/// Turns a fault on for this process, and all others off.
pub fn plant(fault: Option<Fault>) {
    ON.store(fault.map_or(0, |fault| fault as u8), Ordering::Relaxed);
}

/// Whether this fault is on.
pub(crate) fn is(fault: Fault) -> bool {
    ON.load(Ordering::Relaxed) == fault as u8
}
