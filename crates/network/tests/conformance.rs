//! Reference vectors (specs/conformance.toml) against this crate: the bytes of req/resp streams.

use assay_conformance::{Case, Failure, Outcome, Target};
use assay_network::framing::{
    ErrorCode, FramingError, LengthBounds, MAX_ERROR_MESSAGE_BYTES, PayloadDecoder, ResponseChunk,
    ResponseDecoder, decode_length, decode_request, encode_error_chunk, encode_length, encode_request,
    encode_success_chunk,
};
use assay_types::{
    ExecutionProofStatus, ExecutionProofsByRange, ForkName, ProofByRootIdentifiers, Revision, Spec,
    containers::{ContainerContext, lookup},
    proof::{SIGNED_PROOF_OVERHEAD, SszContainer},
};

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}: {ours:?}, not {theirs:?}"))
    }
}

fn same_bytes(what: &str, ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    let differs = ours.iter().zip(theirs).position(|(a, b)| a != b);
    match differs {
        None if ours.len() == theirs.len() => Ok(()),
        None => Err(format!("{what}: {} bytes, not {}", ours.len(), theirs.len())),
        Some(at) => Err(format!("{what}: differs at byte {at}")),
    }
}

/// Fewest and most bytes of a type's values on this network.
fn bounds(name: &str, spec: &Spec) -> LengthBounds {
    let (min, max) = match name {
        "ExecutionProofsByRangeRequest" | "ExecutionProofsByRange" => {
            ExecutionProofsByRange::ssz_len_bounds()
        }
        "ProofByRootIdentifiers" => ProofByRootIdentifiers::ssz_len_bounds(),
        "ExecutionProofStatus" => ExecutionProofStatus::ssz_len_bounds(),
        "SignedExecutionProof" | "SignedExecutionProofEnvelope" => {
            (SIGNED_PROOF_OVERHEAD, spec.max_signed_proof_size())
        }
        _ => (0, usize::try_from(spec.max_payload_size).unwrap_or(usize::MAX)),
    };
    LengthBounds::new(min, max)
}

/// That the bytes are a value of the case's type, which the guard knows.
fn check_type(name: &str, ssz: &[u8], spec: &Spec) -> Result<(), String> {
    // Req/resp is `alpha`'s alone.
    let context = ContainerContext::with_revision(ForkName::Gloas, spec, Revision::Alpha);
    let schema = lookup(name, &context).map_err(|e| e.to_string())?;
    schema.check(ssz).map_err(|e| format!("{name}: {e}"))
}

/// As from a socket that gives one byte at a time: the result, and how many bytes it took to know it.
fn byte_by_byte<T>(
    wire: &[u8],
    mut push: impl FnMut(&mut &[u8]) -> Result<Option<T>, FramingError>,
) -> Result<Option<(T, usize)>, FramingError> {
    for (n, byte) in wire.iter().enumerate() {
        if let Some(done) = push(&mut std::slice::from_ref(byte))? {
            return Ok(Some((done, n + 1)));
        }
    }
    Ok(None)
}

fn request(case: &Case<'_>, spec: &Spec) -> Result<Outcome, String> {
    let (name, wire) = (case.text("type")?, wire(case)?);
    let bounds = bounds(name, spec);
    let decoded = decode_request(&wire, bounds).map_err(|e| e.to_string())?;
    check_type(name, &decoded, spec)?;
    let mut decoder = PayloadDecoder::new(bounds);
    let streamed = byte_by_byte(&wire, |byte| decoder.push(byte)).map_err(|e| e.to_string())?;
    let (streamed, taken) = streamed.ok_or("more was waited for")?;
    same_bytes("byte by byte", &streamed, &decoded)?;
    same("bytes taken", &taken, &wire.len())?;
    let ours = decode_request(&encode_request(&decoded), bounds).map_err(|e| e.to_string())?;
    same_bytes("our encoding", &ours, &decoded)?;
    outcome(case, &decoded, 0, &wire)
}

fn response_chunk(case: &Case<'_>, spec: &Spec) -> Result<Outcome, String> {
    let (name, wire) = (case.text("type")?, wire(case)?);
    let bounds = bounds(name, spec);
    same("result", &case.number("result")?, &0)?;
    if !case.hex("context_bytes")?.is_empty() {
        return refused(&wire, bounds);
    }
    let mut rest = &wire[..];
    let mut decoder = ResponseDecoder::new(bounds, 1);
    let decoded = match decoder.push(&mut rest).map_err(|e| e.to_string())? {
        Some(ResponseChunk::Success(ssz)) => ssz,
        other => return Err(format!("became {other:?}")),
    };
    same("bytes left", &rest.len(), &0)?;
    decoder.finish().map_err(|e| e.to_string())?;
    check_type(name, &decoded, spec)?;
    let mut decoder = ResponseDecoder::new(bounds, 1);
    let streamed = byte_by_byte(&wire, |byte| decoder.push(byte)).map_err(|e| e.to_string())?;
    same(
        "byte by byte",
        &streamed.map(|(_, taken)| taken),
        &Some(wire.len()),
    )?;
    let ours = encode_success_chunk(&decoded);
    let again = ResponseDecoder::new(bounds, 1)
        .push(&mut &ours[..])
        .map_err(|e| e.to_string())?;
    if again != Some(ResponseChunk::Success(decoded.clone())) {
        return Err("our encoding does not read back".to_owned());
    }
    outcome(case, &decoded, 1, &wire)
}

fn error_chunk(case: &Case<'_>) -> Result<Outcome, String> {
    let wire = wire(case)?;
    let any = LengthBounds::new(0, MAX_ERROR_MESSAGE_BYTES);
    if !case.hex("context_bytes")?.is_empty() {
        return refused(&wire, any);
    }
    let byte = u8::try_from(case.number("result")?).map_err(|e| e.to_string())?;
    let code = ErrorCode::from_byte(byte).ok_or("0 is no error")?;
    let message = case.ssz("error_message_ssz")?.to_vec();
    let expected = Some(ResponseChunk::Error {
        code,
        message: message.clone(),
    });
    let ours = encode_error_chunk(code, &message);
    for wire in [&wire[..], &ours] {
        let mut decoder = ResponseDecoder::new(any, 0);
        let mut rest = wire;
        same(
            "chunk",
            &decoder.push(&mut rest).map_err(|e| e.to_string())?,
            &expected,
        )?;
        same("bytes left", &rest.len(), &0)?;
        if decoder.push(&mut &[0][..]).is_ok() {
            return Err("an error chunk does not end the response".to_owned());
        }
    }
    Ok(Outcome::Run)
}

/// An error out of the bytes there are, whether they come at once or one by one.
fn refused(wire: &[u8], bounds: LengthBounds) -> Result<Outcome, String> {
    let mut decoder = ResponseDecoder::new(bounds, 1);
    if decoder.push(&mut &wire[..]).is_ok() {
        return Err("context bytes were taken, or more was waited for".to_owned());
    }
    let mut decoder = ResponseDecoder::new(bounds, 1);
    match byte_by_byte(wire, |byte| decoder.push(byte)) {
        Err(_) => Ok(Outcome::Run),
        Ok(_) => Err("byte by byte it was not refused".to_owned()),
    }
}

/// Compares with what the case says of the uncompressed bytes and of the length prefix at `prefix_at`.
fn outcome(case: &Case<'_>, decoded: &[u8], prefix_at: usize, wire: &[u8]) -> Result<Outcome, String> {
    let mut prefix = Vec::new();
    encode_length(decoded.len() as u64, &mut prefix);
    if case.has("length_prefix") {
        same("length prefix", &prefix, &case.hex("length_prefix")?)?;
    }
    if !wire[prefix_at..].starts_with(&prefix) {
        return Err("the wire does not begin with our length prefix".to_owned());
    }
    if case.has("ssz_len") {
        same("ssz_len", &(decoded.len() as u64), &case.number("ssz_len")?)?;
    }
    match case.optional_ssz("ssz")? {
        Some(ssz) => same_bytes("ssz", decoded, &ssz).map(|()| Outcome::Run),
        None => Ok(Outcome::Partial("its ssz is named, and not in the folder")),
    }
}

fn wire(case: &Case<'_>) -> Result<Vec<u8>, String> {
    Ok(case.optional_raw("wire")?.ok_or("the case has no wire")?.to_vec())
}

fn length_prefix(case: &Case<'_>) -> Result<Outcome, String> {
    let (n, varint) = (case.number("n")?, case.hex("varint")?);
    let mut ours = Vec::new();
    encode_length(n, &mut ours);
    same("varint", &ours, &varint)?;
    same("read back", &decode_length(&varint), &Ok(Some((n, varint.len()))))?;
    Ok(Outcome::Run)
}

/// A request that must be refused. Only one that is merely cut off may first be waited for.
fn invalid_request(case: &Case<'_>, name: &str, spec: &Spec) -> Result<Outcome, String> {
    let wire = wire(case)?;
    let name = if case.has("type") {
        case.text("type")?
    } else {
        name
    };
    match decode_request(&wire, bounds(name, spec)) {
        // Framed well: then it is the container that is wrong.
        Ok(ssz) if check_type(name, &ssz, spec).is_ok() => Err("it was taken".to_owned()),
        Ok(_) | Err(_) => Ok(Outcome::Run),
    }
}

/// The type that `invalid_requests_<protocol>` is about.
fn type_of_protocol(protocol: &str) -> Result<&'static str, String> {
    match protocol {
        "execution_proof_status" => Ok("ExecutionProofStatus"),
        "execution_proofs_by_range" => Ok("ExecutionProofsByRangeRequest"),
        "execution_proofs_by_root" => Ok("ProofByRootIdentifiers"),
        other => Err(format!("no protocol {other:?} is known")),
    }
}

#[test]
fn reqresp() -> Result<(), Failure> {
    let spec = Spec::mainnet();
    Target::open(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"))?.run("reqresp", |file| {
        let head = file.head();
        if head.has("max_request_execution_proofs") {
            let most = spec.max_request_execution_proofs();
            same(
                "max_request_execution_proofs",
                &most,
                &head.number("max_request_execution_proofs")?,
            )?;
        }
        file.cases("length_prefix", |case| length_prefix(&case))?;
        file.cases("cases", |case| match case.text("kind")? {
            "request" => request(&case, &spec),
            "response_chunk" => response_chunk(&case, &spec),
            "error_chunk" => error_chunk(&case),
            other => Err(format!("kind {other:?} is not known")),
        })?;
        for array in file.arrays() {
            if let Some(protocol) = array.strip_prefix("invalid_requests_") {
                let name = type_of_protocol(protocol)?;
                file.cases(&array, |case| invalid_request(&case, name, &spec))?;
            }
        }
        Ok(())
    })
}
