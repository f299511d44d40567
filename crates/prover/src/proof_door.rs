//! Where signed proofs go: a beacon endpoint (`POST /eth/v1/beacon/execution_proofs`, protocol.md section 8), or the door of
//! the node that this prover is part of.

use crate::{duty::Outcome, http};
use assay_types::SignedProof;
use assay_verification::{Candidate, IgnoreReason, Intake, Source, Verdict, Waited};
use async_trait::async_trait;
use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use std::time::Duration;

const PATH: &str = "/eth/v1/beacon/execution_proofs";
/// What to do about an endpoint that has no such route.
const NO_ROUTE: &str = "it has no route for execution proofs (POST /eth/v1/beacon/execution_proofs): name a node that has \
                        with --post-to, such as the HTTP API of `assay node`";
/// Time to a connection, and to a whole answer: the endpoint verifies before it answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POST_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes signed proofs.
#[async_trait]
pub trait ProofDoor: Send + Sync + 'static {
    /// Brings one: it is on the network, not now, or refused.
    async fn post(&self, proof: &SignedProof) -> Outcome;
}

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

    /// Whether it takes proofs at all: asked with a body that is none. An endpoint that is not there may be later.
    ///
    /// # Errors
    /// What to do where it has no such route.
    pub async fn check(&self) -> Result<(), String> {
        let post = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/octet-stream");
        match post
            .body(Vec::new())
            .send()
            .await
            .map(|answer| answer.status().as_u16())
        {
            Ok(status @ (404 | 405 | 501)) => Err(format!("HTTP {status}: {NO_ROUTE}")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl ProofDoor for BeaconEndpoint {
    /// Posts one proof as SSZ. 200: it is on the network; 400, 404, 405, 413 and 415: refused; anything else: tried again.
    async fn post(&self, proof: &SignedProof) -> Outcome {
        let body = proof.to_ssz_bytes();
        let post = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/octet-stream");
        let response = match post.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Outcome::NotNow(format!("beacon endpoint: {}", http::causes(error))),
        };
        let status = response.status();
        if status == StatusCode::OK {
            return Outcome::Done;
        }
        let why = format!("beacon endpoint: {}", http::refusal(response).await);
        match status.as_u16() {
            // A beacon node of today: it will not have the route a moment later either.
            404 | 405 | 501 => Outcome::Refused(format!("{why}: {NO_ROUTE}")),
            400 | 413 | 415 => Outcome::Refused(why),
            _ => Outcome::NotNow(why),
        }
    }
}

#[async_trait]
impl ProofDoor for Intake {
    /// As a POST would answer it.
    async fn post(&self, proof: &SignedProof) -> Outcome {
        let candidate = Candidate::Signed(proof.clone());
        match self
            .submit_and_wait(candidate, Source::Prover, POST_TIMEOUT)
            .await
        {
            Waited::Decided(Verdict::Accept(_) | Verdict::Ignore(IgnoreReason::AlreadyValid)) => {
                Outcome::Done
            }
            Waited::Decided(Verdict::Reject(reason)) => Outcome::Refused(reason.to_string()),
            Waited::Decided(Verdict::Ignore(
                reason @ (IgnoreReason::UnsupportedType | IgnoreReason::TooOld | IgnoreReason::WrongRevision),
            )) => Outcome::Refused(reason.to_string()),
            Waited::Decided(Verdict::Ignore(reason)) => Outcome::NotNow(reason.to_string()),
            Waited::StillWaiting(reason) => Outcome::NotNow(reason.map_or_else(
                || "it is still being judged".to_owned(),
                |reason| reason.to_string(),
            )),
        }
    }
}
