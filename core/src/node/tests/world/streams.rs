//! The wires of the small world: streams are opened, carry bytes after a while, and are cut.

use super::*;

impl World {
    pub(super) fn knock(&mut self, from: usize, link: LinkId, to: usize, circuit: bool) {
        let epoch = self.hosts[from].epoch;
        self.seq += 1;
        let incoming = self.seq;
        self.hosts[to].incoming.insert(incoming, (from, epoch, link, circuit));
        let from = if circuit {
            IncomingFrom::Circuit(self.hosts[from].me.peer)
        } else {
            IncomingFrom::Tcp(self.hosts[from].address)
        };
        self.put(to, Input::Incoming { incoming, from });
    }

    pub(super) fn start(
        &mut self,
        host: usize,
        link: LinkId,
        setup: Setup,
        peer: (usize, u32, LinkId),
        circuit: bool,
    ) {
        self.seq += 1;
        let mut ephemeral = [0; 32];
        ephemeral[..8].copy_from_slice(&self.seq.to_be_bytes());
        ephemeral[31] = host as u8 + 1;
        let config = session::Config {
            setup,
            secret_key: self.hosts[host].secret_key,
            ephemeral,
            channel_binding: Vec::new(),
        };
        let session = Session::new(self.now, Rng::new(ephemeral), config);
        let slot = Slot {
            session,
            peer,
            inbox: VecDeque::new(),
            wants: None,
            ended: false,
            tick_at: Instant::NEVER,
            circuit,
        };
        self.hosts[host].slots.insert(link, slot);
        self.drain_session(host, link);
    }

    pub(super) fn put_session(&mut self, host: usize, link: LinkId, input: session::Input) {
        let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
        slot.session.handle_input(self.now, input);
        self.drain_session(host, link);
    }

    pub(super) fn drain_session(&mut self, host: usize, link: LinkId) {
        loop {
            let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
            let (peer, epoch, other) = slot.peer;
            match slot.session.poll_output() {
                Output::Transmit(session::Transmit::Send(bytes)) => {
                    self.wire_bytes += bytes.len() as u64;
                    if self.hosts[peer].epoch == epoch {
                        let bytes = BytesMut::from(&bytes[..]);
                        self.later(LATENCY, peer, Step::Arrive(peer, other, bytes));
                    }
                }
                Output::Transmit(session::Transmit::Read { max }) => {
                    slot.wants = Some(max);
                    self.feed_later(host, link);
                }
                Output::Transmit(session::Transmit::ReadChunk { request, content, chunk }) => {
                    let result = self.read_chunk(host, request, content, chunk);
                    let input = session::Input::ChunkRead { request, result };
                    self.later(Duration::ZERO, host, Step::Session(host, link, input));
                }
                // Its last word follows, and all that it sent is on its way already.
                Output::Transmit(session::Transmit::CloseStream) => {}
                Output::Event(event) => {
                    let closed = matches!(event, session::Event::Closed(_));
                    let step = Step::Node(host, Input::Session { link, event });
                    self.later(Duration::ZERO, host, step);
                    if closed {
                        self.hang_up(host, link);
                    }
                }
                Output::Timeout(at) => {
                    if slot.tick_at != at {
                        slot.tick_at = at;
                        if at < Instant::NEVER {
                            self.at(at, host, Step::SessionTick(host, link));
                        }
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn feed_later(&mut self, host: usize, link: LinkId) {
        if self.hosts[host]
            .slots
            .get(&link)
            .is_some_and(|slot| !slot.inbox.is_empty() || slot.ended)
        {
            // An empty arrival feeds what is there.
            self.later(Duration::ZERO, host, Step::Arrive(host, link, BytesMut::new()));
        }
    }

    /// Hands in what has come, as far as the session wants it.
    pub(super) fn feed(&mut self, host: usize, link: LinkId) {
        let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
        slot.inbox.retain(|bytes| !bytes.is_empty());
        let Some(max) = slot.wants else { return };
        let Some(mut first) = slot.inbox.pop_front() else {
            if slot.ended {
                self.put_session(host, link, session::Input::Ended(None));
            }
            return;
        };
        if first.len() > max {
            let rest = first.split_off(max);
            slot.inbox.push_front(rest);
        }
        slot.wants = None;
        let (peer, epoch, other) = slot.peer;
        if self.hosts[peer].epoch == epoch {
            let sent = session::Input::Sent { bytes: first.len() };
            self.later(LATENCY, peer, Step::Session(peer, other, sent));
        }
        self.put_session(host, link, session::Input::Received(first));
    }

    /// Our end is gone; the other end sees that after all bytes before.
    pub(super) fn hang_up(&mut self, host: usize, link: LinkId) {
        let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
        // Sent bytes are on the agenda already; the closing session needs its own end no more.
        let (peer, epoch, other) = slot.peer;
        self.hosts[host].slots.remove(&link);
        if self.hosts[peer].epoch == epoch {
            self.later(LATENCY, peer, Step::End(peer, other));
        }
    }

    /// The network cuts all links of a host.
    pub(in super::super) fn cut(&mut self, host: usize) {
        let links: Vec<LinkId> = self.hosts[host].slots.keys().copied().collect();
        for link in links {
            let (peer, epoch, other) = self.hosts[host].slots[&link].peer;
            self.put_session(host, link, session::Input::Ended(None));
            if self.hosts[peer].epoch == epoch {
                self.put_session(peer, other, session::Input::Ended(None));
            }
        }
    }

    /// Direct links of this host have died; circuits stand.
    pub(in super::super) fn circuits(&self, host: usize) -> usize {
        self.hosts[host].slots.values().filter(|slot| slot.circuit).count()
    }
}
