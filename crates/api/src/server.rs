//! The router, which reads as the API's table of contents; limits, binding, shutdown.

use crate::{ApiError, ApiState, routes};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::timeout::TimeoutLayer;

/// Bytes around the proofs of one request: JSON names, quotes, commas.
const BODY_OVERHEAD: usize = 64 * 1024;
/// Proofs of the largest size that fit into one request: `MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
const LARGEST_PROOFS_PER_POST: usize = 4;
/// POSTs of proofs at the same time; more wait. Each may hold a body of some 33 MB.
const POSTS_AT_ONCE: usize = 4;
/// How long one may take, its body included.
const POST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long answers under way may take once the node is told to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

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
    listen("HTTP API", address, router(state, &stop), stop).await
}

/// Serves `/metrics` alone until `stop`.
pub async fn serve_metrics(
    address: SocketAddr,
    state: ApiState,
    stop: CancellationToken,
) -> Result<Server, ServerError> {
    let router = Router::new()
        .route("/metrics", get(routes::metrics::get))
        .with_state(state);
    listen("metrics server", address, router, stop).await
}

fn router(state: ApiState, stop: &CancellationToken) -> Router {
    // In hex a byte is two characters.
    let proof_body = 2 * LARGEST_PROOFS_PER_POST * state.chain.spec().max_signed_proof_size() + BODY_OVERHEAD;
    // One for all POST routes: what they hold in memory is bounded, and slow senders do not keep places for ever.
    let at_once = GlobalConcurrencyLimitLayer::new(POSTS_AT_ONCE);
    let post_proofs = || -> MethodRouter<ApiState> {
        let route: MethodRouter<ApiState> = post(routes::post_execution_proofs::post);
        route
            .layer::<_, std::convert::Infallible>(DefaultBodyLimit::max(proof_body))
            .layer::<_, std::convert::Infallible>(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                POST_TIMEOUT,
            ))
            .layer(at_once.clone())
    };
    Router::new()
        .route("/eth/v1/beacon/execution_proofs", post_proofs())
        .route(
            "/eth/v1/beacon/pool/execution_proofs",
            post_proofs().get(routes::get_pool_execution_proofs::get),
        )
        .route(
            "/eth/v1/beacon/execution_proofs/{block_id}",
            get(routes::get_execution_proofs::get),
        )
        .route("/eth/v1/events", get(routes::events::get))
        .route("/eth/v1/node/identity", get(routes::node_identity::get))
        .route("/eth/v1/node/health", get(routes::node_health::get))
        .route("/eth/v1/node/version", get(routes::node_version::get))
        .route("/eth/v1/node/syncing", get(routes::node_syncing::get))
        .route("/assay/v1/status", get(routes::assay_status::get))
        .route("/assay/v1/payloads", get(routes::assay_payloads::get))
        .route("/metrics", get(routes::metrics::get))
        .method_not_allowed_fallback(forward)
        .fallback(forward)
        .layer(axum::Extension(stop.clone()))
        .with_state(state)
}

/// Whatever is not ours is the beacon node's; so are methods of our paths that we do not serve.
async fn forward(State(state): State<ApiState>, request: Request) -> Response {
    if request.uri().path().starts_with("/assay/") {
        return ApiError::new(StatusCode::NOT_FOUND, "no such route").into_response();
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
    stop: CancellationToken,
) -> Result<Server, ServerError> {
    let failed = |error| ServerError { what, address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "{what} listens");
    let task = tokio::spawn(async move {
        let graceful = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        tokio::select! {
            ended = graceful => if let Err(error) = ended {
                tracing::error!(%error, "{what} ended");
            },
            // Event streams never end by themselves.
            () = deadline => {}
        }
    });
    Ok(Server { address: bound, task })
}
