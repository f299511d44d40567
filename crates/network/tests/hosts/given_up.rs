//! Peers whose stream of gossip this node gives up.

use crate::support::*;
use futures::StreamExt;
use libp2p::{
    SwarmBuilder, gossipsub, identify, noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use std::time::Duration;

#[derive(NetworkBehaviour)]
struct Bare {
    gossip: gossipsub::Behaviour,
    identify: identify::Behaviour,
}

/// Whether a peer that calls itself so is disconnected when its RPC is refused with its stream.
async fn is_disconnected(agent: &str) -> bool {
    let (node, _dir) = Node::start(vec![]).await;
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::None)
        .build()
        .unwrap();
    let mut peer = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Bare {
            gossip: gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config).unwrap(),
            identify: identify::Behaviour::new(
                identify::Config::new("eth2/1.0.0".into(), key.public()).with_agent_version(agent.into()),
            ),
        })
        .unwrap()
        .build();
    let id = *peer.local_peer_id();
    peer.dial(node.network.identity().p2p_addresses[0].clone())
        .unwrap();
    let talk = async {
        let known = async {
            let is_known = || node.network.peer(&id).and_then(|peer| peer.agent).is_some();
            wait_for(|| is_known().then_some(())).await.unwrap();
            // A tick of the host's, and some.
            tokio::time::sleep(Duration::from_millis(1500)).await;
        };
        tokio::select! {
            () = known => {}
            () = async { loop { peer.select_next_some().await; } } => {}
        }
        // More control than any RPC may hold.
        let long = gossipsub::IdentTopic::new("t".repeat(600 * 1024));
        peer.behaviour_mut().gossip.subscribe(&long).unwrap();
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = peer.select_next_some().await {
                return;
            }
        }
    };
    let is_closed = tokio::time::timeout(Duration::from_secs(5), talk).await.is_ok();
    node.stop().await;
    is_closed
}

#[tokio::test]
async fn who_may_open_no_other_stream_is_disconnected() {
    let (lodestar, lighthouse, own) = tokio::join!(
        is_disconnected("js-libp2p/1.0.0"),
        is_disconnected("Lighthouse/v8.0.0/x86_64-linux"),
        is_disconnected("assay/0.0.0"),
    );
    assert!(lodestar && !lighthouse && !own, "{lodestar}, {lighthouse}, {own}");
}
