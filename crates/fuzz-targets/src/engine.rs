//! What beacon node and execution client say over the Engine API.

use crate::{Seen, blocks::check_request, choose, spec};
use assay_engine_api::{
    ErrorCode, ForkchoiceStateV1, ForkchoiceUpdatedResponse, Incoming, JwtSecret, NewPayloadParams,
    PayloadAttributes, PayloadStatusV1, PayloadValidity, Request, Response,
    jsonrpc::{MAX_BATCH_REQUESTS, read_answer},
    jwt::MAX_CLOCK_DIFFERENCE,
    status_edit::{self, EditableStatus, NewStatus, Shape, StatusAnswer},
};
use assay_types::{BlockHash, ForkName, Preset};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A body that a beacon node posts.
pub(crate) fn engine_call(body: &[u8]) -> Seen {
    let parsed = Incoming::parse(body);
    let seen = Seen::of(&parsed);
    match parsed {
        Ok(Incoming::Single(request)) => {
            let by_body = NewPayloadParams::from_call(body).ok();
            if let Some(params) = request.params {
                assert_eq!(by_body, NewPayloadParams::from_params(params.get()).ok());
            }
            call(&request);
        }
        Ok(Incoming::Batch(elements)) => {
            assert!((1..=MAX_BATCH_REQUESTS).contains(&elements.len()));
            for element in &elements {
                match &element.request {
                    Ok(request) => call(request),
                    Err(e) => assert_eq!(e.kind(), ErrorCode::InvalidRequest),
                }
            }
        }
        Err(e) => assert!(matches!(
            e.kind(),
            ErrorCode::ParseError | ErrorCode::InvalidRequest
        )),
    }
    seen
}

fn call(request: &Request<'_>) {
    let answer = Response::error(request.id(), ErrorCode::MethodNotFound).to_json();
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_else(|e| {
        // A number that no double holds is an id all the same; only its value cannot be compared.
        assert!(e.to_string().contains("number out of range"), "{e}");
        Value::Null
    });
    assert!(answer.is_null() || answer["error"]["code"] == -32601);

    if let Some(params) = request
        .params
        .and_then(|params| NewPayloadParams::from_params(params.get()).ok())
    {
        for preset in [Preset::Mainnet, Preset::Minimal] {
            let of_forks = ForkName::ALL
                .iter()
                .filter_map(|fork| params.clone().into_request(*fork, spec(preset)).ok());
            for made in of_forks {
                assert_eq!(made.execution_payload.block_hash, params.block_hash());
                // Lists over the preset's limits are left to the root, which refuses them.
                if made.hash_tree_root(spec(preset)).is_ok() {
                    check_request(&made, spec(preset));
                }
                // Whatever it says of these fields, it says.
                let _ = assay_engine_api::block_hash::check(&made);
            }
        }
    }
    if let Ok((state, attributes)) = request.params_as::<(ForkchoiceStateV1, Option<PayloadAttributes>)>() {
        let again = serde_json::to_string(&(state, &attributes)).unwrap();
        let read: (ForkchoiceStateV1, Option<PayloadAttributes>) = serde_json::from_str(&again).unwrap();
        assert_eq!(read, (state, attributes));
    }
}

/// The first byte chooses which answer it is, the rest is what an execution client answered.
pub(crate) fn engine_answer(data: &[u8]) -> Seen {
    let Some((which, body)) = data.split_first() else {
        return Seen::Refused;
    };
    let shape = choose(&[Shape::NewPayload, Shape::ForkchoiceUpdated], *which);
    let _ = match shape {
        Shape::NewPayload => read_answer::<PayloadStatusV1>(1, body).map(drop),
        Shape::ForkchoiceUpdated => read_answer::<ForkchoiceUpdatedResponse>(1, body).map(drop),
    };
    match status_edit::read(shape, body) {
        Ok(StatusAnswer::Status(status)) => {
            for new in [
                NewStatus::SYNCING,
                NewStatus {
                    status: PayloadValidity::Valid,
                    latest_valid_hash: Some(BlockHash::from([0xab; 32])),
                    keep_payload_id: true,
                },
            ] {
                edit(shape, body, &status, &new);
            }
            Seen::Accepted
        }
        Ok(StatusAnswer::Error(_)) => Seen::Accepted,
        Err(_) => Seen::Refused,
    }
}

fn edit(shape: Shape, body: &[u8], status: &EditableStatus<'_>, new: &NewStatus) {
    let edited = status.with(new);
    let Ok(StatusAnswer::Status(read)) = status_edit::read(shape, &edited) else {
        panic!("an edited answer reads no more");
    };
    let expected = PayloadStatusV1 {
        status: new.status,
        latest_valid_hash: new.latest_valid_hash,
        validation_error: None,
    };
    assert_eq!(read.status(), &expected);
    assert_eq!(
        read.has_payload_id(),
        status.has_payload_id() && new.keep_payload_id
    );
    // A second edit finds its own work and changes nothing.
    assert_eq!(read.with(new), edited);
    // Every other member is as it was.
    let (Ok(mut before), Ok(mut after)) = (
        serde_json::from_slice::<Value>(body),
        serde_json::from_slice::<Value>(&edited),
    ) else {
        return;
    };
    for answer in [&mut before, &mut after] {
        let result = &mut answer["result"];
        let inner = match shape {
            Shape::NewPayload => result,
            Shape::ForkchoiceUpdated => {
                result["payloadId"] = Value::Null;
                &mut result["payloadStatus"]
            }
        };
        for member in ["status", "latestValidHash", "validationError"] {
            inner[member] = Value::Null;
        }
    }
    assert_eq!(before, after);
}

/// The moment at which tokens are judged.
const NOW: u64 = 1_700_000_000;
const SECRET: [u8; 32] = [7; 32];

/// Input that begins with a zero byte holds a token's header and, after a line feed, its claims, which are signed here: a
/// signature cannot be guessed. Any other input is the value of an `Authorization` header.
pub(crate) fn engine_token(data: &[u8]) -> Seen {
    let secret = JwtSecret::from(SECRET);
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(NOW);
    let Some((0, parts)) = data.split_first() else {
        let text = std::str::from_utf8(data).ok();
        return Seen::of(&secret.verify_header(text, now));
    };
    let split = parts
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(parts.len());
    let (header, claims) = parts.split_at(split);
    let claims = claims.get(1..).unwrap_or_default();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    let verdict = secret.verify_header(Some(&format!("Bearer {signed}.{signature}")), now);

    if verdict.is_ok() {
        let header: Value = serde_json::from_slice(header).unwrap_or(json!({"alg": "HS256"}));
        assert_eq!(header["alg"], "HS256");
        if let Ok(claims) = serde_json::from_slice::<Value>(claims) {
            let iat = claims["iat"].as_f64().unwrap();
            let most = MAX_CLOCK_DIFFERENCE.as_secs_f64() + 1.0;
            assert!((iat - NOW as f64).abs() <= most, "{iat}");
        }
        // The same token under another secret is nobody's.
        let other = JwtSecret::from([8; 32]);
        assert!(other.verify(&format!("{signed}.{signature}"), now).is_err());
    }
    Seen::of(&verdict)
}
