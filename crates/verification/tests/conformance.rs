//! Reference vectors (specs/conformance.toml) through the whole verifier, signatures and roots included.

use assay_chain::{Chain, ValidatorRecord};
use assay_conformance::{Case, Failure, Outcome, Target, VectorFile};
use assay_proof_engine::Verification;
use assay_types::{
    Epoch, ForkName, ForkVersion, PublicKey, PublicKeyBytes, Root, SignedExecutionProof, Slot, Spec,
    ValidatorIndex, spec::ProofDataForm,
};
use assay_verification::{
    Candidate, MemoryContainment, NoKnownProofs, ParkReason, PeerRef, RejectReason, Source, Submission,
    Verdict, Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, MemorySink, ScriptedEngine},
};
use bytes::Bytes;
use std::{fmt::Debug, sync::Arc};

fn target() -> Result<Target, Failure> {
    Target::open(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"))
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found:?}, {expected:?} expected"))
    }
}

/// A network on which the file's fork version is in force at its slot.
fn spec(file: &VectorFile<'_>) -> Result<Spec, String> {
    let head = file.head();
    let mut spec = match head.text("preset")? {
        "minimal" => Spec::minimal(),
        "mainnet" => Spec::mainnet(),
        preset => return Err(format!("preset {preset:?} is nothing this test knows")),
    };
    if head.has("slots_per_epoch") {
        same(
            "SLOTS_PER_EPOCH",
            &spec.slots_per_epoch,
            &head.number("slots_per_epoch")?,
        )?;
    }
    let fork = head.inner("fork")?;
    let since = if fork.has("epoch") {
        fork.number("epoch")?
    } else {
        head.number("fork_epoch")?
    };
    let (before, now) = (
        ForkVersion(fork.array("previous_version")?),
        ForkVersion(fork.array("current_version")?),
    );
    spec.fork_schedule.retain(|(fork, ..)| *fork < ForkName::Fulu);
    spec.fork_schedule
        .iter_mut()
        .for_each(|(_, _, epoch)| *epoch = Epoch(0));
    spec.fork_schedule.push((ForkName::Fulu, before, Epoch(0)));
    spec.fork_schedule.push((ForkName::Gloas, now, Epoch(since)));
    // These vectors are `alpha`'s, whose Gloas is another clock for the same rules.
    spec.revision_by_fork.clear();
    if head.has("max_proof_size") {
        spec.max_proof_size = head.number("max_proof_size")?;
    }
    // Files that name their domain type are February's (protocol.md section 1).
    if head.has("domain_type") {
        spec.domain_execution_proof = head.array("domain_type")?;
        spec.proof_data_form = Some(ProofDataForm::ByteList);
        spec.max_proof_size = 307_200;
    }
    Ok(spec)
}

/// A verifier over the file's registry, which knows the payload that `ssz` names.
struct House {
    engine: Arc<ScriptedEngine>,
    verifier: Verifier,
}

impl House {
    fn new(chain: Arc<MemoryChain>, proof_type: u8) -> Self {
        let engine = Arc::new(ScriptedEngine::new([proof_type]));
        let verifier = Verifier::start(
            VerifierConfig::default(),
            VerifierParts {
                chain,
                engine: engine.clone(),
                known: Arc::new(NoKnownProofs),
                containment: Arc::new(MemoryContainment::default()),
                store: Arc::new(MemorySink::new("store")),
            },
        );
        Self { engine, verifier }
    }

    async fn gossip(&self, ssz: &Bytes) -> Submission {
        let source = Source::Gossip {
            peer: PeerRef(Arc::from([1])),
        };
        self.verifier
            .intake()
            .submit(Candidate::Ssz(ssz.clone()), source)
            .await
    }
}

fn registry(file: &mut VectorFile<'_>) -> Result<Vec<(ValidatorIndex, ValidatorRecord)>, String> {
    let mut registry = Vec::new();
    for (place, validator) in file.context("validators")?.iter().enumerate() {
        let number = |key: &str| {
            validator[key]
                .as_u64()
                .ok_or_else(|| format!("validator {place}: no {key}"))
        };
        let pubkey: PublicKeyBytes = validator["pubkey"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("validator {place}: no pubkey"))?;
        let record = ValidatorRecord {
            pubkey: PublicKey::from_bytes(&pubkey).map_err(|e| format!("validator {place}: {e}"))?,
            activation_epoch: Epoch(number("activation_epoch")?),
            exit_epoch: Epoch(number("exit_epoch")?),
        };
        registry.push((number("index")?, record));
    }
    Ok(registry)
}

async fn judged(
    case: Case<'_>,
    spec: &Arc<Spec>,
    genesis_validators_root: Root,
    slot: Slot,
    registry: &[(ValidatorIndex, ValidatorRecord)],
) -> Result<Outcome, String> {
    let ssz = case.ssz("signed_proof_ssz")?;
    let signed = SignedExecutionProof::from_ssz_bytes(&ssz).map_err(|e| e.to_string())?;
    same(
        "validator_index",
        &signed.validator_index,
        &case.number("validator_index")?,
    )?;

    let chain = Arc::new(MemoryChain::new(Arc::clone(spec), genesis_validators_root));
    chain.add_payload(signed.message.public_input.new_payload_request_root, slot);
    chain.set_slot(slot);
    for (index, record) in registry {
        chain.add_validator(*index, record.clone());
    }
    let house = House::new(chain, signed.message.proof_type);
    house
        .engine
        .set_verdict(Some(match case.boolean("proof_engine_verdict")? {
            true => Verification::Valid,
            false => Verification::Invalid("as the vector says".to_owned()),
        }));

    let submission = house.gossip(&ssz).await;
    let Submission::Decided(verdict) = submission else {
        return Err(format!("not decided: {submission:?}"));
    };
    let engine_called = house.engine.calls().0 > 0;
    house.verifier.shutdown().await;

    if signed.message.proof_data.is_empty() {
        // process_execution_proof takes it; gossip does not (protocol.md section 4, rule 7).
        let empty = matches!(verdict, Verdict::Reject(RejectReason::EmptyProof));
        return if empty && !engine_called {
            Ok(Outcome::Run)
        } else {
            Err(format!("empty, but {verdict:?}"))
        };
    }
    let found = match &verdict {
        Verdict::Accept(_) => "accept",
        Verdict::Reject(_) => "reject",
        Verdict::Ignore(_) => "ignore",
    };
    same("the verdict", &found, &case.text("expected")?).map_err(|why| format!("{why} ({verdict:?})"))?;
    if case.has("engine_called") {
        same("engine_called", &engine_called, &case.boolean("engine_called")?)?;
    }
    if let Verdict::Accept(proof) = verdict {
        same("the bytes kept", proof.ssz(), &ssz)?;
    }
    Ok(Outcome::Run)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())
}

#[test]
fn process_execution_proof() -> Result<(), Failure> {
    let runtime = runtime()?;
    target()?.run("process_execution_proof", |file| {
        let head = file.head();
        let spec = Arc::new(spec(file)?);
        let registry = registry(file)?;
        let slot = Slot(head.number("slot")?);
        let epoch = spec.epoch_at_slot(slot);
        same("the epoch", &epoch.0, &head.number("current_epoch")?)?;
        let genesis_validators_root = Root::from(head.array("genesis_validators_root")?);
        let chain = MemoryChain::new(Arc::clone(&spec), genesis_validators_root);
        let domain = spec.execution_proof_domain(&chain.genesis(), epoch);
        same("the domain", &domain, &head.array("domain")?)?;
        file.cases("cases", |case| {
            runtime.block_on(judged(case, &spec, genesis_validators_root, slot, &registry))
        })
    })
}

#[test]
fn ssz_valid_protocol_invalid() -> Result<(), Failure> {
    let runtime = runtime()?;
    let spec = Arc::new(Spec::mainnet());
    target()?.run("ssz_valid_protocol_invalid", |file| {
        file.cases("cases", |case| {
            let found = match case.optional_ssz("ssz")? {
                None if case.has("see") => case.referred_ssz("see", "ssz")?,
                inline => inline,
            };
            let (ssz, outcome) = match found {
                Some(ssz) => (ssz, Outcome::Run),
                // Named, but not in the folder: the same size is made here.
                None => {
                    let len = spec.max_signed_proof_size() + 1;
                    (
                        Bytes::from(vec![0; len]),
                        Outcome::Partial("the case it refers to is not in the folder"),
                    )
                }
            };
            let verdict = runtime.block_on(async {
                let chain = Arc::new(MemoryChain::new(Arc::clone(&spec), Root::ZERO));
                let proof_type =
                    SignedExecutionProof::from_ssz_bytes(&ssz).map_or(0, |s| s.message.proof_type);
                House::new(chain, proof_type).gossip(&ssz).await
            });
            match (case.text("gossip"), verdict) {
                (Ok("REJECT"), Submission::Decided(Verdict::Reject(_))) => Ok(outcome),
                // What gossip says nothing of waits for its payload like any proof.
                (
                    Err(_),
                    Submission::Parked {
                        reason: ParkReason::UnknownPayload,
                        ..
                    },
                ) => Ok(outcome),
                (gossip, verdict) => Err(format!("gossip {gossip:?}, found {verdict:?}")),
            }
        })
    })
}
