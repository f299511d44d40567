//! GET `/eth/v1/node/peer_count`: how many of the peers that `/eth/v1/node/peers` lists are in each state.

use super::node_peers::listed;
use crate::ApiState;
use crate::openapi::{Operation, data, object, schema};
use assay_network::PeerState;
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    let peers = state.network.peers();
    let count = |state: PeerState| {
        let here = peers
            .iter()
            .filter(|peer| peer.state == state && listed(peer).is_some());
        here.count().to_string()
    };
    Json(json!({ "data": {
        "disconnected": count(PeerState::Disconnected),
        "connecting": count(PeerState::Connecting),
        "connected": count(PeerState::Connected),
        "disconnecting": count(PeerState::Disconnecting),
    }}))
}

pub(crate) fn describe() -> Operation {
    let number = schema("Number");
    Operation::new("getPeerCount", "How many peers are in each state").json(data(object(json!({
        "disconnected": number, "connecting": number, "connected": number, "disconnecting": number,
    }))))
}
