//! Gossipsub with one thing more: what it passes over unread is counted.
//!
//! What a peer says whose score is below the graylist's threshold gossipsub drops without a word. Such a peer is let go
//! with the host's next tick; until then it may say much, and every drop is counted by its reason.
//!
//! And what one RPC holds beyond `RpcLimits` never comes to gossipsub, which unpacks all of an RPC in one go and keeps it
//! for the host: budgets and rooms come after that. gossipsub's own bound (`max_publish_messages`) would end the stream.

use super::{Gossipsub, graylist_threshold};
use crate::counters::Counters;
use assay_types::Spec;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    gossipsub::RawMessage,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use std::{
    ops::{Deref, DerefMut},
    task::{Context, Poll},
};

/// Messages of one RPC that are looked at, however small: as many as one peer may bring at once (`budget`). This node's
/// kind sends one an RPC; others bundle what they were asked for.
const MAX_RPC_MESSAGES: usize = 128;

/// What a connection brings.
type FromConnection = THandlerOutEvent<Gossipsub>;

/// What of one RPC is looked at: the messages at its front. What is passed over is not seen, so it may come again: in
/// another RPC, from whoever announces it, or by root. An RPC has room for fewer than three of the largest proofs unless
/// they pack well (`params`), so it is an attack that meets this: raw snappy unpacks to twenty times its size.
pub(super) struct RpcLimits {
    /// The largest message, unpacked.
    largest: usize,
    /// Unpacked: a payload's proofs (`MAX_EXECUTION_PROOFS_PER_PAYLOAD`) of the largest size.
    bytes: usize,
}

impl RpcLimits {
    pub(super) fn new(spec: &Spec) -> Self {
        let proofs = usize::try_from(spec.max_execution_proofs_per_payload.max(1)).unwrap_or(1);
        let largest = spec.max_signed_proof_size();
        Self {
            largest,
            bytes: largest.saturating_mul(proofs),
        }
    }

    /// Takes out what is too much; how many messages that was. What will not be unpacked takes nothing and goes
    /// on: its sender pays for it.
    fn keep(&self, messages: &mut Vec<RawMessage>) -> usize {
        let mut bytes = 0_usize;
        let fits = messages
            .iter()
            .take(MAX_RPC_MESSAGES)
            .take_while(|message| {
                let len = snap::raw::decompress_len(&message.data).unwrap_or(0);
                if len <= self.largest {
                    bytes = bytes.saturating_add(len);
                }
                bytes <= self.bytes
            })
            .count();
        messages.drain(fits..).count()
    }
}

/// Gossipsub, what it is spared, and the count beside it.
pub(crate) struct GossipBehaviour {
    gossipsub: Gossipsub,
    limits: RpcLimits,
    counters: Counters,
}

impl GossipBehaviour {
    pub(super) fn new(gossipsub: Gossipsub, limits: RpcLimits, counters: Counters) -> Self {
        Self {
            gossipsub,
            limits,
            counters,
        }
    }
}

impl Deref for GossipBehaviour {
    type Target = Gossipsub;

    fn deref(&self) -> &Gossipsub {
        &self.gossipsub
    }
}

impl DerefMut for GossipBehaviour {
    fn deref_mut(&mut self) -> &mut Gossipsub {
        &mut self.gossipsub
    }
}

impl NetworkBehaviour for GossipBehaviour {
    type ConnectionHandler = <Gossipsub as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Gossipsub as NetworkBehaviour>::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.gossipsub
            .handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.gossipsub
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.gossipsub
            .handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.gossipsub
            .handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.gossipsub.on_swarm_event(event);
    }

    /// What a connection brings: messages and control, all of one RPC.
    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        mut event: THandlerOutEvent<Self>,
    ) {
        let score = self.gossipsub.peer_score(&peer).unwrap_or_default();
        if score < graylist_threshold() {
            self.counters.passed_over.inc();
        } else if let FromConnection::Message { rpc, .. } = &mut event {
            let passed_over = self.limits.keep(&mut rpc.messages);
            if passed_over > 0 {
                tracing::debug!(%peer, passed_over, "one RPC holds more than is looked at");
                self.counters.passed_over.inc_by(passed_over as u64);
            }
        }
        self.gossipsub
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.gossipsub.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::gossip::compress;
    use libp2p::gossipsub::TopicHash;

    fn raw(data: &[u8]) -> RawMessage {
        RawMessage {
            source: None,
            data: data.to_vec(),
            sequence_number: None,
            topic: TopicHash::from_raw("topic"),
            signature: None,
            key: None,
            validated: false,
        }
    }

    #[test]
    fn one_rpc_unpacks_to_a_payloads_proofs_and_no_more() {
        let spec = Spec::mainnet();
        let largest = spec.max_signed_proof_size();
        let limits = RpcLimits::new(&spec);
        let packed = |len: usize| compress(&vec![0; len]);
        let (large, small, half) = (packed(largest), packed(100), packed(largest / 2));
        // Declares more than any message may unpack to, or nothing that is a length: refused where it is unpacked.
        let (bomb, junk) = (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], vec![0xff; 20]);
        /// So many messages of the same data, one after the other.
        type Run<'a> = (&'a [u8], usize);
        let table: [(&[Run<'_>], usize); 8] = [
            (&[], 0),
            (&[(&large, 4)], 4),
            (&[(&large, 61)], 4),
            (&[(&large, 4), (&small, 1)], 4),
            (&[(&half, 20)], 8),
            (&[(&small, 128)], 128),
            (&[(&small, 5000)], MAX_RPC_MESSAGES),
            (&[(&bomb, 3), (&junk, 3), (&large, 1)], 7),
        ];
        for (n, (messages, kept)) in table.iter().enumerate() {
            let mut rpc: Vec<RawMessage> = messages
                .iter()
                .flat_map(|(data, times)| std::iter::repeat_n(raw(data), *times))
                .collect();
            let all = rpc.len();
            let front: Vec<RawMessage> = rpc[..*kept].to_vec();
            assert_eq!(limits.keep(&mut rpc), all - kept, "row {n}");
            assert!(rpc == front, "row {n}");
        }
    }
}
