//! GET `/eth/v1/beacon/pool/execution_proofs`: the proofs of the canonical chain from the finalized epoch on, JSON or SSZ
//! by `Accept`. JSON has the proofs of every revision, each in its own container; SSZ cannot tell them apart and has those
//! of the revision that holds now, which `Eth-Consensus-Version` names the fork of. Streamed one by one, so that an answer of any length needs the memory of one proof.

use super::get_execution_proofs::prefers_ssz;
use crate::openapi::{Operation, data, list_of, schema};
use crate::{ApiError, ApiState, proof_body::ssz_list_head};
use assay_store::{ProofStream, ProofSummary, Store};
use assay_types::Revision;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::json;
use std::io;

/// Where the stream stands.
enum Part {
    Head,
    Proofs { first: bool },
    Done,
}

pub(crate) async fn get(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let start = state.chain.proof_serve_range_start();
    let now = state.chain.current_slot();
    let count = now.0.saturating_sub(start.0).saturating_add(1);
    if !prefers_ssz(&headers) {
        let body = Body::from_stream(json(state.store.range_of(Revision::ALL, start, count)));
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    // A list of SSZ begins with where each element lies: their lengths first, then the proofs.
    let spec = state.chain.spec();
    let fork = spec.fork_at_epoch(spec.epoch_at_slot(now));
    let revision: &'static [Revision] = match spec.revision_at(fork) {
        Revision::Alpha => &[Revision::Alpha],
        Revision::Beta => &[Revision::Beta],
    };
    let found = state
        .store
        .range_summaries(revision, start, count, Vec::new())
        .await;
    let found = found.map_err(|e| ApiError::internal(e.to_string()))?;
    let lengths = found.iter().map(|summary| summary.bytes);
    let head = ssz_list_head(lengths).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "more proofs than one SSZ list can hold (4 GiB); ask for JSON, or block by block",
        )
    })?;
    let length = head.len() as u64 + found.iter().map(|summary| summary.bytes).sum::<u64>();
    let kind = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    let version = [("eth-consensus-version", fork.as_str())];
    Ok((
        version,
        kind,
        Body::from_stream(ssz(head, found, state.store.clone())),
    )
        .into_response())
}

fn json(proofs: ProofStream) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((Part::Head, proofs), |(part, mut proofs)| async move {
        match part {
            Part::Head => Ok(Some((
                Bytes::from_static(b"{\"data\":["),
                (Part::Proofs { first: true }, proofs),
            ))),
            Part::Proofs { first } => match proofs.next().await.map_err(io::Error::other)? {
                Some(stored) => {
                    let signed = stored.signed().map_err(io::Error::other)?;
                    let mut text = Vec::with_capacity(2 * stored.ssz().len() + 512);
                    if !first {
                        text.push(b',');
                    }
                    serde_json::to_writer(&mut text, &signed)?;
                    Ok(Some((Bytes::from(text), (Part::Proofs { first: false }, proofs))))
                }
                None => Ok(Some((Bytes::from_static(b"]}"), (Part::Done, proofs)))),
            },
            Part::Done => Ok(None),
        }
    })
}

/// What was announced, no more and no less: a proof that went meanwhile (finality, a reorg) breaks the answer off, and the
/// caller asks again.
fn ssz(head: Vec<u8>, found: Vec<ProofSummary>, store: Store) -> impl Stream<Item = io::Result<Bytes>> {
    let state = (Some(head), found.into_iter(), store);
    stream::try_unfold(state, |(head, mut left, store)| async move {
        if let Some(head) = head {
            return Ok(Some((Bytes::from(head), (None, left, store))));
        }
        let Some(summary) = left.next() else {
            return Ok(None);
        };
        let stored = store.read_at(summary.key).await.map_err(io::Error::other)?;
        match stored.map(|proof| proof.ssz().clone()) {
            Some(ssz) if ssz.len() as u64 == summary.bytes => Ok(Some((ssz, (None, left, store)))),
            _ => Err(io::Error::other("a proof is gone; ask again")),
        }
    })
}

pub(crate) fn describe() -> Operation {
    let ssz = json!({ "type": "string", "format": "binary" });
    let list = data(list_of(schema("SignedProof")));
    Operation::new(
        "getPoolExecutionProofs",
        "The proofs of the canonical chain from the finalized epoch on",
    )
    .answer(
        200,
        "OK",
        &[("application/json", list), ("application/octet-stream", ssz)],
    )
    .error(406, "more than one SSZ list can hold")
}
