//! `Spec` from a beacon node's config and back.
//!
//! Nodes differ: values are strings mostly, numbers sometimes; old nodes know no later forks, `SECONDS_PER_SLOT` but
//! not `SLOT_DURATION_MS`; some leave the preset's values out. What is absent and has a default takes it; what stands
//! there and cannot be read is an error that names the key.

use super::{BlobParameters, MAX_PROOF_SIZE_CEILING, Spec, SpecError};
use crate::{
    fork::ForkName,
    primitives::{Epoch, ForkVersion, ProofType, to_hex},
};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// `/eth/v1/config/spec`'s `data`, or a config.yaml read as JSON: upper-case keys; values strings, numbers or lists.
pub type ConfigMap = Map<String, Value>;

/// Every key that is read, from the node's config and as an override, with its meaning. Beside them, for each fork:
/// `<FORK>_FORK_VERSION`, `<FORK>_FORK_EPOCH` (the first fork's prefix is `GENESIS` and has no epoch) and
/// `EIP8025_REVISION_<FORK>` (`PHASE0` for the first), the revision of that fork's payloads.
pub const SETTINGS: &[(&str, &str)] = &[
    ("CONFIG_NAME", "the network's name"),
    ("PRESET_BASE", "mainnet or minimal"),
    ("DEPOSIT_CHAIN_ID", "the execution chain's id"),
    ("SLOTS_PER_EPOCH", "slots in an epoch"),
    ("SLOT_DURATION_MS", "milliseconds in a slot"),
    (
        "SECONDS_PER_SLOT",
        "seconds in a slot, where SLOT_DURATION_MS is not given",
    ),
    ("BLOB_SCHEDULE", "list of {EPOCH, MAX_BLOBS_PER_BLOCK} (EIP-7892)"),
    (
        "MAX_BLOBS_PER_BLOCK_ELECTRA",
        "blob limit before the first entry of BLOB_SCHEDULE",
    ),
    (
        "MAX_WITHDRAWALS_PER_PAYLOAD",
        "withdrawals in a payload; roots depend on it",
    ),
    (
        "MAX_PAYLOAD_SIZE",
        "largest gossip message of the other topics, bytes",
    ),
    (
        "GOSSIP_MAX_SIZE",
        "older name of MAX_PAYLOAD_SIZE, where that is not given",
    ),
    ("MAX_REQUEST_BLOCKS_DENEB", "identifiers in one by-root request"),
    (
        "EIP8025_REVISION",
        "alpha or beta: which state of the EIP-8025 texts holds; where absent, beta from Gloas on and alpha before",
    ),
    (
        "NEW_PAYLOAD_REQUEST_FORM",
        "A, B or C: how a Gloas NewPayloadRequest merkleises",
    ),
    (
        "PROOF_DATA_FORM",
        "progressive or bytelist; where absent, as the revision says",
    ),
    ("MAX_PROOF_SIZE", "bytes of proof_data"),
    ("DOMAIN_EXECUTION_PROOF", "signing domain, four bytes of hex"),
    (
        "MAX_EXECUTION_PROOFS_PER_PAYLOAD",
        "proof types in requests and status, proofs served for a payload",
    ),
    (
        "SUPPORTED_PROOF_TYPES",
        "the proof types that beta knows, as 1,2,3; a proof of another is rejected",
    ),
    (
        "MIN_REQUIRED_EXECUTION_PROOFS",
        "for engine_verifyNewPayloadRequestHeaderV1 alone",
    ),
];

/// Where the later of two keys is absent, the earlier is read. An override for either must win over both.
const SYNONYMS: &[(&str, &str)] = &[
    ("SLOT_DURATION_MS", "SECONDS_PER_SLOT"),
    ("MAX_PAYLOAD_SIZE", "GOSSIP_MAX_SIZE"),
];

const FORK_EPOCH: &str = "_FORK_EPOCH";
const FORK_VERSION: &str = "_FORK_VERSION";
const REVISION_OF: &str = "EIP8025_REVISION_";

impl Spec {
    /// From a beacon node's config, overrides last. Unknown keys of the node are passed over; of the overrides, refused.
    pub fn from_config(config: &ConfigMap, overrides: &ConfigMap) -> Result<Self, SpecError> {
        if let Some(key) = overrides.keys().find(|key| !is_setting(key)) {
            return Err(SpecError::UnknownKey(key.clone()));
        }
        let mut merged = config.clone();
        for (key, synonym) in SYNONYMS {
            if overrides.contains_key(*synonym) {
                merged.remove(*key);
            }
        }
        merged.extend(overrides.iter().map(|(key, value)| (key.clone(), value.clone())));

        // Whoever fixes the revision fixes that of every fork not named beside it.
        if overrides.contains_key("EIP8025_REVISION") {
            merged.retain(|key, _| !key.starts_with(REVISION_OF) || overrides.contains_key(key));
        }

        let config = Reader(&merged);
        let preset = config
            .named("PRESET_BASE")?
            .ok_or(SpecError::Missing("PRESET_BASE"))?;
        let mut spec = Self::of_preset(preset);
        spec.config_name = config.text("CONFIG_NAME")?.unwrap_or("unnamed").to_owned();
        spec.chain_id = config
            .number("DEPOSIT_CHAIN_ID", 0, u64::MAX)?
            .ok_or(SpecError::Missing("DEPOSIT_CHAIN_ID"))?;
        spec.slot_duration_ms = match config.number("SLOT_DURATION_MS", 1, u64::MAX)? {
            Some(ms) => ms,
            None => {
                let seconds = config.number("SECONDS_PER_SLOT", 1, u64::MAX / 1000)?;
                seconds.ok_or(SpecError::Missing("SLOT_DURATION_MS"))? * 1000
            }
        };
        spec.fork_schedule = config.fork_schedule()?;
        spec.unknown_forks = config.unknown_forks();
        spec.blob_schedule = config.blob_schedule()?;
        if let Some(revision) = config.named("EIP8025_REVISION")? {
            spec.revision = revision;
            spec.revision_by_fork.clear();
        }
        for (fork, key) in ForkName::ALL.iter().map(|fork| (*fork, revision_key(*fork))) {
            if let Some(revision) = config.named(&key)? {
                spec.revision_by_fork.insert(fork, revision);
            }
        }
        set(
            &mut spec.new_payload_request_form,
            config.named("NEW_PAYLOAD_REQUEST_FORM")?,
        );
        spec.proof_data_form = config.named("PROOF_DATA_FORM")?;
        set(
            &mut spec.domain_execution_proof,
            config.four_bytes("DOMAIN_EXECUTION_PROOF")?,
        );
        set(
            &mut spec.supported_proof_types,
            config.proof_types("SUPPORTED_PROOF_TYPES")?,
        );
        set(
            &mut spec.max_payload_size,
            config.number("GOSSIP_MAX_SIZE", 1, u64::from(u32::MAX))?,
        );
        // Bounds: none may be zero, and none so large that sizes computed from it lose their meaning.
        for (key, field, most) in [
            ("SLOTS_PER_EPOCH", &mut spec.slots_per_epoch, u64::from(u32::MAX)),
            (
                "MAX_BLOBS_PER_BLOCK_ELECTRA",
                &mut spec.max_blobs_per_block_electra,
                4096,
            ),
            (
                "MAX_WITHDRAWALS_PER_PAYLOAD",
                &mut spec.max_withdrawals_per_payload,
                1 << 16,
            ),
            (
                "MAX_PAYLOAD_SIZE",
                &mut spec.max_payload_size,
                u64::from(u32::MAX),
            ),
            (
                "MAX_REQUEST_BLOCKS_DENEB",
                &mut spec.max_request_blocks_deneb,
                1 << 16,
            ),
            ("MAX_PROOF_SIZE", &mut spec.max_proof_size, MAX_PROOF_SIZE_CEILING),
            (
                "MAX_EXECUTION_PROOFS_PER_PAYLOAD",
                &mut spec.max_execution_proofs_per_payload,
                256,
            ),
            (
                "MIN_REQUIRED_EXECUTION_PROOFS",
                &mut spec.min_required_execution_proofs,
                256,
            ),
        ] {
            set(field, config.number(key, 1, most)?);
        }
        Ok(spec)
    }

    /// The same values in the form of `/eth/v1/config/spec`, which `from_config` reads back to an equal `Spec`.
    pub fn to_config(&self) -> ConfigMap {
        let mut config = ConfigMap::new();
        let mut put = |key: &str, value: &dyn fmt::Display| {
            config.insert(key.to_owned(), Value::String(value.to_string()));
        };
        put("CONFIG_NAME", &self.config_name);
        put("PRESET_BASE", &self.preset);
        put("DEPOSIT_CHAIN_ID", &self.chain_id);
        put("SLOTS_PER_EPOCH", &self.slots_per_epoch);
        put("SLOT_DURATION_MS", &self.slot_duration_ms);
        if self.slot_duration_ms.is_multiple_of(1000) {
            put("SECONDS_PER_SLOT", &(self.slot_duration_ms / 1000));
        }
        for (fork, version, epoch) in &self.fork_schedule {
            let prefix = fork.config_prefix();
            put(&format!("{prefix}{FORK_VERSION}"), version);
            if *fork != ForkName::Phase0 {
                put(&format!("{prefix}{FORK_EPOCH}"), epoch);
            }
        }
        for (prefix, epoch) in &self.unknown_forks {
            put(&format!("{prefix}{FORK_EPOCH}"), epoch);
        }
        put("MAX_BLOBS_PER_BLOCK_ELECTRA", &self.max_blobs_per_block_electra);
        put("MAX_WITHDRAWALS_PER_PAYLOAD", &self.max_withdrawals_per_payload);
        put("MAX_PAYLOAD_SIZE", &self.max_payload_size);
        put("MAX_REQUEST_BLOCKS_DENEB", &self.max_request_blocks_deneb);
        put("EIP8025_REVISION", &self.revision);
        for (fork, revision) in &self.revision_by_fork {
            put(&revision_key(*fork), revision);
        }
        put("NEW_PAYLOAD_REQUEST_FORM", &self.new_payload_request_form);
        if let Some(form) = self.proof_data_form {
            put("PROOF_DATA_FORM", &form);
        }
        put("MAX_PROOF_SIZE", &self.max_proof_size);
        put("DOMAIN_EXECUTION_PROOF", &to_hex(&self.domain_execution_proof));
        put(
            "MAX_EXECUTION_PROOFS_PER_PAYLOAD",
            &self.max_execution_proofs_per_payload,
        );
        let types: Vec<String> = self.supported_proof_types.iter().map(u8::to_string).collect();
        put("SUPPORTED_PROOF_TYPES", &types.join(","));
        put(
            "MIN_REQUIRED_EXECUTION_PROOFS",
            &self.min_required_execution_proofs,
        );
        let schedule = self.blob_schedule.iter().map(|entry| {
            serde_json::json!({
                "EPOCH": entry.epoch.to_string(),
                "MAX_BLOBS_PER_BLOCK": entry.max_blobs_per_block.to_string(),
            })
        });
        config.insert("BLOB_SCHEDULE".to_owned(), schedule.collect());
        config
    }
}

fn revision_key(fork: ForkName) -> String {
    format!("{REVISION_OF}{}", fork.as_str().to_ascii_uppercase())
}

/// Whether a key is one that `Spec::from_config` reads.
pub fn is_setting(key: &str) -> bool {
    SETTINGS.iter().any(|(known, _)| *known == key)
        || ForkName::ALL.iter().any(|fork| {
            let prefix = fork.config_prefix();
            key == format!("{prefix}{FORK_VERSION}")
                || (*fork != ForkName::Phase0 && key == format!("{prefix}{FORK_EPOCH}"))
                || key == revision_key(*fork)
        })
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn refuse(key: &str, value: &Value, why: impl Into<String>) -> SpecError {
    SpecError::Value {
        key: key.to_owned(),
        value: match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        why: why.into(),
    }
}

/// Reads single values. `None`: the key is absent, or null.
struct Reader<'a>(&'a ConfigMap);

impl<'a> Reader<'a> {
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, SpecError> {
        self.value(key)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| refuse(key, value, "a text expected"))
            })
            .transpose()
    }

    fn named<T: FromStr>(&self, key: &str) -> Result<Option<T>, SpecError>
    where
        T::Err: fmt::Display,
    {
        self.text(key)?
            .map(|text| {
                text.parse()
                    .map_err(|e: T::Err| refuse(key, &Value::from(text), e.to_string()))
            })
            .transpose()
    }

    fn number(&self, key: &str, least: u64, most: u64) -> Result<Option<u64>, SpecError> {
        self.value(key)
            .map(|value| {
                let n = number_of(key, value)?;
                if (least..=most).contains(&n) {
                    Ok(n)
                } else {
                    Err(refuse(key, value, format!("must be from {least} to {most}")))
                }
            })
            .transpose()
    }

    /// Hex, or the number that YAML and TOML make of unquoted hex.
    fn four_bytes(&self, key: &str) -> Result<Option<[u8; 4]>, SpecError> {
        self.value(key)
            .map(|value| match value {
                Value::String(text) => ForkVersion::from_str(text)
                    .map(|bytes| bytes.0)
                    .map_err(|e| refuse(key, value, e.to_string())),
                other => other
                    .as_u64()
                    .and_then(|n| u32::try_from(n).ok())
                    .map(u32::to_be_bytes)
                    .ok_or_else(|| refuse(key, value, "four bytes of hex expected")),
            })
            .transpose()
    }

    /// `1,2,3`, or a list of numbers or texts; empty is refused.
    fn proof_types(&self, key: &str) -> Result<Option<BTreeSet<ProofType>>, SpecError> {
        self.value(key)
            .map(|value| {
                let no_type = || refuse(key, value, "proof types expected, as 1,2,3");
                let texts: Vec<String> = match value {
                    Value::Array(list) => list
                        .iter()
                        .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                        .collect(),
                    Value::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
                    other => vec![other.to_string()],
                };
                let types: Result<BTreeSet<ProofType>, _> = texts.iter().map(|text| text.parse()).collect();
                types.ok().filter(|types| !types.is_empty()).ok_or_else(no_type)
            })
            .transpose()
    }

    fn fork_schedule(&self) -> Result<Vec<(ForkName, ForkVersion, Epoch)>, SpecError> {
        let genesis = self
            .four_bytes("GENESIS_FORK_VERSION")?
            .ok_or(SpecError::Missing("GENESIS_FORK_VERSION"))?;
        let mut schedule = vec![(ForkName::Phase0, ForkVersion(genesis), Epoch(0))];
        let mut previous = (ForkName::Phase0, Epoch(0));
        for fork in ForkName::ALL.iter().copied().skip(1) {
            let prefix = fork.config_prefix();
            let epoch_key = format!("{prefix}{FORK_EPOCH}");
            let version = self.four_bytes(&format!("{prefix}{FORK_VERSION}"))?;
            let epoch = Epoch(self.number(&epoch_key, 0, u64::MAX)?.unwrap_or(u64::MAX));
            if epoch < previous.1 {
                let why = if previous.1 == Epoch::FAR_FUTURE {
                    format!("{}, the fork before it, is not scheduled", previous.0)
                } else {
                    format!(
                        "{}, the fork before it, begins at epoch {}",
                        previous.0, previous.1
                    )
                };
                return Err(refuse(&epoch_key, &Value::from(epoch.0), why));
            }
            previous = (fork, epoch);
            match version {
                Some(version) => schedule.push((fork, ForkVersion(version), epoch)),
                None if epoch == Epoch::FAR_FUTURE => {}
                None => {
                    let why = format!("the fork is scheduled, but {prefix}{FORK_VERSION} is absent");
                    return Err(refuse(&epoch_key, &Value::from(epoch.0), why));
                }
            }
        }
        Ok(schedule)
    }

    /// Scheduled forks under names this program does not know. Values that are no epochs are passed over.
    fn unknown_forks(&self) -> Vec<(String, Epoch)> {
        let mut forks: Vec<(String, Epoch)> = self
            .0
            .iter()
            .filter_map(|(key, value)| {
                let prefix = key.strip_suffix(FORK_EPOCH)?;
                let known = ForkName::ALL.iter().any(|fork| fork.config_prefix() == prefix);
                let epoch = number_of(key, value).ok().filter(|epoch| *epoch != u64::MAX)?;
                (!known).then(|| (prefix.to_owned(), Epoch(epoch)))
            })
            .collect();
        forks.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        forks
    }

    fn blob_schedule(&self) -> Result<Vec<BlobParameters>, SpecError> {
        const KEY: &str = "BLOB_SCHEDULE";
        let Some(value) = self.value(KEY) else {
            return Ok(Vec::new());
        };
        // An environment variable or a flag can only hold text.
        let parsed: Value;
        let list = match value {
            Value::String(text) => {
                parsed = serde_json::from_str(text).map_err(|e| refuse(KEY, value, e.to_string()))?;
                &parsed
            }
            other => other,
        };
        let list = list
            .as_array()
            .ok_or_else(|| refuse(KEY, value, "a list expected"))?;
        let mut schedule = Vec::with_capacity(list.len());
        for entry in list {
            let field = |name: &str| {
                let found = entry
                    .get(name)
                    .ok_or_else(|| refuse(KEY, entry, format!("an entry has no {name}")))?;
                number_of(KEY, found)
            };
            schedule.push(BlobParameters {
                epoch: Epoch(field("EPOCH")?),
                max_blobs_per_block: field("MAX_BLOBS_PER_BLOCK")?,
            });
        }
        schedule.sort_unstable();
        if let Some(pair) = schedule.windows(2).find(|pair| pair[0].epoch == pair[1].epoch) {
            return Err(refuse(
                KEY,
                value,
                format!("two entries for epoch {}", pair[0].epoch),
            ));
        }
        Ok(schedule)
    }
}

fn number_of(key: &str, value: &Value) -> Result<u64, SpecError> {
    let number = match value {
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    number.ok_or_else(|| refuse(key, value, "a whole number below 2^64 expected"))
}
