//! Errors of the store: a kind for scripts, one sentence for people.

use std::fmt;
use std::io;
use std::path::Path;

/// An error of the store: a kind for scripts and one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// `disk_full`, `read_only`, `exists`, `not_found`, `permission`, `manifest`, `changed`,
    /// `busy`, `io`.
    pub kind: &'static str,
    /// "disk full: need 3.2 GB in /data, 1.1 GB free".
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What the system refused: `doing` is a verb, as in "cannot `doing` `path`: …".
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let at = path.display();
        let (kind, message) = match error.kind() {
            io::ErrorKind::NotFound => {
                ("not_found", format!("cannot {doing} {at}: it does not exist"))
            }
            io::ErrorKind::PermissionDenied => {
                ("permission", format!("cannot {doing} {at}: permission denied"))
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                ("read_only", format!("cannot {doing} {at}: the file system is read-only"))
            }
            io::ErrorKind::StorageFull => (
                "disk_full",
                format!("disk full: cannot {doing} {at}; free some space and run it again"),
            ),
            io::ErrorKind::QuotaExceeded => (
                "disk_full",
                format!(
                    "disk quota exceeded: cannot {doing} {at}; free some space and run it again"
                ),
            ),
            _ => ("io", format!("cannot {doing} {at}: {error}")),
        };
        Self { kind, message }
    }

    /// `map_err` in one word.
    pub(crate) fn at<'a, E: Into<io::Error>>(
        doing: &'a str,
        path: &'a Path,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |error| Self::io(doing, path, &error.into())
    }

    pub(crate) fn manifest(rule: impl fmt::Display) -> Self {
        Self::new(
            "manifest",
            format!(
                "the folder's description breaks the rule {rule}; the sender must share it again"
            ),
        )
    }

    pub(crate) fn changed(path: &Path) -> Self {
        let at = path.display();
        Self::new(
            "changed",
            format!("{at} changed while it was read; share it again when it rests"),
        )
    }
}

/// Bytes as people write them: "3.2 GB".
pub(crate) fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 999.95 {
            let digits = usize::from(unit != "bytes");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_people_do() {
        assert_eq!(human_bytes(0), "0 bytes");
        assert_eq!(human_bytes(999), "999 bytes");
        assert_eq!(human_bytes(1_000), "1.0 kB");
        assert_eq!(human_bytes(3_240_000_000), "3.2 GB");
        assert_eq!(human_bytes(999_990_000), "1.0 GB");
        assert_eq!(human_bytes(5_000_000_000_000), "5.0 TB");
    }
}
