//! Heavy work: reading, verifying and writing chunks, on two threads of our own.
//!
//! A job owns its buffer, and the buffer comes back with the result. The queue has no limit of its
//! own: sessions bound the reads, downloads bound the writes. What may take as long as it likes has
//! a thread of its own: a pipe whose reader stops, and the sync of what was written, now and then.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use futures_channel::mpsc::UnboundedSender;
use towpath_core::id::{ChunkRef, ContentKey, Descriptor, Hash, LinkId};
use towpath_core::merkle;
use towpath_core::node::{Input, StoreResult};
use towpath_core::session::ChunkFrame;
use towpath_core::wire::{RequestId, Unavailable};
use towpath_store::{Source, Target};

mod queue;

use self::queue::{Opened, Queue};
use crate::limits::{POOL_THREADS, SYNC_INTERVAL};
use crate::{link, node};

/// Where the chunks of a share or a download are.
pub enum Content {
    /// Something that is shared.
    Source(Arc<Source>),
    /// Something that is shared and lies elsewhere than in files: a function that fills the frame
    /// of a chunk and its proof. It runs on the pool, on several threads at once.
    Read(Arc<ReadChunk>),
    /// Something that is fetched into the store.
    Target(Arc<Target>),
    /// A file that is fetched into a pipe, in order; kept nowhere.
    Ordered {
        /// What it is, to verify its chunks.
        descriptor: Descriptor,
        /// Where its bytes go. Written by a thread of its own, flushed after each chunk.
        writer: Box<dyn Write + Send>,
    },
}

/// Reads a chunk in answer to a request, into a buffer that comes back with the frame.
pub type ReadChunk =
    dyn Fn(RequestId, ChunkRef, BytesMut) -> Result<ChunkFrame, Unavailable> + Send + Sync;

enum Entry {
    Source(Arc<Source>),
    Read(Arc<ReadChunk>),
    Target(Arc<Target>),
    Ordered { descriptor: Descriptor, pipe: Sender<(ChunkRef, BytesMut)> },
}

/// One piece of work, and whom to tell.
pub(crate) enum Job {
    Read {
        request: RequestId,
        content: ContentKey,
        chunk: ChunkRef,
        buffer: BytesMut,
        reply: UnboundedSender<link::Word>,
    },
    Store {
        content: ContentKey,
        chunk: ChunkRef,
        link: LinkId,
        proof: Vec<Hash>,
        data: BytesMut,
    },
}

type Contents = Arc<RwLock<BTreeMap<ContentKey, Arc<Entry>>>>;

/// The threads end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Pool {
    jobs: Arc<Opened<Job>>,
    contents: Contents,
    node: UnboundedSender<node::Word>,
    /// Never sent on: the thread that syncs ends with it.
    _syncing: Sender<()>,
}

impl Pool {
    pub(crate) fn start(node: UnboundedSender<node::Word>) -> io::Result<Self> {
        let jobs = Arc::new(Opened::new(POOL_THREADS));
        let contents = Contents::default();
        for number in 0..POOL_THREADS {
            let (queue, contents, node) = (jobs.queue(), contents.clone(), node.clone());
            let name = format!("towpath-pool-{number}");
            thread::Builder::new().name(name).spawn(move || work(&queue, &contents, &node))?;
        }
        let (_syncing, end) = bounded(0);
        let (targets, to_node) = (contents.clone(), node.clone());
        let name = "towpath-sync".into();
        thread::Builder::new().name(name).spawn(move || sync(&end, &targets, &to_node))?;
        Ok(Self { jobs, contents, node, _syncing })
    }

    pub(crate) fn submit(&self, job: Job) {
        self.jobs.put(job);
    }

    /// From now on `key` means this.
    pub(crate) fn register(&self, key: ContentKey, content: Content) -> io::Result<()> {
        let entry = match content {
            Content::Source(source) => Entry::Source(source),
            Content::Read(read) => Entry::Read(read),
            Content::Target(target) => Entry::Target(target),
            Content::Ordered { descriptor, writer } => {
                let (pipe, chunks) = unbounded();
                let node = self.node.clone();
                thread::Builder::new()
                    .name("towpath-pipe".into())
                    .spawn(move || deliver(key, writer, &chunks, &node))?;
                Entry::Ordered { descriptor, pipe }
            }
        };
        self.contents.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(entry));
        Ok(())
    }

    /// From now on `key` means nothing; jobs under way are done first.
    pub(crate) fn forget(&self, key: ContentKey) {
        self.contents.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// From now on no key means anything. May block: a target that nobody else holds is synced.
    pub(crate) fn forget_all(&self) {
        let contents = &mut *self.contents.write().unwrap_or_else(PoisonError::into_inner);
        drop(std::mem::take(contents));
    }

    /// Hands verified bytes to the pipe of `key`.
    pub(crate) fn deliver(&self, key: ContentKey, chunk: ChunkRef, data: BytesMut) {
        if let Some(Entry::Ordered { pipe, .. }) = find(&self.contents, key).as_deref() {
            // A pipe whose reader is gone has said so already.
            let _ = pipe.send((chunk, data));
        }
    }
}

fn find(contents: &Contents, key: ContentKey) -> Option<Arc<Entry>> {
    contents.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
}

fn work(queue: &Queue<Job>, contents: &Contents, node: &UnboundedSender<node::Word>) {
    // Whoever asked may be gone by the time a job is done; then nobody needs the answer.
    while let Some(job) = queue.take() {
        match job {
            Job::Read { request, content, chunk, buffer, reply } => {
                let result = match find(contents, content).as_deref() {
                    Some(Entry::Source(source)) => source.read_chunk(request, chunk, buffer),
                    Some(Entry::Read(read)) => read(request, chunk, buffer),
                    Some(Entry::Target(target)) => target.read_chunk(request, chunk, buffer),
                    Some(Entry::Ordered { .. }) | None => Err(Unavailable::Withdrawn),
                };
                let _ = reply.unbounded_send(link::Word::ChunkRead { request, result });
            }
            Job::Store { content, chunk, link, proof, data } => {
                let entry = find(contents, content);
                let (result, buffer) = store(entry.as_deref(), chunk, &proof, data);
                let input = Input::ChunkStored { content, chunk, link, result, buffer };
                let _ = node.unbounded_send(node::Word::Input(input));
            }
        }
    }
}

fn store(
    entry: Option<&Entry>,
    chunk: ChunkRef,
    proof: &[Hash],
    data: BytesMut,
) -> (StoreResult, BytesMut) {
    let result = match entry {
        Some(Entry::Target(target)) => target.store_chunk(chunk, proof, &data),
        Some(Entry::Ordered { descriptor, .. }) => {
            let Descriptor { root, length_bytes, .. } = *descriptor;
            // spec C9: only what is proven is handed on
            if merkle::verify_chunk(root, length_bytes, chunk.index, proof, &data) {
                // The bytes stay in the buffer: the node hands them to the pipe when it is their
                // turn.
                return (StoreResult::Written, data);
            }
            StoreResult::False
        }
        Some(Entry::Source(_) | Entry::Read(_)) | None => {
            StoreResult::Failed("the download was stopped".into())
        }
    };
    // With its length kept: only what is beyond it would have to be zeroed for the next chunk.
    (result, data)
}

fn deliver(
    content: ContentKey,
    mut writer: Box<dyn Write + Send>,
    chunks: &Receiver<(ChunkRef, BytesMut)>,
    node: &UnboundedSender<node::Word>,
) {
    for (chunk, buffer) in chunks {
        if let Err(error) = writer.write_all(&buffer).and_then(|()| writer.flush()) {
            let why = format!("cannot write to the output: {error}");
            let broken = Input::StoreBroke { content, why };
            let _ = node.unbounded_send(node::Word::Input(broken));
            return;
        }
        let _ = node.unbounded_send(node::Word::Input(Input::Delivered { content, chunk, buffer }));
    }
}

fn sync(end: &Receiver<()>, contents: &Contents, node: &UnboundedSender<node::Word>) {
    while end.recv_timeout(SYNC_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let entries: Vec<_> = {
            let contents = contents.read().unwrap_or_else(PoisonError::into_inner);
            contents.iter().map(|(key, entry)| (*key, entry.clone())).collect()
        };
        for (key, entry) in entries {
            if let Entry::Target(target) = &*entry
                && let Err(error) = target.sync()
            {
                let broken = Input::StoreBroke { content: key, why: error.message };
                let _ = node.unbounded_send(node::Word::Input(broken));
            }
        }
    }
}
