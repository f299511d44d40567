//! What is printed: one line an event on standard error, for people or as JSON.

use crate::traces::Traces;
use assay_verification::TRACE_TARGET;
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The levels by name.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Installs the subscriber, with what takes traces where there is one. `RUST_LOG`, where set, wins over `level` (error, warn, info, debug, trace, or a filter).
pub(crate) fn init(level: &str, format: LogFormat, traces: Option<&Traces>) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text)?,
        _ => {
            // One bare word that is no level would be taken for a target, and silence everything else.
            let word = level.chars().all(|c| c.is_ascii_alphanumeric());
            anyhow::ensure!(
                !word || LEVELS.contains(&level.to_ascii_lowercase().as_str()),
                "--log-level {level:?}: error, warn, info, debug, trace, off, or a filter"
            );
            EnvFilter::try_new(default_filter(level))?
        }
    };
    // Spans of traces are not of the log, whatever it lets through.
    let filter = filter.add_directive(format!("{TRACE_TARGET}=off").parse()?);
    let registry = tracing_subscriber::registry().with(traces.map(Traces::layer));
    match format {
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_target(false)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_filter(filter),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .with_writer(std::io::stderr)
                    .with_filter(filter),
            )
            .try_init(),
    }
    .map_err(|e| anyhow::anyhow!("logging: {e}"))
}

/// What the libraries may say. discv5 warns at each query of a node that knows nobody, gossipsub of each message that a
/// slow peer's queue does not take; both are counted here.
const FILTER_OF_OTHERS: &str = "warn,discv5=error,libp2p_gossipsub=error";

/// A bare level is ours; what the libraries below say is of interest from warnings on.
fn default_filter(level: &str) -> String {
    let bare = LEVELS.contains(&level.to_ascii_lowercase().as_str());
    if !bare {
        return level.to_owned();
    }
    let crates = [
        "assay",
        "assay_types",
        "assay_engine_api",
        "assay_chain",
        "assay_proof_engine",
        "assay_verification",
        "assay_store",
        "assay_gate",
        "assay_network",
        "assay_prover",
        "assay_api",
        "assay_simulator",
    ];
    let mut filter = String::from(FILTER_OF_OTHERS);
    for name in crates {
        filter.push_str(&format!(",{name}={level}"));
    }
    filter
}
