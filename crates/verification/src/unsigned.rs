//! Proofs without a signature: what a proof engine or prover brings over the Engine API or the relay.
//!
//! A valid one counts for the gate and saves the engine's work for the same bytes. It is not known on gossip, and it is
//! neither stored nor served: that takes a signature. Where a signer is configured it is signed, and goes the one way
//! that every signed proof goes (design.md, Verification). Nothing is signed that was not verified.

use crate::{
    Backoff, Candidate, CheckedProof, IgnoreReason, Intake, ProofSigner, RejectReason, Source, Verdict,
    Waited,
    machine::{Event, Judgement},
    verifier::Inner,
};
use assay_proof_engine::{EngineError, Verification};
use assay_types::{EngineInput, ExecutionProof, ProofKey, ProofMessage, ProofName, Revision, Root};
use futures::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

/// Unsigned proofs held at once, waiting or at work; more are refused. Each may be of `MAX_PROOF_SIZE`.
pub const MAX_UNSIGNED_PROOFS: usize = 32;
/// Unsigned proofs at work at once: hashed, or judged by the proof engine.
pub const UNSIGNED_AT_ONCE: usize = 4;
/// Longest wait for the verdict on a proof that was signed here.
const SIGNED_PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between tries to sign what nobody brings again: a signer that starts, a payload that comes a moment later.
const TRY_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(12),
};

/// What is said of an unsigned proof.
#[derive(Debug, Clone)]
pub enum UnsignedVerdict {
    /// It holds.
    Valid(CheckedProof),
    /// It does not, and why.
    Invalid(String),
    /// No proof engine here verifies this type.
    Unsupported,
}

/// Why nothing is said of an unsigned proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsignedError {
    /// Rule 7: the proof is empty or too large.
    #[error("{0}")]
    Refused(RejectReason),
    /// Too many are held.
    #[error("too many unsigned proofs wait")]
    Overloaded,
    /// The proof engine could not judge it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The node is ending, or its work on the proof ended without a result.
    #[error("this node could not process it")]
    Internal,
}

impl UnsignedError {
    /// Whether the same proof may be taken later.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

impl Intake {
    /// Judges an unsigned proof, and tells the sinks of a valid one. Asks no proof engine where these bytes were judged
    /// before, signed or not.
    pub async fn verify_unsigned(&self, proof: ExecutionProof) -> Result<UnsignedVerdict, UnsignedError> {
        let inner = &self.inner;
        let max = inner.parts.chain.spec().max_proof_size;
        match proof.proof_data.len() as u64 {
            0 => return Err(UnsignedError::Refused(RejectReason::EmptyProof)),
            size if size > max => return Err(UnsignedError::Refused(RejectReason::OversizeProof)),
            _ => {}
        }
        if !inner.parts.engine.proof_types().contains(&proof.proof_type) {
            return Ok(UnsignedVerdict::Unsupported);
        }
        let places = &inner.unsigned;
        let _held = places.held.try_acquire().map_err(|_| UnsignedError::Overloaded)?;
        let _turn = places
            .at_work
            .acquire()
            .await
            .map_err(|_| UnsignedError::Internal)?;
        inner.verify_unsigned(proof).await
    }

    /// How many types of proofs of a payload are known to be valid, signed or not.
    pub fn proven_types(&self, new_payload_request_root: &Root) -> usize {
        let types = self.inner.parts.engine.proof_types();
        let proven = |proof_type| {
            self.inner.is_proven(&ProofKey {
                new_payload_request_root: *new_payload_request_root,
                proof_type,
            })
        };
        types.into_iter().filter(|t| proven(*t)).count()
    }
}

impl Inner {
    async fn verify_unsigned(
        self: &Arc<Self>,
        proof: ExecutionProof,
    ) -> Result<UnsignedVerdict, UnsignedError> {
        let (chain, key) = (&self.parts.chain, proof.key());
        let payload = chain.payload(&key.new_payload_request_root);
        let slot = payload
            .as_ref()
            .map_or_else(|| chain.current_slot(), |payload| payload.slot);
        let spec = Arc::clone(chain.spec());
        let epoch = spec.epoch_at_slot(slot);
        let revision = spec.revision_at_epoch(epoch);
        let input = EngineInput::new(&spec, revision, key, proof.proof_data.clone());
        // As it would be signed, so that a signed one of the same message is known by its root.
        let mut message = ProofMessage::from(proof.clone());
        if let (Revision::Beta, Some(block)) = (revision, payload.and_then(|p| p.block_root)) {
            message.root = block;
        }
        let proof_root = tokio::task::spawn_blocking(move || spec.proof_message_root(epoch, &message)).await;
        let proof_root = proof_root.map_err(|_| UnsignedError::Internal)?;
        match self.judgement(&proof_root) {
            Some(Judgement::Valid) => {}
            Some(Judgement::Invalid) => {
                return Ok(UnsignedVerdict::Invalid(
                    "this very proof was judged before".to_owned(),
                ));
            }
            Some(Judgement::Signed) | None => match self.ask_engine(&input).await? {
                Verification::Valid => {}
                Verification::Invalid(why) => {
                    self.drive(Event::UnsignedInvalid {
                        key,
                        proof_root,
                        slot,
                    });
                    return Ok(UnsignedVerdict::Invalid(why));
                }
                Verification::Unsupported => return Ok(UnsignedVerdict::Unsupported),
            },
        }
        self.drive(Event::UnsignedValid {
            key,
            proof_root,
            slot,
        });
        let verified = CheckedProof::judged(proof);
        self.tell_unsigned(&verified).await;
        Ok(UnsignedVerdict::Valid(verified))
    }

    /// Every sink but the store: what is unsigned is not kept.
    async fn tell_unsigned(&self, verified: &CheckedProof) {
        let sinks = self.sinks.read().clone();
        for sink in sinks {
            let told = AssertUnwindSafe(tokio::time::timeout(
                self.config.sink_timeout,
                sink.verified_unsigned(verified),
            ));
            if !matches!(told.catch_unwind().await, Ok(Ok(()))) {
                tracing::warn!(sink = sink.name(), "unsigned proof not taken");
                self.metrics.sink_error(sink.name());
            }
        }
    }
}

/// Where unsigned proofs are brought: judged, and signed where there is somebody to sign. Clones share the signer.
#[derive(Clone)]
pub struct UnsignedProofs {
    intake: Intake,
    /// The seam for a node with keys (`assay node --prover`): whoever holds them implements `ProofSigner` and is given
    /// here. Without one nothing is signed, and unsigned proofs count for this node alone.
    signer: Option<Arc<dyn ProofSigner>>,
}

/// A place among those that are signed behind an answer, given back at the end.
struct Signing(Arc<Inner>, ProofKey);

/// No place is left.
struct Full;

impl Signing {
    /// `None`: one of this payload and type has a place.
    fn begin(inner: &Arc<Inner>, key: ProofKey) -> Result<Option<Self>, Full> {
        let mut places = inner.unsigned.signing.lock();
        if places.contains(&key) {
            return Ok(None);
        }
        if places.len() >= MAX_UNSIGNED_PROOFS {
            return Err(Full);
        }
        places.insert(key);
        Ok(Some(Self(Arc::clone(inner), key)))
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        self.0.unsigned.signing.lock().remove(&self.1);
    }
}

/// What became of an unsigned proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// It, or another valid one of its payload and type, is signed, stored and on the network, now or already.
    OnTheNetwork,
    /// It is valid and counts for this node; nobody here signs.
    NotSigned,
    /// It will not be taken, and why.
    Refused(String),
    /// It cannot be judged or signed now, and why.
    NotNow(String),
}

impl UnsignedProofs {
    /// Over a verifier; `signer` signs what is valid.
    pub fn new(intake: Intake, signer: Option<Arc<dyn ProofSigner>>) -> Self {
        Self { intake, signer }
    }

    /// Whether somebody signs here.
    pub fn signs(&self) -> bool {
        self.signer.is_some()
    }

    /// A valid proof, or one that might be, was let go before anybody could judge or sign it: counts it.
    pub fn dropped(&self) {
        self.intake.inner.metrics.never_signed();
    }

    /// The door that signed proofs go through.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Judges a proof; a valid one is signed behind the answer, where there is a signer. Nobody brings it again, so it is
    /// kept for an epoch where it cannot be signed at once.
    pub async fn verify(&self, proof: ExecutionProof) -> Result<UnsignedVerdict, UnsignedError> {
        let verdict = self.intake.verify_unsigned(proof).await?;
        if let (UnsignedVerdict::Valid(verified), true) = (&verdict, self.signs()) {
            let (this, verified) = (self.clone(), verified.clone());
            let inner = &self.intake.inner;
            match Signing::begin(inner, verified.key()) {
                Ok(Some(place)) => inner.spawn_until_end(async move {
                    let key = verified.key();
                    let signed = this
                        .until_decided(|| this.sign_and_submit(verified.clone(), SIGNED_PATIENCE))
                        .await;
                    if let Brought::Refused(why) | Brought::NotNow(why) = signed {
                        place.0.metrics.never_signed();
                        tracing::warn!(?key, why, "a valid proof could not be signed");
                    }
                }),
                // Another of its payload and type is on its way.
                Ok(None) => {}
                Err(Full) => {
                    inner.metrics.never_signed();
                    tracing::warn!(key = ?verified.key(), "too many valid proofs wait for a signature: not signed");
                }
            }
        }
        Ok(verdict)
    }

    /// Judges a proof, signs it, and brings it through the door; waits for the verdict, all in all not much longer than
    /// `patience` and the proof engine's time-out.
    pub async fn bring(&self, proof: ExecutionProof, patience: Duration) -> Brought {
        match self.intake.verify_unsigned(proof).await {
            Ok(UnsignedVerdict::Valid(verified)) => self.sign_and_submit(verified, patience).await,
            Ok(UnsignedVerdict::Invalid(why)) => {
                Brought::Refused(format!("{}: {why}", RejectReason::InvalidProof))
            }
            Ok(UnsignedVerdict::Unsupported) => Brought::Refused(IgnoreReason::UnsupportedType.to_string()),
            Err(error) if error.may_pass() => Brought::NotNow(error.to_string()),
            Err(error) => Brought::Refused(error.to_string()),
        }
    }

    /// `bring` for what nobody brings again: `NotNow` is tried again for an epoch, and only then the last word. The caller
    /// bounds how many it keeps this way.
    pub async fn bring_in_the_end(&self, proof: ExecutionProof, patience: Duration) -> Brought {
        let brought = self.until_decided(|| self.bring(proof.clone(), patience)).await;
        if matches!(brought, Brought::NotNow(_)) {
            self.intake.inner.metrics.never_signed();
        }
        brought
    }

    async fn until_decided<F: Future<Output = Brought>>(&self, attempt: impl Fn() -> F) -> Brought {
        let spec = self.intake.spec();
        let epoch = Duration::from_millis(spec.slot_duration_ms.saturating_mul(spec.slots_per_epoch));
        let (began, mut tries) = (tokio::time::Instant::now(), 0);
        loop {
            let brought = attempt().await;
            tries += 1;
            let pause = TRY_AGAIN.after(tries);
            if !matches!(brought, Brought::NotNow(_)) || began.elapsed() + pause >= epoch {
                return brought;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn sign_and_submit(&self, verified: CheckedProof, patience: Duration) -> Brought {
        let inner = &self.intake.inner;
        let key = verified.key();
        let payload = inner.parts.chain.payload(&key.new_payload_request_root);
        let name = match &payload {
            Some(payload) => inner.name_of(payload, key.proof_type),
            None => Some(ProofName::alpha(key)),
        };
        if name.is_some_and(|name| inner.has_valid_signed(&name)) {
            return Brought::OnTheNetwork;
        }
        let Some(signer) = &self.signer else {
            return Brought::NotSigned;
        };
        let deadline = Instant::now() + patience;
        let Some(payload) = payload else {
            return Brought::NotNow(IgnoreReason::UnknownPayload.to_string());
        };
        let signing = signer.sign(verified, &payload);
        let signed = match tokio::time::timeout(patience, signing).await {
            Ok(Ok(signed)) => signed,
            Ok(Err(error)) => return Brought::NotNow(error.to_string()),
            Err(_) => return Brought::NotNow("the signer gave no answer in time".to_owned()),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let candidate = Candidate::Signed(signed);
        match self.intake.submit_and_wait(candidate, Source::Prover, left).await {
            Waited::Decided(Verdict::Accept(_) | Verdict::Ignore(IgnoreReason::AlreadyValid)) => {
                Brought::OnTheNetwork
            }
            Waited::Decided(Verdict::Reject(reason)) => Brought::Refused(reason.to_string()),
            Waited::Decided(Verdict::Ignore(
                reason @ (IgnoreReason::TooOld | IgnoreReason::WrongRevision),
            )) => Brought::Refused(reason.to_string()),
            Waited::Decided(Verdict::Ignore(reason)) => Brought::NotNow(reason.to_string()),
            Waited::StillWaiting(reason) => Brought::NotNow(reason.map_or_else(
                || "it is still being judged".to_owned(),
                |reason| reason.to_string(),
            )),
        }
    }
}
