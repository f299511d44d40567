//! `assay doctor` against set-ups that are broken in one way each: it names the cause, and what to do.

use crate::support::{NodeProcess, World, assay, get, until};
use assay_engine_api::JwtSecret;
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::any};
use serde_json::{Value, json};
use std::{
    future::IntoFuture,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
};
use tokio::net::TcpListener;

/// What it found, and its exit code.
struct Found {
    code: Option<i32>,
    checks: Vec<Value>,
}

impl Found {
    /// The findings of this status whose check begins so.
    fn of(&self, status: &str, check: &str) -> Vec<String> {
        self.checks
            .iter()
            .filter(|c| c["status"] == status && c["check"].as_str().unwrap().starts_with(check))
            .map(|c| {
                format!(
                    "{} -> {}",
                    c["found"].as_str().unwrap(),
                    c["advice"].as_str().unwrap()
                )
            })
            .collect()
    }

    /// It fails, for this and nothing else, in these words.
    fn fails_for(&self, check: &str, says: &[&str]) {
        assert_eq!(self.code, Some(1), "{:#?}", self.checks);
        let failed = self.of("FAIL", "");
        assert_eq!(failed.len(), self.of("FAIL", check).len(), "{failed:#?}");
        self.says("FAIL", check, says);
    }

    /// A finding of this status, in these words.
    fn says(&self, status: &str, check: &str, says: &[&str]) {
        let found = self.of(status, check);
        assert!(!found.is_empty(), "no {status} of {check}: {:#?}", self.checks);
        for word in says {
            assert!(
                found.iter().any(|text| text.contains(word)),
                "{word:?} in {found:#?}"
            );
        }
    }
}

async fn doctor(datadir: &Path, flags: &[String]) -> Found {
    let mut command = assay();
    command
        .args(["doctor", "--json", "--datadir"])
        .arg(datadir)
        .args(flags)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(all["ok"], output.status.success());
    Found {
        code: output.status.code(),
        checks: all["checks"].as_array().unwrap().clone(),
    }
}

/// The flags with another value for one of them.
fn with(flags: &[String], flag: &str, value: &str) -> Vec<String> {
    let mut flags = flags.to_vec();
    match flags.iter().position(|f| f == flag) {
        Some(at) => flags[at + 1] = value.to_owned(),
        None => flags.extend([flag.to_owned(), value.to_owned()]),
    }
    flags
}

/// Something that answers HTTP; its URL.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

/// What a method answers.
type Answer = (&'static str, fn() -> Value);

/// A JSON-RPC port that has these results, by method; others are not found.
async fn rpc(results: &'static [Answer]) -> String {
    serve(Router::new().fallback(any(move |Json(call): Json<Value>| async move {
        let result = results.iter().find(|(method, _)| call["method"] == *method);
        Json(match result {
            Some((_, result)) => json!({ "jsonrpc": "2.0", "id": call["id"], "result": result() }),
            None => json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32601, "message": "no" } }),
        })
    })))
    .await
}

/// A beacon node that says of its sync what it is told to, and is on the simulated network.
async fn beacon(world: &World, syncing: Value) -> String {
    let real = world.simulation.beacon_url(0).unwrap();
    serve(Router::new().fallback(any(move |uri: axum::http::Uri| {
        let (real, syncing) = (real.clone(), syncing.clone());
        async move {
            if uri.path() == "/eth/v1/node/syncing" {
                return Json(json!({ "data": syncing })).into_response();
            }
            let (status, body) = get(&format!("{real}{uri}")).await;
            (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
        }
    })))
    .await
}

/// Slots since the simulated genesis.
async fn slot_now(world: &World) -> u64 {
    let (_, body) = get(&format!(
        "{}/eth/v1/node/syncing",
        world.simulation.beacon_url(0).unwrap()
    ))
    .await;
    let number = |name: &str| body["data"][name].as_str().unwrap().parse::<u64>().unwrap();
    number("head_slot") + number("sync_distance")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_up_that_is_well_passes_before_its_node_runs_and_while_it_does() {
    let world = World::new(1).await;
    let flags = world.flags(0, "require-proofs", &[]);
    let datadir = world.datadir(0);
    let found = doctor(&datadir, &flags).await;
    assert_eq!(found.code, Some(0), "{:#?}", found.checks);
    for check in [
        "settings",
        "data directory",
        "disk",
        "beacon node",
        "network",
        "clock",
        "forks",
        "execution client",
    ] {
        let found = [found.of("OK", check), found.of("WARN", check)].concat();
        assert!(!found.is_empty(), "{check}");
    }
    found.says("WARN", "proof engine dev", &["prove nothing"]);
    found.says("WARN", "peers", &["--boot-nodes"]);

    let node = NodeProcess::start(&datadir, &flags);
    // Nobody has called it yet, as where the beacon node still has its old flag.
    let found = doctor(&datadir, &flags).await;
    found.fails_for(
        "Engine API calls",
        &[&node.endpoints.engine, "set the beacon node's execution endpoint"],
    );
    found.says("OK", "database", &["the running node has it"]);
    // A port that is taken and not by this node.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let found = doctor(&datadir, &with(&flags, "--http-port", &port)).await;
    found.says("FAIL", "port TCP", &["another program has it"]);
    world.connect(&[&node]);
    world.block().await;
    until("the payload", &node.http("/assay/v1/status"), |_, status| {
        status["data"]["gate"]["answered_syncing"].as_u64() > Some(0)
    })
    .await;
    let found = doctor(&datadir, &flags).await;
    assert_eq!(found.code, Some(0), "{:#?}", found.checks);
    found.says("OK", "Engine API calls", &["answered, policy"]);
    found.says("WARN", "peers", &["0 connected"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_on_this_machine_is_named() {
    let world = World::new(1).await;
    let flags = world.flags(0, "observe", &[]);
    let datadir = world.datadir(0);
    let home = world.home.path();

    // Settings that contradict each other.
    let found = doctor(&datadir, &with(&flags, "--proof-lag", "3")).await;
    found.fails_for("settings", &["--proof-lag"]);

    // The secret is not there, or is none.
    let missing = home.join("missing.hex").display().to_string();
    let found = doctor(&datadir, &with(&flags, "--execution-jwt", &missing)).await;
    found.fails_for("JWT secret", &["missing.hex", "openssl rand -hex 32"]);
    let short = home.join("short.hex");
    std::fs::write(&short, "abcd").unwrap();
    let found = doctor(
        &datadir,
        &with(&flags, "--execution-jwt", short.to_str().unwrap()),
    )
    .await;
    found.fails_for("JWT secret", &["fewer digits"]);

    // A secret that everybody can read.
    let open = home.join("open.hex");
    std::fs::copy(&world.jwt_file, &open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let found = doctor(&datadir, &with(&flags, "--execution-jwt", open.to_str().unwrap())).await;
    assert_eq!(found.code, Some(0), "{:#?}", found.checks);
    found.says("WARN", "JWT secret", &["chmod"]);

    // A port that another program has.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let found = doctor(&datadir, &with(&flags, "--http-port", &port)).await;
    found.fails_for("port TCP", &["another program has it", "ss -lpn"]);

    // A data directory that is a file, and a database that is none.
    let file = home.join("file");
    std::fs::write(&file, "x").unwrap();
    doctor(&file.join("below"), &flags)
        .await
        .fails_for("data directory", &["is no directory"]);
    let spoilt = home.join("spoilt");
    std::fs::create_dir(&spoilt).unwrap();
    std::fs::write(spoilt.join("proofs.redb"), vec![3; 9000]).unwrap();
    doctor(&spoilt, &flags)
        .await
        .fails_for("database", &["not a database of this program"]);

    // A database of another network.
    let foreign = home.join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    let other = assay_store::ChainIdentity {
        genesis_validators_root: assay_types::Root::from([7; 32]),
        chain_id: 1337,
        config_name: "other".into(),
    };
    drop(assay_store::Editor::create(&foreign.join("proofs.redb"), &other).unwrap());
    doctor(&foreign, &flags)
        .await
        .fails_for("database", &["is on another network", "--datadir"]);

    // A peer that cannot be read.
    let found = doctor(&datadir, &with(&flags, "--peer", "enr:-rubbish")).await;
    found.fails_for("--peer", &["enr:-rubbish", "assay enr decode"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beacon_node_that_is_not_what_it_should_be_is_named() {
    let world = World::new(1).await;
    let flags = world.flags(0, "observe", &[]);
    let datadir = world.datadir(0);

    // Nobody there.
    let found = doctor(&datadir, &with(&flags, "--beacon-node", "http://127.0.0.1:1")).await;
    found.fails_for("beacon node", &["http://127.0.0.1:1", "--http"]);

    // Assay itself.
    let ours = serve(Router::new().fallback(any(|| async {
        Json(json!({ "data": { "version": "assay/0.1.0/x" } }))
    })))
    .await;
    let found = doctor(&datadir, &with(&flags, "--beacon-node", &ours)).await;
    found.fails_for("beacon node", &["Assay's own HTTP API"]);

    // A clock an hour behind, as the beacon node's slots show.
    let now = slot_now(&world).await;
    let state = |head: u64, distance: u64, syncing: bool| {
        json!({ "head_slot": head.to_string(), "sync_distance": distance.to_string(), "is_syncing": syncing,
                "is_optimistic": false, "el_offline": false })
    };
    let ahead = beacon(&world, state(now + 1800, 0, false)).await;
    let found = doctor(&datadir, &with(&flags, "--beacon-node", &ahead)).await;
    found.fails_for("clock", &["behind", "timedatectl"]);

    // One that syncs, or has no execution client.
    let syncs = beacon(&world, state(2, now, true)).await;
    let found = doctor(&datadir, &with(&flags, "--beacon-node", &syncs)).await;
    found.says("WARN", "beacon node's sync", &["slots behind", "wait for it"]);
    let mut alone = state(now, 0, false);
    alone["el_offline"] = true.into();
    let alone = beacon(&world, alone).await;
    let found = doctor(&datadir, &with(&flags, "--beacon-node", &alone)).await;
    found.says(
        "WARN",
        "beacon node's sync",
        &["execution client is offline", "Engine API"],
    );

    // A further beacon node that is not there, and one of another network.
    let mut second = with(&flags, "--secondary-beacon-node", "http://127.0.0.1:1");
    let other = world.home.path().join("second.hex");
    JwtSecret::generate().write_new_file(&other).unwrap();
    second.extend(["--secondary-engine-jwt".to_owned(), other.display().to_string()]);
    let found = doctor(&datadir, &second).await;
    found.says("WARN", "secondary beacon node", &["HTTP 503"]);
    let foreign = serve(Router::new().fallback(any(|| async {
        let root = format!("0x{}", "77".repeat(32));
        Json(json!({ "data": { "genesis_time": "1", "genesis_validators_root": root } }))
    })))
    .await;
    let found = doctor(&datadir, &with(&second, "--secondary-beacon-node", &foreign)).await;
    found.fails_for("secondary beacon node", &["another network", "HTTP 403"]);

    // A value of the protocol that there is not.
    let found = doctor(&datadir, &with(&flags, "--spec", "MAX_PROF_SIZE=1")).await;
    found.fails_for("network", &["MAX_PROF_SIZE"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_client_or_proof_engine_that_is_not_what_it_should_be_is_named() {
    let world = World::new(1).await;
    let flags = world.flags(0, "observe", &[]);
    let datadir = world.datadir(0);
    let client = |url: &str| with(&flags, "--execution-endpoint", url);

    // Nobody there.
    let found = doctor(&datadir, &client("http://127.0.0.1:1")).await;
    found.fails_for("execution client", &["not reachable", "--authrpc.addr"]);

    // It has another secret.
    let other = world.home.path().join("other.hex");
    JwtSecret::generate().write_new_file(&other).unwrap();
    let found = doctor(
        &datadir,
        &with(&flags, "--execution-jwt", other.to_str().unwrap()),
    )
    .await;
    found.fails_for("execution client", &["401", "is not the secret it has"]);

    // Its plain RPC port.
    let plain = rpc(&[("eth_chainId", || json!("0x539"))]).await;
    let found = doctor(&datadir, &client(&plain)).await;
    found.fails_for("execution client", &["no Engine API", "8551"]);

    // Another network's.
    let mainnet = rpc(&[
        ("engine_exchangeCapabilities", || json!(["engine_newPayloadV4"])),
        ("eth_chainId", || json!("0x1")),
    ])
    .await;
    let found = doctor(&datadir, &client(&mainnet)).await;
    found.fails_for("execution client", &["chain id is 1", "1337"]);

    // Too old for the fork.
    let old = rpc(&[
        ("engine_exchangeCapabilities", || json!(["engine_newPayloadV1"])),
        ("eth_chainId", || json!("0x539")),
    ])
    .await;
    let found = doctor(&datadir, &client(&old)).await;
    found.fails_for("execution client", &["lacks engine_newPayloadV"]);

    // One that syncs.
    let syncs = rpc(&[
        ("engine_exchangeCapabilities", || {
            json!(
                (1..=5)
                    .map(|n| format!("engine_newPayloadV{n}"))
                    .collect::<Vec<_>>()
            )
        }),
        ("eth_chainId", || json!("0x539")),
        ("eth_syncing", || json!({ "currentBlock": "0x1" })),
    ])
    .await;
    let found = doctor(&datadir, &client(&syncs)).await;
    found.says("WARN", "execution client", &["it syncs"]);

    // Assay's own Engine API.
    static PORT: AtomicU16 = AtomicU16::new(0);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    PORT.store(free.local_addr().unwrap().port(), Ordering::Relaxed);
    drop(free);
    let port = PORT.load(Ordering::Relaxed).to_string();
    let own = with(
        &client(&format!("http://localhost:{port}")),
        "--engine-port",
        &port,
    );
    doctor(&datadir, &own)
        .await
        .fails_for("execution client", &["it would call itself"]);

    // A proof node that is not there, and one that names its types otherwise.
    let engine = |url: &str| with(&flags, "--proof-engine-endpoint", url);
    let found = doctor(&datadir, &engine("http://127.0.0.1:1")).await;
    found.fails_for("proof engine", &["nobody listens there"]);
    let node = serve(Router::new().fallback(any(|| async {
        Json(json!({ "proof_types": ["mine-1", "mine-2"] }))
    })))
    .await;
    let found = doctor(&datadir, &engine(&node)).await;
    found.fails_for("proof engine", &["mine-1", "--proof-engine-types"]);
    let named = with(&engine(&node), "--proof-engine-types", "1=mine-1,2=mine-2");
    let found = doctor(&datadir, &named).await;
    found.says("OK", "proof engine", &["mine-1"]);

    // An Engine API without proof methods.
    let mut flags = engine(&format!("engine+{mainnet}"));
    flags.extend([
        "--proof-engine-jwt".to_owned(),
        world.jwt_file.display().to_string(),
    ]);
    let found = doctor(&datadir, &flags).await;
    found.fails_for("proof engine", &["engine_verifyExecutionProofV1"]);

    // A remote signer that is not there, keys that are not.
    let mut flags = world.flags(0, "observe", &[]);
    flags.extend(["--web3-signer-url", "http://127.0.0.1:1"].map(str::to_owned));
    let found = doctor(&datadir, &flags).await;
    found.fails_for("keys", &["remote signer http://127.0.0.1:1"]);
    let mut flags = world.flags(0, "observe", &[]);
    let none = world.home.path().join("none").display().to_string();
    flags.extend([
        "--keystores".to_owned(),
        none,
        "--password-file".to_owned(),
        "x".to_owned(),
    ]);
    doctor(&datadir, &flags).await.fails_for("keys", &["not there"]);

    // Development proofs where they would mean something.
    let flags = with(&world.flags(0, "observe", &[]), "--spec", "DEPOSIT_CHAIN_ID=1");
    let found = doctor(&datadir, &flags).await;
    found.says("FAIL", "proof engine dev", &["chain id 1"]);
}
