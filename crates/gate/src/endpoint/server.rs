//! Sockets: accepting, serving HTTP/1.1 with keep-alive, and ending.

use super::{Shared, service};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::VecDeque,
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at once; more wait to be accepted. A beacon node has a handful.
const MAX_CONNECTIONS: usize = 256;
/// A connection without a request for so long is closed. Beacon nodes call at least once a slot.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Connections at once that have not sent a request with a valid token yet; for one more the oldest is closed, so that nobody
/// without the secret keeps a beacon node out.
const MAX_STRANGERS: usize = 64;
/// Wait after an accept that failed (no file descriptors, mostly).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut strangers = Strangers::default();
    let mut accept_failed = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((socket, caller, place)) => {
                accept_failed = false;
                let stranger = Arc::new(Stranger::at(caller));
                strangers.admit(&stranger);
                let connection = connection(Arc::clone(&shared), socket, stranger, stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                if !accept_failed {
                    tracing::error!(%error, "Engine API endpoint cannot accept connections");
                }
                accept_failed = true;
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    shared.calls.close();
    let ended = async {
        connections.wait().await;
        shared.calls.wait().await;
    };
    if tokio::time::timeout(shared.shutdown_grace, ended).await.is_err() {
        tracing::debug!(
            connections = connections.len(),
            "ending Engine API connections that are still busy"
        );
        shared.abort.cancel();
        connections.wait().await;
        shared.calls.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (socket, caller) = listener.accept().await?;
    // Answers are small: none may wait for an acknowledgement.
    socket.set_nodelay(true)?;
    Ok((socket, caller.ip(), place))
}

/// A connection, until a request on it had a valid token.
#[derive(Debug)]
pub(super) struct Stranger {
    address: IpAddr,
    known: AtomicBool,
    leave: CancellationToken,
}

impl Stranger {
    fn at(address: IpAddr) -> Self {
        Self {
            address,
            known: AtomicBool::new(false),
            leave: CancellationToken::new(),
        }
    }

    /// Where it comes from.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// It had a valid token.
    pub(super) fn is_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    async fn has_to_leave(&self) {
        self.leave.cancelled().await;
        if self.known.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// Oldest first.
#[derive(Default)]
struct Strangers(VecDeque<Weak<Stranger>>);

impl Strangers {
    fn admit(&mut self, newest: &Arc<Stranger>) {
        let strange = |s: &Weak<Stranger>| s.upgrade().is_some_and(|s| !s.known.load(Ordering::Relaxed));
        if self.0.len() >= MAX_STRANGERS {
            self.0.retain(strange);
        }
        if self.0.len() >= MAX_STRANGERS
            && let Some(oldest) = self.0.pop_front().and_then(|s| s.upgrade())
        {
            oldest.leave.cancel();
        }
        self.0.push_back(Arc::downgrade(newest));
    }
}

async fn connection(
    shared: Arc<Shared>,
    socket: TcpStream,
    stranger: Arc<Stranger>,
    stop: CancellationToken,
) {
    let abort = shared.abort.clone();
    let caller = Arc::clone(&stranger);
    let service = service_fn(move |request| {
        let (shared, caller) = (Arc::clone(&shared), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(service::serve(shared, request, &caller).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stranger.has_to_leave() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = abort.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "Engine API connection ended");
    }
}
