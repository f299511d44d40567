//! Which proof types are verified, what stands behind each number, and their names.

use super::{ConfigError, EngineKind, NodeConfig, shown_endpoint};
use assay_native_verifiers::VerifierSetting;
use assay_proof_engine::{
    NamesError, ProofTypeNames, RevisionNames,
    proof_types::{self, JudgedBy, ProofTypeDefinition, ProofTypes},
};
use assay_types::{Epoch, ProofType, Revision, Spec, spec::ConfigMap};
use std::sync::Arc;

/// What is verified where nothing is said: under `alpha` the text names none.
const DEFAULT_OF_ALPHA: [ProofType; 1] = [1];
/// The types that `beta`'s text fixes (protocol.md section 1).
const DEFAULT_OF_BETA: [ProofType; 3] = [1, 2, 3];

impl NodeConfig {
    /// These settings on a network (`spec` has the flags laid over it): where no `--proof-types` is given, the types are
    /// filled in.
    ///
    /// # Errors
    /// Where the settings do not hold together with them.
    pub fn settled(&self, spec: &Spec) -> Result<Self, ConfigError> {
        let config = self.on_network(spec);
        if self.proof_types.is_empty() {
            super::checks::check_but_secrets(&config)?;
        }
        Ok(config)
    }

    /// As `settled`, unchecked.
    pub(crate) fn on_network(&self, spec: &Spec) -> Self {
        self.with_types(&default_types(spec))
    }

    /// Holds these settings to a check by one of the revisions that may turn out to hold.
    ///
    /// # Errors
    /// The first, where they do not hold together by any.
    pub(crate) fn some_candidate(
        &self,
        check: impl Fn(&Self) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let mut first = Ok(());
        for candidate in self.candidates() {
            match check(&candidate) {
                Ok(()) => return Ok(()),
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }

    /// These settings for each revision that may turn out to hold: the network's word is not known yet.
    fn candidates(&self) -> Vec<Self> {
        let of = |revision| match revision {
            Revision::Alpha => self.with_types(&DEFAULT_OF_ALPHA),
            Revision::Beta => self.with_types(&DEFAULT_OF_BETA),
        };
        match self.revision {
            _ if !self.own_types().is_empty() => vec![of(Revision::Alpha)],
            Some(revision) => vec![of(revision)],
            None => vec![of(Revision::Alpha), of(Revision::Beta)],
        }
    }

    /// As `settled`, before the network is known: by `--revision`, without it as for `alpha`.
    pub(crate) fn provisional(&self) -> Self {
        let first = self.candidates().into_iter().next();
        first.unwrap_or_else(|| self.clone())
    }

    /// The types that these settings name, preferred first: `--proof-types`; else the numbers that are defined, and beside
    /// them those of the endpoints where each endpoint names its types. None where the text's default holds.
    fn own_types(&self) -> Vec<ProofType> {
        if !self.proof_types.is_empty() {
            return self.proof_types.clone();
        }
        let native = self.native_verifier.iter().map(|v| v.definition().proof_type);
        let defined = self.proof_type.iter().map(|d| d.proof_type).chain(native);
        // What cannot be read is told by `check_engines`.
        let endpoints = self.engine_endpoints().unwrap_or_default();
        let named = endpoints.iter().map(|endpoint| match endpoint.kind {
            // It has the types that it has verifiers for.
            EngineKind::Native if endpoint.proof_types.is_none() => Some(Vec::new()),
            _ => endpoint.proof_types.clone(),
        });
        let named: Vec<ProofType> = named.collect::<Option<Vec<_>>>().unwrap_or_default().concat();
        let mut types = Vec::new();
        for number in defined.chain(named) {
            if !types.contains(&number) {
                types.push(number);
            }
        }
        types
    }

    /// With the types that they name; where they name none, with `default`.
    fn with_types(&self, default: &[ProofType]) -> Self {
        let mut config = self.clone();
        config.proof_types = self.own_types();
        if config.proof_types.is_empty() {
            config.proof_types = default.to_vec();
        }
        config
    }

    /// The network, and what is laid over its values, with the types of these (settled) settings beside those that `beta`
    /// defines: a node never rejects what it is set up to verify.
    pub(crate) fn with_own_types(
        &self,
        network: &Arc<Spec>,
        overrides: &ConfigMap,
    ) -> (Arc<Spec>, ConfigMap) {
        let (mut spec, mut overrides) = (Spec::clone(network), overrides.clone());
        spec.supported_proof_types.extend(&self.proof_types);
        if spec == **network {
            return (network.clone(), overrides);
        }
        // Over what the beacon node says whenever it is asked anew.
        let types: Vec<String> = spec.supported_proof_types.iter().map(u8::to_string).collect();
        overrides.insert("SUPPORTED_PROOF_TYPES".to_owned(), types.join(",").into());
        (Arc::new(spec), overrides)
    }

    /// Types that a verifier in this process has all it needs for, whether one line says it or several do.
    pub(crate) fn native_types(&self) -> Vec<ProofType> {
        // What contradicts itself is told by `check_engines`.
        let definitions = self.definitions().unwrap_or_default();
        let merged = proof_types::merge(&definitions).unwrap_or_default();
        let mut types: Vec<ProofType> = Vec::new();
        let native = self.native_verifier.iter().map(|v| v.definition().proof_type);
        for number in native.chain(self.proof_type.iter().map(|d| d.proof_type)) {
            let is_whole = merged
                .get(&number)
                .is_some_and(|d| d.vk.is_some() && d.system.is_some() && d.guest.is_some());
            if is_whole && !types.contains(&number) {
                types.push(number);
            }
        }
        types
    }

    /// The setting that says of a number what a verifier needs.
    pub(crate) fn native_setting(&self, proof_type: ProofType) -> &'static str {
        let defines = |v: &VerifierSetting| v.definition().proof_type == proof_type;
        match self.native_verifier.iter().any(defines) {
            true => "native-verifier",
            false => "proof-type",
        }
    }

    /// What a verifier in this process lacks of what is said of a number.
    pub(crate) fn lacks(&self, proof_type: ProofType) -> Vec<&'static str> {
        let definitions = self.definitions().unwrap_or_default();
        let mut merged = proof_types::merge(&definitions).unwrap_or_default();
        let defined = merged.remove(&proof_type).unwrap_or_default();
        let parts = [
            ("system", defined.system.is_some()),
            ("vk", defined.vk.is_some()),
            ("guest", defined.guest.is_some()),
        ];
        let missing = parts.into_iter().filter(|(_, is_there)| !is_there);
        missing.map(|(part, _)| part).collect()
    }

    /// All that is said of numbers, each with the setting it is said by.
    fn definitions(&self) -> Result<Vec<(&'static str, ProofTypeDefinition)>, ConfigError> {
        let tables = self.proof_type.iter().cloned();
        let verifiers = self.native_verifier.iter().map(|v| v.definition().clone());
        let names = self.given_names()?;
        // What is said of one revision alone goes before what is said of the number.
        let named = names.of_both().map(|(proof_type, name)| ProofTypeDefinition {
            proof_type,
            name: Some(name.to_owned()),
            ..ProofTypeDefinition::default()
        });
        Ok(tables
            .map(|d| ("proof-type", d))
            .chain(verifiers.map(|d| ("native-verifier", d)))
            .chain(named.map(|d| ("proof-engine-types", d)))
            .collect())
    }

    /// One entry for each type that is verified, named as on a network of `spec`; none where no engine judges. The settings
    /// are settled.
    ///
    /// # Errors
    /// Where two settings say different things of one number, or a name cannot be used.
    pub fn entries_on(&self, spec: &Spec) -> Result<ProofTypes, ConfigError> {
        self.entries_named(self.proof_type_names_on(spec)?)
    }

    /// As `entries_on`, before the network is known.
    pub(crate) fn provisional_entries(&self) -> Result<ProofTypes, ConfigError> {
        let config = self.provisional();
        config.entries_named(config.proof_type_names()?)
    }

    fn entries_named(&self, names: RevisionNames) -> Result<ProofTypes, ConfigError> {
        let endpoints = self.engine_endpoints()?;
        let definitions = self.definitions()?;
        if endpoints.is_empty() {
            // What contradicts itself is told all the same.
            proof_types::merge(&definitions).map_err(twice)?;
            return Ok(ProofTypes::default());
        }
        let judged_by = |proof_type: ProofType| {
            let mut by = JudgedBy::default();
            for endpoint in endpoints.iter().filter(|e| e.types(self).contains(&proof_type)) {
                match endpoint.kind {
                    EngineKind::Dev => by.dev = Some(proof_types::dev_seed_digest(&self.dev_seed)),
                    EngineKind::ProofNode(_) => by.name = true,
                    EngineKind::Native | EngineKind::EngineApi(_) => by.other = true,
                }
            }
            by
        };
        ProofTypes::new(&self.proof_types, names, &definitions, judged_by).map_err(twice)
    }

    /// The names that are given over those proof nodes have by default, of each revision that may turn out to hold.
    pub fn proof_type_names(&self) -> Result<RevisionNames, ConfigError> {
        self.names_over(self.revision)
    }

    /// The same on a network (`spec` has the flags laid over it), where it is known which revisions hold. An error where a
    /// proof node is asked for a type without a name in any of them.
    pub fn proof_type_names_on(&self, spec: &Spec) -> Result<RevisionNames, ConfigError> {
        let names = self.names_over(sole_revision(spec))?;
        for endpoint in self.engine_endpoints()? {
            let types = endpoint.types(self);
            let unnamed = types.iter().find(|t| names.in_use(**t).next().is_none());
            if let (EngineKind::ProofNode(url), Some(t)) = (&endpoint.kind, unnamed) {
                return Err(ConfigError::Value {
                    flag: "proof-engine-types",
                    why: format!(
                        "{}: proof type {t} needs a name, as {t}=NAME",
                        shown_endpoint(url.as_str())
                    ),
                });
            }
        }
        Ok(names)
    }

    /// `--proof-engine-types`.
    fn given_names(&self) -> Result<RevisionNames, ConfigError> {
        if self.proof_engine_types.is_empty() {
            return Ok(RevisionNames::none());
        }
        self.proof_engine_types.join(",").parse().map_err(unnamed)
    }

    fn names_over(&self, sole: Option<Revision>) -> Result<RevisionNames, ConfigError> {
        let defined = proof_types::merge(&self.definitions()?).map_err(twice)?;
        let named = defined
            .into_iter()
            .filter_map(|(number, d)| Some((number, d.name?)));
        let defined = ProofTypeNames::new(named).map_err(unnamed)?;
        Ok(RevisionNames::default()
            .overlaid_with(&defined.into())
            .overlaid_with(&self.given_names()?)
            .where_holds(sole))
    }
}

fn twice(error: proof_types::DefinedTwice) -> ConfigError {
    ConfigError::Value {
        flag: error.second,
        why: error.to_string(),
    }
}

fn unnamed(error: NamesError) -> ConfigError {
    ConfigError::Value {
        flag: "proof-engine-types",
        why: error.to_string(),
    }
}

/// What is verified where nothing is said: what `beta` supports wherever it holds for a payload now or later.
pub(crate) fn default_types(spec: &Spec) -> Vec<ProofType> {
    let holds = spec.fork_schedule.iter().any(|(fork, _, epoch)| {
        fork.has_payload() && *epoch != Epoch::FAR_FUTURE && spec.revision_at(*fork) == Revision::Beta
    });
    match holds {
        true => spec.supported_proof_types.iter().copied().collect(),
        false => DEFAULT_OF_ALPHA.to_vec(),
    }
}

/// The revision that holds for every payload there is and will be on a network; `None` where it changes.
pub(crate) fn sole_revision(spec: &Spec) -> Option<Revision> {
    let epochs = spec.fork_schedule.iter().map(|(_, _, epoch)| *epoch);
    let mut revisions: Vec<Revision> = epochs
        .filter(|epoch| *epoch != Epoch::FAR_FUTURE && spec.fork_at_epoch(*epoch).has_payload())
        .map(|epoch| spec.revision_at_epoch(epoch))
        .collect();
    revisions.dedup();
    match revisions[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// At least one, none twice, and nothing defined that is none of them.
pub(crate) fn check_proof_types(config: &NodeConfig) -> Result<(), ConfigError> {
    let mut types = config.proof_types.clone();
    types.sort_unstable();
    types.dedup();
    let wrong = |flag, why: String| Err(ConfigError::Value { flag, why });
    if types.is_empty() {
        return wrong("proof-types", "at least one".to_owned());
    }
    if types.len() != config.proof_types.len() {
        return wrong("proof-types", "a type stands there twice".to_owned());
    }
    match config.proof_type.iter().find(|d| !types.contains(&d.proof_type)) {
        Some(other) => wrong(
            "proof-type",
            format!("type {} is not among --proof-types", other.proof_type),
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
