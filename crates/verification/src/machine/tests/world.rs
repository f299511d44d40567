//! A world without sockets, keys or threads around the machine: proofs say in their first byte what they are worth,
//! signatures name who made them over what, and work is done when the test says so.

use crate::{
    ParkReason, PeerRef, Source, Verdict,
    candidate::Parsed,
    config::VerifierConfig,
    machine::{Action, CandidateId, Event, Machine, Outcome, Ticket, View},
};
use assay_chain::{PayloadInfo, PayloadSource, ValidatorAnswer, ValidatorRecord};
use assay_proof_engine::{EngineError, Verification};
use assay_types::{
    EngineInput, Epoch, ForkName, Hash256, ProofKey, ProofMessage, ProofName, ProofType, PublicKey, Revision,
    Root, SecretKey, SignatureBytes, SignedProof, Slot, Spec, ValidatorIndex,
};
use bytes::Bytes;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Slot of every payload here unless said otherwise; its epoch is 5 in the minimal preset.
pub(super) const SLOT: Slot = Slot(43);

pub(super) fn root(n: u8) -> Root {
    Hash256([n; 32])
}

thread_local! {
    static REVISION: Cell<Revision> = const { Cell::new(Revision::Alpha) };
}

/// Runs a test in each revision: what holds, holds in both.
pub(super) fn in_both_revisions(test: impl Fn()) {
    for revision in Revision::ALL {
        REVISION.set(*revision);
        test();
    }
    REVISION.set(Revision::Alpha);
}

/// What a proof of payload `n` names: the payload in `alpha`, in `beta` its block.
pub(super) fn key(payload: u8, proof_type: ProofType) -> ProofName {
    ProofName {
        revision: REVISION.get(),
        root: root(payload),
        proof_type,
    }
}

/// The request root of payload `n`.
pub(super) fn request_root(n: u8) -> Root {
    match REVISION.get() {
        Revision::Alpha => root(n),
        Revision::Beta => root(n ^ 0x80),
    }
}

/// Payload `n` became known by what its proofs name.
pub(super) fn known(n: u8) -> Event {
    match REVISION.get() {
        Revision::Alpha => Event::PayloadKnown(root(n)),
        Revision::Beta => Event::BlockKnown(root(n)),
    }
}

/// Payload `n` and a type.
pub(super) fn payload_key(n: u8, proof_type: ProofType) -> ProofKey {
    ProofKey {
        new_payload_request_root: request_root(n),
        proof_type,
    }
}

pub(super) fn gossip(peer: u8) -> Source {
    Source::Gossip {
        peer: PeerRef(Arc::from([peer])),
    }
}

pub(super) fn req_resp(peer: u8) -> Source {
    Source::ReqResp {
        peer: PeerRef(Arc::from([peer])),
    }
}

/// What stands in for `hash_tree_root(message)`.
pub(super) fn proof_root(message: &ProofMessage) -> Root {
    let mut hasher = DefaultHasher::new();
    (&message.proof_data[..], message.proof_type, message.root).hash(&mut hasher);
    let mut root = [0; 32];
    root[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    Hash256(root)
}

fn signature(signer: ValidatorIndex, message: &ProofMessage) -> SignatureBytes {
    let mut bytes = [0; 96];
    bytes[..8].copy_from_slice(&signer.to_le_bytes());
    bytes[8..40].copy_from_slice(&proof_root(message).0);
    SignatureBytes(bytes)
}

/// A proof whose data is `data`: "V..." is valid, "I..." invalid, "U..." of a type that the engine denies, "X..." one
/// it cannot read.
pub(super) fn signed(key: ProofName, data: &str, signer: ValidatorIndex) -> SignedProof {
    let message = ProofMessage {
        proof_data: Bytes::copy_from_slice(data.as_bytes()),
        proof_type: key.proof_type,
        root: key.root,
    };
    let signature = signature(signer, &message);
    SignedProof {
        revision: key.revision,
        message,
        validator_index: signer,
        signature,
    }
}

/// The same with a signature that does not verify; `n` makes different ones.
pub(super) fn forged(mut proof: SignedProof, n: u8) -> SignedProof {
    proof.signature.0[95] = n.max(1);
    proof
}

fn a_public_key() -> PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::interop(0).public_key()).clone()
}

/// How the chain answers about validators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registry {
    Decisive,
    NotDecisive,
    Unavailable,
}

/// What the machine may look up, and what its work finds.
pub(super) struct World {
    /// By what names them.
    pub(super) payloads: BTreeMap<Root, PayloadInfo>,
    pub(super) on_disk: BTreeSet<ProofName>,
    pub(super) types: BTreeSet<ProofType>,
    pub(super) contained: BTreeMap<ValidatorIndex, Slot>,
    pub(super) slot: Slot,
    pub(super) finalized: Epoch,
    pub(super) registry: Registry,
    /// Activation and exit epoch; who is absent here is absent from the registry.
    pub(super) validators: BTreeMap<ValidatorIndex, (Epoch, Epoch)>,
    pub(super) engine_up: bool,
    pub(super) store_up: bool,
}

impl View for World {
    fn payload(&self, name: &ProofName) -> Option<PayloadInfo> {
        self.payloads.get(&name.root).cloned()
    }
    fn has_valid(&self, name: &ProofName) -> bool {
        self.on_disk.contains(name)
    }
    fn proves(&self, key: &ProofKey) -> bool {
        self.on_disk.iter().any(|name| {
            let payload = self.payloads.get(&name.root);
            name.proof_type == key.proof_type
                && payload.is_some_and(|p| p.new_payload_request_root == key.new_payload_request_root)
        })
    }
    fn verifies(&self, proof_type: ProofType) -> bool {
        self.types.contains(&proof_type)
    }
    fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot> {
        self.contained.get(&validator).copied()
    }
    fn current_slot(&self) -> Slot {
        self.slot
    }
    fn finalized_epoch(&self) -> Epoch {
        self.finalized
    }
}

impl World {
    pub(super) fn add_payload(&mut self, n: u8, slot: Slot) {
        let is_beta = REVISION.get() == Revision::Beta;
        let info = PayloadInfo {
            new_payload_request_root: request_root(n),
            block_hash: root(n),
            parent_hash: root(n.wrapping_sub(1)),
            slot,
            fork: if is_beta { ForkName::Gloas } else { ForkName::Fulu },
            block_root: is_beta.then(|| root(n)),
            source: PayloadSource::Embedder,
        };
        self.payloads.insert(root(n), info);
    }

    fn validator(&self, index: ValidatorIndex) -> ValidatorAnswer {
        let decisive = match self.registry {
            Registry::Decisive => true,
            Registry::NotDecisive => false,
            Registry::Unavailable => return ValidatorAnswer::Unavailable("down".to_owned()),
        };
        match self.validators.get(&index) {
            Some((activation_epoch, exit_epoch)) => {
                let record = ValidatorRecord {
                    pubkey: a_public_key(),
                    activation_epoch: *activation_epoch,
                    exit_epoch: *exit_epoch,
                };
                ValidatorAnswer::Known {
                    record: Arc::new(record),
                    decisive,
                }
            }
            None => ValidatorAnswer::Absent { decisive },
        }
    }

    fn judge(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        if !self.engine_up {
            return Err(EngineError::Unavailable("down".to_owned()));
        }
        if proof.proof_data.first() == Some(&b'X') {
            return Err(EngineError::Unreadable("no proof".to_owned()));
        }
        Ok(match proof.proof_data[0] {
            b'V' => Verification::Valid,
            b'I' => Verification::Invalid("it says so".to_owned()),
            _ => Verification::Unsupported,
        })
    }
}

/// What a submission was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) parked: Vec<ParkReason>,
    /// Payloads that it waited for and that came.
    pub(super) found: Vec<Root>,
    pub(super) verdicts: Vec<Verdict>,
}

/// The machine in its world.
pub(super) struct House {
    pub(super) machine: Machine,
    pub(super) world: World,
    pub(super) now: Duration,
    /// Work asked for and not done yet.
    pub(super) pending: Vec<Action>,
    pub(super) said: BTreeMap<Ticket, Said>,
    /// Work done so far: the stage's name and the message's first bytes.
    pub(super) log: Vec<String>,
    pub(super) commits: Vec<ProofName>,
    /// Who has work pending, by key: never two of one key.
    under_way: BTreeMap<CandidateId, ProofName>,
    /// What an engine was last asked about, by request root.
    pub(super) asked: Vec<EngineInput>,
    tickets: Ticket,
}

impl House {
    /// One known payload (1), types 1 and 2, validators 0 to 9 active, everything up.
    pub(super) fn new() -> Self {
        Self::with(VerifierConfig::default())
    }

    pub(super) fn with(config: VerifierConfig) -> Self {
        let mut world = World {
            payloads: BTreeMap::new(),
            on_disk: BTreeSet::new(),
            types: BTreeSet::from([1, 2]),
            contained: BTreeMap::new(),
            slot: Slot(44),
            finalized: Epoch(3),
            registry: Registry::Decisive,
            validators: (0..10).map(|i| (i, (Epoch(0), Epoch::FAR_FUTURE))).collect(),
            engine_up: true,
            store_up: true,
        };
        world.add_payload(1, SLOT);
        Self {
            machine: Machine::new(config, Arc::new(spec())),
            world,
            now: Duration::ZERO,
            pending: Vec::new(),
            said: BTreeMap::new(),
            log: Vec::new(),
            commits: Vec::new(),
            under_way: BTreeMap::new(),
            asked: Vec::new(),
            tickets: 0,
        }
    }

    /// `alpha` up to Fulu, `beta` from Gloas on.
    pub(super) fn with_boundary() -> Self {
        let mut spec = Spec::minimal();
        spec.revision_by_fork.insert(ForkName::Gloas, Revision::Beta);
        Self {
            machine: Machine::new(VerifierConfig::default(), Arc::new(spec)),
            ..Self::new()
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        for action in self.machine.on_event(event, self.now, &self.world) {
            match action {
                Action::Reply { ticket, verdict, .. } => {
                    self.said.entry(ticket).or_default().verdicts.push(verdict);
                }
                Action::Parked { ticket, reason, .. } => {
                    self.said.entry(ticket).or_default().parked.push(reason);
                }
                Action::PayloadFound { ticket, payload } => {
                    self.said.entry(ticket).or_default().found.push(payload);
                }
                Action::Contain { validator, until } => {
                    self.world.contained.insert(validator, until);
                }
                action => self.pending.push(action),
            }
        }
    }

    /// Submits without doing any work.
    pub(super) fn submit(&mut self, signed: SignedProof, source: Source) -> Ticket {
        let ticket = self.tickets;
        self.tickets += 1;
        self.said.insert(ticket, Said::default());
        self.event(Event::Submitted {
            ticket,
            parsed: Parsed {
                signed,
                ssz: None,
                span: tracing::Span::none(),
            },
            source,
        });
        ticket
    }

    /// Submits and works until nothing is left to do.
    pub(super) fn bring(&mut self, signed: SignedProof, source: Source) -> Ticket {
        let ticket = self.submit(signed, source);
        self.work();
        ticket
    }

    pub(super) fn work(&mut self) {
        while !self.pending.is_empty() {
            self.do_one(0);
        }
    }

    /// Does one piece of the pending work.
    pub(super) fn do_one(&mut self, place: usize) {
        let action = self.pending.remove(place);
        let (id, outcome, name) = match action {
            Action::Hash { id, mut parsed, .. } => {
                parsed.ssz = Some(Bytes::new());
                let proof_root = proof_root(&parsed.signed.message);
                let name = format!("hash {}", text(&parsed.signed.message));
                self.under_way.insert(id, parsed.name());
                (
                    id,
                    Outcome::Hashed {
                        parsed: Box::new(parsed),
                        proof_root,
                    },
                    name,
                )
            }
            Action::ReadValidator { id, validator, .. } => (
                id,
                Outcome::Validator(self.world.validator(validator)),
                format!("validator {validator}"),
            ),
            Action::CheckSignature {
                id,
                proof_root,
                signature,
                ..
            } => {
                // Whose record it was cannot be seen here; the signature names its maker, and a forged one is marked.
                let right = signature.0[8..40] == proof_root.0 && signature.0[95] == 0;
                (id, Outcome::Signature(right), format!("signature {right}"))
            }
            Action::AskEngine { id, input } => {
                let name = format!("engine {}", data(&input.proof_data));
                let answer = self.world.judge(&input);
                self.asked.push(input);
                (id, Outcome::Engine(answer), name)
            }
            Action::Commit { id, proof, .. } => {
                let durable = self.world.store_up;
                if durable {
                    self.commits.push(proof.name());
                }
                let name = format!("commit {}", text(&proof.signed().message));
                (id, Outcome::Committed { proof, durable }, name)
            }
            Action::Reply { .. }
            | Action::Parked { .. }
            | Action::PayloadFound { .. }
            | Action::Contain { .. } => unreachable!(),
        };
        self.log.push(name);
        self.event(Event::Done { id, outcome });
    }

    /// Keys with work pending; a key that stands twice would be two verifications at once.
    pub(super) fn pending_keys(&self) -> Vec<ProofName> {
        self.pending
            .iter()
            .filter_map(|action| match action {
                Action::Hash { parsed, .. } => Some(parsed.name()),
                Action::Commit { proof, .. } => Some(proof.name()),
                Action::ReadValidator { id, .. }
                | Action::CheckSignature { id, .. }
                | Action::AskEngine { id, .. } => self.under_way.get(id).copied(),
                _ => None,
            })
            .collect()
    }

    /// Lets time pass, ticking whenever the machine wants it.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_tick().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.event(Event::Tick);
        }
        self.now = end;
    }

    pub(super) fn learn_payload(&mut self, n: u8, slot: Slot) {
        self.world.add_payload(n, slot);
        self.event(known(n));
    }

    pub(super) fn finalize(&mut self, slot: Slot, orphaned: &[u8]) {
        for n in orphaned {
            self.world.payloads.remove(&root(*n));
        }
        let orphaned: HashSet<_> = orphaned.iter().map(|n| request_root(*n)).collect();
        self.event(Event::Finalized { slot, orphaned });
    }

    /// The last word on a submission as "accept", "ignore reason" or "reject reason"; before there is one "parked
    /// reason" or "waits".
    pub(super) fn word(&self, ticket: Ticket) -> String {
        let said = &self.said[&ticket];
        assert!(
            said.verdicts.len() <= 1,
            "told more than once: {:?}",
            said.verdicts
        );
        match (said.verdicts.first(), said.parked.last()) {
            (Some(Verdict::Accept(_)), _) => "accept".to_owned(),
            (Some(Verdict::Ignore(reason)), _) => format!("ignore {}", reason.label()),
            (Some(Verdict::Reject(reason)), _) => format!("reject {}", reason.label()),
            (None, Some(reason)) => format!("parked {}", reason.label()),
            (None, None) => "waits".to_owned(),
        }
    }
}

/// The proof's bytes, cut short.
fn text(message: &ProofMessage) -> String {
    data(&message.proof_data)
}

fn data(proof: &[u8]) -> String {
    String::from_utf8_lossy(&proof[..proof.len().min(12)]).into_owned()
}

/// The minimal preset; one revision for all forks.
fn spec() -> Spec {
    Spec {
        revision: REVISION.get(),
        ..Spec::minimal()
    }
}
