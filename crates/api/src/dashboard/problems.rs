//! What an operator should look at, worst first: made from what the parts of the node say, without asking any of them.
//!
//! | file | what it looks at |
//! |---|---|
//! | `verdicts` | the gate: head, conflicts, alarms |
//! | `proofs` | proofs that lack or are invalid, proof engines, proof sync |
//! | `neighbours` | beacon node, execution client, peers |
//! | `disk` | store and disk |

mod disk;
mod neighbours;
mod proofs;
mod verdicts;

use assay_gate::{HeldBy, ImportPolicy, PayloadVerdict, SeenAlarm};
use assay_network::SyncState;
use assay_proof_engine::EndpointHealth;
use assay_store::StoreStats;
use assay_types::{BlockHash, ProofType, Slot, ValidatorIndex};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Somebody has to act now.
    Critical,
    /// Something does not work as it should.
    Warning,
    /// Good to know.
    Note,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) level: Level,
    /// Does not change from version to version.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// What to do.
    pub(crate) advice: &'static str,
    pub(crate) block_hash: Option<BlockHash>,
}

/// The execution client, as the gate's endpoint sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Execution {
    /// No Engine API is served.
    NotServed,
    /// `proofs-only`.
    None,
    /// It answers.
    Online,
    /// It does not.
    Offline,
}

impl Execution {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotServed => "not_served",
            Self::None => "none",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// What is known of the node.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) synced: bool,
    pub(crate) current_slot: Slot,
    pub(crate) head_slot: Option<Slot>,
    pub(crate) policy: ImportPolicy,
    pub(crate) execution: Execution,
    pub(crate) head: Option<(BlockHash, PayloadVerdict, Option<HeldBy>)>,
    pub(crate) conflicts: &'a [BlockHash],
    pub(crate) disagreements: &'a [BlockHash],
    pub(crate) unproven: &'a BTreeSet<Slot>,
    pub(crate) invalid: &'a BTreeSet<(Slot, ProofType, ValidatorIndex)>,
    pub(crate) alarms: &'a BTreeMap<&'static str, SeenAlarm>,
    pub(crate) now_ms: u64,
    pub(crate) engines: &'a [EndpointHealth],
    pub(crate) verifies: bool,
    pub(crate) insecure: bool,
    pub(crate) peers: usize,
    pub(crate) proof_aware: usize,
    /// `None` where it could not be read.
    pub(crate) store: Option<StoreStats>,
    pub(crate) max_db_size: Option<u64>,
    pub(crate) disk_free: Option<u64>,
    pub(crate) sync: SyncState,
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(
        &mut self,
        level: Level,
        kind: &'static str,
        text: impl Into<String>,
        advice: &'static str,
    ) -> &mut Problem {
        let at = self.0.len();
        self.0.push(Problem {
            level,
            kind,
            text: text.into(),
            advice,
            block_hash: None,
        });
        &mut self.0[at]
    }
}

/// What there is to look at, worst first.
pub(crate) fn problems(facts: &Facts<'_>) -> Vec<Problem> {
    let mut found = Found::default();
    verdicts::of_verdicts(facts, &mut found);
    proofs::of_proofs(facts, &mut found);
    neighbours::of_neighbours(facts, &mut found);
    disk::of_disk(facts, &mut found);
    let mut found = found.0;
    found.sort_by_key(|problem| problem.level);
    found
}
fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn count_is(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what} is")
    } else {
        format!("{n} {what}s are")
    }
}

#[cfg(test)]
mod tests;
