//! The two sides of a wire: the hub and the clients take inputs, and what they want is done; behind
//! each client an application sends, and takes what comes.

use super::*;

impl World {
    pub(in super::super) fn tell_hub(&mut self, input: hub::Input) {
        let now = self.now;
        self.hub.handle_input(now, input);
        let mut touched = vec![];
        loop {
            match self.hub.poll_output() {
                Output::Timeout(at) => {
                    self.hub_timeout = at;
                    break;
                }
                Output::Event(event) => self.hub_events.push(event),
                Output::Transmit(hub::Transmit::Send { conn, message }) => {
                    self.note(&message);
                    if let Some(raw) = self.raw.get_mut(&conn) {
                        raw.push(message);
                    } else if let Some(&index) = self.by_conn.get(&conn) {
                        self.peers[index].down.waiting.push_back(message);
                        touched.push(index);
                    }
                }
                Output::Transmit(hub::Transmit::Close { conn, reason }) => {
                    self.closed.push((conn, reason));
                    if let Some(&index) = self.by_conn.get(&conn)
                        && !self.peers[index].down.paused
                    {
                        // Behind the goodbye.
                        let pipe = &self.peers[index].down;
                        let at = self.now + pipe.delay * 2 + Duration::from_millis(50);
                        self.at(at, What::ClosedByHub(index, conn));
                    }
                }
            }
        }
        if self.audited {
            self.hub.assert_sound();
        }
        for index in touched {
            let waiting: usize = self.peers[index].down.waiting.iter().map(Bytes::len).sum();
            assert!(waiting <= MOST_UNCONFIRMED, "{waiting} bytes wait for a client");
            self.admit(index, false);
        }
    }

    /// Inputs that an output leads to wait until all outputs before are carried out, as in a
    /// driver.
    pub(in super::super) fn tell_client(&mut self, index: usize, input: client::Input) {
        self.inbox.push_back((index, input));
        if self.inbox.len() > 1 {
            return;
        }
        while let Some((index, _)) = self.inbox.front() {
            let index = *index;
            let tick = client::Input::Tick;
            let (_, front) = self.inbox.front_mut().expect("it was there just now");
            let input = core::mem::replace(front, tick);
            self.feed(index, input);
            self.inbox.pop_front();
        }
    }

    pub(super) fn feed(&mut self, index: usize, input: client::Input) {
        let now = self.now;
        self.peers[index].client.handle_input(now, input);
        let mut outputs = vec![];
        loop {
            match self.peers[index].client.poll_output() {
                Output::Timeout(at) => {
                    self.peers[index].timeout = at;
                    break;
                }
                output => outputs.push(output),
            }
        }
        for output in outputs {
            match output {
                Output::Timeout(_) => unreachable!("it ended the drain"),
                Output::Event(event) => self.client_event(index, event),
                Output::Transmit(transmit) => self.client_transmit(index, transmit),
            }
        }
    }

    pub(super) fn client_event(&mut self, index: usize, event: client::Event) {
        let peer = &mut self.peers[index];
        match event {
            client::Event::LoggedIn { token } => peer.tokens.push(token),
            client::Event::LoggedOut(why) => peer.logged_out.push(why),
            client::Event::OpenFailed { link, error } => {
                let end = peer.ends.get_mut(&link).expect("a link that was opened");
                assert!(end.open_failed.replace(error).is_none() && !end.opened);
            }
            client::Event::Incoming { incoming, from: _ } => {
                if !peer.answers {
                    return;
                }
                if !peer.accepts {
                    return self.tell_client(index, client::Input::Refuse { incoming });
                }
                let link = LinkId(self.number());
                self.peers[index].ends.insert(link, End::default());
                self.tell_client(index, client::Input::Accept { incoming, link });
            }
        }
    }

    pub(super) fn client_transmit(&mut self, index: usize, transmit: client::Transmit) {
        match transmit {
            client::Transmit::Connect => {
                let conn = ConnId(self.number());
                self.peers[index].connects.push(self.now);
                let at = self.now + self.peers[index].up.delay * 2;
                let up = self.peers[index].reachable;
                self.at(at, if up { What::Connected(index, conn) } else { What::Refused(index) });
            }
            client::Transmit::Disconnect => {
                if let Some(conn) = self.peers[index].conn {
                    // What the socket has taken still arrives.
                    let taken = core::mem::take(&mut self.peers[index].up.socket);
                    self.unplug_silently(index);
                    let pipe = &self.peers[index].up;
                    if !pipe.paused {
                        let at = self.now + pipe.delay;
                        for message in taken {
                            self.at(at, What::ToHub(conn, message));
                        }
                        self.at(at, What::ClosedByClient(conn));
                    }
                }
            }
            client::Transmit::Send { message } => {
                self.note(&message);
                let pipe = &mut self.peers[index].up;
                pipe.waiting.push_back(message);
                let waiting: usize = pipe.waiting.iter().map(Bytes::len).sum();
                assert!(waiting <= MOST_UNCONFIRMED, "{waiting} bytes wait for the hub");
                self.admit(index, true);
            }
            client::Transmit::Opened { link } => {
                let end = self.end(index, link);
                assert!(!end.opened);
                end.opened = true;
            }
            client::Transmit::Ended { link, reason } => {
                if let Some(end) = self.peers[index].ends.get_mut(&link) {
                    assert!(end.ended.replace(reason).is_none());
                }
            }
            client::Transmit::Writable { link, bytes } => {
                let end = self.end(index, link);
                assert!(end.opened && end.ended.is_none() && bytes > 0);
                end.allowed_bytes += bytes;
                self.offer(index, link);
            }
            client::Transmit::Deliver { link, bytes } => self.deliver(index, link, &bytes),
        }
    }

    /// The application hands in what it may, in pieces of any size. The first eight bytes of a
    /// stream name its link, the others depend on it.
    pub(super) fn offer(&mut self, index: usize, link: LinkId) {
        loop {
            let most = 1 + self.rng.below(300 * KIB as u64) as usize;
            let pattern = self.pattern.clone();
            let end = self.end(index, link);
            let most = most.min(end.allowed_bytes).min(end.to_send_bytes);
            if most == 0 {
                break;
            }
            let bytes = if end.sent_bytes < 8 {
                let name = link.0.to_be_bytes();
                let from = end.sent_bytes;
                Bytes::copy_from_slice(&name[from..(from + most).min(8)])
            } else {
                let from =
                    (end.sent_bytes + link.0 as usize * 7_919 % pattern.len()) % pattern.len();
                pattern.slice(from..(from + most).min(pattern.len()))
            };
            end.allowed_bytes -= bytes.len();
            end.to_send_bytes -= bytes.len();
            end.sent_bytes += bytes.len();
            self.tell_client(index, client::Input::Data { link, bytes });
        }
        let end = self.end(index, link);
        if end.to_send_bytes == 0 && core::mem::take(&mut end.close_when_sent) {
            self.close(index, link);
        }
    }

    pub(super) fn deliver(&mut self, index: usize, link: LinkId, bytes: &[u8]) {
        let pattern = self.pattern.clone();
        let taking = self.peers[index].taking;
        let next = self.next;
        let end = self.end(index, link);
        assert!(end.opened && end.ended.is_none());
        let mut rest = bytes;
        while !rest.is_empty() {
            let missing = 8_usize.saturating_sub(end.first_bytes.len());
            let part = if missing > 0 {
                let part = missing.min(rest.len());
                end.first_bytes.extend_from_slice(&rest[..part]);
                part
            } else {
                let sender = u64::from_be_bytes(end.first_bytes[..].try_into().unwrap());
                let offset = (sender as usize).wrapping_mul(7_919) % pattern.len();
                let from = (end.received_bytes + offset) % pattern.len();
                let part = rest.len().min(pattern.len() - from);
                let same = rest[..part] == pattern[from..from + part];
                assert!(same || sender > next, "other bytes than were sent");
                part
            };
            end.received_bytes += part;
            rest = &rest[part..];
        }
        end.unconsumed_bytes += bytes.len();
        if taking == Taking::AtOnce {
            self.consume(index, link);
        }
    }

    /// The application takes what has come, in two pieces.
    pub(in super::super) fn consume(&mut self, index: usize, link: LinkId) {
        let bytes = core::mem::take(&mut self.end(index, link).unconsumed_bytes);
        let first = self.rng.below(bytes as u64 + 1) as usize;
        self.tell_client(index, client::Input::Consumed { link, bytes: first });
        self.tell_client(index, client::Input::Consumed { link, bytes: bytes - first });
    }
}
