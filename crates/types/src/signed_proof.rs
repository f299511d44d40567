//! A signed proof of either revision, as the rest of the house handles it.
//!
//! `alpha` and `beta` write one frame: proof data, type and a root, signed. What differs is data: the revision, which says
//! what the root names, what the JSON calls it, and (`Spec::proof_data_form`) how the message is hashed. A revision is
//! never read from the bytes: who brings them knows it (the topic's fork digest, the shape of the JSON, a header).

use crate::{
    codec::{self, MessageParts, SignedParts, SszError},
    fork::{ProofDataForm, Revision},
    primitives::{Epoch, ProofType, Root, SignatureBytes, ValidatorIndex},
    proof::{ExecutionProof, ProofKey, PublicInput, SIGNED_PROOF_OVERHEAD, SignedExecutionProof},
    proof_beta::{self, ExecutionProofEnvelope, SignedExecutionProofEnvelope},
    spec::Spec,
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What a signed proof is known by on the network: what it names and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProofName {
    /// The revision, which says what `root` is.
    pub revision: Revision,
    /// `alpha`: the payload's request root. `beta`: the root of the beacon block whose payload it is.
    pub root: Root,
    /// The kind of proof.
    pub proof_type: ProofType,
}

impl ProofName {
    /// The name of an `alpha` proof of this payload.
    pub fn alpha(key: ProofKey) -> Self {
        Self {
            revision: Revision::Alpha,
            root: key.new_payload_request_root,
            proof_type: key.proof_type,
        }
    }

    /// The name of a `beta` proof of this block's payload.
    pub fn beta(beacon_block_root: Root, proof_type: ProofType) -> Self {
        Self {
            revision: Revision::Beta,
            root: beacon_block_root,
            proof_type,
        }
    }
}

/// The message of a signed proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofMessage {
    /// The proof's bytes.
    pub proof_data: Bytes,
    /// The kind of proof.
    pub proof_type: ProofType,
    /// What it is a proof of; the revision says in which words (`ProofName::root`).
    pub root: Root,
}

/// A proof as it travels, of either revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedProof {
    /// The revision it is of.
    pub revision: Revision,
    /// What is signed.
    pub message: ProofMessage,
    /// Who signed.
    pub validator_index: ValidatorIndex,
    /// BLS signature over the message's signing root.
    pub signature: SignatureBytes,
}

impl ProofMessage {
    fn parts(&self) -> MessageParts<'_> {
        MessageParts {
            proof_data: &self.proof_data,
            proof_type: self.proof_type,
            tail: &self.root.0,
        }
    }

    /// `hash_tree_root` of the message, which is of one shape in both revisions.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        self.parts().hash_tree_root(spec, form, &self.root)
    }
}

/// A message as the container of its revision, for whoever writes it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MessageContainer {
    /// Of `alpha`.
    Alpha(ExecutionProof),
    /// Of `beta`.
    Beta(ExecutionProofEnvelope),
}

impl ProofMessage {
    /// The revision's container; the proof's bytes are shared.
    pub fn container(&self, revision: Revision) -> MessageContainer {
        let (proof_data, proof_type) = (self.proof_data.clone(), self.proof_type);
        match revision {
            Revision::Alpha => MessageContainer::Alpha(ExecutionProof {
                proof_data,
                proof_type,
                public_input: PublicInput {
                    new_payload_request_root: self.root,
                },
            }),
            Revision::Beta => MessageContainer::Beta(ExecutionProofEnvelope {
                proof_data,
                proof_type,
                beacon_block_root: self.root,
            }),
        }
    }
}

impl From<ExecutionProof> for ProofMessage {
    fn from(proof: ExecutionProof) -> Self {
        Self {
            proof_data: proof.proof_data,
            proof_type: proof.proof_type,
            root: proof.public_input.new_payload_request_root,
        }
    }
}

impl From<ExecutionProofEnvelope> for ProofMessage {
    fn from(envelope: ExecutionProofEnvelope) -> Self {
        Self {
            proof_data: envelope.proof_data,
            proof_type: envelope.proof_type,
            root: envelope.beacon_block_root,
        }
    }
}

impl SignedProof {
    /// Decodes without copying: `proof_data` is a slice of `bytes`. Strict; knows no size limit.
    pub fn from_ssz_bytes(bytes: &Bytes, revision: Revision) -> Result<Self, SszError> {
        let (container, message) = match revision {
            Revision::Alpha => ("SignedExecutionProof", "ExecutionProof"),
            Revision::Beta => ("SignedExecutionProofEnvelope", "ExecutionProofEnvelope"),
        };
        let parts = SignedParts::from_ssz_bytes(container, bytes)?;
        let (proof_data, proof_type, root) = codec::split_message(message, &parts.message)?;
        Ok(Self {
            revision,
            message: ProofMessage {
                proof_data,
                proof_type,
                root,
            },
            validator_index: parts.validator_index,
            signature: parts.signature,
        })
    }

    /// The SSZ bytes (copies the proof).
    pub fn to_ssz_bytes(&self) -> Bytes {
        let message = self.message.parts();
        let mut out = Vec::with_capacity(SIGNED_PROOF_OVERHEAD + message.proof_data.len());
        codec::append_signed(&mut out, self.validator_index, &self.signature);
        message.append(&mut out);
        out.into()
    }

    /// What it is known by.
    pub fn name(&self) -> ProofName {
        ProofName {
            revision: self.revision,
            root: self.message.root,
            proof_type: self.message.proof_type,
        }
    }

    /// As the container of `alpha`, if it is one.
    pub fn as_alpha(&self) -> Option<SignedExecutionProof> {
        (self.revision == Revision::Alpha).then(|| SignedExecutionProof {
            message: ExecutionProof {
                proof_data: self.message.proof_data.clone(),
                proof_type: self.message.proof_type,
                public_input: PublicInput {
                    new_payload_request_root: self.message.root,
                },
            },
            validator_index: self.validator_index,
            signature: self.signature,
        })
    }

    /// As the container of `beta`, if it is one.
    pub fn as_beta(&self) -> Option<SignedExecutionProofEnvelope> {
        (self.revision == Revision::Beta).then(|| SignedExecutionProofEnvelope {
            message: ExecutionProofEnvelope {
                proof_data: self.message.proof_data.clone(),
                proof_type: self.message.proof_type,
                beacon_block_root: self.message.root,
            },
            validator_index: self.validator_index,
            signature: self.signature,
        })
    }
}

impl From<SignedExecutionProof> for SignedProof {
    fn from(signed: SignedExecutionProof) -> Self {
        Self {
            revision: Revision::Alpha,
            message: signed.message.into(),
            validator_index: signed.validator_index,
            signature: signed.signature,
        }
    }
}

impl From<SignedExecutionProofEnvelope> for SignedProof {
    fn from(signed: SignedExecutionProofEnvelope) -> Self {
        Self {
            revision: Revision::Beta,
            message: signed.message.into(),
            validator_index: signed.validator_index,
            signature: signed.signature,
        }
    }
}

impl PartialEq<SignedExecutionProof> for SignedProof {
    fn eq(&self, other: &SignedExecutionProof) -> bool {
        self.as_alpha().as_ref() == Some(other)
    }
}

impl Serialize for SignedProof {
    /// The Beacon API's JSON of the revision's container.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.as_alpha(), self.as_beta()) {
            (Some(alpha), _) => alpha.serialize(serializer),
            (_, Some(beta)) => beta.serialize(serializer),
            (None, None) => Err(serde::ser::Error::custom("a proof is of one revision")),
        }
    }
}

impl<'de> Deserialize<'de> for SignedProof {
    /// From the JSON of either container: the message says which, by `public_input` or `beacon_block_root`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Message {
            #[serde(with = "crate::primitives::hex_bytes")]
            proof_data: Bytes,
            #[serde(with = "crate::primitives::quoted")]
            proof_type: ProofType,
            public_input: Option<PublicInput>,
            beacon_block_root: Option<Root>,
        }
        #[derive(Deserialize)]
        struct Signed {
            message: Message,
            #[serde(with = "crate::primitives::quoted")]
            validator_index: ValidatorIndex,
            signature: SignatureBytes,
        }
        let signed = Signed::deserialize(deserializer)?;
        let (revision, root) = match (signed.message.public_input, signed.message.beacon_block_root) {
            (Some(input), None) => (Revision::Alpha, input.new_payload_request_root),
            (None, Some(root)) => (Revision::Beta, root),
            (None, None) => return Err(D::Error::missing_field("public_input or beacon_block_root")),
            (Some(_), Some(_)) => {
                return Err(D::Error::custom("both public_input and beacon_block_root"));
            }
        };
        Ok(Self {
            revision,
            message: ProofMessage {
                proof_data: signed.message.proof_data,
                proof_type: signed.message.proof_type,
                root,
            },
            validator_index: signed.validator_index,
            signature: signed.signature,
        })
    }
}

/// What a proof engine judges: a proof's bytes, and what they must prove in the words of the revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInput {
    /// The proof's bytes.
    pub proof_data: Bytes,
    /// The kind of proof.
    pub proof_type: ProofType,
    /// What it must prove.
    pub public_input: StatedInput,
}

/// The public input of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatedInput {
    /// The request root alone.
    Alpha(PublicInput),
    /// The request root, that the payload is valid, the chain and the schema.
    Beta(proof_beta::PublicInput),
}

impl StatedInput {
    /// What a proof of this payload must prove under a revision; `beta`'s is rebuilt from the network's configuration.
    pub fn new(spec: &Spec, revision: Revision, new_payload_request_root: Root) -> Self {
        match revision {
            Revision::Alpha => Self::Alpha(PublicInput {
                new_payload_request_root,
            }),
            Revision::Beta => Self::Beta(proof_beta::PublicInput::of_valid_payload(
                spec,
                new_payload_request_root,
            )),
        }
    }

    /// `hash_tree_root(NewPayloadRequest)` of the payload it speaks of.
    pub fn new_payload_request_root(&self) -> Root {
        match self {
            Self::Alpha(input) => input.new_payload_request_root,
            Self::Beta(input) => input.new_payload_request_root,
        }
    }

    /// `hash_tree_root(PublicInput)`: `alpha`'s container has one field of 32 bytes, so that field is its root.
    pub fn hash_tree_root(&self) -> Root {
        match self {
            Self::Alpha(input) => input.new_payload_request_root,
            Self::Beta(input) => input.hash_tree_root(),
        }
    }
}

impl EngineInput {
    /// For a proof of this payload, by the revision that holds for it: `beta`'s public input is rebuilt from the chain and
    /// its configuration, never taken from who brought the proof.
    pub fn new(spec: &Spec, revision: Revision, key: ProofKey, proof_data: Bytes) -> Self {
        Self {
            proof_data,
            proof_type: key.proof_type,
            public_input: StatedInput::new(spec, revision, key.new_payload_request_root),
        }
    }

    /// `hash_tree_root(NewPayloadRequest)` of the payload it must prove.
    pub fn new_payload_request_root(&self) -> Root {
        self.public_input.new_payload_request_root()
    }

    /// The payload that the proof takes for granted, where its public input names one: neither revision's does.
    pub fn origin(&self) -> Option<Root> {
        match &self.public_input {
            StatedInput::Alpha(_) | StatedInput::Beta(_) => None,
        }
    }

    /// The payload and kind.
    pub fn key(&self) -> ProofKey {
        ProofKey {
            new_payload_request_root: self.new_payload_request_root(),
            proof_type: self.proof_type,
        }
    }
}

impl From<ExecutionProof> for EngineInput {
    fn from(proof: ExecutionProof) -> Self {
        Self {
            proof_data: proof.proof_data,
            proof_type: proof.proof_type,
            public_input: StatedInput::Alpha(proof.public_input),
        }
    }
}

impl Spec {
    /// The revision that holds for payloads of an epoch.
    pub fn revision_at_epoch(&self, epoch: Epoch) -> Revision {
        self.revision_at(self.fork_at_epoch(epoch))
    }

    /// `hash_tree_root` of a message in the form that holds at `epoch`: what is signed there.
    pub fn proof_message_root(&self, epoch: Epoch, message: &ProofMessage) -> Root {
        message.hash_tree_root(self, self.proof_data_form(self.revision_at_epoch(epoch)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{ForkName, ForkVersion};

    fn alpha() -> SignedExecutionProof {
        SignedExecutionProof {
            message: ExecutionProof {
                proof_data: Bytes::from_static(b"proof"),
                proof_type: 2,
                public_input: PublicInput {
                    new_payload_request_root: Root::from([3; 32]),
                },
            },
            validator_index: 7,
            signature: SignatureBytes([9; 96]),
        }
    }

    fn beta() -> SignedExecutionProofEnvelope {
        SignedExecutionProofEnvelope {
            message: ExecutionProofEnvelope {
                proof_data: Bytes::from_static(b"proof"),
                proof_type: 2,
                beacon_block_root: Root::from([4; 32]),
            },
            validator_index: 7,
            signature: SignatureBytes([9; 96]),
        }
    }

    #[test]
    fn each_revision_is_its_container() {
        let (spec, alpha, beta) = (Spec::mainnet(), alpha(), beta());
        let (a, b) = (SignedProof::from(alpha.clone()), SignedProof::from(beta.clone()));
        assert_eq!((a.as_alpha(), a.as_beta()), (Some(alpha.clone()), None));
        assert_eq!((b.as_alpha(), b.as_beta()), (None, Some(beta.clone())));
        for (signed, ssz) in [(&a, alpha.to_ssz_bytes()), (&b, beta.to_ssz_bytes())] {
            assert_eq!(signed.to_ssz_bytes(), ssz);
            let read = SignedProof::from_ssz_bytes(&ssz, signed.revision).unwrap();
            assert_eq!(read, *signed);
            assert!(SignedProof::from_ssz_bytes(&ssz.slice(1..), signed.revision).is_err());
        }
        for form in [ProofDataForm::Progressive, ProofDataForm::ByteList] {
            let root = alpha.message.hash_tree_root(&spec, form);
            assert_eq!(a.message.hash_tree_root(&spec, form), root);
            let root = beta.message.hash_tree_root(&spec, form);
            assert_eq!(b.message.hash_tree_root(&spec, form), root);
        }
        // The same bytes under the other revision name something else.
        assert_ne!(
            a.name(),
            SignedProof::from_ssz_bytes(&alpha.to_ssz_bytes(), Revision::Beta)
                .unwrap()
                .name()
        );
    }

    #[test]
    fn a_message_is_hashed_in_the_form_of_its_epochs_revision() {
        let mut spec = Spec::mainnet();
        spec.revision_by_fork = [(ForkName::Gloas, Revision::Beta)].into();
        spec.fork_schedule.retain(|(fork, ..)| *fork != ForkName::Gloas);
        spec.fork_schedule
            .push((ForkName::Gloas, ForkVersion([7, 0, 0, 0]), Epoch(500_000)));
        let message = ProofMessage {
            proof_data: Bytes::from_static(&[5; 100]),
            proof_type: 1,
            root: Root::from([6; 32]),
        };
        for (epoch, form) in [
            (499_999, ProofDataForm::Progressive),
            (500_000, ProofDataForm::ByteList),
        ] {
            let root = spec.proof_message_root(Epoch(epoch), &message);
            assert_eq!(root, message.hash_tree_root(&spec, form), "{epoch}");
        }
    }

    #[test]
    fn json_says_the_revision() {
        for (signed, json) in [
            (SignedProof::from(alpha()), serde_json::to_value(alpha()).unwrap()),
            (SignedProof::from(beta()), serde_json::to_value(beta()).unwrap()),
        ] {
            assert_eq!(serde_json::to_value(&signed).unwrap(), json);
            assert_eq!(serde_json::from_value::<SignedProof>(json).unwrap(), signed);
        }
        let mut both = serde_json::to_value(beta()).unwrap();
        both["message"]["public_input"] = serde_json::to_value(alpha().message.public_input).unwrap();
        assert!(serde_json::from_value::<SignedProof>(both.clone()).is_err());
        let message = both["message"].as_object_mut().unwrap();
        message.remove("public_input");
        message.remove("beacon_block_root");
        let error = serde_json::from_value::<SignedProof>(both).unwrap_err();
        assert!(error.to_string().contains("beacon_block_root"), "{error}");
    }

    #[test]
    fn the_engines_input_is_rebuilt_from_the_chain() {
        let mut spec = Spec::mainnet();
        spec.chain_id = 77;
        let key = ProofKey {
            new_payload_request_root: Root::from([3; 32]),
            proof_type: 2,
        };
        let input = |revision| EngineInput::new(&spec, revision, key, Bytes::from_static(b"proof"));
        assert_eq!(input(Revision::Alpha), alpha().message.into());
        let beta = input(Revision::Beta);
        assert_eq!(beta.key(), key);
        let StatedInput::Beta(stated) = beta.public_input else {
            unreachable!("of beta")
        };
        assert_eq!(
            (stated.successful_validation, stated.chain_id, stated.schema_id),
            (true, 77, 0x1501)
        );
    }
}
