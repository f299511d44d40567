//! The process that asks, and measures.

use crate::{Failure, Size, TYPES, say, server};
use assay_network::{NetworkHandle, PeerAddress};
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
    let dir = tempfile::tempdir()?;
    let (_store, _chain, network) = server::node(dir.path(), vec![address]).await?;
    let requester = network.requester();
    let end = Instant::now() + CONNECT;
    while !requester.is_connected(&peer) {
        if Instant::now() > end {
            return Err("no connection".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    let mib = size.proofs as f64 * size.bytes as f64 / (1 << 20) as f64;
    say(&format!(
        "{} proofs of {} bytes by range, and {mib} MiB over plain TCP, on one loopback; {} runs of each by turns",
        size.proofs, size.bytes, size.runs
    ))?;
    let before = resident(pid)?;
    let peak = Arc::new(AtomicU64::new(before));
    let watch = tokio::spawn(watch(pid, Arc::clone(&peak)));
    let (mut served, mut moved) = (Vec::new(), Vec::new());
    for run in 1..=size.runs {
        let plain = mib / read_plain(plain, size).await?;
        let ranged = mib / ask(&network, &peer, size).await?;
        say(&format!(
            "run {run}: by range {ranged:.0} MiB/s, plain TCP {plain:.0} MiB/s"
        ))?;
        served.push(ranged);
        moved.push(plain);
    }
    watch.abort();
    let (served, moved) = (median(&mut served), median(&mut moved));
    let grown = (peak.load(Ordering::Relaxed) - before) as f64 / 1024.0;
    say(&format!(
        "median: by range {served:.0} MiB/s, plain TCP {moved:.0} MiB/s, ratio {:.2} (goal 0.5)",
        served / moved
    ))?;
    say(&format!(
        "the serving process: {:.1} MiB resident before, {grown:.1} MiB more at most while serving",
        before as f64 / 1024.0
    ))?;
    Ok(())
}

/// Seconds for all proofs, one response.
async fn ask(network: &NetworkHandle, peer: &assay_network::PeerId, size: Size) -> Result<f64, Failure> {
    let request = ExecutionProofsByRange {
        start_slot: Slot(server::FIRST_SLOT),
        count: size.proofs.div_ceil(TYPES),
        proof_types: Vec::new(),
    };
    let began = Instant::now();
    let mut response = network
        .requester()
        .execution_proofs_by_range(*peer, request)
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
async fn read_plain(address: &str, size: Size) -> Result<f64, Failure> {
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
