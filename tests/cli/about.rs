//! What the binary says of itself, held against what it does.

use crate::{assay, binary};
use ::assay::config::{NodeArgs, NodeConfig, example, keys};
use clap::Args;
use std::{collections::BTreeSet, path::Path};

fn here() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_version_names_the_revisions() {
    let text = assay(here().path(), &["--version"], b"").text();
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.starts_with(&format!("assay {version} (")), "{text}");
    assert!(text.ends_with("EIP-8025 alpha and beta)"), "{text}");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = assay(here().path(), &["completions", shell], b"").text();
        for word in [
            "devnet",
            "import-policy",
            "proofs-only",
            "doctor",
            "unverified",
            "attnets",
        ] {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    assert!(!assay(here().path(), &["completions", "tcsh"], b"").ok);
}

#[test]
fn every_command_has_a_man_page() {
    let dir = here();
    let all = assay(dir.path(), &["man"], b"").text();
    assert!(all.contains(".TH assay 1"), "{all}");
    assay(dir.path(), &["man", "--output", "pages"], b"").text();
    let commands = [
        "assay",
        "assay-node",
        "assay-prover",
        "assay-devnet",
        "assay-ssz",
        "assay-man",
        "assay-db",
        "assay-doctor",
        "assay-enr",
        "assay-db-import",
        "assay-enr-make",
        "assay-ssz-payload",
    ];
    for name in commands {
        let page = std::fs::read_to_string(dir.path().join("pages").join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(name), "{page}");
    }
    let list = assay(dir.path(), &["man", "db-list"], b"").text();
    assert!(list.contains(".TH assay-db-list 1"), "{list}");
    let node = assay(dir.path(), &["man", "node"], b"").text();
    for key in keys() {
        assert!(node.contains(&key.replace('-', "\\-")), "{key}");
    }
    assert!(
        assay(dir.path(), &["man", "nothing"], b"")
            .error()
            .contains("nothing")
    );
}

#[test]
fn a_data_directory_without_a_node_is_not_well() {
    let dir = here();
    let error = assay(dir.path(), &["health", "--datadir", "none"], b"").error();
    assert!(error.contains("no node has been started in none"), "{error}");
    // One that has ended, and something else that listens at its address now.
    let write = |http: &str| {
        let file = format!(
            "{{\"pid\":77,\"http\":\"{http}\",\"engine\":\"\",\"metrics\":null,\"p2p\":\"\",\"enr\":\"\"}}"
        );
        std::fs::write(dir.path().join("endpoints.json"), file).unwrap();
        assay(dir.path(), &["health", "--datadir", "."], b"").error()
    };
    let error = write("http://127.0.0.1:1");
    assert!(
        error.contains("process 77") && error.contains("does not run any more"),
        "{error}"
    );
    for (status, says) in [
        ("503 x", "has not heard of the chain yet"),
        ("404 x", "is something else listening"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut read = [0; 1024];
            std::io::Read::read(&mut socket, &mut read).unwrap();
            std::io::Write::write_all(
                &mut socket,
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes(),
            )
            .unwrap();
        });
        let error = write(&url);
        answering.join().unwrap();
        assert!(error.contains(says), "{error}");
    }
}

/// The file that is shipped is the one that the code makes.
#[test]
fn the_example_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assay.example.toml");
    let shipped = std::fs::read_to_string(path).unwrap();
    let made = example();
    assert!(
        shipped == made,
        "assay.example.toml is not what `assay example-config` prints: write it anew"
    );
    assert_eq!(
        assay(here().path(), &["example-config"], b"").text(),
        made.trim_end()
    );
}

/// File, flags and code have the same settings, no more and no fewer, and every line of the file can be read.
#[test]
fn the_example_file_has_every_setting_and_no_other() {
    let text = example();
    let set: String = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#')
                .filter(|line| !line.starts_with(' ') && line.contains(" = "))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let table: toml::Table = toml::from_str(&set).unwrap();
    let in_file: BTreeSet<String> = table.keys().cloned().collect();
    let in_code: BTreeSet<String> = keys().into_iter().collect();
    assert_eq!(in_file, in_code);
    let command = NodeArgs::augment_args(clap::Command::new("node"));
    let flags: BTreeSet<String> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "config")
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    assert_eq!(flags, in_code);
    // `Table`'s values are read by the settings' own forms; a verifier's line holds no digest here.
    let mut table = table;
    table.remove("native-verifier");
    let read: NodeConfig =
        figment::Figment::from(figment::providers::Serialized::defaults(NodeConfig::default()))
            .merge(figment::providers::Serialized::defaults(&table))
            .extract()
            .unwrap();
    assert_eq!(read.http_port, NodeConfig::default().http_port);
}

/// What `--help` calls a default is the code's.
#[test]
fn defaults_in_the_help_are_those_of_the_code() {
    let defaults = toml::Table::try_from(NodeConfig::default()).unwrap();
    let command = NodeArgs::augment_args(clap::Command::new("node"));
    let mut seen = 0;
    for arg in command.get_arguments() {
        let (Some(name), Some(help)) = (arg.get_long(), arg.get_help()) else {
            continue;
        };
        let help = help.to_string();
        let said = help
            .split_once("[default: ")
            .map(|(_, rest)| rest.trim_end_matches(']').to_owned());
        let is = defaults.get(name).map(|value| match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(list) => {
                let all: Vec<String> = list
                    .iter()
                    .map(|v| v.to_string().trim_matches('"').to_owned())
                    .collect();
                all.join(",")
            }
            other => other.to_string().trim_end_matches(".0").to_owned(),
        });
        match (said, is) {
            // Told in words: what another setting says, or the home directory.
            (Some(said), Some(is)) if said.contains("--") || name == "datadir" || said.contains(' ') => {
                drop(is)
            }
            (Some(said), Some(is)) => {
                assert_eq!(said, is, "--{name}");
                seen += 1;
            }
            (Some(said), None) => assert!(said.contains("--") || said.contains(' '), "--{name}: {said}"),
            (None, Some(is)) => assert!(
                is == "false" || is.is_empty(),
                "--{name} has the default {is}, untold"
            ),
            (None, None) => {}
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn a_snooper_says_what_it_is() {
    let dir = here();
    let name = dir.path().join("json_rpc_snoop");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_assay"), &name).unwrap();
    let help = std::process::Command::new(&name).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(
        text.contains("--bind-address") && text.contains("ASSAY_"),
        "{text}"
    );
    // Under its own name it is not one.
    let output = binary()
        .args(["-b=0.0.0.0", "-p=1", "http://x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
