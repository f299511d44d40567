//! The consensus side of the Engine API: what one beacon node calls, and when.
//!
//! newPayload for each block in order, the next after the answer to the one before; then forkchoiceUpdated, and again in
//! every slot, as nodes do that always prepare a payload. A call without an answer is made again.

use crate::{
    SimBlock,
    follower::{Follower, Reorg},
};
use assay_engine_api::{ClientError, EngineClient, ForkchoiceStateV1};
use assay_types::BlockHash;
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
    pub async fn new_payload(&self, block: &Arc<SimBlock>) -> bool {
        let Some(payload) = &block.payload else {
            return true;
        };
        self.follower.calling(block);
        let answer = until_answered("newPayload", || self.client.new_payload(&payload.request)).await;
        self.follower.answered(block.block_hash(), answer.status.as_str());
        matches!(answer.status.as_str(), "VALID" | "SYNCING" | "ACCEPTED")
    }

    /// Tells the endpoint of the head.
    pub async fn forkchoice_updated(&self, view: &ForkchoiceView) {
        let head = view.head.block_hash();
        let state = ForkchoiceStateV1 {
            head_block_hash: head,
            safe_block_hash: view.safe,
            finalized_block_hash: view.finalized,
        };
        let fork = view.head.fork;
        let answer = until_answered("forkchoiceUpdated", || {
            self.client.forkchoice_updated(fork, &state, None)
        })
        .await;
        self.follower
            .answered(head, answer.payload_status.status.as_str());
    }

    /// Imports a payload that came in an envelope and was answered.
    pub fn reveal(&self, block: &SimBlock) {
        self.follower.reveal(block);
    }

    /// Imports a block whose payload was answered, or has not come yet (Gloas).
    pub fn import(&self, block: &Arc<SimBlock>, make_head: bool) {
        let reorg = self
            .follower
            .head()
            .filter(|old| make_head && old.block_root != block.parent_root)
            .map(|old| {
                let depth = old.slot.0.saturating_sub(block.slot.0.saturating_sub(1)).max(1);
                Reorg { old, depth }
            });
        self.follower.import(block, make_head, reorg);
    }
}

async fn until_answered<T, F: Future<Output = Result<T, ClientError>>>(
    what: &str,
    call: impl Fn() -> F,
) -> T {
    let mut told = false;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                if !told {
                    tracing::warn!(call = what, %error, "no answer from the engine endpoint; asking again");
                    told = true;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
