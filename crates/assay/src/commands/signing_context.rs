//! Under which domain `sign` and `verify` work: given by hand, or asked of a beacon node.

use anyhow::{Context, bail};
use assay_chain::{ConnectError, node_api::NodeError};
use assay_types::{
    Epoch, ForkName, ForkVersion, Revision, Root, Slot, Spec,
    spec::{ConfigMap, Genesis},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// How long a beacon node may take to tell its network.
const BEACON_NODE_TIMEOUT: Duration = Duration::from_secs(10);

/// The domain's parts.
#[derive(Debug, Clone, Args)]
pub struct SigningContextArgs {
    /// Beacon node whose genesis and fork schedule are taken; needs --slot
    #[arg(long, value_name = "URL", requires = "slot", conflicts_with_all = ["fork_version", "genesis_validators_root"])]
    pub beacon_node: Option<String>,
    /// Slot of the payload
    #[arg(long, value_name = "SLOT")]
    pub slot: Option<u64>,
    /// Fork version at the payload's epoch, as 0x and 8 hex digits
    #[arg(long, value_name = "HEX", requires = "genesis_validators_root")]
    pub fork_version: Option<ForkVersion>,
    /// Root of the genesis validator set
    #[arg(long, value_name = "HEX", requires = "fork_version")]
    pub genesis_validators_root: Option<Root>,
    /// The network's config.yaml, laid over what the beacon node says
    #[arg(long, value_name = "FILE")]
    pub network_config: Option<PathBuf>,
    /// The state of the EIP-8025 texts; else beta from Gloas on and alpha before
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<Revision>,
    /// One protocol value by its upper-case name, e.g. DOMAIN_EXECUTION_PROOF=0x0D000000; comes last, may be repeated
    #[arg(long = "spec", value_name = "KEY=VALUE")]
    pub spec: Vec<String>,
}

/// Everything a signing root depends on besides the proof.
#[derive(Debug, Clone)]
pub struct SigningContext {
    /// The network's values.
    pub spec: Spec,
    /// Its genesis.
    pub genesis: Genesis,
    /// The payload's epoch.
    pub epoch: Epoch,
}

impl SigningContextArgs {
    /// The context, from the flags or the beacon node.
    pub fn resolve(&self) -> anyhow::Result<SigningContext> {
        let overrides =
            crate::config::spec_overrides(self.network_config.as_deref(), self.revision, &self.spec)?;
        if let Some(url) = &self.beacon_node {
            let slot = Slot(self.slot.context("--slot is needed with --beacon-node")?);
            let (spec, genesis) = from_beacon_node(url, &overrides)?;
            let epoch = spec.epoch_at_slot(slot);
            return Ok(SigningContext { spec, genesis, epoch });
        }
        let (Some(version), Some(genesis_validators_root)) =
            (self.fork_version, self.genesis_validators_root)
        else {
            bail!("give --beacon-node and --slot, or --fork-version and --genesis-validators-root");
        };
        let mut base = Spec::mainnet().to_config();
        base.extend(overrides);
        let mut spec = Spec::from_config(&base, &ConfigMap::new())?;
        spec.fork_schedule = vec![(ForkName::Fulu, version, Epoch(0))];
        Ok(SigningContext {
            spec,
            genesis: Genesis {
                genesis_time: 0,
                genesis_validators_root,
            },
            epoch: Epoch(0),
        })
    }
}

/// A beacon node's network, asked for once.
pub(super) fn from_beacon_node(url: &str, overrides: &ConfigMap) -> anyhow::Result<(Spec, Genesis)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asking = assay_chain::ask_network(url, overrides);
    let told = runtime
        .block_on(async { tokio::time::timeout(BEACON_NODE_TIMEOUT, asking).await })
        .unwrap_or(Err(ConnectError::Node(NodeError::Timeout(BEACON_NODE_TIMEOUT))));
    match told {
        Err(ConnectError::Node(error)) => {
            let shown = crate::config::shown_endpoint(url);
            bail!("the beacon node at {shown} does not tell its network: {error}")
        }
        told => Ok(told?),
    }
}
