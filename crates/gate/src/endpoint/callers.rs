//! Who calls (design.md gate rule 11): the primary beacon node, or another. Each has a secret of its own, so nothing has to
//! be guessed from what it sends. What another sends goes the same way, but for its fork choice: that is answered from the
//! tree, and the execution client does not hear of it.

use super::{
    EndpointConfig, EndpointError, Shared, answers,
    body::{Answer, Intake},
    forkchoice::read_state,
    service::{intake_failed, is_get_payload},
    stats::count,
    waiting::for_proofs,
};
use crate::machine::{Asked, PayloadVerdict};
use assay_engine_api::{
    ErrorCode, ErrorObject, ForkchoiceUpdatedResponse, Id, JwtError, JwtSecret, PayloadStatusV1, Response,
};
use http::StatusCode;
use std::{sync::Arc, time::SystemTime};
use tokio::{sync::watch, time::Instant};

/// Another beacon node than the primary.
#[derive(Debug, Clone)]
pub struct OtherNodeConfig {
    /// What it is called in logs and answers.
    pub name: String,
    /// The secret shared with it, and with no other.
    pub jwt: JwtSecret,
    /// Whether it is on this network; it gets no answer before that is known.
    pub network: watch::Receiver<OtherNetwork>,
}

/// Which network another beacon node is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherNetwork {
    /// It has not told yet.
    Unknown,
    /// The primary's.
    Same,
    /// Another: it is refused, for this reason.
    Different(String),
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Primary,
    Other,
}

/// The secrets must tell beacon nodes apart.
pub(super) fn check(config: &EndpointConfig) -> Result<(), EndpointError> {
    let now = SystemTime::now();
    let mut known: Vec<(&str, &JwtSecret)> = config.jwt.iter().map(|jwt| ("the primary", jwt)).collect();
    for node in &config.others {
        let token = node.jwt.token(now);
        if let Some((same, _)) = known.iter().find(|(_, jwt)| jwt.verify(&token, now).is_ok()) {
            return Err(EndpointError::SameSecret {
                node: node.name.clone(),
                other: (*same).to_owned(),
            });
        }
        known.push((&node.name, &node.jwt));
    }
    Ok(())
}

/// Why a caller gets no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its token.
    Token(String),
    /// It is another beacon node, and on another network, or that is not known yet.
    Network(StatusCode, String),
}

/// Whose token it is; without a secret the execution client judges it, and every caller is the primary.
pub(super) fn identify(shared: &Shared, header: Option<&str>) -> Result<Caller, Refusal> {
    let Some(jwt) = &shared.jwt else {
        return Ok(Caller::Primary);
    };
    let now = SystemTime::now();
    let refused = match jwt.verify_header(header, now) {
        Ok(()) => return Ok(Caller::Primary),
        Err(why) => why,
    };
    for node in &shared.others {
        match node.jwt.verify_header(header, now) {
            Ok(()) => return admit(node),
            Err(JwtError::Signature) => {}
            // Its secret, and another fault.
            Err(why) => return Err(Refusal::Token(why.to_string())),
        }
    }
    Err(Refusal::Token(refused.to_string()))
}

/// Methods by their beginnings that only read: whoever calls them changes nothing for the primary.
const READS: [&str; 6] = [
    "engine_get",
    "engine_exchange",
    "eth_",
    "net_",
    "web3_",
    "rpc_modules",
];

/// Whether a method that passes to the execution client may come from this caller: payloads are built for the primary, and
/// what might move the execution client's head (`debug_setHead`, methods to come) is the primary's alone.
pub(super) fn may_call(caller: Caller, method: &str) -> bool {
    caller == Caller::Primary
        || (!is_get_payload(method) && READS.iter().any(|read| method.starts_with(read)))
}

/// What another beacon node is told of a method that it may not call.
pub(super) fn not_for_others(method: &str) -> ErrorObject {
    match is_get_payload(method) {
        true => ErrorObject::new(
            ErrorCode::UnknownPayload,
            "payloads are built for the primary beacon node alone",
        ),
        false => ErrorObject::new(
            ErrorCode::MethodNotFound,
            format!("{method} is for the primary beacon node alone"),
        ),
    }
}

fn admit(node: &OtherNodeConfig) -> Result<Caller, Refusal> {
    match &*node.network.borrow() {
        OtherNetwork::Same => Ok(Caller::Other),
        OtherNetwork::Unknown => {
            let why = format!(
                "beacon node {} has not told yet which network it is on",
                node.name
            );
            Err(Refusal::Network(StatusCode::SERVICE_UNAVAILABLE, why))
        }
        OtherNetwork::Different(why) => {
            let why = format!("beacon node {} is on another network: {why}", node.name);
            Err(Refusal::Network(StatusCode::FORBIDDEN, why))
        }
    }
}

/// `engine_forkchoiceUpdated*` of another beacon node, a call of its own.
pub(super) async fn forkchoice_single(shared: &Arc<Shared>, mut intake: Intake) -> Answer {
    match intake.hold().await {
        Ok(held) => {
            let body = Arc::new(held).all();
            answers::json(forkchoice(shared, intake.id(), &body.bytes).await)
        }
        Err(why) => intake_failed(shared, intake.id(), &why),
    }
}

/// As `forkchoice_single`, of a call that is here: VALID, INVALID or SYNCING as the payload stands in the tree. A payload
/// is built for the primary alone.
pub(super) async fn forkchoice(shared: &Arc<Shared>, id: Id, body: &[u8]) -> Vec<u8> {
    let received = Instant::now();
    count(&shared.stats.other_nodes_forkchoices);
    let Some(state) = read_state(body) else {
        let why = "params: forkchoiceState cannot be read";
        return Response::error(id, ErrorObject::new(ErrorCode::InvalidParams, why)).to_json();
    };
    let head = state.head_block_hash;
    let said = shared.gate.client_said(&head);
    let judgement = shared.gate.other_head(head).await;
    let decision = for_proofs(shared, Asked::Head(head), said, judgement, received).await;
    let payload_status = if decision.is_valid(said) {
        PayloadStatusV1::valid(head)
    } else if shared
        .gate
        .payload(&head)
        .is_some_and(|p| p.verdict == PayloadVerdict::Invalid)
    {
        // Rule 1: its own word, kept.
        PayloadStatusV1::invalid(None, "the execution client calls it INVALID")
    } else {
        PayloadStatusV1::syncing()
    };
    let updated = ForkchoiceUpdatedResponse {
        payload_status,
        payload_id: None,
    };
    Response::result(id, &updated).to_json()
}
