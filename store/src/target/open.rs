//! Opening a target: what stands under its name, the hidden folder, its lock, its journal.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use towpath_core::id::{Descriptor, FileId, Kind, Space, to_hex};
use towpath_core::limits::MAX_NAME_BYTES;

use super::journal::{Journal, Replay};
use super::{Opened, Place, Target, finish, names};
use crate::error::Error;
use crate::limits::check_length;
use crate::paths::{create_file, make_folder, open_file, open_folder, remove_all};
use crate::source::{Prepared, prepare};

/// See [`Target::open`].
pub(super) fn open(
    out: &Path,
    descriptor: Descriptor,
    force: bool,
    progress: &mut dyn FnMut(Prepared),
) -> Result<Opened, Error> {
    check_length(descriptor)?;
    let (parent, parent_path, name) = open_parent(out)?;
    let out = parent_path.join(OsStr::from_bytes(&name));
    let stands =
        match rustix::fs::statat(&parent, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(Error::io("look at", &out, &error.into())),
        };
    let id = descriptor.id();
    if let Some(kind) = stands {
        let is_whole = match (descriptor.kind, kind) {
            (Kind::File, FileType::RegularFile) | (Kind::Manifest, FileType::Directory) => {
                prepare::is_whole(&out, &parent_path, descriptor, progress)?
            }
            _ => false,
        };
        if is_whole {
            // A crash right after the rename leaves the hidden folder behind.
            if let Ok(Some(place)) = open_place(parent, parent_path, name, id, false) {
                let _ = finish::remove_partial(&place);
            }
            return Ok(Opened::Whole(out));
        }
        if !force {
            let at = out.display();
            let message = format!(
                "{at} exists and is something else: \
                 choose another name with -o, or replace it with --force"
            );
            return Err(Error::new("exists", message));
        }
    }
    let place = open_place(parent, parent_path, name, id, true)?;
    let place = place.expect("a place that may be made is always there");
    let (journal, replay, fresh) = open_journal(&place, descriptor)
        .map_err(|error| Error::io("write to", &place.partial_path(), &error))?;
    Ok(Opened::Partial(Target {
        descriptor,
        force,
        place,
        journal,
        replay,
        fresh,
        root: OnceLock::new(),
        contents: OnceLock::new(),
        finished: AtomicBool::new(false),
    }))
}

fn open_parent(out: &Path) -> Result<(OwnedFd, PathBuf, Vec<u8>), Error> {
    let Some(name) = out.file_name() else {
        let message = format!("{} is no name for a file or folder", out.display());
        return Err(Error::new("not_found", message));
    };
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let path = parent.canonicalize().map_err(Error::at("open the folder", parent))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, &path, flags, Mode::empty())
        .map_err(Error::at("open the folder", &path))?;
    Ok((folder, path, name.as_bytes().to_vec()))
}

/// `.NAME.ID.towpath`, the name cut so that it fits.
pub(super) fn partial_name(name: &[u8], id: FileId) -> Vec<u8> {
    let id = to_hex(&id.0[..8]);
    let room = MAX_NAME_BYTES - "..".len() - id.len() - ".towpath".len();
    [b".", &name[..name.len().min(room)], b".", id.as_bytes(), b".towpath"].concat()
}

/// The hidden folder, locked; `None` if it is not there and must not be made.
fn open_place(
    parent: OwnedFd,
    parent_path: PathBuf,
    name: Vec<u8>,
    id: FileId,
    make: bool,
) -> Result<Option<Place>, Error> {
    let partial_name = partial_name(&name, id);
    let out = parent_path.join(OsStr::from_bytes(&name));
    let cannot = |error: io::Error| Error::io("write in the folder", &parent_path, &error);
    for _ in 0..3 {
        if make {
            make_folder(&parent, &partial_name).map_err(cannot)?;
        }
        let partial = match open_folder(&parent, &partial_name) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        let lock = open_lock(&partial).map_err(cannot)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("another towpath is fetching {} right now", out.display());
                return Err(Error::new("busy", message));
            }
            Err(error) => return Err(cannot(error.into())),
        }
        // Whoever had the lock before may have finished and removed the folder meanwhile.
        if !is_at(&parent, &partial_name, &partial) {
            continue;
        }
        let mode_mask = probe_mode(&partial).map_err(cannot)?;
        return Ok(Some(Place {
            parent,
            parent_path,
            name,
            partial,
            partial_name,
            lock,
            mode_mask,
        }));
    }
    Err(Error::new("busy", format!("another towpath is fetching {} right now", out.display())))
}

fn open_lock(partial: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = OsStr::from_bytes(names::LOCK);
    Ok(rustix::fs::openat(partial, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn is_at(parent: &OwnedFd, name: &[u8], folder: &OwnedFd) -> bool {
    let there = rustix::fs::statat(parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
    match (there, rustix::fs::fstat(folder)) {
        (Ok(there), Ok(here)) => (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino),
        _ => false,
    }
}

/// Which permission bits a new file really gets: the umask cannot be read without changing it.
fn probe_mode(partial: &OwnedFd) -> io::Result<u16> {
    let probe = create_file(partial, b"probe", 0o777)?;
    let mode = probe.metadata()?.permissions().mode() & 0o777;
    rustix::fs::unlinkat(partial, "probe", AtFlags::empty())?;
    Ok(mode as u16)
}

/// The journal of an earlier run, if what it speaks of is there; else everything begins anew.
fn open_journal(place: &Place, descriptor: Descriptor) -> io::Result<(Journal, Replay, bool)> {
    let id = descriptor.id();
    if let Ok(file) = open_file(&place.partial, names::JOURNAL, OFlags::RDWR)
        && let Some((journal, replay)) = Journal::open(file, id)?
        && is_there(place, descriptor, &replay)
    {
        return Ok((journal, replay, false));
    }
    for name in [
        names::JOURNAL,
        names::JOURNAL_NEW,
        names::DATA,
        names::MANIFEST,
        names::TREE,
        names::CONTENTS,
        names::CONTENTS_TREE,
    ] {
        remove_all(&place.partial, name)?;
    }
    let journal = create_file(&place.partial, names::JOURNAL, 0o600)?;
    Ok((Journal::create(journal, id)?, Replay::default(), true))
}

/// Whether the files that a journal speaks of stand where they should, as long as they should be.
fn is_there(place: &Place, descriptor: Descriptor, replay: &Replay) -> bool {
    let length = |name: &[u8]| {
        open_file(&place.partial, name, OFlags::RDONLY)
            .and_then(|file| file.metadata())
            .map(|metadata| metadata.len())
    };
    let root_is_there = match descriptor.kind {
        Kind::File => length(names::DATA),
        Kind::Manifest => length(names::MANIFEST),
    }
    .is_ok_and(|length| length == descriptor.length_bytes);
    let contents_are_there = open_folder(place.partial.as_fd(), names::CONTENTS).is_ok()
        && length(names::CONTENTS_TREE).is_ok();
    (replay.is_empty_in(Space::Root) || (root_is_there && length(names::TREE).is_ok()))
        && (replay.is_empty_in(Space::Contents) || contents_are_there)
}
