//! Runs `kurtosis/main.star` over every example and holds what it starts against the binary's own command line: flags,
//! ports, files, who is there before whom. Over stand-ins for Kurtosis and ethereum-package; with ASSAY_ETHEREUM_PACKAGE and
//! ASSAY_PROMETHEUS_PACKAGE (directories of the packages) over those themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod checks;
mod interpreter;
mod template;

use checks::{Network, Node};
use interpreter::run;
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const OURS: &str = "github.com/assay-proofs/assay/kurtosis";
const ETHEREUM: &str = "github.com/ethpandaops/ethereum-package";
const PROMETHEUS: &str = "github.com/kurtosis-tech/prometheus-package";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn packages() -> Vec<(String, PathBuf)> {
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("stand-ins/ethereum-package");
    let given = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let mut packages = vec![
        (OURS.to_owned(), repository().join("kurtosis")),
        (
            ETHEREUM.to_owned(),
            given("ASSAY_ETHEREUM_PACKAGE").unwrap_or(stand_in),
        ),
    ];
    if let Some(prometheus) = given("ASSAY_PROMETHEUS_PACKAGE") {
        packages.push((PROMETHEUS.to_owned(), prometheus));
    }
    packages
}

fn examples() -> Vec<(String, Json)> {
    let directory = repository().join("kurtosis/examples");
    let mut all: Vec<(String, Json)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_saphyr::from_str(&text).unwrap())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn network(args: &Json) -> anyhow::Result<Network> {
    let (asked, returned) = run(&packages(), &format!("{OURS}/main.star"), args)?;
    Ok(Network::new(asked, returned))
}

fn example(name: &str) -> Network {
    let (_, args) = examples().into_iter().find(|(n, _)| n == name).unwrap();
    network(&args).unwrap()
}

#[test]
fn every_example_starts_what_the_binary_accepts() {
    let names: Vec<String> = examples().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(
        names,
        ["gloas-zkboost", "mixed", "proof-only", "smallest", "spammed"]
    );
    for (name, args) in examples() {
        let network = network(&args).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        network
            .check()
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(network.nodes().unwrap().len() >= 2, "{name}");
        assert!(!network.provers().unwrap().is_empty(), "{name}: nobody proves");
        for node in network.nodes().unwrap() {
            let url = format!("http_url=\"http://{}:{}\"", node.name, node.config.http_port);
            assert!(
                network.returned().contains(&url),
                "{name}: {url} is not told: {}",
                network.returned()
            );
        }
    }
}

/// What the check is for: each of these faults is found.
#[test]
fn a_fault_in_what_is_started_is_found() {
    type Change = fn(&mut Network);
    let table: &[(&str, Change)] = &[
        ("--beacon-url", |n| {
            n.replace_in_command("--beacon-node=", "--beacon-url=")
        }),
        ("proofs-maybe", |n| {
            n.replace_in_command("=observe", "=proofs-maybe")
        }),
        ("--execution-jwt", |n| n.remove_from_command("--execution-jwt=")),
        ("cl-9", |n| n.replace_in_command("http://cl-1", "http://cl-9")),
        (":4001", |n| n.replace_in_command(":4000", ":4001")),
        ("/jwt", |n| n.remove_file("/jwt")),
        ("8999", |n| {
            n.replace_in_command("--engine-port=8561", "--engine-port=8999")
        }),
        ("5999", |n| {
            n.replace_in_command("--http-port=5152", "--http-port=5999")
        }),
        ("/validator-keys", |n| n.remove_file("/validator-keys")),
        ("assay-jwt", |n| n.forget_artifact("assay-jwt")),
        ("/usr/bin/other", |n| {
            n.replace_in_command("/usr/local/bin/assay", "/usr/bin/other")
        }),
    ];
    for (says, change) in table {
        let mut network = example("smallest");
        network.check().unwrap();
        change(&mut network);
        let error = network.check().expect_err(says);
        assert!(format!("{error:#}").contains(says), "{says}: {error:#}");
    }
}

#[test]
fn each_participant_has_the_assay_it_asked_for() {
    let network = example("mixed");
    let nodes = network.nodes().unwrap();
    let told: Vec<(&str, &str, usize, u32)> = nodes
        .iter()
        .map(|Node { name, config, .. }| {
            let policy = match config.import_policy.to_string().as_str() {
                "observe" => "observe",
                "require-proofs" => "require-proofs",
                "accept-proofs" => "accept-proofs",
                other => panic!("{other}"),
            };
            (name.as_str(), policy, config.required_proofs, config.proof_lag)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("snooper-engine-1-lighthouse-geth", "observe", 1, 0),
            ("snooper-engine-2-lighthouse-geth", "observe", 1, 0),
            ("snooper-engine-3-teku-nethermind", "require-proofs", 2, 3),
            ("snooper-engine-4-prysm-besu", "accept-proofs", 1, 0),
            ("snooper-engine-5-lodestar-reth", "observe", 1, 0),
        ]
    );
    assert!(nodes[4].config.enable_mplex);
    assert!(nodes.iter().all(|n| n.config.dev_seed == "a-network-of-our-own"));
    assert_eq!(nodes[3].config.beacon_node, "http://cl-4-prysm-besu:3500");
    let provers: Vec<String> = network.provers().unwrap().into_iter().map(|p| p.0).collect();
    assert_eq!(
        provers,
        [
            "assay-prover-1-lighthouse-geth",
            "assay-prover-2-lighthouse-geth",
            "assay-prover-5-lodestar-reth"
        ]
    );
    // The sixth participant asked for none.
    assert!(network.service("snooper-engine-6-nimbus-geth").is_none());
}

#[test]
fn beacon_nodes_without_an_execution_client_find_their_assay() {
    let network = example("proof-only");
    for (name, flags) in [
        (
            "3-lighthouse",
            [
                "--execution-endpoints=http://assay-3-lighthouse:8561",
                "--jwt-secrets=/jwt/jwtsecret",
            ],
        ),
        (
            "4-teku",
            [
                "--ee-endpoint=http://assay-4-teku:8561",
                "--ee-jwt-secret-file=/jwt/jwtsecret",
            ],
        ),
    ] {
        let assay = network.place(&format!("assay-{name}")).unwrap();
        let beacon = network.place(&format!("cl-{name}")).unwrap();
        assert!(assay < beacon, "{name}: the beacon node is there first");
        let config = network.service(&format!("cl-{name}")).unwrap();
        assert_eq!(config["files"]["/jwt"], "assay-jwt", "{config}");
        for flag in flags {
            assert!(config["cmd"][0].as_str().unwrap().contains(flag), "{config}");
        }
    }
    let nodes = network.nodes().unwrap();
    let required: Vec<usize> = nodes
        .iter()
        .filter(|n| n.config.execution_endpoint.is_empty())
        .map(|n| n.config.required_proofs)
        .collect();
    assert_eq!(required, [1, 2]);
}

#[test]
fn zkboost_is_asked_for_the_types_it_has() {
    let network = example("gloas-zkboost");
    for node in network.nodes().unwrap() {
        assert_eq!(node.config.proof_engine_endpoint, ["http://zkboost:3000"]);
        assert_eq!(node.config.proof_types, [5]);
        let names = node.config.proof_type_names().unwrap();
        assert!(names.of_both().any(|named| named == (5, "reth-zisk")));
    }
}

#[test]
fn prometheus_and_grafana_know_of_assay() {
    let network = example("mixed");
    let jobs =
        &network.templates("prometheus-config").unwrap()["prometheus-config.yml"]["data"]["MetricsJobs"];
    let endpoints: BTreeSet<&str> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["Endpoint"].as_str().unwrap())
        .collect();
    for expected in [
        "snooper-engine-1-lighthouse-geth:5152",
        "snooper-engine-5-lodestar-reth:5152",
        "assay-prover-1-lighthouse-geth:5153",
    ] {
        assert!(endpoints.contains(expected), "{endpoints:?}");
    }
    // The package's own are kept.
    assert!(endpoints.iter().any(|e| e.starts_with("cl-1")), "{endpoints:?}");
    let grafana = network.service("grafana").unwrap();
    assert_eq!(grafana["files"]["/assay-dashboards"], "assay-dashboards");
    assert!(grafana["files"]["/dashboards"].is_string());
    let provider = &network.templates("grafana-config").unwrap()["dashboards/assay.yml"];
    let text = template::render(provider["template"].as_str().unwrap(), &provider["data"]).unwrap();
    let provider: Json = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(provider["providers"][0]["options"]["path"], "/assay-dashboards");
}

/// Kurtosis gives a package its own directory alone, so the dashboards stand in it too.
#[test]
fn the_dashboards_are_those_of_the_repository() {
    let read = |directory: &str| {
        let mut files: Vec<(String, String)> = std::fs::read_dir(repository().join(directory))
            .unwrap_or_else(|error| panic!("{directory}: {error}"))
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let here = read("kurtosis/grafana");
    assert!(!here.is_empty());
    for (name, text) in &here {
        assert!(serde_json::from_str::<Json>(text).is_ok(), "{name}");
    }
    if !repository().join("monitoring").exists() {
        return;
    }
    assert!(
        here == read("monitoring/grafana"),
        "kurtosis/grafana is not monitoring/grafana: cp monitoring/grafana/*.json kurtosis/grafana/"
    );
}

/// What a query finds, where jq is installed: assertoor has an interpreter of the same language.
fn jq(query: &str, input: &Json) -> Option<String> {
    use std::{io::Write as _, process::Stdio};
    let mut child = std::process::Command::new("jq")
        .args(["-c", query])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{query}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn assertoor_asks_every_assay_for_what_it_serves() {
    let network = example("spammed");
    let (name, template) = network.assertoor_test().unwrap();
    assert_eq!(name, "proofs.yaml");
    let text = template::render(template["template"].as_str().unwrap(), &template["data"]).unwrap();
    let test: Json = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let checks: Vec<&Json> = test["tasks"][1]["config"]["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    assert_eq!(checks.len(), 3 * network.nodes().unwrap().len());
    let served = network.routes();
    let several = checks
        .iter()
        .flat_map(|check| check["config"]["assertions"].as_array().unwrap());
    let several: Vec<&str> = several
        .filter(|assertion| assertion["name"] == "several_types")
        .map(|assertion| assertion["query"].as_str().unwrap())
        .collect();
    assert_eq!(several.len(), network.nodes().unwrap().len());
    for query in several {
        // Types, each once, whoever signed and however often.
        assert!(
            query.contains("[.proofs[].proof_type] | unique | length"),
            "{query}"
        );
        let of = |types: &[u8]| json!({ "proofs": types.iter().map(|t| json!({ "proof_type": t })).collect::<Vec<_>>() });
        let payloads = json!({ "data": [of(&[1, 1, 1, 1]), of(&[1, 2, 2, 3, 4]), of(&[])] });
        if let Some(counted) = jq(query, &payloads) {
            let required = query.split(">= ").nth(1).unwrap();
            let required: usize = required.split(')').next().unwrap().trim().parse().unwrap();
            let enough = [1, 4, 0].iter().filter(|types| **types >= required).count();
            assert_eq!(counted, enough.to_string(), "{query}");
        }
    }
    for check in checks {
        let url = check["config"]["url"].as_str().unwrap();
        let path = network.path_of_url(url).unwrap();
        assert!(served.contains(path.as_str()), "{path} is not served");
        assert!(!check["config"]["assertions"].as_array().unwrap().is_empty());
    }
    let config = network.service("assertoor").unwrap();
    assert_eq!(config["files"]["/assay-assertoor"], "assay-assertoor");
}

/// Way one: the image in the package's own snooper slot, without the package here.
#[test]
fn the_slot_of_the_package_takes_the_binary() {
    let slot = checks::way_one(&repository().join("kurtosis/README.md")).unwrap();
    let args = json!({
        "participants": [{ "el_type": "geth", "cl_type": "lighthouse" }],
        "network_params": { "preset": "minimal" },
        "snooper_params": slot["snooper_params"],
    });
    let (asked, returned) = run(&packages(), &format!("{ETHEREUM}/main.star"), &args).unwrap();
    let network = Network::new(asked, returned);
    for (name, port) in [
        ("snooper-engine-1-lighthouse-geth", 8561),
        ("snooper-rpc-1-geth", 8562),
    ] {
        let config = network.service(name).unwrap();
        checks::slot_is_accepted(config, port).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(config["max_memory"], 600);
    }
}

#[test]
fn wrong_arguments_are_told() {
    for (args, says) in [
        (
            json!({ "assay_params": { "imprt_policy": "observe" } }),
            "imprt_policy",
        ),
        (
            json!({ "participants": [{ "assay": { "image": "x" } }] }),
            "participants[0].assay.image",
        ),
        (
            json!({ "participants": [{ "assay": { "import_policy": "sometimes" } }] }),
            "sometimes",
        ),
        (
            json!({ "participants": [{ "assay": { "import_policy": "proofs-only" } }] }),
            "proofs-only",
        ),
        (
            json!({ "participants": [{}, { "el_type": "none", "cl_type": "caplin" }] }),
            "caplin",
        ),
        (
            json!({ "participants": [{ "assay": { "engine": "magic" } }] }),
            "magic",
        ),
        (json!({ "participants_matrix": {} }), "participants_matrix"),
        (
            json!({ "participants": [{ "validator_count": 0, "supernode": true, "assay": { "prover": true } }] }),
            "validator_count",
        ),
        (
            json!({ "assay_params": { "engine": "zkboost", "proof_types": [99] } }),
            "proof_type_names",
        ),
    ] {
        let error = network(&args).map(drop).expect_err(says);
        assert!(format!("{error:#}").contains(says), "{says}: {error:#}");
    }
}

/// ethereum-package names its services in another way: an error, not a network without proofs.
#[test]
fn a_package_that_has_no_slot_any_more_is_told() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("changed-package");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("stand-ins/ethereum-package");
    for file in [
        "main.star",
        "src/package_io/constants.star",
        "static_files/jwt/jwtsecret",
        "static_files/dashboards/default.json",
    ] {
        let to = directory.join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let text = std::fs::read_to_string(from.join(file)).unwrap();
        std::fs::write(to, text.replace("\"snooper-engine-\"", "\"engine-snooper-\"")).unwrap();
    }
    let mut packages = packages();
    packages[1].1 = directory;
    let error = run(&packages, &format!("{OURS}/main.star"), &json!({}))
        .map(drop)
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("added no snooper-engine-1-lighthouse-geth"),
        "{error:#}"
    );
}
