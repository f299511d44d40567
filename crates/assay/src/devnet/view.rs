//! The live view: slots against nodes. On a terminal a table that is redrawn; elsewhere a line whenever a slot is done.

use super::observe::{NodeReport, Payload};
use anyhow::Context;
use assay_simulator::SimBlock;
use assay_types::{ProofType, Slot};
use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write},
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
    pub(super) fn show(&mut self, blocks: &[Arc<SimBlock>], reports: &[NodeReport]) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
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
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.drawn = 0;
        std::io::stdout().flush().context("standard output")
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
