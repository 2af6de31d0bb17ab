//! From a WebSocket to a client that is logged in.

use alloc::boxed::Box;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use super::connection::{Connection, Online, Phase, misbehaved, network, opened};
use super::{ConnId, Event, Hub, Timer, Transmit, token};
use crate::close::{CloseReason, LocalClose};
use crate::id::Instance;
use crate::limits::{
    MAX_RELAY_CIRCUITS, MAX_RELAY_HALF_OPEN, MAX_RELAY_HOST_BYTES, RELAY_LOGIN_TIMEOUT,
    RELAY_PING_INTERVAL, RELAY_TOKEN_SECONDS,
};
use crate::output::Output;
use crate::relay::frame::ToClient;
use crate::relay::seal::{self, Seal};
use crate::time::{Instant, UnixTime};

/// A token is renewed when the half of its time is over.
const RELAY_TOKEN_RENEWAL: Duration = Duration::from_secs(RELAY_TOKEN_SECONDS as u64 / 2);

impl Hub {
    pub(super) fn on_connected(
        &mut self,
        id: ConnId,
        ip: IpAddr,
        host: &str,
        ephemeral: [u8; 32],
        unix_time: UnixTime,
    ) {
        if self.connections.contains_key(&id) {
            self.counters.count("connection_number_used_twice");
            return;
        }
        if let Some(limit) = self.limit_reached(ip, host) {
            self.counters.count(limit);
            let reason = CloseReason::Local(LocalClose::Limit(limit));
            self.outputs.push_back(Output::Transmit(Transmit::Close { conn: id, reason }));
            return;
        }
        let noise = seal::handshake(false, host, self.config.secret_key, ephemeral);
        let connection = opened(self.now, ip, unix_time, noise);
        *self.by_network.entry(connection.network).or_default() += 1;
        self.connections.insert(id, connection);
        // spec R5
        self.deadlines.set(Timer::Login(id), self.now + RELAY_LOGIN_TIMEOUT);
    }

    /// The limit that keeps one more connection out, by its name in the configuration.
    fn limit_reached(&self, ip: IpAddr, host: &str) -> Option<&'static str> {
        let here = self.by_network.get(&network(ip)).copied().unwrap_or(0);
        if self.connections.len() >= self.config.max_connections {
            Some("max_connections")
        } else if here >= self.config.max_connections_per_ip {
            Some("max_connections_per_ip")
        } else if self.connections.len() - self.by_instance.len() >= MAX_RELAY_HALF_OPEN {
            Some("MAX_RELAY_HALF_OPEN")
        } else if host.len() > MAX_RELAY_HOST_BYTES {
            Some("MAX_RELAY_HOST_BYTES")
        } else {
            None
        }
    }

    /// A message of the handshake: the first is answered, the third completes it.
    pub(super) fn on_handshake(&mut self, id: ConnId, message: &[u8]) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Phase::Handshake { noise, answered_at } = &mut connection.phase else {
            return Err(misbehaved("handshake_twice"));
        };
        let mut state = noise.take().ok_or(misbehaved("handshake_order"))?;
        // spec R7: an empty payload, and the length that follows
        state.read_message(message).map_err(|error| misbehaved(error.0))?;
        if let Some(at) = *answered_at {
            connection.round_trip = connection.round_trip.min(self.now.since(at));
            let finished = state.finish();
            let peer = finished.remote;
            connection.phase = Phase::Login { seal: Box::new(Seal::new(finished)), peer };
            return Ok(());
        }
        let answer = state.write_message().map_err(|error| misbehaved(error.0))?;
        *noise = Some(state);
        *answered_at = Some(self.now);
        let message = seal::handshake_frame(&answer);
        connection.taken_at = self.now;
        connection.flights.push(self.now, message.len(), None);
        self.outputs.push_back(Output::Transmit(Transmit::Send { conn: id, message }));
        Ok(())
    }

    /// The first control message: now it is known which instance this is.
    pub(super) fn on_login(&mut self, id: ConnId, number: u64) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let nobody = Phase::Handshake { noise: None, answered_at: None };
        let (seal, peer) = match core::mem::replace(&mut connection.phase, nobody) {
            Phase::Login { seal, peer } => (seal, peer),
            phase @ (Phase::Handshake { .. } | Phase::Online(_)) => {
                connection.phase = phase;
                return Err(misbehaved("login_twice"));
            }
        };
        let instance = Instance { peer, number };
        let token_at = self.now + RELAY_TOKEN_RENEWAL;
        let online = Online::new(instance, *seal, token_at);
        connection.phase = Phase::Online(Box::new(online));
        let (observed, clock) = (connection.ip, connection_clock(connection));
        let token = self.token(clock, &instance);
        // spec R12
        if let Some(old) = self.by_instance.insert(instance, id) {
            self.close(old, CloseReason::Local(LocalClose::Superseded));
        }
        self.deadlines.clear(&Timer::Login(id));
        // Spread over five seconds, so that a herd that came at once is not asked at once.
        let jitter = Duration::from_millis(self.rng.below(5_000));
        self.deadlines.set(Timer::Alive(id), self.now + RELAY_PING_INTERVAL + jitter);
        self.outputs.push_back(Output::Event(Event::LoggedIn(id, instance)));
        let max_circuits = u32::try_from(MAX_RELAY_CIRCUITS).unwrap_or(u32::MAX);
        // spec R11
        self.tell(id, ToClient::Welcome { token, observed, max_circuits });
        Ok(())
    }

    /// Sends a fresh token if the half of the old one's time is over.
    pub(super) fn renew_token(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let clock = connection_clock(connection);
        let Some(online) = connection.online() else { return };
        if now < online.token_at {
            return;
        }
        online.token_at = now + RELAY_TOKEN_RENEWAL;
        let instance = online.instance;
        let token = self.token(clock, &instance);
        self.tell(id, ToClient::Token { token });
    }

    /// A token that is good from now on; the connection knows what time it is.
    fn token(&self, clock: (Instant, UnixTime), instance: &Instance) -> String {
        let elapsed = i64::try_from(self.now.since(clock.0).as_secs()).unwrap_or(i64::MAX);
        let now = clock.1.0.saturating_add(elapsed);
        let expiry = UnixTime(now.saturating_add(RELAY_TOKEN_SECONDS));
        token::make(&self.config.token_key, instance, expiry)
    }
}

/// The two clocks at the moment when the connection was opened.
const fn connection_clock(connection: &Connection) -> (Instant, UnixTime) {
    (connection.since, connection.unix_since)
}
