//! Passwords in URLs: whatever takes a URL, its password is in no log, error, route, or finding of the doctor.

use crate::support::{NodeProcess, PATIENCE, World, assay, get, until};
use assay_engine_api::JwtSecret;
use std::{
    io::Read,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

const PASSWORD: &str = "hunter2pw";

/// The same URL, with a user and the password.
fn with_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    format!("{scheme}://operator:{PASSWORD}@{rest}")
}

fn holds_no_password(what: &str, text: &str) {
    assert!(!text.contains(PASSWORD), "{what} shows the password:\n{text}");
}

/// A port that nobody listens at, for as long as the listener lives it is nobody else's.
async fn refusing() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// What a command prints, given some seconds; one that does not end by itself is ended.
fn printed(dir: &Path, args: &[String]) -> String {
    let mut child = assay()
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_and_the_doctor_show_none() {
    let world = World::new(1).await;
    let (_deaf, nowhere) = refusing().await;
    // Gone: a connection is refused.
    drop(_deaf);
    let nowhere = with_password(&nowhere);
    let second_jwt = world.home.path().join("second.hex");
    JwtSecret::generate().write_new_file(&second_jwt).unwrap();
    let mut flags = world.flags(0, "observe", &[]);
    let beacon = flags.iter().position(|f| f == "--beacon-node").unwrap() + 1;
    flags[beacon] = with_password(&flags[beacon]);
    for (flag, value) in [
        ("--proof-engine-endpoint", format!("2@{nowhere}")),
        ("--proof-engine-endpoint", format!("2@engine+{nowhere}")),
        ("--proof-engine-jwt", second_jwt.display().to_string()),
        (
            "--secondary-beacon-node",
            with_password(&world.simulation.beacon_url(0).unwrap()),
        ),
        ("--secondary-engine-jwt", second_jwt.display().to_string()),
        ("--web3-signer-url", nowhere.clone()),
        ("--otlp-endpoint", nowhere.clone()),
        ("--log-level", "debug".to_owned()),
    ] {
        flags.extend([flag.to_owned(), value]);
    }
    let datadir = world.datadir(0);
    let doctor = |flags: &[String]| {
        let datadir = datadir.display().to_string();
        let mut args = vec!["doctor".to_owned(), "--datadir".to_owned(), datadir];
        args.extend(flags.iter().cloned());
        args
    };
    let home = world.home.path().to_owned();
    let (args, before) = (doctor(&flags), home.clone());
    let text = tokio::task::spawn_blocking(move || printed(&before, &args))
        .await
        .unwrap();
    holds_no_password("the doctor", &text);
    assert!(text.contains("execution client"), "{text}");

    let node = NodeProcess::start(&datadir, &flags);
    world.connect(&[&node]);
    let block = world.block().await;
    until("the payload", &node.http("/assay/v1/payloads"), |_, payloads| {
        payloads["data"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await;
    // Both engines are asked, and the collector gets a span, if it can.
    let proof = world.signed_proof(&block, 2, 500, 3);
    crate::support::post_ssz(
        &node.http("/eth/v1/beacon/execution_proofs"),
        proof.to_ssz_bytes(),
    )
    .await;
    let openapi = get(&node.http("/openapi.json")).await.1;
    let mut routes: Vec<String> = openapi["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| !path.contains('{') && !path.ends_with("/events"))
        .cloned()
        .collect();
    assert!(
        routes.iter().any(|path| path == "/assay/v1/dashboard"),
        "{routes:?}"
    );
    routes.push("/metrics".to_owned());
    assay_engine_api::install_crypto_provider();
    let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    for path in routes {
        let answer = client.get(node.http(&path)).send().await.unwrap();
        holds_no_password(&path, &answer.text().await.unwrap());
    }
    let (args, beside) = (doctor(&flags), home.clone());
    let text = tokio::task::spawn_blocking(move || printed(&beside, &args))
        .await
        .unwrap();
    holds_no_password("the doctor beside the node", &text);
    // The beacon node goes away: what cannot be reached is named.
    let log = datadir.join("node.log");
    assert_eq!(node.terminate(), Some(0));
    let mut gone = flags.clone();
    gone[beacon] = nowhere.clone();
    let node = NodeProcess::spawn(&datadir, &gone);
    tokio::time::sleep(Duration::from_secs(4)).await;
    node.terminate();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("127.0.0.1"), "{log}");
    holds_no_password("the log", &log);
    for file in ["endpoints.json", "network.json"] {
        if let Ok(text) = std::fs::read_to_string(datadir.join(file)) {
            holds_no_password(file, &text);
        }
    }
}

/// Nobody there, no URL at all, a scheme that nobody speaks: the error names the place without the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_shows_one() {
    let world = World::new(1).await;
    let home = world.home.path().to_owned();
    let (listener, nowhere) = refusing().await;
    drop(listener);
    std::fs::write(home.join("proof.ssz"), [0; 64]).unwrap();
    std::fs::write(home.join("key.hex"), "11".repeat(32)).unwrap();
    std::fs::create_dir(home.join("export")).unwrap();
    let root = "0x".to_owned() + &"00".repeat(32);
    std::fs::write(
        home.join("export/export.json"),
        format!(
            r#"{{"format":1,"network":"n","chain_id":1,"genesis_validators_root":"{root}","head":null,"blocks":[],"proofs":[]}}"#
        ),
    )
    .unwrap();
    let urls = [
        with_password(&nowhere),
        format!("{}/path?token={PASSWORD}", with_password(&nowhere)),
        format!("ftp://operator:{PASSWORD}@127.0.0.1:1"),
        format!("http://operator:{PASSWORD}@127.0.0.1:99999"),
        format!("http://operator:{PASSWORD}@"),
        format!("operator:{PASSWORD}@127.0.0.1:1"),
    ];
    let jwt = world.jwt_file.display().to_string();
    let node = |flag: &str, url: &str| {
        let mut flags = world.flags(0, "observe", &[]);
        flags.splice(..0, ["node", "--datadir", "node"].map(str::to_owned));
        match flags.iter().position(|f| f == flag) {
            Some(at) => flags[at + 1] = url.to_owned(),
            None => flags.extend([flag.to_owned(), url.to_owned()]),
        }
        if flag == "--secondary-beacon-node" {
            flags.extend(["--secondary-engine-jwt".to_owned(), jwt.clone()]);
        }
        flags
    };
    let args = |text: &str, url: &str| -> Vec<String> {
        text.split(' ').map(|word| word.replace("URL", url)).collect()
    };
    let mut shown = Vec::new();
    for url in &urls {
        let mut commands: Vec<Vec<String>> = [
            "--beacon-node",
            "--execution-endpoint",
            "--proof-engine-endpoint",
            "--secondary-beacon-node",
            "--web3-signer-url",
            "--otlp-endpoint",
        ]
        .iter()
        .map(|flag| node(flag, url))
        .collect();
        let mut by_json_rpc = node("--proof-engine-endpoint", &format!("engine+{url}"));
        by_json_rpc.extend(["--proof-engine-jwt".to_owned(), jwt.clone()]);
        commands.push(by_json_rpc);
        let doctors: Vec<_> = commands
            .iter()
            .map(|flags| [&["doctor".to_owned()], &flags[1..]].concat())
            .collect();
        commands.extend(doctors);
        commands.extend(
            [
                "prover --beacon-node URL --proof-engine-endpoint dev --proof-types 1 --web3-signer-url URL",
                "prover --beacon-node URL --post-to URL --proof-engine-endpoint URL --proof-types 1 --web3-signer-url URL",
                "sign proof.ssz --key-file key.hex --validator-index 7 --beacon-node URL --slot 3 -o signed.ssz",
                "verify proof.ssz --beacon-node URL --slot 3",
                "db import export --to-node URL",
                "enr make --key-file key.hex --ip 192.0.2.1 --beacon-node URL",
            ]
            .iter()
            .map(|text| args(text, url)),
        );
        let runs: Vec<_> = commands
            .into_iter()
            .map(|command| {
                let home = home.clone();
                std::thread::spawn(move || (printed(&home, &command), command))
            })
            .collect();
        let (mut all, mut said) = (0, 0);
        for run in runs {
            let (text, command) = run.join().unwrap();
            if text.contains(PASSWORD) {
                shown.push(format!("{}\n{text}", command.join(" ")));
            }
            (all, said) = (all + 1, said + usize::from(!text.is_empty()));
        }
        // Some look for longer before they give up.
        assert!(said * 2 > all, "{url}: {said} of {all} said something");
    }
    assert!(shown.is_empty(), "passwords are shown:\n{}", shown.join("\n"));
}
