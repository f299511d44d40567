//! Tasks of a node, and how they end.

use assay_gate::endpoint::RunningEndpoint;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A task without an end of its own, until `stop`.
pub(super) fn until(
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let stop = stop.clone();
    async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }
}

/// Waits for the endpoint's last calls, then lets the gate's writer end.
pub(super) async fn end_of(
    endpoint: Option<Arc<RunningEndpoint>>,
    stop: CancellationToken,
    writer_stop: CancellationToken,
) {
    stop.cancelled().await;
    if let Some(endpoint) = endpoint.and_then(Arc::into_inner) {
        endpoint.ended().await;
    }
    writer_stop.cancel();
}
