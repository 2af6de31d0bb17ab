//! The chooser's behaviour, state by state, as a reader of the policy would try it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::time::Duration;

use super::*;

struct Bench {
    chooser: PathChooser,
    now: Instant,
}

impl Bench {
    fn new(policy: Policy, addresses: u16, relay: bool) -> Self {
        let addresses = (1..=addresses).map(|n| SocketAddr::from(([192, 0, 2, 1], n))).collect();
        let config = Config { policy, can_punch: false, addresses, relay };
        let now = Instant::ZERO;
        Self { chooser: PathChooser::new(now, Rng::new([1; 32]), config), now }
    }

    /// All outputs up to the timeout, one line each.
    fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(match self.chooser.poll_output() {
                Output::Transmit(Transmit::Dial(attempt, to)) => {
                    format!("dial {} port {}", attempt.0, to.port())
                }
                Output::Transmit(Transmit::OpenCircuit(attempt)) => format!("open {}", attempt.0),
                Output::Transmit(Transmit::Abandon(attempt)) => format!("abandon {}", attempt.0),
                Output::Event(Event::Chosen(attempt, path, reason)) => {
                    format!("chosen {} {path}: {reason}", attempt.0)
                }
                Output::Event(Event::Exhausted(reason)) => format!("exhausted: {reason}"),
                Output::Timeout(_) => return lines,
            });
        }
    }

    fn put(&mut self, input: Input) -> Vec<String> {
        self.chooser.handle_input(self.now, input);
        self.drain()
    }

    fn deadline(&self) -> Option<Duration> {
        let at = self.chooser.deadline();
        (at < Instant::NEVER).then(|| at.since(Instant::ZERO))
    }

    /// Lets time pass up to `millis`, with a tick at each deadline.
    fn run_to(&mut self, millis: u64) -> Vec<String> {
        let end = Instant::from_nanos(millis * 1_000_000);
        let mut lines = Vec::new();
        while self.chooser.deadline() <= end {
            let at = self.chooser.deadline();
            self.now = at;
            lines.extend(self.put(Input::Tick));
            assert!(self.chooser.deadline() > at, "a tick moves the deadline");
        }
        self.now = end;
        lines
    }
}

const REFUSED: DialError = DialError::Refused;

#[test]
fn addresses_are_dialled_a_quarter_of_a_second_apart_and_the_first_session_wins() {
    let mut bench = Bench::new(Policy::Auto, 3, true);
    assert_eq!(bench.drain(), ["dial 0 port 1"]);
    assert_eq!(bench.run_to(249), [""; 0]);
    assert_eq!(bench.run_to(250), ["dial 1 port 2"]);
    let won = bench.put(Input::Established(Attempt(1)));
    assert_eq!(won, ["abandon 0", "chosen 1 direct: direct TCP connected"]);
    assert_eq!(bench.deadline(), None);
    assert_eq!(bench.put(Input::Established(Attempt(0))), [""; 0]);
}

// Spec P1, P5
#[test]
fn silence_for_five_seconds_leads_to_the_relay() {
    let mut bench = Bench::new(Policy::Sequential, 2, true);
    bench.put(Input::RelayReady(true));
    bench.drain();
    assert_eq!(bench.run_to(4_999), ["dial 1 port 2"]);
    assert_eq!(bench.run_to(5_000), ["abandon 0", "abandon 1", "open 2"]);
    assert_eq!(
        bench.put(Input::Established(Attempt(2))),
        ["chosen 2 relay: direct TCP timed out after 5 s (2 addresses)"]
    );
}

// Spec P1, P5
#[test]
fn when_all_refuse_it_goes_on_at_once() {
    let mut bench = Bench::new(Policy::Auto, 2, true);
    bench.put(Input::RelayReady(true));
    bench.drain();
    assert_eq!(bench.put(Input::Failed(Attempt(0), REFUSED)), ["dial 1 port 2"]);
    assert_eq!(bench.put(Input::Failed(Attempt(1), REFUSED)), ["open 2"]);
    assert_eq!(
        bench.put(Input::Established(Attempt(2))),
        ["chosen 2 relay: direct TCP refused by all 2 addresses"]
    );
}

// Spec P5
#[test]
fn an_error_that_is_more_than_a_refusal_is_told() {
    let mut bench = Bench::new(Policy::Auto, 3, false);
    bench.drain();
    bench.put(Input::Failed(Attempt(0), REFUSED));
    bench.put(Input::Failed(Attempt(1), DialError::WrongPeer));
    assert_eq!(
        bench.put(Input::Failed(Attempt(2), DialError::Unreachable)),
        ["exhausted: direct TCP failed: somebody else answered, or the handshake failed \
          (3 addresses); relay: the peer is not connected to the relay"]
    );
}

#[test]
fn the_relay_is_waited_for_and_then_given_up() {
    let mut bench = Bench::new(Policy::Auto, 0, true);
    assert_eq!(bench.drain(), [""; 0]);
    assert_eq!(bench.run_to(14_999), [""; 0]);
    assert_eq!(
        bench.run_to(15_000),
        ["exhausted: the peer announced no address; relay: the relay is not reachable"]
    );

    let mut bench = Bench::new(Policy::Auto, 0, true);
    bench.run_to(10_000);
    assert_eq!(bench.put(Input::RelayReady(true)), ["open 0"]);
    assert_eq!(bench.put(Input::RelayReady(false)), ["abandon 0"]);
    assert_eq!(bench.put(Input::RelayReady(true)), ["open 1"]);
    assert_eq!(bench.put(Input::Failed(Attempt(0), DialError::NotAtRelay)), [""; 0]);
    assert_eq!(
        bench.put(Input::Failed(Attempt(1), DialError::NotAtRelay)),
        ["exhausted: the peer announced no address; relay: the peer is not connected to the relay"]
    );
}

#[test]
fn a_circuit_that_does_not_come_times_out() {
    let mut bench = Bench::new(Policy::Relay, 2, true);
    assert_eq!(bench.put(Input::RelayReady(true)), ["open 0"]);
    assert_eq!(
        bench.run_to(10_000),
        ["abandon 0", "exhausted: --path relay; relay: the circuit timed out"]
    );
}

// Spec P3, P5
#[test]
fn policy_relay_never_dials_and_policy_direct_never_opens_a_circuit() {
    let mut bench = Bench::new(Policy::Relay, 2, true);
    assert_eq!(bench.drain(), [""; 0]);
    assert_eq!(bench.put(Input::RelayReady(true)), ["open 0"]);
    assert_eq!(bench.put(Input::Established(Attempt(0))), ["chosen 0 relay: --path relay"]);

    let mut bench = Bench::new(Policy::Direct, 1, true);
    bench.put(Input::RelayReady(true));
    bench.drain();
    assert_eq!(
        bench.put(Input::Failed(Attempt(0), REFUSED)),
        ["exhausted: direct TCP refused by its address; relay: not used because of --path direct"]
    );
}

#[test]
fn a_lost_direct_link_is_dialled_again_once_and_then_relayed() {
    let mut bench = Bench::new(Policy::Auto, 1, true);
    bench.put(Input::RelayReady(true));
    bench.drain();
    bench.put(Input::Established(Attempt(0)));
    assert_eq!(bench.put(Input::Lost(Attempt(0))), ["dial 1 port 1"]);
    assert_eq!(
        bench.put(Input::Established(Attempt(1))),
        ["chosen 1 direct: direct TCP connected"]
    );
    assert_eq!(bench.put(Input::Lost(Attempt(1))), ["open 2"]);
    assert_eq!(
        bench.put(Input::Established(Attempt(2))),
        ["chosen 2 relay: the direct connection was lost"]
    );

    let mut bench = Bench::new(Policy::Direct, 1, true);
    bench.drain();
    bench.put(Input::Established(Attempt(0)));
    bench.put(Input::Lost(Attempt(0)));
    assert_eq!(
        bench.put(Input::Failed(Attempt(1), REFUSED)),
        ["exhausted: the direct connection was lost; relay: not used because of --path direct"]
    );
}

// Spec P1b
#[test]
fn a_lost_circuit_is_opened_again_with_growing_pauses_and_direct_is_not_tried() {
    let mut bench = Bench::new(Policy::Auto, 1, true);
    bench.put(Input::RelayReady(true));
    bench.drain();
    bench.put(Input::Failed(Attempt(0), REFUSED));
    bench.put(Input::Established(Attempt(1)));
    assert_eq!(bench.put(Input::Lost(Attempt(1))), [""; 0]);
    assert_eq!(bench.run_to(1_000), ["open 2"], "the first pause is at most a second");
    bench.put(Input::Established(Attempt(2)));
    bench.put(Input::Lost(Attempt(2)));

    let mut attempt = 3;
    let mut pauses = vec![];
    loop {
        let before = bench.now;
        let lines = loop {
            let millis = bench.chooser.deadline().as_nanos().div_ceil(1_000_000);
            let lines = bench.run_to(millis);
            if !lines.is_empty() {
                break lines;
            }
        };
        assert_eq!(lines, [format!("open {attempt}")]);
        pauses.push(bench.now.since(before));
        let lines = bench.put(Input::Failed(Attempt(attempt), DialError::NotAtRelay));
        if !lines.is_empty() {
            assert_eq!(
                lines,
                ["exhausted: direct TCP refused by its address; relay: the peer is not connected \
                  to the relay"]
            );
            break;
        }
        attempt += 1;
    }
    assert_eq!(pauses.len(), MAX_CIRCUIT_RETRIES as usize);
    for (pause, longest) in pauses.iter().zip([1, 2, 4, 8, 16, 32].map(Duration::from_secs)) {
        assert!((longest * 3 / 4..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn the_peers_of_a_relay_that_restarts_do_not_come_back_all_at_once() {
    let pauses: Vec<u64> = (0..50)
        .map(|seed| {
            let config =
                Config { policy: Policy::Relay, can_punch: false, addresses: vec![], relay: true };
            let mut chooser = PathChooser::new(Instant::ZERO, Rng::new([seed; 32]), config);
            chooser.pause();
            chooser.deadline().as_nanos() / 1_000_000
        })
        .collect();
    assert!(pauses.iter().all(|pause| (750..=1_000).contains(pause)), "{pauses:?}");
    let spread = pauses.iter().max().unwrap() - pauses.iter().min().unwrap();
    assert!(spread > 200, "a quarter of a second is drawn from: {pauses:?}");
}

#[test]
fn the_login_that_is_lost_with_the_circuit_is_waited_for() {
    let mut bench = Bench::new(Policy::Relay, 0, true);
    bench.put(Input::RelayReady(true));
    bench.put(Input::Established(Attempt(0)));
    bench.put(Input::RelayReady(false));
    bench.put(Input::Lost(Attempt(0)));
    assert_eq!(bench.run_to(5_000), [""; 0]);
    assert_eq!(bench.put(Input::RelayReady(true)), ["open 1"]);
}

#[test]
fn a_stopped_chooser_abandons_what_is_under_way_and_keeps_what_carries() {
    let mut bench = Bench::new(Policy::Auto, 2, true);
    bench.run_to(300);
    assert_eq!(bench.put(Input::Stop), ["abandon 0", "abandon 1"]);
    assert_eq!(bench.deadline(), None);
    assert_eq!(bench.put(Input::RelayReady(true)), [""; 0]);

    let mut bench = Bench::new(Policy::Auto, 1, true);
    bench.drain();
    bench.put(Input::Established(Attempt(0)));
    assert_eq!(bench.put(Input::Stop), [""; 0]);
    assert_eq!(bench.put(Input::Lost(Attempt(0))), [""; 0]);
}

#[test]
fn a_puncher_has_its_time_between_the_dials_and_the_relay() {
    let addresses = vec![SocketAddr::from(([192, 0, 2, 1], 1))];
    let config = Config { policy: Policy::Auto, can_punch: true, addresses, relay: true };
    let chooser = PathChooser::new(Instant::ZERO, Rng::new([1; 32]), config);
    let mut bench = Bench { chooser, now: Instant::ZERO };
    bench.put(Input::RelayReady(true));
    bench.drain();
    assert_eq!(bench.put(Input::Failed(Attempt(0), REFUSED)), [""; 0]);
    assert_eq!(bench.run_to(5_000), ["open 1"]);
}

// Spec P2
#[test]
fn addresses_are_bounded_and_dialled_once_each() {
    let mut addresses: Vec<_> =
        (0..100_u16).map(|n| SocketAddr::from(([192, 0, 2, 1], n / 2))).collect();
    addresses.push(addresses[0]);
    let config = Config { policy: Policy::Auto, can_punch: false, addresses, relay: false };
    let chooser = PathChooser::new(Instant::ZERO, Rng::new([1; 32]), config);
    let mut bench = Bench { chooser, now: Instant::ZERO };
    let mut lines = bench.drain();
    lines.extend(bench.run_to(4_999));
    let dials: Vec<_> = (0..16).map(|n| format!("dial {n} port {n}")).collect();
    assert_eq!(lines, dials);
}

#[test]
fn a_late_tick_and_one_from_the_past_do_no_harm() {
    let mut bench = Bench::new(Policy::Auto, 2, false);
    bench.drain();
    bench.now = Instant::from_nanos(2_000_000_000);
    assert_eq!(bench.put(Input::Tick), ["dial 1 port 2"]);
    bench.now = Instant::ZERO;
    assert_eq!(bench.put(Input::Tick), [""; 0]);
    assert_eq!(bench.deadline(), Some(Duration::from_secs(5)));
    assert_eq!(
        Reason::DirectTimedOut { dialled: 1 }.to_string(),
        "direct TCP timed out after 5 s (1 address)"
    );
}
