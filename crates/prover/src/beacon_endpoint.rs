//! The beacon endpoint that takes proofs: `POST /eth/v1/beacon/execution_proofs` (protocol.md section 8).

use crate::duty::Outcome;
use assay_types::SignedExecutionProof;
use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use std::time::Duration;

const PATH: &str = "/eth/v1/beacon/execution_proofs";
/// Time to a connection, and to a whole answer: the endpoint verifies before it answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read, and characters of it that are kept.
const MAX_ANSWER: usize = 16 * 1024;
const MAX_WORDS: usize = 300;

/// Why there can be no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not http or https.
    #[error("{0}: an http or https URL is needed")]
    Url(String),
    /// The HTTP client could not be built.
    #[error("HTTP client: {0}")]
    Client(String),
}

/// Posts signed proofs.
#[derive(Debug, Clone)]
pub struct BeaconEndpoint {
    http: reqwest::Client,
    url: Url,
}

impl BeaconEndpoint {
    /// `base`: the endpoint's base URL. A TLS provider must be installed for https.
    pub fn new(base: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Url(base.split('@').next_back().unwrap_or_default().to_owned());
        let mut url = Url::parse(base).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        url.set_path(&format!("{}{PATH}", url.path().trim_end_matches('/')));
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(POST_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| EndpointError::Client(e.to_string()))?;
        Ok(Self { http, url })
    }

    /// Posts one proof as SSZ. 200: it is on the network; 400, 413 and 415: refused; anything else: tried again.
    pub(crate) async fn post(&self, proof: &SignedExecutionProof) -> Outcome {
        let body = proof.to_ssz_bytes();
        let post = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/octet-stream");
        let mut response = match post.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Outcome::NotNow(format!("beacon endpoint: {}", error.without_url())),
        };
        let status = response.status();
        if status == StatusCode::OK {
            return Outcome::Done;
        }
        let mut words = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            words.extend_from_slice(&chunk);
            if words.len() > MAX_ANSWER {
                break;
            }
        }
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let words: String = String::from_utf8_lossy(&words)
            .chars()
            .take(MAX_WORDS)
            .map(clean)
            .collect();
        let why = format!("beacon endpoint: {status} {words}");
        match status.as_u16() {
            400 | 413 | 415 => Outcome::Refused(why),
            _ => Outcome::NotNow(why),
        }
    }
}
