//! The pages in `docs/` and the README, held against the program: commands, flags, variables, metrics, links, log lines. A
//! page that names what is not there is found by its line.

use crate::assay;
use ::assay::{
    commands::metrics::{Metric, all},
    config::keys,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Flags of other programs, which the pages name beside their own.
const FOREIGN_FLAGS: [&str; 48] = [
    // Lighthouse 5.3.0, book/src/help_bn.md
    "--always-prepare-payload",
    "--execution-timeout-multiplier",
    // its aliases for --execution-endpoint and --execution-jwt, as ethereum-package has them
    "--execution-endpoints",
    "--jwt-secrets",
    "--prepare-payload-lookahead",
    "--suggested-fee-recipient",
    "--http",
    "--network",
    // Lodestar 1.22.0, packages/cli/src/options/beaconNodeOptions
    "--execution.urls",
    "--execution.timeout",
    "--execution.retries",
    "--jwtSecret",
    "--rest.address",
    "--rest.port",
    "--rest.namespace",
    // Prysm 7.1.6, cmd/beacon-chain/flags/base.go, config/features/flags.go
    "--prepare-all-payloads",
    "--engine-endpoint-timeout-seconds",
    "--grpc-gateway-host",
    "--grpc-gateway-port",
    "--http-host",
    "--rpc-port",
    "--hoodi",
    "--jwt-secret",
    // Teku 26.8.0, teku/src/main/java/tech/pegasys/teku/cli/options
    "--ee-endpoint",
    "--ee-jwt-secret-file",
    "--rest-api-enabled",
    "--rest-api-port",
    "--rest-api-interface",
    "--rest-api-host-allowlist",
    // Nimbus 24.9.0, beacon_chain/conf.nim
    "--el",
    "--web3-url",
    "--rest",
    "--rest-address",
    "--rest-port",
    // Grandine 2.0.0, grandine/src/grandine_args.rs
    "--eth1-rpc-urls",
    "--disable-http-api",
    // cargo, docker, git, systemd, curl, node, testnet's own scripts
    "--release",
    "--workspace",
    "--features",
    "--example",
    "--build-arg",
    "--data-binary",
    "--input-type",
    // Kurtosis
    "--args-file",
    "--manifest-path",
    "--help",
    "--version",
    "--output",
];

/// Variables that are no settings of a node: of builds, tests and examples.
const OTHER_VARIABLES: [&str; 5] = [
    "ASSAY_COMMIT",
    "ASSAY_ETHEREUM_PACKAGE",
    "ASSAY_JWT_SECRET",
    "ASSAY_PROMETHEUS_PACKAGE",
    "ASSAY_WRITE_GUIDE",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README, Kurtosis's, and every page of `docs/`, by name.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    for page in ["README.md", "kurtosis/README.md"] {
        pages.insert(page.to_owned(), read(&repository().join(page)));
    }
    for file in std::fs::read_dir(repository().join("docs")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "md") {
            let name = format!("docs/{}", path.file_name().unwrap().to_str().unwrap());
            pages.insert(name, read(&path));
        }
    }
    pages
}

/// What the binary has: the flags of each command, by its words (`db list`).
struct Commands(BTreeMap<String, BTreeSet<String>>);

impl Commands {
    /// As `--help` of each command tells, of its subcommands too.
    fn read() -> Self {
        let mut commands = Self(BTreeMap::new());
        commands.look("");
        assert!(commands.0.len() > 15, "{:?}", commands.0.keys());
        commands
    }

    fn look(&mut self, words: &str) {
        let args: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
        let help = assay(Path::new("."), &args, b"").text();
        self.0.insert(words.to_owned(), long_flags(&help).collect());
        let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        for line in listed.lines().take_while(|line| !line.is_empty()) {
            // Two spaces, the name; more than two where a description goes on.
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
            if let Some(name) = name.and_then(|rest| rest.split_whitespace().next())
                && name != "help"
            {
                self.look(format!("{words} {name}").trim());
            }
        }
    }

    /// What of a command line is not there. Its first word is `assay`.
    fn wrong_in(&self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace().skip(1).peekable();
        let mut command = String::new();
        while let Some(word) = words.peek() {
            let longer = format!("{command} {word}").trim().to_owned();
            if !self.0.contains_key(&longer) {
                break;
            }
            command = longer;
            words.next();
        }
        let flags = self.0.get(&command)?;
        let has_more = |(other, _): (&String, &BTreeSet<String>)| {
            other
                .strip_prefix(&command)
                .is_some_and(|rest| rest.starts_with(' ') || command.is_empty() && !rest.is_empty())
        };
        if self.0.iter().any(has_more) && words.peek().is_some_and(|word| !word.starts_with('-')) {
            return Some(format!("no command {:?}", words.peek()));
        }
        let rest: Vec<&str> = words.collect();
        long_flags(&rest.join(" "))
            .find(|flag| !flags.contains(flag))
            .map(|flag| format!("`assay {command}` has no {flag}"))
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.0.values().any(|flags| flags.contains(flag))
    }
}

/// Words such as `--http-port` and `--rest.port`.
fn long_flags(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| c.is_whitespace() || "`'\"(),;=[]|".contains(c))
        .filter(|word| word.starts_with("--") && word.len() > 3)
        .map(|word| word.trim_end_matches(['.', ':', '…', '*']).to_owned())
        .filter(|word| {
            let name = &word[2..];
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        })
}

/// Code of a page: lines of its blocks, continued ones joined, and spans within lines; each with its line's number.
fn code(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_block = false;
    let mut begun: Option<(usize, String)> = None;
    for (at, line) in page.lines().enumerate() {
        let number = at + 1;
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if !in_block {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.map(|span| (number, span.to_owned())));
            continue;
        }
        let (start, mut whole) = begun.take().unwrap_or((number, String::new()));
        let continued = line.strip_suffix('\\');
        whole.push_str(continued.unwrap_or(line));
        match continued {
            Some(_) => begun = Some((start, whole)),
            None => found.push((start, whole)),
        }
    }
    found
}

/// Command lines of this program in a piece of code: what follows `assay`, up to what a shell or a comment begins.
fn command_lines(code: &str) -> Vec<String> {
    let code = code.split(" # ").next().unwrap_or_default();
    code.split(['|', ';', '&', '>', '<'])
        .map(|part| part.trim().trim_start_matches("$ "))
        .filter_map(|part| {
            part.strip_prefix("cargo run --release -p assay -- ").map_or_else(
                || part.strip_prefix("assay ").map(|rest| format!("assay {rest}")),
                |rest| Some(format!("assay {rest}")),
            )
        })
        .collect()
}

#[test]
fn what_is_not_there_is_found() {
    let commands = Commands::read();
    for (line, wrong) in [
        ("assay node --http-port 5152 --import-policy observe", None),
        ("assay db list --json", None),
        ("assay ssz payload --fork fulu block.ssz", None),
        ("assay --version", None),
        ("assay nodes --http-port 1", Some("no command")),
        ("assay node --http-prot 1", Some("--http-prot")),
        (
            "assay health --http-port 1",
            Some("`assay health` has no --http-port"),
        ),
        ("assay db lists", Some("no command")),
    ] {
        let found = commands.wrong_in(line);
        assert_eq!(found.is_some(), wrong.is_some(), "{line}: {found:?}");
        assert!(
            found.unwrap_or_default().contains(wrong.unwrap_or_default()),
            "{line}"
        );
    }
    let page = "A `--flag=x` and\n```\nassay node \\\n  --one 1 | jq   # why\nB=$(x) && assay health\n```\n";
    let lines: Vec<_> = code(page)
        .into_iter()
        .flat_map(|(n, c)| command_lines(&c).into_iter().map(move |l| (n, l)))
        .collect();
    assert_eq!(
        lines,
        [
            (3, "assay node   --one 1".to_owned()),
            (5, "assay health".to_owned())
        ]
    );
    assert_eq!(
        long_flags("`--a-b`, --c.d=1 -- ---- --e… x--f").collect::<Vec<_>>(),
        ["--a-b", "--c.d", "--e"]
    );
    assert_eq!(
        anchor("### What a proof is worth at import"),
        "what-a-proof-is-worth-at-import"
    );
    assert_eq!(anchor("## `accept-proofs`: why?"), "accept-proofs-why");
}

#[test]
fn every_command_and_flag_of_the_pages_exists() {
    let commands = Commands::read();
    let (mut wrong, mut lines, mut named) = (Vec::new(), 0, BTreeSet::new());
    for (name, page) in pages() {
        for (number, code) in code(&page) {
            for line in command_lines(&code) {
                lines += 1;
                if let Some(why) = commands.wrong_in(&line) {
                    wrong.push(format!("{name}:{number}: {why}: {line}"));
                }
            }
        }
        for (at, line) in page.lines().enumerate() {
            for flag in long_flags(line) {
                let foreign = FOREIGN_FLAGS.contains(&flag.as_str());
                if !foreign && !commands.has_flag(&flag) {
                    wrong.push(format!("{name}:{}: no {flag}", at + 1));
                }
                named.insert(flag);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for flag in FOREIGN_FLAGS {
        assert!(named.contains(flag), "{flag} is named nowhere any more");
    }
    assert!(lines > 30 && named.len() > 80, "{lines} {}", named.len());
}

#[test]
fn every_variable_of_the_pages_is_read() {
    let settings: BTreeSet<String> = keys()
        .iter()
        .map(|key| format!("ASSAY_{}", key.replace('-', "_").to_uppercase()))
        .collect();
    for (name, page) in pages() {
        for (at, line) in page.lines().enumerate() {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                // `ASSAY_…` stands for all of them.
                if word.starts_with("ASSAY_") && word != "ASSAY_" {
                    let known = settings.contains(word) || OTHER_VARIABLES.contains(&word);
                    assert!(known, "{name}:{}: nobody reads {word}", at + 1);
                }
            }
        }
    }
}

/// Whether a name, or a beginning of names that a `*` or a brace follows, is that of a metric.
fn is_metric(word: &str, is_beginning: bool, metrics: &BTreeMap<String, Metric>) -> bool {
    if is_beginning {
        return metrics.keys().any(|name| name.starts_with(word));
    }
    // Series of a histogram; a counter may be named without its ending.
    let base = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| word.strip_suffix(end))
        .unwrap_or(word);
    metrics.contains_key(word) || metrics.contains_key(base) || metrics.contains_key(&format!("{word}_total"))
}

#[test]
fn every_metric_of_the_pages_exists() {
    let metrics = all().unwrap();
    let mut seen = BTreeSet::new();
    for (name, page) in pages() {
        for (at, line) in page.lines().enumerate() {
            let mut rest = line;
            while let Some(start) = rest.find("assay_") {
                let before = rest[..start].chars().next_back();
                let word = &rest[start..];
                let end = word
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(word.len());
                let after = &word[end..];
                let word = &word[..end];
                rest = after;
                // Names of crates in Rust, and targets of the log's filter.
                let is_crate = after.starts_with("::") || after.starts_with("=debug");
                // And a key of the Kurtosis package's arguments.
                let is_other = is_crate || word == "assay_params";
                if is_other || before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                    continue;
                }
                let is_beginning = after.starts_with('*') || after.starts_with('{') && word.ends_with('_');
                assert!(
                    is_metric(word, is_beginning, &metrics),
                    "{name}:{}: no metric {word}",
                    at + 1
                );
                seen.insert(word.to_owned());
            }
        }
    }
    assert!(seen.len() > 80, "{}", seen.len());
    assert!(!is_metric("assay_chain_sync", false, &metrics) && !is_metric("assay_chains_", true, &metrics));
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let anchors_of = |page: &str| -> BTreeSet<String> {
        let headings = page.lines().filter(|line| line.starts_with('#'));
        headings.map(anchor).collect()
    };
    let mut links = 0;
    for (name, page) in pages() {
        let from = repository().join(&name);
        for (at, line) in page.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.contains(' ') {
                    continue;
                }
                links += 1;
                let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
                let path = match file {
                    "" => from.clone(),
                    file => from.parent().unwrap().join(file),
                };
                assert!(path.exists(), "{name}:{}: {target}", at + 1);
                if !wanted.is_empty() {
                    let there = anchors_of(&std::fs::read_to_string(&path).unwrap());
                    assert!(there.contains(wanted), "{name}:{}: {target}: {there:?}", at + 1);
                }
            }
        }
    }
    assert!(links > 20, "{links}");
}

/// All Rust source of the program, strings that go on in the next line joined.
fn source() -> String {
    fn read(directory: &Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for entry in std::fs::read_dir(repository().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !["simulator", "conformance", "fuzz-targets"].contains(&name.as_str()) {
            read(&path.join("src"), &mut text);
        }
    }
    let mut joined = String::with_capacity(text.len());
    let mut parts = text.split("\\\n");
    joined.push_str(parts.next().unwrap());
    for part in parts {
        joined.push_str(part.trim_start());
    }
    joined
}

/// Messages of the log and of errors, as the first columns of the tables quote them: code of several words that is no
/// command. Alerts, and alarms' and reasons' labels, are held too.
#[test]
fn every_message_of_the_troubleshooting_page_is_the_programs() {
    let page = pages().remove("docs/troubleshooting.md").unwrap();
    let (source, alerts) = (
        source(),
        std::fs::read_to_string(repository().join("monitoring/alerts.yml")).unwrap(),
    );
    let (mut messages, mut labels) = (0, 0);
    for (at, line) in page
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| "))
    {
        let first = line
            .trim_start_matches("| ")
            .split(" | ")
            .next()
            .unwrap_or_default();
        for span in first.split('`').skip(1).step_by(2) {
            let number = at + 1;
            if span.starts_with("Assay") {
                assert!(
                    alerts.contains(&format!("alert: {span}\n")),
                    "line {number}: no alert {span}"
                );
            } else if span.contains(' ') && !span.starts_with("assay ") {
                messages += 1;
                assert!(source.contains(span), "line {number}: nobody says {span:?}");
            } else if span.contains('_') && !span.starts_with("assay_") && !span.starts_with("ASSAY_") {
                labels += 1;
                assert!(
                    source.contains(&format!("\"{span}\"")),
                    "line {number}: no {span:?}"
                );
            }
        }
    }
    assert!(messages > 30 && labels > 10, "{messages} {labels}");
}

/// Every alarm has its line, so that who looks for one finds it.
#[test]
fn every_alarm_and_every_alert_is_explained() {
    let page = pages().remove("docs/troubleshooting.md").unwrap();
    for kind in assay_gate::Alarm::LABELS {
        assert!(page.contains(&format!("`{kind}`")), "{kind}");
    }
    let alerts = std::fs::read_to_string(repository().join("monitoring/alerts.yml")).unwrap();
    for alert in alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(page.contains(alert), "{alert}");
    }
}
