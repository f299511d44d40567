//! The simulated network: whatever the peers are, sync ends with every proof that one of them serves.

use super::{
    key,
    peer::Kind,
    world::{TYPES, World},
};
use assay_types::Slot;
use proptest::prelude::*;
use std::time::Duration;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_with_every_proof_that_a_peer_serves(
        seed: u64,
        slots in 1u64..180,
        held in 1u64..12,
        peers in prop::collection::vec((prop::sample::select(Kind::ALL.to_vec()), 0u64..=100), 1..12),
        reorg in prop::option::of((0u64..120, 0u64..180)),
        trouble in prop::option::of((0u64..60, 1u64..900)),
        gossip in 0u64..20,
    ) {
        let mut world = World::new(seed, slots);
        if held > 1 {
            world.hold_some(held);
        }
        for (kind, percent) in peers {
            world.peer(kind, percent);
        }
        if let Some((after, slot)) = reorg {
            world.reorg_at(Duration::from_secs(after), Slot(100 + slot));
        }
        if let Some((from, long)) = trouble {
            world.engine_down = Duration::from_secs(from)..Duration::from_secs(from + long);
        }
        for n in 0..gossip {
            let at = Slot(100 + world.random(slots));
            if world.chain.contains_key(&at) {
                world.gossip(Duration::from_secs(n * 3), key(0, at, TYPES[n as usize % 4]));
            }
        }
        world.run();
        world.check();
    }

    #[test]
    fn one_honest_peer_among_twenty_bad_ones_is_enough(
        seed: u64,
        bad in prop::collection::vec(prop::sample::select(Kind::BAD.to_vec()), 20),
        place in 0usize..20,
    ) {
        let mut world = World::new(seed, 128);
        for (n, kind) in bad.into_iter().enumerate() {
            if n == place {
                world.peer(Kind::Honest, 100);
            }
            // What they hold they do not serve, or not as they should.
            world.peer(kind, 60);
        }
        world.run();
        world.check();
        let wanted = world.chain.len() * 4;
        prop_assert_eq!(world.held.len(), wanted);
    }
}

#[test]
fn work_is_shared_among_peers() {
    let mut world = World::new(7, 128);
    for _ in 0..6 {
        world.peer(Kind::Honest, 100);
    }
    world.run();
    world.check();
    assert!(world.most_at_once >= 4, "{} at once", world.most_at_once);
    assert!(world.requests < 60, "{} requests", world.requests);
}

#[test]
fn nobody_there_is_no_error() {
    let mut world = World::new(1, 20);
    world.run();
    let state = world.planner.state();
    assert_eq!((state.requests, state.sources), (0, 0));
    assert_eq!(state.open(), 4 * world.chain.len(), "all of it may still come");
}

/// Eight hours of mainnet without finality, four types, all missing: few and large requests.
#[test]
fn a_range_of_thousands_of_blocks() {
    let mut world = World::new(3, 2500);
    for _ in 0..3 {
        world.peer(Kind::Honest, 100);
    }
    world.run();
    world.check();
    // 512 proofs a request, once the peers have shown that they serve so many.
    assert!(world.requests < 120, "{} requests", world.requests);
}
