//! What the node and the store tell an established session.

use super::{ChunkFrame, Command, Dropped, Event, Read, Session, State};
use crate::close::{CloseReason, LocalClose};
use crate::limits::{MAX_ANSWER_BACKLOG_BYTES, MAX_CONTROL_BACKLOG_BYTES, MAX_OUTGOING_REQUESTS};
use crate::wire::{Message, RequestId, Unavailable};

impl Session {
    pub(super) fn command(&mut self, command: Command) {
        let open = match &mut self.state {
            State::Open(open) if open.established => open,
            State::Open(_) | State::Handshaking(_) | State::Closed => match command {
                Command::Close(reason) => return self.close(reason),
                Command::Recycle(_) | Command::Forget { .. } => return,
                Command::Send(_) | Command::Serve { .. } | Command::Request { .. } => {
                    panic!("commands wait for `Established`")
                }
            },
        };
        match command {
            Command::Send(message) => self.send(message),
            Command::Serve { request, content, chunk } => {
                if !open.serving.serve(Read { request, content, chunk }) {
                    let result = Err(Unavailable::Withdrawn);
                    self.event(Event::Served { request, result });
                }
            }
            Command::Forget { request } => self.take_back(request),
            Command::Request { request, handle, chunk } => {
                self.send(Message::Request { request, handle, chunk });
            }
            Command::Recycle(buffer) => open.receiver.recycle(buffer),
            Command::Close(reason) => self.close(reason),
        }
    }

    fn send(&mut self, message: Message) {
        let State::Open(open) = &mut self.state else { return };
        match &message {
            Message::Hello { .. } | Message::Ping { .. } | Message::Pong { .. } | Message::Bye => {
                panic!("the session itself says hello, ping, pong and bye")
            }
            Message::Request { request, .. } => {
                // spec M15b and P11: more requests wait here
                if open.receiver.awaited() >= MAX_OUTGOING_REQUESTS {
                    return open.held.push_back((*request, message));
                }
                open.receiver.expect(*request);
            }
            Message::Cancel { request } => {
                if self.cancel_held(*request) {
                    return;
                }
                let State::Open(open) = &self.state else { return };
                if !open.receiver.awaits(*request) {
                    return; // Its answer has come already.
                }
            }
            Message::Unavailable { request, .. } => match open.serving.take_back(*request) {
                Dropped::Nothing => return, // Answered already, or after its read.
                Dropped::WasAsked => {}
                Dropped::WasQueued => self.withdrawn(*request),
            },
            Message::Open { .. }
            | Message::Opened { .. }
            | Message::Refused { .. }
            | Message::HaveAll { .. }
            | Message::HaveBits { .. }
            | Message::HaveChunk { .. }
            | Message::Complete { .. } => {}
        }
        let State::Open(open) = &mut self.state else { return };
        open.sender.message(&message);
        self.check_backlog();
    }

    /// Sends requests that waited for the peer to answer others.
    pub(super) fn send_held(&mut self) {
        while let State::Open(open) = &mut self.state
            && open.receiver.awaited() < MAX_OUTGOING_REQUESTS
            && let Some((_, message)) = open.held.pop_front()
        {
            self.send(message);
        }
    }

    /// Takes back a request that was not sent yet: it gets its one answer from us.
    fn cancel_held(&mut self, cancelled: RequestId) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let before = open.held.len();
        open.held.retain(|(request, _)| *request != cancelled);
        if open.held.len() == before {
            return false;
        }
        let (request, why) = (cancelled, Unavailable::Withdrawn);
        self.event(Event::Message(Message::Unavailable { request, why }));
        true
    }

    /// A request is cancelled by the peer or by the node: answered, unless its read is under way.
    // spec M16
    pub(super) fn take_back(&mut self, request: RequestId) {
        let State::Open(open) = &mut self.state else { return };
        let dropped = open.serving.take_back(request);
        if dropped == Dropped::Nothing {
            return;
        }
        open.sender.message(&Message::Unavailable { request, why: Unavailable::Withdrawn });
        if dropped == Dropped::WasQueued {
            self.withdrawn(request);
        }
        self.check_backlog();
    }

    fn withdrawn(&mut self, request: RequestId) {
        self.event(Event::Served { request, result: Err(Unavailable::Withdrawn) });
    }

    pub(super) fn chunk_read(
        &mut self,
        request: RequestId,
        result: Result<ChunkFrame, Unavailable>,
    ) {
        let State::Open(open) = &mut self.state else { return };
        let Some(wanted) = open.serving.read(request) else { return };
        let frame = if wanted { result } else { Err(Unavailable::Withdrawn) };
        match frame {
            Ok(frame) => {
                self.flush();
                let State::Open(open) = &mut self.state else { return };
                // spec P14b
                assert_eq!(frame.request(), request, "a read answers its own request");
                let length_bytes = frame.length_bytes();
                let bytes = open.sender.chunk(frame);
                self.hand_over(bytes);
                self.event(Event::Served { request, result: Ok(length_bytes) });
            }
            Err(why) => {
                open.sender.message(&Message::Unavailable { request, why });
                self.event(Event::Served { request, result: Err(why) });
                self.check_backlog();
            }
        }
    }

    /// A peer that lets our messages pile up is dropped.
    // spec S23b
    pub(super) fn check_backlog(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if open.sender.answer_bytes() > MAX_ANSWER_BACKLOG_BYTES {
            let limit = LocalClose::Limit("MAX_ANSWER_BACKLOG_BYTES");
            return self.closed(CloseReason::Local(limit));
        }
        if open.sender.control_bytes() > MAX_CONTROL_BACKLOG_BYTES {
            let limit = LocalClose::Limit("MAX_CONTROL_BACKLOG_BYTES");
            self.closed(CloseReason::Local(limit));
        }
    }
}
