//! The process that asks, and measures.

use crate::{Failure, Size, TYPES, say, server};
use assay_network::{NetworkHandle, PeerAddress, PeerId};
use assay_types::{ExecutionProofsByRange, Slot};
use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes read from a plain socket at once.
const PLAIN_READ: usize = 256 * 1024;
/// The least of plain TCP's speed that serving by range is to have, between two nodes.
const RATIO_GOAL: f64 = 0.5;
/// The most MiB that the serving process may grow by: its room for responses, and what goes with it.
const GROWTH_GOAL: f64 = 64.0;
/// Time to a connection.
const CONNECT: Duration = Duration::from_secs(20);

pub(crate) async fn run(size: Size) -> Result<(), Failure> {
    let mut server = Command::new(std::env::current_exe()?)
        .args([
            "server".to_owned(),
            size.proofs.to_string(),
            size.bytes.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let result = measure(&mut server, size).await;
    // Its standard input ends with this.
    drop(server.stdin.take());
    let _ = tokio::time::timeout(CONNECT, server.wait()).await;
    result
}

async fn measure(server: &mut Child, size: Size) -> Result<(), Failure> {
    let pid = server.id().ok_or("the server has ended")?;
    let out = server.stdout.take().ok_or("no output")?;
    let ready = BufReader::new(out)
        .lines()
        .next_line()
        .await?
        .ok_or("the server said nothing")?;
    let words: Vec<&str> = ready.split_whitespace().collect();
    let ["ready", address, plain] = words[..] else {
        return Err(format!("not understood: {ready}").into());
    };
    let address: PeerAddress = address.parse()?;
    let peer = address.peer_id;
    let ours = Asker::start(&address, false).await?;
    let standard = Asker::start(&address, true).await?;
    let mib = size.proofs as f64 * size.bytes as f64 / (1 << 20) as f64;
    say(&format!(
        "{} proofs of {} bytes by range, and {mib} MiB over plain TCP, on one loopback; {} turns",
        size.proofs, size.bytes, size.runs
    ))?;
    let before = resident(pid)?;
    let peak = Arc::new(AtomicU64::new(before));
    let watch = tokio::spawn(watch(pid, Arc::clone(&peak)));
    let (mut ratios, mut standard_ratios) = (Ratios::default(), Ratios::default());
    for run in 1..=size.runs {
        let plain_cost = Cost::of(pid, read_plain(plain.to_owned(), size)).await?;
        let ours_cost = Cost::of(pid, ask(ours.network.clone(), peer, size)).await?;
        let mut line = format!(
            "turn {run}: plain TCP {}; by range {}",
            plain_cost.per(mib),
            ours_cost.per(mib)
        );
        ratios.push(&plain_cost, &ours_cost);
        if size.with_standard {
            let standard_cost = Cost::of(pid, ask(standard.network.clone(), peer, size)).await?;
            line += &format!("; with the standard cipher {}", standard_cost.per(mib));
            standard_ratios.push(&plain_cost, &standard_cost);
        }
        say(&line)?;
    }
    watch.abort();
    let grown = (peak.load(Ordering::Relaxed) - before) as f64 / 1024.0;
    let ratio = median(&mut ratios.wall);
    say(&format!(
        "by range: {ratio:.2} of plain TCP's speed in the median of the turns (goal {RATIO_GOAL}); by processor time {:.2}",
        median(&mut ratios.processor)
    ))?;
    if size.with_standard {
        say(&format!(
            "by range, the standard cipher: {:.2} of plain TCP's speed; by processor time {:.2}",
            median(&mut standard_ratios.wall),
            median(&mut standard_ratios.processor)
        ))?;
    }
    say(&format!(
        "the serving process: {:.1} MiB resident before, {grown:.1} MiB more at most while serving (goal {GROWTH_GOAL})",
        before as f64 / 1024.0
    ))?;
    if size.is_check && (ratio < RATIO_GOAL || grown > GROWTH_GOAL) {
        return Err("a goal is missed".into());
    }
    Ok(())
}

/// A node that asks.
struct Asker {
    network: NetworkHandle,
    _dir: tempfile::TempDir,
}

impl Asker {
    /// Started and connected.
    async fn start(server: &PeerAddress, standard_noise_alone: bool) -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let peers = vec![server.clone()];
        let (_, _, network) = server::node(dir.path(), peers, standard_noise_alone).await?;
        let requester = network.requester();
        let end = Instant::now() + CONNECT;
        while !requester.is_connected(&server.peer_id) {
            if Instant::now() > end {
                return Err("no connection".into());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Self { network, _dir: dir })
    }
}

/// What moving the bytes took.
struct Cost {
    seconds: f64,
    /// Of both processes together, user and system.
    processor: f64,
}

impl Cost {
    /// Of work in a task, as a node does it.
    async fn of(
        pid: u32,
        work: impl Future<Output = Result<f64, Failure>> + Send + 'static,
    ) -> Result<Self, Failure> {
        let before = processor_seconds(pid)?;
        let seconds = tokio::spawn(work).await??;
        Ok(Self {
            seconds,
            processor: processor_seconds(pid)? - before,
        })
    }

    fn per(&self, mib: f64) -> String {
        format!(
            "{:.0} MiB/s at {:.2} ms/MiB",
            mib / self.seconds,
            self.processor * 1000.0 / mib
        )
    }
}

/// Of every turn: how fast against plain TCP.
#[derive(Default)]
struct Ratios {
    wall: Vec<f64>,
    processor: Vec<f64>,
}

impl Ratios {
    fn push(&mut self, plain: &Cost, ours: &Cost) {
        self.wall.push(plain.seconds / ours.seconds);
        self.processor.push(plain.processor / ours.processor);
    }
}

/// Seconds for all proofs, one response.
async fn ask(network: NetworkHandle, peer: PeerId, size: Size) -> Result<f64, Failure> {
    let request = ExecutionProofsByRange {
        start_slot: Slot(server::FIRST_SLOT),
        count: size.proofs.div_ceil(TYPES),
        proof_types: Vec::new(),
    };
    let began = Instant::now();
    let mut response = network
        .requester()
        .execution_proofs_by_range(peer, request)
        .await?;
    let mut proofs = 0;
    while let Some(proof) = response.next().await {
        if proof?.len() != size.bytes {
            return Err("a proof of another size".into());
        }
        proofs += 1;
    }
    if proofs != size.proofs {
        return Err(format!("{proofs} proofs came").into());
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds for as many bytes over plain TCP.
async fn read_plain(address: String, size: Size) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut socket = TcpStream::connect(address).await?;
    let mut buffer = vec![0; PLAIN_READ];
    let mut read = 0;
    loop {
        let n = socket.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        read += n;
    }
    if read != size.proofs as usize * size.bytes {
        return Err(format!("{read} bytes came").into());
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn watch(pid: u32, peak: Arc<AtomicU64>) {
    while let Ok(now) = resident(pid) {
        peak.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
    }
}

/// Ticks of processor time in a second (`USER_HZ`, 100 on every Linux).
const TICKS: f64 = 100.0;

/// Processor time of that process and this one, in seconds.
fn processor_seconds(pid: u32) -> Result<f64, Failure> {
    let mut ticks = 0.0;
    for process in [pid.to_string(), "self".to_owned()] {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name before it may have spaces; utime and stime are the 14th and 15th field of all.
        let (_, fields) = stat.rsplit_once(") ").ok_or("no stat")?;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS)
}

/// Resident KiB of a process.
fn resident(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
