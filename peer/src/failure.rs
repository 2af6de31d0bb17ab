//! How a command fails: a kind for scripts, one sentence for people, an exit code for both.

use towpath_core::node::Failure as NodeFailure;

/// Why a command ended without doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One word; `docs/scripting.md` lists them.
    pub(crate) kind: &'static str,
    /// Cause and what to do.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The exit code of this kind.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            "usage" => 2,
            "bad_link" => 3,
            "nobody_online" => 4,
            "tracker" => 5,
            "disk_full" => 6,
            "exists" | "busy" => 7,
            "permission" | "read_only" => 8,
            "not_found" | "changed" => 9,
            "manifest" => 10,
            "interrupted" => 130,
            _ => 1,
        }
    }
}

impl From<towpath_store::Error> for Failure {
    fn from(error: towpath_store::Error) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

impl From<NodeFailure> for Failure {
    fn from(failure: NodeFailure) -> Self {
        match failure {
            NodeFailure::NobodyOnline => Self::new(
                "nobody_online",
                "nobody who has this is online; start the share again, or wait without --timeout",
            ),
            NodeFailure::Unknown => Self::new(
                "nobody_online",
                "the tracker does not know this link; is it whole, and is the share running?",
            ),
            NodeFailure::Store(message) => Self::new(store_kind(&message), message),
        }
    }
}

/// The store reports the failure of a write as a sentence that begins with its kind.
fn store_kind(message: &str) -> &'static str {
    if message.starts_with("disk full") {
        "disk_full"
    } else if message.starts_with("read-only") {
        "read_only"
    } else {
        "io"
    }
}
