//! Metrics, and what is made of them: the table in `docs/`, Grafana's dashboards, Prometheus's alert rules. Every query names
//! metrics, labels and values that there are.

use crate::assay;
use ::assay::commands::metrics::{Metric, all, document};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

type Metrics = BTreeMap<String, Metric>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Labels that Prometheus gives every series.
const GIVEN: [&str; 2] = ["job", "instance"];

#[test]
fn the_table_in_docs_is_that_of_the_program() {
    let ran = assay(Path::new("."), &["metrics"], b"");
    assert!(ran.ok, "{}", ran.err);
    let printed = String::from_utf8(ran.out).unwrap();
    assert_eq!(printed, document(&all().unwrap()));
    let written = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    assert!(
        printed == written,
        "docs/metrics.md is out of step: assay metrics > docs/metrics.md"
    );
}

/// Label, operator, value.
type Matcher = (String, String, String);

/// The names, label matchers and groupings of a query.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// Names of metrics, each with its matchers.
    selectors: Vec<(String, Vec<Matcher>)>,
    /// Labels of `by (...)` and `without (...)`, `on (...)`, `ignoring (...)`.
    groupings: BTreeSet<String>,
    /// Words that are neither.
    functions: BTreeSet<String>,
}

/// Reads as much of PromQL as there is in the rules and dashboards.
fn named(query: &str) -> Named {
    let mut found = Named::default();
    let mut rest = query;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || "\"[$".contains(c)) {
        // `5m` and `0.95` are no words; neither are strings, ranges and Grafana's variables.
        let before = rest[..at].chars().next_back();
        rest = &rest[at..];
        if let Some(string) = rest.strip_prefix('"') {
            rest = string.split_once('"').map_or("", |(_, rest)| rest);
            continue;
        }
        if rest.starts_with('[') {
            rest = rest.split_once(']').map_or("", |(_, rest)| rest);
            continue;
        }
        if let Some(variable) = rest.strip_prefix('$') {
            rest = variable.trim_start_matches(is_word);
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = rest[end..].trim_start();
        if before.is_some_and(|c| c.is_ascii_digit()) {
            continue;
        }
        if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&word) {
            if let Some((inside, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
                let labels = inside.split(',').map(|l| l.trim().to_owned());
                found.groupings.extend(labels.filter(|l| !l.is_empty()));
                rest = after;
            }
        } else if word.starts_with("assay_") || word == "up" {
            let mut matchers = Vec::new();
            if let Some((inside, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
                for matcher in inside.split("\",").filter(|m| !m.trim().is_empty()) {
                    let at = matcher.find(['=', '!']).unwrap();
                    let (label, said) = matcher.split_at(at);
                    let (operator, value) = said.split_once('"').unwrap();
                    matchers.push((
                        label.trim().to_owned(),
                        operator.trim().to_owned(),
                        value.trim_end_matches('"').to_owned(),
                    ));
                }
                rest = after;
            }
            found.selectors.push((word.to_owned(), matchers));
        } else {
            found.functions.insert(word.to_owned());
        }
    }
    found
}

const FUNCTIONS: [&str; 17] = [
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "rate",
    "increase",
    "histogram_quantile",
    "and",
    "or",
    "unless",
    "clamp_min",
    "absent",
    "topk",
    "time",
    "bool",
    "max_over_time",
];

/// What of a query is not there.
fn wrong_in(query: &str, metrics: &Metrics) -> Vec<String> {
    let mut wrong = Vec::new();
    let named = named(query);
    let mut labels: BTreeSet<&str> = GIVEN.into();
    for (name, matchers) in &named.selectors {
        if name == "up" {
            continue;
        }
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|base| metrics.get(*base).is_some_and(|m| m.kind == "histogram"));
        let base = of_histogram.unwrap_or(name);
        let Some(metric) = metrics
            .get(base)
            .filter(|m| m.kind != "histogram" || of_histogram.is_some())
        else {
            wrong.push(format!("no metric {name}"));
            continue;
        };
        labels.extend(metric.labels.keys().map(String::as_str));
        if name.ends_with("_bucket") {
            labels.insert("le");
        }
        for (label, operator, value) in matchers {
            let Some(values) = metric.labels.get(label) else {
                if !GIVEN.contains(&label.as_str()) {
                    wrong.push(format!("{name} has no label {label}"));
                }
                continue;
            };
            if values.contains("…") || value.starts_with('$') {
                continue;
            }
            let one_of: Vec<&str> = if operator.ends_with('~') {
                value.split('|').collect()
            } else {
                vec![value]
            };
            for value in one_of.into_iter().filter(|v| !values.contains(*v)) {
                wrong.push(format!("{name} has no {label}=\"{value}\""));
            }
        }
    }
    for label in named.groupings.iter().filter(|l| !labels.contains(l.as_str())) {
        wrong.push(format!("nothing here has a label {label}"));
    }
    for function in named
        .functions
        .iter()
        .filter(|f| !FUNCTIONS.contains(&f.as_str()))
    {
        wrong.push(format!("{function} is no function known here"));
    }
    if named.selectors.is_empty() {
        wrong.push("no metric at all".to_owned());
    }
    wrong
}

#[test]
fn queries_are_read_and_what_is_not_there_is_found() {
    let metrics = all().unwrap();
    for (query, wrong) in [
        ("assay_chain_synced == 0", None),
        (
            "sum by (verdict, reason) (rate(assay_verification_verdicts_total{source=~\"gossip|http\",verdict!=\"accept\"}[5m]))",
            None,
        ),
        (
            "histogram_quantile(0.95, sum by (le, stage) (rate(assay_verification_stage_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
            None,
        ),
        (
            "increase(assay_gate_alarms_total{kind=\"unproven\"}[10m]) > 0",
            None,
        ),
        ("assay_chain_sync", Some("no metric assay_chain_sync")),
        (
            "assay_verification_verdicts",
            Some("no metric assay_verification_verdicts"),
        ),
        (
            "assay_verification_stage_seconds",
            Some("no metric assay_verification_stage_seconds"),
        ),
        (
            "assay_gate_alarms_total{type=\"unproven\"}",
            Some("assay_gate_alarms_total has no label type"),
        ),
        (
            "assay_gate_alarms_total{kind=\"missing\"}",
            Some("assay_gate_alarms_total has no kind=\"missing\""),
        ),
        (
            "assay_gate_alarms_total{kind=~\"unproven|gone\"}",
            Some("assay_gate_alarms_total has no kind=\"gone\""),
        ),
        (
            "sum by (sink) (assay_gate_alarms_total)",
            Some("nothing here has a label sink"),
        ),
        (
            "averge(assay_chain_synced)",
            Some("averge is no function known here"),
        ),
        ("1 + 1", Some("no metric at all")),
    ] {
        let found = wrong_in(query, &metrics);
        assert_eq!(
            found.first().map(String::as_str),
            wrong,
            "{query}: {:?}",
            named(query)
        );
    }
}

#[test]
fn every_query_of_grafanas_dashboards_names_what_there_is() {
    let metrics = all().unwrap();
    let mut uids = BTreeSet::new();
    let mut queries = 0;
    for file in std::fs::read_dir(repository().join("monitoring/grafana")).unwrap() {
        let path = file.unwrap().path();
        let dashboard: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.display();
        assert!(
            uids.insert(dashboard["uid"].as_str().unwrap().to_owned()),
            "{name}"
        );
        assert!(
            dashboard["title"].as_str().unwrap().starts_with("Assay"),
            "{name}"
        );
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                panel["description"].as_str().is_some_and(|d| d.len() > 10),
                "{name}: {title} says what it shows"
            );
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                let wrong = wrong_in(query, &metrics);
                assert!(wrong.is_empty(), "{name}: {title}: {query}: {wrong:?}");
                assert!(
                    query.contains("instance=~\"$instance\""),
                    "{name}: {title}: {query}"
                );
                queries += 1;
            }
        }
    }
    assert!(queries > 30, "{queries}");
}

#[test]
fn every_alert_names_what_there_is_and_says_what_to_do() {
    let metrics = all().unwrap();
    let text = std::fs::read_to_string(repository().join("monitoring/alerts.yml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let mut alerts = BTreeSet::new();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let alert = rule["alert"].as_str().unwrap();
            assert!(alerts.insert(alert), "{alert} twice");
            let query = rule["expr"].as_str().unwrap();
            let wrong = wrong_in(query, &metrics);
            assert!(wrong.is_empty(), "{alert}: {query}: {wrong:?}");
            let severity = rule["labels"]["severity"].as_str().unwrap();
            assert!(["critical", "warning"].contains(&severity), "{alert}: {severity}");
            assert!(rule["annotations"]["summary"].is_string(), "{alert}");
            assert!(
                rule["annotations"]["description"]
                    .as_str()
                    .is_some_and(|d| d.len() > 40),
                "{alert}"
            );
            // Grafana and Prometheus fill in `{{ $labels.x }}`: the label must be one of the query's.
            for label in query_labels(&rule["annotations"]) {
                let grouped = named(query).groupings;
                let known = GIVEN.contains(&label.as_str())
                    || grouped.contains(&label)
                    || named(query)
                        .selectors
                        .iter()
                        .any(|(name, _)| metrics.get(name).is_some_and(|m| m.labels.contains_key(&label)));
                assert!(known, "{alert}: no label {label}");
            }
        }
    }
    for asked in [
        "AssayProofsMissing",
        "AssayExecutionAndProofsDisagree",
        "AssayProofEngineDown",
        "AssayNoProofAwarePeers",
        "AssayStoreNearLimit",
        "AssayDiskNearlyFull",
    ] {
        assert!(alerts.contains(asked), "{asked}");
    }
}

fn query_labels(annotations: &Value) -> Vec<String> {
    let text = annotations.to_string();
    text.split("$labels.")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}
