//! The tracker's secrets, in its data folder: made on the first start, kept for ever.
//!
//! The relay's key is its identity in every login, the token key signs what logins yield, the admin
//! key opens `/api/admin`. Each is a file of 64 hex digits that only its owner can read. A file
//! appears under its name at once and whole, and never replaces one that is there: two trackers
//! that start on one folder at the same time end up with the same keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use towpath_core::id::{from_hex, to_hex};

use crate::StartError;

/// The secrets.
#[derive(Clone)]
pub(crate) struct Keys {
    /// X25519, of the relay.
    pub(crate) relay: [u8; 32],
    /// HMAC, of the tokens.
    pub(crate) token: [u8; 32],
    /// What the operator sends as `X-API-Key`, in hex.
    pub(crate) admin: String,
}

impl Keys {
    /// Reads them from `folder`, or makes them there. The folder is made too.
    pub(crate) fn open(folder: &Path) -> Result<Self, StartError> {
        make_folder(folder).map_err(|error| StartError::data(folder, &error))?;
        Ok(Self {
            relay: key(folder, "relay.key")?,
            token: key(folder, "token.key")?,
            admin: to_hex(&key(folder, "admin.key")?),
        })
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn key(folder: &Path, name: &str) -> Result<[u8; 32], StartError> {
    let path = folder.join(name);
    let failed = |error: io::Error| StartError::data(&path, &error);
    if !path.exists() {
        make(folder, name).map_err(failed)?;
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    from_hex(text.trim_end()).map_err(|_| {
        StartError::new(format!(
            "{} is damaged: it should hold 64 hex digits. Restore it from a backup, or delete it \
             to get a new key (peers then have to log in again).",
            path.display()
        ))
    })
}

fn make(folder: &Path, name: &str) -> io::Result<()> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(io::Error::other)?;
    let temporary = folder.join(format!(".{name}.{:016x}", u64::from_be_bytes(unique)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(to_hex(&bytes).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // A link, unlike a rename, fails if somebody else was faster; then theirs is the key.
    let linked = fs::hard_link(&temporary, folder.join(name));
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => File::open(folder)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        let first = Keys::open(&data).unwrap();
        let second = Keys::open(&data).unwrap();
        assert_eq!(first.relay, second.relay);
        assert_eq!(first.token, second.token);
        assert_eq!(first.admin, second.admin);
        assert_ne!(first.relay, first.token);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 3, "no temporary file is left");
        #[cfg(unix)]
        for name in ["relay.key", "token.key", "admin.key"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(data.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_said_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("relay.key"), "nonsense").unwrap();
        let Err(error) = Keys::open(folder.path()) else { panic!("it is damaged") };
        assert!(error.to_string().contains("relay.key is damaged"), "{error}");
        assert_eq!(fs::read(folder.path().join("relay.key")).unwrap(), b"nonsense");
    }

    #[test]
    fn whoever_is_faster_wins() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), "relay.key").unwrap();
        let first = fs::read(folder.path().join("relay.key")).unwrap();
        make(folder.path(), "relay.key").unwrap();
        assert_eq!(fs::read(folder.path().join("relay.key")).unwrap(), first);
    }
}
