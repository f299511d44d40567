//! What a beacon node does with the gate's answers, seen with a model of one: `node` is written from the consensus specs'
//! optimistic sync and knows nothing of this project; `driver` puts the gate between it and its execution client.
//!
//! | file | what it holds |
//! |---|---|
//! | `node` | the beacon node: block tree, optimistic set, when it asks; `fork_choice`: its head by votes |
//! | `world` | blocks, votes, payloads, proofs and faults, from a seed |
//! | `driver` | one run in simulated time, behind the gate or without; `calls`: what is under way, `words`: the gate's names for it |
//! | `table` | nodes, settings and troubles, each with each: the guide's tables |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod driver;
mod node;
mod table;
mod world;

use assay_gate::{ImportPolicy, machine::Alarm};
use node::{Answer, Asks, Block, Call, Habits, Head, LatestValid, Node, Vote};
use table::{KINDS, Kind, SETTINGS, Settings, TROUBLES};
use world::{SLOT, Trouble, World};

/// Worlds of each property; `ASSAY_SEEDS` asks for more.
fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("ASSAY_SEEDS").ok().and_then(|n| n.parse().ok());
    100..100 + asked.unwrap_or(3)
}

/// A node in a world: on its execution client alone, and behind the gate.
struct Pair<'a> {
    world: &'a World,
    alone: &'a driver::Run,
    gated: driver::Run,
}

/// Every world, node and setting of a trouble; a failure names them.
fn each(trouble: Trouble, check: impl Fn(u64, &Kind, &Settings, &Pair<'_>)) {
    for seed in seeds() {
        for kind in &KINDS {
            let world = World::new(seed, kind.habits.gloas, trouble);
            let alone = driver::run(&world, kind.habits, None);
            for settings in &SETTINGS {
                let gated = driver::run(&world, kind.habits, Some(settings.config()));
                let at = what(seed, kind, settings, trouble);
                // Whatever goes wrong, VALID is said of nothing that is not proven as the policy asks.
                assert!(
                    gated.unfounded.is_empty(),
                    "{at}: VALID without a reason: {:?}",
                    gated.unfounded
                );
                check(
                    seed,
                    kind,
                    settings,
                    &Pair {
                        world: &world,
                        alone: &alone,
                        gated,
                    },
                );
            }
        }
    }
}

fn what(seed: u64, kind: &Kind, settings: &Settings, trouble: Trouble) -> String {
    format!(
        "seed {seed}, {trouble:?}, node: {}, {}",
        kind.name, settings.flags
    )
}

#[test]
fn the_model_follows_the_chain_by_itself() {
    for seed in seeds() {
        for kind in &KINDS {
            for (trouble, ..) in TROUBLES {
                let world = World::new(seed, kind.habits.gloas, trouble);
                let run = driver::run(&world, kind.habits, None);
                let (block, full) = world.tip;
                let at = format!("seed {seed}, {trouble:?}, {}", kind.name);
                assert_eq!(run.end, Head { block, full }, "{at}");
                assert!(!run.ends_optimistic, "{at}");
                assert_eq!(run.taken_back, 0, "{at}");
                let switched = run
                    .heads
                    .windows(2)
                    .filter(|w| w[0].1.block > w[1].1.block)
                    .count();
                // Something other than growth happens in these worlds.
                assert!(run.heads.len() > 20, "{at}: {switched}");
            }
        }
    }
}

/// Without faults the gate changes no head, whatever it answers; only a wait delays one, and only votes that are ignored
/// for an optimistic payload (Gloas) hide one.
#[test]
fn no_proof_moves_a_head() {
    for trouble in [Trouble::Nothing, Trouble::LateProofs, Trouble::NoProof] {
        each(trouble, |seed, kind, settings, pair| {
            let at = what(seed, kind, settings, trouble);
            let heads = |run: &driver::Run| {
                let mut heads: Vec<(u64, Head)> = run.heads.iter().map(|(t, h, _)| (*t, *h)).collect();
                heads.dedup_by_key(|(_, head)| *head);
                heads
            };
            let (alone, gated) = (heads(pair.alone), heads(&pair.gated));
            assert_eq!(pair.gated.end, pair.alone.end, "{at}");
            assert!(pair.gated.invalid.is_empty(), "{at}: {:?}", pair.gated.invalid);
            assert_eq!(pair.gated.taken_back, 0, "{at}");
            if settings.wait_ms == 0
                && pair.gated.ignored_votes == 0
                && settings.policy != ImportPolicy::ProofsOnly
            {
                assert_eq!(gated, alone, "{at}");
            }
            if settings.policy == ImportPolicy::ProofsOnly
                && settings.wait_ms == 0
                && pair.gated.ignored_votes == 0
            {
                // It is faster than any execution client, and that is all.
                let order = |heads: &[(u64, Head)]| heads.iter().map(|(_, h)| *h).collect::<Vec<_>>();
                let slots = |heads: &[(u64, Head)]| heads.iter().map(|(t, _)| t / SLOT).collect::<Vec<_>>();
                assert_eq!(
                    (order(&gated), slots(&gated)),
                    (order(&alone), slots(&alone)),
                    "{at}"
                );
            }
            if trouble != Trouble::NoProof {
                ends_well(&at, kind, pair);
            }
            let lags = settings.lag >= 4 || settings.policy == ImportPolicy::Observe;
            if trouble == Trouble::Nothing && lags {
                // A lag longer than proofs are late costs no duty.
                assert_eq!(pair.gated.duties, pair.alone.duties, "{at}");
            }
            let unexpected = pair
                .gated
                .alarms
                .iter()
                .filter(|a| !matches!(a, Alarm::Unproven { .. }))
                .count();
            assert_eq!(unexpected, 0, "{at}: {:?}", pair.gated.alarms);
        });
    }
}

/// Once every proof is there and the node has asked again, it stands where it stands with its execution client alone, and
/// calls it valid.
fn ends_well(at: &str, kind: &Kind, pair: &Pair<'_>) {
    let (block, full) = pair.world.tip;
    assert_eq!(pair.gated.end, Head { block, full }, "{at}");
    assert!(pair.gated.invalid.is_empty(), "{at}");
    if kind.habits.asks == Asks::EverySlot {
        assert!(!pair.gated.ends_optimistic, "{at}");
        assert_eq!(pair.gated.never_valid, 0, "{at}");
    }
}

#[test]
fn after_faults_the_heads_agree() {
    for trouble in [Trouble::ExecutionClient, Trouble::Restarts] {
        each(trouble, |seed, kind, settings, pair| {
            ends_well(&what(seed, kind, settings, trouble), kind, pair)
        });
    }
}

/// INVALID is the execution client's own. Without one the node leaves the payload by the others' votes.
#[test]
fn an_invalid_payload_is_left_by_every_node() {
    each(Trouble::InvalidPayload, |seed, kind, settings, pair| {
        let at = what(seed, kind, settings, Trouble::InvalidPayload);
        let bad: Vec<_> = (0..pair.world.blocks.len())
            .filter(|id| !pair.world.blocks[*id].valid)
            .collect();
        assert_eq!(bad.len(), 1, "{at}");
        assert_eq!(pair.gated.end, pair.alone.end, "{at}");
        let told: Vec<_> = pair.gated.invalid.iter().copied().collect();
        match settings.policy {
            ImportPolicy::ProofsOnly => assert!(told.is_empty(), "{at}: {told:?}"),
            _ => assert_eq!(told, bad, "{at}"),
        }
        let took = pair
            .gated
            .heads
            .iter()
            .any(|(_, h, optimistic)| !optimistic && h.full && h.block == bad[0]);
        assert!(!took, "{at}: the invalid payload was taken for valid");
    });
}

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/import-policies.md");
const BEGIN: &str =
    "<!-- from here on written by crates/gate/tests/optimistic_sync (ASSAY_WRITE_GUIDE=1) -->\n";
const END: &str = "<!-- to here -->\n";

#[test]
fn the_guides_tables_are_what_the_model_says() {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (before, rest) = guide.split_once(BEGIN).expect("the place where the tables begin");
    let (written, after) = rest.split_once(END).expect("the place where they end");
    let made = format!("\n{}\n", table::markdown());
    if std::env::var_os("ASSAY_WRITE_GUIDE").is_some() {
        std::fs::write(GUIDE, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    for (written, made) in written.lines().zip(made.lines()) {
        assert_eq!(
            written, made,
            "docs/import-policies.md differs; ASSAY_WRITE_GUIDE=1 writes it anew"
        );
    }
    assert_eq!(written.len(), made.len());
}

/// A node with blocks 1, 2, 3 in a row, all optimistic.
fn three_optimistic(gloas: bool) -> Node {
    let habits = Habits {
        asks: Asks::WhenHeadChanges,
        forkchoice_validates: true,
        gloas,
    };
    let mut node = Node::new(habits);
    for call in node.take_calls() {
        node.answered(call, Answer::Valid);
    }
    for id in 1..=3 {
        node.slot_started(id as u64);
        let block = Block {
            id,
            slot: id as u64,
            parent: id - 1,
            on_payload: true,
            votes: Vec::new(),
        };
        node.block_seen(block, true);
        if gloas {
            node.payload_seen(id, true);
        }
        let mut calls = node.take_calls();
        while let Some(call) = calls.pop() {
            node.answered(call, Answer::NotValidated);
            calls.extend(node.take_calls());
        }
    }
    assert!(node.is_optimistic());
    assert_eq!(node.head(), Head { block: 3, full: true });
    node
}

/// "How to apply latestValidHash when payload status is INVALID", row by row.
#[test]
fn latest_valid_hash_as_the_specification_has_it() {
    for (latest, head) in [
        (LatestValid::Hash(2), 2),
        (LatestValid::Hash(1), 1),
        (LatestValid::Zero, 0),
        (LatestValid::Null, 2),
        (LatestValid::Hash(99), 2),
    ] {
        for gloas in [false, true] {
            let mut node = three_optimistic(gloas);
            node.answered(
                Call::Forkchoice {
                    head: 3,
                    safe: None,
                    finalized: None,
                },
                Answer::Invalid(latest),
            );
            // Gloas: the first block whose payload is invalid stays, without it.
            let expected = if gloas {
                Head {
                    block: head + 1,
                    full: false,
                }
            } else {
                Head {
                    block: head,
                    full: true,
                }
            };
            assert_eq!(node.head(), expected, "{latest:?}, gloas {gloas}");
        }
    }
}

#[test]
fn valid_spreads_to_ancestors_and_no_further() {
    let mut node = three_optimistic(false);
    node.answered(
        Call::Forkchoice {
            head: 2,
            safe: None,
            finalized: None,
        },
        Answer::Valid,
    );
    assert!(node.is_valid(1) && node.is_valid(2) && !node.is_valid(3));
    assert!(node.is_optimistic());
}

/// Says VALID to all that a node asks.
fn all_valid(node: &mut Node) {
    let mut calls = node.take_calls();
    while let Some(call) = calls.pop() {
        node.answered(call, Answer::Valid);
        calls.extend(node.take_calls());
    }
}

#[test]
fn votes_decide_between_branches() {
    let habits = Habits {
        asks: Asks::WhenHeadChanges,
        forkchoice_validates: true,
        gloas: false,
    };
    let mut node = Node::new(habits);
    for id in 1..=2 {
        node.slot_started(id as u64);
        node.block_seen(
            Block {
                id,
                slot: id as u64,
                parent: 0,
                on_payload: true,
                votes: Vec::new(),
            },
            true,
        );
        all_valid(&mut node);
    }
    assert_eq!(node.head().block, 2, "it was proposed in time, and nobody voted");
    node.vote_seen(Vote {
        slot: 2,
        group: 0,
        block: 1,
        payload_present: false,
    });
    assert_eq!(node.head().block, 2, "a vote counts from the next slot on");
    node.slot_started(3);
    assert_eq!(node.head().block, 1);
}

/// "[IGNORE] The attested execution payload is optimistic": until a block brings the same votes.
#[test]
fn gloas_ignores_votes_for_an_optimistic_payload() {
    let votes: Vec<Vote> = (0..3)
        .map(|group| Vote {
            slot: 4,
            group,
            block: 3,
            payload_present: group != 0,
        })
        .collect();
    for valid in [false, true] {
        let mut node = three_optimistic(true);
        if valid {
            node.answered(
                Call::Forkchoice {
                    head: 3,
                    safe: None,
                    finalized: None,
                },
                Answer::Valid,
            );
        }
        node.slot_started(4);
        votes.iter().for_each(|vote| node.vote_seen(*vote));
        node.slot_started(5);
        assert_eq!(node.ignored, if valid { 0 } else { 2 });
        assert_eq!(
            node.head(),
            Head {
                block: 3,
                full: valid
            }
        );
        node.block_seen(
            Block {
                id: 4,
                slot: 5,
                parent: 3,
                on_payload: true,
                votes: votes.clone(),
            },
            false,
        );
        assert_eq!(node.head().block, 4, "valid: {valid}");
    }
}
