//! Limits of the runtimes, with unit and reason.

use std::time::Duration;

use towpath_core::limits::{CHUNK_BYTES, MAX_READS_PER_SESSION, MAX_SEND_BACKLOG_BYTES};

/// Threads of the pool: one hashes while the other writes.
pub const POOL_THREADS: usize = 2;
/// How often what was written is synced: what a power cut may cost to hash again.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Slices of one vectored write; the kernel takes up to 1,024.
pub const WRITE_SLICES: usize = 64;
/// Buffers of chunks that are on their way between the disk and the stream of a busy link.
pub const SPARE_FRAMES: usize = MAX_READS_PER_SESSION + MAX_SEND_BACKLOG_BYTES / CHUNK_BYTES;
/// Words that a task takes before it lets others run.
pub const BATCH_WORDS: usize = 256;
/// How long a stream that is to be closed may take to send its last bytes and to see the other
/// end's.
pub const CLOSING: Duration = Duration::from_secs(2);
/// How long TCP and TLS to a tracker may take.
pub const CONNECTING: Duration = Duration::from_secs(5);
/// How long a whole call to a tracker may take.
pub const CALLING: Duration = Duration::from_secs(10);
/// Calls to a tracker at once, so that a slow one stops nobody; the node makes about as many.
pub const MAX_CALLS: usize = 16;
/// Connections to a tracker that are kept between calls: calls come alone or in pairs.
pub const MAX_KEPT_CONNECTIONS: usize = 2;
/// Bytes of the head of an HTTP answer: twice what common servers send at most.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Lines of the head of an HTTP answer.
pub const MAX_HEADERS: usize = 100;
/// Streams that the kernel holds until we take them.
pub const LISTEN_BACKLOG: i32 = 256;
/// Streams that we took and the node has not looked at yet; the others wait in the kernel.
pub const MAX_WAITING_STREAMS: usize = 16;
/// How long to leave the kernel alone when it has no socket left for us.
pub const LISTEN_REST: Duration = Duration::from_millis(100);
/// What one read of the WebSocket takes at most, and what is gathered before one write: two whole
/// frames.
pub const WEBSOCKET_BUFFER_BYTES: usize = 128 * 1024;
