//! Protocol values laid over the beacon node's: a config.yaml, then `KEY=VALUE`.

use anyhow::{Context, bail};
use assay_types::spec::ConfigMap;
use std::path::Path;

/// Largest config.yaml that is read.
const MAX_NETWORK_CONFIG_BYTES: u64 = 1 << 20;

/// The file's values, and over them the `KEY=VALUE`s. Keys that no setting of the protocol is called after are left out
/// of the file, which has many more, and refused by `Spec::from_config` where they were given by hand.
pub fn spec_overrides(file: Option<&Path>, pairs: &[String]) -> anyhow::Result<ConfigMap> {
    let mut overrides = match file {
        Some(path) => read_file(path).with_context(|| path.display().to_string())?,
        None => ConfigMap::new(),
    };
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--spec {pair:?}: KEY=VALUE expected");
        };
        overrides.insert(key.trim().to_ascii_uppercase(), value.trim().into());
    }
    Ok(overrides)
}

fn read_file(path: &Path) -> anyhow::Result<ConfigMap> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_NETWORK_CONFIG_BYTES {
        bail!("{size} bytes: too large for a config.yaml");
    }
    let text = std::fs::read_to_string(path)?;
    let values: ConfigMap = serde_saphyr::from_str(&text)?;
    Ok(values)
}
