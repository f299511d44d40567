//! The verifier over the store: what a restart leaves of the envelopes that were accepted.

use super::support::{TestStore, block_root, config, payload, root};
use assay_chain::Chain;
use assay_types::{ProofKey, Revision, SignedProof, Slot, Spec};
use assay_verification::{
    Candidate, IgnoreReason, KnownProofs, MemoryContainment, ParkReason, PeerRef, Source, Submission,
    Verdict, Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, ScriptedEngine, sign_envelope},
};
use std::sync::Arc;

const SLOT: Slot = Slot(3);

/// One life of a process: a verifier on the store.
struct Life {
    chain: Arc<MemoryChain>,
    engine: Arc<ScriptedEngine>,
    verifier: Verifier,
}

impl Life {
    fn begin(t: &TestStore) -> Self {
        let mut spec = Spec::minimal();
        spec.revision = Revision::Beta;
        spec.revision_by_fork.clear();
        let chain = Arc::new(MemoryChain::new(Arc::new(spec), root(1, 1)));
        chain.add_interop_validators(0..4);
        let engine = Arc::new(ScriptedEngine::new([1]));
        let store = Arc::new(t.store().clone());
        let parts = VerifierParts {
            chain: chain.clone(),
            engine: engine.clone(),
            known: store.clone(),
            containment: Arc::new(MemoryContainment::default()),
            store,
        };
        let verifier = Verifier::start(VerifierConfig::default(), parts);
        Self {
            chain,
            engine,
            verifier,
        }
    }

    /// Block 3 with this payload.
    fn meets(&self, of: u64) {
        self.chain.add_payload(payload(of), SLOT);
        self.chain.add_block_of(block_root(3), SLOT, payload(of));
    }

    fn envelope(&self) -> SignedProof {
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        let proof = vec![b'V'; 100].into();
        sign_envelope(spec, &genesis, block_root(3), 1, SLOT, proof, 2)
    }

    async fn gossip(&self) -> Submission {
        let peer = PeerRef(Arc::new([1]));
        let candidate = Candidate::signed(self.envelope());
        self.verifier
            .intake()
            .submit(candidate, Source::Gossip { peer })
            .await
    }
}

fn is_accepted(said: &Submission) -> bool {
    matches!(said, Submission::Decided(Verdict::Accept(_)))
}

fn is_known(said: &Submission) -> bool {
    matches!(
        said,
        Submission::Decided(Verdict::Ignore(IgnoreReason::AlreadyValid))
    )
}

fn proven(t: &TestStore, of: u64) -> bool {
    t.store().has_valid(&ProofKey {
        new_payload_request_root: payload(of),
        proof_type: 1,
    })
}

/// Nothing follows the chain here: the kill comes before the block's row, every time.
#[test]
fn an_envelope_is_known_after_a_restart_as_what_it_proves_and_else_verified_anew() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut t = TestStore::new(config());
    runtime.block_on(async {
        let life = Life::begin(&t);
        life.meets(3);
        assert!(is_accepted(&life.gossip().await));
        assert!(is_known(&life.gossip().await));
        life.verifier.shutdown().await;
        drop(life);
        t.reopen();

        // Before its block is met nobody knows what it would prove now: it waits, and is not ignored for ever.
        let life = Life::begin(&t);
        assert!(proven(&t, 3), "what it proves is on disk with it");
        let Submission::Parked { reason, verdict } = life.gossip().await else {
            panic!("its block is not known");
        };
        assert_eq!(reason, ParkReason::UnknownPayload);
        life.meets(3);
        let verdict = verdict.await.unwrap();
        assert!(
            matches!(verdict, Verdict::Ignore(IgnoreReason::AlreadyValid)),
            "{verdict:?}"
        );
        assert!(is_known(&life.gossip().await));
        assert_eq!(life.engine.calls().0, 0, "it was verified in the life before");
        life.verifier.shutdown().await;
        drop(life);
        t.reopen();

        // Another form of the request root: of that payload nothing was proven.
        let life = Life::begin(&t);
        life.meets(30);
        assert!(!proven(&t, 30));
        let said = life.gossip().await;
        assert!(is_accepted(&said), "{said:?}");
        assert_eq!(life.engine.calls().0, 1);
        assert!(proven(&t, 30) && !proven(&t, 3));
        assert!(is_known(&life.gossip().await));
        life.verifier.shutdown().await;
    });
}
