//! The Engine API proxy that the prover takes payloads from: every call goes to the execution client as it came, with its
//! token, and its answer comes back as it is; the parameters of `engine_newPayloadV5` are kept.

use assay_engine_api::NewPayloadParams;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::net::SocketAddr;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};

/// Payloads that may wait to be proven.
const WAITING: usize = 256;
/// Most bytes of a call.
const MAX_BODY_BYTES: usize = 128 << 20;

/// A proxy; ends when dropped.
pub(crate) struct Proxy {
    /// Where the Engine API is called.
    pub(crate) url: String,
    pub(super) payloads: mpsc::Receiver<NewPayloadParams>,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    http: reqwest::Client,
    upstream: String,
    payloads: mpsc::Sender<NewPayloadParams>,
}

#[derive(Deserialize)]
struct Call<'a> {
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Proxy {
    /// Listens, in front of the execution client at `upstream`.
    pub(crate) async fn start(listen: SocketAddr, upstream: String) -> anyhow::Result<Self> {
        assay_engine_api::install_crypto_provider();
        let (sender, payloads) = mpsc::channel(WAITING);
        let shared = Shared {
            http: reqwest::Client::builder().no_proxy().build()?,
            upstream,
            payloads: sender,
        };
        let listener = TcpListener::bind(listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/", post(pass))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(shared);
        let task: JoinHandle<_> = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            url,
            payloads,
            task: task.abort_handle(),
        })
    }
}

async fn pass(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut request = shared.http.post(&shared.upstream).body(body.clone());
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    shared.keep(&body);
    let answer = async {
        let answer = request.send().await?;
        let status = answer.status();
        let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
        Ok::<_, reqwest::Error>((status, kind, answer.bytes().await?))
    };
    match answer.await {
        Ok((status, Some(kind), bytes)) => (status, [(header::CONTENT_TYPE, kind)], bytes).into_response(),
        Ok((status, None, bytes)) => (status, bytes).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Shared {
    /// Keeps the payloads of a call or a batch. Calls that cannot be read are the execution client's to refuse.
    fn keep(&self, body: &[u8]) {
        let calls: Vec<Call<'_>> = serde_json::from_slice(body)
            .or_else(|_| serde_json::from_slice(body).map(|one| vec![one]))
            .unwrap_or_default();
        for call in calls.iter().filter(|call| call.method == "engine_newPayloadV5") {
            let params = call
                .params
                .map(|params| NewPayloadParams::from_params(params.get()));
            if let Some(Ok(params)) = params {
                // A payload that is not proven shows: nothing else would make up for it.
                let _ = self.payloads.try_send(params);
            }
        }
    }
}
