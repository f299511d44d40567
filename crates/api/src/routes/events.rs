//! GET `/eth/v1/events?topics=...`: `execution_proof`, `gate_verdict` and `gate_alarm` are ours; other topics are the
//! beacon node's, merged into one stream as they come.

use crate::openapi::{Operation, list_of};
use crate::{ApiError, ApiState, ProofEvent, gate_events};
use axum::{
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use serde_json::json;
use std::time::Duration;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};
use tokio_util::sync::CancellationToken;

/// The topic of accepted proofs.
const EXECUTION_PROOF: &str = "execution_proof";
/// The topics this node serves.
const OURS: [&str; 3] = [EXECUTION_PROOF, gate_events::VERDICT, gate_events::ALARM];
/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Chunk = Result<Bytes, std::io::Error>;

pub(crate) async fn get(
    State(state): State<ApiState>,
    axum::Extension(stop): axum::Extension<CancellationToken>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let topics: Vec<&str> = query
        .iter()
        .filter(|(key, _)| key == "topics")
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .filter(|topic| !topic.is_empty())
        .collect();
    if topics.is_empty() {
        return Err(ApiError::bad_request("no topics given"));
    }
    // Subscribed before the beacon node is asked: nothing accepted meanwhile is missed.
    let (wanted, others): (Vec<&str>, Vec<&str>) = topics.into_iter().partition(|topic| OURS.contains(topic));
    let ours = (!wanted.is_empty()).then(|| our_events(&state, &wanted));
    let stream: std::pin::Pin<Box<dyn Stream<Item = Chunk> + Send>> = match (ours, others.is_empty()) {
        (Some(ours), true) => Box::pin(ours),
        (ours, _) => {
            let path = format!("/eth/v1/events?topics={}", others.join(","));
            let answer = state.upstream.get(&path, &headers).await?;
            if !answer.status().is_success() {
                let status =
                    StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
                let body = answer.bytes().await.unwrap_or_default();
                return Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response());
            }
            let theirs = whole_events(answer.bytes_stream());
            match ours {
                // Ends when the beacon node's stream does: the client then comes again, as it does with the node alone.
                Some(ours) => Box::pin(until_first_ends(theirs, ours)),
                None => Box::pin(theirs),
            }
        }
    };
    let stream = stream.take_until(stop.cancelled_owned());
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((head, Body::from_stream(stream)).into_response())
}

/// Our events of these topics, and comments while there are none. A client that reads too slowly has lost events; the end
/// of the stream tells it so.
fn our_events(state: &ApiState, topics: &[&str]) -> impl Stream<Item = Chunk> + Send + use<> {
    let alive =
        IntervalStream::new(tokio::time::interval(KEEP_ALIVE)).map(|_| Ok(Bytes::from_static(b":\n\n")));
    let mut streams: Vec<BoxStream<'static, Chunk>> = vec![alive.boxed()];
    if topics.contains(&EXECUTION_PROOF) {
        let proofs = BroadcastStream::new(state.events.subscribe()).map(|event| {
            let event: ProofEvent = event.map_err(std::io::Error::other)?;
            Ok(written(EXECUTION_PROOF, &serde_json::to_value(&event)?))
        });
        streams.push(proofs.boxed());
    }
    let (verdicts, alarms) = (
        topics.contains(&gate_events::VERDICT),
        topics.contains(&gate_events::ALARM),
    );
    if verdicts || alarms {
        let gate = BroadcastStream::new(state.gate.subscribe()).filter_map(move |event| {
            let chunk = match event {
                Ok(event) => gate_events::told(&event).and_then(|(topic, data)| {
                    let wanted = if topic == gate_events::ALARM {
                        alarms
                    } else {
                        verdicts
                    };
                    wanted.then(|| Ok(written(topic, &data)))
                }),
                Err(lagged) => Some(Err(std::io::Error::other(lagged))),
            };
            std::future::ready(chunk)
        });
        streams.push(gate.boxed());
    }
    stream::select_all(streams)
}

fn written(topic: &str, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("event: {topic}\ndata: {data}\n\n"))
}

/// The beacon node's bytes, cut where an event ends, so that events of two streams can be mixed.
fn whole_events(
    bytes: impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static,
) -> impl Stream<Item = Chunk> + Send {
    /// Most bytes of one event.
    const MAX_EVENT_BYTES: usize = 16 << 20;
    stream::try_unfold(
        (Box::pin(bytes), Vec::<u8>::new()),
        |(mut bytes, mut held)| async move {
            loop {
                if let Some(end) = event_end(&held) {
                    let rest = held.split_off(end);
                    return Ok(Some((Bytes::from(held), (bytes, rest))));
                }
                if held.len() > MAX_EVENT_BYTES {
                    return Err(std::io::Error::other("an event of the beacon node is too large"));
                }
                match bytes.next().await {
                    Some(Ok(chunk)) => held.extend_from_slice(&chunk),
                    Some(Err(error)) => return Err(std::io::Error::other(error)),
                    None => return Ok(None),
                }
            }
        },
    )
}

/// Behind the last empty line.
fn event_end(held: &[u8]) -> Option<usize> {
    let unix = held.windows(2).rposition(|w| w == b"\n\n").map(|at| at + 2);
    let network = held.windows(4).rposition(|w| w == b"\r\n\r\n").map(|at| at + 4);
    unix.max(network)
}

/// Both streams mixed, until the first of them ends.
fn until_first_ends(
    theirs: impl Stream<Item = Chunk> + Send + 'static,
    ours: impl Stream<Item = Chunk> + Send + 'static,
) -> impl Stream<Item = Chunk> + Send {
    let theirs = theirs.map(Some).chain(stream::iter([None]));
    stream::select(theirs, ours.map(Some))
        .take_while(|chunk| std::future::ready(chunk.is_some()))
        .filter_map(std::future::ready)
}

pub(crate) fn describe() -> Operation {
    Operation::new(
        "getEvents",
        "Server-sent events: `execution_proof`, `gate_verdict`, `gate_alarm`, and the beacon node's topics in the same stream",
    )
    .required_query(
        "topics",
        "repeated, or with commas",
        &list_of(json!({ "type": "string", "minLength": 1 })),
    )
    .answer(200, "A stream that lasts", &[("text/event-stream", json!({ "type": "string" }))])
    .error(400, "no topics, or one the beacon node does not have")
    .error(503, "the beacon node does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_where_they_end() {
        for (held, end) in [
            (&b""[..], None),
            (b"event: head\ndata: {}\n", None),
            (b"event: head\ndata: {}\n\n", Some(22)),
            (b"event: head\ndata: {}\n\nevent: bl", Some(22)),
            (b"a\r\n\r\nb", Some(5)),
        ] {
            assert_eq!(event_end(held), end, "{held:?}");
        }
    }
}
