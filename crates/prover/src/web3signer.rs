//! A remote signer with web3signer's HTTP API: `GET /api/v1/eth2/publicKeys` and `POST /api/v1/eth2/sign/{key}`.
//!
//! That API signs messages of types it knows, and an execution proof is none of those it was published with. What is sent
//! here has the form that the prover of eth-act's Lighthouse sends: type `EXECUTION_PROOF`, `fork_info`, `signingRoot` and
//! the proof as `execution_proof`. Both what the type is called and whether the proof goes along (8 MB of JSON for 4 MiB)
//! can be set, for signers that sign the root they are given. A signer that computes the root itself takes the version in
//! the domain from `fork_info.fork.current_version`: a proof names no epoch.
//!
//! The connection: http, or https with the system's authorities or one of the operator's own, and with a client
//! certificate where the signer asks for one (PEM; Teku and Lighthouse take PKCS#12, which `openssl pkcs12` converts).

use crate::{
    http,
    key_signer::{KeyError, KeySigner, MAX_KEYS, SigningMessage},
    keystore_files::{FilesError, read},
};
use assay_types::{ForkVersion, PublicKeyBytes, Root, SignatureBytes, signed_proof::MessageContainer};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{
    Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// The type of eth-act's Lighthouse.
pub const EXECUTION_PROOF_TYPE: &str = "EXECUTION_PROOF";
/// Time to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a certificate or key file at most.
const MAX_PEM_BYTES: u64 = 256 * 1024;
/// Bytes of a list of keys at most: `MAX_KEYS` of some hundred, with room.
const MAX_LIST: usize = 256 * 1024;
/// Bytes of a signature's answer at most.
const MAX_SIGNATURE: usize = 4 * 1024;
/// Calls of one signature, should the signer not be reached or fail; the pause before the second, doubled for each after.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// Signatures asked for at once; each may hold a proof in hex.
const AT_ONCE: usize = 8;

/// How a signer is reached, and what it is sent.
#[derive(Debug, Clone)]
pub struct Web3SignerConfig {
    /// Base URL, http or https.
    pub url: Url,
    /// The keys to sign with; none: all that it lists.
    pub public_keys: Vec<PublicKeyBytes>,
    /// PEM of the authorities that its certificate is held against, in place of the system's.
    pub ca: Option<PathBuf>,
    /// PEM of the client's certificate and of its key (which may be the same file).
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// Longest one call takes.
    pub timeout: Duration,
    /// `type` of the request.
    pub message_type: String,
    /// Whether the request has the proof in it.
    pub send_proof: bool,
}

impl Web3SignerConfig {
    /// The defaults, for a signer at `url`.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            public_keys: Vec::new(),
            ca: None,
            client_identity: None,
            timeout: Duration::from_secs(5),
            message_type: EXECUTION_PROOF_TYPE.to_owned(),
            send_proof: true,
        }
    }
}

/// Why there is no remote signer.
#[derive(Debug, thiserror::Error)]
pub enum Web3SignerError {
    /// Not http or https, or no host.
    #[error("{0}: an http or https URL with a host is needed")]
    Url(String),
    /// Certificates without TLS.
    #[error("certificates are of use with https only, the URL is {0}")]
    NotTls(String),
    /// Too many keys.
    #[error("more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FilesError),
    /// A file is not what it should be.
    #[error("{0}: {1}")]
    Pem(PathBuf, String),
    /// The HTTP client could not be built.
    #[error("HTTP client: {0}")]
    Client(String),
}

/// A remote signer.
pub struct Web3Signer {
    name: String,
    config: Web3SignerConfig,
    http: Client,
    places: Semaphore,
}

#[derive(Serialize)]
struct SignRequest<'a> {
    #[serde(rename = "type")]
    message_type: &'a str,
    fork_info: ForkInfo,
    #[serde(rename = "signingRoot")]
    signing_root: Root,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_proof: Option<MessageContainer>,
}

#[derive(Serialize)]
struct ForkInfo {
    fork: Fork,
    genesis_validators_root: Root,
}

#[derive(Serialize)]
struct Fork {
    previous_version: ForkVersion,
    current_version: ForkVersion,
    epoch: assay_types::Epoch,
}

#[derive(Deserialize)]
struct SignAnswer {
    signature: SignatureBytes,
}

fn authorities(path: PathBuf) -> Result<Vec<Certificate>, Web3SignerError> {
    let pem = read(&path, MAX_PEM_BYTES)?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Web3SignerError::Pem(path, "no certificate in it".to_owned())),
        Err(error) => Err(Web3SignerError::Pem(path, http::causes(error))),
    }
}

fn identity(certificate: PathBuf, key: PathBuf) -> Result<Identity, Web3SignerError> {
    let mut pem = read(&certificate, MAX_PEM_BYTES)?;
    if key != certificate {
        let other = read(&key, MAX_PEM_BYTES)?;
        let mut both = Zeroizing::new(Vec::with_capacity(pem.len() + other.len() + 1));
        both.extend_from_slice(&pem);
        both.push(b'\n');
        both.extend_from_slice(&other);
        pem = both;
    }
    Identity::from_pem(&pem).map_err(|error| {
        let files = format!("{} and {}", certificate.display(), key.display());
        Web3SignerError::Pem(files.into(), http::causes(error))
    })
}

impl Web3Signer {
    /// Reads the files; asks nothing yet. A TLS provider must be installed for https.
    pub fn new(config: Web3SignerConfig) -> Result<Self, Web3SignerError> {
        let mut shown = config.url.clone();
        // What has a host takes both; there is nothing to hide where it has none.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        let name = shown.as_str().trim_end_matches('/').to_owned();
        if !matches!(config.url.scheme(), "http" | "https") || !config.url.has_host() {
            return Err(Web3SignerError::Url(name));
        }
        if config.url.scheme() == "http" && (config.ca.is_some() || config.client_identity.is_some()) {
            return Err(Web3SignerError::NotTls(name));
        }
        if config.public_keys.len() > MAX_KEYS {
            return Err(Web3SignerError::TooManyKeys);
        }
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.timeout)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = config.ca.clone() {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        if let Some((certificate, key)) = config.client_identity.clone() {
            builder = builder.identity(identity(certificate, key)?);
        }
        Ok(Self {
            http: builder
                .build()
                .map_err(|error| Web3SignerError::Client(http::causes(error)))?,
            places: Semaphore::new(AT_ONCE),
            name,
            config,
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.config.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }

    /// Makes a call until it is answered, a few times at most. A call that ran out of its time is not made again: whoever
    /// waits has waited long enough, and asks again where there is still time.
    async fn call(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, KeyError> {
        let mut tries = 0;
        loop {
            let (why, is_final) = match request().send().await {
                Ok(response) if response.status() == StatusCode::OK => return Ok(response),
                Ok(response) => match response.status().as_u16() {
                    429 | 500..=599 => (http::refusal(response).await, false),
                    404 => return Err(KeyError::NoKey),
                    _ => return Err(KeyError::Refused(http::refusal(response).await)),
                },
                Err(error) => {
                    let is_timeout = error.is_timeout();
                    (http::causes(error), is_timeout)
                }
            };
            tries += 1;
            if is_final || tries >= TRIES {
                return Err(KeyError::Unavailable(why));
            }
            tokio::time::sleep(PAUSE * (1 << (tries - 1))).await;
        }
    }

    async fn body(&self, message: &SigningMessage) -> Result<Bytes, KeyError> {
        let message_type = self.config.message_type.clone();
        let (message, send_proof) = (message.clone(), self.config.send_proof);
        // Megabytes of hex.
        let encoded = tokio::task::spawn_blocking(move || {
            let request = SignRequest {
                message_type: &message_type,
                fork_info: ForkInfo {
                    fork: Fork {
                        previous_version: message.fork.previous_version,
                        current_version: message.fork.current_version,
                        epoch: message.fork.epoch,
                    },
                    genesis_validators_root: message.genesis_validators_root,
                },
                signing_root: message.signing_root,
                execution_proof: send_proof.then(|| message.message.container(message.revision)),
            };
            serde_json::to_vec(&request)
        });
        match encoded.await {
            Ok(Ok(body)) => Ok(body.into()),
            Ok(Err(error)) => Err(KeyError::Unavailable(error.to_string())),
            Err(error) => Err(KeyError::Unavailable(error.to_string())),
        }
    }
}

#[async_trait]
impl KeySigner for Web3Signer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn public_keys(&self) -> Result<Vec<PublicKeyBytes>, KeyError> {
        if !self.config.public_keys.is_empty() {
            return Ok(self.config.public_keys.clone());
        }
        let url = self.url("/api/v1/eth2/publicKeys");
        let mut response = match self
            .call(|| self.http.get(url.clone()).header(ACCEPT, "application/json"))
            .await
        {
            Err(KeyError::NoKey) => Err(KeyError::Refused("404 for its list of keys".to_owned())),
            other => other,
        }?;
        let no_list = |why: &str| KeyError::Unavailable(format!("its list of keys {why}"));
        let body = http::read_bounded(&mut response, MAX_LIST)
            .await
            .ok_or_else(|| no_list("broke off, or has more than it may: name keys"))?;
        let keys: BTreeSet<PublicKeyBytes> =
            serde_json::from_slice(&body).map_err(|error| no_list(&format!("cannot be read: {error}")))?;
        if keys.len() > MAX_KEYS {
            return Err(no_list(&format!(
                "has {} keys, {MAX_KEYS} at most: name keys",
                keys.len()
            )));
        }
        Ok(keys.into_iter().collect())
    }

    async fn sign(&self, key: &PublicKeyBytes, message: &SigningMessage) -> Result<SignatureBytes, KeyError> {
        // Closed by nobody.
        let _place = self.places.acquire().await;
        let body = self.body(message).await?;
        let url = self.url(&format!("/api/v1/eth2/sign/{key}"));
        let request = || {
            self.http
                .post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .body(body.clone())
        };
        let mut response = self.call(request).await?;
        let wrong = || KeyError::Unavailable("its answer is no signature".to_owned());
        let body = http::read_bounded(&mut response, MAX_SIGNATURE)
            .await
            .ok_or_else(wrong)?;
        // JSON as asked for, or the bare hex that older ones give.
        let text = std::str::from_utf8(&body).map_err(|_| wrong())?.trim();
        if text.starts_with('{') {
            let answer: SignAnswer = serde_json::from_str(text).map_err(|_| wrong())?;
            return Ok(answer.signature);
        }
        text.parse().map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests;
