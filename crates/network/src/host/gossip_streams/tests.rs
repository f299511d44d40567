//! What waits for the host: whole messages through gossipsub's own decoder, and two nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{
    handed::{InHand, weight},
    in_hand::{MAX_IN_HAND, TURNS},
    kept::MAX_KEPT,
    stream::Stream,
    unfinished::MAX_UNFINISHED,
    *,
};
use crate::{
    NetworkConfig, NodeKey,
    gossip::{self, GossipParameters, JoinedTopics, TopicSchedule, proof_topic},
    host::transport::by_address,
};
use assay_types::{Root, Spec};
use futures::{AsyncReadExt, FutureExt, StreamExt, future::select_all};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    core::{InboundUpgrade, UpgradeInfo},
    gossipsub::{self, Event, TopicHash},
    noise,
    swarm::{ConnectionHandler, ConnectionId, NetworkBehaviour, SwarmEvent, THandlerOutEvent},
    tcp, yamux,
};
use prometheus_client::registry::Registry;
use std::{future::Future, time::Duration};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

const MIB: usize = 1 << 20;
const NAMES: &[u8] = b"\x13/multistream/1.0.0\n\x0f/meshsub/1.2.0\n";

type FromConnection = THandlerOutEvent<gossip::GossipBehaviour>;

/// A field of protobuf: bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &framed(bytes)].concat()
}

/// With the length in front.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let (mut wire, mut len) = (Vec::new(), bytes.len());
    while len >= 0x80 {
        wire.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    wire.push(len as u8);
    wire.extend_from_slice(bytes);
    wire
}

/// An RPC with one message.
fn message(len: usize) -> Vec<u8> {
    framed(&field(2, &[field(2, &vec![7; len]), field(4, b"topic")].concat()))
}

/// An RPC with control of one kind, again and again.
fn control(kind: u8, bytes: &[u8], times: usize) -> Vec<u8> {
    framed(&field(3, &field(kind, bytes).repeat(times)))
}

fn behaviour(joined: &JoinedTopics, streams: &GossipStreams) -> CountedGossip {
    let spec = Spec::mainnet();
    let schedule = TopicSchedule::new(&spec, &Root::ZERO);
    let gossip = gossip::behaviour(
        &spec,
        &schedule,
        &GossipParameters::default(),
        Arc::clone(joined),
        Counters::default(),
        &mut Registry::default(),
    )
    .unwrap();
    CountedGossip::new(gossip, streams.clone())
}

/// What gossipsub's handler makes of a peer's stream, until it ends: as it is by the library, without its connection.
async fn decoded(
    theirs: DuplexStream,
    peer: PeerId,
    streams: &GossipStreams,
) -> impl futures::Stream<Item = FromConnection> + Unpin + use<> {
    let mut stream = Stream::new(theirs.compat(), peer, streams.clone(), true, Arc::default());
    stream.read_exact(&mut vec![0; NAMES.len()]).await.unwrap();
    let any: Multiaddr = "/memory/1".parse().unwrap();
    let handler = behaviour(&JoinedTopics::default(), streams)
        .handle_established_inbound_connection(ConnectionId::new_unchecked(1), peer, &any, &any)
        .unwrap();
    let upgrade = handler.listen_protocol().into_upgrade().0.left().unwrap();
    let name = upgrade.protocol_info().remove(0);
    let (frames, _) = upgrade.upgrade_inbound(stream, name).await.unwrap();
    Box::pin(
        frames
            .take_while(|frame| std::future::ready(frame.is_ok()))
            .map(Result::unwrap),
    )
}

async fn decode(wire: &[u8]) -> Vec<FromConnection> {
    let (mut theirs, ours) = duplex(NAMES.len() + wire.len());
    theirs.write_all(NAMES).await.unwrap();
    theirs.write_all(wire).await.unwrap();
    drop(theirs);
    decoded(ours, PeerId::random(), &GossipStreams::default())
        .await
        .collect()
        .await
}

#[tokio::test]
async fn an_rpc_weighs_what_it_takes_in_memory() {
    let ids = field(2, &[]).repeat(200_000);
    // Bytes on the wire may be few where there are many parts: 24 bytes an id, 72 a graft.
    let table: [(&str, Vec<u8>, usize, usize); 6] = [
        ("nothing", framed(&[]), 1, 500),
        ("a message", message(4 * MIB), 4 * MIB, 4 * MIB + 2000),
        (
            "100 messages",
            framed(&field(2, &field(2, &[7; 10])).repeat(100)),
            20_000,
            60_000,
        ),
        ("ids", control(1, &ids, 1), 200_000 * 24, 200_000 * 80),
        ("grafts", control(3, &[], 200_000), 200_000 * 72, 200_000 * 120),
        ("prunes", control(4, &[], 200_000), 200_000 * 72, 200_000 * 240),
    ];
    for (what, wire, least, most) in table {
        let events = decode(&wire).await;
        assert_eq!(events.len(), 1, "{what}");
        let weight = weight(&events[0]);
        assert!((least..=most).contains(&weight), "{what}: {weight}");
    }
    // Each is one event, whatever it holds, up to the first that is none.
    let whole = [
        framed(&[]),
        message(10),
        framed(&[]),
        message(20_000),
        framed(&[]),
    ]
    .concat();
    assert_eq!(decode(&whole).await.len(), 5);
    let broken = [&whole[..], &framed(&[0xff; 10]), &message(10)].concat();
    assert_eq!(decode(&broken).await.len(), 5);
}

#[tokio::test]
async fn a_stream_of_gossip_is_read_no_further_while_too_much_is_in_hand() {
    let streams = GossipStreams::default();
    let (mut theirs, ours) = duplex(1 << 20);
    let mut other = Stream::new(
        ours.compat(),
        PeerId::random(),
        streams.clone(),
        true,
        Arc::default(),
    );
    theirs
        .write_all(b"\x13/multistream/1.0.0\n\x07/eth2/\n")
        .await
        .unwrap();
    let (mut theirs, ours) = duplex(1 << 20);
    let peer = PeerId::random();
    let mut gossip = Stream::new(ours.compat(), peer, streams.clone(), true, Arc::default());
    theirs.write_all(NAMES).await.unwrap();
    theirs.write_all(&message(300_000)).await.unwrap();
    let in_hand = InHand::new(streams.clone(), MAX_IN_HAND + 1);
    // Other protocols are none of its business, and agreeing on one either.
    other.read_exact(&mut [0; 28]).await.unwrap();
    gossip.read_exact(&mut vec![0; NAMES.len()]).await.unwrap();
    let mut bytes = vec![0; 299_000];
    {
        let mut read = Box::pin(gossip.read_exact(&mut bytes));
        assert!(read.as_mut().now_or_never().is_none());
        assert_eq!(streams.accounts.room.lock().all(), (MAX_IN_HAND + 1, 1, 0));
        drop(in_hand);
        assert_eq!(streams.accounts.room.lock().all(), (0, 0, 1), "it has its turn");
        read.await.unwrap();
    }
    assert_eq!(
        streams.accounts.room.lock().all(),
        (0, 0, 0),
        "and not for longer than that"
    );
    // Where nothing has come it keeps no turn; where it is given up it waits no longer; gone, it leaves nothing.
    let mut rest = vec![0; message(300_000).len() - bytes.len()];
    gossip.read_exact(&mut rest).await.unwrap();
    let in_hand = InHand::new(streams.clone(), MAX_IN_HAND + 1);
    assert!(gossip.read(&mut bytes).now_or_never().is_none());
    drop(in_hand);
    assert_eq!(streams.accounts.room.lock().all(), (0, 0, 1));
    assert!(gossip.read(&mut bytes).now_or_never().is_none());
    assert_eq!(streams.accounts.room.lock().all(), (0, 0, 0));
    theirs.write_all(&message(300_000)).await.unwrap();
    gossip.read_exact(&mut bytes).await.unwrap();
    let _in_hand = InHand::new(streams.clone(), MAX_IN_HAND + 1);
    assert!(gossip.read(&mut bytes).now_or_never().is_none());
    let later = Instant::now() + Duration::from_secs(70);
    assert_eq!(
        streams.sweep(later).0,
        [],
        "the time for which it was kept waiting is not its own"
    );
    drop(gossip);
    assert_eq!(streams.accounts.room.lock().all(), (MAX_IN_HAND + 1, 0, 0));
}

/// Twelve connections, each with two events in its channel and one being handed over; the host handles one at a time.
#[tokio::test]
async fn a_busy_host_is_given_no_more_than_fits_and_loses_nothing() {
    const PEERS: usize = 12;
    // All of them may be unfinished at once.
    const LARGEST: usize = MAX_UNFINISHED / PEERS - 64 * 1024;
    let streams = GossipStreams::default();
    let mut tasks = Vec::new();
    let mut channels = Vec::new();
    let mut sent = Vec::new();
    for n in 0..PEERS {
        let (mut theirs, ours) = duplex(256 << 10);
        let (sender, receiver) = mpsc::channel(2);
        channels.push(receiver);
        let sizes = [LARGEST, LARGEST - n, 100, LARGEST / 2, 0].into_iter().cycle();
        let sizes: Vec<usize> = sizes.skip(n).take(8).collect();
        sent.push(sizes.clone());
        tasks.push(tokio::spawn(async move {
            theirs.write_all(NAMES).await.unwrap();
            for size in sizes {
                theirs.write_all(&message(size)).await.unwrap();
            }
        }));
        let streams = streams.clone();
        tasks.push(tokio::spawn(async move {
            let mut events = decoded(ours, PeerId::random(), &streams).await;
            while let Some(event) = events.next().await {
                let in_hand = InHand::new(streams.clone(), weight(&event));
                if sender.send((event, in_hand)).await.is_err() {
                    return;
                }
            }
        }));
    }
    // One of them goes away in the middle: nobody waits for it.
    drop(channels.pop());
    let mut came = vec![Vec::new(); PEERS - 1];
    let mut most = 0;
    let host = async {
        let mut open: Vec<(usize, _)> = channels.into_iter().enumerate().collect();
        while !open.is_empty() {
            // Long enough for everybody to go on as far as there is room.
            tokio::time::sleep(Duration::from_millis(3)).await;
            most = most.max(streams.accounts.room.lock().all().0);
            let next = open.iter_mut().map(|(_, channel)| Box::pin(channel.recv()));
            let (event, n, _) = select_all(next).await;
            match event {
                Some((FromConnection::Message { rpc, .. }, _in_hand)) => {
                    came[open[n].0].push(rpc.messages[0].data.len());
                }
                Some(_) => {}
                None => drop(open.remove(n)),
            }
            let mid = open.len() / 2;
            open.rotate_left(mid);
        }
    };
    tokio::time::timeout(Duration::from_secs(120), host)
        .await
        .unwrap();
    assert_eq!(came, sent[..PEERS - 1]);
    assert!(most > MAX_IN_HAND / 2, "{most}");
    assert!(most <= MAX_IN_HAND + TURNS * (LARGEST + 1000), "{most}");
    for task in tasks {
        let _ = tokio::time::timeout(Duration::from_secs(20), task).await.unwrap();
    }
    assert_eq!(streams.accounts.room.lock().all(), (0, 0, 0));
    assert_eq!(streams.accounts.unfinished.lock().all(), (0, 0));
}

/// gossipsub's reader keeps what room it once needed, though there was nothing in the message that it knows.
#[tokio::test]
async fn streams_end_where_too_much_room_is_kept_for_them() {
    let streams = GossipStreams::default();
    let wire = framed(&field(9, &vec![7; 11 * MIB]));
    let mut all = Vec::new();
    for n in 0..7 {
        let (mut theirs, ours) = duplex(256 << 10);
        let wire = wire.clone();
        let sends = tokio::spawn(async move {
            theirs.write_all(NAMES).await.unwrap();
            theirs.write_all(&wire).await.unwrap();
            theirs
        });
        let mut events = decoded(ours, PeerId::random(), &streams).await;
        assert!(weight(&events.next().await.unwrap()) < 1000);
        let mut theirs = sends.await.unwrap();
        if n == 1 {
            // Within the next message when it is to end.
            theirs.write_all(&message(300_000)[..200_000]).await.unwrap();
        }
        assert!(events.next().now_or_never().is_none());
        all.push((theirs, events));
        let (bytes, kept) = streams.accounts.kept.lock().all();
        assert!(bytes <= MAX_KEPT && bytes > kept * 11 * MIB, "{bytes} for {kept}");
    }
    let ended = all.iter_mut().map(|(_, events)| events.next().now_or_never());
    let ended: Vec<bool> = ended.map(|next| matches!(next, Some(None))).collect();
    assert_eq!(ended[..3], [true, true, false]);
    assert!(ended[2..].iter().all(|ended| !ended));
    all.drain(..2);
    let counted = GIVEN_UP_REASONS.map(|reason| streams.counters.gossip_streams_of(reason));
    assert_eq!(
        counted,
        [0, 1, 0, 0, 0, 1, 0],
        "one within a message, one between"
    );
    all.clear();
    assert_eq!(streams.accounts.kept.lock().all(), (0, 0));
}

/// A node that speaks gossip and nothing else.
fn node() -> (Swarm<CountedGossip>, GossipStreams, TopicHash) {
    let key = NodeKey::generate().keypair();
    let dir = tempfile::tempdir().unwrap();
    let config = NetworkConfig {
        disable_quic: true,
        ..NetworkConfig::new(dir.path())
    };
    let (joined, streams) = (JoinedTopics::default(), GossipStreams::default());
    let schedule = TopicSchedule::new(&Spec::mainnet(), &Root::ZERO);
    let topic = proof_topic(schedule.digests().next().unwrap());
    joined.write().joined.insert(topic.hash());
    let mut gossip = behaviour(&joined, &streams);
    gossip.subscribe(&topic).unwrap();
    let transport = by_address(&config, &key, &Counters::default(), &streams, |_| false).unwrap();
    let own = key.public().to_peer_id();
    let config =
        libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    (Swarm::new(transport, gossip, own, config), streams, topic.hash())
}

/// Runs a node until something happens there.
async fn until<T>(swarm: &mut Swarm<CountedGossip>, what: impl Fn(SwarmEvent<Event>) -> Option<T>) -> T {
    loop {
        if let Some(what) = what(swarm.select_next_some().await) {
            return what;
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it does not come to an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_in_hand_until_it_is_handled_and_waits_while_there_is_no_room() {
    let (mut busy, streams, topic) = node();
    let (mut other, ..) = node();
    busy.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = within(until(&mut busy, |event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    }))
    .await;
    other.dial(address).unwrap();
    let is_subscribed =
        |event| matches!(event, SwarmEvent::Behaviour(Event::Subscribed { .. })).then_some(());
    let len = |event| match event {
        SwarmEvent::Behaviour(Event::Message { message, .. }) => Some(message.data.len()),
        _ => None,
    };
    within(futures::future::join(
        until(&mut busy, is_subscribed),
        until(&mut other, is_subscribed),
    ))
    .await;
    // Random enough not to pack well.
    let proof = |n: u64| -> Vec<u8> {
        let mut state = n;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .take(300_000)
        .collect()
    };
    let in_hand = || streams.accounts.room.lock().all();

    // The node that gets it does nothing; only its connection runs.
    other.behaviour_mut().publish(topic.clone(), proof(1)).unwrap();
    let arrives = async {
        while in_hand().0 < 300_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(async {
        tokio::select! {
            () = arrives => {}
            () = until(&mut other, |_| None) => {}
        }
    })
    .await;
    assert_eq!(within(until(&mut busy, len)).await, 300_000);

    // Now there is no room: it does not even come, and is not lost.
    let full = InHand::new(streams.clone(), MAX_IN_HAND + 1);
    other.behaviour_mut().publish(topic.clone(), proof(2)).unwrap();
    let both = futures::future::join(until(&mut busy, len), until(&mut other, |_| None::<()>));
    assert!(
        tokio::time::timeout(Duration::from_millis(500), both)
            .await
            .is_err()
    );
    let (bytes, waiting, _) = in_hand();
    assert!(
        bytes < MAX_IN_HAND + 100_000 && waiting == 1,
        "{bytes}, {waiting}"
    );
    drop(full);
    let came = within(async {
        tokio::select! {
            len = until(&mut busy, len) => len,
            () = until(&mut other, |_| None) => 0,
        }
    });
    assert_eq!(came.await, 300_000);
    let (bytes, waiting, turns) = in_hand();
    assert!(bytes < 100_000, "{bytes}");
    assert_eq!((waiting, turns), (0, 0));

    // The stream ends for the room that is kept for it. The other is known to open one anew: it finds out with what it
    // says next, and does when its connection next has anything to do.
    streams.know(HashSet::new(), [*other.local_peer_id()].into());
    assert_eq!(streams.accounts.kept.lock().all().1, 1);
    fill_kept(&streams);
    let mut lost = 0;
    within(async {
        loop {
            other
                .behaviour_mut()
                .publish(topic.clone(), proof(3 + lost))
                .unwrap();
            let came = tokio::time::timeout(Duration::from_secs(1), async {
                tokio::select! {
                    len = until(&mut busy, len) => len,
                    () = until(&mut other, |_| None) => 0,
                }
            });
            if came.await == Ok(300_000) {
                break;
            }
            lost += 1;
            busy.behaviour_mut()
                .publish(topic.clone(), proof(1000 + lost))
                .unwrap();
        }
    })
    .await;
    assert!(lost <= 2, "{lost}");
    assert_eq!(streams.counters.gossip_streams_of(KEPT), 1);

    // Of whom that is not known, the connection is closed.
    streams.know(HashSet::new(), HashSet::new());
    let closed = |event| matches!(event, SwarmEvent::ConnectionClosed { .. }).then_some(());
    assert_eq!(streams.accounts.kept.lock().all().1, 1);
    fill_kept(&streams);
    within(futures::future::join(
        until(&mut busy, closed),
        until(&mut other, closed),
    ))
    .await;
    assert_eq!(streams.counters.gossip_streams_of(KEPT), 2);
    assert_eq!(streams.counters.gossip_streams_of(SPENT), 0);
    assert_eq!(busy.connected_peers().count(), 0);
}

/// Others keep as much room as may be, in pieces as large as a message of 300,000 bytes; they are gone when who kept one
/// before has gone.
fn fill_kept(streams: &GossipStreams) {
    let others = MAX_KEPT / 300_000;
    let (peer, id) = (PeerId::random(), |n: usize| u64::MAX - n as u64);
    for n in 0..others {
        streams.brought(id(n), peer, 300_000, Waker::noop(), &Ends::default());
    }
    assert_eq!(streams.accounts.kept.lock().all(), (others * 300_000, others));
    (0..others).for_each(|n| streams.accounts.kept.lock().gone(id(n)));
}

/// An RPC that gossipsub's codec refuses as a whole takes its stream with it, though every byte of it came.
#[tokio::test]
async fn an_rpc_that_is_refused_as_a_whole_is_counted() {
    let (mut node, streams, topic) = node();
    node.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = within(until(&mut node, |event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    }))
    .await;
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::None)
        .build()
        .unwrap();
    let mut peer = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| -> gossipsub::Behaviour {
            gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config).unwrap()
        })
        .unwrap()
        .build();
    // More control than any RPC may hold.
    let long = gossipsub::IdentTopic::new("t".repeat(600 * 1024));
    peer.dial(address).unwrap();
    let refused = async {
        let counted = || GIVEN_UP_REASONS.map(|reason| streams.counters.gossip_streams_of(reason));
        loop {
            tokio::select! {
                event = peer.select_next_some() => {
                    if let SwarmEvent::Behaviour(gossipsub::Event::Subscribed { topic: joined, .. }) = event
                        && joined == topic
                    {
                        assert_eq!(counted(), [0; 7]);
                        peer.behaviour_mut().subscribe(&long).unwrap();
                    }
                }
                _ = node.select_next_some() => {}
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            if counted() != [0; 7] {
                return counted();
            }
        }
    };
    assert_eq!(within(refused).await, [0, 0, 0, 0, 0, 0, 1]);
}
