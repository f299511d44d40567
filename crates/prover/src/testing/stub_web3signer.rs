//! web3signer's HTTP API over interop keys, with the faults that real signers have, over http or over https with client
//! certificates of its own making.

use assay_types::{PublicKeyBytes, Root, SecretKey};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path as UrlPath, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Largest body it takes.
const BODY_LIMIT: usize = 32 << 20;
/// Longer than anybody waits.
const SILENCE: Duration = Duration::from_secs(600);

/// What goes wrong. Nothing by default; can be changed while it runs.
#[derive(Debug, Clone, Default)]
pub struct SignerFaults {
    /// So many calls are answered with 503.
    pub failing_calls: u32,
    /// Calls are not answered.
    pub silent: bool,
    /// Signatures are another key's.
    pub other_key: bool,
    /// Signing requests are refused: their type is not known.
    pub unknown_type: bool,
    /// Signatures come as bare hex.
    pub plain_text: bool,
    /// Answers have this body.
    pub answer: Option<String>,
    /// Answers have bodies of so many MiB, without a length announced.
    pub endless: Option<usize>,
}

/// PEM files for clients of a stub over https.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The authority of its certificate and of those it lets in.
    pub ca: PathBuf,
    /// A certificate it lets in, and its key.
    pub client: (PathBuf, PathBuf),
    /// A certificate of another authority, and its key.
    pub stranger: (PathBuf, PathBuf),
}

struct Inner {
    keys: BTreeMap<PublicKeyBytes, SecretKey>,
    faults: Mutex<SignerFaults>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    last: Mutex<Option<Value>>,
}

/// A running stub on loopback; ends when dropped.
pub struct StubWeb3Signer {
    url: String,
    inner: Arc<Inner>,
    server: AbortHandle,
}

impl StubWeb3Signer {
    /// Over http, with the interop keys of these validators.
    pub async fn start(validators: &[u64]) -> io::Result<Self> {
        Self::serve(validators, None).await
    }

    /// Over https, for those with a client certificate; writes the files clients need into `directory`.
    pub async fn start_tls(validators: &[u64], directory: &Path) -> io::Result<(Self, TlsFiles)> {
        let (acceptor, files) = certificates(directory).map_err(io::Error::other)?;
        Ok((Self::serve(validators, Some(acceptor)).await?, files))
    }

    async fn serve(validators: &[u64], tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let key = |index: &u64| {
            let key = SecretKey::interop(*index);
            (key.public_key().to_bytes(), key)
        };
        let inner = Arc::new(Inner {
            keys: validators.iter().map(key).collect(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            last: Mutex::default(),
        });
        let router = Router::new()
            .route("/api/v1/eth2/publicKeys", get(public_keys))
            .route("/api/v1/eth2/sign/{key}", post(sign))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(inner.clone());
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (router, tls) = (router.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => connection(socket, router).await,
                        Some(tls) => {
                            // A handshake that fails is the client's error.
                            if let Ok(socket) = tls.accept(socket).await {
                                connection(socket, router).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self {
            url,
            inner,
            server: server.abort_handle(),
        })
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, faults: SignerFaults) {
        *self.inner.faults.lock() = faults;
    }

    /// How often it was asked to sign.
    pub fn sign_calls(&self) -> u64 {
        self.inner.calls.lock().get("sign").copied().unwrap_or_default()
    }

    /// The last signing request.
    pub fn last_request(&self) -> Option<Value> {
        self.inner.last.lock().clone()
    }
}

impl Drop for StubWeb3Signer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn connection(socket: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let service =
        service_fn(move |request: hyper::Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
    // However it ends.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

/// Counts the call; the answer where a fault has one.
async fn misbehave(inner: &Inner, call: &'static str) -> Option<Response> {
    *inner.calls.lock().entry(call).or_default() += 1;
    let faults = {
        let mut faults = inner.faults.lock();
        if faults.failing_calls > 0 {
            faults.failing_calls -= 1;
            return Some((StatusCode::SERVICE_UNAVAILABLE, "a fault of the stub").into_response());
        }
        faults.clone()
    };
    if faults.silent {
        tokio::time::sleep(SILENCE).await;
    }
    if let Some(mib) = faults.endless {
        let piece = axum::body::Bytes::from(vec![b' '; 1 << 20]);
        let pieces = std::iter::repeat_n(piece, mib).map(Ok::<_, io::Error>);
        return Some(Body::from_stream(futures::stream::iter(pieces)).into_response());
    }
    faults.answer.map(IntoResponse::into_response)
}

async fn public_keys(State(inner): State<Arc<Inner>>) -> Response {
    match misbehave(&inner, "publicKeys").await {
        Some(answer) => answer,
        None => Json(inner.keys.keys().collect::<Vec<_>>()).into_response(),
    }
}

async fn sign(
    State(inner): State<Arc<Inner>>,
    UrlPath(key): UrlPath<String>,
    Json(request): Json<Value>,
) -> Response {
    let root: Option<Root> = request["signingRoot"].as_str().and_then(|r| r.parse().ok());
    *inner.last.lock() = Some(request);
    if let Some(answer) = misbehave(&inner, "sign").await {
        return answer;
    }
    let faults = inner.faults.lock().clone();
    let key = key
        .parse()
        .ok()
        .and_then(|key: PublicKeyBytes| inner.keys.get(&key));
    let (Some(key), Some(root)) = (key, root) else {
        return (StatusCode::NOT_FOUND, "Signer not found").into_response();
    };
    if faults.unknown_type {
        return (StatusCode::BAD_REQUEST, "unknown type id").into_response();
    }
    let other = SecretKey::interop(u64::MAX);
    let signature = if faults.other_key { &other } else { key }.sign(&root);
    if faults.plain_text {
        return ([(CONTENT_TYPE, "text/plain")], signature.to_string()).into_response();
    }
    Json(json!({"signature": signature})).into_response()
}

/// An authority; a server's certificate for 127.0.0.1; a client's, and a stranger's.
fn certificates(
    directory: &Path,
) -> Result<(TlsAcceptor, TlsFiles), Box<dyn std::error::Error + Send + Sync>> {
    let (ours, theirs) = (authority()?, authority()?);
    let server = issued(&ours, ExtendedKeyUsagePurpose::ServerAuth)?;
    let mut roots = RootCertStore::empty();
    roots.add(ours.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server.key_pair.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.cert.der().clone()], key)?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let client =
        |name: &str, authority: &CertifiedKey| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let client = issued(authority, ExtendedKeyUsagePurpose::ClientAuth)?;
            let certificate = write(&format!("{name}.pem"), client.cert.pem())?;
            let key = write(&format!("{name}.key"), client.key_pair.serialize_pem())?;
            Ok((certificate, key))
        };
    let files = TlsFiles {
        ca: write("ca.pem", ours.cert.pem())?,
        client: client("client", &ours)?,
        stranger: client("stranger", &theirs)?,
    };
    Ok((TlsAcceptor::from(Arc::new(config)), files))
}

fn authority() -> Result<CertifiedKey, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key_pair = KeyPair::generate()?;
    let cert = params.self_signed(&key_pair)?;
    Ok(CertifiedKey { cert, key_pair })
}

fn issued(authority: &CertifiedKey, usage: ExtendedKeyUsagePurpose) -> Result<CertifiedKey, rcgen::Error> {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params.extended_key_usages = vec![usage];
    let key_pair = KeyPair::generate()?;
    let cert = params.signed_by(&key_pair, &authority.cert, &authority.key_pair)?;
    Ok(CertifiedKey { cert, key_pair })
}
