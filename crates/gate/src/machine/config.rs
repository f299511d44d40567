//! What the operator chooses.

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
}

impl ImportPolicy {
    /// Every policy.
    pub const ALL: &'static [Self] = &[Self::Observe, Self::RequireProofs];

    /// As `--import-policy` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::RequireProofs => "require-proofs",
        }
    }
}

impl fmt::Display for ImportPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An import policy that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("import policy {0:?} is not known; one of: observe, require-proofs")]
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

/// The gate's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateConfig {
    /// `--import-policy`
    pub policy: ImportPolicy,
    /// `--required-proofs`: distinct proof types that make a payload proven.
    pub required_proofs: NonZeroU8,
    /// `--alert-after-slots`: an alarm when a canonical payload lacks its proofs this many slots after its own.
    pub alert_after_slots: u64,
}

/// Slots after which a canonical payload without its proofs is an alarm, where nothing else is set: an epoch.
pub const DEFAULT_ALERT_AFTER_SLOTS: u64 = 32;

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            policy: ImportPolicy::Observe,
            required_proofs: NonZeroU8::MIN,
            alert_after_slots: DEFAULT_ALERT_AFTER_SLOTS,
        }
    }
}
