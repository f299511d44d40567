//! The figures and the verdict at the end.

use super::{DevnetArgs, observe::NodeReport};
use crate::commands::files::print_line;
use assay_simulator::SimBlock;
use assay_types::ProofType;
use serde::Serialize;
use std::sync::Arc;

/// What must have happened.
pub(super) struct Expectation {
    pub(super) blocks: Vec<Arc<SimBlock>>,
    pub(super) slots: u64,
    pub(super) proof_types: Vec<ProofType>,
    /// Whether the gate's verdict hangs on proofs, so that payloads are SYNCING first.
    pub(super) verdicts_count: bool,
}

/// p50, p95 and the largest of some times, in milliseconds; absent where there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: u64,
    pub(super) p95: u64,
    pub(super) max: u64,
}

impl Quantiles {
    fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        // Nearest rank.
        let at = |percent: usize| {
            times
                .get((times.len() * percent).div_ceil(100).saturating_sub(1))
                .copied()
        };
        Some(Self {
            p50: at(50)?,
            p95: at(95)?,
            max: *times.get(last)?,
        })
    }
}

/// One node's part.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NodeSummary {
    pub(super) node: usize,
    pub(super) proofs_accepted: u64,
    pub(super) proofs_accepted_by_gossip: u64,
    pub(super) payloads: usize,
    pub(super) payloads_valid: usize,
    pub(super) payloads_syncing_then_valid: usize,
    pub(super) payload_to_proof_ms: Option<Quantiles>,
    pub(super) proof_to_verdict_ms: Option<Quantiles>,
    /// From the payload to the beacon node being told VALID, which it asks for in its own time.
    pub(super) payload_to_told_valid_ms: Option<Quantiles>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

/// The whole.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) success: bool,
    /// The figures are of what had happened by then.
    pub(super) interrupted: bool,
    pub(super) failures: Vec<String>,
    pub(super) slots: u64,
    pub(super) slot_ms: u64,
    pub(super) payloads: usize,
    pub(super) proof_types: Vec<ProofType>,
    pub(super) proof_size: usize,
    pub(super) proof_delay_ms: u64,
    pub(super) import_policy: crate::config::ImportPolicyName,
    pub(super) required_proofs: usize,
    /// Said on every surface: these proofs prove nothing about execution.
    pub(super) proofs_prove_nothing: bool,
    pub(super) nodes: Vec<NodeSummary>,
}

/// What has not happened, a line each; empty where all is well.
pub(super) fn failures(expected: &Expectation, reports: &[NodeReport]) -> Vec<String> {
    let mut found = Vec::new();
    if expected.blocks.len() as u64 != expected.slots {
        found.push(format!(
            "{} of {} payloads were made",
            expected.blocks.len(),
            expected.slots
        ));
    }
    for (index, report) in reports.iter().enumerate() {
        let node = index + 1;
        let (mut unseen, mut missing, mut not_valid, mut not_told) = (0, 0, 0, 0);
        for block in &expected.blocks {
            let Some(payload) = report.payload(&block.block_hash()) else {
                unseen += 1;
                continue;
            };
            let root = block.payload.as_ref().map(|p| p.request_root);
            if payload.new_payload_request_root != root {
                found.push(format!("node {node}: slot {}: another request root", block.slot));
            }
            missing += expected
                .proof_types
                .iter()
                .filter(|t| payload.proof(**t).is_none())
                .count();
            not_valid += usize::from(payload.verdict != "VALID");
            not_told += usize::from(!payload.told_valid);
        }
        for (count, what) in [
            (unseen, "payloads never seen"),
            (missing, "proofs missing"),
            (not_valid, "payloads not VALID"),
            (not_told, "payloads whose VALID the beacon node was not told"),
        ] {
            if count > 0 {
                found.push(format!("node {node}: {count} {what}"));
            }
        }
    }
    found
}

/// The figures.
///
/// Of a run that was interrupted nothing is said to be missing: it had no time to come.
pub(super) fn summarize(
    args: &DevnetArgs,
    expected: &Expectation,
    reports: &[NodeReport],
    interrupted: bool,
) -> Summary {
    let failures = if interrupted {
        vec![format!(
            "interrupted after {} of {} slots",
            expected.blocks.len(),
            expected.slots
        )]
    } else {
        failures(expected, reports)
    };
    let nodes = reports
        .iter()
        .enumerate()
        .map(|(index, report)| {
            let ours: Vec<_> = expected
                .blocks
                .iter()
                .filter_map(|b| report.payload(&b.block_hash()))
                .collect();
            let to_proof = ours.iter().flat_map(|p| {
                p.proofs
                    .iter()
                    .map(|proof| proof.at_ms.saturating_sub(p.seen_at_ms))
            });
            // From the proof that completed the k types to the verdict, where the verdict waited for it.
            let to_verdict = ours.iter().filter_map(|p| {
                let mut times: Vec<u64> = p.proofs.iter().map(|proof| proof.at_ms).collect();
                times.sort_unstable();
                let completed = *times.get(args.required_proofs.checked_sub(1)?)?;
                expected.verdicts_count.then_some(())?;
                p.valid_at_ms.map(|valid| valid.saturating_sub(completed))
            });
            let to_told = ours
                .iter()
                .filter_map(|p| p.told_valid_at_ms.map(|told| told.saturating_sub(p.seen_at_ms)));
            NodeSummary {
                node: index + 1,
                proofs_accepted: report.status.proofs.accepted,
                proofs_accepted_by_gossip: report.status.proofs.by_source.get("gossip").copied().unwrap_or(0),
                payloads: ours.len(),
                payloads_valid: ours.iter().filter(|p| p.verdict == "VALID").count(),
                payloads_syncing_then_valid: ours.iter().filter(|p| p.was_released()).count(),
                payload_to_proof_ms: Quantiles::of(to_proof.collect()),
                proof_to_verdict_ms: Quantiles::of(to_verdict.collect()),
                payload_to_told_valid_ms: Quantiles::of(to_told.collect()),
                bytes_sent: report.status.network.bytes_sent,
                bytes_received: report.status.network.bytes_received,
            }
        })
        .collect();
    Summary {
        success: failures.is_empty(),
        interrupted,
        failures,
        slots: expected.slots,
        slot_ms: args.slot_ms,
        payloads: expected.blocks.len(),
        proof_types: args.proof_types.clone(),
        proof_size: args.proof_size,
        proof_delay_ms: args.proof_delay_ms,
        import_policy: args.import_policy,
        required_proofs: args.required_proofs,
        proofs_prove_nothing: true,
        nodes,
    }
}

fn times(q: &Option<Quantiles>) -> String {
    q.as_ref()
        .map_or_else(|| "-".into(), |q| format!("{}/{}/{}", q.p50, q.p95, q.max))
}

/// Prints it for people.
pub(super) fn print(summary: &Summary) -> anyhow::Result<()> {
    print_line("")?;
    print_line(format!(
        "{:>4}  {:>7}  {:>9}  {:>8}  {:>14}  {:>21}  {:>21}  {:>10}  {:>10}",
        "node",
        "proofs",
        "by gossip",
        "VALID",
        "SYNCING→VALID",
        "payload→proof ms",
        "proof→verdict ms",
        "sent",
        "received"
    ))?;
    for n in &summary.nodes {
        print_line(format!(
            "{:>4}  {:>7}  {:>9}  {:>8}  {:>14}  {:>21}  {:>21}  {:>10}  {:>10}",
            n.node,
            n.proofs_accepted,
            n.proofs_accepted_by_gossip,
            format!("{}/{}", n.payloads_valid, summary.payloads),
            n.payloads_syncing_then_valid,
            times(&n.payload_to_proof_ms),
            times(&n.proof_to_verdict_ms),
            bytes(n.bytes_sent),
            bytes(n.bytes_received),
        ))?;
    }
    print_line("times are p50/p95/max; development proofs prove nothing about execution")?;
    if summary.success {
        print_line(format!(
            "ok: {} payloads, every proof at every node, every payload VALID everywhere",
            summary.payloads
        ))?;
    }
    Ok(())
}

fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n} B"),
        10_000..=9_999_999 => format!("{} KiB", n >> 10),
        _ => format!("{} MiB", n >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_nearest_rank() {
        assert_eq!(Quantiles::of(vec![]), None);
        assert_eq!(
            Quantiles::of(vec![7]),
            Some(Quantiles {
                p50: 7,
                p95: 7,
                max: 7
            })
        );
        let hundred = (1..=100).rev().collect();
        assert_eq!(
            Quantiles::of(hundred),
            Some(Quantiles {
                p50: 50,
                p95: 95,
                max: 100
            })
        );
    }
}
