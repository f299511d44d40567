//! Nodes, settings and troubles, each with each: the tables of docs/import-policies.md.

use super::{
    driver::{Run, run},
    node::{Asks, Habits, Head},
    world::{Trouble, World},
};
use assay_gate::{GateConfig, ImportPolicy, OnMissingProofs};
use std::fmt::Write as _;

/// Worlds that a cell of the table is made from.
pub const SEEDS: u64 = 4;

/// A kind of beacon node.
pub struct Kind {
    pub name: &'static str,
    pub what: &'static str,
    pub habits: Habits,
}

pub const KINDS: [Kind; 4] = [
    Kind {
        name: "asks every slot",
        what: "repeats `forkchoiceUpdated` once a slot, 8 s into it: Lighthouse with `--always-prepare-payload`, Prysm with `--prepare-all-payloads`",
        habits: Habits {
            asks: Asks::EverySlot,
            forkchoice_validates: true,
            gloas: false,
        },
    },
    Kind {
        name: "asks on change",
        what: "sends `forkchoiceUpdated` when its head changes",
        habits: Habits {
            asks: Asks::WhenHeadChanges,
            forkchoice_validates: true,
            gloas: false,
        },
    },
    Kind {
        name: "`newPayload` only",
        what: "takes VALID from `newPayload` alone: Lodestar 1.5.1",
        habits: Habits {
            asks: Asks::WhenHeadChanges,
            forkchoice_validates: false,
            gloas: false,
        },
    },
    Kind {
        name: "Gloas",
        what: "asks every slot; payloads come apart from their blocks, and votes for an optimistic payload are ignored on gossip",
        habits: Habits {
            asks: Asks::EverySlot,
            forkchoice_validates: true,
            gloas: true,
        },
    },
];

/// Settings of the gate.
pub struct Settings {
    pub flags: &'static str,
    pub policy: ImportPolicy,
    pub lag: u32,
    pub wait_ms: u64,
    /// Where trust-execution: after so many slots, 8 being the default.
    pub grace_slots: Option<u64>,
}

const fn settings(flags: &'static str, policy: ImportPolicy) -> Settings {
    Settings {
        flags,
        policy,
        lag: 0,
        wait_ms: 0,
        grace_slots: None,
    }
}

pub const SETTINGS: [Settings; 11] = [
    settings("observe", ImportPolicy::Observe),
    settings("require-proofs", ImportPolicy::RequireProofs),
    Settings {
        wait_ms: 2000,
        ..settings(
            "require-proofs --wait-for-proofs 2000",
            ImportPolicy::RequireProofs,
        )
    },
    Settings {
        wait_ms: 4000,
        ..settings(
            "require-proofs --wait-for-proofs 4000",
            ImportPolicy::RequireProofs,
        )
    },
    Settings {
        grace_slots: Some(8),
        ..settings(
            "require-proofs --on-missing-proofs trust-execution",
            ImportPolicy::RequireProofs,
        )
    },
    Settings {
        lag: 1,
        ..settings("require-proofs --proof-lag 1", ImportPolicy::RequireProofs)
    },
    Settings {
        lag: 4,
        ..settings("require-proofs --proof-lag 4", ImportPolicy::RequireProofs)
    },
    Settings {
        lag: 4,
        grace_slots: Some(8),
        ..settings(
            "require-proofs --proof-lag 4 --on-missing-proofs trust-execution",
            ImportPolicy::RequireProofs,
        )
    },
    settings("accept-proofs", ImportPolicy::AcceptProofs),
    settings("proofs-only", ImportPolicy::ProofsOnly),
    Settings {
        wait_ms: 4000,
        ..settings("proofs-only --wait-for-proofs 4000", ImportPolicy::ProofsOnly)
    },
];

impl Settings {
    pub fn config(&self) -> GateConfig {
        GateConfig {
            policy: self.policy,
            proof_lag: self.lag,
            wait_for_proofs_ms: self.wait_ms,
            on_missing_proofs: match self.grace_slots {
                Some(grace_slots) => OnMissingProofs::TrustExecution { grace_slots },
                None => OnMissingProofs::Wait,
            },
            ..GateConfig::default()
        }
    }
}

/// A trouble, and how the guide calls it.
pub const TROUBLES: [(Trouble, &str, &str); 6] = [
    (
        Trouble::Nothing,
        "Every proof comes",
        "0 to 8 s after its payload.",
    ),
    (
        Trouble::LateProofs,
        "Proofs five slots late",
        "Those of slots 14 to 16; else as above.",
    ),
    (
        Trouble::NoProof,
        "A proof that never comes",
        "Of one payload, at slot 14 or soon after.",
    ),
    (
        Trouble::ExecutionClient,
        "The execution client in trouble",
        "It is away for a slot, syncs for four, and takes 6 s a call for two slots later on.",
    ),
    (
        Trouble::Restarts,
        "Assay killed and restarted",
        "Twice, for up to 4 s, the first time while the proofs of slots 11 to 13 come two slots late.",
    ),
    (
        Trouble::InvalidPayload,
        "An invalid payload",
        "One, which no validator votes for and nobody can prove.",
    ),
];

/// What a validator could do, in slots; and how runs end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    slots: u64,
    /// Attested to the head that the node has with its execution client alone.
    right: u64,
    /// Could propose.
    proposed: u64,
    /// Longest stretch in which it could not attest because its head was optimistic.
    longest: u64,
    /// Runs, those that end VALID, and those that end on another head.
    runs: u64,
    valid: u64,
    elsewhere: u64,
}

impl Cell {
    pub fn add(&mut self, heads: &[Head], run: &Run, end: Head) {
        let mut stretch = 0;
        for (duty, alone) in run.duties.iter().zip(heads) {
            stretch = if duty.optimistic { stretch + 1 } else { 0 };
            self.longest = self.longest.max(stretch);
            self.slots += 1;
            self.right += u64::from(!duty.optimistic && duty.head == *alone);
            self.proposed += u64::from(!duty.optimistic_at_start);
        }
        self.runs += 1;
        self.valid += u64::from(!run.ends_optimistic);
        self.elsewhere += u64::from(run.end != end);
    }

    fn percent(part: u64, of: u64) -> u64 {
        (100 * part + of / 2) / of.max(1)
    }

    pub fn text(&self) -> String {
        let end = match self.valid {
            0 => "optimistic".to_owned(),
            all if all == self.runs => "VALID".to_owned(),
            some => format!("VALID in {some} of {}", self.runs),
        };
        let elsewhere = match self.elsewhere {
            0 => String::new(),
            n => format!(", another head in {n}"),
        };
        format!(
            "{} · {} · {} · {end}{elsewhere}",
            Self::percent(self.right, self.slots),
            Self::percent(self.proposed, self.slots),
            self.longest,
        )
    }

    pub fn ends_valid(&self) -> bool {
        self.valid == self.runs
    }
}

/// A trouble's title, and by flags the kinds of node that stay optimistic at its end.
type Stuck = (&'static str, Vec<(&'static str, Vec<&'static str>)>);

/// The generated part of the guide.
pub fn markdown() -> String {
    let mut text = String::new();
    for kind in &KINDS {
        let _ = writeln!(text, "- **{}**: {}.", kind.name, kind.what);
    }
    text.push('\n');
    let mut stuck: Vec<Stuck> = Vec::new();
    for (trouble, title, what) in TROUBLES {
        let _ = write!(text, "### {title}\n\n{what}\n\n| |");
        for kind in &KINDS {
            let _ = write!(text, " {} |", kind.name);
        }
        text.push_str("\n|---|---|---|---|---|\n| *execution client alone* |");
        // The same for all settings.
        let alone: Vec<Vec<(World, Run)>> = KINDS
            .iter()
            .map(|kind| {
                let one = |seed| {
                    let world = World::new(seed, kind.habits.gloas, trouble);
                    let alone = run(&world, kind.habits, None);
                    (world, alone)
                };
                (0..SEEDS).map(one).collect()
            })
            .collect();
        let heads = |run: &Run| run.duties.iter().map(|d| d.head).collect::<Vec<_>>();
        for runs in &alone {
            let mut cell = Cell::default();
            runs.iter()
                .for_each(|(_, run)| cell.add(&heads(run), run, run.end));
            let _ = write!(text, " {} |", cell.text());
        }
        text.push('\n');
        let mut stays = Vec::new();
        for settings in &SETTINGS {
            let _ = write!(text, "| `{}` |", settings.flags);
            let mut kinds = Vec::new();
            for (kind, runs) in KINDS.iter().zip(&alone) {
                let mut cell = Cell::default();
                for (world, alone) in runs {
                    let gated = run(world, kind.habits, Some(settings.config()));
                    cell.add(&heads(alone), &gated, alone.end);
                }
                let _ = write!(text, " {} |", cell.text());
                if !cell.ends_valid() {
                    kinds.push(kind.name);
                }
            }
            text.push('\n');
            if !kinds.is_empty() {
                stays.push((settings.flags, kinds));
            }
        }
        text.push('\n');
        stuck.push((title, stays));
    }
    text.push_str("### What does not end VALID\n\n");
    for (title, stays) in stuck {
        let _ = writeln!(text, "- {title}:");
        for (flags, kinds) in &stays {
            let kinds = if kinds.len() == KINDS.len() {
                "every node".to_owned()
            } else {
                kinds.join(", ")
            };
            let _ = writeln!(text, "  - `{flags}`: {kinds}");
        }
        if stays.is_empty() {
            text.push_str("  - nothing\n");
        }
    }
    text
}
