//! Proofs as they come by gossip, req/resp and HTTP, and the small containers of req/resp.

use crate::{Seen, spec};
use assay_types::{
    ContainerContext, ExecutionProofStatus, ExecutionProofsByRange, ForkName, Preset, ProofByRootIdentifier,
    ProofByRootIdentifiers, ProofTypes, PublicInput, Revision, Schema, SignedExecutionProof, SszContainer,
    containers::lookup, digest, gossip, proof::SIGNED_PROOF_OVERHEAD,
    proof_beta::SignedExecutionProofEnvelope, spec::ProofDataForm,
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{fmt::Debug, sync::OnceLock};

/// Gossip data as it came: raw snappy of a signed proof.
pub(crate) fn gossip_data(data: &[u8]) -> Seen {
    const SMALL: usize = 300;
    let limit = spec(Preset::Mainnet).max_signed_proof_size();
    let unpacked = gossip::decompress(data, limit);
    // A lower limit changes nothing but what is above it.
    match (&unpacked, gossip::decompress(data, SMALL)) {
        (Ok(whole), Ok(small)) => assert_eq!(whole, &small),
        (Ok(whole), Err(_)) => assert!(whole.len() > SMALL),
        (Err(_), small) => assert!(small.is_err()),
    }
    digest::message_id_invalid("topic", data);
    let Ok(ssz) = unpacked else {
        return Seen::Refused;
    };
    assert!(ssz.len() <= limit);
    assert_eq!(
        gossip::decompress(&gossip::compress(&ssz), limit).as_ref(),
        Ok(&ssz)
    );
    digest::message_id_valid("topic", &ssz);
    signed_proof(&ssz)
}

/// A signed proof in SSZ, of either revision.
pub(crate) fn signed_proof(data: &[u8]) -> Seen {
    let bytes = Bytes::copy_from_slice(data);
    let spec = spec(Preset::Mainnet);
    let shapes = proof_shapes();
    let decoded = SignedExecutionProof::from_ssz_bytes(&bytes);
    let envelope = SignedExecutionProofEnvelope::from_ssz_bytes(&bytes);
    for (form, shape, beta_shape) in shapes {
        let within = form == &ProofDataForm::Progressive
            || data.len() <= SIGNED_PROOF_OVERHEAD + usize::try_from(spec.max_proof_size).unwrap();
        assert_eq!(shape.check(data).is_ok(), decoded.is_ok() && within);
        assert_eq!(
            SignedExecutionProof::from_ssz_bytes_in_form(&bytes, spec, *form).is_ok(),
            decoded.is_ok() && within
        );
        assert_eq!(beta_shape.check(data).is_ok(), envelope.is_ok() && within);
        if let (Ok(proof), true) = (&decoded, within) {
            let view = shape.view(data).unwrap();
            assert_eq!(proof.hash_tree_root(spec, *form), view.hash_tree_root());
            assert_eq!(
                proof.message.hash_tree_root(spec, *form),
                view.at("message").unwrap().hash_tree_root()
            );
            let json = view.to_json();
            assert_eq!(serde_json::to_value(proof).unwrap(), json);
            assert_eq!(
                serde_json::from_value::<SignedExecutionProof>(json)
                    .as_ref()
                    .unwrap(),
                proof
            );
        }
        if let (Ok(envelope), true) = (&envelope, within) {
            let view = beta_shape.view(data).unwrap();
            assert_eq!(envelope.hash_tree_root(spec, *form), view.hash_tree_root());
        }
    }
    // Both revisions write the same frame.
    assert_eq!(decoded.is_ok(), envelope.is_ok());
    if let (Ok(proof), Ok(envelope)) = (&decoded, &envelope) {
        assert_eq!(proof.to_ssz_bytes(), bytes);
        assert_eq!(envelope.to_ssz_bytes(), bytes);
        assert_eq!(
            bytes.len(),
            SIGNED_PROOF_OVERHEAD + proof.message.proof_data.len()
        );
    }
    Seen::of(&decoded)
}

/// The shapes of a signed proof and a signed envelope, by form of their data.
fn proof_shapes() -> &'static [(ProofDataForm, Schema, Schema)] {
    static SHAPES: OnceLock<Vec<(ProofDataForm, Schema, Schema)>> = OnceLock::new();
    SHAPES.get_or_init(|| {
        [ProofDataForm::Progressive, ProofDataForm::ByteList]
            .map(|form| {
                let shape = |name, revision| {
                    let mut context =
                        ContainerContext::with_revision(ForkName::Gloas, spec(Preset::Mainnet), revision);
                    context.proof_data_form = form;
                    lookup(name, &context).unwrap()
                };
                (
                    form,
                    shape("SignedExecutionProof", Revision::Alpha),
                    shape("SignedExecutionProofEnvelope", Revision::Beta),
                )
            })
            .into()
    })
}

fn alpha_shape(name: &str) -> Schema {
    let context = ContainerContext::with_revision(ForkName::Gloas, spec(Preset::Mainnet), Revision::Alpha);
    lookup(name, &context).unwrap()
}

/// The first byte chooses the container, the rest is its SSZ.
pub(crate) fn req_resp_containers(data: &[u8]) -> Seen {
    let Some((which, ssz)) = data.split_first() else {
        return Seen::Refused;
    };
    match which % 6 {
        0 => small_container::<ProofTypes>(ssz),
        1 => small_container::<ProofByRootIdentifier>(ssz),
        2 => small_container::<ProofByRootIdentifiers>(ssz),
        3 => small_container::<ExecutionProofsByRange>(ssz),
        4 => small_container::<ExecutionProofStatus>(ssz),
        _ => {
            let input = PublicInput::from_ssz_bytes(ssz);
            let shape = alpha_shape("PublicInput");
            assert_eq!(shape.check(ssz).is_ok(), input.is_ok());
            if let Ok(input) = &input {
                assert_eq!(input.to_ssz_bytes(), ssz);
                assert_eq!(Ok(input.hash_tree_root()), shape.hash_tree_root(ssz));
            }
            Seen::of(&input)
        }
    }
}

fn small_container<T>(ssz: &[u8]) -> Seen
where
    T: SszContainer + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let decoded = T::from_ssz_bytes(ssz);
    let shape = alpha_shape(T::NAME);
    assert_eq!(shape.check(ssz).is_ok(), decoded.is_ok(), "{}", T::NAME);
    if let Ok(value) = &decoded {
        let (fewest, most) = T::ssz_len_bounds();
        assert!((fewest..=most).contains(&ssz.len()));
        assert_eq!(value.to_ssz_bytes(), ssz);
        let view = shape.view(ssz).unwrap();
        assert_eq!(value.hash_tree_root(), view.hash_tree_root());
        let json = serde_json::to_value(value).unwrap();
        assert_eq!(&serde_json::from_value::<T>(json.clone()).unwrap(), value);
        assert_eq!(view.to_json(), json);
    }
    Seen::of(&decoded)
}

/// The first byte chooses the container, the rest is the Beacon API's JSON of it.
pub(crate) fn proof_json(data: &[u8]) -> Seen {
    let Some((which, json)) = data.split_first() else {
        return Seen::Refused;
    };
    match which % 6 {
        0 => {
            let proof = json_value::<SignedExecutionProof>(json);
            if let Some(proof) = &proof {
                let ssz = proof.to_ssz_bytes();
                assert_eq!(SignedExecutionProof::from_ssz_bytes(&ssz).as_ref(), Ok(proof));
                // The schema reads the same JSON to the same bytes, where it takes it at all.
                let shape = &proof_shapes()[0].1;
                let value: Option<Value> = serde_json::from_slice(json).ok();
                if let Some(Ok(encoded)) = value.map(|value| shape.encode_json(&value)) {
                    assert_eq!(encoded, ssz);
                }
            }
            Seen::accepted(proof.is_some())
        }
        1 => Seen::accepted(json_value::<SignedExecutionProofEnvelope>(json).is_some()),
        2 => small_json::<ProofTypes>(json),
        3 => small_json::<ProofByRootIdentifiers>(json),
        4 => small_json::<ExecutionProofsByRange>(json),
        _ => small_json::<ExecutionProofStatus>(json),
    }
}

/// Reads JSON; what it read is written to JSON that reads the same.
fn json_value<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(json).ok()?;
    let again = serde_json::to_vec(&value).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&again).unwrap(), value);
    Some(value)
}

fn small_json<T>(json: &[u8]) -> Seen
where
    T: SszContainer + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let Some(value) = json_value::<T>(json) else {
        return Seen::Refused;
    };
    // JSON knows no limits; what keeps them decodes from its bytes, what does not is refused there.
    let ssz = value.to_ssz_bytes();
    match T::from_ssz_bytes(&ssz) {
        Ok(decoded) => assert_eq!(decoded, value),
        Err(_) => assert!(alpha_shape(T::NAME).check(&ssz).is_err()),
    }
    Seen::Accepted
}
