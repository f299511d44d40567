#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// An honest peer: as fast as this node's link allows.
const FAST: f64 = f64::INFINITY;

fn second(start: Instant, n: u64) -> Instant {
    start + Duration::from_secs(n)
}

fn peers(n: usize) -> Vec<PeerId> {
    (0..n).map(|_| PeerId::random()).collect()
}

fn names(gone: &[LetGo]) -> Vec<PeerId> {
    gone.iter().map(|gone| gone.peer).collect()
}

/// How peers fared that take what this node sends over one link.
struct Run {
    /// Messages that each got.
    got: Vec<usize>,
    /// When each was let go, in milliseconds, and whether that was its fault.
    gone: Vec<Option<(u64, bool)>>,
}

/// Takers that all want the same messages, one after the other, from a link of so many Mbit/s. Each is named by when it
/// begins, in seconds, and by how many bytes a second it takes at most; the link is split evenly among those that take
/// more than they get, give or take a tenth.
fn run(mbit: f64, takers: &[(u64, f64)], messages: &[usize]) -> Run {
    const TICK: u64 = 500;
    let n = takers.len();
    let (mut state, start, ids) = (Takers::default(), Instant::now(), peers(n));
    messages.iter().for_each(|len| state.sends(*len, start));
    let mut left: Vec<Vec<f64>> = vec![messages.iter().map(|len| *len as f64).collect(); n];
    let (mut got, mut gone) = (vec![0; n], vec![None; n]);
    for ms in (0..150_000).step_by(TICK as usize) {
        let now = start + Duration::from_millis(ms);
        let mut open: Vec<usize> = (0..n)
            .filter(|i| gone[*i].is_none() && !left[*i].is_empty() && takers[*i].0 * 1000 <= ms)
            .collect();
        // Who takes little has all of that; the rest is split.
        open.sort_by(|a, b| takers[*a].1.total_cmp(&takers[*b].1));
        let mut bytes = mbit * 1e6 / 8.0 * TICK as f64 / 1000.0;
        for (k, i) in open.iter().enumerate() {
            let share = bytes / (open.len() - k) as f64;
            let most = takers[*i].1 * TICK as f64 / 1000.0;
            bytes -= share.min(most);
            // 90 % to 110 %, in no order.
            let uneven = 0.9 + 0.2 * ((i * 7) % n) as f64 / n as f64;
            let taken = most.min(share * uneven).min(left[*i][0]);
            state.waits(*i as u64, ids[*i], now);
            state.takes(*i as u64, taken as usize, now);
            left[*i][0] -= taken;
            if left[*i][0] < 1.0 {
                left[*i].remove(0);
                got[*i] += 1;
                state.taken(*i as u64);
            }
        }
        for LetGo { peer, is_fault } in state.sweep(now) {
            let i = ids.iter().position(|id| *id == peer).unwrap();
            assert_eq!(gone[i], None, "let go twice");
            gone[i] = Some((ms, is_fault));
        }
        let slow = state.waiting.values().filter(|waiting| waiting.age(now) > SLOW);
        let copies = slow.count() * messages.iter().sum::<usize>();
        assert!(
            copies <= MAX_SLOW_COPIES,
            "{copies} bytes of copies after {ms} ms"
        );
    }
    Run { got, gone }
}

#[test]
fn honest_peers_get_the_proof_however_narrow_this_nodes_link_is() {
    // Mbit/s of the uplink, takers, how many bytes a second each takes at most, messages of how many MiB, and copies that
    // arrive at least.
    let table: [(f64, usize, f64, &[usize], usize); 10] = [
        (10.0, 26, FAST, &[4], 8),
        (50.0, 26, FAST, &[4], 24),
        (10.0, 12, FAST, &[4], 12),
        (5.0, 6, FAST, &[4], 6),
        (3.0, 3, FAST, &[4], 3),
        (3.0, 26, FAST, &[4], 2),
        (50.0, 26, FAST, &[4; 4], 24),
        (20.0, 12, FAST, &[4; 4], 24),
        (50.0, 26, FAST, &[1; 4], 104),
        // Peers on 5 Mbit/s, to each of which eight send the same.
        (50.0, 8, 5e6 / 8.0 / 8.0, &[4], 8),
    ];
    for (mbit, n, most, messages, least) in table {
        let messages: Vec<usize> = messages.iter().map(|mib| mib * MIB).collect();
        let Run { got, gone } = run(mbit, &vec![(0, most); n], &messages);
        let copies: usize = got.iter().sum();
        assert!(copies >= least, "{copies} of {n} takers at {mbit} Mbit/s");
        let faults = gone.iter().filter(|gone| matches!(gone, Some((_, true))));
        assert_eq!(faults.count(), 0, "{n} takers at {mbit} Mbit/s");
    }
}

#[test]
fn attackers_that_take_little_go_before_honest_peers_whenever_they_begin() {
    // Mbit/s of the uplink, honest peers, when attackers begin, what each takes in a second, when the last of them is gone.
    // There are 110 peers.
    let table = [
        (10.0, 6, 0, 0.0, 16),
        (10.0, 6, 5, 0.0, 21),
        (10.0, 12, 0, 1000.0, 16),
        (5.0, 6, 3, 1000.0, 19),
        (10.0, 6, 0, 3000.0, 61),
        (10.0, 6, 5, 3000.0, 66),
        (50.0, 8, 0, 40_000.0, 61),
    ];
    for (mbit, honest, begin, most, over) in table {
        let mut takers = vec![(0, FAST); honest];
        takers.resize(110, (begin, most));
        let Run { got, gone } = run(mbit, &takers, &[4 * MIB]);
        let row = format!("{honest} honest at {mbit} Mbit/s, attackers take {most} from {begin} s");
        assert_eq!(got[..honest], vec![1; honest], "{row}");
        assert_eq!(gone[..honest], vec![None; honest], "{row}");
        let ends = gone[honest..].iter().map(|gone| gone.unwrap().0).max().unwrap();
        assert!(ends <= over * 1000, "{row}: {ends} ms");
        // Far less than others at the same time.
        let faults = gone[honest..]
            .iter()
            .filter(|gone| matches!(gone, Some((_, true))))
            .count();
        match most as usize {
            0..=1000 => assert_eq!(faults, 110 - honest, "{row}"),
            3000 => assert!(faults >= 80, "{row}: {faults}"),
            _ => {}
        }
    }
}

#[test]
fn where_nobody_takes_anything_it_is_nobodys_fault() {
    // A second in which somebody takes something, and whether those that stand still are at fault.
    for (at, fault) in [(None, false), (Some(3), true), (Some(0), false)] {
        let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(9));
        for (n, peer) in peers.iter().enumerate() {
            takers.waits(n as u64, *peer, start);
        }
        if let Some(at) = at {
            takers.takes(8, 40 * KIB, second(start, at));
        }
        assert_eq!(takers.sweep(second(start, 15)), []);
        let gone = takers.sweep(second(start, 16));
        assert_eq!(gone.len(), if at == Some(3) { 8 } else { 9 }, "{at:?}");
        assert!(gone.iter().all(|gone| gone.is_fault == fault), "{at:?}");
    }
}

#[test]
fn who_takes_next_to_nothing_is_let_go_and_sooner_where_many_do() {
    let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(30));
    takers.waits(0, peers[0], start);
    // Waiting on is the same wait.
    takers.waits(0, peers[0], second(start, 8));
    takers.waits(1, peers[1], start);
    takers.taken(1);
    assert_eq!(takers.sweep(second(start, 15)), []);
    assert_eq!(names(&takers.sweep(second(start, 16))), [peers[0]]);
    assert_eq!(takers.sweep(second(start, 16)), [], "it is told once");
    takers.sends(4 * MIB, second(start, 20));
    for (n, peer) in peers.iter().enumerate() {
        takers.waits(n as u64, *peer, second(start, 20 + n as u64 / 15));
    }
    assert_eq!(takers.sweep(second(start, 25)), []);
    // All thirty are slow: six of those that were so first.
    let gone = names(&takers.sweep(second(start, 28)));
    assert_eq!(gone.len(), 30 - 96 / 4);
    assert!(gone.iter().all(|peer| peers[..15].contains(peer)));
}

#[test]
fn who_makes_progress_may_take_longer_and_not_for_ever() {
    // Bytes a second of one that is beside two that take more, whether there are these two, and the second in which it is
    // let go.
    let table = [
        (0, true, 16),
        (1000, true, 16),
        (2000, true, 16),
        (2500, true, 31),
        (60 * KIB, true, 31),
        (60 * KIB, false, 61),
        (75_000, true, 61),
        (10 * MIB, true, 61),
    ];
    for (rate, others, over) in table {
        let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(3));
        takers.sends(4 * MIB, start);
        for (n, peer) in peers.iter().enumerate().skip(if others { 0 } else { 2 }) {
            takers.waits(n as u64, *peer, start);
        }
        let gone = (1..70).find(|n| {
            takers.takes(0, 62 * KIB, second(start, *n));
            takers.takes(1, 62 * KIB, second(start, *n));
            takers.takes(2, rate, second(start, *n));
            names(&takers.sweep(second(start, *n))).contains(&peers[2])
        });
        assert_eq!(gone, Some(over), "{rate}");
    }
    // However much it took at first: 15 s without any are too many.
    let (mut takers, start, peer) = (Takers::default(), Instant::now(), PeerId::random());
    takers.waits(0, peer, start);
    takers.takes(0, 3 * MIB, second(start, 1));
    assert_eq!(takers.sweep(second(start, 16)), []);
    assert_eq!(names(&takers.sweep(second(start, 17))), [peer]);
}

proptest! {
    #[test]
    fn nobody_goes_for_whoever_takes_less(
        // When it began, how much it took, and whether it took something lately.
        all in prop::collection::vec((0u64..70, 0usize..5 * MIB, any::<bool>()), 1..60),
        sent in prop::collection::vec(1usize..5 * MIB, 0..20),
    ) {
        let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(all.len()));
        let now = second(start, 70);
        for len in &sent {
            takers.sends(*len, now);
        }
        let largest = sent.iter().rev().take(PEER_QUEUE_LEN).max().copied().unwrap_or(0);
        for (n, (since, bytes, lately)) in all.iter().enumerate() {
            takers.waits(n as u64, peers[n], second(start, *since));
            takers.takes(n as u64, *bytes, second(start, if *lately { 69 } else { *since }));
        }
        let tolerated = takers.slow_tolerated(now);
        let let_go = takers.sweep(now);
        let gone = names(&let_go);
        let age = |n: usize| 70 - all[n].0;
        let rate = |n: usize| all[n].1 as u64 / age(n);
        let stands_still = |n: usize| age(n) > 15 && (!all[n].2 || all[n].1 < 32 * KIB);
        let (still, moving): (Vec<usize>, Vec<usize>) =
            (0..all.len()).filter(|n| age(*n) > 6).partition(|n| stands_still(*n));
        prop_assert!(still.iter().all(|n| gone.contains(&peers[*n])));
        let (went, stayed): (Vec<usize>, Vec<usize>) =
            moving.iter().partition(|n| gone.contains(&peers[**n]));
        prop_assert_eq!(gone.len(), still.len() + went.len());
        prop_assert!(stayed.len() <= tolerated);
        let mean = moving.iter().map(|n| rate(*n)).sum::<u64>() / moving.len().max(1) as u64;
        let least = stayed.iter().map(|n| rate(*n)).min().unwrap_or(u64::MAX);
        for n in &went {
            let is_behind = age(*n) > 30 && all[*n].1 < largest / 2;
            let its_own_time = age(*n) > 60 || is_behind;
            prop_assert!(rate(*n) <= least || its_own_time, "{:?}", all);
            prop_assert!(rate(*n) < mean / 2 || rate(*n) <= least || its_own_time);
        }
        // Those that take most stay while they make progress.
        let mut best = moving.clone();
        best.sort_by_key(|n| (Reverse(rate(*n)), age(*n), peers[*n]));
        best.truncate(2);
        prop_assert!(best.iter().all(|n| age(*n) > 60 || stayed.contains(n)), "{:?}", all);
        // Nobody is at fault who takes an eighth of what those do.
        let most = best.iter().map(|n| rate(*n)).sum::<u64>() / best.len().max(1) as u64;
        for n in went {
            let is_fault = let_go.iter().any(|gone| gone.peer == peers[n] && gone.is_fault);
            prop_assert!(!is_fault || rate(n) <= most / 8);
        }
    }
}

#[test]
fn the_larger_the_copies_the_fewer_peers_may_be_slow() {
    let start = Instant::now();
    let mut takers = Takers::default();
    for (len, tolerated) in [
        (MIB, 96),
        (7 * MIB, 12),
        (4 * MIB, 8),
        (84 * MIB, 2),
        (400 * MIB, 2),
    ] {
        takers.sends(len, start);
        assert_eq!(takers.slow_tolerated(second(start, 100)), tolerated, "{len}");
    }
    // As many as a queue holds, and as long as they may be there.
    for _ in 0..PEER_QUEUE_LEN {
        takers.sends(MIB, second(start, 20));
    }
    assert_eq!(takers.slow_tolerated(second(start, 20)), 8);
    assert_eq!(takers.slow_tolerated(second(start, 120)), 8);
    assert_eq!(takers.slow_tolerated(second(start, 121)), MAX_SLOW_COPIES);
}
