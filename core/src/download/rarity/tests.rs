//! Turns and keys by themselves, and picks against a plain search through all chunks.

use proptest::prelude::*;

use super::*;

/// What a plain search finds: the least key, and among equal ones the first in turn.
fn plain(wanted: &Wanted, chunks: u64, may: impl Fn(u64) -> bool) -> Option<u64> {
    let candidates = (0..chunks).filter(|chunk| may(*chunk)).filter_map(|chunk| {
        let key = wanted.key(chunk)?;
        Some((key, wanted.turn(chunk), chunk))
    });
    candidates.min().map(|(_, _, chunk)| chunk)
}

#[test]
fn turns_go_once_round_from_the_first() {
    let wanted = Wanted::new(10, 4);
    let turns: Vec<u64> = (0..10).map(|chunk| wanted.turn(chunk)).collect();
    assert_eq!(turns, [6, 7, 8, 9, 0, 1, 2, 3, 4, 5]);
    assert!((0..10).all(|chunk| wanted.chunk(wanted.turn(chunk)) == chunk));
}

#[test]
fn a_key_counts_up_and_down_while_its_chunk_is_wanted() {
    let mut wanted = Wanted::new(3, 1);
    wanted.shift(2, true);
    assert_eq!(wanted.key(2), None, "not wanted, not counted");
    wanted.want(2, 1);
    wanted.shift(2, true);
    assert_eq!((wanted.key(2), wanted.key(1), wanted.key(3)), (Some(2), None, None));
    for left in [1, 0, 0] {
        wanted.shift(2, false);
        assert_eq!(wanted.key(2), Some(left));
    }
    wanted.unwant(2);
    wanted.unwant(2);
    assert_eq!((wanted.key(2), &wanted.blocks[..]), (None, &[0][..]));
}

#[test]
fn no_chunk_beyond_the_last_has_a_key() {
    let mut wanted = Wanted::new(3, 1);
    (0..3).for_each(|chunk| wanted.want(chunk, 5));
    assert_eq!([2, 3, 4, u64::MAX].map(|chunk| wanted.key(chunk)), [Some(5), None, None, None]);
}

#[test]
fn a_view_that_knows_only_the_best_takes_nothing_behind_them() {
    let known = |offers: &[(u8, u64)], whole: bool| {
        let mut view = View { best: [(1, 5), (1, 8)].into(), whole };
        offers.iter().for_each(|(key, turn)| view.offer(*key, *turn));
        view.best.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(known(&[(1, 9), (2, 0)], false), [(1, 5), (1, 8)]);
    assert_eq!(known(&[(0, 9), (1, 7)], false), [(0, 9), (1, 5), (1, 7), (1, 8)]);
    assert_eq!(known(&[(1, 9)], true), [(1, 5), (1, 8), (1, 9)]);
    let mut empty = View::default();
    empty.offer(0, 0);
    assert!(empty.best.is_empty(), "the next pass finds it");
}

// Spec P8
#[test]
fn a_view_that_was_reset_finds_what_has_become_rarer() {
    let mut wanted = Wanted::new(2, 0);
    wanted.want(0, 2);
    wanted.want(1, 3);
    let mut view = View { best: [(2, 0)].into(), whole: false };
    assert_eq!(view.pick(&wanted, None, 0, |_| false), Some(0));
    wanted.shift(1, false);
    wanted.shift(1, false);
    view.reset();
    assert_eq!(view.pick(&wanted, None, 0, |_| false), Some(1));
    assert!(view.whole);
    view.reset();
    assert!(view.best.is_empty() && !view.whole);
}

#[test]
fn stretches_without_a_wanted_chunk_are_skipped_and_all_others_gone_through() {
    let mut wanted = Wanted::new(3 * BLOCK + 5, 0);
    assert_eq!(wanted.blocks.len(), 4);
    for chunk in [BLOCK - 1, 2 * BLOCK, 2 * BLOCK, 3 * BLOCK + 4] {
        wanted.want(chunk, 7);
    }
    assert_eq!(wanted.blocks, [1, 0, 1, 1]);
    let expected = [(7, BLOCK - 1), (7, 2 * BLOCK), (7, 3 * BLOCK + 4)];
    assert!(wanted.iter(None).eq(expected));
    let mut has = ChunkSet::empty(3 * BLOCK + 5);
    has.insert(2 * BLOCK);
    assert!(wanted.iter(Some(&has)).eq([(7, 2 * BLOCK)]));
    wanted.unwant(2 * BLOCK);
    assert_eq!(wanted.blocks, [1, 0, 0, 1]);
}

#[test]
fn a_view_keeps_so_many_of_the_best_and_knows_whether_that_is_all() {
    let most = MAX_CANDIDATES as u64;
    for (chunks, floor, whole) in [(most - 1, 1, true), (most, 1, false), (most, 0, true)] {
        let mut wanted = Wanted::new(chunks, 0);
        (0..chunks).for_each(|chunk| wanted.want(chunk, 1));
        let mut view = View::default();
        assert_eq!(view.pick(&wanted, None, floor, |_| false), Some(0));
        assert_eq!((view.best.len() as u64, view.whole), (chunks, whole), "{chunks} {floor}");
    }
    // More than there is room for, the rarest last.
    let chunks = 3 * most;
    let mut wanted = Wanted::new(chunks, 0);
    (0..chunks).for_each(|chunk| wanted.want(chunk, (2 - chunk / most) as u8));
    let mut view = View::default();
    assert_eq!(view.pick(&wanted, None, 0, |_| false), Some(2 * most));
    assert!(!view.whole && view.best.iter().map(|(_, turn)| *turn).eq(2 * most..chunks));
    // A whole view that grows too large forgets the worst and that it was whole.
    let mut wanted = Wanted::new(chunks, 0);
    let mut view = View { whole: true, ..View::default() };
    for chunk in 0..=most {
        wanted.want(chunk, 3);
        view.offer(3, chunk);
        assert_eq!(view.whole, chunk < most);
    }
    assert_eq!(view.best.last(), Some(&(3, most - 1)));
}

#[test]
fn a_common_view_is_filled_when_few_are_left_in_it() {
    let chunks = 2 * MAX_CANDIDATES as u64;
    let mut wanted = Wanted::new(chunks, 0);
    (0..chunks).for_each(|chunk| wanted.want(chunk, 0));
    let mut view = View::default();
    assert_eq!(view.peek(&wanted, |_| false), Some(0));
    let few = MAX_CANDIDATES / 8;
    for left in [few, few - 1] {
        while view.best.len() > left {
            let (_, turn) = view.best.pop_first().unwrap();
            wanted.unwant(turn);
        }
        let filled = left < few;
        assert!(view.peek(&wanted, |_| false).is_some());
        assert_eq!(view.best.len() > left, filled, "{left}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever becomes wanted, rarer or more common: the pick is the best that there is, and a
    /// floor that is lower than it could be costs time alone.
    #[test]
    fn a_pick_is_what_a_plain_search_finds(
        (chunks, first) in (1_u64..2_500).prop_flat_map(|chunks| (Just(chunks), 0..chunks)),
        keys in prop::collection::vec(0_u8..4, 2_500),
        steps in prop::collection::vec((0_u8..8, any::<prop::sample::Index>()), 1..300),
        every in 1_u64..5,
        floor in 0_u8..=1,
    ) {
        let mut wanted = Wanted::new(chunks, first);
        let mut has = ChunkSet::empty(chunks);
        for chunk in 0..chunks {
            let key = keys[chunk as usize];
            if chunk % every == 0 {
                has.insert(chunk);
            }
            if key < 3 {
                wanted.want(chunk, key + u8::from(has.contains(chunk)));
            }
        }
        let (mut own, mut all) = (View::default(), View::default());
        for (step, place) in steps {
            let chunk = place.index(chunks as usize) as u64;
            match step {
                0 => wanted.shift(chunk, true),
                1 => wanted.unwant(chunk),
                2 if wanted.key(chunk).is_none() => {
                    wanted.want(chunk, 1);
                    all.offer(1, wanted.turn(chunk));
                    if has.contains(chunk) {
                        own.offer(1, wanted.turn(chunk));
                    }
                }
                3 if wanted.key(chunk).is_some_and(|key| key > 1) => {
                    wanted.shift(chunk, false);
                    own.reset();
                    all.reset();
                }
                4 => {
                    let expected = plain(&wanted, chunks, |_| true);
                    prop_assert_eq!(all.peek(&wanted, |_| false), expected);
                    expected.into_iter().for_each(|chunk| wanted.unwant(chunk));
                }
                5 => {
                    let (refused, may) = (|n: u64| n == chunk, |n: u64| n != chunk);
                    let expected = plain(&wanted, chunks, may);
                    prop_assert_eq!(all.pick(&wanted, None, 0, refused), expected);
                    expected.into_iter().for_each(|chunk| wanted.unwant(chunk));
                }
                _ => {
                    let may = |n: u64| n != chunk && has.contains(n);
                    let expected = plain(&wanted, chunks, may);
                    let picked = own.pick(&wanted, Some(&has), floor, |n| n == chunk);
                    prop_assert_eq!(picked, expected);
                    expected.into_iter().for_each(|chunk| wanted.unwant(chunk));
                }
            }
        }
    }
}
