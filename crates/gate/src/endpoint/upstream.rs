//! The execution client: calls to it, with a fresh token each, and whether it answers.

use super::{
    UpstreamConfig,
    body::{Answer, AnyBody, BoxError, Budget, full},
    clients::ClientIndex,
    headers,
    stats::{EndpointStats, count},
};
use assay_engine_api::JwtSecret;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::OwnedSemaphorePermit;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are closed before execution clients close them (Node's after 5 s): no call meets a closing one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Largest answer of newPayload or fcU that is read; a real one has some hundred bytes.
const MAX_STATUS_ANSWER_BYTES: usize = 1024 * 1024;

/// Largest answer that is read of a call that may have a large one: with a witness, or of a batch that is taken apart.
pub(super) const MAX_LARGE_ANSWER_BYTES: usize = 128 * 1024 * 1024;
/// What is held of an answer that passes; one that breaks off after that has broken off for its caller too.
const MAX_HELD_OF_PASSED: usize = 16 * 1024 * 1024;

/// Why the upstream URL is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("execution endpoint {url}: {why}")]
pub struct UpstreamUrlError {
    url: String,
    why: &'static str,
}

/// No answer.
#[derive(Debug, Clone)]
pub(super) struct NoAnswer {
    pub(super) why: String,
    /// The connection ended before a byte of the answer came: it may have been closing already when the call was sent.
    broke_off: bool,
    /// Which client gave none, where that is known.
    pub(super) client: Option<usize>,
    /// It is there, and it is no silence of its own: it refuses our token (`State::RefusesToken` says so), or its answer found
    /// no room here.
    not_silent: bool,
    /// Its answer found no room here: another client's would not either.
    pub(super) no_room: bool,
}

/// What a request is made of, besides its body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: Option<PathAndQuery>,
    /// Already without those that do not pass.
    pub(super) headers: HeaderMap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Unknown,
    Answers,
    Down,
    RefusesToken,
}

/// The execution client.
pub(super) struct Upstream {
    client: Client<HttpConnector, AnyBody>,
    authority: Authority,
    base_path: String,
    jwt: Option<JwtSecret>,
    state: AtomicU8,
    stats: Arc<EndpointStats>,
}

impl Upstream {
    pub(super) fn new(config: UpstreamConfig, stats: Arc<EndpointStats>) -> Result<Self, UpstreamUrlError> {
        let refuse = |why| UpstreamUrlError {
            url: assay_engine_api::shown_url(&config.url),
            why,
        };
        if config.url.scheme() != "http" {
            return Err(refuse(
                "only http:// is spoken; put a TLS proxy before a remote execution client",
            ));
        }
        if !config.url.username().is_empty() || config.url.password().is_some() {
            return Err(refuse(
                "a user name or password in the URL is not used; the JWT secret is",
            ));
        }
        let host = config.url.host_str().ok_or_else(|| refuse("it has no host"))?;
        let port = config.url.port_or_known_default().unwrap_or(80);
        let authority = format!("{host}:{port}")
            .parse()
            .map_err(|_| refuse("its host cannot be used"))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector);
        Ok(Self {
            client,
            authority,
            base_path: config.url.path().trim_end_matches('/').to_owned(),
            jwt: config.jwt,
            state: AtomicU8::new(State::Unknown as u8),
            stats,
        })
    }

    /// Host and port, for logs.
    pub(super) fn shown(&self) -> &str {
        self.authority.as_str()
    }

    /// Whether the last call was answered; true before the first.
    pub(super) fn is_up(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state == State::Unknown as u8 || state == State::Answers as u8
    }

    fn uri(&self, path: Option<&PathAndQuery>) -> Result<Uri, http::Error> {
        let path = path.map_or("/", PathAndQuery::as_str);
        let path: PathAndQuery = match (self.base_path.as_str(), path) {
            ("", path) => path.parse()?,
            // A beacon node calls the root; then the configured path is meant, without a slash at its end.
            (base, "/") => base.parse()?,
            (base, path) => format!("{base}{path}").parse()?,
        };
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// Sends one request, with a fresh token where there is a secret; else with the caller's.
    pub(super) async fn send(&self, head: &Head, body: AnyBody) -> Result<Response<Incoming>, NoAnswer> {
        let setup = NoAnswer::because;
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = self.uri(head.path.as_ref()).map_err(|e| setup(e.to_string()))?;
        *request.headers_mut() = head.headers.clone();
        if let Some(jwt) = &self.jwt {
            let mut token =
                HeaderValue::from_str(&jwt.bearer(SystemTime::now())).map_err(|e| setup(e.to_string()))?;
            token.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        match self.client.request(request).await {
            // A caller's own token says nothing about ours; of ours the caller knows nothing, and would look for the fault in
            // its own.
            Ok(response)
                if self.jwt.is_some()
                    && matches!(
                        response.status(),
                        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                    ) =>
            {
                self.note(State::RefusesToken);
                Err(NoAnswer {
                    why: format!(
                        "it refuses Assay's JWT (HTTP {}): the secret Assay has for it is not its own, or the clocks differ ({})",
                        response.status().as_u16(),
                        self.authority
                    ),
                    broke_off: false,
                    client: None,
                    not_silent: true,
                    no_room: false,
                })
            }
            Ok(response) => {
                self.note(State::Answers);
                Ok(response)
            }
            Err(error) => {
                let no_answer = NoAnswer {
                    why: format!("{} ({})", chain(&error), self.authority),
                    broke_off: !error.is_connect() && broke_off(&error),
                    client: None,
                    not_silent: false,
                    no_room: false,
                };
                Err(no_answer)
            }
        }
    }

    /// Says that a call stays without an answer.
    pub(super) fn note_no_answer(&self, no_answer: &NoAnswer) {
        count(&self.stats.unanswered_calls);
        if !no_answer.not_silent && self.set(State::Down) != State::Down as u8 {
            tracing::error!(
                execution_client = %self.authority,
                error = no_answer.why,
                "execution client does not answer"
            );
        }
    }

    /// A fault of the caller's own body shows as a failed call too; that says nothing about the execution client, so
    /// only what is known to be its own silence is noted as `Down`.
    fn note(&self, state: State) {
        let before = self.set(state);
        if before == state as u8 {
            return;
        }
        match state {
            State::Answers => tracing::info!(execution_client = %self.authority, "execution client answers"),
            State::RefusesToken => tracing::error!(
                execution_client = %self.authority,
                "execution client refuses Assay's JWT: check --execution-jwt against its secret, and the clocks"
            ),
            State::Down | State::Unknown => {}
        }
    }

    fn set(&self, state: State) -> u8 {
        self.state.swap(state as u8, Ordering::Relaxed)
    }

    /// Sends a call whose body is here. newPayload and fcU may be sent twice without harm, so one that met a closing
    /// connection is.
    pub(super) async fn send_held(&self, head: &Head, body: &Bytes) -> Result<Response<Incoming>, NoAnswer> {
        match self.send(head, full(body.clone())).await {
            Err(no_answer) if no_answer.broke_off => self.send_again(head, body).await,
            outcome => outcome,
        }
    }

    /// The second try.
    pub(super) async fn send_again(&self, head: &Head, body: &Bytes) -> Result<Response<Incoming>, NoAnswer> {
        count(&self.stats.retried_calls);
        let mut head = head.clone();
        // The length is that of the body that is here now, whatever way it came.
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.remove(CONTENT_LENGTH);
        self.send(&head, full(body.clone())).await
    }
}

impl NoAnswer {
    /// For this reason, in words.
    pub(super) fn because(why: String) -> Self {
        Self {
            why,
            broke_off: false,
            client: None,
            not_silent: false,
            no_room: false,
        }
    }

    /// Its answer is too large to be held, or too much is held already.
    fn no_room(why: String) -> Self {
        Self {
            not_silent: true,
            no_room: true,
            ..Self::because(why)
        }
    }

    /// It answers with an HTTP error of its own.
    pub(super) fn server_error(status: StatusCode) -> Self {
        Self::because(format!("HTTP {status}"))
    }

    /// There is nobody to ask.
    pub(super) fn no_client() -> Self {
        Self::because("there is none".to_owned())
    }

    /// It takes too long.
    pub(super) fn after(time: Duration) -> Self {
        Self::because(format!("no answer in {} ms", time.as_millis()))
    }

    /// The same, of that client.
    pub(super) fn of(self, client: usize) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }

    /// Whether the call may be tried once more.
    pub(super) fn may_be_tried_again(&self) -> bool {
        self.broke_off
    }
}

impl Head {
    /// For a body that is sent in another way than it came.
    pub(super) fn with_new_length(mut self) -> Self {
        self.headers.remove(TRANSFER_ENCODING);
        self.headers.remove(CONTENT_LENGTH);
        self
    }

    /// For calls whose answer is read: no compression.
    pub(super) fn uncompressed(mut self) -> Self {
        self.headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self
    }
}

/// An answer as it came, passed on without being read.
pub(super) fn pass(response: Response<Incoming>) -> Answer {
    let (mut head, body) = response.into_parts();
    headers::of_answer(&mut head.headers);
    Response::from_parts(head, body.map_err(BoxError::from).boxed_unsync())
}

/// As `pass`, once the answer is here, or as much of it as is held: until then another client may be asked in its place.
pub(super) async fn pass_when_here(
    response: Response<Incoming>,
    budget: &Budget,
) -> Result<Answer, NoAnswer> {
    let client = response.extensions().get::<ClientIndex>().map(|c| c.0);
    let (mut head, mut body) = response.into_parts();
    let (mut frames, mut bytes, mut counted) = (Vec::new(), 0, Vec::new());
    let ended = loop {
        let Some(frame) = body.frame().await else {
            break true;
        };
        let frame = frame.map_err(|e| NoAnswer {
            client,
            ..NoAnswer::because(format!("its answer broke off: {}", chain(&e)))
        })?;
        let length = frame.data_ref().map_or(0, Bytes::len);
        frames.push(Ok(frame));
        bytes += length;
        let room = budget.take(length).map(|permit| counted.push(permit));
        if bytes > MAX_HELD_OF_PASSED || room.is_err() {
            break false;
        }
    };
    headers::of_answer(&mut head.headers);
    let rest = (!ended).then(|| TryStreamExt::map_err(BodyStream::new(body), BoxError::from));
    let frames = stream::iter(frames)
        .chain(stream::iter(rest).flatten())
        // Counted until it is on its way.
        .inspect(move |_| _ = &counted);
    Ok(Response::from_parts(head, StreamBody::new(frames).boxed_unsync()))
}

/// An answer that was read.
#[derive(Debug)]
pub(super) struct ReadAnswer {
    head: http::response::Parts,
    pub(super) body: Bytes,
    /// Where it counts against the budget, until it goes back.
    _counted: Option<OwnedSemaphorePermit>,
}

impl ReadAnswer {
    /// Whether it is an answer to the call at all, in a form that can be read.
    pub(super) fn is_plain_success(&self) -> bool {
        let encoded = self
            .head
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|e| e != "identity");
        self.head.status.is_success() && !encoded
    }

    /// Who gave it.
    pub(super) fn client(&self) -> Option<ClientIndex> {
        self.head.extensions.get().copied()
    }

    /// Its HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// As it came.
    pub(super) fn unchanged(self) -> Answer {
        self.with_bytes(None)
    }

    /// With another body.
    pub(super) fn with_body(self, body: Vec<u8>) -> Answer {
        self.with_bytes(Some(body.into()))
    }

    fn with_bytes(mut self, changed: Option<Bytes>) -> Answer {
        headers::of_answer(&mut self.head.headers);
        if changed.is_some() {
            self.head.headers.remove(CONTENT_LENGTH);
            self.head.headers.remove(CONTENT_ENCODING);
        }
        Response::from_parts(self.head, full(changed.unwrap_or(self.body)))
    }
}

/// Reads an answer of newPayload or fcU to its end.
pub(super) async fn read(response: Response<Incoming>) -> Result<ReadAnswer, NoAnswer> {
    read_up_to(response, MAX_STATUS_ANSWER_BYTES).await
}

/// Reads an answer to its end, unless that is too far.
pub(super) async fn read_up_to(response: Response<Incoming>, limit: usize) -> Result<ReadAnswer, NoAnswer> {
    read_bounded(response, limit, None).await
}

/// As `read_up_to`, counted against the budget until it goes back.
pub(super) async fn read_counted(
    response: Response<Incoming>,
    limit: usize,
    budget: &Budget,
) -> Result<ReadAnswer, NoAnswer> {
    read_bounded(response, limit, Some(budget)).await
}

async fn read_bounded(
    response: Response<Incoming>,
    limit: usize,
    budget: Option<&Budget>,
) -> Result<ReadAnswer, NoAnswer> {
    let client = response.extensions().get::<ClientIndex>().map(|c| c.0);
    let no_answer = |why: String| NoAnswer {
        client,
        ..NoAnswer::because(why)
    };
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    let no_room = |why: String| NoAnswer {
        client,
        ..NoAnswer::no_room(why)
    };
    let mut counted = budget
        .map(|b| b.take(0))
        .transpose()
        .map_err(|e| no_room(e.to_string()))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| no_answer(format!("its answer broke off: {}", chain(&e))))?;
        if let Ok(chunk) = frame.into_data() {
            if bytes.len() + chunk.len() > limit {
                return Err(no_room(format!("its answer is larger than {limit} bytes")));
            }
            if let (Some(budget), Some(counted)) = (budget, &mut counted) {
                counted.merge(budget.take(chunk.len()).map_err(|e| no_room(e.to_string()))?);
            }
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(ReadAnswer {
        head,
        body: bytes.freeze(),
        _counted: counted,
    })
}

fn broke_off(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return true;
        }
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
            return matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset);
        }
        cause = inner.source();
    }
    false
}

/// An error with its causes; the library's own first words say nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = String::new();
    let mut cause = error.source().or(Some(error));
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !out.contains(&text) {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&text);
        }
        cause = inner.source();
    }
    out
}
