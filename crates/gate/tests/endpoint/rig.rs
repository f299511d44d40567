//! An endpoint between a test and a mock execution client.

use crate::http::{Caller, Message, MockEl, Reply, ok, post};
use assay_engine_api::{ForkchoiceStateV1, JwtSecret, NewPayloadParamsJson, block_hash, methods};
use assay_gate::{
    EndpointConfig, EndpointContext, EngineObserver, GateConfig, GateHandle, ImportPolicy, InMemory, Network,
    ProofService, RunningEndpoint, endpoint,
};
use assay_types::{
    BlockHash, ExecutionPayload, ExecutionRequests, ForkName, Hash256, NewPayloadRequest, ProofKey, Root,
    Slot, Spec, spec::Genesis,
};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub const GENESIS_TIME: u64 = 1_700_000_000;

/// Keeps what it is told.
#[derive(Default)]
pub struct Observed {
    pub payloads: Mutex<Vec<Root>>,
    pub forkchoices: Mutex<Vec<BlockHash>>,
    pub callers: Mutex<Vec<IpAddr>>,
}

impl EngineObserver for Observed {
    fn on_payload(&self, root: &Root, _request: &Arc<NewPayloadRequest>) {
        self.payloads.lock().unwrap().push(*root);
    }
    fn on_forkchoice(&self, state: &ForkchoiceStateV1) {
        self.forkchoices.lock().unwrap().push(state.head_block_hash);
    }
    fn on_engine_call(&self, caller: IpAddr) {
        self.callers.lock().unwrap().push(caller);
    }
}

pub struct Rig {
    pub endpoint: RunningEndpoint,
    pub gate: GateHandle,
    pub observed: Arc<Observed>,
    pub spec: Arc<Spec>,
    pub stop: CancellationToken,
    pub network: watch::Sender<Option<Network>>,
}

pub fn caller_secret() -> JwtSecret {
    JwtSecret::from([1; 32])
}

pub fn upstream_secret() -> JwtSecret {
    JwtSecret::from([2; 32])
}

pub fn bearer() -> String {
    caller_secret().bearer(SystemTime::now())
}

impl Rig {
    pub async fn start(el: &MockEl, policy: ImportPolicy) -> Self {
        Self::start_with(el, policy, |_| ()).await
    }

    pub async fn start_with(
        el: &MockEl,
        policy: ImportPolicy,
        change: impl FnOnce(&mut EndpointConfig),
    ) -> Self {
        let settings = GateConfig {
            policy,
            ..GateConfig::default()
        };
        Self::start_as(el, settings, change).await
    }

    /// With all the gate's settings.
    pub async fn start_as(
        el: &MockEl,
        settings: GateConfig,
        change: impl FnOnce(&mut EndpointConfig),
    ) -> Self {
        let stop = CancellationToken::new();
        let (gate, _writer) =
            GateHandle::open(settings, Arc::new(InMemory::default()), None, stop.clone()).unwrap();
        Self::start_on(el, gate, stop, change).await
    }

    /// A proof of a payload is verified.
    pub async fn prove(&self, payload: &NewPayloadRequest) {
        let key = ProofKey {
            new_payload_request_root: self.root(payload),
            proof_type: 1,
        };
        self.gate.proof_verified(key).await;
    }

    /// In front of a gate that is open already.
    pub async fn start_on(
        el: &MockEl,
        gate: GateHandle,
        stop: CancellationToken,
        change: impl FnOnce(&mut EndpointConfig),
    ) -> Self {
        Self::start_serving(el, gate, stop, change, None).await
    }

    /// As `start_on`; serves the methods of EIP-8025 over `proofs`.
    pub async fn start_serving(
        el: &MockEl,
        gate: GateHandle,
        stop: CancellationToken,
        change: impl FnOnce(&mut EndpointConfig),
        proofs: Option<ProofService>,
    ) -> Self {
        let mut config = EndpointConfig::new(el.url(), caller_secret());
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.upstreams[0].jwt = Some(upstream_secret());
        change(&mut config);
        let spec = Arc::new(Spec::minimal());
        let genesis = Genesis {
            genesis_time: GENESIS_TIME,
            genesis_validators_root: Root::ZERO,
        };
        let network = watch::Sender::new(Some(Network {
            spec: Arc::clone(&spec),
            genesis,
        }));
        let observed = Arc::new(Observed::default());
        let context = EndpointContext {
            gate: gate.clone(),
            network: network.subscribe(),
            observer: Arc::clone(&observed) as Arc<dyn EngineObserver>,
            proofs,
        };
        let endpoint = endpoint::run(config, context, stop.clone()).await.unwrap();
        Self {
            endpoint,
            gate,
            observed,
            spec,
            stop,
            network,
        }
    }

    /// What another endpoint on the same gate works with.
    pub fn context(&self) -> EndpointContext {
        EndpointContext {
            gate: self.gate.clone(),
            network: self.network.subscribe(),
            observer: Arc::clone(&self.observed) as Arc<dyn EngineObserver>,
            proofs: None,
        }
    }

    pub async fn caller(&self) -> Caller {
        Caller::connect(self.endpoint.local_addr()).await
    }

    /// One call over a connection of its own.
    pub async fn call(&self, body: impl AsRef<[u8]>) -> Message {
        self.caller()
            .await
            .exchange(&post(&bearer(), "", body.as_ref()))
            .await
    }

    /// A payload of Fulu at `slot` on `parent`, with `bytes` of transactions; its block hash is right.
    pub fn payload(&self, slot: u64, parent: BlockHash, bytes: usize) -> NewPayloadRequest {
        let mut request = NewPayloadRequest {
            fork: ForkName::Fulu,
            execution_payload: ExecutionPayload {
                parent_hash: parent,
                block_number: slot,
                gas_limit: 30_000_000,
                timestamp: self.spec.timestamp_at_slot(GENESIS_TIME, Slot(slot)),
                transactions: (0..bytes.div_ceil(100_000))
                    .map(|_| vec![2; bytes.min(100_000)].into())
                    .collect(),
                ..ExecutionPayload::default()
            },
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: Hash256([9; 32]),
            execution_requests: ExecutionRequests::default(),
        };
        request.execution_payload.block_hash = block_hash::of_request(&request);
        request
    }

    pub fn root(&self, request: &NewPayloadRequest) -> Root {
        request.hash_tree_root(&self.spec).unwrap()
    }
}

/// The call of a payload.
pub fn new_payload(request: &NewPayloadRequest, id: u64) -> String {
    let params = serde_json::to_string(&NewPayloadParamsJson(request)).unwrap();
    let method = methods::new_payload(request.fork).unwrap();
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{id}}}"#)
}

/// The call of a fork choice update.
pub fn forkchoice(head: BlockHash, id: u64) -> String {
    let zero = Hash256::ZERO;
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"engine_forkchoiceUpdatedV3","params":[{{"headBlockHash":"{head}","safeBlockHash":"{zero}","finalizedBlockHash":"{zero}"}},null]}}"#
    )
}

/// Where the head's hash stands in a call.
pub fn hash_in(message: &Message) -> String {
    let call = message.json();
    let first = &call["params"][0];
    first
        .get("blockHash")
        .or_else(|| first.get("headBlockHash"))
        .and_then(|h| h.as_str())
        .unwrap()
        .to_owned()
}

/// Says VALID to everything, echoing the id.
pub fn valid(message: &Message) -> Reply {
    let call = message.json();
    let (id, hash) = (&call["id"], hash_in(message));
    if call["method"].as_str().unwrap().starts_with("engine_newPayload") {
        ok(&format!(
            r#"{{"jsonrpc":"2.0","extra":[1],"id":{id},"result":{{"status":"VALID","witness":"0x00","latestValidHash":"{hash}","validationError":null}}}}"#
        ))
    } else {
        ok(&format!(
            r#"{{"id":{id},"result":{{"payloadStatus":{{"status":"VALID","latestValidHash":"{hash}","validationError":null}},"payloadId":"0x0102030405060708"}}}}"#
        ))
    }
}

pub fn short() -> Duration {
    Duration::from_millis(300)
}
