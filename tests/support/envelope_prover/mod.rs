//! A prover of the shape that proof nodes have from 0.10 on, written from protocol.md sections 2, 3 and 9 alone: it stands as
//! a proxy in front of its execution client, proves what `engine_newPayloadV5` brings, reads the chain from its beacon
//! endpoint, and posts `List[SignedExecutionProofEnvelope, 4]` there. For tests, and for `testnet/beta` as a process.
//!
//! In: settings and a [`Proxy`]. Out: what became of each payload, as JSON; proofs at the beacon endpoint.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the prover: from a payload to its posted proofs |
//! | `proxy` | the Engine API proxy that payloads come from |
//! | `beacon` | what it reads of its beacon endpoint |
//! | `wire` | envelopes as bytes, and what is signed of them |

mod beacon;
mod proxy;
mod wire;

pub(crate) use proxy::Proxy;
pub(crate) use wire::{Envelope, SignedEnvelope, list};

use assay_engine_api::NewPayloadParams;
use assay_proof_engine::DevProver;
use assay_types::{ForkName, ProofType, Root, SecretKey, Slot, StatedInput, proof_beta::PublicInput};
use beacon::{Beacon, Network};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

/// Most envelopes of one list.
const MAX_LIST: usize = 4;
/// How long a payload's block is looked for, and how long its proofs are posted again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks where no event came.
const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// Reports that may wait to be read.
const REPORTS: usize = 1024;

/// How it works.
pub(crate) struct Settings {
    /// Its beacon endpoint: base URL.
    pub(crate) beacon: String,
    /// The validator's key; the index is the beacon endpoint's to say.
    pub(crate) key: SecretKey,
    /// Kinds of proof, one of each for every payload; 1 to 3, so that a spoiled one has room in the list.
    pub(crate) proof_types: Vec<ProofType>,
    /// Bytes of each proof.
    pub(crate) proof_size: usize,
    /// Seed of the development proofs.
    pub(crate) dev_seed: String,
    /// Every so many payloads a forged envelope goes with the good ones; 0: never.
    pub(crate) spoil_every: u64,
}

/// A prover at work; ends when dropped.
pub(crate) struct EnvelopeProver {
    /// What became of each payload: `posted`, `failed`.
    pub(crate) reports: mpsc::Receiver<Value>,
    /// For who wants to sign something by hand.
    pub(crate) hand: Arc<Hand>,
    task: AbortHandle,
}

impl Drop for EnvelopeProver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What proves, signs and posts.
pub(crate) struct Hand {
    settings: Settings,
    beacon: Beacon,
    network: Network,
    dev: DevProver,
    posts: AtomicU64,
}

impl EnvelopeProver {
    /// Reads the network and its validator, then proves what the proxy brings.
    pub(crate) async fn start(settings: Settings, proxy: Proxy) -> anyhow::Result<Self> {
        anyhow::ensure!(
            (1..MAX_LIST).contains(&settings.proof_types.len()),
            "1 to 3 proof types"
        );
        let beacon = Beacon::new(&settings.beacon)?;
        let network = beacon.network(&settings.key.public_key().to_bytes()).await?;
        let dev = DevProver::new(
            settings.dev_seed.clone(),
            usize::try_from(network.spec.max_proof_size)?,
        );
        dev.check_size(settings.proof_size)?;
        let hand = Arc::new(Hand {
            settings,
            beacon,
            network,
            dev,
            posts: AtomicU64::new(0),
        });
        let (sender, reports) = mpsc::channel(REPORTS);
        let task = tokio::spawn(run(hand.clone(), proxy, sender)).abort_handle();
        Ok(Self { reports, hand, task })
    }
}

/// Takes payloads until the proxy ends; each is proven beside the others.
async fn run(hand: Arc<Hand>, mut proxy: Proxy, reports: mpsc::Sender<Value>) {
    let (tell, news) = watch::channel(());
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let hand = hand.clone();
        async move { hand.beacon.listen("execution_payload", &tell).await }
    });
    let mut known = HashSet::new();
    while let Some(payload) = proxy.payloads.recv().await {
        if !known.insert(payload.block_hash()) {
            continue;
        }
        let (hand, mut news, reports) = (hand.clone(), news.clone(), reports.clone());
        tasks.spawn(async move {
            let hash = payload.block_hash();
            let report = hand.payload(payload, &mut news).await.unwrap_or_else(
                |why| json!({ "event": "failed", "block_hash": hash, "why": format!("{why:#}") }),
            );
            // Nobody reads any more: the end is near.
            let _ = reports.send(report).await;
        });
    }
}

impl Hand {
    /// The validator it signs for.
    pub(crate) fn validator_index(&self) -> u64 {
        self.network.validator_index
    }

    /// A development proof of what the public input states of a payload.
    fn prove(&self, input: &PublicInput, proof_type: ProofType) -> anyhow::Result<bytes::Bytes> {
        anyhow::ensure!(
            input.successful_validation
                && input.chain_id == self.network.chain_id
                && input.schema_id == 0x1501,
            "no public input of a valid payload on this chain: {input:?}"
        );
        let input = StatedInput::Beta(input.clone());
        Ok(self
            .dev
            .prove_stated(&input, proof_type, self.settings.proof_size)?)
    }

    /// The envelope of a proof of a block's payload, signed.
    pub(crate) fn signed(
        &self,
        block_root: Root,
        slot: Slot,
        new_payload_request_root: Root,
        proof_type: ProofType,
    ) -> anyhow::Result<SignedEnvelope> {
        let input = PublicInput {
            new_payload_request_root,
            successful_validation: true,
            chain_id: self.network.chain_id,
            schema_id: 0x1501,
        };
        let message = Envelope {
            proof_data: self.prove(&input, proof_type)?,
            proof_type,
            beacon_block_root: block_root.0,
        };
        let signing_root = message.signing_root(&self.network.domain(slot));
        Ok(SignedEnvelope {
            signature: self.settings.key.sign(&Root::from(signing_root)).0,
            validator_index: self.network.validator_index,
            message,
        })
    }

    /// Posts a list; the status and the body, where the body keeps to what is documented.
    pub(crate) async fn post(&self, envelopes: &[&SignedEnvelope]) -> anyhow::Result<Answer> {
        anyhow::ensure!(
            envelopes.len() <= MAX_LIST,
            "{} envelopes in a list",
            envelopes.len()
        );
        let answer = self
            .beacon
            .post("/eth/v1/beacon/execution_proofs", list(envelopes));
        let (status, body) = answer.await?;
        Answer::read(status, &body, envelopes.len())
    }

    /// From a payload to the answer to its proofs.
    async fn payload(
        &self,
        payload: NewPayloadParams,
        news: &mut watch::Receiver<()>,
    ) -> anyhow::Result<Value> {
        let spec = &self.network.spec;
        let request = payload.into_request(ForkName::Gloas, spec)?;
        let request_root = request.hash_tree_root(spec)?;
        let (block_root, slot) = self
            .block_of(
                request.parent_beacon_block_root,
                request.execution_payload.block_hash,
                news,
            )
            .await?;
        let types = &self.settings.proof_types;
        let good = types
            .iter()
            .map(|&kind| self.signed(block_root, slot, request_root, kind))
            .collect::<Result<Vec<_>, _>>()?;
        let nth = self.posts.fetch_add(1, Ordering::Relaxed) + 1;
        let spoil = self.settings.spoil_every;
        let forged = (spoil > 0 && nth.is_multiple_of(spoil))
            .then(|| good.first().map(SignedEnvelope::forged))
            .flatten();
        let began = Instant::now();
        let spoiled = match &forged {
            Some(forged) => Some(self.refused(&good, forged, block_root).await?),
            None => None,
        };
        let tries = self.deliver(&good).await?;
        Ok(json!({
            "event": "posted", "slot": slot.0, "block_root": block_root,
            "block_hash": request.execution_payload.block_hash, "new_payload_request_root": request_root,
            "proof_types": types, "validator_index": self.network.validator_index, "tries": tries,
            "ms": u64::try_from(began.elapsed().as_millis())?, "spoiled": spoiled,
        }))
    }

    /// The block that a payload belongs to: of those on its parent the one whose bid promised it.
    async fn block_of(
        &self,
        parent: Root,
        block_hash: Root,
        news: &mut watch::Receiver<()>,
    ) -> anyhow::Result<(Root, Slot)> {
        let began = Instant::now();
        let mut others = HashSet::new();
        loop {
            for root in self.beacon.children(&parent).await.unwrap_or_default() {
                if others.contains(&root) {
                    continue;
                }
                let Ok((promised, slot)) = self.beacon.bid(&root, &self.network.spec).await else {
                    continue;
                };
                if promised == Some(block_hash) {
                    return Ok((root, slot));
                }
                others.insert(root);
            }
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "no block on {parent} whose bid promises {block_hash}; {} others",
                others.len()
            );
            // An event, or a while without one: both are a reason to look.
            let _ = tokio::time::timeout(LOOK_AGAIN, news.changed()).await;
        }
    }

    /// Posts until everything is on the network: what cannot be judged now is posted again. The number of tries.
    async fn deliver(&self, good: &[SignedEnvelope]) -> anyhow::Result<u64> {
        let began = Instant::now();
        let mut left: Vec<&SignedEnvelope> = good.iter().collect();
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.post(&left).await?;
            match answer.status {
                200 => return Ok(tries),
                503 if began.elapsed() < PATIENCE => {
                    left = answer.failures.iter().map(|(index, _)| left[*index]).collect();
                }
                _ => anyhow::bail!("not taken: {answer:?}"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Posts good envelopes with a forged one behind them: 400 with the place of the forged one, and the good are kept. What
    /// cannot be judged now is posted again.
    async fn refused(
        &self,
        good: &[SignedEnvelope],
        forged: &SignedEnvelope,
        block_root: Root,
    ) -> anyhow::Result<Value> {
        let began = Instant::now();
        let envelopes: Vec<&SignedEnvelope> = good.iter().chain([forged]).collect();
        loop {
            let answer = self.post(&envelopes).await?;
            let places: Vec<usize> = answer.failures.iter().map(|(index, _)| *index).collect();
            if answer.status == 400 && places == [good.len()] {
                let kept = self.beacon.held(&block_root).await?;
                let all = self.settings.proof_types.iter().all(|kind| kept.contains(kind));
                anyhow::ensure!(all, "good ones beside a forged one are gone: {kept:?} kept");
                let message = &answer.failures[0].1;
                return Ok(json!({ "code": 400, "index": good.len(), "message": message }));
            }
            let wait = answer.status == 503 || (answer.status == 400 && places.contains(&good.len()));
            anyhow::ensure!(
                wait && began.elapsed() < PATIENCE,
                "a list with a forged envelope at {}: {answer:?}",
                good.len()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What a list of envelopes was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Index and message of each that was not taken.
    pub(crate) failures: Vec<(usize, String)>,
}

impl Answer {
    /// 200, or `{code, message, failures: [{index, message}]}` with the status as code, indices in the list, rising.
    fn read(status: u16, body: &Value, sent: usize) -> anyhow::Result<Self> {
        let mut failures = Vec::new();
        if status != 200 {
            anyhow::ensure!(
                body["code"] == status && body["message"].is_string(),
                "{status} without code and message: {body}"
            );
            for failure in body["failures"].as_array().into_iter().flatten() {
                let index = failure["index"].as_u64().and_then(|i| usize::try_from(i).ok());
                let (Some(index), Some(message)) = (index, failure["message"].as_str()) else {
                    anyhow::bail!("a failure without index or message: {body}");
                };
                anyhow::ensure!(
                    index < sent && failures.last().is_none_or(|(last, _)| *last < index),
                    "an index that names none of {sent}, or out of order: {body}"
                );
                failures.push((index, message.to_owned()));
            }
            anyhow::ensure!(!failures.is_empty(), "{status}, and nothing that failed: {body}");
        }
        Ok(Self { status, failures })
    }
}
