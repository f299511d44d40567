//! What the operator chooses.

use assay_types::ProofType;
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU8, str::FromStr};

/// What a proof is worth at import (design.md, Gate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportPolicy {
    /// The execution client's answer, always; proofs are recorded, served and reported.
    #[default]
    Observe,
    /// VALID only where the execution client says VALID and the payload and its ancestors are proven.
    RequireProofs,
    /// VALID where the execution client says VALID; while it is SYNCING or silent, where the payload is proven on a chain
    /// of EL-VALID or proven ancestors.
    AcceptProofs,
    /// No execution client: VALID where the payload and its ancestors are proven.
    ProofsOnly,
}

impl ImportPolicy {
    /// Every policy. Records hold a policy's place in this list.
    pub const ALL: &'static [Self] = &[
        Self::Observe,
        Self::RequireProofs,
        Self::AcceptProofs,
        Self::ProofsOnly,
    ];

    /// As `--import-policy` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::RequireProofs => "require-proofs",
            Self::AcceptProofs => "accept-proofs",
            Self::ProofsOnly => "proofs-only",
        }
    }

    /// Whether an execution client stands behind the gate.
    pub const fn has_execution_client(self) -> bool {
        !matches!(self, Self::ProofsOnly)
    }
}

impl fmt::Display for ImportPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An import policy that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("import policy {0:?} is not known; one of: observe, require-proofs, accept-proofs, proofs-only")]
pub struct UnknownPolicy(pub String);

impl FromStr for ImportPolicy {
    type Err = UnknownPolicy;
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL
            .iter()
            .copied()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

/// A set of proof types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofTypeSet([u64; 4]);

impl ProofTypeSet {
    /// Every type there can be.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Whether a type is one of them.
    pub const fn contains(&self, proof_type: ProofType) -> bool {
        self.0[(proof_type >> 6) as usize] >> (proof_type & 63) & 1 == 1
    }

    /// The set as four little-endian words, type 0 lowest.
    pub const fn words(&self) -> [u64; 4] {
        self.0
    }

    /// The set of those words.
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self(words)
    }
}

impl fmt::Display for ProofTypeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let members = (0..=ProofType::MAX).filter(|t| self.contains(*t));
        let texts: Vec<String> = members.map(|t| t.to_string()).collect();
        f.write_str(&texts.join(","))
    }
}

impl FromIterator<ProofType> for ProofTypeSet {
    fn from_iter<I: IntoIterator<Item = ProofType>>(types: I) -> Self {
        let mut words = [0; 4];
        for proof_type in types {
            words[usize::from(proof_type >> 6)] |= 1 << (proof_type & 63);
        }
        Self(words)
    }
}

/// `--on-missing-proofs`: what becomes of a payload whose proofs do not come, under `require-proofs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissingProofs {
    /// It stays SYNCING.
    #[default]
    Wait,
    /// Its grace over, the execution client's VALID is enough for it.
    TrustExecution {
        /// `--missing-proofs-grace-slots`: slots from its own, or from when it was first seen if that was later.
        grace_slots: u64,
    },
}

/// The gate's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateConfig {
    /// `--import-policy`
    pub policy: ImportPolicy,
    /// `--required-proofs`: distinct proof types that make a payload proven.
    pub required_proofs: NonZeroU8,
    /// `--required-proof-types`: the types that count.
    pub counted_types: ProofTypeSet,
    /// `--proof-lag`: under `require-proofs`, a payload that the execution client calls VALID is VALID where the ancestor
    /// so many payloads back is proven.
    pub proof_lag: u32,
    /// `--on-missing-proofs`
    pub on_missing_proofs: OnMissingProofs,
    /// `--alert-after-slots`: an alarm when a canonical payload lacks its proofs this many slots after its own.
    pub alert_after_slots: u64,
    /// `--wait-for-proofs`: milliseconds a call may wait for a proof (rule 9).
    pub wait_for_proofs_ms: u64,
    /// `--execution-slow-after`: milliseconds after which the execution client counts as silent, under `accept-proofs`.
    pub execution_slow_after_ms: u64,
    /// `--recursive-proofs`: a proof whose public input names an origin proves the payloads between as well, once that
    /// origin is an anchor or proven with its ancestors. Neither revision's public input names one.
    pub recursive_proofs: bool,
}

/// Slots after which a canonical payload without its proofs is an alarm, where nothing else is set: an epoch.
pub const DEFAULT_ALERT_AFTER_SLOTS: u64 = 32;
/// `--execution-slow-after` where nothing else is set.
pub const DEFAULT_EXECUTION_SLOW_AFTER_MS: u64 = 1000;
/// Longest `--wait-for-proofs`: half of what a beacon node waits for newPayload and fcU (8 s).
pub const MAX_WAIT_FOR_PROOFS_MS: u64 = 4000;
/// Longest `--proof-lag`: eight epochs. A VALID that far from any proof says nothing of proofs any more.
pub const MAX_PROOF_LAG: u32 = 256;

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            policy: ImportPolicy::Observe,
            required_proofs: NonZeroU8::MIN,
            counted_types: ProofTypeSet::ALL,
            proof_lag: 0,
            on_missing_proofs: OnMissingProofs::Wait,
            alert_after_slots: DEFAULT_ALERT_AFTER_SLOTS,
            wait_for_proofs_ms: 0,
            execution_slow_after_ms: DEFAULT_EXECUTION_SLOW_AFTER_MS,
            recursive_proofs: false,
        }
    }
}

/// As the flags have it, for the log.
impl fmt::Display for GateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "import-policy {}, required-proofs {} of types {}, proof-lag {}, on-missing-proofs ",
            self.policy, self.required_proofs, self.counted_types, self.proof_lag
        )?;
        match self.on_missing_proofs {
            OnMissingProofs::Wait => f.write_str("wait")?,
            OnMissingProofs::TrustExecution { grace_slots } => {
                write!(f, "trust-execution after {grace_slots} slots")?;
            }
        }
        write!(
            f,
            ", wait-for-proofs {} ms, execution-slow-after {} ms, alert-after-slots {}",
            self.wait_for_proofs_ms, self.execution_slow_after_ms, self.alert_after_slots
        )?;
        if self.recursive_proofs {
            f.write_str(", recursive-proofs")?;
        }
        Ok(())
    }
}

impl GateConfig {
    /// How far behind a payload its newest proven ancestor may lie.
    pub(crate) const fn lag(&self) -> u32 {
        match self.policy {
            ImportPolicy::RequireProofs => self.proof_lag,
            _ => 0,
        }
    }

    /// The grace of `--on-missing-proofs trust-execution`, where that is in force.
    pub(crate) const fn grace_slots(&self) -> Option<u64> {
        match (self.policy, self.on_missing_proofs) {
            (ImportPolicy::RequireProofs, OnMissingProofs::TrustExecution { grace_slots }) => {
                Some(grace_slots)
            }
            _ => None,
        }
    }

    /// Whether payloads get the same verdicts under both. When what may still wait differs, they do.
    pub(crate) fn judges_as(&self, other: &Self) -> bool {
        (
            self.policy,
            self.required_proofs,
            self.counted_types,
            self.lag(),
            self.grace_slots(),
        ) == (
            other.policy,
            other.required_proofs,
            other.counted_types,
            other.lag(),
            other.grace_slots(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_proof_types() {
        let set: ProofTypeSet = [0, 63, 64, 255].into_iter().collect();
        let members: Vec<u8> = (0..=255).filter(|t| set.contains(*t)).collect();
        assert_eq!(members, [0, 63, 64, 255]);
        assert_eq!(ProofTypeSet::from_words(set.words()), set);
        assert!((0..=255).all(|t| ProofTypeSet::ALL.contains(t)));
        assert_eq!(set.to_string(), "0,63,64,255");
    }

    #[test]
    fn settings_are_shown_as_the_flags_have_them() {
        let config = GateConfig {
            counted_types: [2, 5].into_iter().collect(),
            on_missing_proofs: OnMissingProofs::TrustExecution { grace_slots: 8 },
            ..GateConfig::default()
        };
        assert_eq!(
            config.to_string(),
            "import-policy observe, required-proofs 1 of types 2,5, proof-lag 0, on-missing-proofs trust-execution after \
             8 slots, wait-for-proofs 0 ms, execution-slow-after 1000 ms, alert-after-slots 32"
        );
    }
}
