//! The verifier whole: real keys, real roots, real tasks; the chain, the engine and the sinks are in memory, the clock
//! is simulated where time matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use assay_chain::{Chain, ChainEvent};
use assay_types::{
    ExecutionProof, Hash256, ProofKey, ProofType, PublicInput, SignedExecutionProof, Slot, Spec,
    ValidatorIndex,
};
use assay_verification::{
    Candidate, ContainmentRecord, IgnoreReason, Intake, MemoryContainment, NoKnownProofs, ParkReason,
    PeerRef, ProofSink, RejectReason, Source, Submission, Verdict, Verifier, VerifierConfig, VerifierParts,
    Waited,
    testing::{MemoryChain, MemorySink, Registry, ScriptedEngine, sign},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

const SLOT: Slot = Slot(43);
/// Longest a test waits for what must come; with the clock paused it costs nothing.
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    chain: Arc<MemoryChain>,
    engine: Arc<ScriptedEngine>,
    containment: Arc<MemoryContainment>,
    store: Arc<MemorySink>,
    gate: Arc<MemorySink>,
    verifier: Verifier,
    intake: Intake,
}

fn root(n: u8) -> Hash256 {
    Hash256([n; 32])
}

fn key(payload: u8, proof_type: ProofType) -> ProofKey {
    ProofKey {
        new_payload_request_root: root(payload),
        proof_type,
    }
}

fn gossip(peer: u8) -> Source {
    Source::Gossip {
        peer: PeerRef(Arc::from([peer])),
    }
}

/// Payload 1 is known, validators 0 to 3 are active, types 1 and 2 are verified.
fn house_with(config: VerifierConfig) -> House {
    let chain = Arc::new(MemoryChain::new(Arc::new(Spec::minimal()), root(0xaa)));
    chain.add_payload(root(1), SLOT);
    chain.add_interop_validators(0..4);
    chain.set_slot(Slot(44));
    let engine = Arc::new(ScriptedEngine::new([1, 2]));
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

fn house() -> House {
    house_with(VerifierConfig::default())
}

impl House {
    fn signed(&self, key: ProofKey, data: &str, validator: ValidatorIndex) -> SignedExecutionProof {
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

    fn ssz(&self, key: ProofKey, data: &str, validator: ValidatorIndex) -> Candidate {
        Candidate::Ssz(self.signed(key, data, validator).to_ssz_bytes())
    }

    async fn submit(&self, candidate: Candidate, source: Source) -> Submission {
        within(self.intake.submit(candidate, source)).await
    }

    async fn verdict(&self, candidate: Candidate, source: Source) -> Verdict {
        match self.intake.submit_and_wait(candidate, source, PATIENCE).await {
            Waited::Decided(verdict) => verdict,
            Waited::StillWaiting(reason) => panic!("no verdict: {reason:?}"),
        }
    }
}

/// What a parked candidate comes to, in bounded time.
async fn last_word(verdict: oneshot::Receiver<Verdict>) -> Verdict {
    within(verdict).await.expect("everybody is answered")
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it takes too long")
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept(_) => "accept".to_owned(),
        Verdict::Ignore(reason) => format!("ignore {}", reason.label()),
        Verdict::Reject(reason) => format!("reject {}", reason.label()),
    }
}

#[tokio::test]
async fn a_proof_goes_all_the_way() {
    let house = house();
    let signed = house.signed(key(1, 1), "V and some more bytes", 2);
    let ssz = signed.to_ssz_bytes();
    let Submission::Decided(Verdict::Accept(proof)) =
        house.submit(Candidate::Ssz(ssz.clone()), gossip(1)).await
    else {
        panic!("not accepted")
    };
    assert_eq!(*proof.ssz(), ssz);
    assert_eq!(*proof.signed(), signed);
    assert_eq!(
        (proof.key(), proof.slot(), proof.validator_index()),
        (key(1, 1), SLOT, 2)
    );
    let spec = house.chain.spec();
    assert_eq!(
        *proof.proof_root(),
        spec.execution_proof_root(spec.epoch_at_slot(SLOT), &signed.message)
    );
    // The proof's bytes were never copied.
    let (from, data) = (
        ssz.as_ptr() as usize,
        proof.signed().message.proof_data.as_ptr() as usize,
    );
    assert!((from..from + ssz.len()).contains(&data));
    for sink in [&house.store, &house.gate] {
        let kept = sink.proofs();
        assert_eq!(kept.len(), 1);
        assert!(Arc::ptr_eq(&kept[0].0, &proof) && kept[0].1 == gossip(1));
    }
    assert_eq!(house.intake.metrics().snapshot().accepted("gossip"), 1);
}

#[tokio::test]
async fn a_value_from_json_has_its_bytes_afterwards() {
    let house = house();
    let signed = house.signed(key(1, 1), "V", 2);
    let Verdict::Accept(proof) = house
        .verdict(Candidate::Signed(signed.clone()), Source::Http)
        .await
    else {
        panic!("not accepted")
    };
    assert_eq!(*proof.ssz(), signed.to_ssz_bytes());
    assert_eq!(*proof.signed(), signed);
}

#[tokio::test]
async fn the_first_look() {
    let house = house();
    let spec = house.chain.spec();
    let (fit, huge) = (
        spec.max_signed_proof_size(),
        usize::try_from(spec.max_proof_size).unwrap() + 1,
    );
    let message = |len: usize| ExecutionProof {
        proof_data: Bytes::from(vec![1; len]),
        proof_type: 1,
        public_input: PublicInput {
            new_payload_request_root: root(9),
        },
    };
    let signed = |len| SignedExecutionProof {
        message: message(len),
        validator_index: 0,
        signature: Default::default(),
    };
    let whole = house.signed(key(1, 1), "V", 1).to_ssz_bytes();
    let rows = [
        ("no bytes", Candidate::Ssz(Bytes::new()), "reject malformed"),
        (
            "cut short",
            Candidate::Ssz(whole.slice(..100)),
            "reject malformed",
        ),
        (
            "zeros",
            Candidate::Ssz(Bytes::from(vec![0; 300])),
            "reject malformed",
        ),
        (
            "the largest that may be, of nothing",
            Candidate::Ssz(Bytes::from(vec![0; fit])),
            "reject malformed",
        ),
        (
            "one byte more",
            Candidate::Ssz(Bytes::from(vec![0; fit + 1])),
            "reject oversize_proof",
        ),
        (
            "empty, SSZ",
            Candidate::Ssz(signed(0).to_ssz_bytes()),
            "reject empty_proof",
        ),
        ("empty, JSON", Candidate::Signed(signed(0)), "reject empty_proof"),
        (
            "one byte too long, SSZ",
            Candidate::Ssz(signed(huge).to_ssz_bytes()),
            "reject oversize_proof",
        ),
        (
            "one byte too long, JSON",
            Candidate::Signed(signed(huge)),
            "reject oversize_proof",
        ),
    ];
    for (name, candidate, expected) in rows {
        assert_eq!(
            word(&house.verdict(candidate, gossip(1)).await),
            expected,
            "{name}"
        );
    }
    // The largest proof there may be waits for its payload like any other.
    let largest = Candidate::Signed(signed(huge - 1));
    assert!(matches!(
        house.submit(largest, gossip(1)).await,
        Submission::Parked {
            reason: ParkReason::UnknownPayload,
            ..
        }
    ));
    let snapshot = house.intake.metrics().snapshot();
    assert_eq!(snapshot.rejected(RejectReason::EmptyProof), 2);
    assert_eq!(snapshot.rejected(RejectReason::OversizeProof), 3);
    assert_eq!(snapshot.rejected(RejectReason::Malformed), 4);
}

#[tokio::test]
async fn signatures_are_checked_under_the_payloads_domain() {
    let house = house();
    let good = house.signed(key(1, 1), "V", 1);
    let mut other_message = good.clone();
    other_message.message.proof_data = Bytes::from_static(b"W");
    let mut infinity = good.clone();
    infinity.signature.0 = [0; 96];
    infinity.signature.0[0] = 0xc0;
    let mut other_signer = good.clone();
    other_signer.validator_index = 2;
    let (spec, genesis) = (house.chain.spec(), house.chain.genesis());
    let mut elsewhere = genesis;
    elsewhere.genesis_validators_root = root(0xbb);
    let other_network = sign(spec, &elsewhere, key(1, 1), SLOT, Bytes::from_static(b"V"), 1);
    for bad in [other_message, infinity, other_signer, other_network] {
        let verdict = house.verdict(Candidate::Signed(bad), gossip(1)).await;
        assert_eq!(word(&verdict), "reject bad_signature");
    }
    assert_eq!(
        word(&house.verdict(Candidate::Signed(good), gossip(1)).await),
        "accept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_proof_before_its_payload_waits_for_it() {
    let house = house();
    let submission = house.submit(house.ssz(key(2, 1), "V", 1), gossip(1)).await;
    let Submission::Parked {
        reason: ParkReason::UnknownPayload,
        verdict,
    } = submission
    else {
        panic!("not parked: {submission:?}")
    };
    house.chain.add_payload(root(2), SLOT);
    assert_eq!(word(&last_word(verdict).await), "accept");

    let submission = house.submit(house.ssz(key(3, 1), "V", 1), gossip(1)).await;
    let Submission::Parked { verdict, .. } = submission else {
        panic!("not parked: {submission:?}")
    };
    let began = tokio::time::Instant::now();
    assert_eq!(word(&last_word(verdict).await), "ignore unknown_payload");
    assert_eq!(began.elapsed().as_secs(), 48, "an epoch");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_hangs_or_panics_loses_nothing() {
    let house = house();
    house.engine.set_down(true);
    let candidate = house.ssz(key(1, 1), "V", 1);
    let Submission::Parked {
        reason: ParkReason::EngineUnavailable,
        mut verdict,
    } = house.submit(candidate, gossip(1)).await
    else {
        panic!("not parked")
    };
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(verdict.try_recv().is_err(), "no verdict while it is down");
    house.engine.set_down(false);
    assert_eq!(word(&last_word(verdict).await), "accept");

    house.engine.set_delay(Duration::from_secs(3600));
    let Submission::Parked {
        reason: ParkReason::EngineUnavailable,
        verdict,
    } = house.submit(house.ssz(key(1, 2), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    house.engine.set_delay(Duration::ZERO);
    assert_eq!(word(&last_word(verdict).await), "accept");

    house.chain.add_payload(root(2), SLOT);
    assert!(matches!(
        house.submit(house.ssz(key(2, 1), "P", 1), gossip(1)).await,
        Submission::Parked {
            reason: ParkReason::EngineUnavailable,
            ..
        }
    ));
    assert_eq!(
        word(&house.verdict(house.ssz(key(2, 1), "V", 2), gossip(1)).await),
        "accept",
        "others go on"
    );
}

#[tokio::test(start_paused = true)]
async fn validators_that_cannot_be_read_are_asked_again() {
    let house = house();
    for (registry, again) in [(Registry::Unavailable, 1), (Registry::Hangs, 2)] {
        house.chain.set_registry(registry);
        let Submission::Parked {
            reason: ParkReason::ValidatorUnavailable,
            verdict,
        } = house
            .intake
            .submit(house.ssz(key(1, again), "V", 1), gossip(1))
            .await
        else {
            panic!("not parked")
        };
        house.chain.set_registry(Registry::Decisive);
        let began = tokio::time::Instant::now();
        house.chain.tell(ChainEvent::Connected(true));
        assert_eq!(word(&last_word(verdict).await), "accept");
        assert!(
            began.elapsed() < Duration::from_millis(400),
            "told, not waited for"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn missed_chain_events_are_made_up_for() {
    let house = house();
    let Submission::Parked { verdict, .. } = house.submit(house.ssz(key(2, 1), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    house.chain.add_payload(root(2), SLOT);
    // More than the channel holds, before the verifier can look: its payload's event is among the lost.
    for _ in 0..200 {
        house.chain.tell(ChainEvent::Connected(false));
    }
    let began = tokio::time::Instant::now();
    assert_eq!(word(&last_word(verdict).await), "accept");
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "told, not waited for"
    );
}

#[tokio::test]
async fn an_invalid_proof_contains_its_signer() {
    let house = house();
    house.chain.add_payload(root(2), SLOT);
    let verdict = house.verdict(house.ssz(key(1, 1), "I", 1), gossip(1)).await;
    assert_eq!(word(&verdict), "reject invalid_proof");
    assert_eq!(house.containment.contained_until(1), Some(Slot(44 + 64 * 8)));
    let (gossiped, posted) = (house.ssz(key(2, 1), "V", 1), house.ssz(key(2, 1), "V", 1));
    assert_eq!(
        word(&house.verdict(gossiped, gossip(1)).await),
        "ignore contained"
    );
    assert_eq!(word(&house.verdict(posted, Source::Http).await), "accept");
    assert!(
        house
            .store
            .proofs()
            .iter()
            .all(|(proof, _)| proof.key() == key(2, 1))
    );
    assert_eq!(house.intake.metrics().snapshot().contained, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_durable_is_told_to_nobody() {
    let house = house();
    house.store.set_fails(true);
    assert_eq!(
        word(&house.verdict(house.ssz(key(1, 1), "V", 1), gossip(1)).await),
        "ignore internal"
    );
    assert!(house.gate.proofs().is_empty());
    house.store.set_fails(false);
    // Later sinks that fail or hang change no verdict.
    house.gate.set_fails(true);
    assert_eq!(
        word(&house.verdict(house.ssz(key(1, 1), "V", 1), gossip(1)).await),
        "accept"
    );
    house.gate.set_fails(false);
    house.gate.set_delay(Duration::from_secs(3600));
    let began = tokio::time::Instant::now();
    assert_eq!(
        word(&house.verdict(house.ssz(key(1, 2), "V", 1), gossip(1)).await),
        "accept"
    );
    assert_eq!(began.elapsed(), VerifierConfig::default().sink_timeout);
    assert_eq!(house.store.proofs().len(), 2);
    let mut registry = prometheus_client::registry::Registry::default();
    house.verifier.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("sink_errors_total{sink=\"store\"} 1"), "{text}");
    assert!(text.contains("sink_errors_total{sink=\"gate\"} 2"), "{text}");
    assert!(
        text.contains("verdicts_total{source=\"gossip\",verdict=\"accept\",reason=\"\"} 2"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_bytes_from_all_sides_are_verified_once() {
    let house = house();
    house.engine.set_delay(Duration::from_secs(1));
    let ssz = house.signed(key(1, 1), "V", 1).to_ssz_bytes();
    let submissions = (0..20_u8).map(|n| {
        let source = if n % 2 == 0 { gossip(n) } else { Source::Http };
        house.verdict(Candidate::Ssz(Bytes::copy_from_slice(&ssz)), source)
    });
    for verdict in futures::future::join_all(submissions).await {
        assert_eq!(word(&verdict), "accept");
    }
    assert_eq!(house.engine.calls(), (1, 1));
    assert_eq!(house.store.proofs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_proofs_at_once_are_verified_a_few_at_a_time() {
    let house = house_with(VerifierConfig {
        engine_calls: 3,
        ..VerifierConfig::default()
    });
    house.engine.set_delay(Duration::from_millis(100));
    for n in 10..40 {
        house.chain.add_payload(root(n), SLOT);
    }
    let all = (10..40).map(|n| house.verdict(house.ssz(key(n, 1), "V", 1), gossip(n)));
    for verdict in futures::future::join_all(all).await {
        assert_eq!(word(&verdict), "accept");
    }
    assert_eq!(house.engine.calls(), (30, 3));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_no_longer_loses_nothing() {
    let house = house();
    let candidate = house.ssz(key(2, 1), "V", 1);
    let waited = house
        .intake
        .submit_and_wait(candidate, Source::Http, Duration::from_secs(1))
        .await;
    assert!(
        matches!(waited, Waited::StillWaiting(Some(ParkReason::UnknownPayload))),
        "{waited:?}"
    );
    house.chain.add_payload(root(2), SLOT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.store.proofs().len(), 1);
    house.engine.set_delay(Duration::from_secs(5));
    let waited = house
        .intake
        .submit_and_wait(house.ssz(key(1, 1), "V", 1), Source::Http, Duration::from_secs(1))
        .await;
    assert!(matches!(waited, Waited::StillWaiting(None)), "{waited:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(house.store.proofs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_answers_everybody() {
    let house = house();
    let Submission::Parked { verdict, .. } = house.submit(house.ssz(key(2, 1), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    house.engine.set_delay(Duration::from_secs(3600));
    let under_way = tokio::spawn({
        let (intake, candidate) = (house.intake.clone(), house.ssz(key(1, 1), "V", 1));
        async move { intake.submit(candidate, gossip(1)).await }
    });
    // Until it is with the engine.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.engine.calls().0, 1);
    tokio::time::timeout(Duration::from_secs(5), house.verifier.shutdown())
        .await
        .expect("it ends");
    assert_eq!(word(&last_word(verdict).await), "ignore internal");
    let Submission::Decided(verdict) = within(under_way).await.unwrap() else {
        panic!("not decided")
    };
    assert_eq!(word(&verdict), "ignore internal");
    let after = house.verdict(house.ssz(key(1, 2), "V", 1), gossip(1)).await;
    assert_eq!(word(&after), "ignore internal");
    assert!(house.store.proofs().is_empty());
    assert_eq!(
        house.intake.metrics().snapshot().ignored(IgnoreReason::Internal),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_the_store() {
    let house = house();
    house.store.set_delay(Duration::from_secs(3));
    let under_way = tokio::spawn({
        let (intake, candidate) = (house.intake.clone(), house.ssz(key(1, 1), "V", 1));
        async move { intake.submit(candidate, gossip(1)).await }
    });
    // Until it is with the store.
    tokio::time::sleep(Duration::from_secs(1)).await;
    within(house.verifier.shutdown()).await;
    let Submission::Decided(verdict) = within(under_way).await.unwrap() else {
        panic!("not decided")
    };
    assert_eq!(word(&verdict), "accept");
    assert_eq!(house.store.proofs().len(), 1);
    assert_eq!(house.gate.name(), "gate");
}

#[tokio::test(start_paused = true)]
async fn a_flood_stays_within_its_bounds() {
    let house = house();
    house.chain.set_registry(Registry::NotDecisive);
    let limit = i64::try_from(VerifierConfig::default().room.bytes).unwrap();
    let big = Bytes::from(vec![7; 1 << 20]);
    let mut waiting = Vec::new();
    for n in 0..200_u64 {
        let message = ExecutionProof {
            proof_data: big.clone(),
            proof_type: 1 + (n % 2) as u8,
            public_input: PublicInput {
                new_payload_request_root: root((n % 50) as u8),
            },
        };
        let forged = SignedExecutionProof {
            message,
            validator_index: n,
            signature: Default::default(),
        };
        waiting.push(
            house
                .intake
                .submit(Candidate::Signed(forged), gossip((n % 40) as u8))
                .await,
        );
        assert!(house.intake.metrics().snapshot().held_bytes <= limit);
    }
    let honest = house.verdict(house.ssz(key(1, 1), "V", 1), gossip(99)).await;
    assert_eq!(word(&honest), "accept");
    for submission in waiting {
        if let Submission::Parked { verdict, .. } = submission {
            drop(last_word(verdict).await);
        }
    }
    assert_eq!(house.intake.metrics().snapshot().held, 0);
}
