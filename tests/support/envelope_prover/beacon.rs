//! What the prover reads of its beacon endpoint: the routes of protocol.md section 9, and no others.

use super::{PATIENCE, wire};
use anyhow::Context;
use assay_types::{BeaconBlockSummary, BlockHash, BlockPayload, ForkName, PublicKeyBytes, Root, Slot, Spec};
use futures::StreamExt;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One answer; blocks and proofs may be megabytes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Before the endpoint is asked again while it is not there.
const RETRY: Duration = Duration::from_millis(300);

/// A Beacon API.
pub(super) struct Beacon {
    http: reqwest::Client,
    base: String,
}

/// The network, and the validator on it.
pub(super) struct Network {
    pub(super) spec: Spec,
    pub(super) chain_id: u64,
    genesis_validators_root: [u8; 32],
    pub(super) validator_index: u64,
}

impl Network {
    /// The domain of proofs of payloads of a slot.
    pub(super) fn domain(&self, slot: Slot) -> [u8; 32] {
        let epoch = self.spec.epoch_at_slot(slot);
        wire::domain(
            self.spec.fork_version_at_epoch(epoch).0,
            &self.genesis_validators_root,
        )
    }
}

impl Beacon {
    pub(super) fn new(base: &str) -> anyhow::Result<Self> {
        assay_engine_api::install_crypto_provider();
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The `data` of an answer of 200.
    async fn data(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(self.url(path)).timeout(TIMEOUT).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        anyhow::ensure!(status == 200, "{path}: {status} {body}");
        let mut body: Value = serde_json::from_str(&body).with_context(|| path.to_owned())?;
        Ok(body["data"].take())
    }

    /// Waits until the endpoint is there and knows the validator as active.
    pub(super) async fn network(&self, key: &PublicKeyBytes) -> anyhow::Result<Network> {
        let began = Instant::now();
        loop {
            match self.read_network(key).await {
                Ok(network) => return Ok(network),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn read_network(&self, key: &PublicKeyBytes) -> anyhow::Result<Network> {
        let config = self.data("/eth/v1/config/spec").await?;
        let chain_id = &config["DEPOSIT_CHAIN_ID"];
        let chain_id = chain_id.as_str().context("no DEPOSIT_CHAIN_ID")?.parse()?;
        let spec = Spec::from_config(config.as_object().context("no config")?, &Map::new())?;
        let genesis = self.data("/eth/v1/beacon/genesis").await?;
        let root: Root = serde_json::from_value(genesis["genesis_validators_root"].clone())?;
        let path = format!("/eth/v1/beacon/states/head/validators/{key}");
        let validator = self.data(&path).await?;
        let status = validator["status"].as_str().context("no status")?;
        anyhow::ensure!(status.starts_with("active"), "the validator is {status}");
        Ok(Network {
            spec,
            chain_id,
            genesis_validators_root: root.0,
            validator_index: validator["index"].as_str().context("no index")?.parse()?,
        })
    }

    /// Tells of every event of a topic, whatever it says; the stream is opened again when it ends.
    pub(super) async fn listen(&self, topic: &str, tell: &watch::Sender<()>) {
        let url = self.url(&format!("/eth/v1/events?topics={topic}"));
        loop {
            if let Ok(answer) = self.http.get(&url).send().await {
                let mut stream = answer.bytes_stream();
                while let Some(Ok(_)) = stream.next().await {
                    tell.send_replace(());
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Roots of the blocks on a parent.
    pub(super) async fn children(&self, parent: &Root) -> anyhow::Result<Vec<Root>> {
        let headers = self
            .data(&format!("/eth/v1/beacon/headers?parent_root={parent}"))
            .await?;
        let roots = headers.as_array().into_iter().flatten();
        let roots = roots.map(|header| serde_json::from_value(header["root"].clone()));
        Ok(roots.collect::<Result<_, _>>()?)
    }

    /// The payload that a block's bid promises, and the block's slot.
    pub(super) async fn bid(&self, root: &Root, spec: &Spec) -> anyhow::Result<(Option<BlockHash>, Slot)> {
        let path = format!("/eth/v2/beacon/blocks/{root}");
        let request = self.http.get(self.url(&path)).timeout(TIMEOUT);
        let answer = request
            .header("accept", "application/octet-stream")
            .send()
            .await?;
        anyhow::ensure!(answer.status() == 200, "{path}: {}", answer.status());
        let version = answer.headers().get("eth-consensus-version");
        let version = version.context("no Eth-Consensus-Version")?.to_str()?;
        let fork: ForkName = version.parse().map_err(|e| anyhow::anyhow!("{version}: {e}"))?;
        let summary = BeaconBlockSummary::from_signed_block_ssz(fork, spec, &answer.bytes().await?)?;
        anyhow::ensure!(
            summary.block_root == *root,
            "{path}: block {}",
            summary.block_root
        );
        Ok((
            match summary.payload {
                BlockPayload::Bid { block_hash, .. } => Some(block_hash),
                _ => None,
            },
            summary.slot,
        ))
    }

    /// Posts SSZ; the status and the body.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<(u16, Value)> {
        let request = self.http.post(self.url(path)).timeout(TIMEOUT);
        let answer = request
            .header("content-type", "application/octet-stream")
            .body(body)
            .send()
            .await?;
        let status = answer.status().as_u16();
        Ok((
            status,
            serde_json::from_str(&answer.text().await?).unwrap_or(Value::Null),
        ))
    }

    /// Kinds of proof that the endpoint serves for a block, in envelopes that name it.
    pub(super) async fn held(&self, block: &Root) -> anyhow::Result<Vec<u8>> {
        let proofs = self
            .data(&format!("/eth/v1/beacon/execution_proofs/{block}"))
            .await?;
        let named = proofs.as_array().into_iter().flatten().filter(|proof| {
            proof["message"]["beacon_block_root"]
                .as_str()
                .is_some_and(|root| root == block.to_string())
        });
        named
            .map(|proof| {
                Ok(proof["message"]["proof_type"]
                    .as_str()
                    .context("no type")?
                    .parse()?)
            })
            .collect()
    }
}
