//! The wires between clients and hub: WebSockets with a rate, a delay and a buffer, which are
//! plugged in, stopped and pulled out.

use super::*;

/// One direction of a WebSocket.
#[derive(Debug, Clone)]
pub(in super::super) struct Pipe {
    pub(in super::super) bytes_per_second: u64,
    pub(in super::super) delay: Duration,
    pub(in super::super) buffer_bytes: usize,
    /// Nothing leaves the socket.
    pub(in super::super) paused: bool,
    /// What the driver has and the socket has not.
    pub(super) waiting: VecDeque<Bytes>,
    /// What the socket has.
    pub(super) socket: VecDeque<Bytes>,
    pub(super) busy: bool,
}

impl Pipe {
    pub(in super::super) fn new(bytes_per_second: u64, delay: Duration) -> Self {
        Self {
            bytes_per_second,
            delay,
            buffer_bytes: 4 * MIB,
            paused: false,
            waiting: VecDeque::new(),
            socket: VecDeque::new(),
            busy: false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.socket.clear();
        self.busy = false;
    }
}

impl World {
    pub(super) fn connected(&mut self, index: usize, conn: ConnId) {
        let ephemeral = [self.number() as u8; 32];
        let peer = &mut self.peers[index];
        peer.conn = Some(conn);
        let ip = peer.ip;
        self.by_conn.insert(conn, index);
        self.tell_hub(hub::Input::Connected {
            conn,
            ip,
            host: String::from(HOST),
            ephemeral,
            unix_time: UnixTime(1_800_000_000 + self.now.since(Instant::ZERO).as_secs() as i64),
        });
        self.tell_client(index, client::Input::Connected { ephemeral: [ephemeral[0] ^ 255; 32] });
    }

    /// A connection of nobody, for hostile bytes.
    pub(in super::super) fn raw_connection(&mut self, ip: IpAddr) -> ConnId {
        let conn = ConnId(self.number());
        self.raw.insert(conn, vec![]);
        self.tell_hub(hub::Input::Connected {
            conn,
            ip,
            host: String::from(HOST),
            ephemeral: [conn.0 as u8; 32],
            unix_time: UnixTime(1_800_000_000),
        });
        conn
    }

    pub(in super::super) fn raw_message(&mut self, conn: ConnId, bytes: &[u8]) {
        self.tell_hub(hub::Input::Message { conn, bytes: BytesMut::from(bytes) });
    }

    pub(in super::super) fn why_closed(&self, conn: ConnId) -> Option<&CloseReason> {
        self.closed.iter().find(|(closed, _)| *closed == conn).map(|(_, reason)| reason)
    }

    /// The cable is pulled: both sides learn it at once.
    pub(in super::super) fn unplug(&mut self, index: usize) {
        let Some(conn) = self.peers[index].conn else { return };
        self.unplug_silently(index);
        self.tell_hub(hub::Input::Disconnected(conn));
        let why = String::from("the cable was pulled");
        self.tell_client(index, client::Input::Disconnected(why));
    }

    pub(super) fn unplug_silently(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        peer.up.clear();
        peer.down.clear();
        if let Some(conn) = peer.conn.take() {
            self.by_conn.remove(&conn);
        }
    }

    pub(in super::super) fn pause(&mut self, index: usize, paused: bool) {
        self.peers[index].down.paused = paused;
        if !paused {
            self.depart(index, false);
        }
    }

    /// A message has left the socket.
    pub(super) fn left(&mut self, index: usize, up: bool) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let pipe = if up { &mut peer.up } else { &mut peer.down };
        pipe.busy = false;
        let Some(message) = pipe.socket.pop_front() else { return self.depart(index, up) };
        let (Some(conn), at) = (peer.conn, now + pipe.delay) else { return };
        let what =
            if up { What::ToHub(conn, message) } else { What::ToClient(index, conn, message) };
        self.at(at, what);
        self.admit(index, up);
        self.depart(index, up);
    }

    /// The next message begins to leave the socket.
    pub(super) fn depart(&mut self, index: usize, up: bool) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let pipe = if up { &mut peer.up } else { &mut peer.down };
        if pipe.busy || pipe.paused {
            return;
        }
        let (Some(front), Some(conn)) = (pipe.socket.front(), peer.conn) else { return };
        pipe.busy = true;
        // 14 bytes of WebSocket framing.
        let nanos = (front.len() as u64 + 14) * 1_000_000_000 / pipe.bytes_per_second;
        let at = now + Duration::from_nanos(nanos);
        let what = if up { What::LeftClient(index, conn) } else { What::LeftHub(index, conn) };
        self.at(at, what);
    }

    /// The socket takes what it has room for, and says so, in pieces of any size.
    pub(super) fn admit(&mut self, index: usize, up: bool) {
        let mut taken = vec![];
        let peer = &mut self.peers[index];
        let pipe = if up { &mut peer.up } else { &mut peer.down };
        let mut held: usize = pipe.socket.iter().map(Bytes::len).sum();
        while let Some(front) = pipe.waiting.front() {
            if held > 0 && held + front.len() > pipe.buffer_bytes {
                break;
            }
            held += front.len();
            let message = pipe.waiting.pop_front().expect("there is a front");
            taken.push(message.len());
            pipe.socket.push_back(message);
        }
        let conn = peer.conn;
        self.depart(index, up);
        for mut bytes in taken {
            while bytes > 0 {
                let part = 1 + self.rng.below(bytes as u64) as usize;
                let part = if part > bytes / 2 { bytes } else { part };
                bytes -= part;
                match conn {
                    Some(_) if up => self.tell_client(index, client::Input::Sent { bytes: part }),
                    Some(conn) => self.tell_hub(hub::Input::Sent { conn, bytes: part }),
                    None => {}
                }
            }
        }
    }
}
