//! One direction of a circuit, and the budget that all of them share.
//!
//! The hub reserves for each flow what its sender may still send (`grant`) and what has come and is
//! not yet in the receiver's socket (`queued`), and at least a small minimum, so that no circuit
//! stands still. The sum of all reservations never exceeds the budget; an eighth of it is kept for
//! the minima of circuits that are yet to come. A flow is granted its window as long as all windows
//! together fit; else every flow that wants more than the minimum has the same share at most,
//! whoever came first. What a flow does not use is taken back when the budget is tight.

use alloc::collections::VecDeque;

use bytes::{Buf, BytesMut};

use crate::limits::{
    RELAY_CREDIT_STEP_BYTES, RELAY_FRAME_COST_BYTES, RELAY_HUB_WINDOW_MIN_BYTES,
    RELAY_WINDOW_START_BYTES,
};
use crate::relay::frame::DATA_HEADER_BYTES;
use crate::relay::window::Window;
use crate::time::Instant;

const MIN: usize = RELAY_HUB_WINDOW_MIN_BYTES;

/// One direction of a circuit.
#[derive(Debug)]
pub(super) struct Flow {
    /// Frames that wait for the receiver's socket, with the receiver's circuit number.
    pub(super) queue: VecDeque<BytesMut>,
    /// Whether the flow stands in the receiver's list of turns.
    pub(super) in_turns: bool,
    /// What it may still send in this turn.
    pub(super) deficit_bytes: usize,
    /// The receiver's window: payload bytes that the sender may still send.
    pub(super) credit_bytes: usize,
    /// The hub's window: what the sender may still send, frame costs included.
    grant_bytes: usize,
    /// What has come and is not yet in the receiver's socket, frame costs included.
    queued_bytes: usize,
    /// The part of it that the driver has.
    pub(super) in_flight_bytes: usize,
    /// How large the hub's window should be.
    window: Window,
    /// What the receiver's socket took since the last check.
    pub(super) drained_bytes: usize,
    /// What the sender was asked to give back, and since when.
    pub(super) reclaim: Option<(usize, Instant)>,
    /// What the sender has to be told.
    pub(super) news: News,
}

/// What the sender of a flow has to be told as soon as its socket takes it.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Whether the sender's connection knows that there is some.
    pub(super) announced: bool,
    pub(super) credit_bytes: usize,
    pub(super) grant_bytes: usize,
    pub(super) reclaim_bytes: usize,
}

impl Flow {
    fn held_bytes(&self) -> usize {
        self.grant_bytes + self.queued_bytes
    }

    fn reserved_bytes(&self) -> usize {
        self.held_bytes().max(MIN)
    }

    /// So much has come from the sender, within its grant, and waits. What is reserved for the flow
    /// stays the same.
    ///
    /// # Panics
    /// If it is more than was granted: the caller has checked.
    pub(super) const fn arrived(&mut self, bytes: usize) {
        self.grant_bytes -= bytes;
        self.queued_bytes += bytes;
    }

    /// The next frame, cut to `bytes` if it is longer, and what it counts for. A slow receiver gets
    /// short frames, so that what is urgent is never behind a long one.
    // spec R20b
    pub(super) fn take(&mut self, bytes: usize) -> Option<(BytesMut, usize)> {
        let first = self.queue.front_mut()?;
        if first.len() <= bytes {
            let frame = self.queue.pop_front()?;
            let cost = frame.len() - DATA_HEADER_BYTES + RELAY_FRAME_COST_BYTES;
            return Some((frame, cost));
        }
        let frame = BytesMut::from(&first[..bytes]);
        let payload = bytes - DATA_HEADER_BYTES;
        // The rest has its header where the end of this payload was.
        first.advance(payload);
        first[..DATA_HEADER_BYTES].copy_from_slice(&frame[..DATA_HEADER_BYTES]);
        Some((frame, payload))
    }

    pub(super) const fn grant_bytes(&self) -> usize {
        self.grant_bytes
    }

    /// Whether the hub's window is more than the minimum that every flow has.
    pub(super) const fn wants_more(&self) -> bool {
        self.window.bytes() > MIN
    }
}

/// The hub's budget.
#[derive(Debug)]
pub(super) struct Ledger {
    total_bytes: usize,
    reserved_bytes: usize,
    flows: usize,
    /// Flows whose window is more than the minimum.
    wanting: usize,
    /// All windows together.
    windows_bytes: usize,
}

impl Ledger {
    pub(super) const fn new(total_bytes: usize) -> Self {
        Self { total_bytes, reserved_bytes: 0, flows: 0, wanting: 0, windows_bytes: 0 }
    }

    pub(super) const fn reserved_bytes(&self) -> usize {
        self.reserved_bytes
    }

    /// What windows beyond the minima may take.
    const fn growth_bytes(&self) -> usize {
        self.total_bytes - self.total_bytes / 8
    }

    /// The most that one flow may hold when all hold the same.
    fn share_bytes(&self) -> usize {
        let beyond = self.growth_bytes().saturating_sub(self.flows * MIN);
        MIN + beyond / self.wanting.max(1)
    }

    /// What a flow should hold: its window, and no more than its share if not all windows fit. That
    /// does not ask what is out at the moment: else whoever comes when much is free had more.
    fn target_bytes(&self, flow: &Flow) -> usize {
        let most = if self.fits() { usize::MAX } else { self.share_bytes() };
        flow.window.bytes().min(most).max(MIN)
    }

    /// Whether everybody can have the whole window.
    const fn fits(&self) -> bool {
        self.windows_bytes <= self.growth_bytes()
    }

    /// Whether windows that are not used are taken back.
    const fn is_tight(&self) -> bool {
        !self.fits() || self.reserved_bytes > self.total_bytes / 2
    }

    /// Whether one more circuit fits.
    pub(super) const fn has_room(&self) -> bool {
        self.reserved_bytes + 2 * MIN <= self.total_bytes
    }

    /// A flow that is granted nothing yet; its minimum is reserved.
    pub(super) fn open(&mut self, credit_bytes: usize) -> Flow {
        self.flows += 1;
        self.wanting += 1;
        self.windows_bytes += RELAY_WINDOW_START_BYTES;
        self.reserved_bytes += MIN;
        Flow {
            queue: VecDeque::new(),
            in_turns: false,
            deficit_bytes: 0,
            credit_bytes,
            grant_bytes: 0,
            queued_bytes: 0,
            in_flight_bytes: 0,
            window: Window::new(RELAY_WINDOW_START_BYTES),
            drained_bytes: 0,
            reclaim: None,
            news: News::default(),
        }
    }

    /// Forgets a flow. What the driver still holds stays reserved until [`Ledger::landed`].
    pub(super) fn close(&mut self, flow: &Flow) {
        self.flows -= 1;
        self.wanting -= usize::from(flow.wants_more());
        self.windows_bytes -= flow.window.bytes();
        self.reserved_bytes -= flow.reserved_bytes();
        self.reserved_bytes += flow.in_flight_bytes;
    }

    /// The driver gave up so many bytes of a flow that is closed already.
    pub(super) fn landed(&mut self, bytes: usize) {
        self.reserved_bytes -= bytes;
    }

    /// So much has come and is dropped, because its receiver has closed.
    pub(super) fn arrived_late(&mut self, flow: &mut Flow, bytes: usize) {
        self.change(flow, |flow| flow.grant_bytes -= bytes);
    }

    /// The sender gives back so much of its grant.
    pub(super) fn returned(&mut self, flow: &mut Flow, bytes: usize) {
        self.change(flow, |flow| flow.grant_bytes -= bytes);
    }

    /// Drops what waits: its receiver has closed.
    pub(super) fn drop_queue(&mut self, flow: &mut Flow) {
        flow.queue = VecDeque::new();
        self.change(flow, |flow| flow.queued_bytes = flow.in_flight_bytes);
    }

    /// The receiver's socket has taken so much; the window grows if that was fast. Answers whether
    /// it grew beyond the minimum, so that it must be looked after from now on.
    pub(super) fn drained(
        &mut self,
        flow: &mut Flow,
        bytes: usize,
        now: Instant,
        round_trip: core::time::Duration,
    ) -> bool {
        flow.in_flight_bytes -= bytes;
        self.change(flow, |flow| flow.queued_bytes -= bytes);
        flow.drained_bytes = flow.drained_bytes.saturating_add(bytes);
        let wanted = flow.wants_more();
        self.resize(flow, |window| window.used(now, bytes, round_trip));
        flow.wants_more() && !wanted
    }

    /// Grants what the flow's window, its share and the budget allow, if that is worth a message.
    /// Answers how much.
    // spec R24c
    pub(super) fn grant(&mut self, flow: &mut Flow) -> usize {
        let target = self.target_bytes(flow);
        let held = flow.held_bytes();
        let missing = target.saturating_sub(held);
        if missing < (target / 4).min(RELAY_CREDIT_STEP_BYTES) {
            return 0;
        }
        let room = self.growth_bytes().saturating_sub(self.reserved_bytes);
        let room = if planted!(OverBudget) { missing } else { room };
        let add = missing.min(MIN.saturating_sub(held) + room);
        if add < MIN / 4 {
            return 0;
        }
        self.change(flow, |flow| flow.grant_bytes += add);
        add
    }

    /// Looks how much of its window the flow has used since the last look, and takes the rest away
    /// when the budget is tight. Answers how much the sender should give back.
    pub(super) fn check(&mut self, flow: &mut Flow) -> usize {
        let used = core::mem::take(&mut flow.drained_bytes);
        if !self.is_tight() {
            return 0;
        }
        // Not the share, which grows again when others leave; the window would not.
        let keep = used.saturating_mul(2).max(MIN);
        if keep < flow.window.bytes() {
            self.resize(flow, |window| window.set(keep));
        }
        flow.held_bytes().saturating_sub(self.target_bytes(flow)).min(flow.grant_bytes)
    }

    fn resize(&mut self, flow: &mut Flow, change: impl FnOnce(&mut Window)) {
        self.wanting -= usize::from(flow.wants_more());
        self.windows_bytes -= flow.window.bytes();
        change(&mut flow.window);
        self.windows_bytes += flow.window.bytes();
        self.wanting += usize::from(flow.wants_more());
    }

    fn change(&mut self, flow: &mut Flow, change: impl FnOnce(&mut Flow)) {
        let before = flow.reserved_bytes();
        change(flow);
        let after = flow.reserved_bytes();
        self.reserved_bytes = self.reserved_bytes - before + after;
        debug_assert!(
            after <= before || self.reserved_bytes <= self.total_bytes,
            "the budget is never exceeded"
        );
    }

    /// Our own books, added up again: for tests.
    #[cfg(test)]
    pub(super) fn assert_adds_up<'a>(
        &self,
        flows: impl Iterator<Item = &'a Flow>,
        orphaned_bytes: usize,
    ) {
        let (mut count, mut wanting, mut windows, mut reserved) = (0, 0, 0, orphaned_bytes);
        for flow in flows {
            count += 1;
            wanting += usize::from(flow.wants_more());
            windows += flow.window.bytes();
            reserved += flow.reserved_bytes();
            let waiting: usize = flow
                .queue
                .iter()
                .map(|frame| frame.len() - DATA_HEADER_BYTES + RELAY_FRAME_COST_BYTES)
                .sum();
            assert_eq!(flow.queued_bytes, waiting + flow.in_flight_bytes);
        }
        assert_eq!((self.flows, self.wanting, self.reserved_bytes), (count, wanting, reserved));
        assert_eq!(self.windows_bytes, windows);
        assert!(self.reserved_bytes <= self.total_bytes, "{self:?}");
    }
}

#[cfg(test)]
mod tests;
