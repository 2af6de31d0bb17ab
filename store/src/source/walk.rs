//! Walking what is shared, depth first, siblings sorted: in memory is one list of names a level.
//!
//! What a manifest cannot carry is left out and counted. A link is carried only if it leads to an
//! entry of the same share; that is found out here, on the disk, by the same steps by which a
//! receiver finds it out in the manifest.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, Dir, FileType};
use rustix::io::Errno;
use towpath_core::limits::{MAX_PATH_BYTES, MAX_PATH_DEPTH};

use super::base::{Base, open_base};
use super::list::{Found, ListWriter, Listed, Stat};
use super::{Prepared, Skipped};
use crate::error::Error;
use crate::index::{Step, leads_to_entry};
use crate::limits::{MAX_LINK_HOPS, PROGRESS_INTERVAL};
use crate::paths::open_folder;

/// One walk.
pub(crate) struct Walk<'a> {
    base: &'a Base,
    /// Device and inode of our own data folder, which holds keys.
    own: Option<(u64, u64)>,
    list: ListWriter,
    skipped: Skipped,
    seen: Prepared,
    newest_change: (i64, u32),
    progress: &'a mut dyn FnMut(Prepared),
    last_report: Option<Instant>,
}

/// What a walk found, beside the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walked {
    pub(crate) skipped: Skipped,
    pub(crate) seen: Prepared,
    /// When a file changed last.
    pub(crate) newest_change: (i64, u32),
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        base: &'a Base,
        own: Option<(u64, u64)>,
        list: ListWriter,
        progress: &'a mut dyn FnMut(Prepared),
    ) -> Self {
        Self {
            base,
            own,
            list,
            skipped: Skipped::default(),
            seen: Prepared::default(),
            newest_change: (0, 0),
            progress,
            last_report: None,
        }
    }

    /// Walks everything.
    pub(crate) fn run(mut self) -> Result<(ListWriter, Walked), Error> {
        self.report();
        match self.base {
            Base::File(path) => self.named(path.as_os_str().as_bytes(), b"")?,
            Base::Folder { path, .. } => self.named(path.as_os_str().as_bytes(), b"")?,
            Base::Several(tops) => {
                for top in tops {
                    self.named(top.path.as_os_str().as_bytes(), &top.name)?;
                }
            }
        }
        (self.progress)(self.seen);
        let Self { list, skipped, seen, newest_change, .. } = self;
        Ok((list, Walked { skipped, seen, newest_change }))
    }

    fn report(&mut self) {
        if self.last_report.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            self.last_report = Some(Instant::now());
            (self.progress)(self.seen);
        }
    }

    /// A file or folder that the command line named.
    fn named(&mut self, on_disk: &[u8], path: &[u8]) -> Result<(), Error> {
        let on_disk = OsStr::from_bytes(on_disk);
        let stat = rustix::fs::statat(CWD, on_disk, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::at("share", on_disk.as_ref()))?;
        let mut path = path.to_vec();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.put(&path, Found::Folder, &stat)?;
                let folder = open_base(on_disk.as_ref())?;
                self.folder(&folder, &mut path)
            }
            FileType::RegularFile => self.put(&path, Found::File, &stat),
            _ => Err(Error::changed(on_disk.as_ref())),
        }
    }

    // spec C22: each folder has its entry
    fn folder(&mut self, folder: &OwnedFd, path: &mut Vec<u8>) -> Result<(), Error> {
        let names = Names::read(folder)
            .map_err(|error| Error::io("read", &self.base.on_disk(path), &error))?;
        let length = path.len();
        for name in names.iter() {
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            self.entry(folder, name, path)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, parent: &OwnedFd, name: &[u8], path: &mut Vec<u8>) -> Result<(), Error> {
        self.report();
        let os_name = OsStr::from_bytes(name);
        let stat = match rustix::fs::statat(parent, os_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It went away since its folder was read.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.cannot_read(path, error.into())),
        };
        if path.len() > MAX_PATH_BYTES || path.split(|b| *b == b'/').count() > MAX_PATH_DEPTH {
            let at = self.base.on_disk(path);
            let message = format!("{} has too long a path to be shared", at.display());
            return Err(Error::new("manifest", message));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if self.own == Some((stat.st_dev, stat.st_ino)) => {
                self.skipped.special += 1;
                Ok(())
            }
            FileType::Directory => {
                self.put(path, Found::Folder, &stat)?;
                let folder = open_folder(parent, name);
                let folder = folder.map_err(|error| self.cannot_read(path, error))?;
                self.folder(&folder, path)
            }
            FileType::RegularFile => self.put(path, Found::File, &stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, os_name, Vec::new());
                let target = target.map_err(|error| self.cannot_read(path, error.into()))?;
                let target = target.into_bytes();
                if self.is_carried(path, &target).map_err(|e| self.cannot_read(path, e))? {
                    self.put(path, Found::Link(target), &stat)
                } else {
                    self.skipped.links += 1;
                    Ok(())
                }
            }
            _ => {
                self.skipped.special += 1;
                Ok(())
            }
        }
    }

    fn cannot_read(&self, path: &[u8], error: io::Error) -> Error {
        Error::io("read", &self.base.on_disk(path), &error)
    }

    fn put(&mut self, path: &[u8], found: Found, stat: &rustix::fs::Stat) -> Result<(), Error> {
        let full = Stat::from_system(stat);
        let is_link = matches!(found, Found::Link(_));
        let stat_kept = match found {
            Found::File => {
                self.seen.files += 1;
                self.seen.total_bytes += full.size;
                self.newest_change = self.newest_change.max(full.ctime);
                full
            }
            // What else changes in a folder shows in its entries.
            Found::Folder | Found::Link(_) => Stat { mtime: full.mtime, ..Stat::default() },
        };
        if !is_link && stat.st_mode & 0o7000 != 0 {
            self.skipped.mode_bits += 1;
        }
        let mode = if is_link { 0o777 } else { (stat.st_mode & 0o777) as u16 };
        let entry = Listed { path: path.to_vec(), mode, found, stat: stat_kept };
        self.list
            .push(&entry)
            .map_err(|error| Error::io("write the cache for", &self.base.on_disk(path), &error))
    }

    /// Whether the link at `path` leads, maybe over other links, to a file or folder of the share.
    fn is_carried(&self, path: &[u8], target: &[u8]) -> io::Result<bool> {
        let (mut path, mut target) = (path.to_vec(), target.to_vec());
        // Several paths stand side by side in the share; on the disk they may not.
        let home = self.base.top(&path).map(|(top, _)| top);
        let look = |path: &[u8]| -> io::Result<Option<Step>> {
            if let Some(home) = home {
                match self.base.top(path) {
                    Some((top, _)) if top.name == home.name || top.within == home.within => {}
                    _ => return Ok(None),
                }
            }
            self.look(path)
        };
        for _ in 0..MAX_LINK_HOPS {
            let Some(goal) = leads_to_entry(&path, &target, look)? else { return Ok(false) };
            if goal.is_empty() {
                return Ok(home.is_none());
            }
            match look(&goal)? {
                Some(Step::Link(next)) => (path, target) = (goal, next),
                Some(Step::File | Step::Folder) => return Ok(true),
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// What stands at `path` of the share, no link on the way followed.
    fn look(&self, path: &[u8]) -> io::Result<Option<Step>> {
        let (at, below) = match self.base {
            Base::File(_) => return Ok(None),
            Base::Folder { folder, .. } => (folder.as_fd(), path),
            Base::Several(_) => match self.base.top(path) {
                None => return Ok(None),
                Some((top, b"")) => {
                    return Ok(Some(if top.is_folder { Step::Folder } else { Step::File }));
                }
                Some((top, _)) if !top.is_folder => return Ok(None),
                Some((top, below)) => {
                    let folder = rustix::fs::openat(
                        CWD,
                        &top.path,
                        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
                        rustix::fs::Mode::empty(),
                    )?;
                    return self.look_below(folder.as_fd(), below);
                }
            },
        };
        self.look_below(at, below)
    }

    fn look_below(&self, at: std::os::fd::BorrowedFd<'_>, path: &[u8]) -> io::Result<Option<Step>> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(i, _)| i);
        for end in slashes.chain([path.len()]) {
            let name = OsStr::from_bytes(&path[..end]);
            let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            let last = end == path.len();
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if self.own == Some((stat.st_dev, stat.st_ino)) => {
                    return Ok(None);
                }
                FileType::Directory if last => return Ok(Some(Step::Folder)),
                FileType::Directory => {}
                FileType::RegularFile if last => return Ok(Some(Step::File)),
                FileType::Symlink if last => {
                    let target = rustix::fs::readlinkat(at, name, Vec::new())?;
                    return Ok(Some(Step::Link(target.into_bytes())));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// The names in a folder, sorted by their bytes, in one piece of memory.
struct Names {
    bytes: Vec<u8>,
    /// Where each name begins and ends.
    places: Vec<(u32, u32)>,
}

impl Names {
    fn read(folder: &OwnedFd) -> io::Result<Self> {
        let mut names = Self { bytes: Vec::new(), places: Vec::new() };
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let start = u32::try_from(names.bytes.len()).map_err(io::Error::other)?;
            names.bytes.extend_from_slice(name);
            let end = u32::try_from(names.bytes.len()).map_err(io::Error::other)?;
            names.places.push((start, end));
        }
        let bytes = &names.bytes;
        let name = |&(start, end): &(u32, u32)| &bytes[start as usize..end as usize];
        names.places.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        Ok(names)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|(start, end)| &self.bytes[*start as usize..*end as usize])
    }
}
