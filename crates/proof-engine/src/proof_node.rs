//! The `proof-node` backend: a proof node's HTTP API (zkboost up to 0.9, protocol.md section 9).
//!
//! | file | what it holds |
//! |---|---|
//! | `proof_node` | the backend and its settings |
//! | `proof_node/client` | the calls, bounded in bytes and time |
//! | `proof_node/pending` | which proofs are waited for, and when each is looked for: a state machine |
//! | `proof_node/watch` | the tasks that read events and fetch finished proofs |

mod client;
mod pending;
mod watch;

use crate::{
    EngineError, EngineEvent, ProofEngine, ProofGenId, RevisionNames, Verification, router::proof_gen_id,
};
use assay_engine_api::shown_url;
use assay_types::{EngineInput, NewPayloadRequest, ProofKey, ProofType, Revision, Root, Spec, StatedInput};
use async_trait::async_trait;
use client::NodeClient;
use pending::{Claim, Pending, Times};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::broadcast, task::AbortHandle};
use url::Url;
use watch::Shared;

/// Events a slow reader may fall behind (each may hold a proof of `MAX_PROOF_SIZE`).
pub const PROOF_NODE_EVENT_BACKLOG: usize = 32;

/// So long after a request its proofs are looked for at the same pace, two slots: a proof whose event was lost must not be
/// found a slot late.
const STEADY_POLLING: Duration = Duration::from_secs(24);

/// Settings of the `proof-node` backend.
#[derive(Debug, Clone)]
pub struct ProofNodeConfig {
    /// Base URL, http or https.
    pub url: Url,
    /// Types it is asked for, preferred first; each needs a name.
    pub proof_types: Vec<ProofType>,
    /// The node's names of the types: a proof's type is asked for by the name that the proof's revision has for it.
    pub names: RevisionNames,
    /// The network: which revision holds for a payload, and `MAX_PROOF_SIZE`: longer answers are cut off.
    pub spec: Arc<Spec>,
    /// Longest one call takes, its answer's body included.
    pub call_timeout: Duration,
    /// Between two looks for a proof that no event announced.
    pub poll_interval: Duration,
    /// From a request to giving up on its proofs.
    pub proving_timeout: Duration,
    /// Pause before the event stream is opened again: at first, and at most.
    pub reconnect: (Duration, Duration),
}

impl ProofNodeConfig {
    /// The defaults, for a node at `url`.
    pub fn new(url: Url, proof_types: Vec<ProofType>, spec: Arc<Spec>) -> Self {
        Self {
            url,
            proof_types,
            names: RevisionNames::default(),
            spec,
            call_timeout: Duration::from_secs(10),
            poll_interval: Duration::from_secs(2),
            proving_timeout: Duration::from_secs(120),
            reconnect: (Duration::from_millis(250), Duration::from_secs(10)),
        }
    }
}

/// Why a backend over HTTP did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendConfigError {
    /// Not http or https, or no host.
    #[error("{0}: an http or https URL with a host is needed")]
    Url(String),
    /// A type without a name.
    #[error("proof type {proof_type} has no name at proof node {node}: give it one in the map of names")]
    NoName {
        /// The type.
        proof_type: ProofType,
        /// The node.
        node: String,
    },
    /// The HTTP client could not be built.
    #[error("{0}")]
    Client(String),
}

/// Asks a proof node for proofs and for verdicts on proofs.
#[derive(Debug)]
pub struct ProofNodeEngine {
    name: String,
    proof_types: Vec<ProofType>,
    spec: Arc<Spec>,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

pub(crate) fn check_url(url: &Url) -> Result<(), BackendConfigError> {
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        return Ok(());
    }
    Err(BackendConfigError::Url(shown_url(url)))
}

impl ProofNodeEngine {
    /// Starts the tasks that wait for proofs; they end with it. Must be called inside a tokio runtime.
    pub fn new(config: ProofNodeConfig) -> Result<Self, BackendConfigError> {
        check_url(&config.url)?;
        let name = shown_url(&config.url);
        for proof_type in &config.proof_types {
            if config.names.in_use(*proof_type).next().is_none() {
                return Err(BackendConfigError::NoName {
                    proof_type: *proof_type,
                    node: name,
                });
            }
        }
        let mut url = config.url;
        url.set_query(None);
        url.set_fragment(None);
        let max_proof_size = usize::try_from(config.spec.max_proof_size).unwrap_or(usize::MAX);
        let client = NodeClient::new(url, max_proof_size, config.call_timeout)
            .map_err(|e| BackendConfigError::Client(e.to_string()))?;
        let times = Times {
            poll_interval: config.poll_interval,
            announced_interval: config.poll_interval / 16,
            steady: STEADY_POLLING,
            patience: config.proving_timeout,
        };
        let shared = Arc::new(Shared::new(
            name.clone(),
            client,
            config.names,
            Pending::new(times),
            broadcast::channel(PROOF_NODE_EVENT_BACKLOG).0,
        ));
        let tasks = vec![
            tokio::spawn(watch::read_events(shared.clone(), config.reconnect)).abort_handle(),
            tokio::spawn(watch::fetch_proofs(shared.clone())).abort_handle(),
            tokio::spawn(watch::check_types(
                shared.clone(),
                config.proof_types.clone(),
                config.reconnect,
            ))
            .abort_handle(),
        ];
        Ok(Self {
            name,
            proof_types: config.proof_types,
            spec: config.spec,
            shared,
            tasks,
        })
    }

    /// The types that have a name where the revision holds, each with it; and those that have none.
    fn named(&self, revision: Revision, types: &[ProofType]) -> (Vec<(ProofType, &str)>, Vec<ProofType>) {
        let (mut named, mut unnamed) = (Vec::new(), Vec::new());
        for proof_type in types {
            match self.shared.names.name(revision, *proof_type) {
                Some(name) => named.push((*proof_type, name)),
                None => unnamed.push(*proof_type),
            }
        }
        (named, unnamed)
    }
}

impl Drop for ProofNodeEngine {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[async_trait]
impl ProofEngine for ProofNodeEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn proof_types(&self) -> Vec<ProofType> {
        self.proof_types.clone()
    }

    /// `Unsupported` only for a type that has no name where the proof's revision holds: what the node does not know today it may know after its next
    /// start, and a proof must not be lost for that.
    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        let revision = match proof.public_input {
            StatedInput::Alpha(_) => Revision::Alpha,
            StatedInput::Beta(_) => Revision::Beta,
        };
        let Some(name) = self.shared.names.name(revision, proof.proof_type) else {
            return Ok(Verification::Unsupported);
        };
        let valid = self
            .shared
            .client
            .verify(&proof.key(), name, &proof.proof_data)
            .await?;
        Ok(if valid {
            Verification::Valid
        } else {
            Verification::Invalid(format!("{} says INVALID", self.name))
        })
    }

    async fn request(
        &self,
        new_payload_request_root: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        let revision = self.spec.revision_at(request.fork);
        let (named, unnamed) = self.named(revision, types);
        let of_others = |t: &&ProofType| !self.proof_types.contains(*t);
        if let Some(proof_type) = unnamed.iter().find(of_others) {
            let why = format!("proof type {proof_type} has no name at this proof node");
            return Err(EngineError::Unavailable(why));
        }
        if named.is_empty() {
            return Err(EngineError::Unavailable(match unnamed.is_empty() {
                true => "no proof types asked for".to_owned(),
                false => format!("no name where {revision} holds for any of the types {unnamed:?}"),
            }));
        }
        let key = |proof_type: ProofType| ProofKey {
            new_payload_request_root,
            proof_type,
        };
        let keys: Vec<ProofKey> = named.iter().map(|(proof_type, _)| key(*proof_type)).collect();
        let names: Vec<&str> = named.iter().map(|(_, name)| *name).collect();
        // Before the request, so that no event comes too early.
        let claim = self
            .shared
            .pending
            .lock()
            .add(revision, &keys, Instant::now())
            .ok_or_else(|| {
                EngineError::Unavailable(format!("{} proofs are being waited for", pending::MAX_PENDING))
            })?;
        let mut taken_back = TakenBack {
            shared: &self.shared,
            keys,
            claim,
            taken: false,
        };
        self.shared.wake.notify_waiters();
        let ssz = tokio::task::spawn_blocking(move || request.to_ssz_bytes())
            .await
            .map_err(|e| EngineError::Unavailable(e.to_string()))?;
        let root = self.shared.client.request(&names, ssz).await?;
        if root != new_payload_request_root {
            return Err(EngineError::Protocol(format!(
                "it computes the request root {root} where this node has {new_payload_request_root}: do the forms of \
                 NewPayloadRequest agree?"
            )));
        }
        taken_back.taken = true;
        // They do not hold up the others, and nobody waits for them.
        for proof_type in unnamed {
            self.shared.tell(EngineEvent::Failed {
                key: key(proof_type),
                reason: format!("it has no name at {} where {revision} holds", self.name),
            });
        }
        Ok(proof_gen_id(&new_payload_request_root))
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.shared.events.subscribe()
    }

    /// A proof node of this kind is asked with the payload itself.
    async fn notify_new_payload(&self, _: Root, _: Arc<NewPayloadRequest>) {}

    /// As above.
    async fn notify_forkchoice_updated(&self, _: Root, _: Root, _: Root) {}
}

/// Says what became of a request: what it alone waits for is taken back if the node did not take it, or the caller went
/// away.
struct TakenBack<'a> {
    shared: &'a Shared,
    keys: Vec<ProofKey>,
    claim: Claim,
    taken: bool,
}

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        let mut pending = self.shared.pending.lock();
        for key in &self.keys {
            pending.settle_claim(key, self.claim, self.taken);
        }
    }
}
