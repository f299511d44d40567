//! Decoding, encoding and roots of single containers; what must not decode.

use crate::{check_shape, february, same, same_bytes, target};
use assay_conformance::{Case, Failure, Outcome};
use assay_types::{
    ExecutionProof, ExecutionProofStatus, ExecutionProofsByRange, ForkName, ProofByRootIdentifier,
    ProofByRootIdentifiers, ProofTypes, PublicInput, Revision, Root, SignedExecutionProof, Spec,
    SszContainer,
    containers::{ContainerContext, lookup},
    spec::ProofDataForm,
};
use bytes::Bytes;

/// What a Rust type makes of bytes: its encoding and root, or why they do not decode.
type Decoded = Result<(Vec<u8>, Root), String>;

fn small<T: SszContainer>(bytes: &Bytes) -> Decoded {
    let value = T::from_ssz_bytes(bytes).map_err(|e| e.to_string())?;
    let encoded = value.to_ssz_bytes();
    let (least, most) = T::ssz_len_bounds();
    if !(least..=most).contains(&encoded.len()) {
        return Err(format!(
            "{} bytes are outside of {least} to {most}",
            encoded.len()
        ));
    }
    Ok((encoded, value.hash_tree_root()))
}

/// Through the Rust type of that name, if the proof containers of `alpha` have one.
pub(crate) fn by_type(name: &str, spec: &Spec, bytes: &Bytes) -> Option<Decoded> {
    let form = spec.proof_data_form(Revision::Alpha);
    let text = |e: assay_types::SszError| e.to_string();
    Some(match name {
        "PublicInput" => PublicInput::from_ssz_bytes(bytes)
            .map(|v| (v.to_ssz_bytes(), v.hash_tree_root()))
            .map_err(text),
        "ExecutionProof" => ExecutionProof::from_ssz_bytes(bytes)
            .map(|v| (v.to_ssz_bytes().into(), v.hash_tree_root(spec, form)))
            .map_err(text),
        "SignedExecutionProof" => SignedExecutionProof::from_ssz_bytes(bytes)
            .map(|v| (v.to_ssz_bytes().into(), v.hash_tree_root(spec, form)))
            .map_err(text),
        "ProofTypes" => small::<ProofTypes>(bytes),
        "ProofByRootIdentifier" => small::<ProofByRootIdentifier>(bytes),
        "ProofByRootIdentifiers" | "ExecutionProofsByRootRequest" => small::<ProofByRootIdentifiers>(bytes),
        "ExecutionProofsByRange" | "ExecutionProofsByRangeRequest" => small::<ExecutionProofsByRange>(bytes),
        "ExecutionProofStatus" => small::<ExecutionProofStatus>(bytes),
        _ => return None,
    })
}

/// The fork a case is of: the one it or its file names, else Gloas, the vectors' own.
fn fork_of(case: &Case<'_>, head: &Case<'_>) -> Result<ForkName, String> {
    for holder in [case, head] {
        if let Ok(name) = holder.text("fork") {
            return name.parse().map_err(|e| format!("{e}"));
        }
    }
    Ok(ForkName::Gloas)
}

/// The networks whose presets a file names; mainnet where it names none.
fn presets_of(head: &Case<'_>) -> Result<Vec<Spec>, String> {
    let names: Vec<String> = match (head.value().get("presets_agreeing"), head.text("preset")) {
        (Some(list), _) => serde_json::from_value(list.clone()).map_err(|e| e.to_string())?,
        (None, Ok(name)) => vec![name.to_owned()],
        (None, Err(_)) => vec!["mainnet".to_owned()],
    };
    names
        .iter()
        .map(|name| match name.as_str() {
            "mainnet" => Ok(Spec::mainnet()),
            "minimal" => Ok(Spec::minimal()),
            other => Err(format!("no preset is called {other}")),
        })
        .collect()
}

fn type_of<'a>(case: &Case<'a>, head: &Case<'a>) -> Result<&'a str, String> {
    case.text("type").or_else(|_| head.text("type"))
}

#[test]
fn ssz_static() -> Result<(), Failure> {
    target()?.run("ssz_static", |file| {
        let head = file.head();
        let presets = presets_of(&head)?;
        file.cases("cases", |case| {
            let name = type_of(&case, &head)?;
            let fork = fork_of(&case, &head)?;
            let (ssz, root) = (case.ssz("ssz")?, Root::from(case.array("root")?));
            for spec in &presets {
                check_shape(name, fork, spec, Revision::Alpha, &ssz, &root)
                    .map_err(|why| format!("{} preset: {why}", spec.preset))?;
            }
            if let Some(decoded) = by_type(name, &Spec::mainnet(), &ssz) {
                let (encoded, ours) = decoded?;
                same_bytes("encoding", &encoded, &ssz)?;
                same("root", &ours, &root)?;
            }
            // February's byte list has a limit in SSZ already.
            let february_limit = february()?.max_proof_size;
            if name == "SignedExecutionProof" && case.number("proof_data_len")? > february_limit {
                refused_by_february(&ssz)?;
            }
            Ok(Outcome::Run)
        })
    })
}

/// Refused by the shape, and by the Rust type where there is one.
#[test]
fn ssz_invalid() -> Result<(), Failure> {
    target()?.run("ssz_invalid", |file| {
        let head = file.head();
        let presets = presets_of(&head)?;
        file.cases("cases", |case| {
            if let Ok(expected) = case.text("expected") {
                same("expected", &expected, &"reject")?;
            }
            let name = type_of(&case, &head)?;
            let fork = fork_of(&case, &head)?;
            let ssz = case.ssz("ssz")?;
            for spec in &presets {
                let context = ContainerContext::with_revision(fork, spec, Revision::Alpha);
                let schema = lookup(name, &context).map_err(|e| e.to_string())?;
                if schema.check(&ssz).is_ok() {
                    return Err(format!("{} preset: the shape takes it", spec.preset));
                }
            }
            match by_type(name, &Spec::mainnet(), &ssz) {
                Some(Ok(_)) => Err("the Rust type takes it".to_owned()),
                _ => Ok(Outcome::Run),
            }
        })
    })
}

/// Decodes, and the protocol refuses it: by its size alone.
#[test]
fn ssz_valid_protocol_invalid() -> Result<(), Failure> {
    let spec = Spec::mainnet();
    target()?.run("ssz_valid_protocol_invalid", |file| {
        file.cases("cases", |case| {
            same("type", &case.text("type")?, &"SignedExecutionProof")?;
            let answer = case.text("ssz_decode")?;
            if !answer.starts_with("ok") {
                return Err(format!("ssz_decode {answer:?} is nothing this test knows"));
            }
            let inline = case.optional_ssz("ssz")?;
            let found = match inline {
                None if case.has("see") => case.referred_ssz("see", "ssz")?,
                inline => inline,
            };
            let (bytes, outcome) = match found {
                Some(bytes) => (bytes, Outcome::Run),
                // Named, but not in the folder: the same size is made here.
                None => (
                    oversize(&spec),
                    Outcome::Partial("the case it refers to is not in the folder"),
                ),
            };
            let signed = SignedExecutionProof::from_ssz_bytes(&bytes).map_err(|e| e.to_string())?;
            same_bytes("encoding", &signed.to_ssz_bytes(), &bytes)?;
            if case.has("root") {
                let root = Root::from(case.array("root")?);
                same(
                    "root",
                    &signed.hash_tree_root(&spec, ProofDataForm::Progressive),
                    &root,
                )?;
            }
            if case.has("proof_data_len") {
                let len = signed.message.proof_data.len() as u64;
                same("proof_data_len", &len, &case.number("proof_data_len")?)?;
            }
            match case.text("gossip") {
                Err(_) => {}
                Ok("REJECT") => {
                    // protocol.md section 4, rule 7; and the byte list of February does not even decode.
                    let len = signed.message.proof_data.len() as u64;
                    if len != 0 && len <= spec.max_proof_size {
                        return Err(format!("{len} bytes of proof are no reason to refuse it"));
                    }
                    if len > spec.max_proof_size {
                        refused_by_february(&bytes)?;
                    }
                }
                Ok(other) => return Err(format!("gossip {other:?} is nothing this test knows")),
            }
            Ok(outcome)
        })
    })
}

fn oversize(spec: &Spec) -> Bytes {
    SignedExecutionProof {
        message: ExecutionProof {
            proof_data: vec![7; spec.max_proof_size as usize + 1].into(),
            proof_type: 1,
            public_input: PublicInput {
                new_payload_request_root: Root::from([1; 32]),
            },
        },
        validator_index: 0,
        signature: assay_types::SignatureBytes::ZERO,
    }
    .to_ssz_bytes()
}

fn refused_by_february(bytes: &Bytes) -> Result<(), String> {
    let spec = february()?;
    let context = ContainerContext::with_revision(ForkName::Fulu, &spec, Revision::Alpha);
    let schema = lookup("SignedExecutionProof", &context).map_err(|e| e.to_string())?;
    let by_shape = schema.check(bytes).is_ok();
    let by_type = SignedExecutionProof::from_ssz_bytes_in_form(bytes, &spec, ProofDataForm::ByteList).is_ok();
    if by_shape || by_type {
        return Err("the byte list of February takes it".to_owned());
    }
    Ok(())
}
