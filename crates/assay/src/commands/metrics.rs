//! `assay metrics`: every metric that a node or a prover can have, as a table: `docs/metrics.md` is made by it. The table
//! is made from the registrations themselves: each part makes its series once, at zero.

use anyhow::Context;
use assay_api::NodeNumbers;
use assay_gate::{Alarm, GateMetrics, endpoint::EndpointCounts};
use assay_native_verifiers::NativeMetrics;
use assay_proof_engine::RouterMetrics;
use assay_prover::{ProverMetrics, SignerMetrics};
use assay_store::StoreStats;
use assay_types::Slot;
use assay_verification::VerificationMetrics;
use clap::Args;
use prometheus_client::{metrics::info::Info, registry::Registry};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
};

/// Flags of `assay metrics`.
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {}

/// Stands for the values of a label that are not listed.
const ANY: &str = "…";
/// Values of one label that are listed.
const MAX_VALUES: usize = 24;

/// One metric.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metric {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// What it counts or measures.
    pub help: String,
    /// Its labels, each with its values; a list with `…` is not complete.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

/// Prints the table.
pub fn run(_: &MetricsArgs) -> anyhow::Result<()> {
    let table = document(&all()?);
    std::io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

/// Every metric by name: what Prometheus calls the series, `_total` included, without `_bucket`, `_sum` and `_count`.
///
/// # Errors
/// Where a registration cannot be written as text.
pub fn all() -> anyhow::Result<BTreeMap<String, Metric>> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry()).context("metrics")?;
    read(&text)
}

/// Names, as a node and a prover register them.
fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register(
        "assay_build",
        "The program that runs",
        Info::new(vec![("version", ANY)]),
    );
    let verification = VerificationMetrics::default();
    verification.make_all();
    verification.register(registry.sub_registry_with_prefix("assay_verification"));
    let engines = RouterMetrics::default();
    engines.make_all(ANY);
    let prefixed = registry.sub_registry_with_prefix("assay_proof_engine");
    engines.register(prefixed);
    let native = NativeMetrics::default();
    native.make_all();
    native.register(prefixed.sub_registry_with_prefix("native"));
    GateMetrics::default().register(registry.sub_registry_with_prefix("assay"));
    ProverMetrics::default().register(registry.sub_registry_with_prefix("assay_prover"));
    SignerMetrics::default().register(registry.sub_registry_with_prefix("assay_signer"));
    assay_network::all_metrics(&mut registry);
    let node = NodeNumbers {
        alarms: Alarm::LABELS.map(|kind| (kind, 0)).to_vec(),
        endpoint: EndpointCounts::default().each(),
        execution_up: Some(true),
        store: Some(StoreStats {
            proofs: 0,
            proof_bytes: 0,
            file_bytes: 0,
            oldest_slot: None,
            newest_slot: None,
            serve_range_start: Slot(0),
            corrupted: 0,
            pruned: 0,
            is_healthy: true,
        }),
        max_db_size: Some(0),
        disk_free: Some(0),
        ..NodeNumbers::default()
    };
    registry
        .sub_registry_with_prefix("assay")
        .register_collector(Box::new(node));
    registry
}

/// Reads OpenMetrics text: the metrics by name.
///
/// # Errors
/// Where the text is none.
pub fn read(text: &str) -> anyhow::Result<BTreeMap<String, Metric>> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    let mut helps: BTreeMap<&str, &str> = BTreeMap::new();
    // The family that the samples below its type line belong to, and the name its series have.
    let mut family = (String::new(), String::new());
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            let series = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let metric = found.entry(series.clone()).or_default();
            kind.clone_into(&mut metric.kind);
            helps
                .get(name)
                .copied()
                .unwrap_or_default()
                .clone_into(&mut metric.help);
            family = (name.to_owned(), series);
        } else if !line.starts_with('#') && !line.is_empty() {
            anyhow::ensure!(line.starts_with(&family.0), "{line:?} is not of {}", family.0);
            let Some(metric) = found.get_mut(&family.1) else {
                continue;
            };
            for (label, value) in labels(line) {
                if label != "le" {
                    metric.labels.entry(label).or_default().insert(value);
                }
            }
        }
    }
    Ok(found)
}

/// Labels of a sample: no value of ours has a quote in it.
fn labels(line: &str) -> Vec<(String, String)> {
    let inside = line
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or("", |(inside, _)| inside);
    let mut found = Vec::new();
    let mut rest = inside;
    while let Some((name, after)) = rest.split_once("=\"") {
        let Some((value, next)) = after.split_once('"') else {
            break;
        };
        found.push((name.trim_start_matches(',').to_owned(), value.to_owned()));
        rest = next;
    }
    found
}

/// The parts of a node, by what their metrics begin with: the longest that fits counts.
const PARTS: [(&str, &str); 14] = [
    ("assay_build", "The program"),
    ("assay_chain_", "The chain, as the beacon node has it"),
    (
        "assay_engine_api_",
        "The Engine API endpoint in front of the execution client",
    ),
    ("assay_execution_client_", "The execution client"),
    ("assay_gate_", "The gate"),
    ("assay_network_", "Peers and gossip"),
    ("assay_network_rpc_", "Requests and responses between peers"),
    ("assay_network_sync_", "Proof sync"),
    ("assay_proof_engine_", "Proof engines"),
    ("assay_proofs_", "Whether proofs mean anything"),
    (
        "assay_prover_",
        "The prover (`assay prover`, `assay node --prover`)",
    ),
    ("assay_signer_", "Keys"),
    ("assay_store_", "The proof store"),
    ("assay_verification_", "Verification"),
];

/// The part a metric belongs to; `None` where it belongs to none.
pub fn part(name: &str) -> Option<&'static str> {
    let fits = PARTS.iter().filter(|(prefix, _)| name.starts_with(prefix));
    fits.max_by_key(|(prefix, _)| prefix.len()).map(|(_, part)| *part)
}

/// The document.
pub fn document(metrics: &BTreeMap<String, Metric>) -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Made by `assay metrics > docs/metrics.md`; a test keeps it in step with the program. A node has them at \
         `/metrics` of its HTTP API and of `--metrics-port`, in OpenMetrics text. A metric with labels appears with its first \
         event, `assay_gate_alarms_total` and `assay_proof_engine_healthy` from the start. A histogram has `_bucket`, `_sum` and \
         `_count`. Dashboards for Grafana are in `monitoring/grafana`, alert rules in `monitoring/alerts.yml`. \
         A node has `gossipsub_*` beside these, which are libp2p's own.\n",
    );
    for (_, title) in PARTS {
        let of_part: Vec<_> = metrics
            .iter()
            .filter(|(name, _)| part(name) == Some(title))
            .collect();
        if of_part.is_empty() {
            continue;
        }
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
        );
        for (name, metric) in of_part {
            let labels: Vec<String> = metric.labels.keys().map(|l| format!("`{l}`")).collect();
            let help = metric.help.replace('|', "\\|");
            let _ = writeln!(
                out,
                "| `{name}` | {} | {} | {help} |",
                metric.kind,
                labels.join(", ")
            );
        }
    }
    let mut values: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for (name, metric) in metrics {
        for (label, listed) in &metric.labels {
            if listed.contains(ANY) || listed.len() > MAX_VALUES {
                continue;
            }
            let listed: Vec<String> = listed
                .iter()
                .map(|v| {
                    if v.is_empty() {
                        "empty".to_owned()
                    } else {
                        format!("`{v}`")
                    }
                })
                .collect();
            values.entry((label, listed.join(", "))).or_default().push(name);
        }
    }
    out.push_str("\n## Values of labels\n\n| label | of | values |\n|---|---|---|\n");
    for ((label, listed), names) in values {
        let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        let _ = writeln!(out, "| `{label}` | {} | {listed} |", names.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn text_is_read_with_names_as_prometheus_has_them() {
        let text = "# HELP a_calls Calls of a.\n# TYPE a_calls counter\na_calls_total{x=\"1\",y=\"\"} 3\na_calls_total{x=\"2\",y=\"z\"} 0\n\
                    # HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum{s=\"t\"} 0.0\n\
                    a_seconds_bucket{le=\"1.0\",s=\"t\"} 0\n# HELP a_up Up.\n# TYPE a_up gauge\na_up 1\n# EOF\n";
        let metrics = read(text).unwrap();
        assert_eq!(
            metrics.keys().collect::<Vec<_>>(),
            ["a_calls_total", "a_seconds", "a_up"]
        );
        let calls = &metrics["a_calls_total"];
        assert_eq!(
            (calls.kind.as_str(), calls.help.as_str()),
            ("counter", "Calls of a.")
        );
        assert_eq!(calls.labels["x"], ["1".to_owned(), "2".to_owned()].into());
        assert_eq!(calls.labels["y"], [String::new(), "z".to_owned()].into());
        assert_eq!(metrics["a_seconds"].labels.keys().collect::<Vec<_>>(), ["s"]);
        assert!(metrics["a_up"].labels.is_empty());
        assert!(read("b 1\n").is_ok() && read("# TYPE a gauge\nb 1\n").is_err());
    }

    #[test]
    fn names_and_units_are_as_prometheus_wants_them() {
        let metrics = all().unwrap();
        assert!(metrics.len() > 80, "{}", metrics.len());
        for (name, metric) in &metrics {
            let about = format!("{name}, {}: {}", metric.kind, metric.help);
            assert!(part(name).is_some(), "{about}");
            let plain = name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(plain && !name.contains("__"), "{about}");
            let base = name.trim_end_matches("_total");
            match metric.kind.as_str() {
                "counter" => assert!(name.ends_with("_total") && !base.ends_with("_count"), "{about}"),
                "gauge" => assert!(!name.ends_with("_total"), "{about}"),
                "histogram" => assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{about}"),
                "info" => assert!(name.ends_with("_info"), "{about}"),
                other => panic!("{other}: {about}"),
            }
            // Base units, at the end.
            for unit in [
                "_ms",
                "_millis",
                "_micros",
                "_milliseconds",
                "_minutes",
                "_kb",
                "_kib",
                "_mb",
                "_mib",
                "_percent",
            ] {
                assert!(
                    !base.ends_with(unit) && !name.contains(&format!("{unit}_")),
                    "{about}"
                );
            }
            for unit in ["seconds", "bytes"] {
                let inside = base.split('_').any(|word| word == unit);
                assert!(!inside || base.ends_with(unit), "{about}");
            }
            let sentence = metric.help.trim_end_matches('.');
            assert_eq!(metric.help.len(), sentence.len() + 1, "one full stop: {about}");
            assert!(
                sentence.len() > 3 && !sentence.starts_with(|c: char| c.is_ascii_lowercase()),
                "{about}"
            );
            for label in metric.labels.keys() {
                assert!(
                    !["le", "quantile", "job", "instance"].contains(&label.as_str()),
                    "{about}"
                );
                assert!(
                    label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                    "{about}"
                );
            }
        }
    }
}
