//! The gate's settings: what the import policy is, what it needs, and what has no meaning under it.

use super::{ConfigError, NodeConfig};
use assay_gate::{
    GateConfig, ImportPolicy, OnMissingProofs, ProofTypeSet,
    machine::{MAX_PROOF_LAG, MAX_WAIT_FOR_PROOFS_MS},
};
use assay_types::{ProofType, Root, Slot};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU8;

/// Names of `--import-policy` that this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportPolicyName {
    /// The execution client's answer, always
    Observe,
    /// VALID only what the execution client calls VALID and is proven, ancestors included
    RequireProofs,
    /// The execution client's VALID; while it is SYNCING or silent, what is proven
    AcceptProofs,
    /// No execution client: VALID what is proven, ancestors included
    ProofsOnly,
}

/// Names of `--on-missing-proofs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissingProofsName {
    /// The payload and its descendants stay SYNCING
    Wait,
    /// After --missing-proofs-grace-slots the execution client's VALID is enough for it
    TrustExecution,
}

impl From<ImportPolicyName> for ImportPolicy {
    fn from(name: ImportPolicyName) -> Self {
        match name {
            ImportPolicyName::Observe => Self::Observe,
            ImportPolicyName::RequireProofs => Self::RequireProofs,
            ImportPolicyName::AcceptProofs => Self::AcceptProofs,
            ImportPolicyName::ProofsOnly => Self::ProofsOnly,
        }
    }
}

impl std::fmt::Display for ImportPolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(ImportPolicy::from(*self).as_str())
    }
}

/// `--trusted-checkpoint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedCheckpoint {
    /// The beacon block's root.
    pub root: Root,
    /// Its slot.
    pub slot: Slot,
}

impl NodeConfig {
    /// Proof types that count for `--required-proofs`.
    pub fn counted_types(&self) -> &[ProofType] {
        match self.required_proof_types.as_slice() {
            [] => &self.proof_types,
            types => types,
        }
    }

    /// Under `observe`, where no answer depends on it: more proofs are required than types count. The other policies refuse it.
    /// The settings are settled.
    pub(crate) fn never_proven(&self) -> Option<String> {
        let (required, counted) = (self.required_proofs, self.counted_types().len());
        (!self.proof_engine_endpoint.is_empty() && required > counted).then(|| {
            format!("--required-proofs {required}, and {counted} proof types count: no payload is ever called proven")
        })
    }

    /// The gate's settings. `verifies`: whether any proof can be verified; where none can, none is missing.
    pub fn gate(&self, verifies: bool) -> Result<GateConfig, ConfigError> {
        let required_proofs = u8::try_from(self.required_proofs).ok().and_then(NonZeroU8::new);
        Ok(GateConfig {
            policy: self.import_policy.into(),
            required_proofs: required_proofs.ok_or(ConfigError::Value {
                flag: "required-proofs",
                why: "1 to 255".into(),
            })?,
            counted_types: match self.required_proof_types.is_empty() {
                true => ProofTypeSet::ALL,
                false => self.required_proof_types.iter().copied().collect(),
            },
            proof_lag: self.proof_lag,
            on_missing_proofs: match self.on_missing_proofs {
                OnMissingProofsName::Wait => OnMissingProofs::Wait,
                OnMissingProofsName::TrustExecution => OnMissingProofs::TrustExecution {
                    grace_slots: self.missing_proofs_grace_slots,
                },
            },
            alert_after_slots: if verifies {
                self.alert_after_slots
            } else {
                u64::MAX
            },
            wait_for_proofs_ms: self.wait_for_proofs,
            execution_slow_after_ms: self.execution_slow_after,
            recursive_proofs: self.recursive_proofs,
        })
    }

    /// `--trusted-checkpoint`, read.
    pub fn checkpoint(&self) -> Result<Option<TrustedCheckpoint>, ConfigError> {
        let Some(text) = &self.trusted_checkpoint else {
            return Ok(None);
        };
        let read = text
            .split_once(':')
            .and_then(|(root, slot)| Some((root.trim().parse().ok()?, slot.trim().parse().ok()?)));
        let Some((root, slot)) = read else {
            return Err(ConfigError::Value {
                flag: "trusted-checkpoint",
                why: format!("{text:?}: a block root (0x and 64 hex digits), a colon, a slot"),
            });
        };
        Ok(Some(TrustedCheckpoint {
            root,
            slot: Slot(slot),
        }))
    }
}

/// What the import policy needs, and what has no meaning under it.
pub(super) fn check_gate(config: &NodeConfig) -> Result<(), ConfigError> {
    use ImportPolicyName::{AcceptProofs, Observe, ProofsOnly, RequireProofs};
    let policy = config.import_policy;
    let wrong = |flag, why: String| Err(ConfigError::Value { flag, why });
    match (policy, config.execution_endpoint.is_empty()) {
        (RequireProofs | AcceptProofs, true) => {
            let why = format!("needed with --import-policy {policy}: the gate stands in front of it");
            return wrong("execution-endpoint", why);
        }
        (ProofsOnly, false) => {
            let why = "none with --import-policy proofs-only; accept-proofs goes by both".to_owned();
            return wrong("execution-endpoint", why);
        }
        (ProofsOnly, true) if config.engine_jwt.is_none() && config.execution_jwt.is_empty() => {
            let why =
                "needed with --import-policy proofs-only: the secret the beacon node has too".to_owned();
            return wrong("engine-jwt", why);
        }
        _ => {}
    }
    if policy != Observe && config.proof_engine_endpoint.is_empty() {
        let why = format!("needed with --import-policy {policy}: nothing could be proven");
        return wrong("proof-engine-endpoint", why);
    }
    let counted = config.counted_types();
    if let Some(other) = counted.iter().find(|t| !config.proof_types.contains(t)) {
        let why = format!("{other} is none of --proof-types, so it is never verified");
        return wrong("required-proof-types", why);
    }
    let distinct: std::collections::BTreeSet<_> = counted.iter().collect();
    if distinct.len() != counted.len() {
        return wrong("required-proof-types", "a type stands there twice".to_owned());
    }
    if policy != Observe && config.required_proofs > counted.len() {
        let why = "more than there are types that count: no payload could ever be proven".to_owned();
        return wrong("required-proofs", why);
    }
    if policy != RequireProofs && config.proof_lag > 0 {
        let why = format!("only with --import-policy require-proofs, this is {policy}");
        return wrong("proof-lag", why);
    }
    if config.proof_lag > MAX_PROOF_LAG {
        return wrong("proof-lag", format!("{MAX_PROOF_LAG} at most"));
    }
    if policy != RequireProofs && config.on_missing_proofs != OnMissingProofsName::Wait {
        let why = format!("only with --import-policy require-proofs, this is {policy}");
        return wrong("on-missing-proofs", why);
    }
    if config.missing_proofs_grace_slots == 0 {
        let why = "at least 1; without any grace --import-policy observe is the same".to_owned();
        return wrong("missing-proofs-grace-slots", why);
    }
    if policy == Observe && config.wait_for_proofs > 0 {
        let why = "under --import-policy observe no answer depends on a proof".to_owned();
        return wrong("wait-for-proofs", why);
    }
    if config.wait_for_proofs > MAX_WAIT_FOR_PROOFS_MS {
        let why = format!("{MAX_WAIT_FOR_PROOFS_MS} at most: the beacon node gives up after 8000");
        return wrong("wait-for-proofs", why);
    }
    if config.execution_slow_after == 0 || config.execution_slow_after > MAX_WAIT_FOR_PROOFS_MS {
        return wrong("execution-slow-after", format!("1 to {MAX_WAIT_FOR_PROOFS_MS}"));
    }
    config.checkpoint().map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn more_required_proofs_than_types_that_count_are_told() {
        for (required, types, counted, engine, told) in [
            (3, &[1][..], &[][..], "dev", true),
            (2, &[1, 2], &[2], "dev", true),
            (1, &[1], &[], "dev", false),
            (2, &[1, 2], &[], "dev", false),
            (3, &[1], &[], "", false),
        ] {
            let config = NodeConfig {
                required_proofs: required,
                proof_types: types.to_vec(),
                required_proof_types: counted.to_vec(),
                proof_engine_endpoint: [engine]
                    .iter()
                    .filter(|e| !e.is_empty())
                    .map(|e| (*e).to_owned())
                    .collect(),
                ..NodeConfig::default()
            };
            check_gate(&config).unwrap();
            assert_eq!(
                config.never_proven().is_some(),
                told,
                "{required} {types:?} {counted:?}"
            );
        }
    }

    #[test]
    fn a_trusted_checkpoint_is_read() {
        let config = NodeConfig {
            trusted_checkpoint: Some(format!("0x{}:123", "ab".repeat(32))),
            ..NodeConfig::default()
        };
        check_gate(&config).unwrap();
        let read = config.checkpoint().unwrap().unwrap();
        assert_eq!((read.root, read.slot), (Root::from([0xab; 32]), Slot(123)));
    }
}
