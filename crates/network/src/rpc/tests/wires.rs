//! Bytes of others' making through the real reader: the reference vectors, and requests that are none.

use super::rig::*;
use crate::{
    Fault,
    framing::{FramingError, LengthBounds, PayloadDecoder, encode_request},
    rpc::{Protocol, Quotas, RequestError, RpcConfig},
};
use assay_conformance::{Outcome, Target};
use assay_types::{
    ExecutionProofStatus, ExecutionProofsByRange, ProofByRootIdentifier, ProofByRootIdentifiers, Slot,
    SszContainer,
};

async fn unlimited() -> Rig {
    Rig::start_with(Settings {
        config: RpcConfig {
            quotas: Quotas::UNLIMITED,
            ..RpcConfig::default()
        },
        ..Settings::default()
    })
    .await
}

/// Code and message of an answer that is one error chunk.
fn refusal(wire: &[u8]) -> Result<Option<(u8, String)>, FramingError> {
    let Some((code, mut rest)) = wire.split_first() else {
        return Ok(None);
    };
    if *code == 0 {
        return Ok(None);
    }
    let message = PayloadDecoder::new(LengthBounds::new(0, 256)).push(&mut rest)?;
    assert!(rest.is_empty(), "an error chunk ends the response");
    Ok(Some((*code, String::from_utf8(message.unwrap()).unwrap())))
}

/// A case of the reference vectors.
struct Wire {
    kind: String,
    protocol: Protocol,
    bytes: Vec<u8>,
    /// Whether it is as the texts say: for this node, without context bytes.
    is_good: bool,
}

/// None where the vectors are not at hand.
fn wires() -> Vec<Wire> {
    let mut wires = Vec::new();
    Target::open(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"))
        .unwrap()
        .run("reqresp", |file| {
            file.cases("length_prefix", |_| Ok(Outcome::Run))?;
            file.cases("cases", |case| {
                let context = if case.has("context_bytes") {
                    case.hex("context_bytes")?
                } else {
                    vec![]
                };
                wires.push(Wire {
                    kind: case.text("kind")?.to_owned(),
                    protocol: case.text("protocol").map_or(Protocol::Ping, named),
                    bytes: case.optional_raw("wire")?.ok_or("no wire")?.to_vec(),
                    is_good: context.is_empty(),
                });
                Ok(Outcome::Run)
            })?;
            for array in file.arrays() {
                if let Some(name) = array.strip_prefix("invalid_requests_") {
                    file.cases(&array, |case| {
                        wires.push(Wire {
                            kind: "request".to_owned(),
                            protocol: named(&format!("/eth2/beacon_chain/req/{name}/1/ssz_snappy")),
                            bytes: case.optional_raw("wire")?.ok_or("no wire")?.to_vec(),
                            is_good: false,
                        });
                        Ok(Outcome::Run)
                    })?;
                }
            }
            Ok(())
        })
        .unwrap();
    wires
}

fn named(id: &str) -> Protocol {
    // One case is told for two protocols, the same bytes for both.
    let id = id.split(" | ").next().unwrap_or(id);
    let of_id = Protocol::ALL.into_iter().find(|protocol| protocol.id() == id);
    of_id.unwrap_or_else(|| panic!("{id}"))
}

#[tokio::test]
async fn the_reference_requests_are_answered_or_refused() {
    let wires = wires();
    if wires.is_empty() {
        return;
    }
    let (a, b) = (Rig::start().await, unlimited().await);
    a.connect(&b).await;
    let mut seen = [0, 0];
    for wire in wires.iter().filter(|wire| wire.kind == "request") {
        let refused = refusal(&a.exchange(&b, wire.protocol, &wire.bytes).await).unwrap();
        assert_eq!(
            refused.as_ref().map(|(code, _)| *code),
            (!wire.is_good).then_some(1),
            "{:?} {:02x?}: {refused:?}",
            wire.protocol,
            wire.bytes
        );
        seen[usize::from(wire.is_good)] += 1;
    }
    assert!(seen[0] >= 4 && seen[1] >= 12, "{seen:?}");
}

#[tokio::test]
async fn the_reference_responses_are_taken_or_refused() {
    let wires = wires();
    if wires.is_empty() {
        return;
    }
    let (rig, liar) = (Rig::start().await, Liar::start().await);
    liar.connect_from(&rig).await;
    let mut seen = [0, 0, 0];
    for wire in wires.iter().filter(|wire| wire.kind != "request") {
        liar.says(Lie::Say(wire.bytes.clone()));
        let result = match wire.protocol {
            Protocol::ExecutionProofsByRange => {
                let request = ExecutionProofsByRange {
                    start_slot: Slot(1),
                    count: 1,
                    proof_types: vec![],
                };
                let mut response = rig
                    .requester
                    .execution_proofs_by_range(liar.peer, request)
                    .await
                    .unwrap();
                response.next().await.unwrap().map(drop)
            }
            Protocol::ExecutionProofStatus => {
                let ours = ExecutionProofStatus::default();
                rig.requester
                    .execution_proof_status(liar.peer, ours)
                    .await
                    .map(drop)
            }
            _ => rig.requester.ping(liar.peer, 0).await.map(drop),
        };
        match (wire.kind.as_str(), wire.is_good) {
            ("error_chunk", _) => {
                let code = wire.bytes[0];
                assert!(
                    matches!(&result, Err(RequestError::Refused { code: c, .. }) if c.as_byte() == code),
                    "{result:?}"
                );
                seen[0] += 1;
            }
            (_, false) => {
                assert!(matches!(result, Err(RequestError::Malformed(_))), "{result:?}");
                seen[1] += 1;
            }
            (_, true) => {
                assert_eq!(result, Ok(()), "{:?}", wire.protocol);
                seen[2] += 1;
            }
        }
    }
    assert!(seen[0] >= 3 && seen[1] >= 5 && seen[2] >= 10, "{seen:?}");
}

#[tokio::test]
async fn requests_that_are_none_get_their_reason() {
    let (a, b) = (Rig::start().await, unlimited().await);
    a.connect(&b).await;
    let range = |count, types: &[u8]| {
        encode_request(
            &ExecutionProofsByRange {
                start_slot: Slot(20),
                count,
                proof_types: types.to_vec(),
            }
            .to_ssz_bytes(),
        )
    };
    let good = range(1, &[1]);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let roots = |n: u64| {
        let ids = (0..n)
            .map(|slot| ProofByRootIdentifier {
                block_root: block_root(slot),
                proof_types: vec![1, 2, 3, 4],
            })
            .collect();
        encode_request(&ProofByRootIdentifiers(ids).to_ssz_bytes())
    };
    use Protocol::{
        BlocksByRangeV2, ExecutionProofsByRange as Range, ExecutionProofsByRoot as Roots, Ping, StatusV2,
    };
    let table: Vec<(Protocol, Vec<u8>, &str)> = vec![
        (Range, vec![], "the stream ended early"),
        (Range, good[..good.len() - 1].to_vec(), "the stream ended early"),
        (
            Range,
            [&good[..], &[0]].concat(),
            "bytes follow the end of the request",
        ),
        (
            Range,
            vec![0xff; 10],
            "the length prefix is longer than a 64-bit varint",
        ),
        (
            Range,
            vec![0xff, 0xff, 0x7f],
            "the length prefix says 2097151 bytes, 20 to 24 are possible",
        ),
        (
            Range,
            range(129, &[]),
            "count 129 asks for more than 512 proofs, 4 a slot",
        ),
        (
            Roots,
            roots(129),
            "the length prefix says 5676 bytes, 0 to 5632 are possible",
        ),
        (
            Ping,
            encode_request(&[0; 9]),
            "the length prefix says 9 bytes, 8 to 8 are possible",
        ),
        (
            StatusV2,
            encode_request(&[0; 84]),
            "the length prefix says 84 bytes, 92 to 92 are possible",
        ),
        (
            BlocksByRangeV2,
            vec![24, 0xfe],
            "the snappy stream identifier is missing",
        ),
    ];
    let wrong = table.len();
    for (protocol, wire, reason) in table {
        let answer = a.exchange(&b, protocol, &wire).await;
        assert_eq!(refusal(&answer), Ok(Some((1, reason.to_owned()))), "{protocol:?}");
    }
    let answer = a.exchange(&b, Range, &flipped).await;
    assert_eq!(refusal(&answer).unwrap().unwrap().0, 1);
    assert_eq!(
        *b.book.faults.lock(),
        vec![(a.peer, Fault::InvalidRequest); wrong + 1]
    );
    assert_eq!(refusal(&a.exchange(&b, Roots, &roots(128)).await), Ok(None));
}
