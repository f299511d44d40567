//! ZisK: compressed final proofs ("vadcop final"), as proof nodes hand them out.
//!
//! A proof is `VadcopFinalProof` in bincode with fixed-width integers: the proof's words, the public words, whether it
//! is compressed, and the name of the hash family. The public words are the program's key (4 words of the Goldilocks
//! field) and 64 words of 32 bits, which are the guest's 256 bytes of output. A program key's file is those 4 words,
//! little-endian.

use crate::{
    judgement::Refusal,
    system::{OpenedProof, ProofSystem, SystemName, UnusableKey},
};
use bincode::Options;
use proofman_verifier::{Poseidon1Verifier, VadcopFinalProof, Verifier};

const SYSTEM: SystemName = SystemName::Zisk;
const KEY_WORDS: usize = 4;
const KEY_BYTES: usize = 8 * KEY_WORDS;
/// Words of 32 bits that a guest can put out.
const OUTPUT_WORDS: usize = 64;
const OUTPUT_BYTES: usize = 4 * OUTPUT_WORDS;
/// Order of the Goldilocks field.
const FIELD_ORDER: u64 = 0xffff_ffff_0000_0001;
/// The hash family that the aggregation key was made under.
const HASH_FAMILY: &str = "Poseidon1";
/// Key of the last step of aggregation, the same for every program, of ZisK 1.1.0-alpha (its proving key's
/// `vadcop_final_compressed.verkey`). It belongs to the verifier's version, as the constraints in that crate do.
const AGGREGATION_KEY: [u64; KEY_WORDS] = [
    16_370_293_013_691_533_579,
    6_864_437_907_249_201_182,
    12_605_075_787_481_351_281,
    11_365_126_049_963_943_544,
];

/// The verifier with a program's key.
pub(crate) struct Zisk {
    key: [u64; KEY_WORDS],
}

impl Zisk {
    pub(crate) fn new(key: &[u8]) -> Result<Self, UnusableKey> {
        let bytes: &[u8; KEY_BYTES] = key.try_into().map_err(|_| UnusableKey::Length {
            system: SYSTEM,
            expected: KEY_BYTES,
            found: key.len(),
        })?;
        let mut words = [0; KEY_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        if words.iter().any(|word| *word >= FIELD_ORDER) {
            return Err(UnusableKey::NotCanonical(SYSTEM));
        }
        Ok(Self { key: words })
    }
}

struct Opened {
    proof: VadcopFinalProof,
    output: Vec<u8>,
}

impl ProofSystem for Zisk {
    fn padded_to(&self) -> Option<usize> {
        Some(OUTPUT_BYTES)
    }

    fn open<'a>(&'a self, proof: &[u8]) -> Result<Box<dyn OpenedProof + 'a>, Refusal> {
        let malformed = |why: &str| Refusal::Malformed(why.to_owned());
        let proof: VadcopFinalProof = bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .reject_trailing_bytes()
            .deserialize(proof)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        if !proof.compressed || proof.hash != HASH_FAMILY {
            return Err(malformed("not a compressed final proof of ZisK over Poseidon1"));
        }
        let (key, output) = proof
            .public_values
            .split_at_checked(KEY_WORDS)
            .filter(|(_, output)| output.len() == OUTPUT_WORDS)
            .ok_or_else(|| malformed("another number of public words"))?;
        if key != self.key {
            return Err(Refusal::OtherProgram);
        }
        let mut bytes = Vec::with_capacity(OUTPUT_BYTES);
        for word in output {
            let word = u32::try_from(*word).map_err(|_| malformed("a public word of more than 32 bits"))?;
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        Ok(Box::new(Opened { proof, output: bytes }))
    }
}

impl OpenedProof for Opened {
    fn public_values(&self) -> &[u8] {
        &self.output
    }

    fn verify(&self) -> Result<(), Refusal> {
        if Poseidon1Verifier.verify_vadcop_final_compressed(&self.proof, &AGGREGATION_KEY) {
            Ok(())
        } else {
            Err(Refusal::DoesNotVerify("the verifier of ZisK says so".into()))
        }
    }
}
