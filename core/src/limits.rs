//! Every numeric limit of the core, with its unit and its reason. Nothing is unlimited.

use core::time::Duration;

/// A chunk: the unit of request, proof and blame. 256 KiB amortises a request and its proof, and is
/// what the founding system cut files into.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// A leaf of the Merkle tree (BEP 52).
pub const LEAF_BYTES: usize = 16 * 1024;
/// Leaves of a whole chunk.
pub const LEAVES_PER_CHUNK: usize = CHUNK_BYTES / LEAF_BYTES;
/// The longest file: 2^48 bytes (256 TiB); keeps every sum of a share far from overflow.
pub const MAX_FILE_BYTES: u64 = 1 << 48;
/// The most hashes in a chunk's proof: log2 of the chunks of the longest file.
pub const MAX_PROOF_HASHES: usize = 30;
/// The most chunks in a share: bounds its have-set to 8 MiB and its rarity table to 128 MiB.
pub const MAX_SHARE_CHUNKS: u64 = 1 << 26;
/// The most entries of a manifest: a million entries must work, a billion must not be tried.
pub const MAX_MANIFEST_ENTRIES: u64 = 1 << 23;
/// The longest manifest: 2 GiB.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 31;
/// The longest path in a manifest: below PATH_MAX (4,096) with room for the target's own folder.
pub const MAX_PATH_BYTES: usize = 3_072;
/// The longest component of a path: NAME_MAX of every common file system.
pub const MAX_NAME_BYTES: usize = 255;
/// The deepest path in components.
pub const MAX_PATH_DEPTH: usize = 128;
/// The longest entry of a manifest in bytes: a link with the longest path and the longest target. A
/// store that reads one entry at its offset reads so much at most.
pub const MAX_MANIFEST_ENTRY_BYTES: usize = 15 + 2 + MAX_PATH_BYTES + 2 + MAX_PATH_BYTES;
/// The longest base URL of a tracker in a link: a host name has at most 253 bytes.
pub const MAX_TRACKER_URL_BYTES: usize = 512;

/// A Noise message, hence a record's ciphertext (Noise specification, section 3).
pub const MAX_RECORD_BYTES: usize = 65_535;
/// The authentication tag of both AEADs.
pub const TAG_BYTES: usize = 16;
/// The most plaintext in a record.
pub const MAX_RECORD_PLAINTEXT_BYTES: usize = MAX_RECORD_BYTES - TAG_BYTES;
/// Records in one direction between two rekeys; 2^20 × 64 KiB = 64 GiB. Few in a world with planted
/// faults, so that it gets there.
pub const REKEY_RECORDS: u64 = if crate::HAS_PLANTED_FAULTS { 1 << 7 } else { 1 << 20 };
/// Body bytes of a chunk that may share the record of its header, unless all of it fits: they are
/// copied once more on arrival, and 256 KiB is 68 bytes more than four whole records.
pub const MAX_BODY_BESIDE_HEADER_BYTES: usize = 4 * 1024;
/// The longest frame other than a chunk.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;
/// Chunks that one `Have` frame tells of: 4 KiB of bits.
pub const MAX_HAVE_BITS: usize = 32 * 1024;

/// A link must have completed its handshake within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle link says something this often.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A link that says nothing for so long is dead.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(40);
/// Bytes that a session may have handed to its stream and not yet seen confirmed, before it hands
/// over a chunk and with it: seven chunks in records. Messages may go beyond it, within their own
/// [`MAX_CONTROL_BACKLOG_BYTES`].
pub const MAX_SEND_BACKLOG_BYTES: usize = 2 * 1024 * 1024;
/// Chunk reads that a session has under way at once, so that disk and socket overlap.
pub const MAX_READS_PER_SESSION: usize = 4;
/// Requests that a session takes from its peer before it has answered some: a bandwidth-delay
/// product of 10 Gbit/s at 200 ms would be 953.
pub const MAX_INCOMING_REQUESTS: usize = 1_024;
/// What a session asks its stream for at once: one chunk in records, with the longest proof.
pub const READ_BYTES: usize = 272 * 1024;
/// The same while no chunk is awaited, so that an idle link needs no large buffer.
pub const IDLE_READ_BYTES: usize = 16 * 1024;
/// Free chunk buffers that a busy session keeps for the next chunks (4 MiB): about as many are on
/// their way between cipher and disk.
pub const MAX_SPARE_CHUNK_BUFFERS: usize = 16;
/// Everything that a session may have handed to its stream beyond chunks: the have-set of the
/// largest share (8 MiB), and room.
pub const MAX_CONTROL_BACKLOG_BYTES: usize = 10 * 1024 * 1024;
/// Answers to a peer's questions that it has not read yet; one that asks and never reads is
/// dropped.
pub const MAX_ANSWER_BACKLOG_BYTES: usize = 256 * 1024;
/// Requests of ours that a peer has not answered, cancelled ones included: as many as it must take.
/// More wait in the session.
pub const MAX_OUTGOING_REQUESTS: usize = MAX_INCOMING_REQUESTS;
/// How often a session says how far a chunk has come, so that slow is not dead.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Shares opened by one peer in one session.
pub const MAX_OPEN_SHARES_PER_SESSION: usize = 64;

/// All chunk bytes of one download that are requested or not yet stored. Bounds memory, and the
/// bandwidth-delay product that can be filled: 48 MiB is 1 Gbit/s at 400 ms.
pub const MAX_OUTSTANDING_BYTES: u64 = 48 * 1024 * 1024;
/// Chunks asked of a peer that has not proven one yet.
pub const UNPROVEN_PIPELINE_CHUNKS: usize = 1;
/// Chunks asked of a proven peer at the start, before its rate is known.
pub const INITIAL_PIPELINE_CHUNKS: usize = 8;
/// A request without any progress for this long is asked elsewhere.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The same while the download limit holds requests back: they may not have gone out yet.
pub const LIMITED_REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Sessions of one download.
pub const MAX_PEERS_PER_DOWNLOAD: usize = 64;
/// What a proven peer is asked for at least, if its rate carries it: with small files eight chunks
/// would be a few kilobytes, and each round trip would be paid for nothing.
pub const MIN_PIPELINE_BYTES: u64 = 2 * 1024 * 1024;
/// How many bandwidth-delay products a peer is asked for. Two: while the pipe is not full the
/// window doubles with each round trip; once it is full, one more waits at the seeder.
pub const PIPELINE_GAIN: u64 = 2;
/// A peer is asked for no more than it delivers in this time, beyond its bandwidth-delay products,
/// so that a slow peer does not sit on chunks that a fast one could bring.
pub const PIPELINE_QUEUE_TIME: Duration = Duration::from_secs(2);
/// A least round trip that was not seen again for so long (and for 32 round trips) is measured anew
/// with a short pipeline: the path may have changed.
pub const ROUND_TRIP_LIFETIME: Duration = Duration::from_secs(10);
/// The best delivery rate is kept for one to two of these (and at least 8 round trips).
pub const RATE_LIFETIME: Duration = Duration::from_secs(1);
/// Chunk bytes that may wait for the disk although nothing is on its way. More only as much as is
/// on its way; keeps the buffers of a fast link in the processor's cache.
pub const STORE_BACKLOG_BYTES: u64 = 4 * 1024 * 1024;
/// Chunks of one peer's answers "unavailable" that are remembered; after more it rests.
pub const MAX_LACKING_CHUNKS: usize = 64;
/// How long a peer is not asked again for a chunk that it could not read, or for anything after too
/// many such answers.
pub const UNAVAILABLE_RETRY: Duration = Duration::from_secs(10);
/// Links of a download that were dropped, remembered so that they are not used again.
pub const MAX_DROPPED_LINKS: usize = 1_024;
/// How long a peer that let a request time out rests, if there are others, times its strikes.
pub const SILENT_REST: Duration = Duration::from_secs(5);
/// Timeouts in a row after which a silent peer is dropped, if another one delivers.
pub const MAX_SILENT_STRIKES: u32 = 3;
/// When a chunk that our disk refused is asked for again.
pub const STORE_RETRY: Duration = Duration::from_secs(5);
/// Chunks that are asked of a second peer at the end, at any one time: bounds the waste to 4 MiB.
pub const MAX_ENDGAME_COPIES: usize = 16;
/// In all, one chunk of so many may be asked of a second peer, beside the last ones: bounds the
/// waste of a download to 1.6 % and 4 MiB.
pub const ENDGAME_COPIES_DIVISOR: u64 = 64;
/// How often an idle peer looks whether it could bring a chunk sooner than the one that was asked.
pub const ENDGAME_INTERVAL: Duration = Duration::from_millis(250);
/// A peer that has been silent for so long, times one and its strikes, makes way for an idle one
/// that can bring what it was asked: two round trips over a bad path, and a crowd of 64 is through
/// in three minutes, two at a time.
pub const ENDGAME_PATIENCE: Duration = Duration::from_secs(5);
/// What an unknown peer is assumed to need for a chunk, for that comparison.
pub const UNKNOWN_CHUNK_TIME: Duration = Duration::from_secs(1);
/// Best candidates that are kept sorted for a peer; one pass over all chunks finds so many.
pub const MAX_CANDIDATES: usize = 512;
/// What a rate limit lets pass at once after a pause, at least one chunk.
pub const LIMITER_BURST: Duration = Duration::from_millis(100);
/// Verified bytes that wait in memory for their turn on an ordered output.
pub const MAX_ORDERED_BYTES: u64 = 12 * 1024 * 1024;

/// The founding documents' path policy: time between two dials of one peer's addresses.
pub const DIAL_STAGGER: Duration = Duration::from_millis(250);
/// The founding documents' path policy: all dials of one peer together, handshake included.
pub const DIRECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The puncher's share of the path policy, once there is a puncher.
pub const PUNCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a path chooser waits until we are logged in at the relay: a few of its reconnects.
pub const RELAY_READY_TIMEOUT: Duration = Duration::from_secs(15);
/// A circuit must be accepted and its handshake complete within this time.
pub const CIRCUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause before a lost circuit is opened again; doubles, with jitter, up to the longest.
pub const CIRCUIT_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
pub const CIRCUIT_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Circuits in a row that fail after one was lost before a chooser gives up: about a minute.
pub const MAX_CIRCUIT_RETRIES: u32 = 6;
/// Addresses of one peer that are dialled.
pub const MAX_ADDRESSES_PER_PEER: usize = 16;
/// Inbound links in handshake, in total.
pub const MAX_HALF_OPEN_LINKS: usize = 256;
/// Inbound links in handshake from one IP address, or, on circuits, from one key.
pub const MAX_HALF_OPEN_LINKS_PER_IP: usize = 16;
/// Sessions of a node.
pub const MAX_SESSIONS: usize = 1_024;
/// Bytes of false chunks, and of those that came only when others had brought them after
/// [`REQUEST_TIMEOUT`], after which a key is left alone, whatever its instance: 16 chunks. What it
/// was asked for by then may still come: [`MAX_OUTSTANDING_BYTES`] at most.
pub const MAX_WASTED_BYTES_PER_PEER: u64 = 4 * 1024 * 1024;
/// The same for an IP address (IPv6: one /64), whatever its keys: 32 chunks. Some of many people
/// behind one NAT may lie.
pub const MAX_WASTED_BYTES_PER_IP: u64 = 8 * 1024 * 1024;
/// The same in total, relayed peers included, whose addresses nobody knows: after that strangers
/// are tried one at a time.
pub const MAX_WASTED_BYTES: u64 = 64 * 1024 * 1024;
/// The time between two of them then: a stranger wastes one chunk at most, 25 kB/s.
pub const WASTE_PAUSE: Duration = Duration::from_secs(10);
/// What was wasted is forgotten after this time.
pub const WASTE_MEMORY: Duration = Duration::from_secs(3_600);
/// Keys, and addresses, that wasted something and are remembered.
pub const MAX_WASTERS: usize = 4_096;
/// Strangers may hold so many links of a node, so that its own dials always find room.
pub const MAX_INCOMING_LINKS: usize = 768;
/// Peers of a download that were dropped for good and are remembered, beside the candidates.
pub const MAX_BANNED_PER_DOWNLOAD: usize = 1_024;

/// Peers that are taken from one answer of a tracker: three times what a download connects to.
pub const MAX_LOOKUP_PEERS: usize = 200;
/// Shares that one instance announces; its heartbeat names them all in 280 KiB.
pub const MAX_SHARES_PER_INSTANCE: usize = 4_096;
/// Chunks that a founding client lists in an announce: 16 GiB of its 256 KiB chunks, 8 MiB of JSON.
pub const MAX_ANNOUNCED_CHUNKS: usize = 65_536;
/// Characters of a tracker's refusal that are shown.
pub const MAX_REFUSAL_CHARS: usize = 300;
/// A busy tracker that names no time is asked again after so many seconds.
pub const DEFAULT_RETRY_AFTER_SECONDS: u32 = 10;
/// The longest that a tracker can send us away, in seconds: a lie must not last a day.
pub const MAX_RETRY_AFTER_SECONDS: u32 = 300;

/// Shares and downloads of one node: bounds its heartbeats (each names all locators).
pub const MAX_CONTENTS: usize = 1_024;
/// Sessions from one IP address (IPv6: one /64), or, on circuits, from one key. Many people sit
/// behind one NAT.
pub const MAX_SESSIONS_PER_IP: usize = 64;
/// Inbound handshakes begun in a second, in total: an X25519 exchange costs about 100 µs.
pub const MAX_HANDSHAKES_PER_SECOND: u32 = 512;
/// Inbound handshakes begun in a second from one IP address, or, on circuits, from one key.
pub const MAX_HANDSHAKES_PER_SECOND_PER_IP: u32 = 32;
/// Refused openings of one session: who guesses locators is shown the door.
pub const MAX_REFUSED_OPENS_PER_SESSION: u32 = 64;
/// Bytes of have-bits that one session's openings may ask for: twice the largest have-set.
pub const MAX_HAVE_BYTES_PER_SESSION: u64 = 16 * 1024 * 1024;
/// Bytes of have-bits kept for one peer and space before the length of that space is known: 512 GiB
/// of chunks. What goes beyond is forgotten: the peer then seems to lack those chunks.
pub const MAX_EARLY_HAVE_BYTES: usize = 256 * 1024;
/// Chunks that a session was told to serve and has not served: as many as its reads, and the next.
pub const MAX_SERVES_PER_LINK: usize = 8;
/// What a chunk costs its receiver's share of the upload beside its bytes: reading it, its proof.
pub const SERVE_COST_BYTES: u64 = 1_024;
/// False first chunks of peers that came by themselves, after which a download asks nobody in
/// return any more: keys are free, and this bounds what they waste to 2 MiB.
pub const MAX_LIES_IN_RETURN: u32 = 8;
/// New chunks are told to receivers at once when so many wait; a timer tells fewer.
pub const MAX_UNTOLD_CHUNKS: usize = 8 * 1024;
/// Receivers of one share that are counted.
pub const MAX_RECEIVERS_PER_SHARE: usize = 4_096;
/// Peers that a download knows of, tried or not.
pub const MAX_CANDIDATES_PER_DOWNLOAD: usize = 256;
/// Peers of one download that are being connected to at once: a tracker may name dead ones only.
pub const MAX_CONNECTING_PER_DOWNLOAD: usize = 16;
/// Links that are being opened by us, of all downloads.
pub const MAX_DIALS: usize = 512;
/// Instances that sent a false chunk and are remembered.
pub const MAX_BANNED: usize = 4_096;
/// Announcements under way at once.
pub const MAX_ANNOUNCES_AT_ONCE: usize = 8;

/// A seeder must answer an `Open` within this time.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// A link that is used for nothing is closed after this time.
pub const IDLE_LINK_TIMEOUT: Duration = Duration::from_secs(30);
/// A superseded link on the same path is closed after this time, used or not.
pub const RETIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a shutdown waits for goodbyes and for the tracker.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Receivers and new chunks are told of this often at most.
pub const TELL_INTERVAL: Duration = Duration::from_millis(250);
/// The tracker is asked again: at first, and at last, while nobody is online.
pub const LOOKUP_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// See [`LOOKUP_INTERVAL_MIN`].
pub const LOOKUP_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The tracker is asked for more peers so soon after the first one is there, and then after pauses
/// that double: those who begin together find each other before much is sent twice.
pub const LOOKUP_INTERVAL_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
pub const LOOKUP_INTERVAL_BUSY: Duration = Duration::from_secs(15);
/// The first and the longest wait after a failed call to the tracker.
pub const TRACKER_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// See [`TRACKER_BACKOFF_MIN`].
pub const TRACKER_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Heartbeats, where the tracker named no pace: the founding system's.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// No tracker may make us say heartbeats more often than this.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
/// Nor more rarely: it would forget us, and we would not see that it has.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(600);
/// The first and the longest rest of a peer that could not be reached or refused the share.
pub const PEER_REST_MIN: Duration = Duration::from_secs(2);
/// See [`PEER_REST_MIN`].
pub const PEER_REST_MAX: Duration = Duration::from_secs(60);
/// A tracker without a login for so long is trouble that people should hear of.
pub const LOGIN_PATIENCE: Duration = Duration::from_secs(5);

/// Payload of a relay's data frame: what the prototypes' relays moved best, and what a bus takes.
pub const MAX_RELAY_PAYLOAD_BYTES: usize = 64 * 1024;
/// A sealed control message or a handshake message of the relay; the longest is a third of it.
pub const MAX_RELAY_CONTROL_BYTES: usize = 512;
/// A login's token; ours are 107 characters long.
pub const MAX_RELAY_TOKEN_BYTES: usize = 256;
/// The `Host` header in a relay handshake's prologue: a DNS name, a colon and a port.
pub const MAX_RELAY_HOST_BYTES: usize = 264;
/// What a data frame takes of the hub's window beside its payload: what the hub's tables hold for
/// it, so that frames of one byte cannot cost the hub more memory than they were granted.
pub const RELAY_FRAME_COST_BYTES: usize = 256;
/// Both windows of a circuit at its start: 1 Gbit/s at 4 ms, and five doublings from the largest.
pub const RELAY_WINDOW_START_BYTES: usize = 512 * 1024;
/// Either window of a circuit at its largest: 1 Gbit/s at 134 ms.
pub const RELAY_WINDOW_MAX_BYTES: usize = 16 * 1024 * 1024;
/// What the hub always keeps for one direction of a circuit, so that no circuit ever stands still.
pub const RELAY_HUB_WINDOW_MIN_BYTES: usize = 16 * 1024;
/// The most credit that is saved up before it is sent.
pub const RELAY_CREDIT_STEP_BYTES: usize = 1024 * 1024;
/// Round trips are taken to be at least this long: below it the clock shows scheduling, not
/// distance.
pub const RELAY_RTT_MIN: Duration = Duration::from_millis(5);
/// Round trips are taken to be at most this long.
pub const RELAY_RTT_MAX: Duration = Duration::from_secs(1);
/// How often the hub looks whether a circuit uses the window that it has.
pub const RELAY_WINDOW_CHECK: Duration = Duration::from_secs(5);
/// Bytes that hub or client hand to one socket before it has taken some: one write's worth, so that
/// turns and control frames are decided in the machine and not in a queue behind it.
pub const RELAY_BACKLOG_BYTES: usize = 512 * 1024;
/// No more than the socket takes in this time, so that a sign of life, a call or a handshake is
/// never behind much; 512 KiB are reached at 2 MB/s.
pub const RELAY_BACKLOG_TIME: Duration = Duration::from_millis(250);
/// But so much however slow it is: a few packets.
pub const RELAY_BACKLOG_MIN_BYTES: usize = 4 * 1024;
/// And so much until it is known: a fast socket has the most after [`PACE_BYTES`].
pub const RELAY_BACKLOG_START_BYTES: usize = 8 * 1024;
/// A data frame is at most this part of what may wait for its socket.
pub const RELAY_FRAMES_IN_BACKLOG: usize = 2;
/// How long is looked at a socket before what may wait for it is set anew.
pub const PACE_PERIOD: Duration = Duration::from_millis(250);
/// Or until it has taken so much, which is more than the buffer of a kernel holds: a fast socket is
/// known after some milliseconds.
pub const PACE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of control frames that may go to a socket beyond the backlog.
pub const RELAY_CONTROL_BACKLOG_BYTES: usize = 64 * 1024;
/// What a circuit may send in one turn when its socket is backed up: one full frame.
pub const RELAY_TURN_BYTES: usize = MAX_RELAY_PAYLOAD_BYTES + 5;
/// Control frames that wait for one socket; only somebody who does not read gets there.
pub const MAX_RELAY_CONTROL_QUEUE: usize = 4_096;
/// Bytes of all circuits of a client that wait for its socket.
pub const RELAY_CLIENT_POOL_BYTES: usize = 2 * 1024 * 1024;
/// What each circuit of a client may have waiting even if there are very many, or the wire is slow.
pub const RELAY_CLIENT_SHARE_MIN_BYTES: usize = 32 * 1024;
/// A session is told of room in pieces of at least this size, so that frames do not become tiny.
pub const RELAY_WRITABLE_STEP_BYTES: usize = 16 * 1024;
/// Circuits of one connection to the hub, as many as a node has sessions.
pub const MAX_RELAY_CIRCUITS: usize = 1_024;
/// Calls of one peer that nobody has answered yet, and calls to one peer that it has not answered.
pub const MAX_RELAY_PENDING: usize = 64;
/// Calls that one connection may make at once.
pub const RELAY_OPEN_BURST: u32 = 64;
/// Time after which it may make one more: 16 a second.
pub const RELAY_OPEN_INTERVAL: Duration = Duration::from_micros(62_500);
/// Connections to the hub that have not logged in yet: a herd that comes back after a restart
/// passes within seconds, a flood costs a few MiB.
pub const MAX_RELAY_HALF_OPEN: usize = 4_096;
/// A connection to the hub must have logged in within this time.
pub const RELAY_LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A WebSocket must be open or have failed within this time.
pub const RELAY_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A called peer must have answered within this time.
pub const RELAY_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A side of a relay connection that has heard nothing for so long asks; below the 60 s of proxies.
pub const RELAY_PING_INTERVAL: Duration = Duration::from_secs(30);
/// A relay connection over which nothing came for so long, or nothing could go, is dead.
pub const RELAY_LIVENESS_TIMEOUT: Duration = Duration::from_secs(70);
/// A closed circuit may still take so long to send what it holds.
pub const RELAY_LINGER: Duration = Duration::from_secs(5);
/// A client's first wait before it connects again.
pub const RELAY_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Its longest wait.
pub const RELAY_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How long a login's token is good: a week, so that a tracker's restart interrupts nobody.
pub const RELAY_TOKEN_SECONDS: i64 = 7 * 24 * 3_600;
