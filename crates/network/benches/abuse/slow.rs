//! Honest peers on slow links: one asks for a proof every slot, the other brings one.
//!
//! A proof of 1 MiB takes the first 2.1 s, the other 0.34 s. There is one each slot, so what takes longer than a slot leaves
//! such a peer behind, and the next still further: within the slot is what it must be.

use crate::{
    attack::{Tally, Target, runtime},
    flood::discard,
    node::Failure,
    readers::by_range,
    wire::{GOSSIP, Line, Way, publish, subscribe},
};
use assay_network::rpc::Protocol;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{Stream, identity::Keypair};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Bytes a second that are taken: 4 Mbit/s, hardly enough for a proof of 1 MiB a slot and what else a node needs.
const DOWN: f64 = 4e6 / 8.0;
/// Bytes a second that are brought: 25 Mbit/s, an attester's uplink (EIP-7870).
const UP: f64 = 25e6 / 8.0;
/// Bytes that are moved at once.
const PIECE: usize = 16 * 1024;
/// Bytes of an answer at least: one that is shorter holds no proof of 1 MiB.
const PROOF: usize = 1 << 20;

/// A peer that does something every slot.
pub(crate) struct Slow {
    duties: Sender<Duty>,
    times: Receiver<Option<Duration>>,
}

/// What it does.
pub(crate) enum Duty {
    /// Asks for a proof by range, and takes it.
    Ask,
    /// Brings a message on gossip.
    Bring(Vec<u8>),
}

impl Slow {
    /// Connects when it has something to do; `patience` is the most that it may take.
    pub(crate) fn start(target: &Arc<Target>, patience: Duration) -> Self {
        let (duties, to_do) = channel();
        let (done, times) = channel();
        let target = Arc::clone(target);
        // A thread of its own: attackers take no time from it.
        std::thread::spawn(move || {
            let Ok(runtime) = runtime() else { return };
            let mut peer = Peer {
                key: Keypair::generate_ed25519(),
                target,
                tally: Arc::default(),
                line: None,
                gossip: None,
            };
            while let Ok(duty) = to_do.recv() {
                let took = runtime.block_on(async {
                    let began = Instant::now();
                    let doing = async {
                        match duty {
                            Duty::Ask => peer.ask().await,
                            Duty::Bring(message) => peer.bring(message).await,
                        }
                    };
                    tokio::time::timeout(patience, doing).await.ok()?.ok()?;
                    Some(began.elapsed())
                });
                if done.send(took).is_err() {
                    return;
                }
            }
        });
        Self { duties, times }
    }

    pub(crate) fn does(&self, duty: Duty) -> Result<(), Failure> {
        Ok(self.duties.send(duty)?)
    }

    /// How long it took; `None` if it was late, or failed.
    pub(crate) fn took(&self) -> Result<Option<Duration>, Failure> {
        Ok(self.times.recv()?)
    }
}

/// Whoever is let go connects anew, as the same peer.
struct Peer {
    key: Keypair,
    target: Arc<Target>,
    tally: Arc<Tally>,
    /// What the victim says on gossip is read and passed over.
    line: Option<(Line, JoinHandle<()>)>,
    gossip: Option<Stream>,
}

impl Peer {
    fn line(&mut self) -> Result<&mut Line, Failure> {
        let is_up = |(line, _): &(Line, _)| !line.closed().is_cancelled();
        if !self.line.as_ref().is_some_and(is_up) {
            let (line, incoming) = Line::dial_as(self.key.clone(), &self.target, Way::Yamux, &self.tally)?;
            self.line = Some((line, tokio::spawn(discard(incoming))));
            self.gossip = None;
        }
        match &mut self.line {
            Some((line, _)) => Ok(line),
            None => Err("no line".into()),
        }
    }

    /// Asks until there is an answer.
    async fn ask(&mut self) -> Result<(), Failure> {
        loop {
            let stream = self.line()?.stream(Protocol::ExecutionProofsByRange.id()).await;
            if let Ok(mut stream) = stream
                && let Ok(bytes) = take(&mut stream, &self.target).await
            {
                if bytes < PROOF {
                    return Err(format!("an answer of {bytes} bytes").into());
                }
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Says a message once, as nodes do: what is cut off is not said again.
    async fn bring(&mut self, message: Vec<u8>) -> Result<(), Failure> {
        let topic = self.target.topic.clone();
        self.line()?;
        let mut stream = match self.gossip.take() {
            Some(stream) => stream,
            None => {
                let mut stream = self.line()?.stream(GOSSIP).await?;
                stream.write_all(&subscribe(&topic)).await?;
                stream
            }
        };
        let (began, mut sent) = (Instant::now(), 0);
        for piece in publish(&topic, [message]).chunks(PIECE) {
            stream.write_all(piece).await?;
            stream.flush().await?;
            sent += piece.len();
            pace(began, sent, UP).await;
        }
        self.gossip = Some(stream);
        Ok(())
    }
}

/// All of an answer.
async fn take(stream: &mut Stream, target: &Target) -> Result<usize, Failure> {
    stream.write_all(&by_range(target.served().middle, 1)).await?;
    stream.close().await?;
    let mut buffer = vec![0; PIECE];
    let (began, mut taken) = (Instant::now(), 0);
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(taken);
        }
        taken += n;
        pace(began, taken, DOWN).await;
    }
}

/// As fast as the link is.
async fn pace(began: Instant, moved: usize, rate: f64) {
    let due = Duration::from_secs_f64(moved as f64 / rate);
    tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
}
