//! Every Beacon API route that is not Assay's own goes to the beacon node behind it, streams included.

use crate::ApiError;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, Uri, header},
    response::Response,
};
use std::time::Duration;

/// Headers that belong to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How long the beacon node may take to accept a connection. There is no limit on an answer: event streams last.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to the beacon node.
#[derive(Debug, Clone)]
pub struct Upstream {
    base: reqwest::Url,
    http: reqwest::Client,
}

impl Upstream {
    /// Towards a base URL.
    pub fn new(base: reqwest::Url) -> Result<Self, reqwest::Error> {
        assay_engine_api::install_crypto_provider();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { base, http })
    }

    /// The same path and query at the beacon node.
    fn target(&self, uri: &Uri) -> reqwest::Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}{}", uri.path()));
        url.set_query(uri.query());
        url
    }

    /// Asks for a path with a query, for streams that are merged with our own.
    pub async fn get(
        &self,
        path_and_query: &str,
        headers: &HeaderMap,
    ) -> Result<reqwest::Response, ApiError> {
        let uri: Uri = path_and_query
            .parse()
            .map_err(|_| ApiError::bad_request("not a path"))?;
        let mut headers = end_to_end(headers);
        // The answer is read here, not only passed on.
        headers.remove(header::ACCEPT_ENCODING);
        self.http
            .get(self.target(&uri))
            .headers(headers)
            .send()
            .await
            .map_err(unreachable)
    }

    /// Hands a request on, and the answer back, both as streams.
    pub async fn forward(&self, request: Request) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let answer = self
            .http
            .request(parts.method, self.target(&parts.uri))
            .headers(end_to_end(&parts.headers))
            .body(reqwest::Body::wrap_stream(body.into_data_stream()))
            .send()
            .await
            .map_err(unreachable)?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            *headers = end_to_end(answer.headers());
        }
        response
            .body(Body::from_stream(answer.bytes_stream()))
            .map_err(|e| ApiError::internal(format!("answer of the beacon node: {e}")))
    }
}

fn unreachable(error: reqwest::Error) -> ApiError {
    let why = if error.is_connect() {
        "is not reachable"
    } else {
        "gave no answer"
    };
    ApiError::unavailable(format!("the beacon node {why}"))
}

/// Headers without those of the connection. A length stays: bodies pass unchanged.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut out = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let of_connection = HOP_BY_HOP.contains(&name.as_str()) || *name == header::HOST;
        if !of_connection && !named.contains(name) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}
