//! Traces of proofs' ways from arrival to verdict, by OTLP over HTTP (protobuf) to `--otlp-endpoint`. Off without it. What the
//! collector does not take is lost and told once; a node never waits for it.

use crate::config::shown_endpoint;
use anyhow::Context;
use assay_verification::TRACE_TARGET;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::runtime::{Handle, Runtime};
use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// Longest one export takes.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take at the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Where collectors take traces, where the endpoint names no path.
const PATH: &str = "/v1/traces";
/// Ended spans that wait for the collector; beyond them the newest are lost.
const MAX_QUEUED_SPANS: usize = 2048;
/// Spans of one request.
const MAX_SPANS_A_REQUEST: usize = 512;
/// How long a span may wait for others to go with.
const SEND_EVERY: Duration = Duration::from_secs(5);
/// Most bytes of a collector's answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What sends spans, until it is dropped: then the last ones go, at most `END_TIMEOUT` long.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To `--otlp-endpoint`; nothing without one.
    ///
    /// # Errors
    /// As `start`.
    pub(crate) fn of(endpoint: Option<&str>, runtime: &Runtime) -> anyhow::Result<Option<Self>> {
        endpoint
            .map(|endpoint| Self::start(endpoint, runtime.handle().clone()))
            .transpose()
    }

    /// Sends to this endpoint from tasks of `runtime`, which must outlive it.
    ///
    /// # Errors
    /// An endpoint that is no URL of http or https.
    fn start(endpoint: &str, runtime: Handle) -> anyhow::Result<Self> {
        let url = traces_url(endpoint)
            .with_context(|| format!("--otlp-endpoint {:?}", shown_endpoint(endpoint)))?;
        assay_engine_api::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(EXPORT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let client = Client {
            http,
            runtime,
            told: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(url)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name("assay")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        // Said here, so that no variable of the environment (OTEL_BSP_…) lifts a bound.
        let bounds = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED_SPANS)
            .with_max_export_batch_size(MAX_SPANS_A_REQUEST)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(bounds)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        Ok(Self { provider })
    }

    /// What takes in the spans of proofs, and nothing else.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync>(
        &self,
    ) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_tracer(self.provider.tracer("assay"))
            .with_filter(Targets::new().with_target(TRACE_TARGET, Level::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END_TIMEOUT) {
            tracing::debug!(%error, "the last traces may be lost");
        }
    }
}

/// The address that traces go to.
pub(crate) fn traces_url(endpoint: &str) -> anyhow::Result<String> {
    let mut url: reqwest::Url = endpoint.trim().parse()?;
    anyhow::ensure!(
        ["http", "https"].contains(&url.scheme()) && url.has_host(),
        "http:// or https:// expected"
    );
    if !url.path().ends_with(PATH) {
        let path = format!("{}{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url.into())
}

/// The program's own HTTP client; the exporter's thread has no runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    told: AtomicBool,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self.runtime.spawn(send(http, request)).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => Err(error.into()),
        };
        let why = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        match why {
            None => self.told.store(false, Ordering::Relaxed),
            Some(why) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(why, "traces are not taken at --otlp-endpoint; they are lost");
                }
            }
        }
        answer
    }
}

async fn send(
    http: reqwest::Client,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, HttpError> {
    let (parts, body) = request.into_parts();
    // By its text: a name and password in the URL become a header then. No error may name them.
    let mut answer = http
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body)
        .send()
        .await
        .map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err("the answer is too long".into());
        }
    }
    Ok(http::Response::builder()
        .status(answer.status())
        .body(body.into())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::sync::{Arc, atomic::AtomicUsize};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::watch,
    };
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn where_traces_go() {
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://collector:4318/", Some("http://collector:4318/v1/traces")),
            ("https://x.example/otlp", Some("https://x.example/otlp/v1/traces")),
            ("https://x.example/v1/traces", Some("https://x.example/v1/traces")),
            ("127.0.0.1:4318", None),
            ("grpc://127.0.0.1:4317", None),
            ("", None),
        ] {
            assert_eq!(traces_url(endpoint).ok().as_deref(), url, "{endpoint:?}");
        }
    }

    /// The name of the spans that are counted.
    const NAME: &str = "one-of-many";

    /// Reads what comes and counts the spans; answers nothing until it may, then everything with 200.
    async fn collect(mut socket: TcpStream, mut speaks: watch::Receiver<bool>, came: Arc<AtomicUsize>) {
        let mut held = Vec::new();
        loop {
            let end = held.windows(4).position(|w| w == b"\r\n\r\n");
            let length = end.map_or(0, |end| {
                let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
                let named = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                named.map_or(0, |length| length.trim().parse().unwrap())
            });
            let Some(body) = end.map(|end| end + 4).filter(|from| held.len() >= from + length) else {
                if socket.read_buf(&mut held).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            };
            let rest = held.split_off(body + length);
            let spans = held[body..].windows(NAME.len()).filter(|w| *w == NAME.as_bytes());
            came.fetch_add(spans.count(), Ordering::Relaxed);
            held = rest;
            if speaks.wait_for(|speaks| *speaks).await.is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if socket.write_all(answer).await.is_err() {
                return;
            }
        }
    }

    #[test]
    fn a_collector_that_hangs_holds_nobody_up_and_no_more_than_the_queue_is_kept_for_it() {
        const MADE: usize = 20_000;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (speak, speaks) = watch::channel(false);
        let came = Arc::new(AtomicUsize::new(0));
        let counted = came.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(collect(socket, speaks.clone(), counted.clone()));
            }
        });
        let traces = Traces::start(&endpoint, runtime.handle().clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        // Were each to wait for the collector, this would never end.
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..MADE {
                drop(tracing::info_span!(target: TRACE_TARGET, NAME));
            }
        });
        speak.send_replace(true);
        drop(traces);
        let came = came.load(Ordering::Relaxed);
        // The queue, what was on its way, and what took its place in the queue.
        let most = MAX_QUEUED_SPANS + 2 * MAX_SPANS_A_REQUEST;
        assert!((1..=most).contains(&came), "{came} of {MADE} came");
    }
}
