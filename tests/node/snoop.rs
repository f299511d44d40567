//! The binary in a snooper's slot: under the name `json_rpc_snoop`, with a snooper's arguments and the environment alone.

use crate::support::{NodeProcess, PATIENCE, World, get, until};
use assay::endpoints::Endpoints;
use assay_engine_api::JwtSecret;
use assay_simulator::SimBlock;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

/// A slot; its process is ended when dropped.
struct Slot {
    child: Child,
    home: tempfile::TempDir,
    address: SocketAddr,
}

impl Slot {
    /// Starts it as ethereum-package does, in a directory that is its own, and waits until it listens.
    async fn start(upstream: &str, env: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_assay"), home.path().join("json_rpc_snoop")).unwrap();
        let address = free_address();
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let mut command = Command::new("./json_rpc_snoop");
        command
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .args(["-b=127.0.0.1", &format!("-p={}", address.port()), upstream])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let beside = [
            ("ASSAY_LISTEN_ADDRESS", "127.0.0.1"),
            ("ASSAY_PORT", "0"),
            ("ASSAY_HTTP_PORT", "0"),
            ("ASSAY_PROOF_ENGINE_ENDPOINT", "dev"),
            ("ASSAY_PROOF_TYPES", "1,2"),
        ];
        for (name, value) in beside.iter().chain(env) {
            command.env(name, value);
        }
        let slot = Self {
            child: command.spawn().unwrap(),
            home,
            address,
        };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(started.elapsed() < PATIENCE, "{}", slot.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slot
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn datadir(&self) -> PathBuf {
        self.home.path().join(".assay")
    }

    /// Waits for the node in it.
    async fn node(&self) -> Endpoints {
        let started = Instant::now();
        loop {
            if let Some(endpoints) = Endpoints::read(&self.datadir(), Some(self.child.id())) {
                return endpoints;
            }
            assert!(started.elapsed() < PATIENCE, "no node came up:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One call; the HTTP status and the body.
    async fn call(&self, method: &str, bearer: Option<String>) -> (u16, Value) {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [[]] }).to_string();
        let mut request = reqwest::Client::new()
            .post(self.url())
            .header("content-type", "application/json")
            .body(body);
        if let Some(bearer) = bearer {
            request = request.header("authorization", bearer);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Lets `at` be another address of `to`, which is a URL.
async fn appear(at: SocketAddr, to: &str) {
    let to: SocketAddr = to
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .unwrap();
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
}

fn bearer(world: &World) -> String {
    JwtSecret::from_file(&world.jwt_file)
        .unwrap()
        .bearer(SystemTime::now())
}

/// Waits until the beacon node was told VALID of the block's payload.
async fn told_valid(world: &World, block: &SimBlock) {
    let started = Instant::now();
    while world.simulation.follower(0).unwrap().is_optimistic(block) {
        assert!(started.elapsed() < PATIENCE, "the beacon node was not told VALID");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn upstream(world: &World) -> String {
    world.simulation.execution(0).unwrap().url()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_passes_until_the_beacon_node_is_there() {
    let world = World::new(1).await;
    let beacon_node = free_address();
    let url = format!("http://{beacon_node}");
    let slot = Slot::start(&upstream(&world), &[("ASSAY_BEACON_NODE", &url)]).await;

    // The execution client judges the caller's token.
    let capabilities = "engine_exchangeCapabilities";
    assert_eq!(slot.call(capabilities, None).await.0, 401);
    let stranger = JwtSecret::generate().bearer(SystemTime::now());
    assert_eq!(slot.call(capabilities, Some(stranger)).await.0, 401);
    let (status, body) = slot.call(capabilities, Some(bearer(&world))).await;
    assert_eq!(status, 200, "{body}");
    assert!(
        body["result"]
            .as_array()
            .is_some_and(|methods| !methods.is_empty()),
        "{body}"
    );

    // Blocks pass, before there is a node.
    world.connect_to(slot.url());
    let early = world.block().await;
    told_valid(&world, &early).await;
    assert!(Endpoints::read(&slot.datadir(), None).is_none());

    appear(beacon_node, &world.simulation.beacon_url(0).unwrap()).await;
    let node = slot.node().await;
    let block = world.block().await;
    told_valid(&world, &block).await;
    let at = format!("{}/assay/v1/payloads/{}", node.http, block.block_hash());
    let shown = until("the payload", &at, |status, _| status == 200).await;
    assert_eq!(shown["data"]["execution_status"], "VALID", "{shown}");
    // The token is the caller's, with a node too.
    let stranger = JwtSecret::generate().bearer(SystemTime::now());
    assert_eq!(slot.call(capabilities, Some(stranger)).await.0, 401);
    assert_eq!(slot.call(capabilities, None).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beacon_node_is_found_by_its_call_and_nothing_is_valid_before() {
    let world = World::new(1).await;
    let beacon_node: SocketAddr = free_address();
    let url = format!("http://caller:{}", beacon_node.port());
    let env = [
        ("ASSAY_BEACON_NODE", url.as_str()),
        ("ASSAY_IMPORT_POLICY", "require-proofs"),
    ];
    let slot = Slot::start(&upstream(&world), &env).await;
    world.connect_to(slot.url());
    let early = world.block().await;
    let follower = world.simulation.follower(0).unwrap();
    let started = Instant::now();
    while !follower.is_imported(&early.block_root) {
        assert!(started.elapsed() < PATIENCE, "the block was never answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(follower.is_optimistic(&early));

    appear(beacon_node, &world.simulation.beacon_url(0).unwrap()).await;
    let node = slot.node().await;
    let (status, identity) = get(&format!("{}/eth/v1/node/identity", node.http)).await;
    assert_eq!(status, 200, "{identity}");
    assert!(
        slot.log().contains("the beacon node has called"),
        "{}",
        slot.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_the_environment_is_judged_by() {
    let world = World::new(1).await;
    let hex = std::fs::read_to_string(&world.jwt_file).unwrap();
    let url = world.simulation.beacon_url(0).unwrap();
    let env = [
        ("ASSAY_BEACON_NODE", url.as_str()),
        ("ASSAY_JWT_SECRET", hex.trim()),
    ];
    let slot = Slot::start(&upstream(&world), &env).await;
    let stranger = JwtSecret::generate().bearer(SystemTime::now());
    assert_eq!(
        slot.call("engine_exchangeCapabilities", Some(stranger)).await.0,
        401
    );
    let execution = world.simulation.execution(0).unwrap();
    assert_eq!(execution.calls("engine_exchangeCapabilities"), 0);
    world.connect_to(slot.url());
    slot.call("engine_exchangeCapabilities", Some(bearer(&world)))
        .await;
    slot.node().await;
    let block = world.block().await;
    told_valid(&world, &block).await;
    // With a secret the methods of EIP-8025 are served here.
    let (_, body) = slot
        .call("engine_exchangeCapabilities", Some(bearer(&world)))
        .await;
    assert!(body["result"].to_string().contains("roof"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_front_of_a_plain_port_everything_passes_and_nothing_is_started() {
    // Gives back what it was sent, head and body.
    let plain = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = plain.local_addr().unwrap();
    let app = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let seen = head.headers.get("x-mine").map(|v| v.to_str().unwrap().to_owned());
        let path = head.uri.to_string();
        (
            axum::http::StatusCode::IM_A_TEAPOT,
            [("x-path", path), ("x-seen", seen.unwrap_or_default())],
            body,
        )
    });
    tokio::spawn(async move { axum::serve(plain, app).await });
    let slot = Slot::start(&format!("http://{address}"), &[]).await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#,
        r#"{ "method" : "engine_exchangeCapabilities", "id": "ü", "params": [[]] }"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},{"jsonrpc":"2.0","id":2,"method":"net_version"}]"#,
    ] {
        let answer = reqwest::Client::new()
            .post(format!("{}/path?a=b", slot.url()))
            .header("x-mine", "1")
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 418);
        assert_eq!(answer.headers()["x-path"], "/path?a=b");
        assert_eq!(answer.headers()["x-seen"], "1");
        assert_eq!(answer.text().await.unwrap(), body);
    }
    let answer = reqwest::get(format!("{}/health", slot.url())).await.unwrap();
    assert_eq!(answer.headers()["x-path"], "/health");
    assert!(!slot.datadir().exists());
    assert!(
        !slot.log().contains("the beacon node has called"),
        "{}",
        slot.log()
    );
}

/// What holds in a slot holds for `assay node` too: its first start may come before its beacon node's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_its_engine_api_before_its_beacon_node_is_there() {
    let world = World::new(1).await;
    let (engine, beacon_node) = (free_address(), free_address());
    let mut flags = world.flags(0, "observe", &[]);
    for (flag, value) in [
        ("--engine-port", engine.port().to_string()),
        ("--beacon-node", format!("http://{beacon_node}")),
    ] {
        let at = flags.iter().position(|f| f == flag).unwrap();
        flags[at + 1] = value;
    }
    let node = NodeProcess::spawn(&world.datadir(0), &flags);
    let started = Instant::now();
    while tokio::net::TcpStream::connect(engine).await.is_err() {
        assert!(started.elapsed() < PATIENCE, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.connect_to(format!("http://{engine}"));
    let early = world.block().await;
    told_valid(&world, &early).await;
    assert!(Endpoints::read(&node.datadir, None).is_none(), "{}", node.log());

    appear(beacon_node, &world.simulation.beacon_url(0).unwrap()).await;
    while Endpoints::read(&node.datadir, None).is_none() {
        assert!(started.elapsed() < PATIENCE, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let block = world.block().await;
    told_valid(&world, &block).await;
}

#[test]
fn settings_that_cannot_be_used_are_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().join("json_rpc_snoop");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_assay"), &name).unwrap();
    for (env, args, says) in [
        (
            ("ASSAY_JWT_SECRET", "0x12"),
            vec!["-p=0", "http://127.0.0.1:1"],
            "ASSAY_JWT_SECRET",
        ),
        (
            ("ASSAY_IMPORT_POLICY", "require-proofs"),
            vec!["-p=0", "http://127.0.0.1:1"],
            "--proof-engine-endpoint",
        ),
        (
            ("ASSAY_HTTP_PORT", "many"),
            vec!["-p=0", "http://127.0.0.1:1"],
            "ASSAY_HTTP_PORT",
        ),
        (("A", "b"), vec!["-p=0", "nonsense"], "--execution-endpoint"),
        (
            ("A", "b"),
            vec!["-p=0", "--frobnicate", "http://127.0.0.1:1"],
            "--frobnicate",
        ),
    ] {
        let output = Command::new(&name)
            .args(&args)
            .env_clear()
            .env("HOME", home.path())
            .env(env.0, env.1)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && text.contains(says),
            "{args:?}: {text}"
        );
    }
}
