//! What the gate adds to `engine_newPayload` with a payload of 1 MB, against calling the execution client directly.
//!
//! Real HTTP over loopback, connections kept open; caller, gate and execution client have threads of their own, as they have when
//! they are programs of their own. The execution client reads the call to its end and says
//! VALID after `EXECUTION`, a fraction of what a real one needs for such a payload: the gate's own work runs beside the
//! call (design.md, gate rule 8), so an answer that came at once would measure it alone, which is printed too. Calls are
//! made in turn, one of each, so that what else the machine does hits all alike; what counts is the median of the
//! differences to the direct call of the same turn. nginx as a plain proxy is measured beside them where it is installed.
//! `cargo bench -p assay-gate --bench new_payload`; with `-- --check` the exit code is 1 where the goal is missed or nginx is
//! not there, `--rounds N` makes more calls, `--json FILE` writes what was measured (testnet/latency/run.sh does all that).

use assay_engine_api::{ForkchoiceStateV1, JwtSecret, NewPayloadParamsJson, block_hash, methods};
use assay_gate::{
    EndpointConfig, EndpointContext, EngineObserver, GateConfig, GateHandle, ImportPolicy, InMemory, Network,
    endpoint,
};
use assay_types::{
    ExecutionPayload, ExecutionRequests, ForkName, Hash256, NewPayloadRequest, Root, Slot, Spec,
    spec::Genesis,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{
    error::Error,
    io::{self, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;

/// Calls of each that are counted where nothing else is asked for, and those before them that are not.
const ROUNDS: usize = 41;
const WARM_UP: usize = 5;
/// Bytes of transactions in a payload; its JSON is twice as long.
const PAYLOAD_BYTES: usize = 1_000_000;
/// Before each call: what the one before left to be done is done by then.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the execution client takes for one.
const EXECUTION: Duration = Duration::from_millis(50);
/// Design.md, numbers to reach.
const GOAL: Duration = Duration::from_millis(1);
const GOAL_PERCENT: f64 = 2.0;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type HttpClient = Client<HttpConnector, Full<Bytes>>;

struct Deaf;

impl EngineObserver for Deaf {
    fn on_payload(&self, _: &Root, _: &Arc<NewPayloadRequest>) {}
    fn on_forkchoice(&self, _: &ForkchoiceStateV1) {}
}

/// An execution client: reads the call, waits, says VALID. `wait_micros` may be changed while it runs.
async fn execution_client(wait_micros: Arc<AtomicU64>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let wait_micros = wait_micros.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let wait_micros = wait_micros.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let arrived = Instant::now();
                    let hash = block_hash_in(&body);
                    let wait = Duration::from_micros(wait_micros.load(Ordering::Relaxed));
                    if !wait.is_zero() {
                        tokio::time::sleep_until((arrived + wait).into()).await;
                    }
                    let answer = format!(
                        r#"{{"jsonrpc":"2.0","id":1,"result":{{"status":"VALID","latestValidHash":"{hash}","validationError":null}}}}"#
                    );
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(answer))))
                }
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    Ok(address)
}

fn block_hash_in(body: &[u8]) -> String {
    const KEY: &[u8] = b"\"blockHash\":\"";
    memchr::memmem::find(body, KEY)
        .and_then(|at| body.get(at + KEY.len()..at + KEY.len() + 66))
        .map(|hash| String::from_utf8_lossy(hash).into_owned())
        .unwrap_or_default()
}

/// The calls of a chain of payloads.
fn calls(spec: &Spec, genesis: &Genesis, count: usize) -> Result<Vec<Bytes>> {
    let mut parent = Hash256([7; 32]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut calls = Vec::new();
    for number in (1..).take(count) {
        let mut transaction = || -> Bytes {
            // Of a type that carries no blobs; what follows means nothing to anybody here.
            std::iter::once(2)
                .chain((1..PAYLOAD_BYTES / 500).map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()[0]
                }))
                .collect::<Vec<u8>>()
                .into()
        };
        let mut request = NewPayloadRequest {
            fork: ForkName::Fulu,
            execution_payload: ExecutionPayload {
                parent_hash: parent,
                block_number: number,
                gas_limit: 60_000_000,
                timestamp: spec.timestamp_at_slot(genesis.genesis_time, Slot(number)),
                transactions: (0..500).map(|_| transaction()).collect(),
                ..ExecutionPayload::default()
            },
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: Hash256([9; 32]),
            execution_requests: ExecutionRequests::default(),
        };
        parent = block_hash::of_request(&request);
        request.execution_payload.block_hash = parent;
        let method = methods::new_payload(request.fork).ok_or("no method")?;
        let params = serde_json::to_string(&NewPayloadParamsJson(&request))?;
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        calls.push(Bytes::from(call));
    }
    Ok(calls)
}

/// The gate in front of the execution client.
async fn gate(
    policy: ImportPolicy,
    execution: SocketAddr,
    jwt: &JwtSecret,
    network: Network,
    stop: &CancellationToken,
) -> Result<SocketAddr> {
    let settings = GateConfig {
        policy,
        ..GateConfig::default()
    };
    let (gate, _) = GateHandle::open(settings, Arc::new(InMemory::default()), None, stop.clone())?;
    let mut config = EndpointConfig::new(format!("http://{execution}").parse()?, jwt.clone());
    config.listen = "127.0.0.1:0".parse()?;
    let (_, network) = watch::channel(Some(network));
    let context = EndpointContext {
        gate,
        network,
        observer: Arc::new(Deaf),
        proofs: None,
    };
    Ok(endpoint::run(config, context, stop.clone()).await?.local_addr())
}

/// nginx as a plain proxy; ended when dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _home: tempfile::TempDir,
}

impl Nginx {
    /// `None` where there is no nginx.
    fn start(execution: SocketAddr) -> Result<Option<Self>> {
        let home = tempfile::tempdir()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let at = home.path().display();
        let config = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_max_body_size 128m; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             upstream el {{ server {execution}; keepalive 8; }}\n\
             server {{ listen {address}; location / {{ proxy_pass http://el; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
        );
        let file = home.path().join("nginx.conf");
        std::fs::write(&file, config)?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(home.path())
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let nginx = Self {
            child,
            address,
            _home: home,
        };
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err("nginx does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(nginx))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its own end takes its worker with it, which a kill would not.
        let _ = Command::new("kill")
            .args(["-QUIT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// One call, from its first byte to the answer's last.
async fn call(client: &HttpClient, to: SocketAddr, jwt: &JwtSecret, body: &Bytes) -> Result<Duration> {
    let request = http::Request::post(format!("http://{to}/"))
        .header("content-type", "application/json")
        .header("authorization", jwt.bearer(SystemTime::now()))
        .body(Full::new(body.clone()))?;
    let began = Instant::now();
    let answer = client.request(request).await?;
    let status = answer.status();
    let text = answer.into_body().collect().await?.to_bytes();
    let took = began.elapsed();
    if !status.is_success() || memchr::memmem::find(&text, b"\"status\":\"").is_none() {
        return Err(format!("{to}: {status} {}", String::from_utf8_lossy(&text)).into());
    }
    Ok(took)
}

fn median<T: PartialOrd + Copy>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len() / 2).copied()
}

/// One way of calling, measured.
struct Measured {
    name: String,
    /// Median, milliseconds.
    took: f64,
    /// Median of the differences to the direct call of the same turn, milliseconds.
    added: f64,
    /// That, of the direct call's median.
    percent: f64,
}

impl Measured {
    fn meets_goal(&self) -> bool {
        self.added <= GOAL.as_secs_f64() * 1e3 || self.percent <= GOAL_PERCENT
    }

    fn json(&self) -> String {
        let Self {
            name,
            took,
            added,
            percent,
        } = self;
        format!(
            r#"{{"way":"{name}","median_ms":{took:.3},"added_ms":{added:.3},"added_percent":{percent:.2}}}"#
        )
    }
}

async fn measure(
    ways: &[(&str, SocketAddr)],
    jwt: &JwtSecret,
    calls: &[Bytes],
    out: &mut impl io::Write,
) -> Result<Vec<Measured>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: HttpClient = Client::builder(TokioExecutor::new()).build(connector);
    let mut times = vec![Vec::new(); ways.len()];
    for (round, body) in calls.iter().enumerate() {
        for offset in 0..ways.len() {
            // Each has each place in the turn.
            let way = (round + offset) % ways.len();
            tokio::time::sleep(PAUSE).await;
            let took = call(&client, ways[way].1, jwt, body).await?;
            if round >= WARM_UP {
                times[way].push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let direct = median(&times[0]).ok_or("no rounds")?;
    let mut measured = Vec::new();
    for ((name, _), way) in ways.iter().zip(&times) {
        let differences: Vec<f64> = way.iter().zip(&times[0]).map(|(a, b)| a - b).collect();
        let (took, added) = (
            median(way).ok_or("no rounds")?,
            median(&differences).ok_or("no rounds")?,
        );
        let percent = 100.0 * added / direct;
        writeln!(
            out,
            "  {name:<24} {took:>9.3} ms   added {added:>+8.3} ms  {percent:>+7.2} %"
        )?;
        measured.push(Measured {
            name: (*name).to_owned(),
            took,
            added,
            percent,
        });
    }
    Ok(measured)
}

/// Whether the gate adds what it may, and less than nginx; says so.
fn judge(measured: &[Measured], out: &mut impl io::Write) -> Result<bool> {
    let nginx = measured.iter().find(|m| m.name.starts_with("nginx"));
    let mut good = nginx.is_some();
    for gate in measured.iter().filter(|m| m.name.starts_with("gate")) {
        let less = nginx.map(|n| gate.added < n.added);
        let word = |yes: bool| if yes { "met" } else { "MISSED" };
        let beside = less.map_or("nginx is not there", |less| {
            if less {
                "less than nginx"
            } else {
                "NOT less than nginx"
            }
        });
        writeln!(out, "{}: goal {}, {beside}", gate.name, word(gate.meets_goal()))?;
        good &= gate.meets_goal() && less == Some(true);
    }
    Ok(good)
}

/// What the command line asks for.
struct Asked {
    check: bool,
    rounds: usize,
    json: Option<std::path::PathBuf>,
}

impl Asked {
    fn read() -> Result<Self> {
        let mut asked = Self {
            check: false,
            rounds: ROUNDS,
            json: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--check" => asked.check = true,
                "--rounds" => asked.rounds = args.next().ok_or("--rounds needs a number")?.parse()?,
                "--json" => asked.json = Some(args.next().ok_or("--json needs a file")?.into()),
                // cargo's own.
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// Threads of its own for each party.
struct Parties(Vec<Runtime>);

impl Parties {
    async fn run<T: Send + 'static>(
        &mut self,
        party: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let running = runtime.spawn(async move { party.await.map_err(|e| e.to_string()) });
        self.0.push(runtime);
        Ok(running.await??)
    }
}

impl Drop for Parties {
    fn drop(&mut self) {
        for runtime in self.0.drain(..) {
            runtime.shutdown_background();
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = Asked::read()?;
    let mut out = io::stdout().lock();
    let spec = Arc::new(Spec::minimal());
    let genesis = Genesis {
        genesis_time: 1_700_000_000,
        genesis_validators_root: Root::ZERO,
    };
    let network = Network {
        spec: spec.clone(),
        genesis,
    };
    let (jwt, stop) = (JwtSecret::generate(), CancellationToken::new());
    let wait = Arc::new(AtomicU64::new(0));
    let mut parties = Parties(Vec::new());
    let waits = wait.clone();
    let execution = parties.run(async { Ok(execution_client(waits).await?) }).await?;
    let mut gate = async |policy| {
        let (jwt, network, stop) = (jwt.clone(), network.clone(), stop.clone());
        parties
            .run(async move { gate(policy, execution, &jwt, network, &stop).await })
            .await
    };
    let observe = gate(ImportPolicy::Observe).await?;
    let require = gate(ImportPolicy::RequireProofs).await?;
    let mut ways = vec![
        ("direct", execution),
        ("gate, observe", observe),
        ("gate, require-proofs", require),
    ];
    let nginx = Nginx::start(execution)?;
    match &nginx {
        Some(nginx) => ways.push(("nginx, plain proxy", nginx.address)),
        None => writeln!(out, "nginx is not installed: not measured beside")?,
    }
    let rounds = asked.rounds;
    let calls = calls(&spec, &genesis, WARM_UP + rounds)?;
    let bytes = calls.first().map_or(0, Bytes::len);
    writeln!(
        out,
        "engine_newPayload, {bytes} bytes of JSON, {rounds} calls each; goal: at most {} ms or {GOAL_PERCENT} % added",
        GOAL.as_millis()
    )?;
    let (mut good, mut json) = (true, Vec::new());
    for time in [EXECUTION, Duration::ZERO] {
        wait.store(u64::try_from(time.as_micros())?, Ordering::Relaxed);
        writeln!(out, "execution client answers after {} ms:", time.as_millis())?;
        let measured = measure(&ways, &jwt, &calls, &mut out).await?;
        // What an execution client needs is what the goal is about.
        if time == EXECUTION {
            good = judge(&measured, &mut out)?;
        }
        let ways: Vec<String> = measured.iter().map(Measured::json).collect();
        json.push(format!(
            r#"{{"execution_ms":{},"ways":[{}]}}"#,
            time.as_millis(),
            ways.join(",")
        ));
    }
    stop.cancel();
    if let Some(file) = asked.json {
        let text = format!(
            "{{\"bytes\":{bytes},\"rounds\":{rounds},\"ok\":{good},\"measured\":[{}]}}\n",
            json.join(",")
        );
        std::fs::write(file, text)?;
    }
    if asked.check && !good {
        return Err("the goal is missed".into());
    }
    Ok(())
}
