//! GET `/eth/v1/node/identity`: this node's own, ENR with `eth2` and `eproof` included.

use crate::ApiState;
use crate::openapi::{Operation, data, list_of, object, schema};
use assay_types::primitives::to_hex;
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    let identity = state.network.identity();
    let text = |addresses: &[assay_network::Multiaddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    Json(json!({ "data": {
        "peer_id": identity.peer_id.to_string(),
        "enr": identity.enr,
        "p2p_addresses": text(&identity.p2p_addresses),
        "discovery_addresses": text(&identity.discovery_addresses),
        "metadata": {
            "seq_number": identity.metadata.seq_number.to_string(),
            "attnets": to_hex(&identity.metadata.attnets),
            "syncnets": to_hex(&[identity.metadata.syncnets]),
            "custody_group_count": identity.metadata.custody_group_count.to_string(),
        },
    }}))
}

pub(crate) fn describe() -> Operation {
    let text = json!({ "type": "string" });
    let addresses = list_of(text.clone());
    let metadata = object(json!({
        "seq_number": schema("Number"), "attnets": text, "syncnets": text, "custody_group_count": schema("Number"),
    }));
    Operation::new("getNetworkIdentity", "This node on the p2p network").json(data(object(json!({
        "peer_id": text, "enr": text, "p2p_addresses": addresses, "discovery_addresses": addresses, "metadata": metadata,
    }))))
}
