//! The router, which reads as the API's table of contents; limits, binding, shutdown.

use crate::{
    ApiError, ApiState,
    openapi::{Route, document},
    routes::{self, BodyLimit, PostPlaces, openapi_json::Document},
};
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, limit::GlobalConcurrencyLimitLayer};

/// Bytes around the proofs of one request: JSON names, quotes, commas.
const BODY_OVERHEAD: usize = 64 * 1024;
/// Proofs of the largest size that fit into one request: `MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
const LARGEST_PROOFS_PER_POST: usize = 4;
/// POSTs of proofs at the same time, those whose callers have hung up included; more wait. Each may hold a body of some 33 MB.
const POSTS_AT_ONCE: usize = 4;
/// How long answers under way may take once the node is told to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// A connection whose request has not come to the end of its headers after this, from the connection's beginning or the
/// end of the request before, is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections of one server at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// Wait after an accept that failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(Option<IpAddr>);

impl Caller {
    /// Whether it runs on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.0.is_some_and(|ip| ip.to_canonical().is_loopback())
    }
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    header_timeout: Duration,
    connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: HEADER_TIMEOUT,
            connections: MAX_CONNECTIONS,
        }
    }
}

/// The API could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{what} {address} cannot be listened on: {error}")]
pub struct ServerError {
    what: &'static str,
    address: SocketAddr,
    error: std::io::Error,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// Where, with the port the system chose.
    pub address: SocketAddr,
    /// Ends after the token given to `serve` is cancelled.
    pub task: JoinHandle<()>,
}

/// Serves the API until `stop`.
pub async fn serve(
    address: SocketAddr,
    state: ApiState,
    stop: CancellationToken,
) -> Result<Server, ServerError> {
    listen("HTTP API", address, router(state, &stop), Limits::default(), stop).await
}

/// Serves `/metrics` alone until `stop`.
pub async fn serve_metrics(
    address: SocketAddr,
    registry: Arc<Mutex<Registry>>,
    stop: CancellationToken,
) -> Result<Server, ServerError> {
    let router = Router::new()
        .route("/metrics", get(routes::metrics::get))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(registry);
    listen("metrics server", address, router, Limits::default(), stop).await
}

/// The paths of every route, as the OpenAPI document writes them.
pub fn paths() -> Vec<&'static str> {
    table(0).into_iter().map(|route| route.path).collect()
}

/// Every route: what the router serves and the OpenAPI document says. `proof_body` is the most bytes of a body of proofs.
pub(crate) fn table(proof_body: usize) -> Vec<Route> {
    // One for all POST routes: what they hold in memory is bounded, and slow senders do not keep places for ever.
    let at_once = GlobalConcurrencyLimitLayer::new(POSTS_AT_ONCE);
    let places = PostPlaces(Arc::new(Semaphore::new(POSTS_AT_ONCE)));
    let limited = |route: MethodRouter<ApiState>| -> MethodRouter<ApiState> {
        route
            .layer::<_, std::convert::Infallible>(Extension(places.clone()))
            .layer::<_, std::convert::Infallible>(Extension(BodyLimit(proof_body)))
            .layer(at_once.clone())
    };
    let post = routes::post_execution_proofs::post;
    let describe_post = routes::post_execution_proofs::describe;
    vec![
        Route::at("/eth/v1/beacon/execution_proofs").post(
            post,
            limited,
            describe_post("postExecutionProofs"),
        ),
        Route::at("/eth/v1/beacon/pool/execution_proofs")
            .post(post, limited, describe_post("postPoolExecutionProofs"))
            .get(
                routes::get_pool_execution_proofs::get,
                routes::get_pool_execution_proofs::describe(),
            ),
        Route::at("/eth/v1/beacon/execution_proofs/{block_id}").get(
            routes::get_execution_proofs::get,
            routes::get_execution_proofs::describe(),
        ),
        Route::at("/eth/v1/prover/execution_proofs").post(
            routes::post_prover_execution_proofs::post,
            limited,
            routes::post_prover_execution_proofs::describe(),
        ),
        Route::at("/eth/v1/events").get(routes::events::get, routes::events::describe()),
        Route::at("/eth/v1/node/identity").get(routes::node_identity::get, routes::node_identity::describe()),
        Route::at("/eth/v1/node/peers").get(routes::node_peers::list, routes::node_peers::describe_list()),
        Route::at("/eth/v1/node/peers/{peer_id}")
            .get(routes::node_peers::one, routes::node_peers::describe_one()),
        Route::at("/eth/v1/node/peer_count")
            .get(routes::node_peer_count::get, routes::node_peer_count::describe()),
        Route::at("/eth/v1/node/health").get(routes::node_health::get, routes::node_health::describe()),
        Route::at("/eth/v1/node/version").get(routes::node_version::get, routes::node_version::describe()),
        Route::at("/eth/v1/node/syncing").get(routes::node_syncing::get, routes::node_syncing::describe()),
        Route::at("/assay/v1/status").get(routes::assay_status::get, routes::assay_status::describe()),
        Route::at("/assay/v1/proof_types").get(
            routes::assay_proof_types::get,
            routes::assay_proof_types::describe(),
        ),
        Route::at("/assay/v1/payloads").get(routes::assay_payloads::get, routes::assay_payloads::describe()),
        Route::at("/assay/v1/payloads/{id}")
            .get(routes::assay_payload::get, routes::assay_payload::describe()),
        Route::at("/assay/v1/gate").get(routes::assay_gate::get, routes::assay_gate::describe()),
        Route::at("/assay/v1/gate/conflicts/{block_hash}").post(
            routes::assay_gate_conflicts::post,
            |route| route,
            routes::assay_gate_conflicts::describe(),
        ),
        Route::at("/assay/v1/dashboard")
            .get(routes::assay_dashboard::get, routes::assay_dashboard::describe()),
        Route::at("/").get(
            routes::dashboard::html,
            routes::dashboard::describe("getHomePage", "text/html"),
        ),
        Route::at("/dashboard").get(
            routes::dashboard::html,
            routes::dashboard::describe("getDashboardPage", "text/html"),
        ),
        Route::at("/dashboard/style.css").get(
            routes::dashboard::style,
            routes::dashboard::describe("getDashboardStyle", "text/css"),
        ),
        Route::at("/dashboard/script.js").get(
            routes::dashboard::script,
            routes::dashboard::describe("getDashboardScript", "text/javascript"),
        ),
        Route::at("/metrics").get(routes::metrics::get, routes::metrics::describe()),
        Route::at("/openapi.json").get(routes::openapi_json::get, routes::openapi_json::describe()),
    ]
}

fn router(state: ApiState, stop: &CancellationToken) -> Router {
    let spec = state.chain.spec();
    // In hex a byte is two characters.
    let routes = table(2 * LARGEST_PROOFS_PER_POST * spec.max_signed_proof_size() + BODY_OVERHEAD);
    let document = document(&routes, &state.info.version, spec);
    let mut router = Router::new();
    for route in routes {
        router = router.route(route.path, route.router);
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(forward)
        .layer(Extension(stop.clone()))
        .layer(Extension(Document(document.to_string().into())))
        .with_state(state)
}

/// The paths are ours, and so is the answer; `Allow` is added by the router.
async fn method_not_allowed(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} does not take {method}"),
    )
}

async fn not_found() -> ApiError {
    ApiError::not_found("no such route")
}

/// Whatever is not ours is the beacon node's.
async fn forward(State(state): State<ApiState>, request: Request) -> Response {
    if request.uri().path().starts_with("/assay/") {
        return not_found().await.into_response();
    }
    state
        .upstream
        .forward(request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn listen(
    what: &'static str,
    address: SocketAddr,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Result<Server, ServerError> {
    let failed = |error| ServerError { what, address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "{what} listens");
    let task = tokio::spawn(accept_until(what, listener, router, limits, stop));
    Ok(Server { address: bound, task })
}

async fn accept_until(
    what: &'static str,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    // Dropped with this task: what has not ended by then is cut off.
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut told = false;
    loop {
        let accepted = async {
            let place = places
                .clone()
                .acquire_owned()
                .await
                .map_err(std::io::Error::other)?;
            Ok((listener.accept().await?.0, place))
        };
        let accepted: std::io::Result<_> = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((socket, place)) => {
                told = false;
                let connection = connection(socket, router.clone(), limits.header_timeout, stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // No file descriptors, mostly.
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "{what} cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    // Event streams never end by themselves.
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, rest).await;
}

async fn connection(socket: TcpStream, router: Router, header_timeout: Duration, stop: CancellationToken) {
    // Small answers must not wait for an acknowledgement; a socket that refuses is about to fail anyway.
    let _ = socket.set_nodelay(true);
    let caller = Caller(socket.peer_addr().ok().map(|address| address.ip()));
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        request.extensions_mut().insert(caller);
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn served(limits: Limits) -> (Server, CancellationToken) {
        let router = Router::new()
            .route("/ours", get(async || "yes"))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found);
        let stop = CancellationToken::new();
        let address = "127.0.0.1:0".parse().unwrap();
        let server = listen("test", address, router, limits, stop.clone())
            .await
            .unwrap();
        (server, stop)
    }

    #[tokio::test]
    async fn a_wrong_method_is_405_in_the_apis_form() {
        assay_engine_api::install_crypto_provider();
        let (server, stop) = served(Limits::default()).await;
        let client = reqwest::Client::new();
        let url = format!("http://{}/ours", server.address);
        let refused = client.delete(&url).send().await.unwrap();
        assert_eq!(refused.status(), 405);
        assert_eq!(refused.headers()["allow"], "GET,HEAD");
        let body: serde_json::Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
        assert_eq!(body["code"], 405);
        assert_eq!(body["message"], "/ours does not take DELETE");
        assert_eq!(
            client.get(&url).send().await.unwrap().text().await.unwrap(),
            "yes"
        );
        // A connection that is kept open between requests does not keep the server from ending.
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), server.task).await;
        ended.unwrap().unwrap();
    }

    #[tokio::test]
    async fn headers_that_do_not_come_end_the_connection_and_places_are_given_back() {
        let limits = Limits {
            header_timeout: Duration::from_millis(200),
            connections: 1,
        };
        let (server, _stop) = served(limits).await;
        let started = Instant::now();
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"GET /ours HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            .await
            .unwrap();
        // The only place is taken: this one is served when the other was given up.
        let mut next = TcpStream::connect(server.address).await.unwrap();
        next.write_all(b"GET /ours HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(20), next.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("yes"),
            "{answer}"
        );
        assert!(started.elapsed() >= limits.header_timeout);
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
        // Closed, with or without a 408 first.
        drop(closed.unwrap());
    }
}
