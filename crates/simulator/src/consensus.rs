//! The consensus side of the Engine API: what one beacon node calls, and when.
//!
//! newPayload for each block in order, the next after the answer to the one before; then forkchoiceUpdated, and again in
//! every slot, as nodes do that always prepare a payload. A call without an answer is made again.

use crate::{SimBlock, SimError, follower::{Follower, Reorg}};
use assay_engine_api::{client::EngineClient, payload_json};
use assay_types::{BlockHash, ForkName};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Pause before a call that failed is made again.
const RETRY: Duration = Duration::from_millis(250);

/// What a beacon node would tell its execution client of the chain.
#[derive(Debug, Clone)]
pub struct ForkchoiceView {
    /// The head.
    pub head: Arc<SimBlock>,
    /// Payload of the justified block; zero before any.
    pub safe: BlockHash,
    /// Payload of the finalized block; zero before any.
    pub finalized: BlockHash,
}

/// Calls one engine endpoint for one follower.
#[derive(Debug)]
pub struct ConsensusDriver {
    client: EngineClient,
    follower: Arc<Follower>,
}

impl ConsensusDriver {
    /// Towards an endpoint.
    pub fn new(client: EngineClient, follower: Arc<Follower>) -> Self {
        Self { client, follower }
    }

    /// The follower it calls for.
    pub fn follower(&self) -> &Arc<Follower> {
        &self.follower
    }

    /// Gives a payload to the endpoint until there is an answer; true where the block may be imported.
    pub async fn new_payload(&self, block: &Arc<SimBlock>) -> Result<bool, SimError> {
        let Some(payload) = &block.payload else { return Ok(true) };
        let (method, params) = payload_json::new_payload_call(&payload.request);
        self.follower.calling(block);
        let answer = self.call_until_answered(method, params).await;
        let status = answer["status"].as_str().unwrap_or("none").to_owned();
        self.follower.answered(block.block_hash(), &status);
        Ok(matches!(status.as_str(), "VALID" | "SYNCING" | "ACCEPTED"))
    }

    /// Tells the endpoint of the head.
    pub async fn forkchoice_updated(&self, view: &ForkchoiceView) -> Result<(), SimError> {
        let head = view.head.block_hash();
        if head == BlockHash::ZERO {
            return Ok(());
        }
        let method = match view.head.fork {
            ForkName::Bellatrix => "engine_forkchoiceUpdatedV1",
            ForkName::Capella => "engine_forkchoiceUpdatedV2",
            _ => "engine_forkchoiceUpdatedV3",
        };
        let state = json!({
            "headBlockHash": head, "safeBlockHash": view.safe, "finalizedBlockHash": view.finalized,
        });
        let answer = self.call_until_answered(method, json!([state, null])).await;
        if let Some(status) = answer["payloadStatus"]["status"].as_str() {
            self.follower.answered(head, status);
        }
        Ok(())
    }

    /// Imports a block whose payload was answered.
    pub fn import(&self, block: &Arc<SimBlock>, make_head: bool) {
        let reorg = self.follower.head().filter(|old| make_head && old.block_root != block.parent_root).map(|old| {
            let depth = old.slot.0.saturating_sub(block.slot.0.saturating_sub(1)).max(1);
            Reorg { old, depth }
        });
        self.follower.import(block, make_head, reorg);
    }

    async fn call_until_answered(&self, method: &str, params: Value) -> Value {
        let mut told = false;
        loop {
            match self.client.call::<_, Value>(method, &params).await {
                Ok(answer) => return answer,
                Err(error) => {
                    if !told {
                        tracing::warn!(method, %error, "the engine endpoint gave no answer; asking again");
                        told = true;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
