//! Assay's crates inside a Rust client that has its own network, its own chain and its own execution client: no HTTP API, no
//! Engine API endpoint, no second process. docs/embedding.md goes through it, and has what it prints.
//!
//! | what the client brings | what it takes |
//! |---|---|
//! | `OwnChain`: payloads, validators and finality, as `assay_chain::Chain` | `Verifier`: the only way to a `VerifiedProof` |
//! | proofs as its gossip brings them, to `Intake::submit` | verdicts for its gossip: accept, ignore, reject |
//! | what its execution client says of a payload | `GateHandle`: what the payload is worth at import |
#![allow(clippy::print_stdout, reason = "an example that prints")]

use anyhow::Context as _;
use assay_chain::{
    BlockInfo, Chain, ChainEvent, Checkpoint, PayloadInfo, PayloadSeen, PayloadSource, ValidatorAnswer,
    ValidatorRecord, seen::place_payload,
};
use assay_engine_api::block_hash;
use assay_gate::{
    AskedPayload, ElAnswer, ForkchoiceState, GateConfig, GateHandle, ImportPolicy, PayloadFacts, ProofRecall,
    RequestCheck, StatusWord, machine::Event,
};
use assay_proof_engine::{DevConfig, DevEngine, DevProver, ProofEngine};
use assay_store::{Store, StoreConfig};
use assay_types::{
    BlockHash, Epoch, ExecutionPayload, ExecutionRequests, ForkName, Hash256, NewPayloadRequest, ProofType,
    Root, SecretKey, SignedExecutionProof, Slot, Spec, ValidatorIndex, spec::Genesis,
};
use assay_verification::{
    Candidate, PeerRef, Source, Submission, Verdict, Verifier, VerifierConfig, VerifierParts,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use std::{path::Path, sync::Arc};
use tokio::{sync::broadcast, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Development proofs prove nothing; they stand for an engine that does (`assay_proof_engine::ProofNodeEngine`).
const SEED: &str = "embed";
/// The one kind of proof here.
const PROOF_TYPE: ProofType = 1;
/// Chain events kept for a listener that is slow.
const EVENTS: usize = 256;
/// The payload that the client's database begins with.
const TRUSTED: BlockHash = Hash256([9; 32]);

/// The client's chain. A real one answers from its fork choice and its states; this one has a single branch.
struct OwnChain {
    spec: Arc<Spec>,
    genesis: Genesis,
    /// Blocks with their payloads, oldest first.
    blocks: RwLock<Vec<(BlockInfo, PayloadInfo)>>,
    validators: Vec<Arc<ValidatorRecord>>,
    events: broadcast::Sender<ChainEvent>,
}

impl OwnChain {
    fn new(spec: Spec, validators: u64) -> Self {
        let record = |index| {
            Arc::new(ValidatorRecord {
                pubkey: SecretKey::interop(index).public_key(),
                activation_epoch: Epoch(0),
                exit_epoch: Epoch::FAR_FUTURE,
            })
        };
        Self {
            spec: Arc::new(spec),
            genesis: Genesis {
                genesis_time: 1_700_000_000,
                genesis_validators_root: Hash256([7; 32]),
            },
            blocks: RwLock::default(),
            validators: (0..validators).map(record).collect(),
            events: broadcast::channel(EVENTS).0,
        }
    }

    /// A block came, with its payload. The event wakes proofs that were there before it.
    fn learn(&self, block_root: Root, payload: PayloadInfo) {
        let block = BlockInfo {
            block_root,
            parent_root: self.head().map_or(Root::ZERO, |head| head.block_root),
            slot: payload.slot,
            new_payload_request_root: Some(payload.new_payload_request_root),
            execution_optimistic: true,
        };
        self.blocks.write().push((block.clone(), payload.clone()));
        for event in [
            ChainEvent::Payload(payload),
            ChainEvent::Block(block.clone()),
            ChainEvent::Head(block),
        ] {
            // Nobody listening is no error.
            let _ = self.events.send(event);
        }
    }

    fn find(&self, wanted: impl Fn(&BlockInfo, &PayloadInfo) -> bool) -> Option<(BlockInfo, PayloadInfo)> {
        self.blocks.read().iter().find(|(b, p)| wanted(b, p)).cloned()
    }
}

#[async_trait]
impl Chain for OwnChain {
    fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }
    fn genesis(&self) -> Genesis {
        self.genesis
    }
    fn current_slot(&self) -> Slot {
        // By the wall clock in a client that runs.
        self.head().map_or(Slot(0), |head| head.slot)
    }
    fn payload(&self, new_payload_request_root: &Root) -> Option<PayloadInfo> {
        let found = self.find(|_, p| p.new_payload_request_root == *new_payload_request_root);
        found.map(|(_, payload)| payload)
    }
    fn payload_by_block_hash(&self, block_hash: &BlockHash) -> Option<PayloadInfo> {
        self.find(|_, p| p.block_hash == *block_hash)
            .map(|(_, payload)| payload)
    }
    fn block(&self, block_root: &Root) -> Option<BlockInfo> {
        self.find(|b, _| b.block_root == *block_root)
            .map(|(block, _)| block)
    }
    fn canonical_block_at(&self, slot: Slot) -> Option<BlockInfo> {
        self.find(|b, _| b.slot == slot).map(|(block, _)| block)
    }
    fn is_canonical(&self, new_payload_request_root: &Root) -> bool {
        self.payload(new_payload_request_root).is_some()
    }
    fn head(&self) -> Option<BlockInfo> {
        self.blocks.read().last().map(|(block, _)| block.clone())
    }
    fn finalized(&self) -> Checkpoint {
        Checkpoint::default()
    }
    fn is_synced(&self) -> bool {
        true
    }
    async fn validator(&self, index: ValidatorIndex, _: &PayloadInfo) -> ValidatorAnswer {
        // A client that has the state of the payload's block reads it there, and its answer decides.
        let record = usize::try_from(index).ok().and_then(|i| self.validators.get(i));
        match record {
            Some(record) => ValidatorAnswer::Known {
                record: record.clone(),
                decisive: true,
            },
            None => ValidatorAnswer::Absent { decisive: true },
        }
    }
    fn subscribe(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }
}

/// What the client keeps of Assay.
struct Proofs {
    chain: Arc<OwnChain>,
    verifier: Verifier,
    gate: GateHandle,
    store: Store,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Proofs {
    /// Inside a tokio runtime. One directory, one process.
    fn start(chain: Arc<OwnChain>, directory: &Path) -> anyhow::Result<Self> {
        let spec = chain.spec.clone();
        let stop = CancellationToken::new();
        let store = Store::open(
            directory.join("proofs.redb"),
            StoreConfig::new(&spec, chain.genesis.genesis_validators_root),
        )?;
        let engine = Arc::new(DevEngine::new(DevConfig {
            proof_types: vec![PROOF_TYPE],
            ..DevConfig::new(SEED, spec.clone())
        })?);
        let (gate, writer) = GateHandle::open(
            GateConfig {
                policy: ImportPolicy::RequireProofs,
                ..GateConfig::default()
            },
            Arc::new(store.clone()),
            // Proofs that were here before the payload, or before a restart.
            Some(ProofRecall {
                known: Arc::new(store.clone()),
                proof_types: engine.proof_types(),
            }),
            stop.clone(),
        )?;
        let verifier = Verifier::start(
            VerifierConfig::default(),
            VerifierParts {
                chain: chain.clone(),
                engine,
                known: Arc::new(store.clone()),
                containment: Arc::new(store.clone()),
                // First of all sinks: what is not on disk is told to nobody.
                store: Arc::new(store.clone()),
            },
        );
        verifier.add_sink(Arc::new(gate.clone()));
        // Which payloads are canonical and finalized: what the store serves, and what it may drop.
        let (following, ended) = (assay_store::follow(store.clone(), chain.clone()), stop.clone());
        let follower = tokio::spawn(async move {
            tokio::select! {
                () = following => {}
                () = ended.cancelled() => {}
            }
        });
        Ok(Self {
            chain,
            verifier,
            gate,
            store,
            stop,
            tasks: vec![writer, follower],
        })
    }

    /// A block's payload comes, and the client's execution client says VALID: what import is told.
    async fn import(&self, block_root: Root, request: &NewPayloadRequest) -> anyhow::Result<String> {
        // Milliseconds a megabyte: off the async threads in a client that has other work.
        let root = request.hash_tree_root(&self.chain.spec)?;
        // Before the payload is known by its hash at all: the hash must be that of these fields.
        block_hash::check(request)?;
        let placed = place_payload(
            PayloadSeen::of(request, root),
            &self.chain.spec,
            &self.chain.genesis,
        )?;
        let asked = AskedPayload::Read {
            payload: PayloadFacts {
                block_hash: placed.block_hash,
                parent_hash: placed.parent_hash,
                new_payload_request_root: root,
                slot: placed.slot,
                fork: placed.fork,
            },
            check: RequestCheck::Matches,
        };
        self.gate.new_payload(asked).await;
        self.chain.learn(
            block_root,
            PayloadInfo {
                new_payload_request_root: root,
                block_hash: placed.block_hash,
                parent_hash: placed.parent_hash,
                slot: placed.slot,
                fork: placed.fork,
                block_root: Some(block_root),
                source: PayloadSource::Embedder,
            },
        );
        self.gate.slot_started(placed.slot).await;
        let answer = execution_client_says_valid(placed.block_hash);
        let decision = self.gate.new_payload_answered(asked, answer).await;
        Ok(said(decision.is_valid(answer.word())).to_owned())
    }

    /// The fork choice names a head: whether it counts as validated.
    async fn head(&self, head: BlockHash) -> &'static str {
        let state = ForkchoiceState {
            head,
            safe: TRUSTED,
            finalized: TRUSTED,
        };
        let answer = execution_client_says_valid(head);
        self.gate.forkchoice_updated(state).await;
        let decision = self.gate.forkchoice_updated_answered(Some(state), answer).await;
        said(decision.is_valid(answer.word()))
    }

    /// A gossip message comes from a peer. `Parked` means: no verdict yet, and the message is held back meanwhile.
    async fn gossip(&self, message: Bytes, peer: &[u8]) -> Submission {
        let peer = PeerRef(peer.into());
        let intake = self.verifier.intake();
        intake
            .submit(Candidate::Ssz(message), Source::Gossip { peer })
            .await
    }

    /// Verdicts first, then what they have to be written by.
    async fn stop(self) -> anyhow::Result<()> {
        self.verifier.shutdown().await;
        self.stop.cancel();
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

/// What the client tells its gossip of a message.
fn propagation(said: &Submission) -> String {
    match said {
        Submission::Parked { reason, .. } => format!("no verdict yet, {}", reason.label()),
        Submission::Decided(Verdict::Accept(proof)) => {
            format!("accept, signed by validator {}", proof.validator_index())
        }
        Submission::Decided(Verdict::Ignore(why)) => format!("ignore, {why}"),
        Submission::Decided(Verdict::Reject(why)) => format!("reject, {why}"),
    }
}

fn said(valid: bool) -> &'static str {
    if valid { "VALID" } else { "SYNCING" }
}

/// The client's execution client, inside it or behind its own Engine API.
fn execution_client_says_valid(block_hash: BlockHash) -> ElAnswer {
    ElAnswer::Status {
        status: StatusWord::Valid,
        latest_valid_hash: Some(block_hash),
    }
}

/// A payload as a block of `slot` carries it. A client has it already; from bytes: `NewPayloadRequest::from_ssz_bytes`.
fn payload(chain: &OwnChain, slot: Slot, parent_hash: BlockHash) -> NewPayloadRequest {
    let mut request = NewPayloadRequest {
        fork: ForkName::Fulu,
        execution_payload: ExecutionPayload {
            parent_hash,
            block_number: slot.0,
            gas_limit: 30_000_000,
            timestamp: chain.spec.timestamp_at_slot(chain.genesis.genesis_time, slot),
            ..ExecutionPayload::default()
        },
        versioned_hashes: Vec::new(),
        parent_beacon_block_root: Hash256([3; 32]),
        execution_requests: ExecutionRequests::default(),
    };
    request.execution_payload.block_hash = block_hash::of_request(&request);
    request
}

/// What another node's prover publishes: a proof of `request`, signed by `validator`, as gossip carries it (unpacked).
fn proof_message(
    chain: &OwnChain,
    request: &NewPayloadRequest,
    slot: Slot,
    validator: ValidatorIndex,
    seed: &'static str,
) -> anyhow::Result<Bytes> {
    let spec = &chain.spec;
    let prover = DevProver::new(seed, usize::try_from(spec.max_proof_size)?);
    let message = prover.prove_execution(request.hash_tree_root(spec)?, PROOF_TYPE, 256)?;
    let epoch = spec.epoch_at_slot(slot);
    let proof_root = spec.execution_proof_root(epoch, &message);
    let signing_root = spec.execution_proof_signing_root(&chain.genesis, epoch, &proof_root);
    let signed = SignedExecutionProof {
        message,
        validator_index: validator,
        signature: SecretKey::interop(validator).sign(&signing_root),
    };
    Ok(signed.to_ssz_bytes())
}

/// Two blocks, three proofs. Returns what happened, line by line.
async fn story(directory: &Path) -> anyhow::Result<Vec<String>> {
    let chain = Arc::new(OwnChain::new(Spec::minimal(), 8));
    let proofs = Proofs::start(chain.clone(), directory)?;
    let mut lines = Vec::new();
    proofs.gate.apply(Event::AnchorSet { block_hash: TRUSTED }).await;

    let first = payload(&chain, Slot(1), TRUSTED);
    let first_hash = first.execution_payload.block_hash;
    let told = proofs.import(Hash256([1; 32]), &first).await?;
    lines.push(format!("payload 1 comes: {told}"));

    for (validator, seed, peer) in [(3, "not the network's", b"peer-a"), (5, SEED, b"peer-b")] {
        let message = proof_message(&chain, &first, Slot(1), validator, seed)?;
        let said = proofs.gossip(message, peer).await;
        lines.push(format!("proof of payload 1: {}", propagation(&said)));
    }
    lines.push(format!("head is payload 1: {}", proofs.head(first_hash).await));

    // Proofs may be faster than blocks.
    let second = payload(&chain, Slot(2), first_hash);
    let message = proof_message(&chain, &second, Slot(2), 6, SEED)?;
    let said = proofs.gossip(message, b"peer-b").await;
    lines.push(format!("proof of payload 2: {}", propagation(&said)));
    let told = proofs.import(Hash256([2; 32]), &second).await?;
    lines.push(format!("payload 2 comes: {told}"));
    if let Submission::Parked { verdict, .. } = said {
        let last_word = Submission::Decided(verdict.await.context("the verifier has ended")?);
        lines.push(format!("proof of payload 2: {}", propagation(&last_word)));
    }
    let head = proofs.head(second.execution_payload.block_hash).await;
    lines.push(format!("head is payload 2: {head}"));

    lines.push(format!("proofs on disk: {}", proofs.store.stats().await?.proofs));
    proofs.stop().await?;
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .context("usage: embed DIRECTORY (empty, or that of a run before)")?;
    std::fs::create_dir_all(&directory)?;
    for line in story(Path::new(&directory)).await? {
        println!("{line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn it_does_what_the_guide_says_it_prints() {
        let directory = tempfile::tempdir().unwrap();
        let lines = story(directory.path()).await.unwrap();
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/embedding.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let (_, rest) = guide.split_once("<!-- what it prints -->\n\n```\n").unwrap();
        let (shown, _) = rest.split_once("\n```").unwrap();
        assert_eq!(lines.join("\n"), shown);
    }

    #[tokio::test]
    async fn a_second_run_knows_the_proofs_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        story(directory.path()).await.unwrap();
        let lines = story(directory.path()).await.unwrap();
        // What is on disk needs no second proof.
        assert!(lines.contains(&"payload 1 comes: VALID".to_owned()), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "proofs on disk: 2", "{lines:#?}");
    }
}
