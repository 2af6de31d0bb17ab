//! Links by hand: their requests, their shares and their counts.

use super::super::contents::tests::sharing;
use super::*;
use crate::id::PeerId;
use crate::limits::CHUNK_BYTES;
use crate::node::Transmit;
use crate::output::Output;

pub(in super::super) const KEY: ContentKey = ContentKey(1);
const OTHER: ContentKey = ContentKey(2);

pub(in super::super) fn instance(number: u64) -> Instance {
    Instance { peer: PeerId([number as u8; 32]), number }
}

/// A link that is up: ours to that address, or theirs from it.
pub(in super::super) fn stand(
    node: &mut Node,
    who: Instance,
    path: PathKind,
    ours: bool,
) -> LinkId {
    let at = SocketAddr::from(([192, 0, 2, who.number as u8], 9));
    let origin = if ours {
        let (content, attempt, suite) = (KEY, Attempt(0), Suite::ChaChaPoly);
        let target = Target::Address(at);
        Origin::Ours(Dialled { content, instance: who, attempt, target, suite })
    } else {
        Origin::Theirs(IncomingFrom::Tcp(at))
    };
    let link = node.links.add(Link::new(path, origin));
    if ours {
        node.links.dials -= 1;
    } else {
        node.links.strangers.established(IncomingFrom::Tcp(at));
    }
    node.links.table.get_mut(&link).unwrap().state = State::Up { instance: who, hash: [0; 32] };
    node.links.up.entry(who).or_default().insert(link);
    link
}

/// Lets a link have asked for a share.
pub(in super::super) fn ask(node: &mut Node, link: LinkId, key: ContentKey, is_open: bool) {
    let link = node.links.up_mut(link).unwrap();
    let handle = Handle(link.next_handle);
    link.next_handle += 1;
    link.asks.insert(handle, Ask { content: key, is_open, early: Default::default() });
}

/// What a node wants done; what it tells is dropped.
pub(in super::super) fn transmits(node: &mut Node) -> Vec<Transmit> {
    let mut transmits = Vec::new();
    loop {
        match node.poll_output() {
            Output::Transmit(transmit) => transmits.push(transmit),
            Output::Event(_) => {}
            Output::Timeout(_) => return transmits,
        }
    }
}

/// A dial to the seventh instance through the relay.
fn dialled() -> Dialled {
    let (content, attempt, suite) = (KEY, Attempt(0), Suite::ChaChaPoly);
    Dialled { content, instance: instance(7), attempt, target: Target::Circuit, suite }
}

fn chunk(index: u64) -> ChunkRef {
    ChunkRef { space: Space::Root, index }
}

#[test]
fn the_newest_request_for_a_chunk_is_cancelled_and_no_other() {
    let mut node = sharing(CHUNK_BYTES as u64, None);
    let link = stand(&mut node, instance(7), PathKind::Direct, true);
    ask(&mut node, link, KEY, true);
    ask(&mut node, link, OTHER, true);
    let links = &mut node.links;
    for (number, (key, index)) in
        [(KEY, 0), (KEY, 1), (OTHER, 0), (KEY, 0), (OTHER, 1)].into_iter().enumerate()
    {
        let (request, handle) = links.new_request(link, key, chunk(index)).unwrap();
        assert_eq!((request.0 as usize, handle.0), (number, u32::from(key == OTHER)));
    }
    let (needless, silent) = (Cancelled::NotNeeded, Cancelled::Silent);
    assert_eq!(links.cancel(link, KEY, chunk(0), silent), Some(RequestId(3)));
    assert_eq!(links.cancel(link, KEY, chunk(0), needless), Some(RequestId(0)));
    assert_eq!(links.cancel(link, KEY, chunk(0), silent), None);
    let cancelled = |links: &Links| {
        [0, 1, 2, 3, 4].map(|number| links.asked(link, RequestId(number)).unwrap().cancelled)
    };
    let (needless, silent) = (Some(needless), Some(silent));
    assert_eq!(cancelled(links), [needless, None, None, silent, None]);
    assert_eq!(links.cancel_all(link, OTHER), [RequestId(2), RequestId(4)]);
    assert_eq!(cancelled(links), [needless, None, needless, silent, needless]);
    assert!(links.answered(link, RequestId(1)).is_some_and(|asked| asked.chunk == chunk(1)));
    assert!(links.answered(link, RequestId(1)).is_none());
}

#[test]
fn what_a_peer_said_early_is_taken_of_its_own_open_share() {
    let mut node = sharing(9, None);
    let link = stand(&mut node, instance(7), PathKind::Direct, true);
    ask(&mut node, link, OTHER, true);
    ask(&mut node, link, KEY, false);
    let asks = &mut node.links.up_mut(link).unwrap().asks;
    asks.values_mut().for_each(|ask| ask.early[0] = Early::All);
    assert!(node.links.take_early(link, KEY, Space::Root).is_none(), "it is not open");
    assert!(node.links.handle_of(link, KEY).is_none());
    let asks = &mut node.links.up_mut(link).unwrap().asks;
    asks.get_mut(&Handle(1)).unwrap().is_open = true;
    asks.get_mut(&Handle(1)).unwrap().early[0] = Early::Bits(Vec::from([1]));
    let early = node.links.take_early(link, KEY, Space::Root);
    assert!(matches!(early, Some(Early::Bits(_))));
    assert!(matches!(node.links.take_early(link, KEY, Space::Root), Some(Early::Nothing)));
}

#[test]
fn a_peer_is_renamed_on_links_that_are_still_to_come_up() {
    let mut node = sharing(9, None);
    let dialled = |content, number| Dialled {
        content,
        instance: instance(number),
        attempt: Attempt(0),
        target: Target::Circuit,
        suite: Suite::ChaChaPoly,
    };
    let up = stand(&mut node, instance(7), PathKind::Direct, true);
    let links: Vec<LinkId> = [(KEY, 7), (KEY, 8), (OTHER, 7)]
        .map(|(key, number)| node.open_link(dialled(key, number)).unwrap())
        .to_vec();
    assert_eq!(node.links.dials, 3);
    node.links.rename(KEY, instance(7), instance(9));
    let named = |link: &LinkId| match &node.links.table[link].origin {
        Origin::Ours(dialled) => dialled.instance.number,
        Origin::Theirs(_) => 0,
    };
    assert_eq!(links.iter().map(named).collect::<Vec<_>>(), [9, 8, 7]);
    assert_eq!(named(&up), 7);
    let states = |link: &LinkId| {
        let link = &node.links.table[link];
        (link.is_connecting(), link.is_up())
    };
    assert_eq!((states(&up), states(&links[0])), ((false, true), (true, false)));
    let failed = DialError::Refused;
    for (left, link) in [(2, links[0]), (1, links[1]), (0, links[2])] {
        node.on_dial_failed(link, failed.clone());
        assert_eq!(node.links.dials, left);
    }
    node.on_dial_failed(up, failed);
    assert!(node.links.table.contains_key(&up), "a link that is up does not fail to come up");
}

#[test]
fn dials_and_links_are_bounded() {
    let dialled = dialled();
    let mut node = sharing(9, None);
    node.links.dials = MAX_DIALS - 1;
    assert!(node.open_link(dialled.clone()).is_some());
    assert!(node.open_link(dialled.clone()).is_none());
    let mut node = sharing(9, None);
    for number in 0..MAX_SESSIONS as u64 {
        stand(&mut node, instance(number % 256), PathKind::Direct, true);
    }
    assert_eq!(node.links.dials, 0);
    assert!(node.open_link(dialled).is_none());
    assert_eq!(node.counters.get("too_many_links"), 1);
}

#[test]
fn another_than_the_one_that_was_dialled_ends_the_dial() {
    let mut node = sharing(9, None);
    let dialled = dialled();
    let [first, _] = [0, 1].map(|_| node.open_link(dialled.clone()).unwrap());
    node.on_established(first, instance(8), [0; 32]);
    assert_eq!((node.links.dials, node.links.up(first)), (1, None));
}

#[test]
fn a_link_is_full_with_as_many_requests_as_its_peer_must_take() {
    let mut node = sharing(9, None);
    let link = stand(&mut node, instance(7), PathKind::Direct, true);
    ask(&mut node, link, KEY, true);
    for index in 0..MAX_INCOMING_REQUESTS as u64 {
        assert!(!node.links.is_full(link));
        assert!(node.links.new_request(link, KEY, chunk(index)).is_some());
    }
    assert!(node.links.is_full(link));
}

#[test]
fn a_dial_that_came_up_is_none_any_more() {
    let mut node = sharing(9, None);
    let dialled = dialled();
    let links = [0; 3].map(|_| node.open_link(dialled.clone()).unwrap());
    for (left, link) in [(2, links[0]), (1, links[1]), (0, links[2])] {
        node.on_established(link, instance(7), [0; 32]);
        assert_eq!(node.links.dials, left);
    }
}
