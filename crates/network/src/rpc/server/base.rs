//! Status, ping, metadata, goodbye, proof status: what this node says of itself, only what is true.

use super::{Inner, Refusal, Stop, Writer};
use crate::{
    PeerStatus,
    rpc::{
        Protocol, THEIRS,
        conversation::local_status,
        messages::{decode_uint64, goodbye_label},
    },
};
use assay_types::{ExecutionProofStatus, SszContainer};
use libp2p::PeerId;

/// A goodbye is answered in kind (phase0 p2p); this side has no reason of its own.
const NO_REASON: u64 = 0;
/// Of clients' own goodbye reasons, those from here on say what a peer holds against us (250 to 252).
const FIRST_BLAMING_REASON: u64 = 250;

impl Inner {
    pub(super) async fn status(
        &self,
        peer: &PeerId,
        protocol: Protocol,
        request: &[u8],
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        let theirs = PeerStatus::from_ssz_bytes(request).ok_or_else(|| Refusal::invalid("not a Status"))?;
        self.parts.conversations.heard_status(peer, theirs);
        let ours = local_status(self.parts.chain.as_ref(), self.parts.blocks.as_ref())
            .ok_or_else(|| Refusal::unavailable("the head is not known yet"))?;
        let bytes = match protocol {
            Protocol::StatusV1 => ours.to_v1_bytes(),
            _ => ours.to_v2_bytes(),
        };
        self.reply(writer, &bytes).await
    }

    pub(super) async fn ping(&self, peer: &PeerId, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let seq_number = decode_uint64(request).ok_or_else(|| Refusal::invalid("not a Ping"))?;
        self.parts.conversations.heard_seq_number(peer, seq_number);
        let ours = (self.parts.metadata)().seq_number;
        self.reply(writer, &ours.to_le_bytes()).await
    }

    pub(super) async fn metadata(&self, protocol: Protocol, writer: &mut Writer) -> Result<(), Stop> {
        let ours = (self.parts.metadata)();
        let bytes = match protocol {
            Protocol::MetadataV1 => ours.to_v1_bytes(),
            Protocol::MetadataV2 => ours.to_v2_bytes(),
            _ => ours.to_v3_bytes(),
        };
        self.reply(writer, &bytes).await
    }

    pub(super) async fn goodbye(
        &self,
        peer: &PeerId,
        request: &[u8],
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        let code = decode_uint64(request).ok_or_else(|| Refusal::invalid("not a Goodbye"))?;
        let reason = goodbye_label(code);
        if code >= FIRST_BLAMING_REASON {
            tracing::info!(%peer, code, reason, "a peer says goodbye and blames us");
        } else {
            tracing::debug!(%peer, code, reason, "peer says goodbye");
        }
        self.parts.counters.goodbye(THEIRS, reason);
        self.parts.peers.said_goodbye(peer);
        self.reply(writer, &NO_REASON.to_le_bytes()).await
    }

    pub(super) async fn proof_status(
        &self,
        peer: &PeerId,
        request: &[u8],
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        let limits = self.parts.chain.spec().list_limits();
        let theirs = ExecutionProofStatus::from_ssz_bytes_within(request, &limits)
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        self.parts.conversations.heard_proof_status(peer, theirs);
        let ours = self.parts.proof_status.local_proof_status();
        self.reply(writer, &ours.to_ssz_bytes()).await
    }
}
