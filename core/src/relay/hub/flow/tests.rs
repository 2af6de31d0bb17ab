//! The ledger's books, at the edges of windows and budget.

use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::limits::RELAY_WINDOW_MAX_BYTES;

const MIB: usize = 1024 * 1024;
const RTT: Duration = Duration::from_millis(100);

#[test]
fn many_flows_share_and_none_starves() {
    let mut ledger = Ledger::new(4 * MIB);
    let mut flows: Vec<Flow> = Vec::new();
    while ledger.has_room() {
        for _ in 0..2 {
            let mut flow = ledger.open(0);
            assert!(ledger.grant(&mut flow) > 0 || ledger.reserved_bytes > 3 * MIB);
            flows.push(flow);
        }
        ledger.assert_adds_up(flows.iter(), 0);
    }
    assert!(flows.len() >= 32, "{}", flows.len());
    for flow in &mut flows {
        let _ = ledger.grant(flow);
        assert!(flow.grant_bytes >= MIN, "{}", flow.grant_bytes);
    }
    ledger.assert_adds_up(flows.iter(), 0);
}

/// A flow whose window is as large as windows get.
fn large(ledger: &mut Ledger) -> Flow {
    let mut flow = ledger.open(0);
    ledger.resize(&mut flow, |window| window.set(RELAY_WINDOW_MAX_BYTES));
    flow
}

#[test]
fn one_flow_gets_most_and_gives_it_back_when_others_come() {
    let mut ledger = Ledger::new(8 * MIB);
    let mut first = large(&mut ledger);
    let granted = ledger.grant(&mut first);
    assert!(granted > 6 * MIB, "{granted}");
    let mut second = ledger.open(0);
    assert_eq!(ledger.grant(&mut second), MIN, "nothing but the minimum is left");
    let back = ledger.check(&mut first);
    assert_eq!(back, granted - MIN, "it has used nothing");
    ledger.returned(&mut first, back);
    assert!(ledger.grant(&mut second) >= RELAY_WINDOW_START_BYTES - MIN);
    ledger.assert_adds_up([&first, &second].into_iter(), 0);
}

#[test]
fn busy_flows_settle_at_equal_shares_whoever_came_first() {
    let mut ledger = Ledger::new(64 * MIB);
    let mut flows: Vec<Flow> = Vec::new();
    for _ in 0..100 {
        let mut flow = large(&mut ledger);
        let _ = ledger.grant(&mut flow);
        flows.push(flow);
    }
    let share = ledger.share_bytes();
    assert!(share > 500 * 1024, "{share}");
    for round in 1..=400_u64 {
        let now = Instant::from_nanos(round * 50_000_000);
        for flow in &mut flows {
            let bytes = flow.grant_bytes.min(64 * 1024);
            flow.arrived(bytes);
            flow.in_flight_bytes += bytes;
            ledger.drained(flow, bytes, now, Duration::ZERO);
            let _ = ledger.grant(flow);
        }
        ledger.assert_adds_up(flows.iter(), 0);
    }
    for flow in &flows {
        // A grant waits until it is a quarter of the share.
        let held = flow.held_bytes();
        assert!((share * 3 / 4..=share).contains(&held), "{held} of {share}");
    }
}

/// A ledger and its first flow, which nothing but its window bounds, and its grant of half a MiB.
fn roomy() -> (Ledger, Flow) {
    let mut ledger = Ledger::new(64 * MIB);
    let mut flow = ledger.open(0);
    assert_eq!(ledger.grant(&mut flow), RELAY_WINDOW_START_BYTES);
    (ledger, flow)
}

/// So much comes, and the receiver's socket takes it at once.
fn pass(ledger: &mut Ledger, flow: &mut Flow, bytes: usize, now: Instant) -> bool {
    flow.arrived(bytes);
    flow.in_flight_bytes += bytes;
    ledger.drained(flow, bytes, now, RTT)
}

#[test]
fn a_budget_is_tight_beyond_its_half_and_has_room_for_whole_circuits() {
    let least = |ledger: &mut Ledger| {
        let mut flow = ledger.open(0);
        ledger.resize(&mut flow, |window| window.set(MIN));
        flow
    };
    let mut ledger = Ledger::new(8 * MIN);
    let mut flows: Vec<Flow> = Vec::new();
    for count in 1..=8 {
        assert_eq!(ledger.has_room(), count < 8, "{count}");
        flows.push(least(&mut ledger));
        assert_eq!(ledger.reserved_bytes(), count * MIN);
        assert_eq!(ledger.fits(), count <= 7, "{count} windows, and an eighth of the budget");
        assert_eq!(ledger.is_tight(), count > 4, "{count}");
    }
    ledger.assert_adds_up(flows.iter(), 0);
    let mut ledger = Ledger::new(4 * MIN - 1);
    let _two = [least(&mut ledger), least(&mut ledger)];
    assert!(!ledger.has_room(), "one byte is missing");
    assert!(ledger.is_tight());
    let mut ledger = Ledger::new(2 * MIN - 1);
    assert!(!ledger.has_room() && !ledger.is_tight());
    let _one = ledger.open(0);
    assert!(ledger.is_tight() && !ledger.fits());
}

#[test]
fn a_share_is_the_minimum_and_an_equal_part_of_what_minima_leave() {
    let mut ledger = Ledger::new(MIB);
    assert_eq!(ledger.share_bytes(), MIN + MIB / 8 * 7, "nobody is there yet");
    let mut flows: Vec<Flow> = (0..40).map(|_| ledger.open(0)).collect();
    let beyond = MIB / 8 * 7 - 40 * MIN;
    assert_eq!(ledger.share_bytes(), MIN + beyond / 40);
    assert_eq!(ledger.target_bytes(&flows[0]), MIN + beyond / 40);
    for flow in &mut flows[..10] {
        assert_eq!(ledger.check(flow), 0, "it was granted nothing");
        assert!(!flow.wants_more());
    }
    assert_eq!(ledger.share_bytes(), MIN + beyond / 30, "ten want no more than the minimum");
    assert_eq!(ledger.target_bytes(&flows[0]), MIN);
    assert_eq!(ledger.target_bytes(&flows[39]), MIN + beyond / 30);
    ledger.assert_adds_up(flows.iter(), 0);
    flows.extend((0..20).map(|_| ledger.open(0)));
    assert_eq!(ledger.share_bytes(), MIN, "the minima leave nothing");
    ledger.assert_adds_up(flows.iter(), 0);
}

// Spec R24c
#[test]
fn a_grant_is_worth_a_message_from_a_quarter_of_the_window_on() {
    let (mut ledger, mut flow) = roomy();
    assert_eq!(ledger.grant(&mut flow), 0, "it has its window");
    let quarter = RELAY_WINDOW_START_BYTES / 4;
    pass(&mut ledger, &mut flow, quarter - 1, Instant::ZERO);
    assert_eq!(ledger.grant(&mut flow), 0);
    pass(&mut ledger, &mut flow, 1, Instant::ZERO);
    assert_eq!(ledger.grant(&mut flow), quarter);
    ledger.resize(&mut flow, |window| window.set(RELAY_WINDOW_MAX_BYTES));
    let missing = RELAY_WINDOW_MAX_BYTES - RELAY_WINDOW_START_BYTES;
    assert_eq!(ledger.grant(&mut flow), missing);
    pass(&mut ledger, &mut flow, RELAY_CREDIT_STEP_BYTES - 1, Instant::ZERO);
    assert_eq!(ledger.grant(&mut flow), 0, "and from a mebibyte on, if that is less");
    pass(&mut ledger, &mut flow, 1, Instant::ZERO);
    assert_eq!(ledger.grant(&mut flow), RELAY_CREDIT_STEP_BYTES);
    assert_eq!(flow.grant_bytes(), RELAY_WINDOW_MAX_BYTES);
    ledger.assert_adds_up([&flow].into_iter(), 0);
}

// Spec R24c
#[test]
fn a_grant_is_what_the_budget_has_left_beyond_the_minimum() {
    let mut ledger = Ledger::new(MIB);
    let growth = MIB / 8 * 7;
    let mut first = large(&mut ledger);
    assert_eq!(ledger.grant(&mut first), growth, "an eighth is for the minima of others");
    let mut second = ledger.open(0);
    assert_eq!(ledger.grant(&mut second), MIN);
    ledger.returned(&mut first, MIN + MIN / 4 - 1);
    assert_eq!(ledger.grant(&mut second), 0, "less than a quarter of the minimum is no grant");
    ledger.returned(&mut first, 1);
    assert_eq!(ledger.grant(&mut second), MIN / 4);
    ledger.returned(&mut first, MIN);
    assert_eq!(ledger.grant(&mut second), MIN);
    assert_eq!(second.grant_bytes(), 2 * MIN + MIN / 4);
    ledger.assert_adds_up([&first, &second].into_iter(), 0);
}

// Spec R25
#[test]
fn what_a_flow_does_not_use_is_taken_back_only_when_the_budget_is_tight() {
    let (mut ledger, mut flow) = roomy();
    assert_eq!(ledger.check(&mut flow), 0, "there is room for everybody");
    assert_eq!(flow.window.bytes(), RELAY_WINDOW_START_BYTES);

    let mut ledger = Ledger::new(MIB);
    let mut flows: Vec<Flow> = (0..3).map(|_| ledger.open(0)).collect();
    for flow in &mut flows {
        assert!(ledger.grant(flow) > 2 * MIN);
    }
    assert!(ledger.is_tight());
    let granted = flows[0].grant_bytes();
    flows[0].arrived(3 * MIN);
    flows[0].in_flight_bytes = 3 * MIN;
    flows[0].queued_bytes = 3 * MIN;
    let back = ledger.check(&mut flows[0]);
    assert_eq!(back, granted - 3 * MIN, "all of the grant, for more than the minimum waits");
    ledger.assert_adds_up(flows.iter(), 0);

    let granted = flows[1].grant_bytes();
    pass(&mut ledger, &mut flows[1], MIN, Instant::ZERO);
    let back = ledger.check(&mut flows[1]);
    assert_eq!(back, granted - MIN - 2 * MIN, "it keeps twice what it used");
    assert_eq!(flows[1].window.bytes(), 2 * MIN);
    ledger.assert_adds_up(flows.iter(), 0);
    assert_eq!(ledger.check(&mut flows[1]), granted - MIN - MIN, "and the minimum of nothing");
    assert!(!flows[1].wants_more());
    assert_eq!(ledger.check(&mut flows[1]), granted - MIN - MIN, "which it never loses");
    ledger.assert_adds_up(flows.iter(), 0);
}

#[test]
fn a_window_in_full_use_goes_on_growing_under_a_tight_budget() {
    let mut ledger = Ledger::new(2 * MIB);
    let mut flow = ledger.open(0);
    assert_eq!(ledger.grant(&mut flow), RELAY_WINDOW_START_BYTES);
    let _other = large(&mut ledger);
    assert!(ledger.is_tight());
    let half = RELAY_WINDOW_START_BYTES / 2;
    pass(&mut ledger, &mut flow, half, Instant::ZERO);
    assert_eq!(ledger.check(&mut flow), 0);
    pass(&mut ledger, &mut flow, half, Instant::ZERO + RTT);
    assert_eq!(flow.window.bytes(), 2 * RELAY_WINDOW_START_BYTES);
}

#[test]
fn a_flow_that_grows_beyond_the_minimum_says_so_once() {
    let (mut ledger, mut flow) = roomy();
    ledger.resize(&mut flow, |window| window.set(MIN));
    assert!(!flow.wants_more());
    assert!(!pass(&mut ledger, &mut flow, MIN - 1, Instant::ZERO));
    assert!(pass(&mut ledger, &mut flow, 1, Instant::ZERO));
    assert!(flow.wants_more());
    assert!(!pass(&mut ledger, &mut flow, 2 * MIN, Instant::ZERO));
    assert_eq!(flow.window.bytes(), 4 * MIN);
    ledger.assert_adds_up([&flow].into_iter(), 0);
}

#[test]
fn what_waits_is_dropped_but_not_what_the_driver_has() {
    let (mut ledger, mut flow) = roomy();
    let mut frame = BytesMut::new();
    frame.resize(DATA_HEADER_BYTES + 10_000, 0);
    let cost = 10_000 + RELAY_FRAME_COST_BYTES;
    flow.arrived(2 * cost);
    flow.queue.push_back(frame);
    flow.in_flight_bytes = cost;
    ledger.assert_adds_up([&flow].into_iter(), 0);
    ledger.drop_queue(&mut flow);
    assert!(flow.queue.is_empty());
    assert_eq!(ledger.reserved_bytes(), RELAY_WINDOW_START_BYTES - cost);
    ledger.assert_adds_up([&flow].into_iter(), 0);
    ledger.close(&flow);
    assert_eq!(ledger.reserved_bytes(), cost, "the driver has one of them");
    ledger.landed(cost);
    ledger.assert_adds_up([].into_iter(), 0);
}

#[test]
fn late_bytes_and_returned_ones_are_free_for_others() {
    let (mut ledger, mut flow) = roomy();
    ledger.arrived_late(&mut flow, 1_000);
    assert_eq!(flow.grant_bytes(), RELAY_WINDOW_START_BYTES - 1_000);
    ledger.returned(&mut flow, 2_000);
    assert_eq!(flow.grant_bytes(), RELAY_WINDOW_START_BYTES - 3_000);
    assert_eq!(ledger.reserved_bytes(), RELAY_WINDOW_START_BYTES - 3_000);
    ledger.returned(&mut flow, RELAY_WINDOW_START_BYTES - 3_000);
    assert_eq!(ledger.reserved_bytes(), MIN, "the minimum stays its own");
    ledger.assert_adds_up([&flow].into_iter(), 0);
}

// Spec R20b
#[test]
fn a_frame_is_cut_to_what_its_receiver_takes_at_a_time() {
    let (_, mut flow) = roomy();
    assert!(flow.take(100).is_none());
    flow.queue.push_back(BytesMut::from(&b"\x02\0\0\0\x09abcdefg"[..]));
    let mut next = |bytes| flow.take(bytes).expect("there is more");
    assert_eq!(next(8), (BytesMut::from(&b"\x02\0\0\0\x09abc"[..]), 3));
    assert_eq!(next(8), (BytesMut::from(&b"\x02\0\0\0\x09def"[..]), 3));
    let cost = 1 + RELAY_FRAME_COST_BYTES;
    assert_eq!(next(6), (BytesMut::from(&b"\x02\0\0\0\x09g"[..]), cost), "a whole rest");
    assert!(flow.take(8).is_none());
}
