//! What a guest program commits to: the public values a proof must have to be one of this payload.

use crate::{judgement::NotValid, judgement::Refusal, statements::StatementTable};
use assay_types::{Root, StatedInput, proof_beta::PublicInput};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The byte after the request root that says the payload is valid.
const SUCCESS: u8 = 1;

/// The families of guest programs, by what they commit to. Only a payload that is valid is stated: a proof that a
/// payload was found invalid has other public values and is refused.
#[derive(Debug, Clone)]
pub enum Guest {
    /// Request root, then the success byte.
    Output,
    /// SHA-256 of that (block validators of proof nodes up to 0.9).
    OutputSha256,
    /// SSZ of the execution specification's `StatelessValidationResult`: request root, success byte, chain id (uint64,
    /// little-endian), schema id (uint16, little-endian).
    ValidationResult {
        /// `DEPOSIT_CHAIN_ID` of the network.
        chain_id: u64,
        /// What the guest was built for.
        schema_id: u16,
    },
    /// SHA-256 of that.
    ValidationResultSha256 {
        /// `DEPOSIT_CHAIN_ID` of the network.
        chain_id: u64,
        /// What the guest was built for.
        schema_id: u16,
    },
    /// What a table of the operator claims: proves nothing about execution.
    UnsafeStatements(Arc<StatementTable>),
}

impl Guest {
    /// Whether `public_values`, as the proof has them, state what is asked for: that the payload is valid, and of `beta` the
    /// chain and the schema, where the family states them. `padded_to`: the size the proof system pads public values to
    /// with zeros, where it does.
    pub(crate) fn check(
        &self,
        asked: &StatedInput,
        public_values: &[u8],
        padded_to: Option<usize>,
    ) -> Result<(), NotValid> {
        if let StatedInput::Beta(input) = asked
            && !self.may_state(input)
        {
            return Err(Refusal::OtherStatement.into());
        }
        let root = &asked.new_payload_request_root();
        let mut expected = match self {
            Self::Output => output(root),
            Self::OutputSha256 => sha256(&output(root)),
            Self::ValidationResult { chain_id, schema_id } => validation_result(root, *chain_id, *schema_id),
            Self::ValidationResultSha256 { chain_id, schema_id } => {
                sha256(&validation_result(root, *chain_id, *schema_id))
            }
            Self::UnsafeStatements(table) => return table.check(root, public_values),
        };
        if let Some(size) = padded_to {
            expected.resize(size.max(expected.len()), 0);
        }
        if public_values == expected {
            Ok(())
        } else {
            Err(Refusal::OtherStatement.into())
        }
    }

    /// Whether what it commits to can be this: a family that states neither chain nor schema leaves them open.
    fn may_state(&self, input: &PublicInput) -> bool {
        match self {
            Self::ValidationResult { chain_id, schema_id }
            | Self::ValidationResultSha256 { chain_id, schema_id } => {
                (*chain_id, *schema_id) == (input.chain_id, input.schema_id)
            }
            Self::Output | Self::OutputSha256 | Self::UnsafeStatements(_) => true,
        }
    }

    /// Whether its proofs prove nothing about execution.
    pub fn is_insecure(&self) -> bool {
        matches!(self, Self::UnsafeStatements(_))
    }
}

fn output(root: &Root) -> Vec<u8> {
    let mut bytes = root.as_slice().to_vec();
    bytes.push(SUCCESS);
    bytes
}

fn validation_result(root: &Root, chain_id: u64, schema_id: u16) -> Vec<u8> {
    let mut bytes = output(root);
    bytes.extend_from_slice(&chain_id.to_le_bytes());
    bytes.extend_from_slice(&schema_id.to_le_bytes());
    bytes
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::proof_beta::SCHEMA_ID as DEFAULT_SCHEMA_ID;
    use proptest::prelude::*;

    const CHAIN_ID: u64 = 0x0102_0304_0506_0708;

    fn alpha(new_payload_request_root: Root) -> StatedInput {
        StatedInput::Alpha(assay_types::PublicInput {
            new_payload_request_root,
        })
    }

    /// `beta` asks for the chain and the schema too: a family that states them is held to them.
    #[test]
    fn what_beta_asks_for_is_what_the_family_states() {
        let root = Root::from([0xaa; 32]);
        let beta = |chain_id, schema_id| {
            StatedInput::Beta(PublicInput {
                new_payload_request_root: root,
                successful_validation: true,
                chain_id,
                schema_id,
            })
        };
        let cases = [
            (CHAIN_ID, DEFAULT_SCHEMA_ID, true),
            (CHAIN_ID, DEFAULT_SCHEMA_ID + 1, false),
            (CHAIN_ID + 1, DEFAULT_SCHEMA_ID, false),
        ];
        for (guest, values) in families().iter().zip(values_of_aa()) {
            let open = matches!(guest, Guest::Output | Guest::OutputSha256);
            for (chain_id, schema_id, same) in cases {
                let asked = beta(chain_id, schema_id);
                assert_eq!(
                    guest.check(&asked, &values, None).is_ok(),
                    same || open,
                    "{guest:?} {asked:?}"
                );
            }
            guest.check(&alpha(root), &values, None).unwrap();
        }
    }

    fn families() -> Vec<Guest> {
        vec![
            Guest::Output,
            Guest::OutputSha256,
            Guest::ValidationResult {
                chain_id: CHAIN_ID,
                schema_id: DEFAULT_SCHEMA_ID,
            },
            Guest::ValidationResultSha256 {
                chain_id: CHAIN_ID,
                schema_id: DEFAULT_SCHEMA_ID,
            },
        ]
    }

    /// What each family commits to for the root 0xaa…aa, written out by hand.
    fn values_of_aa() -> Vec<Vec<u8>> {
        let digest = |hex: &str| hex::decode(hex).unwrap();
        vec![
            [&[0xaa; 32][..], &[1]].concat(),
            digest("42b5d6e9a824e972398bfe0b80a84fb2aa97e7f9fe6cd6685456e0fc429e2a43"),
            [&[0xaa; 32][..], &[1], &[8, 7, 6, 5, 4, 3, 2, 1], &[0x01, 0x15]].concat(),
            digest("528c6247825b73b6b88a06695d86b9ad17e01b5bb2cd63d25aae268714a56c86"),
        ]
    }

    #[test]
    fn each_family_takes_its_own_values_and_no_others() {
        let root = Root::from([0xaa; 32]);
        let values = values_of_aa();
        for (at, guest) in families().iter().enumerate() {
            for (of, value) in values.iter().enumerate() {
                assert_eq!(
                    guest.check(&alpha(root), value, None).is_ok(),
                    at == of,
                    "{guest:?}"
                );
                let mut padded = value.clone();
                padded.resize(256, 0);
                assert_eq!(
                    guest.check(&alpha(root), &padded, Some(256)).is_ok(),
                    at == of,
                    "{guest:?}"
                );
                // Where nothing is padded, zeros are another statement; where it is, their lack is.
                assert!(guest.check(&alpha(root), &padded, None).is_err());
                assert!(guest.check(&alpha(root), value, Some(256)).is_err());
            }
        }
    }

    #[test]
    fn failure_another_chain_and_another_schema_are_other_statements() {
        let root = Root::from([0xaa; 32]);
        let mut failed = output(&root);
        failed[32] = 0;
        assert!(Guest::Output.check(&alpha(root), &failed, None).is_err());
        assert!(
            Guest::OutputSha256
                .check(&alpha(root), &sha256(&failed), None)
                .is_err()
        );
        let right = validation_result(&root, 5, 6);
        for (chain_id, schema_id) in [(4, 6), (5, 7)] {
            assert!(
                Guest::ValidationResult { chain_id, schema_id }
                    .check(&alpha(root), &right, None)
                    .is_err()
            );
            let guest = Guest::ValidationResultSha256 { chain_id, schema_id };
            assert!(guest.check(&alpha(root), &sha256(&right), None).is_err());
        }
    }

    proptest! {
        /// Values bind their root: any other root, and any other byte, is refused.
        #[test]
        fn values_bind_one_root(root: [u8; 32], at in 0usize..256, flip in 1u8..) {
            let padded = |root: &Root, guest: &Guest| {
                let mut values = match guest {
                    Guest::Output => output(root),
                    Guest::OutputSha256 => sha256(&output(root)),
                    Guest::ValidationResult { chain_id, schema_id } => validation_result(root, *chain_id, *schema_id),
                    _ => sha256(&validation_result(root, CHAIN_ID, DEFAULT_SCHEMA_ID)),
                };
                values.resize(256, 0);
                values
            };
            let mut other = root;
            other[at % 32] ^= flip;
            for guest in families() {
                let values = padded(&root.into(), &guest);
                prop_assert!(guest.check(&alpha(root.into()), &values, Some(256)).is_ok());
                prop_assert!(guest.check(&alpha(other.into()), &values, Some(256)).is_err());
                let mut flipped = values;
                flipped[at] ^= flip;
                prop_assert!(guest.check(&alpha(root.into()), &flipped, Some(256)).is_err());
            }
        }
    }
}
