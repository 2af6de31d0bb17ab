//! Where settings come from: flag > environment > file > default; and the data folder.
//!
//! The data folder holds the key (`identity`), the store's cache, and one folder for each share
//! with its secret, the port of its built-in tracker and that tracker's data, so that a link
//! survives a restart.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use towpath_core::id::{FileId, Secret, from_hex, to_hex};

use crate::cli::Common;
use crate::failure::Failure;

/// The config file: `$XDG_CONFIG_HOME/towpath/config.toml` or `~/.config/towpath/config.toml`.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// Tracker for `share`.
    pub(crate) tracker: Option<String>,
    /// The data folder.
    pub(crate) data: Option<PathBuf>,
    /// As `--limit-up`.
    pub(crate) limit_up: Option<String>,
    /// As `--limit-down`.
    pub(crate) limit_down: Option<String>,
}

impl ConfigFile {
    /// Reads it; no file means no settings.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("config.toml"))
        else {
            return Ok(Self::default());
        };
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                let cause = error.message();
                Failure::new(
                    "usage",
                    format!("the config file {} is wrong: {cause}", path.display()),
                )
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(io_failure("cannot read", &path, &error)),
        }
    }
}

fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let base = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home));
    base.or_else(home).map(|dir| dir.join("towpath"))
}

/// The data folder, which exists.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// Finds and makes it.
    pub(crate) fn open(common: &Common, config: &ConfigFile) -> Result<Self, Failure> {
        let path = common
            .data
            .clone()
            .or_else(|| config.data.clone())
            .or_else(|| xdg("XDG_DATA_HOME", ".local/share"))
            .ok_or_else(|| Failure::new("usage", "no home folder: say --data DIR"))?;
        make_private_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Our X25519 secret key, made at the first use.
    pub(crate) fn identity(&self) -> Result<[u8; 32], Failure> {
        kept(&self.0.join("identity"), "key", random)
    }

    /// The folder of what this process needs to share `id` again under the same link.
    pub(crate) fn share_dir(&self, id: FileId) -> Result<PathBuf, Failure> {
        let dir = self.0.join("shares").join(id.to_string());
        make_private_dir(&dir)?;
        Ok(dir)
    }

    /// The secret of the private share of `id`, made at the first use.
    pub(crate) fn secret(&self, id: FileId) -> Result<Secret, Failure> {
        kept(&self.share_dir(id)?.join("secret"), "secret", random).map(Secret::new)
    }
}

fn make_private_dir(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| io_failure("cannot make the folder", path, &error))
}

/// 32 fresh random bytes.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// Reads 32 bytes in hex from `path`, or makes and keeps them. Two processes that make them at once
/// end with the same: a file appears whole, and only if there was none.
fn kept(path: &Path, what: &str, make: fn() -> [u8; 32]) -> Result<[u8; 32], Failure> {
    if let Some(bytes) = read_kept(path, what)? {
        return Ok(bytes);
    }
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", to_hex(&make()))?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::remove_file(&draft)
    };
    write().map_err(|error| io_failure("cannot write", path, &error))?;
    read_kept(path, what)?.ok_or_else(|| Failure::new("io", format!("{} vanished", path.display())))
}

fn read_kept(path: &Path, what: &str) -> Result<Option<[u8; 32]>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => from_hex(text.trim()).map(Some).map_err(|_| {
            let path = path.display();
            Failure::new("io", format!("the {what} in {path} is damaged: restore or remove it"))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_failure("cannot read", path, &error)),
    }
}

/// "cannot read /x: permission denied".
pub(crate) fn io_failure(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::NotFound => "not_found",
        ErrorKind::PermissionDenied => "permission",
        ErrorKind::ReadOnlyFilesystem => "read_only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "disk_full",
        _ => "io",
    };
    let cause = error.to_string();
    let cause = cause.split(" (os error").next().unwrap_or(&cause).to_lowercase();
    Failure::new(kind, format!("{verb} {}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir(dir.path().to_path_buf());
        let first = data.identity().unwrap();
        assert_eq!(data.identity().unwrap(), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_damaged_identity_is_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity"), "garbage").unwrap();
        let failure = DataDir(dir.path().to_path_buf()).identity().unwrap_err();
        assert!(failure.message.contains("is damaged"), "{}", failure.message);
        assert_eq!(fs::read_to_string(dir.path().join("identity")).unwrap(), "garbage");
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<ConfigFile>("tracker = 'http://x'").is_ok());
        assert!(toml::from_str::<ConfigFile>("traker = 'http://x'").is_err());
    }
}
