//! What the tracker is told of us, in the order in which it must hear it.
//!
//! Login (the relay client's) gives a token; then `Register`, then `Announce` for each content,
//! then heartbeats at the tracker's pace. Whatever voids what was said (a new token, `401`, `404`,
//! new addresses) starts it over; replies to calls from before are known by their generation and
//! ignored. Errors are tried again after 1 s → 30 s; people hear of them once per outage.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::{CallId, Event, Node, Phase, Timer, Transmit};
use crate::id::ContentKey;
use crate::limits::{
    HEARTBEAT_INTERVAL, HEARTBEAT_MAX, HEARTBEAT_MIN, LOGIN_PATIENCE, MAX_ADDRESSES_PER_PEER,
    MAX_ANNOUNCES_AT_ONCE, TRACKER_BACKOFF_MAX, TRACKER_BACKOFF_MIN,
};
use crate::path::Policy;
use crate::session::Suite;
use crate::tracker_api::{CallError, PublicFile, Request, Response};

/// What we know of the tracker, and it of us.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    pub(super) token: Option<String>,
    relay_wanted: bool,
    addresses: Vec<SocketAddr>,
    registration: Said,
    entries: BTreeMap<ContentKey, Entry>,
    generation: u64,
    failures: u32,
    unauthorized: u32,
    /// Time between heartbeats, as the tracker wishes.
    pace: Option<Duration>,
    trouble_told: bool,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
}

/// Whether the tracker was told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Said {
    #[default]
    No,
    Asking,
    Yes,
}

/// One announcement.
#[derive(Debug)]
struct Entry {
    said: Said,
    seeder: bool,
    /// Whether the application waits for `Event::Announced`.
    event: bool,
}

/// What a call under way is about.
#[derive(Debug, Clone, Copy)]
enum Call {
    Register(u64),
    Announce(u64, ContentKey),
    Heartbeat(u64),
    Remove,
    Lookup(ContentKey),
}

impl Tracker {
    pub(super) fn is_removing(&self) -> bool {
        self.calls.values().any(|call| matches!(call, Call::Remove))
    }
}

impl Node {
    pub(super) fn on_listening(&mut self, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(MAX_ADDRESSES_PER_PEER);
        if self.tracker.addresses != addresses {
            self.tracker.addresses = addresses;
            self.void_all();
            self.advance_tracker();
        }
    }

    pub(super) fn on_relay(&mut self, token: Option<String>) {
        if self.tracker.token == token {
            return;
        }
        let ready = token.is_some();
        self.tracker.token = token;
        self.void_all();
        if ready {
            self.tracker.failures = 0;
            self.tracker.unauthorized = 0;
            self.timers.clear(&Timer::Announce);
            self.timers.clear(&Timer::Login);
            self.advance_tracker();
        } else {
            self.timers.clear(&Timer::Heartbeat);
            self.set_timer(Timer::Login, LOGIN_PATIENCE);
        }
        self.tell_choosers_of_relay(ready);
    }

    /// Announces `content`, or announces it again if it has become a seeder.
    pub(super) fn announce(&mut self, content: ContentKey, seeder: bool, event: bool) {
        let entry =
            self.tracker.entries.entry(content).or_insert(Entry { said: Said::No, seeder, event });
        if entry.seeder != seeder {
            (entry.seeder, entry.said) = (seeder, Said::No);
        }
        self.update_want_relay();
        self.advance_tracker();
    }

    pub(super) fn retract(&mut self, content: ContentKey) {
        self.tracker.entries.remove(&content);
        self.update_want_relay();
    }

    /// The relay's login gives the token, so it is wanted for announcing, also where it carries
    /// nothing.
    pub(super) fn update_want_relay(&mut self) {
        let announcing = !self.tracker.entries.is_empty();
        let wanted = announcing
            || self.contents.values().any(|content| {
                content.serve
                    || content.fetch.as_ref().is_some_and(|fetch| {
                        fetch.is_running() && fetch.wish.policy != Policy::Direct
                    })
            });
        self.want_relay(wanted);
    }

    pub(super) fn want_relay(&mut self, wanted: bool) {
        if self.tracker.relay_wanted != wanted {
            self.tracker.relay_wanted = wanted;
            self.transmit(Transmit::WantRelay(wanted));
            if wanted && self.tracker.token.is_none() {
                self.set_timer(Timer::Login, LOGIN_PATIENCE);
            } else {
                self.timers.clear(&Timer::Login);
            }
        }
    }

    pub(super) fn on_no_login(&mut self) {
        self.trouble("there is no login at the tracker yet".to_string());
    }

    fn void_all(&mut self) {
        self.tracker.generation += 1;
        self.tracker.registration = Said::No;
        for entry in self.tracker.entries.values_mut() {
            entry.said = Said::No;
        }
        self.timers.clear(&Timer::Heartbeat);
    }

    /// Says the next thing that is unsaid, unless an error makes us wait.
    pub(super) fn advance_tracker(&mut self) {
        let waiting = self.timers.get(&Timer::Announce).is_some();
        if waiting || self.tracker.token.is_none() || self.tracker.entries.is_empty() {
            return;
        }
        match self.tracker.registration {
            Said::No => self.send_register(),
            Said::Asking => {}
            Said::Yes => self.send_announcements(),
        }
    }

    fn send_register(&mut self) {
        let suites = if self.config.prefer_aes {
            Vec::from([Suite::AesGcm, Suite::ChaChaPoly])
        } else {
            Vec::from([Suite::ChaChaPoly])
        };
        let request = Request::Register {
            me: self.config.me,
            addresses: self.tracker.addresses.clone(),
            suites,
            relay: true,
        };
        self.tracker.registration = Said::Asking;
        self.call(Call::Register(self.tracker.generation), request);
    }

    fn send_announcements(&mut self) {
        let asking = |entry: &&Entry| entry.said == Said::Asking;
        let room = MAX_ANNOUNCES_AT_ONCE
            .saturating_sub(self.tracker.entries.values().filter(asking).count());
        let unsaid: Vec<(ContentKey, bool)> = self
            .tracker
            .entries
            .iter()
            .filter(|(_, entry)| entry.said == Said::No)
            .map(|(key, entry)| (*key, entry.seeder))
            .take(room)
            .collect();
        for (key, seeder) in unsaid {
            let Some(content) = self.contents.get(&key) else { continue };
            let Some(about) = &content.about else { continue };
            let public = content
                .secret
                .is_none()
                .then(|| PublicFile { name: about.name.clone(), descriptor: about.descriptor });
            let request =
                Request::Announce { me: self.config.me, locator: content.locator, public, seeder };
            if let Some(entry) = self.tracker.entries.get_mut(&key) {
                entry.said = Said::Asking;
            }
            self.call(Call::Announce(self.tracker.generation, key), request);
        }
        let all_said = self.tracker.entries.values().all(|entry| entry.said == Said::Yes);
        if all_said && self.timers.get(&Timer::Heartbeat).is_none() {
            self.set_heartbeat();
        }
    }

    fn set_heartbeat(&mut self) {
        let pace = self.jitter(self.tracker.pace.unwrap_or(HEARTBEAT_INTERVAL));
        self.set_timer(Timer::Heartbeat, pace);
    }

    pub(super) fn send_heartbeat(&mut self) {
        // A login that is gone has voided the registration.
        if self.tracker.registration != Said::Yes {
            return;
        }
        let locators = self
            .tracker
            .entries
            .keys()
            .filter_map(|key| self.contents.get(key))
            .map(|content| content.locator)
            .collect();
        let request = Request::Heartbeat { me: self.config.me, locators };
        self.call(Call::Heartbeat(self.tracker.generation), request);
    }

    /// Says goodbye to the tracker, if it knows us.
    pub(super) fn send_remove(&mut self) {
        if self.tracker.token.is_some() && self.tracker.registration != Said::No {
            self.call(Call::Remove, Request::Remove { me: self.config.me });
        }
    }

    /// Asks who has `content`. One lookup of a content is under way at a time.
    pub(super) fn call_lookup(&mut self, content: ContentKey) {
        if let Some(locator) = self.contents.get(&content).map(|content| content.locator) {
            self.call(Call::Lookup(content), Request::Lookup { locator });
        }
    }

    fn call(&mut self, what: Call, request: Request) {
        let call = CallId(self.tracker.next_call);
        self.tracker.next_call += 1;
        self.tracker.calls.insert(call, what);
        let token = match what {
            Call::Register(_) | Call::Announce(..) | Call::Heartbeat(_) | Call::Remove => {
                self.tracker.token.clone()
            }
            Call::Lookup(_) => None,
        };
        self.transmit(Transmit::Call { call, request, token });
    }

    pub(super) fn on_reply(&mut self, call: CallId, result: Result<Response, CallError>) {
        let Some(what) = self.tracker.calls.remove(&call) else {
            return self.counters.count("reply_to_no_call");
        };
        if self.phase == Phase::Stopping {
            return;
        }
        match (what, result) {
            (Call::Remove, _) => {}
            (Call::Lookup(content), result) => self.on_lookup(content, result),
            (
                Call::Register(generation)
                | Call::Announce(generation, _)
                | Call::Heartbeat(generation),
                _,
            ) if generation != self.tracker.generation => {}
            (what, Ok(response)) => self.on_said(what, &response),
            (what, Err(error)) => self.on_unsaid(what, &error),
        }
    }

    fn on_said(&mut self, what: Call, response: &Response) {
        self.no_trouble();
        self.tracker.failures = 0;
        self.tracker.unauthorized = 0;
        match response {
            Response::Done { next_heartbeat_seconds: Some(seconds) } => {
                let pace = Duration::from_secs(u64::from(*seconds));
                self.tracker.pace = Some(pace.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX));
            }
            Response::Done { next_heartbeat_seconds: None } | Response::Peers(_) => {}
        }
        match what {
            Call::Register(_) => self.tracker.registration = Said::Yes,
            Call::Announce(_, key) => {
                if let Some(entry) = self.tracker.entries.get_mut(&key)
                    && entry.said == Said::Asking
                {
                    entry.said = Said::Yes;
                    if core::mem::take(&mut entry.event) {
                        self.event(Event::Announced(key));
                    }
                }
            }
            Call::Heartbeat(_) => {
                self.set_heartbeat();
            }
            Call::Remove | Call::Lookup(_) => {}
        }
        self.advance_tracker();
    }

    fn on_unsaid(&mut self, what: Call, error: &CallError) {
        self.tracker.failures += 1;
        match error {
            CallError::NotFound => self.void_all(),
            CallError::Unauthorized => {
                self.void_all();
                self.tracker.unauthorized += 1;
                if self.tracker.unauthorized.is_multiple_of(3) && self.tracker.relay_wanted {
                    // The login is worth nothing any more, and nobody told us: log in again.
                    self.transmit(Transmit::WantRelay(false));
                    self.transmit(Transmit::WantRelay(true));
                }
            }
            CallError::Unreachable(_)
            | CallError::Busy { .. }
            | CallError::Refused(_)
            | CallError::Garbage(_) => match what {
                Call::Register(_) => self.tracker.registration = Said::No,
                Call::Announce(_, key) => {
                    if let Some(entry) = self.tracker.entries.get_mut(&key) {
                        entry.said = Said::No;
                    }
                }
                Call::Heartbeat(_) => {
                    let pause = self.backoff(error);
                    self.set_timer(Timer::Heartbeat, pause);
                }
                Call::Remove | Call::Lookup(_) => {}
            },
        }
        self.tell_trouble(error);
        if self.timers.get(&Timer::Announce).is_none() {
            let pause = self.backoff(error);
            self.set_timer(Timer::Announce, pause);
        }
    }

    fn backoff(&mut self, error: &CallError) -> Duration {
        let step = self.tracker.failures.saturating_sub(1).min(5);
        let pause = (TRACKER_BACKOFF_MIN * (1 << step)).min(TRACKER_BACKOFF_MAX);
        let pause = self.jitter(pause);
        pause.max(retry_after(error))
    }

    pub(super) fn tell_trouble(&mut self, error: &CallError) {
        let sentence = match error {
            CallError::Unreachable(why) => {
                format!("the tracker cannot be reached ({why})")
            }
            CallError::NotFound => "the tracker has forgotten us".to_string(),
            CallError::Unauthorized => "the tracker does not accept our login".to_string(),
            CallError::Busy { .. } => "the tracker is busy".to_string(),
            CallError::Refused(why) => format!("the tracker refused ({why})"),
            CallError::Garbage(rule) => {
                format!("the tracker's answer makes no sense ({rule})")
            }
        };
        self.trouble(sentence);
    }

    fn trouble(&mut self, sentence: String) {
        if !self.tracker.trouble_told {
            self.tracker.trouble_told = true;
            self.event(Event::TrackerTrouble(sentence));
        }
    }

    pub(super) fn no_trouble(&mut self) {
        self.tracker.trouble_told = false;
    }
}

/// How long a busy tracker wants to be left alone: at most five minutes, whatever it says.
pub(super) fn retry_after(error: &CallError) -> Duration {
    match error {
        CallError::Busy { retry_after_seconds } => {
            Duration::from_secs(u64::from((*retry_after_seconds).min(300)))
        }
        CallError::Unreachable(_)
        | CallError::NotFound
        | CallError::Unauthorized
        | CallError::Refused(_)
        | CallError::Garbage(_) => Duration::ZERO,
    }
}
