//! All of it together: a chain, followers with their Beacon APIs and execution clients, and the clock that makes blocks.

use crate::{
    ChainConfig, ExecutionClient, Follower, SimBlock, SimChain, SimError, beacon_api,
    consensus::{ConsensusDriver, ForkchoiceView},
    prover::SimProver,
};
use assay_engine_api::{EngineClient, JwtSecret};
use assay_types::{BlockHash, Epoch, Root, Slot};
use axum::Router;
use parking_lot::Mutex;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Blocks that may wait for a follower whose endpoint does not answer.
const FOLLOWER_QUEUE: usize = 1024;

/// How a simulation is set up.
#[derive(Debug, Clone)]
pub struct SimulationConfig {
    /// The chain.
    pub chain: ChainConfig,
    /// Number of beacon nodes, each with a Beacon API and an execution client of its own.
    pub followers: usize,
    /// Where Beacon APIs and execution clients listen, each on a port of the system's choice.
    pub listen: IpAddr,
    /// The JWT secret of all Engine APIs.
    pub jwt: JwtSecret,
}

/// What stands between a follower and its execution client.
#[derive(Debug, Clone)]
pub struct FollowerConfig {
    /// The engine endpoint the follower calls.
    pub engine_url: String,
}

/// A listener on a port of the system's choice.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    pub(crate) async fn at(listen: IpAddr) -> Result<Self, SimError> {
        let failed = |e: std::io::Error| SimError::Io {
            what: format!("listening on a port of {listen}"),
            why: e.to_string(),
        };
        let listener = TcpListener::bind((listen, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { address, listener })
    }

    pub(crate) fn serve(self, router: Router, stop: CancellationToken) {
        tokio::spawn(async move {
            let serving = axum::serve(self.listener, router);
            tokio::select! {
                () = stop.cancelled() => {}
                ended = serving => if let Err(error) = ended {
                    tracing::error!(%error, "a simulated server ended");
                },
            }
        });
    }
}

struct FollowerSeat {
    view: Arc<Follower>,
    execution: ExecutionClient,
    beacon: SocketAddr,
}

/// A running simulation.
pub struct Simulation {
    chain: Arc<Mutex<SimChain>>,
    seats: Vec<FollowerSeat>,
    jwt: JwtSecret,
    stop: CancellationToken,
    queues: Mutex<Vec<mpsc::Sender<Step>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What a follower is told, in order.
enum Step {
    Block { block: Arc<SimBlock>, make_head: bool },
    Head,
}

impl Simulation {
    /// Starts Beacon APIs and execution clients; no block is made yet.
    pub async fn start(config: SimulationConfig) -> Result<Self, SimError> {
        let stop = CancellationToken::new();
        let chain = Arc::new(Mutex::new(SimChain::new(config.chain)?));
        let mut seats = Vec::new();
        for _ in 0..config.followers {
            let view = Arc::new(Follower::default());
            let genesis = chain.lock().head()?;
            view.import(&genesis, true, None);
            let execution = ExecutionClient::start(
                genesis.block_hash(),
                config.listen,
                config.jwt.clone(),
                stop.clone(),
            )
            .await?;
            let bound = Bound::at(config.listen).await?;
            let beacon = bound.address;
            bound.serve(beacon_api::router(chain.clone(), view.clone()), stop.clone());
            seats.push(FollowerSeat {
                view,
                execution,
                beacon,
            });
        }
        Ok(Self {
            chain,
            seats,
            jwt: config.jwt,
            stop,
            queues: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    /// The chain, to be steered.
    pub fn chain(&self) -> &Arc<Mutex<SimChain>> {
        &self.chain
    }

    /// A follower's Beacon API.
    pub fn beacon_url(&self, follower: usize) -> Option<String> {
        self.seats.get(follower).map(|s| format!("http://{}", s.beacon))
    }

    /// A follower's execution client.
    pub fn execution(&self, follower: usize) -> Option<&ExecutionClient> {
        self.seats.get(follower).map(|s| &s.execution)
    }

    /// A follower's view.
    pub fn follower(&self, follower: usize) -> Option<&Arc<Follower>> {
        self.seats.get(follower).map(|s| &s.view)
    }

    /// Lets the followers call these engine endpoints, one each, in order.
    pub fn connect(&self, engines: Vec<FollowerConfig>) -> Result<(), SimError> {
        if engines.len() != self.seats.len() {
            return Err(SimError::Config(format!(
                "{} followers, {} endpoints",
                self.seats.len(),
                engines.len()
            )));
        }
        let mut queues = self.queues.lock();
        let mut tasks = self.tasks.lock();
        for (seat, engine) in self.seats.iter().zip(engines) {
            let url = engine
                .engine_url
                .parse()
                .map_err(|e| SimError::Config(format!("{}: {e}", engine.engine_url)))?;
            let client = EngineClient::new(url, Some(self.jwt.clone()))
                .map_err(|e| SimError::Config(e.to_string()))?;
            let driver = ConsensusDriver::new(client, seat.view.clone());
            let (sender, receiver) = mpsc::channel(FOLLOWER_QUEUE);
            // As a beacon node does when it starts.
            let _ = sender.try_send(Step::Head);
            queues.push(sender);
            tasks.spawn(drive(driver, self.chain.clone(), receiver, self.stop.clone()));
        }
        Ok(())
    }

    /// Makes a block of `slot` on `parent` (the head where `None`) and gives it to every follower.
    pub async fn produce(&self, slot: Slot, parent: Option<Root>) -> Result<Arc<SimBlock>, SimError> {
        let (block, make_head) = {
            let mut chain = self.chain.lock();
            let block = chain.produce(slot, parent)?;
            let make_head = chain.head()?.block_root == block.block_root;
            (block, make_head)
        };
        self.tell(|| Step::Block {
            block: block.clone(),
            make_head,
        })
        .await;
        Ok(block)
    }

    /// Lets every follower repeat forkchoiceUpdated for the head, as in an empty slot.
    pub async fn repeat_forkchoice(&self) {
        self.tell(|| Step::Head).await;
    }

    async fn tell(&self, step: impl Fn() -> Step) {
        let queues: Vec<_> = self.queues.lock().clone();
        for queue in queues {
            if queue.try_send(step()).is_err() {
                tracing::warn!("a follower's queue is full: its endpoint does not answer");
            }
        }
    }

    /// Makes `slots` blocks, one a slot by the wall clock from the current slot on, without those `skip` names, and lets
    /// the prover prove each. `on_block` is told of every block. Heads are repeated in mid-slot.
    pub async fn run(
        self: &Arc<Self>,
        slots: u64,
        skip: impl Fn(Slot) -> bool,
        prover: Option<Arc<SimProver>>,
        mut on_block: impl FnMut(&Arc<SimBlock>),
    ) -> Result<(), SimError> {
        let (genesis_ms, slot_ms) = {
            let chain = self.chain.lock();
            (chain.genesis().genesis_time * 1000, chain.spec().slot_duration_ms)
        };
        let first = Slot(now_ms().saturating_sub(genesis_ms) / slot_ms + 1);
        for n in 0..slots {
            let slot = first.saturating_add(n);
            sleep_until(genesis_ms + slot.0 * slot_ms).await;
            if skip(slot) {
                self.repeat_forkchoice().await;
            } else {
                let block = self.produce(slot, None).await?;
                on_block(&block);
                if let Some(prover) = prover.clone() {
                    let chain = self.chain.clone();
                    self.tasks
                        .lock()
                        .spawn(async move { prover.prove(&chain, &block).await });
                }
            }
            sleep_until(genesis_ms + slot.0 * slot_ms + slot_ms / 2).await;
            self.repeat_forkchoice().await;
        }
        Ok(())
    }

    /// Ends every server and task.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tasks.lock().abort_all();
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

async fn sleep_until(unix_ms: u64) {
    tokio::time::sleep(Duration::from_millis(unix_ms.saturating_sub(now_ms()))).await;
}

/// One follower: takes steps in order, until told to stop.
async fn drive(
    driver: ConsensusDriver,
    chain: Arc<Mutex<SimChain>>,
    mut steps: mpsc::Receiver<Step>,
    stop: CancellationToken,
) {
    let work = async {
        while let Some(step) = steps.recv().await {
            if let Step::Block { block, make_head } = step {
                let apart = block.envelope.is_some();
                if apart {
                    driver.import(&block, make_head);
                }
                match driver.new_payload(&block).await {
                    true if apart => driver.reveal(&block),
                    true => driver.import(&block, make_head),
                    false => tracing::warn!(slot = %block.slot, "the engine endpoint refused a payload"),
                }
                if !make_head {
                    continue;
                }
            }
            let Some((view, finalized)) = forkchoice_view(&chain.lock(), driver.follower()) else {
                continue;
            };
            driver.forkchoice_updated(&view).await;
            if let Some((epoch, block)) = finalized {
                driver.follower().finalize(epoch.0, &block);
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

type Finalized = Option<(Epoch, Arc<SimBlock>)>;

fn forkchoice_view(chain: &SimChain, follower: &Follower) -> Option<(ForkchoiceView, Finalized)> {
    let head = follower.head()?;
    // Zero until there is a checkpoint.
    let hash = |root: &Root| chain.block(root).map_or(BlockHash::ZERO, |b| b.block_hash());
    // Gloas: whether a payload belongs to the chain the next block says, so a checkpoint's is its parent's.
    let checkpoint = |root: &Root| match chain.block(root) {
        Some(block) if block.fork.has_envelope() => hash(&block.parent_root),
        _ => hash(root),
    };
    let (epoch, root) = chain.finalized();
    let finalized = chain.block(&root).cloned().map(|block| (epoch, block));
    let view = ForkchoiceView {
        head,
        safe: checkpoint(&chain.justified().1),
        finalized: checkpoint(&root),
    };
    Some((view, finalized))
}
