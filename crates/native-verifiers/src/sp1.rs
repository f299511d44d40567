//! SP1: compressed proofs, as the prover network and proof nodes hand them out.
//!
//! A proof is `ProofFromNetwork` in bincode with fixed-width integers: the proof, the public values, and the version of
//! the SDK as text. The key of a program is its digest of eight KoalaBear elements, packed as base-2^31 digits into 32
//! bytes, most significant first.

use crate::{
    judgement::Refusal,
    system::{OpenedProof, ProofSystem, SystemName, UnusableKey},
};
use bincode::Options;
use slop_algebra::{AbstractField, PrimeField32};
use sp1_primitives::SP1Field;
use sp1_verifier::{ProofFromNetwork, SP1Proof, compressed::SP1CompressedVerifier};

const SYSTEM: SystemName = SystemName::Sp1;
const KEY_BYTES: usize = 32;
/// Elements of a digest.
const DIGEST_ELEMENTS: usize = 8;
/// Bits a packed element takes.
const ELEMENT_BITS: usize = 31;
/// bincode's number of `SP1Proof::Compressed`, before anything else in a proof.
const COMPRESSED: [u8; 4] = 1u32.to_le_bytes();
/// Bytes of the SDK's version at most: it is bound by nothing, so a long one is only room for other things.
const MAX_VERSION: usize = 32;

type Digest = [SP1Field; DIGEST_ELEMENTS];

/// The verifier with a program's key.
pub(crate) struct Sp1 {
    verifier: SP1CompressedVerifier,
    key: Digest,
}

impl Sp1 {
    pub(crate) fn new(key: &[u8]) -> Result<Self, UnusableKey> {
        Ok(Self {
            verifier: SP1CompressedVerifier::new(),
            key: unpack(key)?,
        })
    }
}

fn unpack(key: &[u8]) -> Result<Digest, UnusableKey> {
    let key: &[u8; KEY_BYTES] = key.try_into().map_err(|_| UnusableKey::Length {
        system: SYSTEM,
        expected: KEY_BYTES,
        found: key.len(),
    })?;
    let bit = |at: usize| u32::from((key[KEY_BYTES - 1 - at / 8] >> (at % 8)) & 1);
    let not_canonical = UnusableKey::NotCanonical(SYSTEM);
    if (DIGEST_ELEMENTS * ELEMENT_BITS..KEY_BYTES * 8).any(|at| bit(at) != 0) {
        return Err(not_canonical);
    }
    let mut digest = [SP1Field::zero(); DIGEST_ELEMENTS];
    for (place, element) in digest.iter_mut().rev().enumerate() {
        let from = place * ELEMENT_BITS;
        let value = (0..ELEMENT_BITS).fold(0, |value, at| value | (bit(from + at) << at));
        if value >= SP1Field::ORDER_U32 {
            return Err(not_canonical);
        }
        *element = SP1Field::from_canonical_u32(value);
    }
    Ok(digest)
}

struct Opened<'a> {
    system: &'a Sp1,
    proof: ProofFromNetwork,
}

impl ProofSystem for Sp1 {
    fn padded_to(&self) -> Option<usize> {
        None
    }

    fn open<'a>(&'a self, proof: &[u8]) -> Result<Box<dyn OpenedProof + 'a>, Refusal> {
        // Other kinds are not decoded at all.
        if proof.get(..COMPRESSED.len()) != Some(&COMPRESSED) {
            return Err(Refusal::Malformed("not a compressed SP1 proof".into()));
        }
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        let decoded: ProofFromNetwork = options
            .reject_trailing_bytes()
            .deserialize(proof)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        if decoded.sp1_version.len() > MAX_VERSION {
            return Err(Refusal::Malformed(format!(
                "a version of more than {MAX_VERSION} bytes"
            )));
        }
        // One encoding for a proof: numbers of the field in another representation, or entries in another order, decode
        // to the same.
        match options.serialize(&decoded) {
            Ok(encoded) if encoded == proof => {}
            _ => return Err(Refusal::Malformed("not the canonical encoding".into())),
        }
        Ok(Box::new(Opened {
            system: self,
            proof: decoded,
        }))
    }
}

impl OpenedProof for Opened<'_> {
    fn public_values(&self) -> &[u8] {
        self.proof.public_values.as_slice()
    }

    fn verify(&self) -> Result<(), Refusal> {
        let SP1Proof::Compressed(proof) = &self.proof.proof else {
            return Err(Refusal::Malformed("not a compressed SP1 proof".into()));
        };
        // The program's digest is among what the proof commits to, as is SHA-256 or BLAKE3 of the public values.
        self.system
            .verifier
            .verify_compressed_with_public_values(proof, self.public_values(), &self.system.key)
            .map_err(|error| Refusal::DoesNotVerify(error.to_string()))
    }
}
