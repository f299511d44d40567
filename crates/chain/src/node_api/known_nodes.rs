//! Nodes of the network that the beacon node knows: itself, and its peers.

use super::{NodeApi, NodeError};
use crate::block_source::{KnownNode, KnownNodes};
use serde_json::Value;

/// Peers taken of an answer at most.
const MAX_KNOWN_PEERS: usize = 1024;
/// Addresses taken of one node at most.
const MAX_ADDRESSES: usize = 16;
/// Characters of a peer id, record or address at most: a record has 300 bytes, 400 characters in text.
const MAX_TEXT: usize = 512;

impl NodeApi {
    /// What the beacon node says of itself and its connected peers. What it says in a form that cannot be read is left out; an error only
    /// where neither could be asked.
    pub async fn known_nodes(&self) -> Result<KnownNodes, NodeError> {
        let own = self.get_json::<Value>("/eth/v1/node/identity", "").await;
        let peers = match self
            .get_json::<Vec<Value>>("/eth/v1/node/peers", "state=connected")
            .await
        {
            // A node that does not know the filter tells of everybody.
            Err(error) if error.is_refusal() => self.get_json::<Vec<Value>>("/eth/v1/node/peers", "").await,
            answer => answer,
        };
        if let (Err(error), Err(_)) = (&own, &peers) {
            return Err(error.clone());
        }
        let peers = peers.map(|answer| answer.data).unwrap_or_default();
        Ok(KnownNodes {
            own: own.ok().map(|answer| own_node(&answer.data)),
            peers: peers
                .iter()
                .filter(|entry| text(entry, "state").is_none_or(|state| state == "connected"))
                .filter_map(peer)
                .take(MAX_KNOWN_PEERS)
                .collect(),
        })
    }
}

/// A member that is text, neither empty nor too long to be what it should be.
fn text(entry: &Value, name: &str) -> Option<String> {
    let text = entry.get(name)?.as_str()?;
    (!text.is_empty() && text.len() <= MAX_TEXT).then(|| text.to_owned())
}

fn own_node(data: &Value) -> KnownNode {
    let addresses = data.get("p2p_addresses").and_then(Value::as_array);
    KnownNode {
        peer_id: text(data, "peer_id"),
        enr: text(data, "enr"),
        addresses: addresses
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|address| !address.is_empty() && address.len() <= MAX_TEXT)
            .take(MAX_ADDRESSES)
            .map(str::to_owned)
            .collect(),
        outbound: None,
    }
}

/// A peer of which there is a record or an address.
fn peer(entry: &Value) -> Option<KnownNode> {
    let node = KnownNode {
        peer_id: text(entry, "peer_id"),
        enr: text(entry, "enr"),
        addresses: text(entry, "last_seen_p2p_address").into_iter().collect(),
        outbound: match entry.get("direction").and_then(Value::as_str) {
            Some("outbound") => Some(true),
            Some("inbound") => Some(false),
            _ => None,
        },
    };
    (node.enr.is_some() || !node.addresses.is_empty()).then_some(node)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_peer_needs_a_record_or_an_address() {
        let long = "x".repeat(MAX_TEXT + 1);
        for (entry, expected) in [
            (json!({"peer_id": "a"}), None),
            (
                json!({"peer_id": "a", "enr": null, "last_seen_p2p_address": ""}),
                None,
            ),
            (json!({"peer_id": "a", "enr": long}), None),
            (json!("text"), None),
            (
                json!({"peer_id": "a", "enr": "", "last_seen_p2p_address": "/ip4/1.2.3.4/tcp/9", "direction": "inbound"}),
                Some((None, vec!["/ip4/1.2.3.4/tcp/9".to_owned()], Some(false))),
            ),
            (
                json!({"enr": "enr:-x", "direction": "outbound"}),
                Some((Some("enr:-x".to_owned()), vec![], Some(true))),
            ),
            (
                json!({"enr": "enr:-x", "direction": 5}),
                Some((Some("enr:-x".to_owned()), vec![], None)),
            ),
        ] {
            let read = peer(&entry).map(|node| (node.enr, node.addresses, node.outbound));
            assert_eq!(read, expected, "{entry}");
        }
    }

    #[test]
    fn own_addresses_are_bounded() {
        let mut addresses = vec![json!("/ip4/1.2.3.4/tcp/9"); MAX_ADDRESSES + 3];
        addresses.insert(0, json!(5));
        addresses.insert(0, json!("y".repeat(MAX_TEXT + 1)));
        let node = own_node(&json!({"peer_id": "p", "enr": "enr:-y", "p2p_addresses": addresses}));
        assert_eq!(node.addresses, vec!["/ip4/1.2.3.4/tcp/9"; MAX_ADDRESSES]);
        assert_eq!(node.enr.unwrap(), "enr:-y");
        assert_eq!(own_node(&json!([])), KnownNode::default());
    }
}
