//! Opening what lies below a folder without ever leaving it.
//!
//! Every path is opened component by component, relative to the folder above, without following
//! links: whatever another process plants there, nothing outside is touched. Folders stay open for
//! a while, because neighbours in a manifest are neighbours on disk.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};

use crate::limits::OPEN_FOLDERS;
use crate::lock;

/// Flags for a folder that is really one.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the folder `name` in `parent`.
pub(crate) fn open_folder(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, OsStr::from_bytes(name), FOLDER, Mode::empty())?)
}

/// Opens the file `name` in `parent`, which must not be a link. Never waits for a pipe's other end.
pub(crate) fn open_file(parent: impl AsFd, name: &[u8], flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty())?.into())
}

/// Creates the file `name` in `parent` with at most these permission bits; whatever else stood
/// there (a link planted by somebody, a leftover) is removed first, never followed.
pub(crate) fn create_file(parent: impl AsFd, name: &[u8], mode: u16) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = OsStr::from_bytes(name);
    let mode = Mode::from_raw_mode(u32::from(mode));
    match rustix::fs::openat(&parent, name, flags, mode) {
        Err(rustix::io::Errno::EXIST) => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
            Ok(rustix::fs::openat(&parent, name, flags, mode)?.into())
        }
        opened => Ok(opened?.into()),
    }
}

/// Makes sure that `name` in `parent` is a folder that we can work in; it may be there already.
pub(crate) fn make_folder(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let os_name = OsStr::from_bytes(name);
    match rustix::fs::mkdirat(&parent, os_name, Mode::RWXU) {
        Err(rustix::io::Errno::EXIST) => {}
        made => return Ok(made?),
    }
    let stat = rustix::fs::statat(&parent, os_name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        rustix::fs::unlinkat(&parent, os_name, AtFlags::empty())?;
        return Ok(rustix::fs::mkdirat(&parent, os_name, Mode::RWXU)?);
    }
    if stat.st_mode & 0o700 != 0o700 {
        // An earlier run gave it its final mode already. Through its own descriptor, so that no
        // link can take its place; `O_PATH`, because its mode may forbid reading.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&parent, os_name, flags, Mode::empty())?;
        rustix::fs::chmodat(CWD, own_path(&folder), Mode::RWXU, AtFlags::empty())?;
    }
    Ok(())
}

/// A path that names what `fd` has open, whatever stands under its name by now.
pub(crate) fn own_path(fd: impl AsFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// The time stamps that set `mtime` and leave the access time alone.
pub(crate) fn timestamps(mtime: (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: i64::from(mtime.1) },
    }
}

/// The folder above and the name, of a path as manifests have them.
pub(crate) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A folder, and those below it that were opened lately.
#[derive(Debug)]
pub(crate) struct Below {
    root: Arc<OwnedFd>,
    open: Mutex<VecDeque<(Vec<u8>, Arc<OwnedFd>)>>,
}

impl Below {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root: Arc::new(root), open: Mutex::default() }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The folder with this path (empty: the root).
    pub(crate) fn folder(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        {
            let mut open = lock(&self.open);
            if let Some(at) = open.iter().position(|(of, _)| of == path) {
                let found = open.remove(at).expect("it was just found there");
                let folder = found.1.clone();
                open.push_front(found);
                return Ok(folder);
            }
        }
        let mut folder = None;
        for name in path.split(|byte| *byte == b'/') {
            let parent = folder.as_ref().map_or(self.root(), AsFd::as_fd);
            folder = Some(open_folder(parent, name)?);
        }
        let folder = Arc::new(folder.expect("a path that is not empty has a component"));
        let mut open = lock(&self.open);
        open.push_front((path.to_vec(), folder.clone()));
        open.truncate(OPEN_FOLDERS);
        Ok(folder)
    }
}

/// Removes the file or folder `name` in `parent` with all that is in it; links are removed, not
/// followed.
pub(crate) fn remove_all(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let os_name = OsStr::from_bytes(name);
    match rustix::fs::unlinkat(&parent, os_name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        // POSIX says EPERM for a folder, Linux EISDIR.
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    make_folder(&parent, name)?;
    let folder = open_folder(&parent, name)?;
    loop {
        // Read anew after each removal round: a folder read while it shrinks may skip entries.
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            if names.len() == 4_096 {
                break;
            }
        }
        if names.is_empty() {
            break;
        }
        for name in names {
            remove_all(&folder, &name)?;
        }
    }
    Ok(rustix::fs::unlinkat(&parent, os_name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn root(path: &std::path::Path) -> OwnedFd {
        rustix::fs::openat(CWD, path, FOLDER, Mode::empty()).unwrap()
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        symlink(&outside, inside.join("a/link")).unwrap();
        let below = Below::new(root(&inside));
        assert!(below.folder(b"a/b").is_ok());
        assert!(below.folder(b"a/link").is_err());
        symlink(outside.join("kept"), inside.join("a/b/file")).unwrap();
        let folder = below.folder(b"a/b").unwrap();
        assert!(open_file(&folder, b"file", OFlags::RDONLY).is_err());
        drop(create_file(&folder, b"file", 0o640).unwrap());
        let made = std::fs::symlink_metadata(inside.join("a/b/file")).unwrap();
        assert!(made.is_file());
        assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
        // A link where a folder should be is replaced; what it named stays.
        make_folder(below.root(), b"a").unwrap();
        make_folder(below.folder(b"a").unwrap(), b"link").unwrap();
        assert!(std::fs::symlink_metadata(inside.join("a/link")).unwrap().is_dir());
        remove_all(root(dir.path()), b"in").unwrap();
        assert!(!inside.exists() && outside.join("kept").exists());
    }

    #[test]
    fn a_folder_without_permissions_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("d");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o000)).unwrap();
        make_folder(root(dir.path()), b"d").unwrap();
        assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o000)).unwrap();
        remove_all(root(dir.path()), b"d").unwrap();
        assert!(!inner.exists());
    }
}
