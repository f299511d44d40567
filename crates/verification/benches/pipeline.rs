//! A 4 MiB proof of random bytes from gossip data to verdict, against the plain path in the same run.
//!
//! Here: unpacked, decoded, every rule, root, signature, a proof engine that answers at once, a sink that takes it at
//! once. Plain: snap, `ethereum_ssz` into a `VariableList`, `tree_hash`, blst. The message id is gossipsub's and in
//! neither. Work goes one step after the other in both, so one core is at work at a time; what handing over between
//! threads costs is in the first. The byte-list form has the same root in both, which is asserted; the progressive form,
//! which `tree_hash` does not have, is measured beside it, and so are `beta`'s envelopes (byte-list form, the same frame, so
//! the same root again). Then what a proof costs that can be ignored, from unpacked
//! bytes, against a full verification from there. What counts is the ratios of the medians; times are this machine's.
//!
//! | two runs on two busy cores | against | goal | `alpha`, byte list | `alpha`, progressive | `beta`, envelope |
//! |---|---|---|---|---|---|
//! | gossip data to verdict | plain path | 4 times as fast | 7.5, 7.3 | 7.4, 7.2 | 7.4, 7.3 |
//! | a valid one is known | in full | 1/20 | | 1/3206, 1/2493 | 1/3569, 1/2716 |
//!
//! `cargo bench -p assay-verification --bench pipeline`

use assay_chain::Chain;
use assay_types::{Hash256, ProofKey, Revision, Root, SecretKey, Slot, Spec, gossip, spec::ProofDataForm};
use assay_verification::{
    Candidate, Intake, MemoryContainment, NoKnownProofs, PeerRef, ProofSink, SinkError, Source, Submission,
    Verdict, VerifiedProof, Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, ScriptedEngine, sign, sign_envelope},
};
use async_trait::async_trait;
use blst::min_pk::{PublicKey, Signature};
use bytes::Bytes;
use ssz::Decode as _;
use ssz_types::{FixedVector, VariableList, typenum::U96, typenum::U4194304};
use std::{
    error::Error,
    hint::black_box,
    io::{self, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};
use tree_hash::TreeHash as _;

/// Samples of each, one of each in turn, so that what else the machine does hits all alike.
const ROUNDS: u8 = 21;
const SLOT: Slot = Slot(1000);
const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

#[derive(ssz_derive::Encode, ssz_derive::Decode, tree_hash_derive::TreeHash)]
struct PlainInput {
    new_payload_request_root: tree_hash::Hash256,
}

#[derive(ssz_derive::Encode, ssz_derive::Decode, tree_hash_derive::TreeHash)]
struct PlainProof {
    proof_data: VariableList<u8, U4194304>,
    proof_type: u8,
    public_input: PlainInput,
}

#[derive(ssz_derive::Encode, ssz_derive::Decode)]
struct PlainSigned {
    message: PlainProof,
    validator_index: u64,
    signature: FixedVector<u8, U96>,
}

#[derive(tree_hash_derive::TreeHash)]
struct SigningData {
    object_root: tree_hash::Hash256,
    domain: tree_hash::Hash256,
}

struct NoSink;

#[async_trait]
impl ProofSink for NoSink {
    fn name(&self) -> &'static str {
        "none"
    }
    async fn accepted(&self, proof: &Arc<VerifiedProof>, _: &Source) -> Result<(), SinkError> {
        black_box(proof);
        Ok(())
    }
}

/// A verifier over a chain whose payloads are named by one byte, with validators 0 and 1.
struct House {
    chain: Arc<MemoryChain>,
    verifier: Verifier,
    intake: Intake,
}

fn payload(n: u8) -> Root {
    Hash256([n; 32])
}

impl House {
    fn new(form: ProofDataForm) -> Self {
        Self::over(Spec {
            proof_data_form: Some(form),
            ..Spec::minimal()
        })
    }

    /// Where `beta` holds: block `n` has the payload of 255 - n.
    fn beta() -> Self {
        let house = Self::over(Spec {
            revision: Revision::Beta,
            ..Spec::minimal()
        });
        (0..=u8::MAX).for_each(|n| house.chain.add_block_of(payload(n), SLOT, payload(u8::MAX - n)));
        house
    }

    fn over(spec: Spec) -> Self {
        let chain = Arc::new(MemoryChain::new(Arc::new(spec), payload(0xaa)));
        chain.add_interop_validators(0..2);
        (0..=u8::MAX).for_each(|n| chain.add_payload(payload(n), SLOT));
        let parts = VerifierParts {
            chain: chain.clone(),
            engine: Arc::new(ScriptedEngine::new([1])),
            known: Arc::new(NoKnownProofs),
            containment: Arc::new(MemoryContainment::default()),
            store: Arc::new(NoSink),
        };
        let verifier = Verifier::start(VerifierConfig::default(), parts);
        let intake = verifier.intake();
        Self {
            chain,
            verifier,
            intake,
        }
    }

    fn ssz(&self, n: u8, data: &Bytes, validator: u64) -> Bytes {
        let key = ProofKey {
            new_payload_request_root: payload(n),
            proof_type: 1,
        };
        sign(
            self.chain.spec(),
            &self.chain.genesis(),
            key,
            SLOT,
            data.clone(),
            validator,
        )
        .to_ssz_bytes()
    }

    fn envelope(&self, n: u8, data: &Bytes, validator: u64) -> Bytes {
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        sign_envelope(spec, &genesis, payload(n), 1, SLOT, data.clone(), validator).to_ssz_bytes()
    }

    async fn verdict(&self, ssz: Bytes) -> Result<Verdict, String> {
        let revision = self
            .chain
            .spec()
            .revision_at_epoch(self.chain.spec().epoch_at_slot(SLOT));
        let source = Source::Gossip {
            peer: PeerRef(Arc::from([1])),
        };
        match self.intake.submit(Candidate::ssz(revision, ssz), source).await {
            Submission::Decided(verdict) => Ok(verdict),
            parked => Err(format!("not decided: {parked:?}")),
        }
    }

    async fn accepted(&self, ssz: Bytes) -> Result<Root, String> {
        match self.verdict(ssz).await? {
            Verdict::Accept(proof) => Ok(*proof.proof_root()),
            other => Err(format!("not accepted: {other:?}")),
        }
    }
}

/// The message's root, if all is well.
fn plain_path(data: &[u8], key: &PublicKey, domain: [u8; 32]) -> Result<Root, String> {
    let ssz = snap::raw::Decoder::new()
        .decompress_vec(data)
        .map_err(|e| e.to_string())?;
    let signed = PlainSigned::from_ssz_bytes(&ssz).map_err(|e| format!("{e:?}"))?;
    let object_root = signed.message.tree_hash_root();
    let signing_root = SigningData {
        object_root,
        domain: domain.into(),
    }
    .tree_hash_root();
    let signature = Signature::from_bytes(&signed.signature).map_err(|e| format!("{e:?}"))?;
    match signature.verify(true, signing_root.as_slice(), DST, &[], key, false) {
        blst::BLST_ERROR::BLST_SUCCESS => Ok(Hash256(object_root.0)),
        error => Err(format!("{error:?}")),
    }
}

#[derive(Default)]
struct Samples(Vec<Duration>);

impl Samples {
    fn add(&mut self, since: Instant) {
        self.0.push(since.elapsed());
    }

    fn median(&mut self) -> f64 {
        self.0.sort_unstable();
        self.0[self.0.len() / 2].as_secs_f64() * 1e3
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Bytes without a pattern; a multiplicative generator is random enough. The first is no `I`, `U` or `P`.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data: Vec<u8> = (0..Spec::minimal().max_proof_size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    data[0] = b'V';
    let valid = Bytes::from(data.clone());
    data[0] = b'I';
    let invalid = Bytes::from(data);

    let list = House::new(ProofDataForm::ByteList);
    let progressive = House::new(ProofDataForm::Progressive);
    let beta = House::beta();
    let limit = list.chain.spec().max_signed_proof_size();
    let key = PublicKey::key_validate(&SecretKey::interop(0).public_key().to_bytes().0)
        .map_err(|e| format!("{e:?}"))?;
    let epoch = list.chain.spec().epoch_at_slot(SLOT);
    let domain = list
        .chain
        .spec()
        .execution_proof_domain(&list.chain.genesis(), epoch);

    let [
        mut plain,
        mut ours,
        mut ours_progressive,
        mut ours_envelope,
        mut full,
        mut full_envelope,
        mut known,
        mut known_envelope,
        mut contained,
    ] = std::array::from_fn::<_, 9, _>(|_| Samples::default());
    // A proof that was judged invalid: its signer is contained, and nothing of that payload is known as valid.
    let refused = list.ssz(0xfe, &invalid, 1);
    black_box(list.verdict(refused.clone()).await?);

    for round in 0..ROUNDS {
        let packed = gossip::compress(&list.ssz(round, &valid, 0));
        let packed_progressive = gossip::compress(&progressive.ssz(round, &valid, 0));
        let packed_envelope = gossip::compress(&beta.envelope(round, &valid, 0));

        let began = Instant::now();
        let plain_root = plain_path(&packed, &key, domain)?;
        plain.add(began);

        let began = Instant::now();
        let unpacked = Bytes::from(gossip::decompress(&packed, limit)?);
        let root = list.accepted(unpacked).await?;
        ours.add(began);
        if root != plain_root {
            return Err(format!("roots differ: {root} and {plain_root}").into());
        }

        let began = Instant::now();
        let unpacked = Bytes::from(gossip::decompress(&packed_progressive, limit)?);
        black_box(progressive.accepted(unpacked).await?);
        ours_progressive.add(began);

        let began = Instant::now();
        let unpacked = Bytes::from(gossip::decompress(&packed_envelope, limit)?);
        let root = beta.accepted(unpacked).await?;
        ours_envelope.add(began);
        if root != plain_path(&packed_envelope, &key, domain)? {
            return Err("the envelope's roots differ".into());
        }

        // From unpacked bytes: another payload's proof in full; then it again; then one whose signer is contained.
        let ssz = progressive.ssz(100 + round, &valid, 0);
        let again = Bytes::copy_from_slice(&ssz);
        let began = Instant::now();
        black_box(progressive.accepted(ssz).await?);
        full.add(began);
        let began = Instant::now();
        let verdict = progressive.verdict(again).await?;
        known.add(began);
        if !matches!(verdict, Verdict::Ignore(_)) {
            return Err(format!("not ignored: {verdict:?}").into());
        }
        let ssz = beta.envelope(100 + round, &valid, 0);
        let again = Bytes::copy_from_slice(&ssz);
        let began = Instant::now();
        black_box(beta.accepted(ssz).await?);
        full_envelope.add(began);
        let began = Instant::now();
        let verdict = beta.verdict(again).await?;
        known_envelope.add(began);
        if !matches!(verdict, Verdict::Ignore(_)) {
            return Err(format!("not ignored: {verdict:?}").into());
        }
        let again = Bytes::copy_from_slice(&refused);
        let began = Instant::now();
        let verdict = list.verdict(again).await?;
        contained.add(began);
        if !matches!(verdict, Verdict::Ignore(_)) {
            return Err(format!("not ignored: {verdict:?}").into());
        }
    }
    list.verifier.shutdown().await;
    progressive.verifier.shutdown().await;
    beta.verifier.shutdown().await;

    let (plain, ours, ours_progressive) = (plain.median(), ours.median(), ours_progressive.median());
    let (ours_envelope, full_envelope) = (ours_envelope.median(), full_envelope.median());
    let known_envelope = known_envelope.median();
    let (full, known, contained) = (full.median(), known.median(), contained.median());
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "gossip data to verdict, 4 MiB of random proof, medians of {ROUNDS}"
    )?;
    writeln!(
        out,
        "  plain path (snap, ethereum_ssz, tree_hash, blst)  {plain:8.2} ms"
    )?;
    writeln!(
        out,
        "  assay, byte list, same root                       {ours:8.2} ms  {:5.1} times as fast (goal 4)",
        plain / ours
    )?;
    writeln!(
        out,
        "  assay, progressive                                {ours_progressive:8.2} ms  {:5.1} times as fast",
        plain / ours_progressive
    )?;
    writeln!(
        out,
        "  assay, envelope of beta, byte list, same root     {ours_envelope:8.2} ms  {:5.1} times as fast (goal 4)",
        plain / ours_envelope
    )?;
    writeln!(out, "unpacked bytes to verdict")?;
    writeln!(
        out,
        "  in full                                           {full:8.2} ms"
    )?;
    writeln!(
        out,
        "  in full, envelopes                                {full_envelope:8.2} ms"
    )?;
    writeln!(
        out,
        "  a valid one is known                              {known:8.4} ms  1/{:.0} of it (goal 1/20)",
        full / known
    )?;
    writeln!(
        out,
        "  a valid one is known, envelopes                   {known_envelope:8.4} ms  1/{:.0} of that (goal 1/20)",
        full_envelope / known_envelope
    )?;
    writeln!(
        out,
        "  its signer is contained                           {contained:8.4} ms  1/{:.0} of it (goal 1/20)",
        full / contained
    )?;
    Ok(())
}
