//! The requests of the peer: each is answered exactly once, by a chunk or by `Unavailable`.
//!
//! ```text
//! Request → Asked (the node decides) → Queued (`Serve`) → Reading (`ReadChunk`) → sent
//!           └──── Cancel, Forget ──────┴→ Unavailable      └→ dropped after the read: Unavailable
//! ```

use alloc::collections::{BTreeMap, VecDeque};

use crate::close::Misbehaviour;
use crate::id::{ChunkRef, ContentKey};
use crate::limits::{
    MAX_INCOMING_REQUESTS, MAX_READS_PER_SESSION, MAX_SEND_BACKLOG_BYTES, READ_BYTES,
};
use crate::wire::RequestId;

/// The open requests of the peer.
#[derive(Debug, Default)]
pub(super) struct Serving {
    open: BTreeMap<RequestId, Stage>,
    queue: VecDeque<Read>,
    reading: usize,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The node has heard of it.
    Asked,
    /// It will be read when there is room.
    Queued,
    /// The store reads it; `dropped` if nobody wants it any more.
    Reading { dropped: bool },
}

/// A chunk to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) request: RequestId,
    pub(super) content: ContentKey,
    pub(super) chunk: ChunkRef,
}

/// What became of a request that is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It is not open, or it is being read and will be dropped after that.
    Nothing,
    /// It had not reached the queue: tell the peer.
    WasAsked,
    /// It was queued: tell the peer and the node.
    WasQueued,
}

impl Serving {
    /// The peer asks.
    // spec M13: a number that is in use is refused; spec M15: as many as we must take, no more
    pub(super) fn ask(&mut self, request: RequestId) -> Result<(), Misbehaviour> {
        if self.open.len() >= MAX_INCOMING_REQUESTS {
            return Err(Misbehaviour("too_many_requests"));
        }
        match self.open.insert(request, Stage::Asked) {
            None => Ok(()),
            Some(_) => Err(Misbehaviour("duplicate_request")),
        }
    }

    /// The node lets it be served; answers whether it is still wanted.
    pub(super) fn serve(&mut self, read: Read) -> bool {
        match self.open.get_mut(&read.request) {
            Some(stage @ Stage::Asked) => {
                *stage = Stage::Queued;
                self.queue.push_back(read);
                true
            }
            Some(Stage::Queued | Stage::Reading { .. }) | None => false,
        }
    }

    /// The peer or the node takes it back.
    // spec M14: whoever is taken back is answered too
    pub(super) fn take_back(&mut self, request: RequestId) -> Dropped {
        match self.open.get_mut(&request) {
            None => return Dropped::Nothing,
            Some(Stage::Reading { dropped }) => {
                *dropped = true;
                return Dropped::Nothing;
            }
            Some(Stage::Asked) => {
                self.open.remove(&request);
                return Dropped::WasAsked;
            }
            Some(Stage::Queued) => {}
        }
        self.open.remove(&request);
        self.queue.retain(|read| read.request != request);
        Dropped::WasQueued
    }

    /// The next chunk to read, if the backlog of unsent bytes leaves room for its whole frame, and
    /// for those that are being read.
    pub(super) fn next_read(&mut self, unsent_bytes: usize) -> Option<Read> {
        let coming = unsent_bytes + (self.reading + 1) * READ_BYTES;
        // spec M21
        if self.reading >= MAX_READS_PER_SESSION || coming > MAX_SEND_BACKLOG_BYTES {
            return None;
        }
        // spec P14: in their order
        let read = self.queue.pop_front()?;
        self.open.insert(read.request, Stage::Reading { dropped: false });
        self.reading += 1;
        Some(read)
    }

    /// A read came back; `None` if there was none, else whether its answer is still wanted.
    pub(super) fn read(&mut self, request: RequestId) -> Option<bool> {
        let Some(Stage::Reading { dropped }) = self.open.get(&request).copied() else {
            return None;
        };
        self.open.remove(&request);
        self.reading -= 1;
        Some(!dropped)
    }

    /// Gives back what only a busy session needs.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Space;

    fn serving(requests: u32) -> Serving {
        let mut serving = Serving::default();
        for number in 0..requests {
            let request = RequestId(number);
            assert_eq!(serving.ask(request), Ok(()));
            let chunk = ChunkRef { space: Space::Root, index: 0 };
            assert!(serving.serve(Read { request, content: ContentKey(1), chunk }));
        }
        serving
    }

    // Spec M21, P14
    #[test]
    fn a_read_needs_room_for_its_frame_and_for_those_under_way() {
        let mut serving = serving(9);
        let most = MAX_SEND_BACKLOG_BYTES;
        for under_way in 1..=MAX_READS_PER_SESSION {
            assert!(serving.next_read(most - under_way * READ_BYTES + 1).is_none());
            let read = serving.next_read(most - under_way * READ_BYTES).unwrap();
            assert_eq!(read.request.0 as usize, under_way - 1, "in their order");
        }
        assert!(serving.next_read(0).is_none(), "so many at once");
        assert_eq!(serving.read(RequestId(2)), Some(true));
        assert_eq!(serving.read(RequestId(2)), None);
        assert_eq!(serving.next_read(0).unwrap().request, RequestId(4));
        assert!(serving.next_read(0).is_none());
    }

    #[test]
    fn what_is_taken_back_is_not_read_and_the_others_are() {
        let mut serving = serving(4);
        assert_eq!(serving.take_back(RequestId(1)), Dropped::WasQueued);
        assert_eq!(serving.take_back(RequestId(1)), Dropped::Nothing);
        let read = core::iter::from_fn(|| serving.next_read(0)).map(|read| read.request.0);
        assert!(read.eq([0, 2, 3]));
    }
}
