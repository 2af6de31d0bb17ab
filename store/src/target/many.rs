//! The files of a manifest on their way to the disk: made, opened, given their modes and times.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::index::{FileEntry, Index};
use crate::limits::OPEN_FILES;
use crate::lock;
use crate::paths::{Below, create_file, open_file, split_path, timestamps};

/// The files of a manifest, below one folder.
#[derive(Debug)]
pub(super) struct Many {
    pub(super) index: Index,
    pub(super) below: Below,
    /// Permission bits that a new file gets at most.
    mode_mask: u16,
    /// Files of several chunks that were used lately, by the number of their entry.
    open: Mutex<VecDeque<(u64, Arc<File>)>>,
}

impl Many {
    pub(super) fn new(index: Index, root: OwnedFd, mode_mask: u16) -> Self {
        Self { index, below: Below::new(root), mode_mask, open: Mutex::default() }
    }

    /// A file of one chunk: opened, written, closed; whole from then on.
    pub(super) fn write_whole(&self, entry: &FileEntry, data: &[u8]) -> io::Result<()> {
        let (folder, name) = split_path(&entry.path);
        let file = create_file(self.below.folder(folder)?, name, entry.mode)?;
        file.write_all_at(data, 0)?;
        if entry.mode & !self.mode_mask != 0 {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(u32::from(entry.mode)))?;
        }
        Ok(rustix::fs::futimens(&file, &timestamps(entry.mtime))?)
    }

    /// Makes an empty file.
    pub(super) fn make_empty(&self, path: &[u8], mode: u16, mtime: (i64, u32)) -> io::Result<()> {
        let (folder, name) = split_path(path);
        let file = create_file(self.below.folder(folder)?, name, mode)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(u32::from(mode)))?;
        Ok(rustix::fs::futimens(&file, &timestamps(mtime))?)
    }

    /// Gives a whole file its mode and time.
    pub(super) fn seal(&self, file: &File, entry: &FileEntry) -> io::Result<()> {
        rustix::fs::fchmod(file, Mode::from_raw_mode(u32::from(entry.mode)))?;
        Ok(rustix::fs::futimens(file, &timestamps(entry.mtime))?)
    }

    fn cached(&self, ordinal: u64) -> Option<Arc<File>> {
        let mut open = lock(&self.open);
        let at = open.iter().position(|(of, _)| *of == ordinal)?;
        let found = open.remove(at).expect("it was just found there");
        let file = found.1.clone();
        open.push_front(found);
        Some(file)
    }

    /// A file of several chunks; if nothing of it is had yet (`is_new`), it is made. The list's
    /// lock is held while it is opened, so that two threads do not make it twice.
    pub(super) fn open_for_writing(
        &self,
        entry: &FileEntry,
        is_new: bool,
    ) -> io::Result<Arc<File>> {
        if let Some(file) = self.cached(entry.ordinal) {
            return Ok(file);
        }
        let (folder, name) = split_path(&entry.path);
        let folder = self.below.folder(folder)?;
        let mut open = lock(&self.open);
        if let Some((_, file)) = open.iter().find(|(of, _)| *of == entry.ordinal) {
            return Ok(file.clone());
        }
        let ours = |file: &File| file.metadata().is_ok_and(|m| m.is_file() && m.nlink() == 1);
        let file = match open_file(&*folder, name, OFlags::RDWR) {
            Ok(file) if ours(&file) => file,
            // Not there, or not ours: a link that somebody planted, a leftover that cannot be
            // written.
            Ok(_) | Err(_) if is_new => create_file(&*folder, name, 0o600)?,
            Ok(_) => return Err(io::Error::other("somebody changed the partial download")),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() != entry.length_bytes {
            file.set_len(entry.length_bytes)?;
        }
        let file = Arc::new(file);
        open.push_front((entry.ordinal, file.clone()));
        open.truncate(OPEN_FILES);
        Ok(file)
    }

    pub(super) fn open_for_reading(&self, entry: &FileEntry) -> io::Result<Arc<File>> {
        if let Some(file) = self.cached(entry.ordinal) {
            return Ok(file);
        }
        let (folder, name) = split_path(&entry.path);
        let file = open_file(self.below.folder(folder)?, name, OFlags::RDONLY)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Arc::new(file))
    }

    /// Whether a file stands where it should, as long as it should be.
    pub(super) fn is_there(&self, path: &[u8], length_bytes: u64) -> bool {
        let (folder, name) = split_path(path);
        let Ok(folder) = self.below.folder(folder) else { return false };
        let there =
            rustix::fs::statat(&*folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
        there.is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_size as u64 == length_bytes
                && stat.st_nlink == 1
        })
    }

    /// A file that is not whole after all can be written again.
    pub(super) fn reopen(&self, entry: &FileEntry) -> io::Result<()> {
        lock(&self.open).retain(|(of, _)| *of != entry.ordinal);
        if let Ok(file) = self.open_for_reading(entry) {
            rustix::fs::fchmod(&*file, Mode::RUSR | Mode::WUSR)?;
        }
        Ok(())
    }
}
