//! Adversaries in the world: they stand on hosts like anybody else.

use std::sync::Arc;

use towpath_core::id::PeerId;
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use super::{World, address_of};
use crate::adversary::{self, Adversary, Vice};
use crate::content::Content;
use crate::peer::{Who, Work};
use crate::pipe::Quality;

impl World {
    /// Adds an adversary, which is off, with so many keys beside its own.
    pub fn add_adversary(
        &mut self,
        quality: Quality,
        content: &Arc<Content>,
        vices: Vec<Vice>,
        sybils: usize,
    ) -> usize {
        let host = self.add_host(quality);
        let mut secret_keys = vec![self.hosts[host].config.secret_key];
        for number in 0..sybils {
            let mut key = secret_keys[0];
            key[16..24].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            secret_keys.push(key);
        }
        let address = address_of(host);
        let number = self.hosts[host].config.number;
        let content = Arc::clone(content);
        let config = adversary::Config {
            vices,
            secret_keys,
            number,
            address,
            content,
            friends: Vec::new(),
            knows_the_door: true,
        };
        self.directory.also.extend(Adversary::sybils(&config));
        self.hosts[host].adversary = Some(config);
        host
    }

    pub(super) fn start_fiend(&mut self, number: usize, rng: Rng) -> Result<(), String> {
        let now = self.now;
        let configs = self.hosts.iter().filter_map(|host| host.adversary.as_ref());
        let friends = configs.flat_map(adversary::Config::peers).collect();
        let host = &mut self.hosts[number];
        let Some(mut config) = host.adversary.clone() else { return Ok(()) };
        config.friends = friends;
        if host.fiend.is_some() || host.is_over {
            return Ok(());
        }
        host.epoch += 1;
        host.tick_at = Instant::NEVER;
        let fiend = Adversary::new(now, rng, config);
        host.fiend = Some(Box::new(fiend));
        self.count("adversary");
        self.with_fiend(number, |_| {})
    }

    pub(super) fn fiend_ticks(&mut self, host: usize, epoch: u32) -> Result<(), String> {
        let now = self.now;
        if self.hosts[host].epoch != epoch {
            return Ok(());
        }
        self.hosts[host].tick_at = Instant::NEVER;
        self.with_fiend(host, |fiend| fiend.tick(now))
    }

    pub(super) fn fiend_input(
        &mut self,
        host: usize,
        epoch: u32,
        work: Work,
    ) -> Result<(), String> {
        let now = self.now;
        if self.hosts[host].epoch != epoch {
            return Ok(());
        }
        self.with_fiend(host, |fiend| fiend.input(now, work))
    }

    /// Lets an adversary act, and carries out what it wants.
    fn with_fiend(&mut self, host: usize, act: impl FnOnce(&mut Adversary)) -> Result<(), String> {
        let Some(fiend) = self.hosts[host].fiend.as_mut() else { return Ok(()) };
        act(fiend);
        let deadline = fiend.deadline();
        let effects = std::mem::take(&mut fiend.effects);
        let counts = std::mem::take(&mut fiend.counts);
        if let Some(complaint) = fiend.complaint.take() {
            return Err(format!("adversary {host}: {complaint}"));
        }
        let late = std::mem::take(&mut fiend.late_bytes);
        self.hosts[host].late_bytes += late;
        for what in counts {
            self.count(what);
        }
        self.carry_out(host, effects, deadline)
    }

    /// Whether somebody with this key is an adversary.
    #[must_use]
    pub fn is_adversary(&self, peer: PeerId) -> bool {
        let configs = self.hosts.iter().filter_map(|host| host.adversary.as_ref());
        configs.flat_map(adversary::Config::peers).any(|other| other == peer)
    }

    /// Whether a host that says this of somebody is right.
    pub(super) fn accuses_adversary(&self, who: Who) -> bool {
        let here = |address| {
            self.hosts.iter().position(|host| {
                host.adversary.as_ref().is_some_and(|config| config.address == address)
            })
        };
        // What a circuit brings may be the relay's doing.
        let relayed = who.address.is_none() && self.relay.was_hostile;
        relayed
            || who.peer.is_some_and(|peer| self.is_adversary(peer))
            || who.address.is_some_and(|address| here(address).is_some())
    }

    /// Whether there are adversaries.
    #[must_use]
    pub fn has_adversaries(&self) -> bool {
        self.hosts.iter().any(|host| host.adversary.is_some())
    }
}
