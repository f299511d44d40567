//! Protocol values laid over the beacon node's: a config.yaml, then `KEY=VALUE`.

use anyhow::{Context, bail};
use assay_chain::ConnectError;
use assay_types::{
    Revision,
    spec::{ConfigMap, SpecError, is_setting},
};
use std::path::Path;

/// Largest config.yaml that is read.
const MAX_NETWORK_CONFIG_BYTES: u64 = 1 << 20;

/// The file's values, over them the revision, and over that the `KEY=VALUE`s. Keys that no setting of the protocol is called after are left out
/// of the file, which has many more, and refused where they were given by hand.
pub fn spec_overrides(
    file: Option<&Path>,
    revision: Option<Revision>,
    pairs: &[String],
) -> anyhow::Result<ConfigMap> {
    let mut overrides = match file {
        Some(path) => read_file(path).with_context(|| path.display().to_string())?,
        None => ConfigMap::new(),
    };
    if let Some(revision) = revision {
        overrides.retain(|key, _| !key.starts_with("EIP8025_REVISION"));
        overrides.insert("EIP8025_REVISION".to_owned(), revision.as_str().into());
    }
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--spec {pair:?}: KEY=VALUE expected");
        };
        let key = key.trim().to_ascii_uppercase();
        if !is_setting(&key) {
            return Err(SpecError::UnknownKey(key)).context(format!("--spec {pair}"));
        }
        overrides.insert(key, value.trim().into());
    }
    Ok(overrides)
}

/// The setting that a network's values cannot be used because of: `--spec` or `--network-config` where what they lay over is
/// wrong, else `--beacon-node`.
pub(crate) fn setting_of(error: &ConnectError, overrides: &ConfigMap, pairs: &[String]) -> &'static str {
    let ConnectError::Spec(SpecError::Value { key, .. } | SpecError::UnknownKey(key)) = error else {
        return "--beacon-node";
    };
    let keys = pairs.iter().filter_map(|pair| pair.split_once('='));
    match keys.map(|(k, _)| k.trim()).any(|k| k.eq_ignore_ascii_case(key)) {
        true => "--spec",
        false if overrides.contains_key(key) => "--network-config",
        false => "--beacon-node",
    }
}

fn read_file(path: &Path) -> anyhow::Result<ConfigMap> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_NETWORK_CONFIG_BYTES {
        bail!("{size} bytes: too large for a config.yaml");
    }
    let text = std::fs::read_to_string(path)?;
    let mut values: ConfigMap = serde_saphyr::from_str(&text)?;
    values.retain(|key, _| is_setting(key));
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::{Epoch, ForkName, ForkVersion, Spec};

    #[test]
    fn a_config_yaml_is_laid_over_and_pairs_come_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let yaml = "# a devnet\nPRESET_BASE: 'minimal'\nFULU_FORK_VERSION: 0x60000038\nFULU_FORK_EPOCH: 3\n\
                    MAX_PROOF_SIZE: 409600\nDOMAIN_EXECUTION_PROOF: 0x0D000000\nTERMINAL_TOTAL_DIFFICULTY: 0\n\
                    BLOB_SCHEDULE:\n  - EPOCH: 5\n    MAX_BLOBS_PER_BLOCK: 12\n";
        std::fs::write(&path, yaml).unwrap();
        let pairs = ["max_proof_size=1000".to_owned()];
        let overrides = spec_overrides(Some(&path), None, &pairs).unwrap();
        let spec = Spec::from_config(&Spec::minimal().to_config(), &overrides).unwrap();
        assert_eq!(spec.max_proof_size, 1000);
        assert_eq!(spec.domain_execution_proof, [0x0d, 0, 0, 0]);
        assert_eq!(spec.fork_epoch(ForkName::Fulu), Some(Epoch(3)));
        assert_eq!(
            spec.fork_version_at_epoch(Epoch(3)),
            ForkVersion([0x60, 0, 0, 0x38])
        );
        assert_eq!(spec.blob_schedule.len(), 1);
    }

    #[test]
    fn the_revision_is_over_the_file_and_under_the_pairs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "EIP8025_REVISION: alpha\nEIP8025_REVISION_GLOAS: beta\n").unwrap();
        let node = Spec::minimal().to_config();
        let revisions = |file: bool, flag, pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            let overrides = spec_overrides(file.then_some(path.as_path()), flag, &pairs).unwrap();
            let spec = Spec::from_config(&node, &overrides).unwrap();
            [ForkName::Fulu, ForkName::Gloas].map(|fork| spec.revision_at(fork))
        };
        use Revision::{Alpha, Beta};
        assert_eq!(revisions(false, None, &[]), [Alpha, Beta]);
        assert_eq!(revisions(true, None, &[]), [Alpha, Beta]);
        assert_eq!(revisions(true, Some(Alpha), &[]), [Alpha, Alpha]);
        assert_eq!(revisions(false, Some(Beta), &[]), [Beta, Beta]);
        let pair = ["EIP8025_REVISION_FULU=alpha"];
        assert_eq!(revisions(false, Some(Beta), &pair), [Alpha, Beta]);
        assert_eq!(
            revisions(false, None, &["EIP8025_REVISION=alpha"]),
            [Alpha, Alpha]
        );
    }

    #[test]
    fn a_pair_that_is_none_or_names_nothing_is_refused() {
        assert!(spec_overrides(None, None, &["MAX_PROOF_SIZE".to_owned()]).is_err());
        let error = spec_overrides(None, None, &["max_prof_size=1".to_owned()]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "--spec max_prof_size=1: no setting of the protocol is called MAX_PROF_SIZE"
        );
    }

    #[test]
    fn a_value_that_cannot_be_used_is_blamed_on_the_setting_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "MAX_PROOF_SIZE: abc\n").unwrap();
        let (right, wrong) = (Spec::minimal().to_config(), "max_proof_size=abc".to_owned());
        let mut theirs = right.clone();
        theirs.insert("MAX_PROOF_SIZE".to_owned(), "abc".into());
        for (node, file, pairs, flag) in [
            (&right, false, vec![wrong.clone()], "--spec"),
            (&right, true, vec![], "--network-config"),
            (&right, true, vec![wrong.clone()], "--spec"),
            (&theirs, false, vec![], "--beacon-node"),
            (
                &theirs,
                false,
                vec!["FULU_FORK_EPOCH=3".to_owned()],
                "--beacon-node",
            ),
        ] {
            let overrides = spec_overrides(file.then_some(path.as_path()), None, &pairs).unwrap();
            let error = Spec::from_config(node, &overrides).unwrap_err();
            assert_eq!(
                setting_of(&error.into(), &overrides, &pairs),
                flag,
                "{file} {pairs:?}"
            );
        }
    }
}
