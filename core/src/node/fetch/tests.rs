//! Chunks by hand: what is held back, what is thrown away, and who is told.

use super::super::contents::tests::getting;
use super::super::links::tests::{KEY, ask, instance, stand, transmits};
use super::super::{ContentsShape, Input};
use super::*;
use crate::download::ChunkSet;
use crate::limits::CHUNK_BYTES;
use crate::path::Policy;
use crate::session;

const OTHER: ContentKey = ContentKey(2);
const CHUNK: u64 = CHUNK_BYTES as u64;

fn chunk(index: u64) -> ChunkRef {
    ChunkRef { space: Space::Root, index }
}

/// A node that fetches nine chunks, and a link on which they are open.
fn fetching() -> (Node, LinkId) {
    let mut node = getting(Policy::Auto);
    node.fetch_mut(KEY).unwrap().stage = Stage::Described;
    let (space, have) = (Space::Root, ChunkSet::default());
    let shape = ContentsShape { chunks: 9, bytes: 9 * CHUNK };
    node.handle_input(Instant::ZERO, Input::Begin { content: KEY, space, shape, have });
    let link = stand(&mut node, instance(7), PathKind::Direct, true);
    ask(&mut node, link, KEY, true);
    transmits(&mut node);
    (node, link)
}

/// Requests that the peer was told not to answer.
fn cancelled(node: &mut Node) -> Vec<RequestId> {
    let transmits = transmits(node).into_iter();
    transmits
        .filter_map(|transmit| match transmit {
            Transmit::Session { command: Command::Send(Message::Cancel { request }), .. } => {
                Some(request)
            }
            _ => None,
        })
        .collect()
}

/// The peer sends a chunk: whether it goes to the store, or its buffer back.
fn comes(node: &mut Node, link: LinkId, request: RequestId) -> (bool, bool) {
    let data = BytesMut::zeroed(CHUNK_BYTES);
    let event = session::Event::Chunk { request, proof: Vec::new(), data };
    node.handle_input(Instant::ZERO, Input::Session { link, event });
    let transmits = transmits(node);
    let stores = |transmit: &Transmit| matches!(transmit, Transmit::StoreChunk { .. });
    let recycles = |transmit: &Transmit| {
        matches!(transmit, Transmit::Session { command: Command::Recycle(_), .. })
    };
    (transmits.iter().any(stores), transmits.iter().any(recycles))
}

#[test]
fn what_is_held_back_is_taken_back_without_a_word() {
    let (mut node, link) = fetching();
    node.send_request(KEY, link, 0);
    node.allowance.held = VecDeque::from([(KEY, link, 0), (KEY, link, 1)]);
    transmits(&mut node);
    node.send_cancel(KEY, link, 0, Cancelled::NotNeeded);
    assert_eq!(node.allowance.held, [(KEY, link, 1)]);
    assert_eq!(cancelled(&mut node), []);
    node.send_cancel(KEY, link, 0, Cancelled::NotNeeded);
    assert_eq!(node.allowance.held, [(KEY, link, 1)]);
    assert_eq!(cancelled(&mut node), [RequestId(0)], "that one had been sent");
}

#[test]
fn with_a_share_goes_what_is_held_back_of_it_on_its_link() {
    let (mut node, link) = fetching();
    let other = LinkId(99);
    node.send_request(KEY, link, 0);
    node.allowance.held =
        VecDeque::from([(KEY, link, 1), (OTHER, link, 2), (KEY, other, 3), (KEY, link, 4)]);
    node.cancel_all(link, KEY);
    assert_eq!(node.allowance.held, [(OTHER, link, 2), (KEY, other, 3)]);
    assert_eq!(cancelled(&mut node), [RequestId(0)]);
}

#[test]
fn a_chunk_that_is_there_or_of_another_space_is_thrown_away() {
    let (mut node, link) = fetching();
    for chunk in [chunk(0), chunk(1), ChunkRef { space: Space::Contents, index: 0 }] {
        let (request, _) = node.links.new_request(link, KEY, chunk).unwrap();
        let wanted = chunk.space == Space::Root && chunk.index == 1;
        node.contents.get_mut(&KEY).unwrap().holding_mut(Space::Root).insert(0);
        assert_eq!(comes(&mut node, link, request), (wanted, !wanted), "{chunk:?}");
    }
    assert_eq!(node.progress(KEY).received_bytes, 3 * CHUNK, "all of it came");
}

#[test]
fn the_same_peer_has_one_copy_of_a_chunk_verified_at_a_time() {
    let (mut node, link) = fetching();
    let requests = [0, 1].map(|_| node.links.new_request(link, KEY, chunk(4)).unwrap().0);
    assert_eq!(comes(&mut node, link, requests[0]), (true, false));
    assert_eq!(comes(&mut node, link, requests[1]), (false, true));
}

// Spec P15
#[test]
fn whoever_lied_is_known_though_its_link_has_ended() {
    let (mut node, link) = fetching();
    let (request, _) = node.links.new_request(link, KEY, chunk(4)).unwrap();
    comes(&mut node, link, request);
    let reason = crate::close::CloseReason::Remote(crate::close::RemoteClose::Ended);
    let event = session::Event::Closed(reason);
    node.handle_input(Instant::ZERO, Input::Session { link, event });
    node.on_chunk_stored(KEY, chunk(4), link, StoreResult::False, BytesMut::new());
    assert!(node.banned.contains(&instance(7)));
}

#[test]
fn news_of_a_chunk_wait_for_somebody_to_hear_them() {
    let (mut node, link) = fetching();
    let told = |node: &Node| {
        let timer = node.timers.get(&Timer::Haves(KEY)).is_some();
        (timer, node.contents[&KEY].untold.clone())
    };
    node.on_got(KEY, 0);
    assert_eq!(told(&node), (false, Vec::new()), "nobody has opened it");
    let content = node.contents.get_mut(&KEY).unwrap();
    content.opened_by.insert((link, crate::wire::Handle(0)));
    node.on_got(KEY, 1);
    assert_eq!(told(&node), (true, Vec::from([chunk(1)])));
    assert!(node.holds(KEY, chunk(0)) && node.holds(KEY, chunk(1)));
}

#[test]
fn a_download_asks_for_nothing_while_the_limit_holds_something_back() {
    let (mut node, link) = fetching();
    node.allowance = Allowance::new(Instant::ZERO, Some(CHUNK));
    let told = |node: &mut Node| {
        let told = node.work.drain(..).filter_map(|work| match work {
            Work::Download(KEY, download::Input::Allowed(allowed)) => Some(allowed),
            Work::Download(..) | Work::Path(..) => None,
        });
        told.collect::<Vec<_>>()
    };
    // The bucket holds one chunk; the next one puts it into debt for a second.
    for (index, allowed, held, changes) in
        [(0, true, 0, &[][..]), (1, false, 0, &[false]), (2, false, 1, &[]), (3, false, 2, &[])]
    {
        node.ask(KEY, link, index);
        assert_eq!((node.allowance.allowed, node.allowance.held.len()), (allowed, held));
        assert_eq!(told(&mut node), changes, "{index}");
    }
    for (seconds, allowed, held) in [(1, false, 1), (2, false, 0), (3, true, 0)] {
        let at = Instant::ZERO + core::time::Duration::from_secs(seconds);
        assert_eq!(node.timers.get(&Timer::Allow), Some(at));
        node.now = at;
        node.pay_allowance();
        assert_eq!((node.allowance.allowed, node.allowance.held.len()), (allowed, held));
        let changes: &[bool] = if allowed { &[true] } else { &[] };
        assert_eq!(told(&mut node), changes, "{seconds}");
    }
}
