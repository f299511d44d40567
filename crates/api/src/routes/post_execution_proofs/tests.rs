#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use assay_types::{ProofKey, SignedExecutionProof, Spec};
use assay_verification::{
    MemoryContainment, RoomLimits, Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, MemorySink, ScriptedEngine, sign, sign_envelope},
};
use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
struct House {
    chain: Arc<MemoryChain>,
    store: Arc<MemorySink>,
    engine: Arc<ScriptedEngine>,
    verifier: Verifier,
}

impl House {
    /// Payload 1 is known; one candidate at a time has room.
    fn new(candidates: usize) -> Self {
        Self::on(Spec::minimal(), candidates)
    }

    fn on(spec: Spec, candidates: usize) -> Self {
        let chain = Arc::new(MemoryChain::new(Arc::new(spec), Root::from([7; 32])));
        chain.add_interop_validators(0..4);
        chain.add_payload(Root::from([1; 32]), Slot(3));
        let engine = Arc::new(ScriptedEngine::new([1]));
        let store = Arc::new(MemorySink::new("store"));
        let config = VerifierConfig {
            room: RoomLimits {
                candidates,
                ..RoomLimits::default()
            },
            ..VerifierConfig::default()
        };
        let parts = VerifierParts {
            chain: chain.clone(),
            engine: engine.clone(),
            known: store.clone(),
            containment: Arc::new(MemoryContainment::default()),
            store: store.clone(),
        };
        Self {
            chain,
            store,
            engine,
            verifier: Verifier::start(config, parts),
        }
    }

    fn proof(&self, payload: u8, validator: u64) -> SignedExecutionProof {
        let key = ProofKey {
            new_payload_request_root: Root::from([payload; 32]),
            proof_type: 1,
        };
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        sign(spec, &genesis, key, Slot(3), vec![b'V'; 10].into(), validator)
    }

    fn envelope(&self, block: u8, validator: u64) -> SignedProof {
        self.envelope_at(block, validator, Slot(3))
    }

    fn envelope_at(&self, block: u8, validator: u64, slot: Slot) -> SignedProof {
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        let root = Root::from([block; 32]);
        sign_envelope(spec, &genesis, root, 1, slot, vec![b'V'; 10].into(), validator)
    }

    async fn post(&self, proofs: &[SignedExecutionProof]) -> Result<(), ApiError> {
        self.post_all(proofs.iter().cloned().map(Candidate::signed).collect())
            .await
    }

    async fn post_all(&self, candidates: Vec<Candidate>) -> Result<(), ApiError> {
        let found = candidates.into_iter().map(Ok).collect();
        answer(
            self.chain.as_ref(),
            &self.verifier.intake(),
            None,
            found,
            Duration::from_millis(300),
        )
        .await
    }
}

#[tokio::test]
async fn full_queues_are_503_with_the_place_of_what_was_not_taken() {
    let house = House::new(1);
    house.engine.set_delay(Duration::from_secs(60));
    let first = house.post(&[house.proof(1, 1)]).await.unwrap_err();
    assert_eq!(first.code, 503, "still being judged: {first:?}");
    let full = house
        .post(&[house.proof(1, 2), house.proof(1, 3)])
        .await
        .unwrap_err();
    assert_eq!(full.code, 503, "{full:?}");
    let failures: Vec<_> = full
        .failures
        .iter()
        .map(|f| (f.index, f.message.as_str()))
        .collect();
    let overloaded = IgnoreReason::Overloaded.to_string();
    assert_eq!(failures, [(0, overloaded.as_str()), (1, overloaded.as_str())]);
    let response = full.into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn an_alpha_proof_that_names_a_beacon_block_is_refused_with_the_reason() {
    let house = House::new(16);
    house.chain.add_block(Root::from([8; 32]), Slot(3));
    let refused = house
        .post(&[house.proof(1, 1), house.proof(8, 1)])
        .await
        .unwrap_err();
    assert_eq!((refused.code, refused.failures[0].index), (400, 1), "{refused:?}");
    assert!(
        refused.failures[0].message.contains("is a beacon block root"),
        "{refused:?}"
    );
    // Where the payload is known by this very name it is one.
    house.chain.add_payload(Root::from([8; 32]), Slot(3));
    house.post(&[house.proof(8, 1)]).await.unwrap();
    house.verifier.shutdown().await;
}

/// As a prover of revision `beta` posts it to a node whose fork has `alpha`.
#[tokio::test]
async fn an_envelope_where_alpha_holds_is_refused() {
    let house = House::new(16);
    house
        .chain
        .add_block_of(Root::from([8; 32]), Slot(3), Root::from([1; 32]));
    let envelope = house.envelope(8, 1);
    for candidate in [
        Candidate::Ssz(envelope.to_ssz_bytes()),
        Candidate::signed(envelope.clone()),
    ] {
        let refused = house.post_all(vec![candidate]).await.unwrap_err();
        let says = IgnoreReason::WrongRevision.to_string();
        assert_eq!((refused.code, &refused.failures[0].message), (400, &says));
    }
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn of_ssz_what_is_named_or_the_header_or_the_present_fork_says_the_revision() {
    let house = House::on(gloas_at_slot_16(), 16);
    house
        .chain
        .add_block_of(Root::from([8; 32]), Slot(17), Root::from([2; 32]));
    let revision = |root: u8, said| {
        let ssz = house.proof(root, 1).to_ssz_bytes();
        match of_revision(house.chain.as_ref(), said, Candidate::Ssz(ssz)) {
            Ok(Told::Apart(Candidate::Envelope(_))) => Ok(Some(Revision::Beta)),
            Ok(Told::Apart(_)) => Ok(Some(Revision::Alpha)),
            Ok(Told::Unsure(_)) => Ok(None),
            Err(why) => Err(why),
        }
    };
    let (alpha, beta) = (Ok(Some(Revision::Alpha)), Ok(Some(Revision::Beta)));
    let (fulu, gloas) = (Some(ForkName::Fulu), Some(ForkName::Gloas));
    // The slot before the fork takes the next one for possible, the epoch after it the last one.
    for (slot, unknown) in [
        (14, &alpha),
        (15, &Ok(None)),
        (16, &Ok(None)),
        (23, &Ok(None)),
        (24, &beta),
    ] {
        house.chain.set_slot(Slot(slot));
        assert_eq!(revision(99, None), *unknown, "slot {slot}");
        for said in [None, fulu] {
            assert_eq!(revision(1, said), alpha, "a payload");
        }
        for said in [None, gloas] {
            assert_eq!(revision(8, said), beta, "a block");
        }
        assert_eq!(
            (revision(99, fulu), revision(99, gloas)),
            (alpha.clone(), beta.clone())
        );
        // What is known and contradicts.
        for (root, said, says) in [(1, gloas, "says gloas"), (8, fulu, "says fulu")] {
            let why = revision(root, said).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
    for (name, fork) in [
        ("gloas", Ok(gloas)),
        ("Fulu", Ok(fulu)),
        ("", Err(400)),
        ("delta", Err(400)),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("eth-consensus-version", name.parse().unwrap());
        assert_eq!(consensus_version(&headers).map_err(|e| e.code), fork, "{name}");
    }
    assert_eq!(consensus_version(&HeaderMap::new()).ok(), Some(None));
    // JSON says what it is, and a header that says something else is wrong.
    let envelope = house.envelope_at(8, 1, Slot(17));
    for (candidate, said, is_good) in [
        (Candidate::signed(envelope.clone()), gloas, true),
        (Candidate::signed(envelope), fulu, false),
        (Candidate::signed(house.proof(1, 1)), fulu, true),
        (Candidate::signed(house.proof(1, 1)), gloas, false),
    ] {
        let told = of_revision(house.chain.as_ref(), said, candidate);
        assert_eq!(told.is_ok(), is_good, "{said:?}");
    }
    let found = vec![Ok(Candidate::Ssz(house.proof(1, 1).to_ssz_bytes()))];
    let intake = house.verifier.intake();
    let refused = answer(
        house.chain.as_ref(),
        &intake,
        gloas,
        found,
        Duration::from_millis(300),
    )
    .await;
    assert_eq!(refused.unwrap_err().code, 400);
    // Both in one request.
    let mut gloas = house.envelope_at(8, 1, Slot(17));
    house
        .post_all(vec![
            Candidate::Ssz(house.proof(1, 1).to_ssz_bytes()),
            Candidate::Ssz(gloas.to_ssz_bytes()),
        ])
        .await
        .unwrap();
    gloas.message.proof_type = 9;
    let refused = house.post_all(vec![Candidate::signed(gloas)]).await.unwrap_err();
    assert_eq!(
        refused.failures[0].message,
        assay_verification::RejectReason::UnsupportedType.to_string()
    );
    house.verifier.shutdown().await;
}

/// Minimal preset, eight slots an epoch; `beta` from Gloas on, which begins in epoch 2.
fn gloas_at_slot_16() -> Spec {
    let mut spec = Spec::minimal();
    spec.revision_by_fork.insert(ForkName::Gloas, Revision::Beta);
    for entry in &mut spec.fork_schedule {
        if entry.0 == ForkName::Gloas {
            entry.2 = assay_types::Epoch(2);
        }
    }
    spec
}

/// The last payload before the fork comes late: without a header its proof is no envelope though the fork has begun.
#[tokio::test]
async fn near_the_fork_what_is_named_is_waited_for_and_a_guess_is_called_one() {
    let house = House::on(gloas_at_slot_16(), 16);
    house.chain.set_slot(Slot(16));
    let late = {
        let key = ProofKey {
            new_payload_request_root: Root::from([5; 32]),
            proof_type: 1,
        };
        let (spec, genesis) = (house.chain.spec(), house.chain.genesis());
        sign(spec, &genesis, key, Slot(15), vec![b'V'; 10].into(), 1).to_ssz_bytes()
    };
    let comes = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        house.chain.add_payload(Root::from([5; 32]), Slot(15));
    };
    let (posted, ()) = tokio::join!(house.post_all(vec![Candidate::Ssz(late.clone())]), comes);
    posted.unwrap();
    let envelope = house.envelope_at(9, 1, Slot(16)).to_ssz_bytes();
    let guessed = house.post_all(vec![Candidate::Ssz(envelope)]).await.unwrap_err();
    assert_eq!(guessed.code, 503);
    let why = &guessed.failures[0].message;
    assert!(why.contains("Eth-Consensus-Version"), "{why}");
    // It waits as what it was taken for.
    house
        .chain
        .add_block_of(Root::from([9; 32]), Slot(16), Root::from([6; 32]));
    house.chain.add_payload(Root::from([6; 32]), Slot(16));
    let envelope = house.envelope_at(9, 1, Slot(16));
    house.post_all(vec![Candidate::signed(envelope)]).await.unwrap();
    // Garbage is refused, not waited for.
    let began = Instant::now();
    let refused = house
        .post_all(vec![Candidate::Ssz(Bytes::from_static(b"no proof"))])
        .await;
    assert_eq!(refused.unwrap_err().code, 400);
    assert!(began.elapsed() < Duration::from_millis(250));
    house.verifier.shutdown().await;
}

/// `List[SignedExecutionProofEnvelope, 4]`; what `alpha` lists is held to 64 elsewhere.
#[tokio::test]
async fn a_fifth_envelope_is_one_too_many_and_none_is_looked_at() {
    let house = House::on(gloas_at_slot_16(), 64);
    house.chain.set_slot(Slot(32));
    for block in 20..30 {
        let (block, payload) = (Root::from([block; 32]), Root::from([block + 100; 32]));
        house.chain.add_block_of(block, Slot(17), payload);
        house.chain.add_payload(payload, Slot(17));
    }
    let envelope = |block| house.envelope_at(block, 1, Slot(17));
    let ssz = |block| Candidate::Ssz(envelope(block).to_ssz_bytes());
    let json = |block| Candidate::signed(envelope(block));
    let proofs = || (0..6).map(|_| Candidate::signed(house.proof(1, 1)));
    let too_many = "more than 4 envelopes in one request (MAX_EXECUTION_PROOFS_PER_PAYLOAD)";
    for (what, list) in [
        ("SSZ", (20..25).map(ssz).collect::<Vec<_>>()),
        ("JSON", (20..25).map(json).collect()),
        ("of blocks nobody knows", (90..95).map(ssz).collect()),
        ("beside proofs", proofs().chain((20..25).map(json)).collect()),
    ] {
        let refused = house.post_all(list).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (400, too_many),
            "{what}"
        );
        assert!(refused.failures.is_empty(), "{what}");
    }
    assert!(house.store.proofs().is_empty());
    house.post_all((20..24).map(ssz).collect()).await.unwrap();
    let several = proofs().chain((24..28).map(json)).collect();
    house.post_all(several).await.unwrap();
    // Near the fork SSZ without a header turns out to be envelopes one by one: four of them.
    house.chain.set_slot(Slot(16));
    let refused = house.post_all((40..46).map(ssz).collect()).await.unwrap_err();
    let beyond = refused.failures.iter().filter(|f| f.message == too_many);
    assert_eq!((refused.code, beyond.count()), (400, 2), "{refused:?}");
    house.verifier.shutdown().await;
}

/// Whoever hangs up while its proof waits to be told apart has posted it.
#[tokio::test]
async fn what_was_read_is_judged_though_the_caller_hangs_up() {
    let house = House::on(gloas_at_slot_16(), 16);
    house.chain.set_slot(Slot(16));
    let (chain, intake) = (house.chain.clone(), house.verifier.intake());
    let ssz = house.envelope_at(9, 1, Slot(16)).to_ssz_bytes();
    let places = Arc::new(tokio::sync::Semaphore::new(1));
    let place = places.clone().acquire_owned().await.unwrap();
    let posted = detached(place, async move {
        let patience = Duration::from_secs(60);
        answer(
            chain.as_ref(),
            &intake,
            None,
            vec![Ok(Candidate::Ssz(ssz))],
            patience,
        )
        .await
    });
    let hung_up = tokio::time::timeout(Duration::from_millis(50), posted).await;
    assert!(hung_up.is_err(), "{hung_up:?}");
    assert_eq!(places.available_permits(), 0, "its place is still taken");
    house.chain.add_payload(Root::from([6; 32]), Slot(16));
    house
        .chain
        .add_block_of(Root::from([9; 32]), Slot(16), Root::from([6; 32]));
    // When it is free again, it has been judged.
    let free = tokio::time::timeout(Duration::from_secs(20), places.acquire()).await;
    drop(free.unwrap().unwrap());
    assert_eq!(house.store.proofs().len(), 1);
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn each_is_judged_by_itself_though_its_payload_is_proven() {
    let house = House::new(16);
    let good = house.proof(1, 1);
    house.post(std::slice::from_ref(&good)).await.unwrap();
    let mut forged = good.clone();
    forged.signature.0[5] ^= 1;
    let refused = house
        .post(&[good.clone(), forged, house.proof(1, 2), house.proof(2, 1)])
        .await
        .unwrap_err();
    let places: Vec<_> = refused.failures.iter().map(|f| f.index).collect();
    assert_eq!((refused.code, places), (400, vec![1, 3]), "{refused:?}");
    assert_eq!(house.post(&[house.proof(3, 1)]).await.unwrap_err().code, 503);
    house.verifier.shutdown().await;
}
