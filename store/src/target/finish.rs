//! The end of a download: links, modes and times, sync, rename, sync.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;
use towpath_core::id::Kind;
use towpath_core::manifest::{Entry, What};

use super::many::Many;
use super::part::Part;
use super::{Place, Target, names};
use crate::error::Error;
use crate::index::{ReadError, for_each_entry};
use crate::paths::{open_folder, remove_all, split_path, timestamps};

/// See [`Target::finish`].
pub(super) fn finish(target: &Target) -> Result<PathBuf, Error> {
    let place = &target.place;
    if target.finished.load(Ordering::Acquire) {
        return Ok(place.out());
    }
    let cannot = |error: io::Error| target.cannot("finish", &error);
    let last = match target.descriptor.kind {
        Kind::File => target.root.get(),
        Kind::Manifest => target.contents.get(),
    };
    if !last.is_some_and(Part::is_complete) {
        return Err(Error::new("io", format!("{} is not complete yet", place.out().display())));
    }
    let folder = match last.and_then(Part::many) {
        Some(many) => Some(dress(many, place.mode_mask).map_err(cannot)?),
        None => None,
    };
    let name = if folder.is_some() { names::CONTENTS } else { names::DATA };
    // What was written counts as synced from here on: if the rename fails, the next run finds it
    // so.
    let mark = target.journal.mark();
    target.sync_data().map_err(cannot)?;
    target.journal.synced(mark).map_err(cannot)?;
    rename(place, name, target.force)?;
    target.finished.store(true, Ordering::Release);
    if let Some(folder) = folder {
        folder.close(folder.mode).map_err(cannot)?;
    }
    rustix::fs::fsync(&place.parent).map_err(|error| cannot(error.into()))?;
    // It stands; what cannot be removed is removed by the next run.
    let _ = remove_partial(place);
    Ok(place.out())
}

/// A folder on the way from the root to the entry at hand, waiting for its mode and time.
struct Open {
    path: Vec<u8>,
    folder: OwnedFd,
    mode: u16,
    mtime: (i64, u32),
}

impl Open {
    fn is_above(&self, path: &[u8]) -> bool {
        self.path.is_empty()
            || (path.starts_with(&self.path) && path.get(self.path.len()) == Some(&b'/'))
    }

    fn close(&self, mode: u16) -> io::Result<()> {
        rustix::fs::fchmod(&self.folder, Mode::from_raw_mode(u32::from(mode)))?;
        Ok(rustix::fs::futimens(&self.folder, &timestamps(self.mtime))?)
    }
}

/// Makes the links and gives the folders their modes and times, each after all that is in it. The
/// share's own folder is given back, because it must be writable to be moved.
// spec C26: when all files stand; folders are opened one by one, no link is followed
fn dress(many: &Many, mode_mask: u16) -> io::Result<Open> {
    let root = many.below.root().try_clone_to_owned()?;
    // A share of several paths has no entry for its folder, which is then as any new folder.
    let now = rustix::fs::fstat(&root)?;
    let mtime = (now.st_mtime, now.st_mtime_nsec as u32);
    let mut root = Open { path: Vec::new(), folder: root, mode: mode_mask, mtime };
    let mut open: Vec<Open> = Vec::new();
    walk(many, |entry| {
        while let Some(last) = open.last()
            && !last.is_above(&entry.path)
        {
            last.close(last.mode)?;
            open.pop();
        }
        let above = open.last().map_or(many.below.root(), |folder| folder.folder.as_fd());
        let (_, name) = split_path(&entry.path);
        match entry.what {
            What::File { .. } => {}
            What::Folder if entry.path.is_empty() => {
                (root.mode, root.mtime) = (entry.mode, entry.mtime);
            }
            What::Folder => {
                let folder = open_folder(above, name)?;
                open.push(Open { path: entry.path, folder, mode: entry.mode, mtime: entry.mtime });
            }
            What::Link { target } => make_link(above, name, &target, entry.mtime)?,
        }
        Ok(())
    })?;
    while let Some(folder) = open.pop() {
        folder.close(folder.mode)?;
    }
    root.close(root.mode | 0o700)?;
    Ok(root)
}

fn walk(many: &Many, mut visit: impl FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
    for_each_entry::<ReadError>(many.index.manifest(), |_, _, entry| Ok(visit(entry)?)).map_err(
        |error| match error {
            ReadError::Io(error) => error,
            ReadError::Rule(rule) => io::Error::other(rule),
        },
    )
}

fn make_link(folder: impl AsFd, name: &[u8], target: &[u8], mtime: (i64, u32)) -> io::Result<()> {
    let (name, target) = (OsStr::from_bytes(name), OsStr::from_bytes(target));
    match rustix::fs::symlinkat(target, &folder, name) {
        Err(Errno::EXIST) => {
            let there = rustix::fs::readlinkat(&folder, name, Vec::new());
            if there.is_ok_and(|there| there.to_bytes() == target.as_bytes()) {
                // Of an earlier run that was interrupted just here.
            } else {
                rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
                rustix::fs::symlinkat(target, &folder, name)?;
            }
        }
        made => made?,
    }
    let times = timestamps(mtime);
    Ok(rustix::fs::utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives what is called `from` in the hidden folder the target's name.
fn rename(place: &Place, from: &[u8], force: bool) -> Result<(), Error> {
    let (from_name, to_name) = (OsStr::from_bytes(from), OsStr::from_bytes(&place.name));
    let rename_with =
        |flags| rustix::fs::renameat_with(&place.partial, from_name, &place.parent, to_name, flags);
    let cannot = |error: Errno| match error {
        Errno::EXIST => {
            let at = place.out().display().to_string();
            let message = format!(
                "{at} was made by somebody else meanwhile: \
                 move it away, or use --force, and run it again"
            );
            Error::new("exists", message)
        }
        error => Error::io("finish", &place.out(), &error.into()),
    };
    match rename_with(RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) if force => {}
        Err(Errno::INVAL | Errno::NOSYS) => {
            return rename_plainly(place, from, force).map_err(cannot);
        }
        result => return result.map_err(cannot),
    }
    // Files replace files and links at once; anything else changes places with what stands there.
    match rename_with(RenameFlags::empty()) {
        Err(Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::NOTEMPTY) => {}
        result => return result.map_err(cannot),
    }
    rename_with(RenameFlags::EXCHANGE).map_err(cannot)?;
    let old = remove_all(&place.partial, from);
    old.map_err(|error| Error::io("remove the old", &place.out(), &error))
}

/// For file systems that know no flags of rename(2): the name is looked at first.
fn rename_plainly(place: &Place, from: &[u8], force: bool) -> Result<(), Errno> {
    let (from, to) = (OsStr::from_bytes(from), OsStr::from_bytes(&place.name));
    if rustix::fs::statat(&place.parent, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        if !force {
            return Err(Errno::EXIST);
        }
        remove_all(&place.parent, &place.name)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    rustix::fs::renameat(&place.partial, from, &place.parent, to)
}

/// Removes the hidden folder.
pub(super) fn remove_partial(place: &Place) -> io::Result<()> {
    remove_all(&place.parent, &place.partial_name)
}
