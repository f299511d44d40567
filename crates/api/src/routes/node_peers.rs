//! GET `/eth/v1/node/peers`, `/eth/v1/node/peers/{peer_id}`: the peers, with what the Beacon API has of them and beside
//! it what proofs add: `eproof`, `proof_aware`, score, latest proof status.

use crate::openapi::{Operation, data, list_of, object, schema};
use crate::{ApiError, ApiState};
use assay_network::{Direction, PeerId, PeerInfo, PeerState};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
};
use reqwest::Url;
use serde_json::{Value, json};

/// Filters of a query: repeated or with commas, none means all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filters {
    states: Vec<PeerState>,
    directions: Vec<Direction>,
}

impl Filters {
    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut filters = Self::default();
        let mut url = Url::parse("http://query/").map_err(|e| ApiError::internal(e.to_string()))?;
        url.set_query(query);
        for (key, value) in url.query_pairs() {
            for value in value.split(',').map(str::trim) {
                match key.as_ref() {
                    "state" => filters.states.push(state(value)?),
                    "direction" => filters.directions.push(direction(value)?),
                    _ => {}
                }
            }
        }
        Ok(filters)
    }

    fn take(&self, state: PeerState, direction: Direction) -> bool {
        (self.states.is_empty() || self.states.contains(&state))
            && (self.directions.is_empty() || self.directions.contains(&direction))
    }
}

fn state(text: &str) -> Result<PeerState, ApiError> {
    let all = [
        PeerState::Disconnected,
        PeerState::Connecting,
        PeerState::Connected,
        PeerState::Disconnecting,
    ];
    all.into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| {
            ApiError::bad_request(format!(
                "state {text:?}: disconnected, connecting, connected or disconnecting"
            ))
        })
}

fn direction(text: &str) -> Result<Direction, ApiError> {
    [Direction::Inbound, Direction::Outbound]
        .into_iter()
        .find(|direction| direction.as_str() == text)
        .ok_or_else(|| ApiError::bad_request(format!("direction {text:?}: inbound or outbound")))
}

/// The direction of a peer that belongs into a list: peers that were connected, those being dialled, and those of
/// `--peer`. What discovery has found beside them is no peer yet.
pub(crate) fn listed(peer: &PeerInfo) -> Option<Direction> {
    let ours = peer.trusted || peer.state == PeerState::Connecting;
    peer.direction.or(ours.then_some(Direction::Outbound))
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let filters = Filters::parse(query.as_deref())?;
    let data: Vec<Value> = state
        .network
        .peers()
        .iter()
        .filter(|peer| listed(peer).is_some_and(|direction| filters.take(peer.state, direction)))
        .map(shown)
        .collect();
    let count = data.len();
    Ok(Json(json!({ "data": data, "meta": { "count": count } })))
}

pub(crate) async fn one(
    State(state): State<ApiState>,
    Path(peer_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id: PeerId = peer_id
        .parse()
        .map_err(|e| ApiError::bad_request(format!("peer id {peer_id:?}: {e}")))?;
    let peer = state
        .network
        .peer(&id)
        .ok_or_else(|| ApiError::not_found(format!("peer {peer_id} is not known")))?;
    Ok(Json(json!({ "data": shown(&peer) })))
}

fn shown(peer: &PeerInfo) -> Value {
    json!({
        "peer_id": peer.peer_id.to_string(),
        "enr": peer.enr,
        "last_seen_p2p_address": peer.address.as_ref().map(ToString::to_string).unwrap_or_default(),
        "state": peer.state.as_str(),
        "direction": listed(peer).unwrap_or(Direction::Outbound).as_str(),
        "agent": peer.agent,
        "score": peer.score,
        "eproof": peer.eproof.map(|eproof| eproof.to_string()),
        "proof_aware": peer.proof_aware,
        "trusted": peer.trusted,
        "proof_status": peer.proof_status,
    })
}

pub(crate) fn describe_list() -> Operation {
    let states =
        json!({ "type": "string", "enum": ["disconnected", "connecting", "connected", "disconnecting"] });
    let directions = json!({ "type": "string", "enum": ["inbound", "outbound"] });
    let meta = object(json!({ "count": { "type": "integer" } }));
    Operation::new("getPeers", "Peers, filtered")
        .query("state", "repeated, or with commas", &list_of(states))
        .query("direction", "repeated, or with commas", &list_of(directions))
        .json(object(json!({ "data": list_of(schema("Peer")), "meta": meta })))
        .error(400, "a filter that is none")
}

pub(crate) fn describe_one() -> Operation {
    Operation::new("getPeer", "One peer")
        .path(
            "peer_id",
            "its libp2p id",
            &json!({ "type": "string", "minLength": 1 }),
        )
        .json(data(schema("Peer")))
        .error(400, "no peer id")
        .error(404, "no such peer")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn peer(state: PeerState, direction: Option<Direction>, trusted: bool) -> PeerInfo {
        PeerInfo {
            peer_id: PeerId::random(),
            enr: None,
            address: Some("/ip4/127.0.0.1/tcp/9000".parse().unwrap()),
            state,
            direction,
            agent: None,
            score: -1.5,
            eproof: Some(1),
            proof_aware: true,
            trusted,
            status: None,
            proof_status: None,
            metadata_seq: None,
        }
    }

    #[test]
    fn filters_are_repeated_or_with_commas_and_wrong_ones_are_named() {
        use Direction::{Inbound, Outbound};
        use PeerState::{Connected, Disconnected};
        let parsed = |query: &str| Filters::parse(Some(query)).map(|f| (f.states, f.directions));
        assert_eq!(parsed(""), Ok((vec![], vec![])));
        assert_eq!(
            parsed("state=connected&state=disconnected&direction=inbound&other=1"),
            Ok((vec![Connected, Disconnected], vec![Inbound]))
        );
        assert_eq!(
            parsed("state=connected,disconnected&direction=inbound%2Coutbound"),
            Ok((vec![Connected, Disconnected], vec![Inbound, Outbound]))
        );
        for wrong in [
            "state=gone",
            "direction=sideways",
            "state=connected,Connected",
            "state=",
        ] {
            assert_eq!(parsed(wrong).unwrap_err().code, 400, "{wrong}");
        }
        let filters = Filters::parse(Some("state=connected&direction=inbound")).unwrap();
        assert!(filters.take(Connected, Inbound));
        assert!(!filters.take(Connected, Outbound) && !filters.take(Disconnected, Inbound));
        assert!(Filters::default().take(Disconnected, Outbound));
    }

    #[test]
    fn what_was_found_and_never_met_is_no_peer_yet() {
        use PeerState::{Connected, Connecting, Disconnected};
        for (peer, expected) in [
            (
                peer(Connected, Some(Direction::Inbound), false),
                Some(Direction::Inbound),
            ),
            (
                peer(Disconnected, Some(Direction::Inbound), false),
                Some(Direction::Inbound),
            ),
            (peer(Disconnected, None, false), None),
            (peer(Disconnected, None, true), Some(Direction::Outbound)),
            (peer(Connecting, None, false), Some(Direction::Outbound)),
        ] {
            assert_eq!(listed(&peer), expected, "{peer:?}");
        }
        let shown = shown(&peer(Connected, Some(Direction::Inbound), false));
        assert_eq!(
            (
                &shown["eproof"],
                &shown["state"],
                &shown["direction"],
                &shown["enr"]
            ),
            (&json!("1"), &json!("connected"), &json!("inbound"), &Value::Null)
        );
    }
}
