//! What adversaries do, by name.

/// One way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vice {
    // As a seeder.
    /// Every chunk has a wrong byte.
    WrongData,
    /// Every proof has as many hashes as it should, and a wrong one.
    WrongProof,
    /// Every proof has a hash too many or too few.
    ProofLength,
    /// Another chunk than was asked for, with its own proof.
    OtherChunk,
    /// Every chunk is a byte too short.
    ShortChunk,
    /// Requests are taken and never answered.
    Silent,
    /// One byte now and then.
    Trickle,
    /// Everything but the last chunk.
    AllButLast,
    /// It says that it has everything, and then that it has not.
    ClaimsAll,
    /// Its have-set shrinks, and grows again.
    Shrinks,
    /// Every chunk comes twice.
    Duplicates,
    /// Chunks that nobody asked for.
    Unasked,
    /// A chunk that never ends.
    Endless,
    /// It opens the share and refuses it, or the other way round, or opens it twice.
    ChangesMind,
    /// It opens another share than the one that was meant, or does not know the secret.
    WrongShare,
    /// It is good until it is trusted, then waits until it is not, and then sends everything.
    LateAnswers,
    /// Many keys at one address, all of them liars.
    Sybils,
    /// One key that is another instance each time, always a liar.
    Restarts,
    // As a requester.
    /// More requests than a session takes.
    RequestFlood,
    /// Chunks that do not exist.
    OutOfRange,
    /// A number that no protocol allows.
    BeyondWire,
    /// Chunks of a share that it has not opened.
    NotOpened,
    /// It opens the share without its secret.
    WrongSecret,
    /// It opens thousands of locators.
    ManyLocators,
    /// It opens the share more often than a session may.
    ManyOpens,
    /// It asks, and never reads.
    NeverReads,
    /// It asks for signs of life, and never reads them.
    PingFlood,
    /// Many streams that begin a handshake and say nothing more.
    HalfOpen,
    /// The same on circuits of the relay.
    HalfOpenCircuits,
    /// A handshake that was recorded.
    ReplayedHandshake,
    /// A record that was sent before.
    ReplayedRecord,
    /// Noise instead of a handshake.
    GarbageBefore,
    /// Noise instead of records.
    GarbageAfter,
    /// Everything as it should be, one byte at a time.
    SplitBytes,
    /// The longest frame that is allowed, and one byte more.
    LongFrame,
    /// A frame without a body that must have one.
    EmptyFrame,
    /// A record without a byte.
    EmptyRecord,
    /// Frame types that do not exist.
    UnknownType,
    /// Versions, patterns and suites that do not exist, in clear.
    WrongPreamble,
    /// A range of versions that fits nobody, inside.
    WrongVersion,
    /// It asks and takes back, over and over.
    CancelStorm,
    /// The same number for two requests.
    SameRequest,
    /// It is done with what it never began.
    FalseComplete,
    /// It goes in the middle of a word.
    CutsOff,
    /// Noise for the relay.
    HubGarbage,
}

impl Vice {
    /// Those of seeders.
    pub const SEEDERS: &[Self] = &[
        Self::WrongData,
        Self::WrongProof,
        Self::ProofLength,
        Self::OtherChunk,
        Self::ShortChunk,
        Self::Silent,
        Self::Trickle,
        Self::AllButLast,
        Self::ClaimsAll,
        Self::Shrinks,
        Self::Duplicates,
        Self::Unasked,
        Self::Endless,
        Self::ChangesMind,
        Self::WrongShare,
        Self::LateAnswers,
        Self::Sybils,
        Self::Restarts,
    ];

    /// Those of requesters.
    pub const REQUESTERS: &[Self] = &[
        Self::RequestFlood,
        Self::OutOfRange,
        Self::BeyondWire,
        Self::NotOpened,
        Self::WrongSecret,
        Self::ManyLocators,
        Self::ManyOpens,
        Self::NeverReads,
        Self::PingFlood,
        Self::HalfOpen,
        Self::HalfOpenCircuits,
        Self::ReplayedHandshake,
        Self::ReplayedRecord,
        Self::GarbageBefore,
        Self::GarbageAfter,
        Self::SplitBytes,
        Self::LongFrame,
        Self::EmptyFrame,
        Self::EmptyRecord,
        Self::UnknownType,
        Self::WrongPreamble,
        Self::WrongVersion,
        Self::CancelStorm,
        Self::SameRequest,
        Self::FalseComplete,
        Self::CutsOff,
        Self::HubGarbage,
    ];

    /// What it is counted as.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongData => "adversary: wrong data",
            Self::WrongProof => "adversary: wrong proof",
            Self::ProofLength => "adversary: wrong number of hashes",
            Self::OtherChunk => "adversary: another chunk",
            Self::ShortChunk => "adversary: short chunk",
            Self::Silent => "adversary: silent",
            Self::Trickle => "adversary: a byte now and then",
            Self::AllButLast => "adversary: all but the last",
            Self::ClaimsAll => "adversary: claims what it has not",
            Self::Shrinks => "adversary: shrinking have-set",
            Self::Duplicates => "adversary: duplicates",
            Self::Unasked => "adversary: unasked chunks",
            Self::Endless => "adversary: endless chunk",
            Self::ChangesMind => "adversary: changes its mind",
            Self::WrongShare => "adversary: wrong share",
            Self::LateAnswers => "adversary: late answers",
            Self::Sybils => "adversary: many keys at one address",
            Self::Restarts => "adversary: many instances of one key",
            Self::RequestFlood => "adversary: flood of requests",
            Self::OutOfRange => "adversary: chunk out of range",
            Self::BeyondWire => "adversary: number beyond the wire's",
            Self::NotOpened => "adversary: share not opened",
            Self::WrongSecret => "adversary: wrong secret",
            Self::ManyLocators => "adversary: many locators",
            Self::ManyOpens => "adversary: opens too often",
            Self::NeverReads => "adversary: never reads",
            Self::PingFlood => "adversary: flood of pings",
            Self::HalfOpen => "adversary: half-open handshakes",
            Self::HalfOpenCircuits => "adversary: half-open circuits",
            Self::ReplayedHandshake => "adversary: replayed handshake",
            Self::ReplayedRecord => "adversary: replayed record",
            Self::GarbageBefore => "adversary: garbage before the handshake",
            Self::GarbageAfter => "adversary: garbage after the handshake",
            Self::SplitBytes => "adversary: split at every byte",
            Self::LongFrame => "adversary: longest frame and longer",
            Self::EmptyFrame => "adversary: empty frame",
            Self::EmptyRecord => "adversary: empty record",
            Self::UnknownType => "adversary: unknown frame type",
            Self::WrongPreamble => "adversary: wrong preamble",
            Self::WrongVersion => "adversary: wrong version",
            Self::CancelStorm => "adversary: cancels over and over",
            Self::SameRequest => "adversary: same request twice",
            Self::FalseComplete => "adversary: complete of nothing",
            Self::CutsOff => "adversary: cuts off",
            Self::HubGarbage => "adversary: garbage for the relay",
        }
    }

    /// Whether what it sends as a requester breaks a rule, so that it must be shown the door.
    pub(super) const fn breaks_a_rule(self) -> bool {
        matches!(
            self,
            Self::RequestFlood
                | Self::BeyondWire
                | Self::NotOpened
                | Self::ManyLocators
                | Self::HalfOpen
                | Self::HalfOpenCircuits
                | Self::ReplayedHandshake
                | Self::ReplayedRecord
                | Self::GarbageBefore
                | Self::GarbageAfter
                | Self::LongFrame
                | Self::EmptyFrame
                | Self::EmptyRecord
                | Self::UnknownType
                | Self::WrongPreamble
                | Self::WrongVersion
                | Self::SameRequest
                | Self::FalseComplete
        )
    }
}
