//! The execution clients behind the endpoint; none under `proofs-only`.

use super::{
    EndpointStats, UpstreamConfig,
    body::AnyBody,
    upstream::{Head, NoAnswer, Upstream, UpstreamUrlError},
};
use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use std::sync::Arc;

/// The execution clients, in the order of the settings.
pub(super) struct Clients {
    list: Vec<Upstream>,
}

impl Clients {
    pub(super) fn new(
        configs: Vec<UpstreamConfig>,
        stats: &Arc<EndpointStats>,
    ) -> Result<Self, UpstreamUrlError> {
        let list = configs
            .into_iter()
            .map(|config| Upstream::new(config, Arc::clone(stats)))
            .collect::<Result<_, _>>()?;
        Ok(Self { list })
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn active(&self) -> Result<&Upstream, NoAnswer> {
        self.list.first().ok_or_else(NoAnswer::no_client)
    }

    /// Hosts and ports, for logs.
    pub(super) fn shown(&self) -> String {
        let all: Vec<&str> = self.list.iter().map(Upstream::shown).collect();
        all.join(", ")
    }

    /// Whether the last call was answered; true before the first, and where there is no client.
    pub(super) fn is_up(&self) -> bool {
        self.active().map_or(true, Upstream::is_up)
    }

    /// Sends one request to the active client.
    pub(super) async fn send(&self, head: &Head, body: AnyBody) -> Result<Response<Incoming>, NoAnswer> {
        self.active()?.send(head, body).await
    }

    /// As `Upstream::send_held`, to the active client.
    pub(super) async fn send_held(&self, head: &Head, body: &Bytes) -> Result<Response<Incoming>, NoAnswer> {
        self.active()?.send_held(head, body).await
    }

    /// As `Upstream::send_again`, to the active client.
    pub(super) async fn send_again(&self, head: &Head, body: &Bytes) -> Result<Response<Incoming>, NoAnswer> {
        self.active()?.send_again(head, body).await
    }

    /// Says that a call stays without an answer.
    pub(super) fn note_no_answer(&self, why: &str) {
        if let Ok(active) = self.active() {
            active.note_no_answer(why);
        }
    }
}
