//! Development proofs as bytes: making and checking them, offline and without a runtime.
//!
//! A development proof is `MAC ++ filler`. The MAC is HMAC-SHA256 under the network's seed over the root of the public
//! input, the type, the whole length and every filler byte; the filler is pseudo-random and does not compress, as real
//! proofs do not. So in `alpha` it is bound to the payload's request root, in `beta` to the chain, the schema and the payload's
//! validity too. Such a proof shows that its maker knows the seed, and NOTHING about execution.

use assay_types::{EngineInput, ExecutionProof, ProofType, PublicInput, Root, StatedInput};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Bytes of the MAC: the smallest development proof is the MAC alone.
pub const MIN_DEV_PROOF_SIZE: usize = 32;

const MAC_DOMAIN: &[u8] = b"assay development proof: mac";
const FILLER_DOMAIN: &[u8] = b"assay development proof: filler";
const DRAW_DOMAIN: &[u8] = b"assay development proof: draw";

/// A development proof of this size cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a development proof has {min} to {max} bytes, not {size}")]
pub struct DevProofSizeError {
    /// Bytes asked for.
    pub size: usize,
    /// Fewest bytes.
    pub min: usize,
    /// Most bytes (`MAX_PROOF_SIZE` of the network).
    pub max: usize,
}

/// Makes and checks development proofs of one network's seed.
#[derive(Clone)]
pub struct DevProver {
    seed: Bytes,
    max_proof_size: usize,
}

impl std::fmt::Debug for DevProver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The seed is what everyone on the development network shares; still no log needs it.
        f.debug_struct("DevProver")
            .field("max_proof_size", &self.max_proof_size)
            .finish_non_exhaustive()
    }
}

impl DevProver {
    /// `seed`: any bytes, the same on every node of the network. `max_proof_size`: `MAX_PROOF_SIZE` in bytes.
    pub fn new(seed: impl Into<Bytes>, max_proof_size: usize) -> Self {
        Self {
            seed: seed.into(),
            max_proof_size,
        }
    }

    /// Most bytes a proof has (`MAX_PROOF_SIZE`).
    pub fn max_proof_size(&self) -> usize {
        self.max_proof_size
    }

    /// Whether proofs of this many bytes exist.
    pub fn check_size(&self, size: usize) -> Result<(), DevProofSizeError> {
        if (MIN_DEV_PROOF_SIZE..=self.max_proof_size).contains(&size) {
            Ok(())
        } else {
            Err(DevProofSizeError {
                size,
                min: MIN_DEV_PROOF_SIZE,
                max: self.max_proof_size,
            })
        }
    }

    /// The `proof_data` for a payload in `alpha`, whose public input is the request root alone: as `prove_stated`.
    pub fn prove(
        &self,
        new_payload_request_root: &Root,
        proof_type: ProofType,
        size: usize,
    ) -> Result<Bytes, DevProofSizeError> {
        let input = PublicInput {
            new_payload_request_root: *new_payload_request_root,
        };
        self.prove_stated(&StatedInput::Alpha(input), proof_type, size)
    }

    /// The `proof_data` for what is stated of a payload: `size` bytes, the same for the same seed, public input, type and
    /// size.
    pub fn prove_stated(
        &self,
        public_input: &StatedInput,
        proof_type: ProofType,
        size: usize,
    ) -> Result<Bytes, DevProofSizeError> {
        self.check_size(size)?;
        let input_root = public_input.hash_tree_root();
        let mut proof = BytesMut::zeroed(size);
        let (mac, filler) = proof.split_at_mut(MIN_DEV_PROOF_SIZE);
        self.fill(&input_root, proof_type, size, filler);
        let made = self.mac(&input_root, proof_type, filler).finalize();
        mac.copy_from_slice(&made.into_bytes());
        Ok(proof.freeze())
    }

    /// As `prove`, as the container that is signed in `alpha`.
    pub fn prove_execution(
        &self,
        new_payload_request_root: Root,
        proof_type: ProofType,
        size: usize,
    ) -> Result<ExecutionProof, DevProofSizeError> {
        Ok(ExecutionProof {
            proof_data: self.prove(&new_payload_request_root, proof_type, size)?,
            proof_type,
            public_input: PublicInput {
                new_payload_request_root,
            },
        })
    }

    /// Checks a proof against all of its public input; the error says what is wrong with it. In constant time over the MAC.
    pub fn check(&self, proof: &EngineInput) -> Result<(), String> {
        self.check_size(proof.proof_data.len())
            .map_err(|e| e.to_string())?;
        let (mac, filler) = proof.proof_data.split_at(MIN_DEV_PROOF_SIZE);
        self.mac(&proof.public_input.hash_tree_root(), proof.proof_type, filler)
            .verify_slice(mac)
            .map_err(|_| "the MAC of the development proof does not match".into())
    }

    /// A number in [0, 1) that depends on the seed and `parts` alone: failures that can be repeated.
    pub(crate) fn draw(&self, parts: &[&[u8]]) -> f64 {
        let mut hmac = self.keyed();
        hmac.update(DRAW_DOMAIN);
        for part in parts {
            hmac.update(part);
        }
        let digest = hmac.finalize().into_bytes();
        let mut high = [0; 4];
        high.copy_from_slice(&digest[..4]);
        f64::from(u32::from_le_bytes(high)) / (f64::from(u32::MAX) + 1.0)
    }

    fn keyed(&self) -> Hmac<Sha256> {
        // HMAC hashes keys longer than a block; doing the same for every seed leaves no key length that could fail.
        let key = Sha256::digest(&self.seed);
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key);
        Hmac::new(&block.into())
    }

    /// Bound: `hash_tree_root(PublicInput)`, type, whole length, every byte after the MAC.
    fn mac(&self, root: &Root, proof_type: ProofType, filler: &[u8]) -> Hmac<Sha256> {
        let mut hmac = self.keyed();
        hmac.update(MAC_DOMAIN);
        hmac.update(root.as_slice());
        hmac.update(&[proof_type]);
        hmac.update(&((MIN_DEV_PROOF_SIZE + filler.len()) as u64).to_le_bytes());
        hmac.update(filler);
        hmac
    }

    /// SHA-256 in counter mode over everything the proof depends on.
    fn fill(&self, root: &Root, proof_type: ProofType, size: usize, filler: &mut [u8]) {
        let prefix = Sha256::new()
            .chain_update(FILLER_DOMAIN)
            .chain_update(Sha256::digest(&self.seed))
            .chain_update(root.as_slice())
            .chain_update([proof_type])
            .chain_update((size as u64).to_le_bytes())
            .finalize();
        for (counter, chunk) in filler.chunks_mut(32).enumerate() {
            let block = Sha256::new()
                .chain_update(prefix)
                .chain_update((counter as u64).to_le_bytes())
                .finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use assay_types::proof_beta;
    use proptest::prelude::*;

    const MAX: usize = 4 * 1024 * 1024;

    fn prover() -> DevProver {
        DevProver::new("a seed", MAX)
    }

    fn check(prover: &DevProver, proof: &ExecutionProof) -> Result<(), String> {
        prover.check(&proof.clone().into())
    }

    fn flipped(proof: &ExecutionProof, at: usize, mask: u8) -> ExecutionProof {
        let mut data = proof.proof_data.to_vec();
        data[at] ^= mask;
        ExecutionProof {
            proof_data: data.into(),
            ..proof.clone()
        }
    }

    #[test]
    fn every_flipped_byte_of_4_kib_is_refused() {
        let proof = prover().prove_execution(Root::from([7; 32]), 2, 4096).unwrap();
        check(&prover(), &proof).unwrap();
        for at in 0..4096 {
            for mask in [1, 0x80, 0xff] {
                assert!(
                    check(&prover(), &flipped(&proof, at, mask)).is_err(),
                    "byte {at}, mask {mask:#x}"
                );
            }
        }
    }

    #[test]
    fn sampled_flips_of_4_mib_are_refused() {
        let proof = prover().prove_execution(Root::from([7; 32]), 2, MAX).unwrap();
        check(&prover(), &proof).unwrap();
        let spread = (0..24).map(|i| i * 174_763);
        for at in [0, 31, 32, 63, 64, MAX - 33, MAX - 32, MAX - 1]
            .into_iter()
            .chain(spread)
        {
            assert!(check(&prover(), &flipped(&proof, at, 1)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_length_root_type_or_seed_is_refused() {
        let proof = prover().prove_execution(Root::from([7; 32]), 2, 1000).unwrap();
        let with_data = |proof_data: Bytes| ExecutionProof {
            proof_data,
            ..proof.clone()
        };
        let longer = |extra: &[u8]| with_data([&proof.proof_data[..], extra].concat().into());
        let cases = [
            ("empty", with_data(Bytes::new())),
            ("one byte shorter", with_data(proof.proof_data.slice(..999))),
            ("without its first byte", with_data(proof.proof_data.slice(1..))),
            ("cut to the MAC", with_data(proof.proof_data.slice(..32))),
            ("cut below the MAC", with_data(proof.proof_data.slice(..31))),
            ("a zero appended", longer(&[0])),
            ("a block appended", longer(&[0; 64])),
            (
                "another type",
                ExecutionProof {
                    proof_type: 3,
                    ..proof.clone()
                },
            ),
            (
                "another root",
                ExecutionProof {
                    public_input: PublicInput {
                        new_payload_request_root: Root::from([8; 32]),
                    },
                    ..proof.clone()
                },
            ),
            (
                "another size",
                with_data(
                    prover()
                        .prove(&Root::from([7; 32]), 2, 1001)
                        .unwrap()
                        .slice(..1000),
                ),
            ),
        ];
        for (what, bad) in cases {
            assert!(check(&prover(), &bad).is_err(), "{what}");
        }
        assert!(
            check(&DevProver::new("another seed", MAX), &proof).is_err(),
            "another seed"
        );
        assert!(
            check(&DevProver::new("a seed", 999), &proof).is_err(),
            "larger than MAX_PROOF_SIZE"
        );
    }

    /// In `beta` all of the public input is bound, and neither revision's proof is one of the other.
    #[test]
    fn every_field_of_the_public_input_is_bound() {
        let right = proof_beta::PublicInput {
            new_payload_request_root: Root::from([7; 32]),
            successful_validation: true,
            chain_id: 1337,
            schema_id: 0x1501,
        };
        let alpha = StatedInput::Alpha(PublicInput {
            new_payload_request_root: right.new_payload_request_root,
        });
        let with = |change: fn(&mut proof_beta::PublicInput)| {
            let mut other = right.clone();
            change(&mut other);
            StatedInput::Beta(other)
        };
        let inputs = [
            StatedInput::Beta(right.clone()),
            with(|input| input.new_payload_request_root = Root::from([8; 32])),
            with(|input| input.successful_validation = false),
            with(|input| input.chain_id = 1338),
            with(|input| input.schema_id = 0x1502),
            alpha,
        ];
        for (made_for, input) in inputs.iter().enumerate() {
            let proof_data = prover().prove_stated(input, 2, 1000).unwrap();
            for (checked_for, public_input) in inputs.iter().enumerate() {
                let proof = EngineInput {
                    proof_data: proof_data.clone(),
                    proof_type: 2,
                    public_input: public_input.clone(),
                };
                assert_eq!(
                    prover().check(&proof).is_ok(),
                    made_for == checked_for,
                    "{input:?} {public_input:?}"
                );
            }
        }
    }

    #[test]
    fn sizes_from_the_mac_to_the_limit() {
        for size in [32, 33, 64, MAX] {
            assert_eq!(prover().prove(&Root::ZERO, 0, size).unwrap().len(), size);
        }
        for size in [0, 31, MAX + 1] {
            assert_eq!(
                prover().prove(&Root::ZERO, 0, size).unwrap_err(),
                DevProofSizeError {
                    size,
                    min: 32,
                    max: MAX
                }
            );
        }
    }

    #[test]
    fn draws_are_in_the_unit_interval_and_follow_the_rate() {
        let draws: Vec<f64> = (0..2000u64).map(|n| prover().draw(&[&n.to_le_bytes()])).collect();
        assert!(draws.iter().all(|d| (0.0..1.0).contains(d)));
        let low = draws.iter().filter(|d| **d < 0.25).count();
        assert!((400..600).contains(&low), "{low} of 2000 below a quarter");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn deterministic_and_bound_to_what_it_names(
            seed in prop::collection::vec(any::<u8>(), 0..200),
            root: [u8; 32],
            proof_type: u8,
            size in 32usize..3000,
            at: prop::sample::Index,
            mask in 1u8..,
        ) {
            let prover = DevProver::new(seed, MAX);
            let proof = prover.prove_execution(Root::from(root), proof_type, size).unwrap();
            prop_assert_eq!(proof.proof_data.len(), size);
            prop_assert_eq!(&proof, &prover.prove_execution(Root::from(root), proof_type, size).unwrap());
            prop_assert!(check(&prover, &proof).is_ok());
            prop_assert!(check(&prover, &flipped(&proof, at.index(size), mask)).is_err());
            let other = ExecutionProof { proof_type: proof_type ^ mask, ..proof.clone() };
            prop_assert!(check(&prover, &other).is_err());
        }
    }
}
