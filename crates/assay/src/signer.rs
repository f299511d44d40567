//! The keys that the settings name: keystores, decrypted, and a remote signer.

use crate::config::NodeConfig;
use anyhow::Context;
use assay_prover::{KeySigner, LocalKeys, Web3Signer};
use std::sync::Arc;

/// Who holds keys, in the order in which they are asked; none where the settings name none. Decrypting takes seconds a
/// keystore: off the async threads.
pub(crate) fn key_signers(config: &NodeConfig) -> anyhow::Result<Vec<Arc<dyn KeySigner>>> {
    let mut signers: Vec<Arc<dyn KeySigner>> = Vec::new();
    if let Some(places) = config.keystore_places() {
        let keys = LocalKeys::load(&places).context("--keystores")?;
        tracing::info!(keys = keys.len(), "keystores decrypted");
        signers.push(Arc::new(keys));
    }
    if let Some(settings) = config.web3_signer()? {
        let signer = Web3Signer::new(settings).context("--web3-signer-url")?;
        tracing::info!(url = signer.name(), "remote signer");
        signers.push(Arc::new(signer));
    }
    Ok(signers)
}
