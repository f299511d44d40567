//! Whether the proof engines of the settings fit together.

use super::{
    ConfigError, EngineEndpoint, EngineKind, ImportPolicyName, NodeConfig, engine_endpoint::shown_endpoint,
};
use assay_native_verifiers::{SettingError, SystemName, UnusableKey};
use assay_proof_engine::{ProofTypeEntry, proof_types::GuestFamily};
use assay_types::ProofType;

impl EngineEndpoint {
    /// The types it is asked for.
    pub fn types(&self, config: &NodeConfig) -> Vec<ProofType> {
        match (&self.proof_types, &self.kind) {
            (Some(types), _) => types.clone(),
            (None, EngineKind::Native) => config.native_types(),
            (None, _) => config.proof_types.clone(),
        }
    }
}

impl NodeConfig {
    /// `--proof-engine-endpoint`, read.
    pub fn engine_endpoints(&self) -> Result<Vec<EngineEndpoint>, ConfigError> {
        let read = |text: &String| {
            text.parse().map_err(|why| ConfigError::Value {
                flag: "proof-engine-endpoint",
                why,
            })
        };
        self.proof_engine_endpoint.iter().map(read).collect()
    }
}

/// Every type has an endpoint, every endpoint only types that are verified, proof nodes a name for each, `native` a
/// verifier.
pub(crate) fn check_engines(config: &NodeConfig) -> Result<(), ConfigError> {
    let wrong = |flag, why: String| Err(ConfigError::Value { flag, why });
    let endpoints = config.engine_endpoints()?;
    let names = config.proof_type_names()?;
    check_native(config, &endpoints)?;
    for (endpoint, text) in endpoints.iter().zip(&config.proof_engine_endpoint) {
        let text = shown_endpoint(text);
        for proof_type in endpoint.types(config) {
            if !config.proof_types.contains(&proof_type) {
                let why = format!("{text}: type {proof_type} is not among --proof-types");
                return wrong("proof-engine-endpoint", why);
            }
            if matches!(endpoint.kind, EngineKind::ProofNode(_)) && names.in_use(proof_type).next().is_none()
            {
                let why = format!("{text}: proof type {proof_type} needs a name, as {proof_type}=NAME");
                return wrong("proof-engine-types", why);
            }
            let has_verifier = config.native_types().contains(&proof_type);
            if endpoint.kind == EngineKind::Native && !has_verifier {
                let why = format!(
                    "{text}: the entry of proof type {proof_type} lacks {}; it is given as {proof_type}:sp1:vk=…",
                    config.lacks(proof_type).join(", ")
                );
                return wrong("proof-type", why);
            }
        }
        if matches!(endpoint.kind, EngineKind::EngineApi(_)) && config.proof_engine_jwt.is_none() {
            let why = format!("needed with {text}: the file the endpoint has too");
            return wrong("proof-engine-jwt", why);
        }
    }
    check_twice(config, &endpoints)?;
    check_notify(config, &endpoints)?;
    let served =
        |t: &ProofType| endpoints.is_empty() || endpoints.iter().any(|e| e.types(config).contains(t));
    match config.proof_types.iter().find(|t| !served(t)) {
        Some(t) => wrong(
            "proof-types",
            format!("no --proof-engine-endpoint is asked for type {t}"),
        ),
        None => Ok(()),
    }
}

/// No endpoint stands there twice with a type: a second one of the same place is no reserve.
fn check_twice(config: &NodeConfig, endpoints: &[EngineEndpoint]) -> Result<(), ConfigError> {
    for (at, endpoint) in endpoints.iter().enumerate() {
        let types = endpoint.types(config);
        let same = |other: &&EngineEndpoint| {
            other.kind == endpoint.kind && other.types(config).iter().any(|t| types.contains(t))
        };
        if endpoints[..at].iter().any(|other| same(&other)) {
            let text = config
                .proof_engine_endpoint
                .get(at)
                .map(String::as_str)
                .unwrap_or_default();
            return Err(ConfigError::Value {
                flag: "proof-engine-endpoint",
                why: format!(
                    "{} stands there twice for the same proof type",
                    shown_endpoint(text)
                ),
            });
        }
    }
    Ok(())
}

/// Who asks for payloads and fork choice to be passed on has somewhere they come from and somewhere they go.
fn check_notify(config: &NodeConfig, endpoints: &[EngineEndpoint]) -> Result<(), ConfigError> {
    let goes_nowhere = !endpoints
        .iter()
        .any(|e| matches!(e.kind, EngineKind::EngineApi(_)));
    let comes_from_nowhere =
        config.execution_endpoint.is_empty() && config.import_policy != ImportPolicyName::ProofsOnly;
    let why = if !config.proof_engine_notify {
        return Ok(());
    } else if goes_nowhere {
        "only engine+http endpoints are told of payloads, and --proof-engine-endpoint names none"
    } else if comes_from_nowhere {
        "payloads come by the Engine API, and without --execution-endpoint none is served here"
    } else {
        return Ok(());
    };
    Err(ConfigError::Value {
        flag: "proof-engine-notify",
        why: why.to_owned(),
    })
}

/// Each verifier is one for its type, is asked, and is in this program.
fn check_native(config: &NodeConfig, endpoints: &[EngineEndpoint]) -> Result<(), ConfigError> {
    let wrong = |flag, why: String| Err(ConfigError::Value { flag, why });
    let native: Vec<_> = endpoints
        .iter()
        .filter(|e| e.kind == EngineKind::Native)
        .collect();
    let says_types = native.iter().any(|e| e.proof_types.is_some());
    if !native.is_empty() && !says_types && config.native_types().is_empty() {
        let why = "needed with --proof-engine-endpoint native, with system, vk, sha256 and guest for each of its types";
        return wrong("proof-type", why.to_owned());
    }
    if native.len() > 1 {
        let why = "native stands there twice: one endpoint has all its types, as 5+6@native".to_owned();
        return Err(ConfigError::Value {
            flag: "proof-engine-endpoint",
            why,
        });
    }
    for (at, verifier) in config.native_verifier.iter().enumerate() {
        let proof_type = verifier.definition().proof_type;
        if config.native_verifier[..at]
            .iter()
            .any(|v| v.definition().proof_type == proof_type)
        {
            return wrong(
                "native-verifier",
                format!("proof type {proof_type} has two verifiers"),
            );
        }
        if !native.iter().any(|e| e.types(config).contains(&proof_type)) {
            return wrong(
                "native-verifier",
                format!("no --proof-engine-endpoint native is asked for type {proof_type}"),
            );
        }
    }
    let asked = native.iter().flat_map(|endpoint| endpoint.types(config));
    let entries = config.provisional_entries()?;
    let whole = config.native_types();
    // What an entry lacks is told below.
    for proof_type in asked.filter(|proof_type| whole.contains(proof_type)) {
        let entry = entries.get(proof_type);
        if entry
            .and_then(ProofTypeEntry::guest)
            .is_some_and(GuestFamily::is_insecure)
            && !config.unsafe_native_statements
        {
            let why = SettingError::UnsafeStatements.to_string();
            return wrong(config.native_setting(proof_type), why);
        }
        // Where there is none, nothing is defined, which is told below.
        let Some(system) = entry.and_then(ProofTypeEntry::system) else {
            continue;
        };
        match system.parse::<SystemName>() {
            Ok(system) if system.is_built_in() => {}
            Ok(system) => {
                let why = UnusableKey::NotBuiltIn(system).to_string();
                return wrong(config.native_setting(proof_type), why);
            }
            Err(why) => {
                let why = format!("proof type {proof_type}: {why}");
                return wrong(config.native_setting(proof_type), why);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const DIGEST: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn config(types: &[ProofType], endpoints: &str, verifiers: &[&str]) -> NodeConfig {
        let line = |v: &&str| {
            format!("{v}:vk=key.bin:sha256={DIGEST}:guest=output")
                .parse()
                .unwrap()
        };
        NodeConfig {
            proof_types: types.to_vec(),
            proof_engine_endpoint: endpoints.split(',').map(str::to_owned).collect(),
            native_verifier: verifiers.iter().map(line).collect(),
            ..NodeConfig::default()
        }
    }

    #[test]
    fn native_verifiers_and_their_endpoint_fit_together() {
        for (config, flag, says) in [
            (config(&[5], "native", &[]), "proof-type", "needed with"),
            (
                config(&[5, 6], "5+6@native", &["5:sp1"]),
                "proof-type",
                "type 6 lacks system, vk, guest",
            ),
            (config(&[5, 6], "native", &["5:sp1"]), "proof-types", "type 6"),
            (
                config(&[5], "native", &["5:sp1", "6:zisk"]),
                "proof-engine-endpoint",
                "type 6 is not among",
            ),
            (
                config(&[5], "dev", &["5:sp1"]),
                "native-verifier",
                "is asked for type 5",
            ),
            (
                config(&[5], "native", &["5:sp1", "5:zisk"]),
                "native-verifier",
                "defined twice",
            ),
            (
                config(&[5, 6], "5@native,6@native", &["5:sp1", "6:zisk"]),
                "proof-engine-endpoint",
                "twice",
            ),
        ] {
            let error = check_engines(&config).unwrap_err().to_string();
            let not_built_in = error.contains("--features native-");
            assert!(
                not_built_in || (error.starts_with(&format!("--{flag}:")) && error.contains(says)),
                "{error}"
            );
        }
        for beside in ["native", "5+6@native", "native,http://n:3000"] {
            let checked = check_engines(&config(&[5, 6], beside, &["5:sp1", "6:zisk"]));
            if cfg!(all(feature = "native-sp1", feature = "native-zisk")) {
                checked.unwrap();
            } else {
                let error = checked.unwrap_err().to_string();
                assert!(error.contains("build it with --features native-"), "{error}");
            }
        }
    }

    #[test]
    fn notifications_have_a_source_and_a_place_to_go() {
        let told = |endpoints: &str, execution: &[&str]| {
            let config = NodeConfig {
                proof_engine_notify: true,
                proof_engine_jwt: Some("jwt.hex".into()),
                execution_endpoint: execution.iter().map(|url| (*url).to_owned()).collect(),
                ..config(&[1], endpoints, &[])
            };
            check_engines(&config).map_err(|error| error.to_string())
        };
        told("engine+http://e:8551", &["http://el:8551"]).unwrap();
        for (endpoints, execution, says) in [
            ("dev", &["http://el:8551"][..], "names none"),
            ("engine+http://e:8551", &[], "without --execution-endpoint"),
        ] {
            let error = told(endpoints, execution).unwrap_err();
            assert!(
                error.starts_with("--proof-engine-notify:") && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn a_table_of_statements_needs_its_flag() {
        let mut config = config(&[5], "native", &[]);
        let line = format!("5:sp1:vk=k:sha256={DIGEST}:guest=unsafe-statements:statements=t");
        config.native_verifier = vec![line.parse().unwrap()];
        let error = check_engines(&config).unwrap_err().to_string();
        assert!(error.contains("--unsafe-native-statements"), "{error}");
    }
}
