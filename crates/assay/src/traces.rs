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
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
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
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
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
    let mut answer = http.execute(request.try_into()?).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
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
}
