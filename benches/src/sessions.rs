//! Two sessions in memory, of which one fetches and the other one serves.

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::public_key;
use towpath_core::id::{ChunkRef, ContentKey, Space};
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::session::{
    ChunkFrame, Command, Config, Event, Input, Role, Session, Setup, Suite, Transmit,
};
use towpath_core::time::Instant;
use towpath_core::wire::{Handle, RequestId};

use crate::Meter;

/// Hashes of a proof in a file of 2 GiB.
const PROOF_HASHES: usize = 13;
const CHUNK: ChunkRef = ChunkRef { space: Space::Root, index: 0 };
const REQUEST: RequestId = RequestId(0);
const CONTENT: ContentKey = ContentKey(0);

/// What came out of a drain that the other end or the bench needs.
#[derive(Default)]
struct Drained {
    sent: Vec<Bytes>,
    chunk: Option<BytesMut>,
}

/// One end: a session, and what is measured of it.
pub struct End {
    session: Session,
    /// On while this end is measured.
    pub meter: Meter,
}

impl End {
    fn new(role: Role, key: u8, measured: bool) -> Self {
        let setup = Setup { role, instance: 0 };
        let config = Config {
            setup,
            secret_key: [key; 32],
            ephemeral: [key + 100; 32],
            channel_binding: Vec::new(),
        };
        let mut meter = Meter { on: measured, ..Meter::default() };
        let session = meter.run(|| Session::new(Instant::ZERO, Rng::new([key; 32]), config));
        Self { session, meter }
    }

    fn drain(&mut self) -> Drained {
        let Self { session, meter } = self;
        meter.run(|| drain(session))
    }

    fn input(&mut self, input: Input) -> Drained {
        let Self { session, meter } = self;
        meter.run(|| {
            session.handle_input(Instant::ZERO, input);
            drain(session)
        })
    }

    fn deliver(&mut self, sent: &[Bytes]) -> Drained {
        let mut all = Drained::default();
        for bytes in sent {
            let mut drained = self.input(Input::Received(BytesMut::from(&bytes[..])));
            all.sent.append(&mut drained.sent);
            all.chunk = drained.chunk.or(all.chunk);
        }
        all
    }
}

fn drain(session: &mut Session) -> Drained {
    let mut drained = Drained::default();
    loop {
        match session.poll_output() {
            Output::Transmit(Transmit::Send(bytes)) => drained.sent.push(bytes),
            Output::Event(Event::Chunk { data, .. }) => drained.chunk = Some(data),
            Output::Timeout(_) => return drained,
            _ => {}
        }
    }
}

/// A fetching and a serving session.
pub struct Pair {
    /// It fetches; it has dialled.
    pub fetching: End,
    /// It serves.
    pub serving: End,
    /// The chunk's buffer, which is used again.
    buffer: BytesMut,
}

impl Pair {
    /// Both established, over Noise IK; the handshake of one end, or of both, is measured.
    #[must_use]
    pub fn new(suite: Suite, measure_initiator: bool, measure_responder: bool) -> Self {
        let remote = Some(public_key(&[2; 32]));
        let initiator = Role::Initiator { remote, suite };
        let responder = Role::Responder { accept_strangers: false, accept_aes: true };
        let mut a = End::new(initiator, 1, measure_initiator);
        let mut b = End::new(responder, 2, measure_responder);
        let mut to_b = a.drain().sent;
        b.drain();
        while !to_b.is_empty() {
            let to_a = b.deliver(&to_b).sent;
            to_b = a.deliver(&to_a).sent;
        }
        (a.meter, b.meter) = (Meter::default(), Meter::default());
        Self { fetching: a, serving: b, buffer: BytesMut::new() }
    }

    /// Asks for a chunk of this length, and brings it.
    ///
    /// # Panics
    /// If the chunk does not arrive whole.
    pub fn carry_chunk(&mut self, length_bytes: usize) {
        let asked = Command::Request { request: REQUEST, handle: Handle(0), chunk: CHUNK };
        let asked = self.fetching.input(Input::Command(asked)).sent;
        self.serving.deliver(&asked);
        let serve = Command::Serve { request: REQUEST, content: CONTENT, chunk: CHUNK };
        self.serving.input(Input::Command(serve));

        let buffer = std::mem::take(&mut self.buffer);
        let frame = ChunkFrame::new(REQUEST, length_bytes, PROOF_HASHES, buffer);
        let read = Input::ChunkRead { request: REQUEST, result: Ok(frame) };
        let sent = self.serving.input(read).sent;
        let [sealed] = &sent[..] else { panic!("a chunk is one piece") };
        let came = BytesMut::from(&sealed[..]);
        self.serving.input(Input::Sent { bytes: came.len() });
        let again = sent.into_iter().next().and_then(|sent| sent.try_into_mut().ok());
        self.buffer = again.unwrap_or_default();

        let data = self.fetching.input(Input::Received(came)).chunk.expect("the chunk is whole");
        self.fetching.input(Input::Command(Command::Recycle(data)));
    }
}
