//! A cluster of nodes, what it is told, and what is read from it.

use crate::{Failure, Plan, process::Process};
use std::{
    collections::HashMap,
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

/// Time for one answer of a node, and for all connections to stand.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for meshes to form.
const SETTLE: Duration = Duration::from_secs(5);

/// What was measured.
pub(crate) struct Figures {
    /// Bytes written to sockets by all nodes, per byte of proof delivered.
    pub(crate) bytes_per_byte: f64,
    /// The most that one node wrote, per byte of proof that it was delivered.
    pub(crate) most_by_one: f64,
    pub(crate) p50_ms: u128,
    pub(crate) p95_ms: u128,
    /// Deliveries (a proof to a node).
    pub(crate) delivered: usize,
    pub(crate) expected: usize,
}

struct Node {
    process: Process,
    alive: bool,
}

/// Ends every node it started.
struct Cluster {
    nodes: Vec<Node>,
    lines: Receiver<(usize, String)>,
    sender: Sender<(usize, String)>,
    namespaces: Option<String>,
    /// By proof: when it was published, and when it came to each node. Microseconds.
    published: HashMap<u32, u128>,
    arrivals: HashMap<u32, HashMap<usize, u128>>,
    _directory: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (i, node) in self.nodes.iter_mut().enumerate() {
            node.process.end();
            if let Some(prefix) = &self.namespaces
                && !node.alive
            {
                let _ = set_link(prefix, i, "up");
            }
        }
    }
}

impl Cluster {
    fn start(plan: &Plan, set: &str) -> Result<Self, Failure> {
        let (sender, lines) = channel();
        let directory = tempfile::tempdir()?;
        let mut cluster = Self {
            nodes: Vec::new(),
            lines,
            sender,
            namespaces: plan.namespaces.clone(),
            published: HashMap::new(),
            arrivals: HashMap::new(),
            _directory: directory,
        };
        let mut addresses: Vec<String> = Vec::new();
        for i in 0..plan.nodes {
            cluster.spawn(plan, set, i, &addresses)?;
            let address = cluster.answer(i, "ready")?;
            addresses.push(address.into_iter().next().ok_or("no address")?);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let peers: Vec<usize> = cluster.counts()?.iter().map(|c| c.peers).collect();
            if peers.iter().all(|n| *n + 1 == plan.nodes) {
                break;
            }
            if Instant::now() >= end {
                return Err(format!("not every node reached every other: {peers:?}").into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        std::thread::sleep(SETTLE);
        Ok(cluster)
    }

    fn spawn(&mut self, plan: &Plan, set: &str, i: usize, peers: &[String]) -> Result<(), Failure> {
        let exe = std::env::current_exe()?;
        let (mut command, listen) = match &plan.namespaces {
            Some(prefix) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &format!("{prefix}{i}")]).arg(exe);
                (command, format!("{}.{}", plan.subnet, i + 1))
            }
            None => (Command::new(exe), format!("{}.1", plan.subnet)),
        };
        // Sets side by side go to the nodes in turn.
        let sets: Vec<&str> = set.split('+').collect();
        command
            .args([
                "--node",
                &listen,
                sets[i % sets.len()],
                &plan.verify_ms.to_string(),
            ])
            .arg(self._directory.path().join(i.to_string()))
            .args(peers);
        self.nodes.push(Node {
            process: Process::spawn(&mut command, i, &self.sender)?,
            alive: true,
        });
        Ok(())
    }

    /// Takes in one line; the words of an answer, if it is one.
    fn take(&mut self, node: usize, line: &str) -> Result<Option<(String, Vec<String>)>, Failure> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let word = words.next().unwrap_or_default();
        let rest: Vec<String> = words.collect();
        match (word.as_str(), &rest[..]) {
            ("published", [n, at]) => {
                self.published.insert(n.parse()?, at.parse()?);
            }
            ("got", [n, at]) => {
                self.arrivals
                    .entry(n.parse()?)
                    .or_default()
                    .insert(node, at.parse()?);
            }
            _ => return Ok(Some((word, rest))),
        }
        Ok(None)
    }

    /// Waits for a node's answer.
    fn answer(&mut self, node: usize, word: &str) -> Result<Vec<String>, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let wait = end.saturating_duration_since(Instant::now());
            let (from, line) = self
                .lines
                .recv_timeout(wait)
                .map_err(|_| format!("node {node} does not answer"))?;
            if let Some((said, rest)) = self.take(from, &line)?
                && from == node
                && said == word
            {
                return Ok(rest);
            }
        }
    }

    /// Takes in what comes for a while, or until every proof of `numbers` is with every living node.
    fn listen(&mut self, until: Instant, numbers: Option<std::ops::Range<u32>>) -> Result<(), Failure> {
        loop {
            if let Some(numbers) = &numbers {
                let others = self.nodes.iter().filter(|n| n.alive).count() - 1;
                if numbers
                    .clone()
                    .all(|n| self.arrivals.get(&n).is_some_and(|a| a.len() >= others))
                {
                    return Ok(());
                }
            }
            match self
                .lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok((from, line)) => {
                    self.take(from, &line)?;
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn living(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|i| self.nodes[*i].alive).collect()
    }

    fn counts(&mut self) -> Result<Vec<Count>, Failure> {
        let mut counts = Vec::new();
        for i in self.living() {
            self.nodes[i].process.tell("count")?;
            let words = self.answer(i, "count")?;
            let [sent, _received, peers] = &words[..] else {
                return Err("a count of other words".into());
            };
            counts.push(Count {
                sent: sent.parse()?,
                peers: peers.parse()?,
            });
        }
        Ok(counts)
    }

    /// Takes a quarter of the nodes away at once: their links go down, or they are killed.
    fn vanish(&mut self, plan: &Plan) -> Result<(), Failure> {
        let gone = plan.nodes / 4;
        for i in plan.nodes - gone..plan.nodes {
            if let Some(prefix) = &plan.namespaces {
                set_link(prefix, i, "down")?;
            } else {
                self.nodes[i].process.end();
            }
            self.nodes[i].alive = false;
        }
        Ok(())
    }
}

/// Takes a namespace's link down, or up again for the next cluster.
fn set_link(prefix: &str, node: usize, state: &str) -> Result<(), Failure> {
    Command::new("ip")
        .args(["-n", &format!("{prefix}{node}"), "link", "set", "eth0", state])
        .status()?;
    Ok(())
}

struct Count {
    sent: u64,
    peers: usize,
}

/// Runs a cluster with one set of parameters.
pub(crate) fn measure(plan: &Plan, set: &str) -> Result<Figures, Failure> {
    let mut cluster = Cluster::start(plan, set)?;
    let before = cluster.counts()?;
    let mut next = 0u32;
    let mut publishers_of: HashMap<u32, usize> = HashMap::new();
    for slot in 0..plan.slots {
        let first = next;
        next += u32::try_from(plan.proofs)?;
        for i in cluster.living() {
            for n in first..next {
                cluster.nodes[i].process.tell(&format!("payload {n}"))?;
            }
        }
        if plan.vanish && slot + 1 == plan.slots {
            cluster.vanish(plan)?;
        }
        let living = cluster.living();
        // A step that is no divisor of the number of nodes, so that all publish in turn.
        let publishers: Vec<usize> = (first..next)
            .map(|n| living[n as usize * 5 % living.len()])
            .collect();
        for (n, publisher) in (first..next).zip(&publishers) {
            cluster.nodes[*publisher]
                .process
                .tell(&format!("prepare {n} {}", plan.bytes))?;
            cluster.answer(*publisher, "prepared")?;
        }
        let start = Instant::now();
        let gap = Duration::from_millis(plan.spread_ms) / u32::try_from(plan.proofs.max(2) - 1)?;
        for (i, (n, publisher)) in (first..next).zip(&publishers).enumerate() {
            cluster.listen(start + gap * u32::try_from(i)?, None)?;
            cluster.nodes[*publisher].process.tell(&format!("go {n}"))?;
        }
        publishers_of.extend((first..next).zip(publishers));
        let end = start + Duration::from_millis(plan.slot_ms);
        if slot + 1 == plan.slots {
            cluster.listen(end + Duration::from_secs(10), Some(first..next))?;
            // What is still on its way belongs to the bytes too.
            cluster.listen(Instant::now() + Duration::from_secs(2), None)?;
        } else {
            cluster.listen(end, None)?;
        }
    }
    let after = cluster.counts()?;
    let size = plan.bytes as u64;
    let gone: usize = plan.nodes - after.len();
    let delivered: usize = cluster
        .arrivals
        .values()
        .map(|nodes| nodes.keys().filter(|i| **i < plan.nodes - gone).count())
        .sum();
    // Nodes that vanished count neither as receivers nor, for what they had sent, as senders.
    let expected = publishers_of
        .values()
        .map(|publisher| after.len() - usize::from(*publisher < after.len()))
        .sum();
    let sent: Vec<u64> = before.iter().zip(&after).map(|(b, a)| a.sent - b.sent).collect();
    let delivered_bytes = delivered as f64 * size as f64;
    let mut times: Vec<u128> = cluster
        .arrivals
        .iter()
        .filter_map(|(n, nodes)| {
            let last = nodes.values().max()?;
            Some(last.saturating_sub(*cluster.published.get(n)?) / 1000)
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get((times.len() * share).div_ceil(100).saturating_sub(1))
            .copied()
            .unwrap_or(0)
    };
    Ok(Figures {
        bytes_per_byte: sent.iter().sum::<u64>() as f64 / delivered_bytes,
        most_by_one: sent.iter().max().copied().unwrap_or(0) as f64 / (delivered_bytes / after.len() as f64),
        p50_ms: at(50),
        p95_ms: at(95),
        delivered,
        expected,
    })
}
