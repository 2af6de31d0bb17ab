//! What the command line named: where a share's paths begin on this disk.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::Error;
use crate::paths::open_file;

/// Where a share's paths begin.
#[derive(Debug)]
pub(crate) enum Base {
    /// One file.
    File(PathBuf),
    /// One folder.
    Folder {
        /// Its canonical path.
        path: PathBuf,
        /// Itself.
        folder: OwnedFd,
    },
    /// Several files and folders, sorted by name.
    Several(Vec<Top>),
}

/// One of several paths.
#[derive(Debug)]
pub(crate) struct Top {
    /// Its name in the share: the last component as it was given.
    pub(crate) name: Vec<u8>,
    /// Its canonical path.
    pub(crate) path: PathBuf,
    /// The folder in which that name stands.
    pub(crate) within: PathBuf,
    pub(crate) is_folder: bool,
}

impl Base {
    /// Finds what `paths` name; also the name to suggest for the share.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<(Self, String), Error> {
        match paths {
            [] => Err(Error::new("not_found", "nothing to share was named")),
            [path] => {
                let top = find_top(path)?;
                let name = text(&top.name);
                if !top.is_folder {
                    return Ok((Self::File(top.path), name));
                }
                let folder = open_base(&top.path)?;
                Ok((Self::Folder { path: top.path, folder }, name))
            }
            paths => {
                let mut tops =
                    paths.iter().map(|path| find_top(path)).collect::<Result<Vec<_>, _>>()?;
                let more = tops.len() - 1;
                let name = format!("{} and {more} more", text(&tops[0].name));
                tops.sort_by(|a, b| a.name.cmp(&b.name));
                if let Some([a, b]) = tops.array_windows().find(|[a, b]| a.name == b.name) {
                    let (a, b) = (a.path.display(), b.path.display());
                    let message = format!("{a} and {b} have the same name: share them one by one");
                    return Err(Error::new("manifest", message));
                }
                Ok((Self::Several(tops), name))
            }
        }
    }

    /// What tells this share from others in the cache.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            Self::File(path) | Self::Folder { path, .. } => path.as_os_str().as_bytes().to_vec(),
            Self::Several(tops) => {
                let parts = tops.iter().flat_map(|t| [t.path.as_os_str().as_bytes(), &t.name]);
                parts.collect::<Vec<_>>().join(&0)
            }
        }
    }

    /// The paths that must be there for this share to make sense.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::File(path) | Self::Folder { path, .. } => vec![path],
            Self::Several(tops) => tops.iter().map(|top| top.path.as_path()).collect(),
        }
    }

    /// The file at `path` of the share.
    pub(crate) fn open(&self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOCTTY;
        match self {
            Self::File(path) => open_file(CWD, path.as_os_str().as_bytes(), flags),
            Self::Folder { folder, .. } => open_file(folder, path, flags),
            Self::Several(_) => open_file(CWD, self.on_disk(path).as_os_str().as_bytes(), flags),
        }
    }

    /// How people know `path` of the share.
    pub(crate) fn on_disk(&self, path: &[u8]) -> PathBuf {
        let rest = |at: &Path, rest: &[u8]| {
            if rest.is_empty() { at.to_path_buf() } else { at.join(OsStr::from_bytes(rest)) }
        };
        match self {
            Self::File(file) => file.clone(),
            Self::Folder { path: folder, .. } => rest(folder, path),
            Self::Several(_) => match self.top(path) {
                Some((top, below)) => rest(&top.path, below),
                None => PathBuf::from(OsStr::from_bytes(path)),
            },
        }
    }

    /// Of several paths: the one that `path` lies in, and the rest of it.
    pub(crate) fn top<'a>(&self, path: &'a [u8]) -> Option<(&Top, &'a [u8])> {
        let Self::Several(tops) = self else { return None };
        let slash = path.iter().position(|byte| *byte == b'/');
        let (name, rest) =
            slash.map_or((path, &path[path.len()..]), |at| (&path[..at], &path[at + 1..]));
        let at = tops.binary_search_by(|top| top.name.as_slice().cmp(name)).ok()?;
        Some((&tops[at], rest))
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Opens a folder by its path, links on the way followed: the user named it.
pub(crate) fn open_base(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::at("read", path))
}

fn find_top(given: &Path) -> Result<Top, Error> {
    let path = given.canonicalize().map_err(Error::at("share", given))?;
    let metadata = path.metadata().map_err(Error::at("share", given))?;
    if !metadata.is_file() && !metadata.is_dir() {
        let message = format!("{} is neither a file nor a folder", given.display());
        return Err(Error::new("manifest", message));
    }
    // `..` and `.` have no name of their own.
    let (name, within) = match given.file_name() {
        Some(name) => {
            let parent = given.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            (name, parent.canonicalize().map_err(Error::at("share", given))?)
        }
        None => (
            path.file_name().unwrap_or(OsStr::new("root")),
            path.parent().unwrap_or(Path::new("/")).to_path_buf(),
        ),
    };
    let name = name.as_bytes().to_vec();
    Ok(Top { name, within, is_folder: metadata.is_dir(), path })
}
