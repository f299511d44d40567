//! The calls of a proof node's HTTP API (protocol.md section 9). Every answer is bounded in bytes and time, and whatever is
//! not exactly the answer expected is an error, never a verdict.

use crate::EngineError;
use assay_types::{ProofKey, Root};
use bytes::{Bytes, BytesMut};
use eventsource_stream::Eventsource;
use futures::{Stream, StreamExt, stream::BoxStream};
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use url::Url;

/// Time to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are closed before servers close them.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of a JSON answer at most.
const MAX_JSON_BYTES: usize = 64 * 1024;
/// Bytes of one server-sent event at most.
const MAX_EVENT_BYTES: usize = 64 * 1024;
/// Nodes send a comment every 15 s: a stream silent for this long is dead.
const STREAM_IDLE: Duration = Duration::from_secs(45);
/// Proofs go out in pieces of this size.
const PIECE: usize = 64 * 1024;
/// How much of a node's own words is kept.
const MAX_WORDS: usize = 200;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// One proof node.
#[derive(Debug)]
pub(super) struct NodeClient {
    http: reqwest::Client,
    base: Url,
    max_proof_size: usize,
    timeout: Duration,
}

/// What a node says on its event stream, as far as it can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodeEvent {
    /// `proof_complete`: the request root, and the type's name.
    Complete(Root, String),
    /// `proof_failure`: the same, and why.
    Failure(Root, String, String),
}

/// A type as `GET /v1/proof_types` lists it; some nodes list names alone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ListedType {
    Name(String),
    Entry { proof_type: String },
}

impl ListedType {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Entry { proof_type: name } => name,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TypesAnswer {
    Object { proof_types: Vec<ListedType> },
    List(Vec<ListedType>),
}

#[derive(Deserialize)]
struct RequestAnswer {
    new_payload_request_root: Root,
}

#[derive(Deserialize)]
struct VerificationAnswer {
    status: String,
    /// Named by some nodes; then they must be ours.
    new_payload_request_root: Option<Root>,
    proof_type: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    message: String,
}

#[derive(Deserialize)]
struct EventData {
    new_payload_request_root: Root,
    proof_type: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    error: String,
}

impl NodeClient {
    pub(super) fn new(base: Url, max_proof_size: usize, timeout: Duration) -> Result<Self, EngineError> {
        // Another part of the process may have installed it already.
        assay_engine_api::install_crypto_provider();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| EngineError::Unavailable(format!("HTTP client: {e}")))?;
        Ok(Self {
            http,
            base,
            max_proof_size,
            timeout,
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        tokio::time::timeout(limit, work)
            .await
            .map_err(|_| EngineError::TimedOut(limit))?
    }

    /// Asks for proofs; the root the node computed.
    pub(super) async fn request(&self, names: &[&str], ssz: Bytes) -> Result<Root, EngineError> {
        let mut url = self.url("/v1/execution_proof_requests");
        url.query_pairs_mut().append_pair("proof_types", &names.join(","));
        let post = self.http.post(url).header(CONTENT_TYPE, BYTES).body(ssz);
        self.within(self.timeout, async {
            let response = post.header(ACCEPT, JSON).send().await.map_err(unreachable)?;
            let answer: RequestAnswer = read_json(response).await?;
            Ok(answer.new_payload_request_root)
        })
        .await
    }

    /// A finished proof; `None` while the node has none.
    pub(super) async fn download(&self, root: &Root, name: &str) -> Result<Option<Bytes>, EngineError> {
        let get = self
            .http
            .get(self.url(&format!("/v1/execution_proofs/{root}/{name}")));
        self.within(self.timeout, async {
            let response = get.header(ACCEPT, BYTES).send().await.map_err(unreachable)?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            if response.status() != StatusCode::OK {
                return Err(refused(response).await);
            }
            let bytes = read_bounded(response, self.max_proof_size).await?;
            if bytes.is_empty() {
                return Err(EngineError::Protocol("an empty proof".into()));
            }
            Ok(Some(bytes))
        })
        .await
    }

    /// Whether the node calls the proof valid: only an answer to exactly these bytes counts.
    pub(super) async fn verify(
        &self,
        key: &ProofKey,
        name: &str,
        proof_data: &Bytes,
    ) -> Result<bool, EngineError> {
        let mut url = self.url("/v1/execution_proof_verifications");
        let root = key.new_payload_request_root;
        url.query_pairs_mut()
            .append_pair("new_payload_request_root", &root.to_string())
            .append_pair("proof_type", name);
        let sent = Arc::new(AtomicUsize::new(0));
        let post = self
            .http
            .post(url)
            .header(CONTENT_TYPE, BYTES)
            .header(CONTENT_LENGTH, proof_data.len())
            .header(ACCEPT, JSON)
            .body(reqwest::Body::wrap_stream(pieces(
                proof_data.clone(),
                sent.clone(),
            )));
        self.within(self.timeout, async {
            let response = post.send().await.map_err(unreachable)?;
            let answer: VerificationAnswer = read_json(response).await?;
            let wrong = |what: &str| Err(EngineError::Protocol(what.to_owned()));
            if sent.load(Ordering::Acquire) < proof_data.len() {
                return wrong("an answer before the whole proof was sent");
            }
            if answer.new_payload_request_root.is_some_and(|r| r != root) {
                return wrong("an answer about another payload");
            }
            if answer.proof_type.is_some_and(|t| t != name) {
                return wrong("an answer about another proof type");
            }
            match answer.status.as_str() {
                "VALID" => Ok(true),
                "INVALID" => Ok(false),
                other => wrong(&format!("status {:?}", shorten(other))),
            }
        })
        .await
    }

    /// The types the node has.
    pub(super) async fn proof_types(&self) -> Result<Vec<ListedType>, EngineError> {
        let get = self.http.get(self.url("/v1/proof_types")).header(ACCEPT, JSON);
        self.within(self.timeout, async {
            let response = get.send().await.map_err(unreachable)?;
            Ok(match read_json(response).await? {
                TypesAnswer::Object { proof_types } | TypesAnswer::List(proof_types) => proof_types,
            })
        })
        .await
    }

    /// The stream of events of all payloads; ends with an error when it breaks, when not even a comment comes any more, or
    /// when an event is larger than any could be. Events that cannot be read are passed over.
    pub(super) async fn events(
        &self,
    ) -> Result<BoxStream<'static, Result<NodeEvent, EngineError>>, EngineError> {
        let get = self.http.get(self.url("/v1/execution_proof_requests"));
        let response = self
            .within(self.timeout, async {
                let response = get.header(ACCEPT, "text/event-stream").send().await;
                let response = response.map_err(unreachable)?;
                if response.status() != StatusCode::OK {
                    return Err(refused(response).await);
                }
                Ok(response)
            })
            .await?;
        let events = bounded(response).eventsource().filter_map(|event| async {
            match event {
                Ok(event) => read_event(&event.event, &event.data).map(Ok),
                Err(eventsource_stream::EventStreamError::Transport(error)) => Some(Err(error)),
                Err(error) => Some(Err(EngineError::Protocol(format!("event stream: {error}")))),
            }
        });
        Ok(events.boxed())
    }
}

fn read_event(topic: &str, data: &str) -> Option<NodeEvent> {
    let failed = match topic {
        "proof_complete" => false,
        "proof_failure" => true,
        _ => return None,
    };
    let data: EventData = match serde_json::from_str(data) {
        Ok(data) => data,
        Err(error) => {
            tracing::debug!(topic, %error, "an event of a proof node cannot be read");
            return None;
        }
    };
    let (root, name) = (data.new_payload_request_root, data.proof_type);
    Some(if failed {
        let why = [data.reason.as_str(), data.error.as_str()];
        let why: Vec<&str> = why.into_iter().filter(|w| !w.is_empty()).collect();
        NodeEvent::Failure(root, name, shorten(&why.join(": ")))
    } else {
        NodeEvent::Complete(root, name)
    })
}

/// The proof in pieces, without a copy; `sent` counts the bytes that were taken.
fn pieces(data: Bytes, sent: Arc<AtomicUsize>) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures::stream::unfold((data, sent), |(mut rest, sent)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        sent.fetch_add(piece.len(), Ordering::AcqRel);
        Some((Ok(piece), (rest, sent)))
    })
}

async fn read_bounded(mut response: Response, limit: usize) -> Result<Bytes, EngineError> {
    let too_large = || EngineError::Protocol(format!("an answer of more than {limit} bytes"));
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, EngineError> {
    if response.status() != StatusCode::OK {
        return Err(refused(response).await);
    }
    let bytes = read_bounded(response, MAX_JSON_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|e| EngineError::Protocol(shorten(&e.to_string())))
}

/// Any status but the one expected: the node cannot now, whatever it says.
async fn refused(response: Response) -> EngineError {
    let status = response.status();
    let words = match read_bounded(response, MAX_JSON_BYTES).await {
        Ok(bytes) => serde_json::from_slice::<ErrorAnswer>(&bytes).map_or_else(
            |_| String::from_utf8_lossy(&bytes).trim().to_owned(),
            |answer| answer.message,
        ),
        Err(_) => String::new(),
    };
    EngineError::Unavailable(format!("HTTP {status}: {}", shorten(&words)))
}

fn unreachable(error: reqwest::Error) -> EngineError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    EngineError::Unavailable(shorten(&text))
}

/// A node's words in one line, shortened, without what would confuse a terminal.
fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_WORDS).map(clean).collect()
}

/// The bytes of an event stream, as long as some come and a blank line ends each event in time.
fn bounded(response: Response) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    struct State {
        bytes: BoxStream<'static, reqwest::Result<Bytes>>,
        event_bytes: usize,
        line_is_empty: bool,
        over: bool,
    }
    let state = State {
        bytes: response.bytes_stream().boxed(),
        event_bytes: 0,
        line_is_empty: true,
        over: false,
    };
    futures::stream::unfold(state, |mut state| async move {
        if state.over {
            return None;
        }
        let item = match tokio::time::timeout(STREAM_IDLE, state.bytes.next()).await {
            Err(_) => Err(EngineError::TimedOut(STREAM_IDLE)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => Err(unreachable(error)),
            Ok(Some(Ok(chunk))) => {
                let mut most = 0;
                for byte in &chunk {
                    state.event_bytes += 1;
                    most = most.max(state.event_bytes);
                    match byte {
                        b'\n' if state.line_is_empty => state.event_bytes = 0,
                        b'\n' => state.line_is_empty = true,
                        b'\r' => {}
                        _ => state.line_is_empty = false,
                    }
                }
                if most > MAX_EVENT_BYTES {
                    Err(EngineError::Protocol(format!(
                        "an event of more than {MAX_EVENT_BYTES} bytes"
                    )))
                } else {
                    Ok(chunk)
                }
            }
        };
        state.over = item.is_err();
        Some((item, state))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_can_be_read() {
        let root = Root::from([7; 32]);
        let data =
            format!(r#"{{"new_payload_request_root":"{root}","proof_type":"a","reason":"r","error":"e\n"}}"#);
        assert_eq!(
            read_event("proof_complete", &data),
            Some(NodeEvent::Complete(root, "a".into()))
        );
        assert_eq!(
            read_event("proof_failure", &data),
            Some(NodeEvent::Failure(root, "a".into(), "r: e ".into()))
        );
        for (topic, data) in [
            ("other", data.as_str()),
            ("proof_complete", "{}"),
            ("proof_complete", ""),
            ("proof_failure", "nonsense"),
            (
                "proof_complete",
                r#"{"new_payload_request_root":"0x07","proof_type":"a"}"#,
            ),
        ] {
            assert_eq!(read_event(topic, data), None, "{topic} {data}");
        }
    }
}
