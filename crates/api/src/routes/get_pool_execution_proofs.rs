//! GET `/eth/v1/beacon/pool/execution_proofs`: the proofs of the canonical chain from the finalized epoch on, streamed
//! one by one, so that an answer of any length needs the memory of one proof.

use crate::ApiState;
use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;

/// Where the stream stands.
enum Part {
    Head,
    Proofs { first: bool },
    Done,
}

pub(crate) async fn get(State(state): State<ApiState>) -> Response {
    let start = state.chain.proof_serve_range_start();
    let count = state
        .chain
        .current_slot()
        .0
        .saturating_sub(start.0)
        .saturating_add(1);
    let proofs = state.store.range(start, count, Vec::new());
    let body = stream::try_unfold((Part::Head, proofs), |(part, mut proofs)| async move {
        match part {
            Part::Head => Ok(Some((
                Bytes::from_static(b"{\"data\":["),
                (Part::Proofs { first: true }, proofs),
            ))),
            Part::Proofs { first } => match proofs.next().await.map_err(std::io::Error::other)? {
                Some(stored) => {
                    let signed = stored.signed().map_err(std::io::Error::other)?;
                    let mut text = Vec::with_capacity(2 * stored.ssz().len() + 512);
                    if !first {
                        text.push(b',');
                    }
                    serde_json::to_writer(&mut text, &signed)?;
                    Ok(Some((Bytes::from(text), (Part::Proofs { first: false }, proofs))))
                }
                None => Ok(Some((Bytes::from_static(b"]}"), (Part::Done, proofs)))),
            },
            Part::Done => Ok::<_, std::io::Error>(None),
        }
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(body),
    )
        .into_response()
}
