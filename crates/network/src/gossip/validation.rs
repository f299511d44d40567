//! From a gossip message to a verdict, and what gossipsub is told of it.

use super::{
    TopicSchedule,
    rooms::{Permit, Room, Rooms},
};
use crate::counters::{Counters, VerdictLabels};
use assay_chain::Chain;
use assay_types::{ForkDigest, ProofName, ProofType, Revision, SignedProof, Slot};
use assay_verification::{
    Candidate, IgnoreReason, Intake, KnownProofs, PeerRef, Source, Submission, Verdict, VerifiedProof,
};
use bytes::Bytes;
use libp2p::{
    PeerId,
    gossipsub::{MessageAcceptance, MessageId},
};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What says whether a message may bring something new: whose loss would be this node's.
pub(crate) struct Wanted {
    pub(crate) known: Arc<dyn KnownProofs>,
    /// The types that are verified.
    pub(crate) proof_types: Vec<ProofType>,
}

/// A message that gossipsub has not seen before.
pub(crate) struct GossipMessage {
    pub(crate) id: MessageId,
    pub(crate) peer: PeerId,
    /// Of the topic it came on.
    pub(crate) digest: ForkDigest,
    pub(crate) ssz: Bytes,
}

impl GossipMessage {
    fn source(&self) -> Source {
        Source::Gossip {
            peer: PeerRef(self.peer.to_bytes().into()),
        }
    }
}

/// What to tell gossipsub of a message, and what else follows from its verdict.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) id: MessageId,
    pub(crate) peer: PeerId,
    pub(crate) acceptance: MessageAcceptance,
    /// A good proof that came on another digest's topic: published on its own.
    pub(crate) misplaced: Option<Arc<VerifiedProof>>,
    /// Ignored because a proof like it, perhaps the same, is known: this node may be about to publish it (`echo`).
    pub(crate) like_is_known: bool,
    /// Bytes of the message, unpacked.
    pub(crate) len: usize,
}

/// Gives messages to the verifier and its verdicts back to the host.
pub(crate) struct Validation {
    intake: Intake,
    chain: Arc<dyn Chain>,
    schedule: TopicSchedule,
    reports: mpsc::Sender<Report>,
    counters: Counters,
    wanted: Wanted,
    rooms: Rooms,
}

impl Validation {
    pub(crate) fn new(
        intake: Intake,
        chain: Arc<dyn Chain>,
        wanted: Wanted,
        schedule: TopicSchedule,
        reports: mpsc::Sender<Report>,
        counters: Counters,
    ) -> Arc<Self> {
        Arc::new(Self {
            intake,
            chain,
            schedule,
            reports,
            counters,
            wanted,
            rooms: Rooms::default(),
        })
    }

    /// Whether a message names a known payload that has no valid proof of that type yet, and a validator whose proof would
    /// be judged. Look-ups alone, nothing is hashed. Nobody has signed what a message names until its signature is
    /// checked: whoever names a payload, or a validator that is neither contained nor has tried, falsely has it rejected,
    /// which costs more than a flood does; what names one that is contained or has tried costs its peer nothing, and so
    /// has no claim to anything.
    pub(crate) fn is_wanted(&self, digest: ForkDigest, ssz: &Bytes) -> bool {
        self.wanted_as(digest, ssz).is_some()
    }

    /// The name of a message that is wanted.
    fn wanted_as(&self, digest: ForkDigest, ssz: &Bytes) -> Option<ProofName> {
        let proof = self.read(digest, ssz)?;
        let name = proof.name();
        let is_wanted = self.wanted.proof_types.contains(&name.proof_type)
            && payload_of(self.chain.as_ref(), &name)
                .is_some_and(|payload| !self.wanted.known.has_valid_named(&name, &payload))
            && self.intake.turns_away(&name, proof.validator_index).is_none();
        is_wanted.then_some(name)
    }

    /// The topic says the revision: the bytes do not.
    fn read(&self, digest: ForkDigest, ssz: &Bytes) -> Option<SignedProof> {
        SignedProof::from_ssz_bytes(ssz, self.schedule.revision_of(digest)).ok()
    }

    /// The slot of the payload or block that is named, where it is known.
    fn slot_of(&self, name: &ProofName) -> Option<Slot> {
        match name.revision {
            Revision::Alpha => self.chain.payload(&name.root).map(|payload| payload.slot),
            Revision::Beta => self.chain.block(&name.root).map(|block| block.slot),
        }
    }

    fn candidate(&self, message: &GossipMessage) -> Candidate {
        Candidate::ssz(self.schedule.revision_of(message.digest), message.ssz.clone())
    }

    /// The report of a message that is bad by itself, on whichever topic, whatever it names and however much is being judged:
    /// REJECT, before any look-up (protocol.md section 4). Asked before `begin`.
    pub(crate) fn bad_by_itself(&self, message: &GossipMessage) -> Option<Report> {
        let candidate = self.candidate(message);
        let reason = self.intake.structural_fault(&candidate, &message.source())?;
        Some(self.report(message, Verdict::Reject(reason)))
    }

    /// Starts judging a message; its report comes over the channel. Where too much is being judged already, what is
    /// wanted waits in line; of the rest the report is returned at once: IGNORE.
    pub(crate) fn begin(self: &Arc<Self>, message: GossipMessage) -> Option<Report> {
        let wanted = self.wanted_as(message.digest, &message.ssz);
        let room = self.rooms.take(message.peer, message.ssz.len(), wanted);
        if matches!(room, Room::Full) {
            return Some(self.report(&message, Verdict::Ignore(IgnoreReason::Overloaded)));
        }
        let this = Arc::clone(self);
        this.counters.undecided.inc();
        tokio::spawn(async move {
            let permit = match room {
                Room::Here(permit) => Some(permit),
                Room::InLine(place) => place.room().await,
                Room::Full => None,
            };
            let report = match permit {
                Some(permit) => this.judge(message, permit).await,
                None => this.report(&message, Verdict::Ignore(IgnoreReason::Overloaded)),
            };
            this.counters.undecided.dec();
            // Fails only when the host has ended, and then nobody is left to tell.
            let _ = this.reports.send(report).await;
        });
        None
    }

    async fn judge(&self, message: GossipMessage, permit: Permit) -> Report {
        if self
            .digest_of_known_payload(&message)
            .is_some_and(|digest| digest != message.digest)
        {
            return self.wrong_digest(&message, None);
        }
        let judging = self.intake.submit(self.candidate(&message), message.source());
        let verdict = match judging.await {
            Submission::Decided(verdict) => verdict,
            Submission::Parked { reason, verdict } => {
                // From here on the waiting room bounds it.
                drop(permit);
                self.counters.parked.inc();
                tracing::debug!(peer = %message.peer, %reason, "gossip message waits");
                verdict.await.unwrap_or(Verdict::Ignore(IgnoreReason::Internal))
            }
        };
        match verdict {
            Verdict::Accept(proof) if self.schedule.digest_at_slot(proof.slot()) != message.digest => {
                self.wrong_digest(&message, Some(proof))
            }
            verdict => self.report(&message, verdict),
        }
    }

    /// The digest a message should have come on, where its payload is known already: before anything is recorded as
    /// seen, so that a message on the wrong topic takes nothing from the same proof on the right one.
    fn digest_of_known_payload(&self, message: &GossipMessage) -> Option<ForkDigest> {
        let name = self.read(message.digest, &message.ssz)?.name();
        let slot = self.slot_of(&name).or_else(|| {
            // Of the other revision: then it is its topic that is wrong.
            let other = match name.revision {
                Revision::Alpha => Revision::Beta,
                Revision::Beta => Revision::Alpha,
            };
            self.slot_of(&ProofName {
                revision: other,
                ..name
            })
        })?;
        Some(self.schedule.digest_at_slot(slot))
    }

    /// IGNORE: an honest peer may see the fork schedule differently for a while. A proof that turned out good is
    /// published on its own digest, because this node now ignores the same proof when it comes on the right topic.
    fn wrong_digest(&self, message: &GossipMessage, misplaced: Option<Arc<VerifiedProof>>) -> Report {
        self.counters.wrong_digest.inc();
        tracing::debug!(peer = %message.peer, topic = %message.digest, "gossip message on another fork's topic");
        Report {
            id: message.id.clone(),
            peer: message.peer,
            acceptance: MessageAcceptance::Ignore,
            misplaced,
            like_is_known: false,
            len: message.ssz.len(),
        }
    }

    fn report(&self, message: &GossipMessage, verdict: Verdict) -> Report {
        let labels = VerdictLabels::from(&verdict);
        self.counters.verdict(labels);
        tracing::debug!(peer = %message.peer, message_id = %message.id, verdict = labels.verdict,
            reason = labels.reason, "gossip message judged");
        let like_is_known = matches!(
            verdict,
            Verdict::Ignore(
                IgnoreReason::AlreadyValid | IgnoreReason::SeenProof | IgnoreReason::SeenFromValidator
            )
        );
        let acceptance = match verdict {
            Verdict::Accept(_) => MessageAcceptance::Accept,
            Verdict::Ignore(_) => MessageAcceptance::Ignore,
            Verdict::Reject(_) => MessageAcceptance::Reject,
        };
        Report {
            id: message.id.clone(),
            peer: message.peer,
            acceptance,
            misplaced: None,
            like_is_known,
            len: message.ssz.len(),
        }
    }
}

/// The payload that is named, where that can be judged: of a block whose payload is not there (Gloas: it may never come)
/// nothing can, so nothing it brings is rejected either.
fn payload_of(chain: &dyn Chain, name: &ProofName) -> Option<assay_types::Root> {
    match name.revision {
        Revision::Alpha => chain.payload(&name.root).map(|_| name.root),
        Revision::Beta => chain.block(&name.root)?.new_payload_request_root,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::{Epoch, ForkName, ProofKey, Root, Spec};
    use assay_verification::{
        MemoryContainment, Verifier, VerifierConfig, VerifierParts,
        testing::{MemoryChain, MemorySink, ScriptedEngine, sign, sign_envelope},
    };
    use std::time::Duration;

    fn root(n: u8) -> Root {
        Root::from([n; 32])
    }

    /// Gloas from epoch 1 on: slot 7 is of Fulu, slot 8 of Gloas.
    const FULU: Slot = Slot(7);
    const GLOAS: Slot = Slot(8);

    /// Payload 1 of Fulu, and block 8 of Gloas with payload 2; types 1 and 2 are verified.
    struct House {
        chain: Arc<MemoryChain>,
        engine: Arc<ScriptedEngine>,
        verifier: Verifier,
        validation: Arc<Validation>,
        reports: mpsc::Receiver<Report>,
    }

    impl House {
        fn new() -> Self {
            let mut spec = Spec::minimal();
            for entry in &mut spec.fork_schedule {
                if entry.0 == ForkName::Gloas {
                    entry.2 = Epoch(1);
                }
            }
            let chain = Arc::new(MemoryChain::new(Arc::new(spec), root(7)));
            chain.add_interop_validators(0..4);
            chain.add_payload(root(1), FULU);
            chain.add_block_of(root(8), GLOAS, root(2));
            chain.set_slot(GLOAS);
            let store = Arc::new(MemorySink::new("store"));
            let engine = Arc::new(ScriptedEngine::new([1, 2]));
            let parts = VerifierParts {
                chain: chain.clone(),
                engine: engine.clone(),
                known: store.clone(),
                containment: Arc::new(MemoryContainment::default()),
                store: store.clone(),
            };
            let verifier = Verifier::start(VerifierConfig::default(), parts);
            let (send, reports) = mpsc::channel(8);
            let wanted = Wanted {
                known: store,
                proof_types: vec![1, 2],
            };
            let validation = Validation::new(
                verifier.intake(),
                chain.clone(),
                wanted,
                TopicSchedule::new(chain.spec(), &root(7)),
                send,
                Counters::default(),
            );
            Self {
                chain,
                engine,
                verifier,
                validation,
                reports,
            }
        }

        /// SSZ of a proof of payload `n` in `alpha`'s words, of a payload of `slot`.
        fn alpha(&self, n: u8, slot: Slot) -> Bytes {
            self.signed(n, slot, 1, b"V", 1)
        }

        fn signed(&self, n: u8, slot: Slot, proof_type: u8, data: &'static [u8], validator: u64) -> Bytes {
            let key = ProofKey {
                new_payload_request_root: root(n),
                proof_type,
            };
            let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
            sign(spec, &genesis, key, slot, Bytes::from_static(data), validator).to_ssz_bytes()
        }

        fn envelope(&self, block: u8, slot: Slot) -> Bytes {
            let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
            sign_envelope(spec, &genesis, root(block), 1, slot, Bytes::from_static(b"V"), 1).to_ssz_bytes()
        }

        /// What gossipsub is told of a message on the topic of `topic`'s digest.
        async fn hears(&mut self, topic: Slot, ssz: Bytes) -> Report {
            let message = self.message(topic, ssz);
            let at_once = self.validation.bad_by_itself(&message);
            match at_once.or_else(|| self.validation.begin(message)) {
                Some(report) => report,
                None => self.report().await,
            }
        }

        fn message(&self, topic: Slot, ssz: Bytes) -> GossipMessage {
            GossipMessage {
                id: MessageId::from(vec![0]),
                peer: PeerId::random(),
                digest: self.validation.schedule.digest_at_slot(topic),
                ssz,
            }
        }

        async fn report(&mut self) -> Report {
            tokio::time::timeout(Duration::from_secs(20), self.reports.recv())
                .await
                .unwrap()
                .unwrap()
        }

        fn wrong_digests(&self) -> u64 {
            self.validation.counters.wrong_digest.get()
        }
    }

    /// The topic says the revision; on the other fork's topic a message is ignored, and takes nothing from the same message
    /// on its own.
    #[tokio::test]
    async fn at_the_boundary_each_topic_has_its_own_revision() {
        use MessageAcceptance::{Accept, Ignore};
        let mut house = House::new();
        let (alpha, envelope) = (house.alpha(1, FULU), house.envelope(8, GLOAS));
        for (topic, ssz, acceptance, wrong) in [
            (GLOAS, &alpha, Ignore, 1),
            (FULU, &envelope, Ignore, 2),
            (FULU, &alpha, Accept, 2),
            (GLOAS, &envelope, Accept, 2),
            // Known by now: not by its topic, but because it is.
            (GLOAS, &envelope, Ignore, 2),
        ] {
            let report = house.hears(topic, ssz.clone()).await;
            assert_eq!(report.acceptance, acceptance, "{topic:?}");
            assert!(report.misplaced.is_none());
            assert_eq!(house.wrong_digests(), wrong, "{topic:?}");
        }
        house.verifier.shutdown().await;
    }

    /// What is bad by itself is rejected before anything is looked up: on whichever topic, whatever it names, and where there
    /// is no room for it.
    #[tokio::test]
    async fn what_is_bad_by_itself_is_rejected_before_any_look_up() {
        use MessageAcceptance::{Ignore, Reject};
        let mut house = House::new();
        let spoilt = |block, spoil: fn(&mut SignedProof)| {
            let envelope = SignedProof::from_ssz_bytes(&house.envelope(block, GLOAS), Revision::Beta);
            let mut envelope = envelope.unwrap();
            spoil(&mut envelope);
            envelope.to_ssz_bytes()
        };
        let empty = |block| spoilt(block, |envelope| envelope.message.proof_data = Bytes::new());
        let of_no_type = |block| spoilt(block, |envelope| envelope.message.proof_type = 9);
        // Names a payload of Fulu, so its topic is wrong.
        let misplaced = spoilt(1, |_| {});
        let rows = [
            ("empty, known", empty(8), Reject),
            ("empty, of a block nobody knows", empty(9), Reject),
            ("empty, on another's topic", empty(1), Reject),
            ("a type not defined, on another's topic", of_no_type(1), Reject),
            (
                "a type not defined, of a block nobody knows",
                of_no_type(9),
                Reject,
            ),
            ("no container", Bytes::from_static(&[7; 300]), Reject),
            ("nothing but misplaced", misplaced, Ignore),
        ];
        let (full, unknown) = (empty(9), spoilt(9, |_| {}));
        for (what, ssz, acceptance) in rows {
            assert_eq!(house.hears(GLOAS, ssz).await.acceptance, acceptance, "{what}");
        }
        assert_eq!(house.wrong_digests(), 1);
        // All room for what nobody waits for is taken.
        let mut taken = Vec::new();
        while let Room::Here(permit) = house.validation.rooms.take(PeerId::random(), 0, None) {
            taken.push(permit);
        }
        for (ssz, acceptance) in [(unknown, Ignore), (full, Reject)] {
            assert_eq!(house.hears(GLOAS, ssz).await.acceptance, acceptance);
        }
        let metrics = house.verifier.metrics().snapshot();
        let rejected = assay_verification::RejectReason::ALL
            .iter()
            .map(|reason| metrics.rejected(*reason));
        assert_eq!(rejected.sum::<u64>(), 7, "{metrics:?}");
        house.verifier.shutdown().await;
    }

    /// Room is for what may bring something new: by the name that the topic's revision gives it.
    #[tokio::test]
    async fn what_is_wanted_is_told_by_what_it_names_on_its_topic() {
        let mut house = House::new();
        let (alpha, envelope) = (house.alpha(1, FULU), house.envelope(8, GLOAS));
        let validation = Arc::clone(&house.validation);
        let digest = |slot| validation.schedule.digest_at_slot(slot);
        for (topic, ssz, wanted) in [
            (FULU, &alpha, true),
            (GLOAS, &alpha, false),
            (GLOAS, &envelope, true),
            (FULU, &envelope, false),
        ] {
            assert_eq!(validation.is_wanted(digest(topic), ssz), wanted, "{topic:?}");
        }
        assert!(!validation.is_wanted(digest(GLOAS), &house.envelope(9, GLOAS)));
        house.hears(GLOAS, envelope.clone()).await;
        assert!(!validation.is_wanted(digest(GLOAS), &envelope), "known by now");
        house.verifier.shutdown().await;
    }

    /// What names a validator whose proof nobody would judge has no right to room, nor to pass a budget.
    #[tokio::test]
    async fn what_names_a_validator_that_is_contained_or_has_tried_is_not_wanted() {
        use MessageAcceptance::{Accept, Ignore, Reject};
        let mut house = House::new();
        house.chain.add_payload(root(3), FULU);
        let digest = house.validation.schedule.digest_at_slot(FULU);
        let wanted = |house: &House, n, proof_type, validator| {
            let ssz = house.signed(n, FULU, proof_type, b"V", validator);
            house.validation.is_wanted(digest, &ssz)
        };
        // Validator 1 tries while the engine is away: no proof is known, but its try is.
        assert!(wanted(&house, 1, 1, 1));
        house.engine.set_down(true);
        let message = house.message(FULU, house.alpha(1, FULU));
        assert!(house.validation.begin(message).is_none());
        let tried = async {
            while wanted(&house, 1, 1, 1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), tried)
            .await
            .unwrap();
        assert!(wanted(&house, 1, 1, 2), "of another validator");
        assert!(wanted(&house, 1, 2, 1), "of another type");
        house.engine.set_down(false);
        assert_eq!(house.report().await.acceptance, Accept);

        // Validator 2 signs what is invalid.
        assert!(wanted(&house, 3, 2, 2));
        let invalid = house.signed(3, FULU, 1, b"I", 2);
        assert_eq!(house.hears(FULU, invalid).await.acceptance, Reject);
        assert!(!wanted(&house, 3, 2, 2), "contained");
        assert!(wanted(&house, 3, 1, 3));
        let contained = house.signed(3, FULU, 2, b"V", 2);
        assert_eq!(house.hears(FULU, contained).await.acceptance, Ignore);
        house.verifier.shutdown().await;
    }

    #[test]
    fn proofs_of_a_block_whose_payload_has_not_come_have_no_right_to_room() {
        let chain = MemoryChain::new(Arc::new(Spec::minimal()), Root::ZERO);
        let [payload, withheld, block] = [1, 2, 3].map(|n| Root::from([n; 32]));
        chain.add_block(withheld, Slot(3));
        chain.add_block_of(block, Slot(3), payload);
        let has = |revision, root| {
            let name = ProofName {
                revision,
                root,
                proof_type: 1,
            };
            payload_of(&chain, &name).is_some()
        };
        for (root, in_alpha, in_beta) in [
            (payload, true, false),
            (withheld, false, false),
            (block, false, true),
        ] {
            assert_eq!(
                (has(Revision::Alpha, root), has(Revision::Beta, root)),
                (in_alpha, in_beta)
            );
        }
    }
}
