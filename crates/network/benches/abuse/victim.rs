//! The node that is attacked, and the honest ones beside it.

use crate::{books::Metrics, node::Failure};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
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

impl Victim {
    /// Its memory in MiB: now, and the most it ever was.
    pub(crate) fn memory(&self) -> Result<(u64, u64), Failure> {
        let pid = match self {
            Self::Own(nodes) => nodes.nodes[VICTIM].process.id(),
            Self::Given { pid, .. } => *pid,
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024)
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
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
    process: Child,
    input: ChildStdin,
    pub(crate) address: String,
    pub(crate) record: String,
}

/// Ends every node it started.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    lines: Receiver<(usize, String)>,
    sender: Sender<(usize, String)>,
    directory: tempfile::TempDir,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Gone already is as good.
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
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
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--node", "127.0.0.1", "shipped", "70"])
            .arg(self.directory.path().join(i.to_string()))
            .arg(last)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = process.stdout.take().ok_or("no output")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((i, line)).is_err() {
                    return;
                }
            }
        });
        self.nodes.push(Node {
            process,
            input,
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
        let input = &mut self.nodes[node].input;
        writeln!(input, "{line}")?;
        input.flush()?;
        Ok(())
    }

    pub(crate) fn tell_all(&mut self, line: &str) -> Result<(), Failure> {
        (0..self.nodes.len()).try_for_each(|node| self.tell(node, line))
    }

    /// The first line of which this is true; empty when time is up.
    pub(crate) fn until(
        &self,
        wait: Duration,
        is_it: impl Fn(usize, &str) -> bool,
    ) -> Result<String, Failure> {
        let end = Instant::now() + wait;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok((from, line)) if is_it(from, &line) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(String::new()),
                Err(e) => return Err(e.into()),
            }
        }
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
