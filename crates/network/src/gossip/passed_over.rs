//! Gossipsub with one thing more: what comes in at its door is looked over, and what it passes over is counted.
//!
//! What a peer says whose score is below the graylist's threshold gossipsub drops without a word. Such a peer is let go
//! with the host's next tick; until then it may say much, and every drop is counted by its reason. So is what gossipsub's
//! codec refuses, whose sender pays (P4), and what gossipsub has seen before: of what `transform` unpacked of joined
//! topics it hands on all else, for this node blacklists nobody, and an anonymous message cannot claim to be its own.
//!
//! gossipsub unpacks all of an RPC in one go, hashes each message, and only then finds that it has seen it; budgets and
//! rooms for what is new come after that. So what one RPC holds beyond `RpcLimits`, and what one peer brings beyond its
//! budget, repeats included (`budget::BROUGHT`), never comes to gossipsub. It is not marked as seen: another peer may bring
//! it, or the same one later, or sync, which an IGNORE would prevent. gossipsub's own bound (`max_publish_messages`) would
//! end the stream.

use super::{
    Gossipsub,
    budget::{BROUGHT, Budgets, Taken},
    graylist_threshold,
    transform::Unpacked,
};
use crate::counters::{
    Counters, PASSED_OVER_BUDGET, PASSED_OVER_CONTROL, PASSED_OVER_GRAYLISTED, PASSED_OVER_RPC_LIMIT,
    UNDECODABLE_NOT_ANONYMOUS, UNDECODABLE_PACKED_TOO_LONG,
};
use assay_types::Spec;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    gossipsub::{Event, RawMessage, ValidationError},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Instant,
};

/// Messages of one RPC that are looked at, however small: as many as one peer may bring at once (`budget`). This node's
/// kind sends one an RPC; others bundle what they were asked for.
const MAX_RPC_MESSAGES: usize = 128;
/// Peers remembered as flooding until the host's next tick. One that finds no place is remembered with the next message
/// it brings.
const MAX_FLOODERS: usize = 256;
/// Faults of one peer until the host's next tick, one a message: as many as cost it its connection.
const MAX_FAULTS: u32 = 8;

/// What a connection brings.
type FromConnection = THandlerOutEvent<Gossipsub>;

/// What of one RPC is looked at: the messages at its front. What is passed over is not seen, so it may come again: in
/// another RPC, from whoever announces it, or by root. An RPC has room for fewer than three of the largest proofs unless
/// they pack well (`params`), so it is an attack that meets this: raw snappy unpacks to twenty times its size.
struct RpcLimits {
    /// The largest message, unpacked.
    largest: usize,
    /// Unpacked: a payload's proofs (`MAX_EXECUTION_PROOFS_PER_PAYLOAD`) of the largest size.
    bytes: usize,
}

impl RpcLimits {
    fn new(spec: &Spec) -> Self {
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
                bytes = bytes.saturating_add(unpacked_len(message, self.largest));
                bytes <= self.bytes
            })
            .count();
        messages.drain(fits..).count()
    }
}

/// Bytes that a message unpacks to; none where it will not be unpacked.
fn unpacked_len(message: &RawMessage, largest: usize) -> usize {
    let len = snap::raw::decompress_len(&message.data).unwrap_or(0);
    if len <= largest { len } else { 0 }
}

/// What is looked at of what peers bring, and who floods.
struct Door {
    limits: RpcLimits,
    budgets: Budgets,
    /// Since the host last asked: how many faults.
    flooders: HashMap<PeerId, u32>,
    counters: Counters,
}

impl Door {
    fn new(spec: &Spec, counters: Counters) -> Self {
        Self {
            limits: RpcLimits::new(spec),
            budgets: Budgets::new(spec, BROUGHT),
            flooders: HashMap::new(),
            counters,
        }
    }

    /// Takes out of one RPC what is too much.
    fn let_in(&mut self, peer: PeerId, messages: &mut Vec<RawMessage>, now: Instant) {
        let too_many = self.limits.keep(messages);
        let before = messages.len();
        messages.retain(|message| {
            let len = unpacked_len(message, self.limits.largest);
            let taken = self.budgets.take(peer, len, now);
            if taken == Taken::Flood
                && (self.flooders.len() < MAX_FLOODERS || self.flooders.contains_key(&peer))
            {
                let faults = self.flooders.entry(peer).or_default();
                *faults = MAX_FAULTS.min(*faults + 1);
            }
            taken == Taken::Fits
        });
        let over_budget = before - messages.len();
        self.counters.passed_over(PASSED_OVER_RPC_LIMIT, too_many);
        self.counters.passed_over(PASSED_OVER_BUDGET, over_budget);
        if too_many + over_budget > 0 {
            tracing::debug!(%peer, too_many, over_budget, "more than is looked at");
        }
    }

    /// Counts what the codec refused.
    fn refused(&self, messages: &[(RawMessage, ValidationError)]) {
        for (_, error) in messages {
            self.counters.undecodable(match error {
                ValidationError::MessageSizeTooLargeForTopic => UNDECODABLE_PACKED_TOO_LONG,
                _ => UNDECODABLE_NOT_ANONYMOUS,
            });
        }
    }
}

/// Gossipsub, what it is spared, and the count beside it.
pub(crate) struct GossipBehaviour {
    gossipsub: Gossipsub,
    door: Door,
    unpacked: Unpacked,
    /// Messages that gossipsub has handed on, and those known to be duplicates: together what was unpacked, once
    /// gossipsub has nothing more to say.
    told: u64,
    counters: Counters,
}

impl GossipBehaviour {
    pub(super) fn new(gossipsub: Gossipsub, spec: &Spec, unpacked: Unpacked, counters: Counters) -> Self {
        Self {
            gossipsub,
            door: Door::new(spec, counters.clone()),
            unpacked,
            told: 0,
            counters,
        }
    }

    /// Who brought far more than any honest peer since this was last asked, and how many faults that is.
    pub(crate) fn flooders(&mut self, now: Instant) -> HashMap<PeerId, u32> {
        self.door.budgets.expire(now);
        std::mem::take(&mut self.door.flooders)
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
        // Nothing else that a handler says is what a peer said.
        if let FromConnection::Message {
            rpc,
            invalid_messages,
        } = &mut event
        {
            let score = self.gossipsub.peer_score(&peer).unwrap_or_default();
            if score < graylist_threshold() {
                let messages = rpc.messages.len() + invalid_messages.len();
                // gossipsub 0.50 adds one of its own to every RPC it reads: which extensions were named, if any.
                let control = usize::from(rpc.control_msgs.len() > 1);
                self.counters.passed_over(PASSED_OVER_GRAYLISTED, messages);
                self.counters.passed_over(PASSED_OVER_CONTROL, control);
            } else {
                self.door.refused(invalid_messages);
                self.door.let_in(peer, &mut rpc.messages, Instant::now());
            }
        }
        self.gossipsub
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let poll = self.gossipsub.poll(cx);
        match &poll {
            Poll::Ready(ToSwarm::GenerateEvent(Event::Message { .. })) => self.told += 1,
            Poll::Ready(_) => {}
            // All that is new has come out.
            Poll::Pending => {
                let unpacked = self.unpacked.load(Ordering::Relaxed);
                self.counters
                    .messages_duplicate
                    .inc_by(unpacked.saturating_sub(self.told));
                self.told = unpacked;
            }
        }
        poll
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

    #[test]
    fn what_a_peer_brings_over_and_over_is_taken_out_counted_and_told() {
        let spec = Spec::mainnet();
        let counters = Counters::default();
        let mut door = Door::new(&spec, counters.clone());
        let count = |reason| counters.passed_over_of(reason);
        let large = compress(&vec![0; spec.max_signed_proof_size()]);
        let (peer, other, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let brings = |door: &mut Door, peer, data: &[u8], times: usize| {
            let mut messages = vec![raw(data); times];
            door.let_in(peer, &mut messages, now);
            messages.len()
        };
        // The burst, in RPCs of as many as one may hold.
        for _ in 0..8 {
            assert_eq!(brings(&mut door, peer, &large, 5), 4);
        }
        assert_eq!((count(PASSED_OVER_RPC_LIMIT), count(PASSED_OVER_BUDGET)), (8, 0));
        assert_eq!(brings(&mut door, peer, &large, 4), 0);
        assert_eq!(
            brings(&mut door, peer, &[0xff; 20], 3),
            3,
            "its sender pays for it"
        );
        assert!(door.flooders.is_empty(), "a burst's worth more is no flood yet");
        assert_eq!(brings(&mut door, other, &large, 4), 4, "others are not touched");
        for _ in 0..10 {
            assert_eq!(brings(&mut door, peer, &large, 4), 0);
        }
        assert_eq!((count(PASSED_OVER_RPC_LIMIT), count(PASSED_OVER_BUDGET)), (8, 44));
        assert_eq!(
            std::mem::take(&mut door.flooders),
            HashMap::from([(peer, MAX_FAULTS)])
        );
        // No list without end.
        for _ in 0..MAX_FLOODERS + 3 {
            let peer = PeerId::random();
            for _ in 0..9 {
                brings(&mut door, peer, b"", MAX_RPC_MESSAGES);
            }
        }
        assert_eq!(door.flooders.len(), MAX_FLOODERS);
    }

    #[test]
    fn what_the_codec_refuses_is_counted_by_its_reason() {
        let counters = Counters::default();
        let door = Door::new(&Spec::mainnet(), counters.clone());
        let refused = [
            ValidationError::MessageSizeTooLargeForTopic,
            ValidationError::SignaturePresent,
            ValidationError::SequenceNumberPresent,
            ValidationError::MessageSourcePresent,
        ];
        door.refused(&refused.map(|error| (raw(b""), error)));
        let count = |reason| counters.undecodable_of(reason);
        assert_eq!(
            (
                count(UNDECODABLE_PACKED_TOO_LONG),
                count(UNDECODABLE_NOT_ANONYMOUS)
            ),
            (1, 3)
        );
    }
}
