//! The live view: slots against nodes. On a terminal a table that is redrawn; elsewhere a line whenever a slot is done.

use super::observe::{NodeReport, Payload};
use anyhow::Context;
use assay_simulator::SimBlock;
use assay_types::{ProofType, Slot};
use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write},
    sync::Arc,
};

/// Slots the table shows: the newest.
const ROWS: usize = 12;

/// Draws what the nodes say.
pub(super) struct LiveView {
    nodes: usize,
    proof_types: Vec<ProofType>,
    terminal: bool,
    drawn: usize,
    told: BTreeSet<Slot>,
}

impl LiveView {
    pub(super) fn new(nodes: usize, proof_types: &[ProofType]) -> Self {
        Self {
            nodes,
            proof_types: proof_types.to_vec(),
            terminal: std::io::stdout().is_terminal(),
            drawn: 0,
            told: BTreeSet::new(),
        }
    }

    /// Draws the newest slots.
    pub(super) fn show(
        &mut self,
        out: &mut impl Write,
        blocks: &[Arc<SimBlock>],
        reports: &[NodeReport],
    ) -> anyhow::Result<()> {
        if self.terminal {
            let lines = self.table(blocks, reports);
            // Lines wider than the terminal are cut, not wrapped: the table is redrawn by counting lines.
            let mut text = String::from("\x1b[?7l");
            if self.drawn > 0 {
                text.push_str(&format!("\x1b[{}A", self.drawn));
            }
            for line in &lines {
                text.push_str(&format!("\x1b[2K{line}\n"));
            }
            text.push_str("\x1b[?7h");
            self.drawn = lines.len();
            return out
                .write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .context("standard output");
        }
        for block in blocks {
            let cells: Vec<String> = reports.iter().map(|r| self.cell(block, r)).collect();
            let done = cells.len() == self.nodes
                && reports.iter().all(|report| {
                    report.payload(&block.block_hash()).is_some_and(|payload| {
                        payload.verdict == "VALID"
                            && self.proof_types.iter().all(|t| payload.proof(*t).is_some())
                    })
                });
            if done && self.told.insert(block.slot) {
                writeln!(out, "slot {:>4}  {}", block.slot.0, cells.join("  ")).context("standard output")?;
            }
        }
        Ok(())
    }

    /// Leaves the table as it stands.
    pub(super) fn finish(&mut self) {
        self.drawn = 0;
    }

    fn table(&self, blocks: &[Arc<SimBlock>], reports: &[NodeReport]) -> Vec<String> {
        let mut lines = vec![format!(
            "{:>6}  {}",
            "slot",
            (1..=self.nodes)
                .map(|n| format!("{:<28}", format!("node {n}")))
                .collect::<String>()
        )];
        for block in &blocks[blocks.len().saturating_sub(ROWS)..] {
            let cells: String = reports
                .iter()
                .map(|r| format!("{:<28}", self.cell(block, r)))
                .collect();
            lines.push(format!("{:>6}  {cells}", block.slot.0));
        }
        lines
    }

    /// Proofs by type (time to the proof) and the verdict, for one payload at one node.
    fn cell(&self, block: &SimBlock, report: &NodeReport) -> String {
        let Some(payload) = report.payload(&block.block_hash()) else {
            return "…".into();
        };
        let proofs: Vec<String> = self.proof_types.iter().map(|t| proof_text(payload, *t)).collect();
        format!("{} {}", proofs.join(" "), payload.verdict)
    }
}

fn proof_text(payload: &Payload, proof_type: ProofType) -> String {
    payload.proof(proof_type).map_or_else(
        || format!("{proof_type}:—"),
        |proof| {
            format!(
                "{proof_type}:{}ms",
                proof.at_ms.saturating_sub(payload.seen_at_ms)
            )
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_simulator::{ChainConfig, SimChain};
    use assay_types::Spec;
    use serde_json::json;

    fn blocks(count: u64) -> Vec<Arc<SimBlock>> {
        let mut chain = SimChain::new(ChainConfig {
            spec: Spec::minimal(),
            genesis_time: 1_700_000_000,
            validators: 4,
            payload_bytes: 100,
            seed: 7,
        })
        .unwrap();
        (1..=count)
            .map(|slot| chain.produce(Slot(slot), None).unwrap())
            .collect()
    }

    /// One node that has these blocks, the first `proven` of them proven and VALID.
    fn report(blocks: &[Arc<SimBlock>], proven: usize) -> NodeReport {
        let payloads: Vec<_> = blocks
            .iter()
            .enumerate()
            .map(|(n, block)| {
                let proofs = if n < proven {
                    json!([{ "proof_type": 3, "at_ms": 1250 }])
                } else {
                    json!([])
                };
                json!({
                    "block_hash": block.block_hash(), "new_payload_request_root": null,
                    "verdict": if n < proven { "VALID" } else { "SYNCING" },
                    "told_syncing_first": true, "told_valid": n < proven,
                    "seen_at_ms": 1000, "valid_at_ms": null, "told_valid_at_ms": null, "proofs": proofs,
                })
            })
            .collect();
        NodeReport {
            status: serde_json::from_value(json!({
                "proofs": { "accepted": 0, "by_source": {} },
                "network": { "connected_peers": 0, "bytes_sent": 0, "bytes_received": 0 },
            }))
            .unwrap(),
            payloads: serde_json::from_value(json!(payloads)).unwrap(),
        }
    }

    fn drawn(view: &mut LiveView, blocks: &[Arc<SimBlock>], reports: &[NodeReport]) -> String {
        let mut out = Vec::new();
        view.show(&mut out, blocks, reports).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn on_a_terminal_the_table_is_redrawn_in_its_place() {
        let blocks = blocks(20);
        let mut view = LiveView::new(2, &[3]);
        view.terminal = true;
        let first = drawn(
            &mut view,
            &blocks[..2],
            &[report(&blocks, 1), report(&blocks[..1], 0)],
        );
        assert!(!first.contains("A\x1b[2K"), "nothing to go back over: {first:?}");
        for cell in ["node 1", "node 2", "3:250ms VALID", "3:— SYNCING", "…"] {
            assert!(first.contains(cell), "{cell:?}: {first}");
        }
        // The three lines of before, then the newest slots, no more than fit.
        let second = drawn(&mut view, &blocks, &[report(&blocks, 20), report(&blocks, 20)]);
        assert!(second.starts_with("\x1b[?7l\x1b[3A\x1b[2K"), "{second:?}");
        assert_eq!(second.matches('\n').count(), ROWS + 1);
        assert!(
            second.contains("    20  ") && !second.contains("     8  "),
            "{second}"
        );
        // Left as it stands: what comes next goes below.
        view.finish();
        let third = drawn(&mut view, &blocks, &[report(&blocks, 20), report(&blocks, 20)]);
        assert!(third.starts_with("\x1b[?7l\x1b[2K"), "{third:?}");
    }

    #[test]
    fn elsewhere_a_line_is_written_once_for_each_slot_that_is_done() {
        let blocks = blocks(3);
        let mut view = LiveView::new(2, &[3]);
        view.terminal = false;
        let half = [report(&blocks, 2), report(&blocks, 1)];
        let text = drawn(&mut view, &blocks, &half);
        assert_eq!(text, "slot    1  3:250ms VALID  3:250ms VALID\n");
        let all = [report(&blocks, 3), report(&blocks, 3)];
        let text = drawn(&mut view, &blocks, &all);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(drawn(&mut view, &blocks, &all), "");
    }
}
