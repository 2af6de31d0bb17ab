//! An older share of the same paths, read beside the new list, so that only what changed is hashed.

use std::cmp::Ordering;
use std::io;

use towpath_core::id::{Hash, Kind};
use towpath_core::manifest::{Decoder, What, compare_paths};
use towpath_core::merkle::TreeLayout;

use super::cache::Stored;
use super::list::{ListReader, Listed};
use crate::tree::{NODE_BYTES, NodeWriter, Section};

/// The list and manifest of an older share of the same paths, read side by side.
pub(crate) struct Old {
    list: ListReader,
    manifest: Section,
    read: u64,
    decoder: Decoder,
    tree: Section,
    /// The entry at hand, if it is a file: what was listed, its root, its first node.
    at: Option<(Listed, Hash, u64)>,
    next_node: u64,
    is_over: bool,
}

impl Old {
    pub(crate) fn new(stored: &Stored) -> Option<Self> {
        if stored.facts.descriptor.kind != Kind::Manifest {
            return None;
        }
        Some(Self {
            list: stored.list().read(),
            decoder: Decoder::new(stored.manifest().length).ok()?,
            manifest: stored.manifest().clone(),
            read: 0,
            tree: stored.tree(),
            at: None,
            next_node: 0,
            is_over: false,
        })
    }

    /// Finds nothing from now on.
    pub(crate) fn give_up(&mut self) {
        self.is_over = true;
    }

    /// The root and the first node of a file that has not changed. Asked for in the order of paths.
    pub(crate) fn find(&mut self, listed: &Listed) -> io::Result<Option<(Hash, u64)>> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            if let Some((old, root, node)) = &self.at {
                match compare_paths(&old.path, &listed.path) {
                    Ordering::Less => {}
                    Ordering::Equal if old.stat == listed.stat => {
                        return Ok(Some((*root, *node)));
                    }
                    Ordering::Equal | Ordering::Greater => return Ok(None),
                }
            }
            self.advance()?;
        }
    }

    /// Goes to the next file.
    fn advance(&mut self) -> io::Result<()> {
        let Some(listed) = self.list.next()? else {
            self.is_over = true;
            return Ok(());
        };
        let entry = loop {
            if let Some((_, _, entry)) = self.decoder.next_entry().map_err(io::Error::other)? {
                break entry;
            }
            let size = (self.manifest.length - self.read).min(64 * 1024) as usize;
            if size == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut bytes = vec![0; size];
            self.manifest.read_exact_at(&mut bytes, self.read)?;
            self.read += size as u64;
            self.decoder.push(&bytes);
        };
        self.at = None;
        if let What::File { length_bytes, root } = entry.what {
            let node = self.next_node;
            self.next_node += TreeLayout::new(length_bytes).nodes();
            if entry.path == listed.path && length_bytes == listed.stat.size {
                self.at = Some((listed, root, node));
            }
        }
        Ok(())
    }

    pub(crate) fn copy_nodes(
        &self,
        from: u64,
        count: u64,
        to: u64,
        nodes: &mut NodeWriter,
    ) -> io::Result<()> {
        let mut bytes = [0; 64 * NODE_BYTES as usize];
        let mut done = 0;
        while done < count {
            let step = (count - done).min(64);
            let piece = &mut bytes[..(step * NODE_BYTES) as usize];
            self.tree.read_exact_at(piece, (from + done) * NODE_BYTES)?;
            for (node, hash) in piece.as_chunks::<32>().0.iter().enumerate() {
                nodes.put(to + done + node as u64, Hash(*hash))?;
            }
            done += step;
        }
        Ok(())
    }
}
