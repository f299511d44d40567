//! What is said of proof types' numbers by file, environment and flags is put together, where other settings are laid over
//! each other: a number stands for one program, whoever says so.

use super::{ConfigError, NodeConfig};
use assay_native_verifiers::VerifierSetting;
use assay_proof_engine::proof_types::ProofTypeDefinition;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The settings that are put together.
const KEYS: [&str; 3] = ["proof-type", "native-verifier", "proof-engine-types"];

/// What one of file, environment and flags says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Layer {
    #[serde(deserialize_with = "ProofTypeDefinition::several")]
    proof_type: Vec<ProofTypeDefinition>,
    #[serde(deserialize_with = "VerifierSetting::several")]
    native_verifier: Vec<VerifierSetting>,
    #[serde(deserialize_with = "super::forms::one_or_many")]
    proof_engine_types: Vec<String>,
}

impl Layer {
    /// Each part that is said: the number (of a revision, where a name is), the part, its value, and which of `KEYS` says it.
    fn parts(&self) -> Vec<(String, &'static str, String, &'static str)> {
        let [table, verifier, names] = KEYS;
        let tables = self.proof_type.iter().map(|d| (d, table));
        let verifiers = self.native_verifier.iter().map(|v| (v.definition(), verifier));
        let mut all = Vec::new();
        for (definition, key) in tables.chain(verifiers) {
            let parts = definition.parts().into_iter().filter(|(part, _)| *part != "type");
            all.extend(parts.map(|(part, value)| (definition.proof_type.to_string(), part, value, key)));
        }
        // What is no name is told where they are read.
        let named = self
            .proof_engine_types
            .iter()
            .filter_map(|text| text.split_once('='));
        all.extend(named.map(|(number, name)| (number.trim().into(), "name", name.trim().into(), names)));
        all
    }
}

fn add<T: PartialEq>(to: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

/// The settings, with what all `layers` say of numbers; each layer with how a key of it is called where it stands.
///
/// # Errors
/// Where two layers say different things of one number: both places.
pub(super) fn put_together(
    mut config: NodeConfig,
    layers: Vec<(Layer, impl Fn(&str) -> String)>,
) -> Result<NodeConfig, ConfigError> {
    let mut said: BTreeMap<(String, &str), (String, String)> = BTreeMap::new();
    for (layer, place_of) in &layers {
        // Within a layer it is told by `check`.
        let mut now = BTreeMap::new();
        for (number, part, value, key) in layer.parts() {
            let place = place_of(key);
            match said.get(&(number.clone(), part)) {
                Some((before, by)) if *before != value => {
                    return Err(ConfigError::Read(format!(
                        "proof type {number} is defined twice: {part} is {before:?} by {by} and {value:?} by {place}; a number \
                         stands for one program"
                    )));
                }
                _ => now.entry((number, part)).or_insert((value, place)),
            };
        }
        said.append(&mut now);
    }
    (
        config.proof_type,
        config.native_verifier,
        config.proof_engine_types,
    ) = Default::default();
    for (layer, _) in layers {
        add(&mut config.proof_type, layer.proof_type);
        add(&mut config.native_verifier, layer.native_verifier);
        add(&mut config.proof_engine_types, layer.proof_engine_types);
    }
    Ok(config)
}
