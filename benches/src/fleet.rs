//! Many clients of a relay in one thread: the core's own client machines over WebSockets that are
//! as thin as can be (a mask of zeros, no buffers but one), driven by `poll`.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use towpath_benches::relay::{instance, secret};
use towpath_core::id::LinkId;
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::relay::frame::SUBPROTOCOL;
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

/// Connections that come from one address: fewer than a tracker takes from one.
const PER_ADDRESS: usize = 1_000;
/// What a sender hands in at once: two full frames.
const PIECE: usize = 128 * 1024;
/// What a member reads or writes in its turn: with more, whoever has more waiting would get more of
/// this thread, and not of the relay. With less than a frame and its heads, who gets one frame at a
/// time would need two turns for it.
const TURN: usize = 128 * 1024;
const LINK: LinkId = LinkId(1);

/// One client and its socket.
pub(crate) struct Member {
    socket: TcpStream,
    client: Client,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    written: usize,
    /// Payload bytes in `outgoing`, to be reported when all of it is out.
    unreported: usize,
    /// What the circuit lets us send.
    allowed: usize,
    /// Whether it sends whatever it may.
    pub(crate) sends: bool,
    /// Whether it takes nothing off its socket.
    pub(crate) stalls: bool,
    /// Bytes that came over the circuit.
    pub(crate) received: u64,
}

/// Clients on one clock.
pub(crate) struct Fleet {
    start: std::time::Instant,
    relay: SocketAddr,
    piece: Bytes,
    buffer: Vec<u8>,
    pub(crate) members: Vec<Member>,
}

impl Fleet {
    pub(crate) fn new(relay: SocketAddr) -> Self {
        let piece = Bytes::from(vec![7; PIECE]);
        let start = std::time::Instant::now();
        Self { start, relay, piece, buffer: vec![0; TURN], members: Vec::new() }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.start.elapsed().as_nanos() as u64)
    }

    /// One more client, logged in.
    pub(crate) fn join(&mut self) -> Result<(), String> {
        let index = self.members.len();
        let from = IpAddr::from([127, 1, 1, 1 + (index / PER_ADDRESS) as u8]);
        let said = |error: io::Error| format!("client {index}: {error}");
        let mut socket = connect(from, self.relay).map_err(said)?;
        let host = self.relay.to_string();
        upgrade(&mut socket, &host).map_err(said)?;
        socket.set_nonblocking(true).map_err(said)?;
        let me = instance(index);
        let config = client::Config { me, secret_key: secret(index), host };
        let client = Client::new(self.now(), Rng::new([2; 32]), config);
        self.members.push(Member {
            socket,
            client,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            written: 0,
            unreported: 0,
            allowed: 0,
            sends: false,
            stalls: false,
            received: 0,
        });
        self.put(index, client::Input::Want(true));
        self.put(index, client::Input::Connected { ephemeral: secret(index + 1_000_000) });
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !self.members[index].client.is_online() {
            if std::time::Instant::now() > end {
                return Err(format!("client {index} is not let in"));
            }
            self.serve(index..index + 1, Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Opens a circuit from one to another; it sends at once whatever it may.
    pub(crate) fn open(&mut self, from: usize, to: usize) {
        self.members[from].sends = true;
        self.put(from, client::Input::Open { link: LINK, to: instance(to) });
    }

    /// Drives all clients for so long.
    pub(crate) fn run(&mut self, time: Duration) -> Result<(), String> {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            self.serve(0..self.members.len(), Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn serve(&mut self, range: std::ops::Range<usize>, wait: Duration) -> Result<(), String> {
        let first = range.start;
        let mut ready = Vec::new();
        {
            let mut waits: Vec<PollFd<'_>> = self.members[range]
                .iter()
                .map(|member| {
                    let write = member.written < member.outgoing.len();
                    let flags = if member.stalls { PollFlags::empty() } else { PollFlags::IN };
                    let flags = if write { flags | PollFlags::OUT } else { flags };
                    PollFd::new(&member.socket, flags)
                })
                .collect();
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as i64 };
            poll(&mut waits, Some(&wait)).map_err(|error| format!("cannot poll: {error}"))?;
            for (index, wait) in (first..).zip(&waits) {
                if !wait.revents().is_empty() {
                    ready.push((index, wait.revents()));
                }
            }
        }
        for (index, flags) in ready {
            let said = |error: io::Error| format!("client {index}: {error}");
            if flags.contains(PollFlags::OUT) {
                self.write(index).map_err(said)?;
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP) && !self.members[index].stalls {
                self.read(index).map_err(said)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let member = &mut self.members[index];
        let read = member.socket.read(&mut buffer);
        if let Ok(n) = read {
            member.incoming.extend_from_slice(&buffer[..n]);
        }
        self.buffer = buffer;
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let incoming = std::mem::take(&mut self.members[index].incoming);
        let mut rest = &incoming[..];
        while let Some((message, behind)) = frame(rest) {
            self.put(index, client::Input::Message(BytesMut::from(message)));
            rest = behind;
        }
        self.members[index].incoming = rest.to_vec();
        self.write(index)
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let mut turn = TURN;
        loop {
            let member = &mut self.members[index];
            let waiting = &member.outgoing[member.written..];
            if !waiting.is_empty() {
                if turn == 0 {
                    return Ok(());
                }
                match member.socket.write(&waiting[..turn.min(waiting.len())]) {
                    Ok(n) => {
                        member.written += n;
                        turn -= n;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
                continue;
            }
            member.outgoing.clear();
            member.written = 0;
            let bytes = std::mem::take(&mut member.unreported);
            if bytes == 0 {
                return Ok(());
            }
            self.put(index, client::Input::Sent { bytes });
        }
    }

    fn put(&mut self, index: usize, input: client::Input) {
        let now = self.now();
        self.members[index].client.handle_input(now, input);
        self.drain(index);
        let member = &mut self.members[index];
        while member.sends && member.allowed > 0 {
            let bytes = self.piece.slice(..PIECE.min(member.allowed));
            member.allowed -= bytes.len();
            member.client.handle_input(now, client::Input::Data { link: LINK, bytes });
        }
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        let now = self.now();
        let member = &mut self.members[index];
        loop {
            match member.client.poll_output() {
                Output::Timeout(_) => return,
                Output::Event(client::Event::Incoming { incoming, .. }) => {
                    let accept = client::Input::Accept { incoming, link: LINK };
                    member.client.handle_input(now, accept);
                }
                Output::Transmit(client::Transmit::Send { message }) => {
                    head(&mut member.outgoing, message.len());
                    member.outgoing.extend_from_slice(&message);
                    member.unreported += message.len();
                }
                Output::Transmit(client::Transmit::Writable { bytes, .. }) => {
                    member.allowed += bytes;
                }
                Output::Transmit(client::Transmit::Deliver { link, bytes }) => {
                    member.received += bytes.len() as u64;
                    let consumed = client::Input::Consumed { link, bytes: bytes.len() };
                    member.client.handle_input(now, consumed);
                }
                Output::Event(_) | Output::Transmit(_) => {}
            }
        }
    }

    /// Writes what the last inputs left to be written.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        for index in 0..self.members.len() {
            self.write(index).map_err(|error| format!("client {index}: {error}"))?;
        }
        Ok(())
    }
}

fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&to.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

fn upgrade(socket: &mut TcpStream, host: &str) -> io::Result<()> {
    let request = format!(
        "GET /relay HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // The hub speaks second: nothing follows the answer until we have spoken.
    while !answer.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        match socket.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&bytes[..n]),
        }
    }
    if answer.starts_with(b"HTTP/1.1 101") {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
    }
}

/// The head of a binary message with a mask of zeros (RFC 6455, section 5.2).
fn head(to: &mut Vec<u8>, length: usize) {
    to.push(0x82);
    match length {
        0..126 => to.push(0x80 | length as u8),
        126..65_536 => {
            to.push(0x80 | 126);
            to.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            to.push(0x80 | 127);
            to.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    to.extend_from_slice(&[0; 4]);
}

/// The first message in `bytes`, if all of it is there, and what follows it.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, length) = match *bytes.get(1)? {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        length => (2, u64::from(length)),
    };
    let end = head + usize::try_from(length).ok()?;
    (bytes.len() >= end).then(|| (&bytes[head..end], &bytes[end..]))
}

/// Where a tracker listens, from its URL.
pub(crate) fn address(url: &str) -> Result<SocketAddr, String> {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let port = host.rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| format!("{url} names no port"))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
