//! A verifier in a world in memory.

pub(crate) use assay_chain::{Chain, ChainEvent, Checkpoint, PayloadInfo};
pub(crate) use assay_types::{
    Epoch, ExecutionProof, Hash256, ProofKey, ProofName, ProofType, PublicInput, Revision,
    SignedExecutionProof, SignedProof, Slot, Spec, StatedInput, ValidatorIndex,
};
pub(crate) use assay_verification::{
    Candidate, ContainmentRecord, IgnoreReason, Intake, MemoryContainment, NoKnownProofs, ParkReason,
    PeerRef, ProofSink, RejectReason, Source, Submission, Verdict, Verifier, VerifierConfig, VerifierParts,
    Waited, message_of,
    testing::{MemoryChain, MemorySink, Registry, ScriptedEngine, sign, sign_envelope},
};
pub(crate) use bytes::Bytes;
pub(crate) use std::{sync::Arc, time::Duration};
pub(crate) use tokio::sync::oneshot;

pub(crate) const SLOT: Slot = Slot(43);
/// Longest a test waits for what must come; with the clock paused it costs nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) chain: Arc<MemoryChain>,
    pub(crate) engine: Arc<ScriptedEngine>,
    pub(crate) containment: Arc<MemoryContainment>,
    pub(crate) store: Arc<MemorySink>,
    pub(crate) gate: Arc<MemorySink>,
    pub(crate) verifier: Verifier,
    pub(crate) intake: Intake,
}

pub(crate) fn root(n: u8) -> Hash256 {
    Hash256([n; 32])
}

pub(crate) fn key(payload: u8, proof_type: ProofType) -> ProofKey {
    ProofKey {
        new_payload_request_root: root(payload),
        proof_type,
    }
}

pub(crate) fn gossip(peer: u8) -> Source {
    Source::Gossip {
        peer: PeerRef(Arc::from([peer])),
    }
}

/// Payload 1 is known, validators 0 to 3 are active, types 1 and 2 are verified.
pub(crate) fn house_with(config: VerifierConfig) -> House {
    house_on(Spec::minimal(), config)
}

pub(crate) fn house_on(spec: Spec, config: VerifierConfig) -> House {
    house_for(spec, config, [1, 2])
}

/// The same with an engine for these types.
pub(crate) fn house_for(spec: Spec, config: VerifierConfig, types: impl Into<Vec<ProofType>>) -> House {
    let chain = Arc::new(MemoryChain::new(Arc::new(spec), root(0xaa)));
    chain.add_payload(root(1), SLOT);
    chain.add_interop_validators(0..4);
    chain.set_slot(Slot(44));
    let engine = Arc::new(ScriptedEngine::new(types));
    let containment = Arc::new(MemoryContainment::default());
    let (store, gate) = (
        Arc::new(MemorySink::new("store")),
        Arc::new(MemorySink::new("gate")),
    );
    let verifier = Verifier::start(
        config,
        VerifierParts {
            chain: chain.clone(),
            engine: engine.clone(),
            known: Arc::new(NoKnownProofs),
            containment: containment.clone(),
            store: store.clone(),
        },
    );
    verifier.add_sink(gate.clone());
    let intake = verifier.intake();
    House {
        chain,
        engine,
        containment,
        store,
        gate,
        verifier,
        intake,
    }
}

pub(crate) fn house() -> House {
    house_with(VerifierConfig::default())
}

impl House {
    pub(crate) fn signed(
        &self,
        key: ProofKey,
        data: &str,
        validator: ValidatorIndex,
    ) -> SignedExecutionProof {
        let data = Bytes::copy_from_slice(data.as_bytes());
        sign(
            self.chain.spec(),
            &self.chain.genesis(),
            key,
            SLOT,
            data,
            validator,
        )
    }

    pub(crate) fn ssz(&self, key: ProofKey, data: &str, validator: ValidatorIndex) -> Candidate {
        Candidate::Ssz(self.signed(key, data, validator).to_ssz_bytes())
    }

    pub(crate) async fn submit(&self, candidate: Candidate, source: Source) -> Submission {
        within(self.intake.submit(candidate, source)).await
    }

    pub(crate) async fn verdict(&self, candidate: Candidate, source: Source) -> Verdict {
        match self.intake.submit_and_wait(candidate, source, PATIENCE).await {
            Waited::Decided(verdict) => verdict,
            Waited::StillWaiting(reason) => panic!("no verdict: {reason:?}"),
        }
    }
}

/// What a parked candidate comes to, in bounded time.
pub(crate) async fn last_word(verdict: oneshot::Receiver<Verdict>) -> Verdict {
    within(verdict).await.expect("everybody is answered")
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it takes too long")
}

pub(crate) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept(_) => "accept".to_owned(),
        Verdict::Ignore(reason) => format!("ignore {}", reason.label()),
        Verdict::Reject(reason) => format!("reject {}", reason.label()),
    }
}
