//! A machine with one user and one command: its settings and its life.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use towpath_core::id::PeerId;
use towpath_core::limits::SHUTDOWN_TIMEOUT;
use towpath_core::node;
use towpath_core::time::Instant;

use super::checks::Ticks;
use super::errands::{Errand, Wish};
use super::streams::Firewall;
use super::{Ending, Happening, World, address_of};
use crate::adversary::{self, Adversary};
use crate::disk::Torn;
use crate::peer::{Config, Peer, Work};
use crate::pipe::Quality;

/// How a sharer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// As it should.
    Honest,
    /// Every n-th chunk has a wrong byte.
    FalseEvery(u64),
    /// Every n-th chunk has a wrong proof.
    FalseProof(u64),
    /// It says that it has everything, and then that it has not.
    Refuses,
    /// It never answers a request.
    Mute,
    /// From this moment on its source is another one than was shared.
    ChangedAt(Instant),
}

/// A machine with one user and one command.
#[derive(Debug)]
pub struct Host {
    /// What the command shares and fetches.
    pub errands: Vec<Errand>,
    /// Its network.
    pub quality: Quality,
    /// What stands before it.
    pub firewall: Firewall,
    /// Whether its network is down.
    pub unplugged: bool,
    /// Addresses that it announces besides its own, before it: of nobody, or of somebody else.
    pub other_addresses: Vec<SocketAddr>,
    /// Time to read or write a chunk.
    pub disk_latency: Duration,
    /// How it serves.
    pub manners: Manners,
    /// How it ends for good, as soon as the others together have all that it shares.
    pub bows_out: Option<Ending>,
    /// Whether it ends when its downloads are whole, as `get` does, or goes on to serve.
    pub leaves: bool,
    /// Its settings.
    pub config: Config,
    /// If it is an adversary: what it is made of.
    pub adversary: Option<adversary::Config>,
    pub(super) peer: Option<Peer>,
    /// Bytes that have left over its wire.
    pub(crate) sent_bytes: u64,
    /// Links that it gave up because nothing was heard.
    pub(crate) gave_up: u64,
    /// How often the hub gave it up although it was there.
    pub(crate) given_up_by_hub: u64,
    /// If it is an adversary: what it sent after it had been taken back.
    pub(crate) late_bytes: u64,
    pub(super) fiend: Option<Box<Adversary>>,
    pub(super) epoch: u32,
    /// How often any of its errands was begun.
    pub(super) runs: u32,
    /// How far its clock is ahead of the world's.
    pub(super) ahead: Duration,
    pub(super) tick_at: Instant,
    pub(super) ticks: Ticks,
    pub(super) served: u64,
    pub(super) disk_free_at: Instant,
    /// Whether it does not start again.
    pub(super) is_over: bool,
    /// While it is frozen: until when, and what waits for it.
    pub(super) frozen: Option<(Instant, VecDeque<Work>)>,
}

impl Host {
    pub(super) fn new(quality: Quality, config: Config) -> Self {
        Self {
            errands: Vec::new(),
            quality,
            firewall: Firewall::Open,
            unplugged: false,
            other_addresses: Vec::new(),
            disk_latency: Duration::from_micros(100),
            manners: Manners::Honest,
            bows_out: None,
            leaves: false,
            config,
            adversary: None,
            peer: None,
            sent_bytes: 0,
            gave_up: 0,
            given_up_by_hub: 0,
            late_bytes: 0,
            fiend: None,
            epoch: 0,
            runs: 0,
            ahead: Duration::ZERO,
            tick_at: Instant::NEVER,
            ticks: Ticks::default(),
            served: 0,
            disk_free_at: Instant::ZERO,
            is_over: false,
            frozen: None,
        }
    }

    /// Whether nothing is left to fetch.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.errands.iter().all(Errand::is_done)
    }

    /// Whether it fetches nothing.
    #[must_use]
    pub fn only_shares(&self) -> bool {
        self.errands.iter().all(|errand| matches!(errand.wish, Wish::Share))
    }

    /// Figures of all its errands together.
    #[must_use]
    pub fn finished_at(&self) -> Option<Instant> {
        let fetches = self.errands.iter().filter(|errand| !matches!(errand.wish, Wish::Share));
        fetches.map(|errand| errand.seen.finished_at).max().flatten()
    }

    /// Whether its command runs.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.peer.is_some() || self.fiend.is_some()
    }

    /// Who it is, while its command runs or ran.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        towpath_core::crypto::public_key(&self.config.secret_key)
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl World {
    pub(super) fn start(&mut self, number: usize) -> Result<(), String> {
        let (now, clock) = (self.now, self.clock(number));
        let rng = self.rng.fork_numbered("peer", self.numbers);
        let host = &mut self.hosts[number];
        if host.adversary.is_some() {
            return self.start_fiend(number, rng);
        }
        let over = host.is_over || (host.leaves && !host.only_shares() && host.is_done());
        if host.peer.is_some() || over {
            return Ok(());
        }
        host.epoch += 1;
        host.tick_at = Instant::NEVER;
        let epoch = host.epoch;
        host.config.number = host.config.number.wrapping_add(1);
        let mut peer = Peer::new(clock, rng, &host.config);
        peer.tells = self.tells;
        let mut addresses = host.other_addresses.clone();
        addresses.push(address_of(number));
        peer.input(clock, Work::Node(node::Input::Listening { addresses }));
        for index in 0..host.errands.len() {
            peer.input(clock, Work::Node(host.begin_errand(now, index)));
        }
        host.peer = Some(peer);
        self.count("start");
        self.write_down(number, "world", "starts");
        self.plan(now, Happening::Sync(number, epoch));
        // What the peer wanted while it started is carried out now.
        self.with(number, |_| {})
    }

    /// The command ends without a word.
    pub(super) fn stop(&mut self, number: usize, ending: Ending) {
        if self.hosts[number].fiend.is_some() {
            return self.end(number);
        }
        if self.hosts[number].peer.is_none() {
            return;
        }
        self.write_down(number, "world", &format!("is {ending:?}").to_lowercase());
        match ending {
            Ending::Killed => {
                self.count("kill");
                self.end(number);
            }
            Ending::Crashed => {
                self.count("crash");
                self.lose_host(number, true);
                for errand in 0..self.hosts[number].errands.len() {
                    let disk = &mut self.hosts[number].errands[errand].disk;
                    let Torn { entries, chunks } = disk.crash(&mut self.rng);
                    *self.counts.entry("torn journal").or_default() += u64::from(entries > 0);
                    *self.counts.entry("torn chunk").or_default() += chunks;
                }
                self.end(number);
            }
            Ending::Quit => self.quit(number),
        }
    }

    /// The user ends the command: it says goodbye, and must have done so within its time.
    pub(super) fn quit(&mut self, number: usize) {
        self.count("quit");
        self.settle(number);
        let epoch = self.hosts[number].epoch;
        let late = self.now + SHUTDOWN_TIMEOUT + Duration::from_millis(100);
        self.plan(late, Happening::MustBeOver(number, epoch));
        self.say(number, epoch, node::Input::Shutdown);
    }

    /// The process is gone.
    pub(super) fn end(&mut self, number: usize) {
        self.settle(number);
        let host = &mut self.hosts[number];
        host.peer = None;
        host.fiend = None;
        host.frozen = None;
        host.epoch += 1;
        for errand in &mut host.errands {
            errand.key = None;
        }
        self.cut_host(number);
        self.disconnect_relay(number);
    }

    /// It was told to stop, and must have.
    pub(super) fn must_be_over(&mut self, number: usize, epoch: u32) -> Result<(), String> {
        if self.peer(number, epoch).is_none() {
            return Ok(());
        }
        let Some((until, _)) = self.hosts[number].frozen else {
            return Err(format!("host {number} was told to stop, and has not"));
        };
        let late = until + SHUTDOWN_TIMEOUT + Duration::from_millis(100);
        self.plan(late, Happening::MustBeOver(number, epoch));
        Ok(())
    }

    /// The machine sleeps; its disk, its network and the others go on.
    pub(super) fn freeze(&mut self, number: usize, until: Instant) {
        let host = &mut self.hosts[number];
        if host.peer.is_some() && host.frozen.is_none() {
            host.frozen = Some((until, VecDeque::new()));
            self.count("frozen");
            let epoch = self.hosts[number].epoch;
            self.plan(until, Happening::Thaw(number, epoch));
        }
    }

    /// It wakes up, and finds the clock far ahead and everything that came.
    pub(super) fn thaw(&mut self, number: usize, epoch: u32) -> Result<(), String> {
        if self.peer(number, epoch).is_none() {
            return Ok(());
        }
        let Some((_, waiting)) = self.hosts[number].frozen.take() else { return Ok(()) };
        for work in waiting {
            self.input(number, epoch, work)?;
        }
        let clock = self.clock(number);
        self.with(number, |peer| peer.tick(clock))
    }
}
