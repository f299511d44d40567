//! Gossipsub's parameters. Names and values are those of the phase0 p2p text where it has them, but for the mesh of the
//! proofs' own topics.
//!
//! A proof is some ten thousand times larger than its announcement, so what counts is copies. What gossipsub 0.50 does
//! against them: IDONTWANT goes out when a message of `IDONTWANT_THRESHOLD` or more is in and unpacked, before its
//! verdict, to the mesh and to whoever was asked for it; it takes the message out of the sender's queue for that peer,
//! if it still waits there, and is forgotten after 3 s. But each peer has a queue of its own whose first message is
//! handed to the stream at once, so what is sent is in flight already: with a mesh of eight a node's neighbours get the
//! message at about the same time and all send it on, side by side, for the second or so that the link takes. IHAVE and
//! IWANT know no such copies, for only one peer is asked at a time; they cost a heartbeat. So the proofs' mesh is one
//! to two peers wide and the rest is announced.
//!
//! Why not one alone: gossipsub 0.50 prunes at `D_high` and not beyond it, so `D_high` of 2 never keeps a second peer,
//! and the node in the middle of a line pushes to one side (the other got a proof 80 to 690 ms late, by announcement).
//! With 3 it holds both. What that costs in copies is won back at the announcements: each asks for a copy that may be on
//! its way already, so few peers are told at a heartbeat (`D_lazy`), for as many heartbeats as a slot has. Their window
//! runs from a message's receipt and it is announced only after its verdict: the usual three heartbeats would end before
//! a proof whose payload or engine is late was ever announced.
//!
//! Sixteen nodes, each connected to all, four proofs of 1 MiB published at once, engine 70 ms; bytes on the wire per byte
//! delivered, and milliseconds from publication to the last node on links of 50 Mbit/s by tbf (`benches/mesh`,
//! `testnet/mesh/shaped.sh`). `D/low/high/out/lazy`, heartbeats of 700 ms but where it says otherwise; every set with
//! the `GOSSIP_FACTOR` that ships, all in one run of one build; everything was delivered:
//!
//! | set | announced for | bytes | p50 | p95 |
//! |---|---|---|---|---|
//! | 8/6/12/2/6 without IDONTWANT | 3 heartbeats | 7.23, 7.68 | 3722, 3727 | 5619, 5898 |
//! | 8/6/12/2/6 (eth2) | 3 | 5.00 to 5.27 | 3316 to 3649 | 3654 to 4619 |
//! | 4/3/6/1/6 | 3 | 2.74 | 2643 | 3462 |
//! | 3/2/4/1/6 | 3 | 2.13 | 2283 | 2703 |
//! | 2/2/4/0/2 | 17 | 1.88 | 2222 | 2717 |
//! | 2/1/3/1/6 | 3 | 1.79 | 2335 | 2554 |
//! | 2/1/4/0/2, heartbeats of 350 ms | 34 | 1.74 | 2055 | 2666 |
//! | 2/1/4/0/2 | 17 | 1.68 | 2238 | 2531 |
//! | 2/1/3/0/3 | 3 | 1.59 | 2205 | 2567 |
//! | 1/1/3/0/6 | 3 | 1.54 | 2323 | 2740 |
//! | 1/1/3/0/3, heartbeats of 100 ms | 30 | 1.50 | 2394 | 3018 |
//! | 1/1/2/0/6 (no line of three) | 3 | 1.45 | 2339 | 2607 |
//! | 1/1/4/0/2 | 17 | 1.43 | 2228 | 2611 |
//! | 1/1/3/0/3 | 17 | 1.40 | 2187 | 2583 |
//! | 1/1/3/0/3 | 3 | 1.37 | 2278 | 2721 |
//! | **1/1/3/0/2** (ships) | 17 | 1.39 to 1.45 (four runs) | 2092 to 2325 | 2426 to 2732 |
//!
//! The last four are within each other's spread: with a quarter of the peers outside the mesh told at a heartbeat
//! (`GOSSIP_FACTOR`; of sixteen nodes 3), a `D_lazy` of 2 or 3 is the same there, and tells the fewest where peers are few.
//! Without that factor the row that ships had 1.29 and 1.34; under attack (`testnet/abuse`) the slowest honest proof
//! of a run was then later than a slot of 6 s in two runs of two, 4.4 s and 1.1 s after its publication with it.
//!
//! What ships, elsewhere: 24 nodes 1.50 (p95 2600 ms), 32 nodes 1.46 (p95 3131 ms), everything delivered. When a quarter
//! of sixteen vanishes without a word (their links go down) right before four proofs are published, every proof still
//! reaches every node that is left (134 of 134 deliveries; 1.39, p95 2664 ms): whoever has lost its mesh asks for what the
//! others announce. With eight of sixteen running eth2's mesh all together have 3.07, where all sixteen running it have
//! 5.00 in the same run: those may graft this node up to `mesh_n_high` and are pruned there, which costs neither side
//! anything.
//!
//! Two cores did all of it, encryption included (load 1 to 3): bytes vary by a tenth from run to run, times by more, and
//! D = 8 has more copies the busier the machine is: with IDONTWANT 0.69 of the bytes without here, 0.51 to 0.73 in other
//! runs. What ships has 0.19 of them. On loopback, in one run: D = 8 with IDONTWANT 0.33 of the bytes without (2.68 and
//! 8.11), what ships 1.04. On links the narrow mesh is no slower: copies are what the wide one waits for. Holding the
//! verdict on one message until the copies of another had left was tried against the copies of D = 8: 0.93 of the bytes in
//! three pairs (0.88 to 1.00), nothing for what ships, and not kept.

use super::{TopicSchedule, proof_topic};
use crate::NetworkError;
use assay_types::{Spec, digest::message_id_valid};
use libp2p::gossipsub::{Config, ConfigBuilder, Message, MessageId, ValidationMode};
use std::time::Duration;

/// `D` of the phase0 text, for every topic but the proofs'.
const MESH_N: usize = 8;
/// `D_low`: below this, peers are grafted.
const MESH_N_LOW: usize = 6;
/// `D_high`: above this, peers are pruned.
const MESH_N_HIGH: usize = 12;

/// The parameters of the proofs' own topics. The default is what ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipParameters {
    /// `D`: peers the mesh of a proofs' topic should have.
    pub mesh_n: usize,
    /// `D_low`: below this, peers are grafted.
    pub mesh_n_low: usize,
    /// `D_high`: above this, peers are pruned.
    pub mesh_n_high: usize,
    /// `D_out`: at least this many of the mesh are peers this node dialled; at most half of `mesh_n`.
    pub mesh_outbound_min: usize,
    /// `D_lazy`: peers outside the mesh that are told of messages each heartbeat.
    pub gossip_lazy: usize,
    /// Whether peers are told which large messages this node has already.
    pub idontwant: bool,
    /// `heartbeat_interval`: how often messages are announced and the mesh is looked after.
    pub heartbeat: Duration,
    /// `mcache_gossip`: heartbeats from a message's receipt during which it is announced; at most as many as it is kept.
    pub announced: usize,
}

impl GossipParameters {
    /// Those of eth2's other topics (phase0 p2p text).
    pub const ETH2: Self = Self {
        mesh_n: MESH_N,
        mesh_n_low: MESH_N_LOW,
        mesh_n_high: MESH_N_HIGH,
        mesh_outbound_min: 2,
        gossip_lazy: 6,
        idontwant: true,
        heartbeat: Duration::from_millis(700),
        announced: 3,
    };
}

impl Default for GossipParameters {
    fn default() -> Self {
        Self {
            mesh_n: 1,
            mesh_n_low: 1,
            mesh_n_high: 3,
            mesh_outbound_min: 0,
            gossip_lazy: 2,
            idontwant: true,
            heartbeat: Duration::from_millis(700),
            announced: 17,
        }
    }
}

/// `gossip_factor`: the share of all peers outside the mesh that are told at a heartbeat, where that is more than `D_lazy`.
/// Whoever joins a proofs' topic first may fill this node's narrow mesh and say nothing; honest peers outside it then live
/// on announcements, and with `D_lazy` alone the more silent peers there are the later they come (`benches/abuse`: later
/// than a slot). With a quarter, 99 of 100 are told within the sixteen heartbeats of a slot, however many there are.
const GOSSIP_FACTOR: f64 = 0.25;
/// `fanout_ttl`.
const FANOUT_TTL: Duration = Duration::from_secs(60);
/// `mcache_len` of the text: heartbeats a message is kept at least.
const MCACHE_LEN: usize = 6;
/// Slots a message is kept at least. gossipsub cannot forward what it has forgotten and refuses to publish a seen id,
/// so this is how long a verdict may take and still carry the message on. A payload may come as late as the end of the
/// slot after the proof's, and an engine that was away is asked again within seconds. A whole epoch (as long as the
/// waiting room keeps a proof) would cost up to 512 MiB for four proofs of 4 MiB a slot; two slots cost 32 MiB. What
/// is judged later is kept, announced by status and served over req/resp.
const MCACHE_SLOTS: u64 = 2;
/// `seen_ttl` in epochs: how long a message's id is remembered.
const SEEN_TTL_EPOCHS: u64 = 2;
/// Messages of this many bytes (as sent) or more make a node tell its mesh not to send them again. An IDONTWANT costs
/// some 40 bytes to each of at most 12 peers.
const IDONTWANT_THRESHOLD: usize = 1000;
/// Bytes of a message besides its data and of an RPC besides its messages, as the phase0 text allows.
const OVERHEAD: usize = 1024;
/// A read may bring the start of the next RPC with the end of one, and gossipsub 0.50 measures both together.
const READ_AHEAD: usize = 64 * 1024;
/// Control bytes in one RPC: an IHAVE of 5000 ids is 110 KB, a beacon node's subscriptions some 20 KB; the library's
/// 16 KiB would cut honest peers off.
const MAX_CONTROL_BYTES: usize = 512 * 1024;
/// Messages that may wait for one slow peer, each a copy of up to 4 MiB. Only what was verified is forwarded, and rules 3
/// and 9 let one proof of a type and payload through: a dozen is what two slots bring. A peer whose queue overflows again
/// and again is let go (`host/gossiping.rs`), and one that takes nothing, or least where copies are too many (`host/gossip_streams`).
pub(crate) const PEER_QUEUE_LEN: usize = 12;
/// Times that a peer is sent a message it asks for: again only where a connection broke, and then sync brings it.
const COPIES_ON_REQUEST: u32 = 1;
/// Messages a peer that asked for them has to be sent within; at least this, else a slot: 4 MiB to eight peers take
/// some seconds on a 50 Mbit/s link.
const MIN_QUEUE_TIME: Duration = Duration::from_secs(4);
/// How long a peer that announced a message has to send it; until then nobody else is asked for it. Four proofs of 4 MiB
/// asked for at once take a link of 50 Mbit/s 2.7 s, which the library's 3 s hardly leave room for.
const IWANT_FOLLOWUP: Duration = Duration::from_secs(5);

/// Most bytes that raw snappy needs for `len` bytes: `32 + n + n/6`.
const fn max_compressed_len(len: usize) -> usize {
    32usize.saturating_add(len).saturating_add(len / 6)
}

/// Heartbeats that a message is kept: `MCACHE_SLOTS`, and never fewer than `MCACHE_LEN`.
fn history_length(slot: Duration, heartbeat: Duration) -> usize {
    let wait = slot.as_millis().saturating_mul(u128::from(MCACHE_SLOTS));
    usize::try_from(wait.div_ceil(heartbeat.as_millis().max(1)))
        .unwrap_or(MCACHE_LEN)
        .max(MCACHE_LEN)
}

pub(super) fn config(
    spec: &Spec,
    schedule: &TopicSchedule,
    proofs: &GossipParameters,
) -> Result<Config, NetworkError> {
    let slot = Duration::from_millis(spec.slot_duration_ms);
    let history = history_length(slot, proofs.heartbeat);
    let epoch_ms = spec.slot_duration_ms.saturating_mul(spec.slots_per_epoch);
    let max_message = max_compressed_len(spec.max_signed_proof_size()).saturating_add(OVERHEAD);
    let max_rpc = usize::try_from(spec.max_payload_size)
        .map_or(max_message, |max| {
            max_compressed_len(max).saturating_add(OVERHEAD)
        })
        .max(max_message)
        .saturating_add(READ_AHEAD);
    let mut builder = ConfigBuilder::default();
    builder
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .heartbeat_interval(proofs.heartbeat)
        .heartbeat_initial_delay(proofs.heartbeat)
        .fanout_ttl(FANOUT_TTL)
        .mesh_n(MESH_N)
        .mesh_n_low(MESH_N_LOW)
        .mesh_n_high(MESH_N_HIGH)
        .gossip_lazy(proofs.gossip_lazy)
        .gossip_factor(GOSSIP_FACTOR)
        .history_length(history)
        .history_gossip(proofs.announced.min(history))
        .duplicate_cache_time(Duration::from_millis(epoch_ms.saturating_mul(SEEN_TTL_EPOCHS)))
        // A proof of megabytes to every peer at once would fill the uplink; the mesh (or as many others, where there
        // is none yet) passes it on.
        .flood_publish(false)
        .idontwant_message_size_threshold(if proofs.idontwant {
            IDONTWANT_THRESHOLD
        } else {
            usize::MAX
        })
        .max_transmit_size(max_rpc)
        .max_control_message_size(MAX_CONTROL_BYTES)
        // Before the message itself: whoever gets it from another first does not send it back.
        .idontwant_on_publish(proofs.idontwant)
        .connection_handler_queue_len(PEER_QUEUE_LEN)
        .gossip_retransimission(COPIES_ON_REQUEST)
        .publish_queue_duration(slot.max(MIN_QUEUE_TIME))
        .forward_queue_duration(slot.max(MIN_QUEUE_TIME))
        .iwant_followup_time(IWANT_FOLLOWUP);
    for digest in schedule.digests() {
        let topic = proof_topic(digest).hash();
        builder.max_transmit_size_for_topic(max_message, topic.clone());
        builder
            .mesh_n_for_topic(proofs.mesh_n, topic.clone())
            .mesh_n_low_for_topic(proofs.mesh_n_low, topic.clone())
            .mesh_n_high_for_topic(proofs.mesh_n_high, topic.clone())
            .mesh_outbound_min_for_topic(proofs.mesh_outbound_min, topic);
    }
    builder.build().map_err(|e| NetworkError::Settings(e.to_string()))
}

/// The message id of data that unpacked: gossipsub names a message after `ProofTransform` has, so data that does not
/// unpack never gets here (it is refused there, and its sender pays).
fn message_id(message: &Message) -> MessageId {
    MessageId::new(&message_id_valid(message.topic.as_str(), &message.data))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::Root;

    #[test]
    fn history_covers_two_slots() {
        for (slot_ms, heartbeats) in [(12_000, 35), (6_000, 18), (2_000, 6), (200, 6)] {
            assert_eq!(
                history_length(Duration::from_millis(slot_ms), Duration::from_millis(700)),
                heartbeats
            );
        }
    }

    #[test]
    fn what_ships_holds_both_ends_of_a_line_and_is_announced_for_a_slot_or_as_long_as_it_is_kept() {
        for (slot_ms, announced) in [(12_000, 17), (6_000, 17), (2_000, 6), (200, 6)] {
            let mut spec = Spec::mainnet();
            spec.slot_duration_ms = slot_ms;
            let schedule = TopicSchedule::new(&spec, &Root::ZERO);
            let config = config(&spec, &schedule, &GossipParameters::default()).unwrap();
            assert_eq!(config.history_gossip(), announced, "slots of {slot_ms} ms");
            assert!(config.history_gossip() <= config.history_length());
            for digest in schedule.digests() {
                // gossipsub prunes at this many, down to `D`.
                let topic = proof_topic(digest).hash();
                assert!(config.mesh_n_high_for_topic(&topic) > 2);
                assert!(config.mesh_n_low_for_topic(&topic) >= 1);
            }
        }
    }
}
