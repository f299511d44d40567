//! The node that is attacked, and the honest ones beside it.

use crate::{books::Metrics, node::Failure, process::Process};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

/// Time for one answer of a node.
const PATIENCE: Duration = Duration::from_secs(60);
/// The victim, where it is a node of this measurement's own.
const VICTIM: usize = 0;

/// A process under attack.
pub(crate) enum Victim {
    /// A node of this measurement's own, with honest ones beside it.
    Own(Nodes),
    /// One that runs already: its process, and where its metrics are (`host:port/path`).
    Given { pid: u32, metrics: String },
}

/// Ticks of processor time in a second (`USER_HZ`, 100 on every Linux).
const TICKS: f64 = 100.0;

impl Victim {
    fn pid(&self) -> u32 {
        match self {
            Self::Own(nodes) => nodes.nodes[VICTIM].process.child.id(),
            Self::Given { pid, .. } => *pid,
        }
    }

    /// Its memory in MiB: now, and the most it was since `begin_most`.
    pub(crate) fn memory(&self) -> Result<(u64, u64), Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024)
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// From now on the most is a new one. Where the system does not let it, it is the most since its start.
    pub(crate) fn begin_most(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5");
    }

    /// Processor time that it has used, in seconds.
    pub(crate) fn processor_seconds(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name before it may have spaces; utime and stime are the 14th and 15th field of all.
        let (_, fields) = stat.rsplit_once(") ").ok_or("no stat")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
    }

    /// Its counters now.
    pub(crate) fn metrics(&mut self, blind: Option<&str>) -> Result<Metrics, Failure> {
        let text = match self {
            Self::Own(nodes) => nodes.metrics()?,
            Self::Given { metrics, .. } => get(metrics)?,
        };
        Ok(Metrics::parse(&text, blind))
    }
}

/// `GET` of `host:port/path`.
fn get(place: &str) -> Result<String, Failure> {
    let (host, path) = place.split_once('/').ok_or("metrics: host:port/path")?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.") || !answer.contains(" 200 ") {
        return Err(format!("no metrics at {place}").into());
    }
    Ok(answer)
}

pub(crate) struct Node {
    process: Process,
    pub(crate) address: String,
    pub(crate) record: String,
}

/// Every node ends with it.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    lines: Receiver<(usize, String)>,
    sender: Sender<(usize, String)>,
    directory: tempfile::TempDir,
}

impl Nodes {
    /// The victim, open to all, and so many honest nodes that know it alone.
    pub(crate) fn start(honest: usize) -> Result<Self, Failure> {
        let (sender, lines) = channel();
        let mut nodes = Self {
            nodes: Vec::new(),
            lines,
            sender,
            directory: tempfile::tempdir()?,
        };
        nodes.spawn("--open")?;
        let victim = nodes.nodes[VICTIM].address.clone();
        for _ in 0..honest {
            nodes.spawn(&victim)?;
        }
        Ok(nodes)
    }

    fn spawn(&mut self, last: &str) -> Result<(), Failure> {
        let i = self.nodes.len();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--node", "127.0.0.1", "shipped", "70"])
            .arg(self.directory.path().join(i.to_string()))
            .arg(last);
        self.nodes.push(Node {
            process: Process::spawn(&mut command, i, &self.sender)?,
            address: String::new(),
            record: String::new(),
        });
        let ready = self.until(PATIENCE, |from, line| from == i && line.starts_with("ready "))?;
        let (address, record) = ready
            .strip_prefix("ready ")
            .and_then(|said| said.split_once(' '))
            .ok_or("it does not get ready")?;
        (self.nodes[i].address, self.nodes[i].record) = (address.to_owned(), record.to_owned());
        Ok(())
    }

    pub(crate) fn tell(&mut self, node: usize, line: &str) -> Result<(), Failure> {
        self.nodes[node].process.tell(line)
    }

    pub(crate) fn tell_all(&mut self, line: &str) -> Result<(), Failure> {
        (0..self.nodes.len()).try_for_each(|node| self.tell(node, line))
    }

    /// What a node said, and which; `None` when time is up.
    fn next(&self, end: Instant) -> Result<Option<(usize, String)>, Failure> {
        let wait = end.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(wait) {
            Ok(said) => Ok(Some(said)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The first line of which this is true; empty when time is up.
    pub(crate) fn until(
        &self,
        wait: Duration,
        is_it: impl Fn(usize, &str) -> bool,
    ) -> Result<String, Failure> {
        let end = Instant::now() + wait;
        while let Some((from, line)) = self.next(end)? {
            if is_it(from, &line) {
                return Ok(line);
            }
        }
        Ok(String::new())
    }

    /// How long it takes until each of these nodes has said a line that begins so; `None` where it does not in time.
    pub(crate) fn times(
        &self,
        wait: Duration,
        wanted: &[(usize, String)],
    ) -> Result<Vec<Option<Duration>>, Failure> {
        let began = Instant::now();
        let mut times = vec![None; wanted.len()];
        while times.contains(&None)
            && let Some((from, line)) = self.next(began + wait)?
        {
            for ((node, begin), time) in wanted.iter().zip(&mut times) {
                if *node == from && line.starts_with(begin) && time.is_none() {
                    *time = Some(began.elapsed());
                }
            }
        }
        Ok(times)
    }

    fn metrics(&mut self) -> Result<String, Failure> {
        self.tell(VICTIM, "metrics")?;
        let mut text = String::new();
        loop {
            let line = self.until(PATIENCE, |from, line| {
                from == VICTIM && line.starts_with("metric")
            })?;
            let Some(line) = line.strip_prefix("metric ") else {
                return Ok(text);
            };
            text.push_str(line);
            text.push('\n');
        }
    }
}
