//! What the flags of keys and of the prover come to.

use super::{ConfigError, EngineKind, NodeConfig};
use assay_prover::{KeystorePlaces, Locks, Web3SignerConfig, key_signer::MAX_KEYS};
use assay_types::{ProofType, PublicKeyBytes};
use std::time::Duration;

/// Payloads at work at once, at most: each may hold proofs of megabytes.
const MAX_PAYLOADS: usize = 64;
/// Longest time for a payload: a day or so of slots. Nobody waits longer for a proof.
const MAX_BUDGET_SLOTS: u32 = 8192;
/// Longest time-out of a call to a signer: longer than any proof waits.
const MAX_TIMEOUT_MS: u64 = 60_000;

fn wrong<T>(flag: &'static str, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Value {
        flag,
        why: why.into(),
    })
}

impl NodeConfig {
    /// Whether there are keys to sign with.
    pub fn has_keys(&self) -> bool {
        self.keystores.is_some() || self.web3_signer_url.is_some()
    }

    /// Types to prove: `--prove-types`, else all that are verified.
    pub fn types_to_prove(&self) -> &[ProofType] {
        if self.prove_types.is_empty() {
            &self.proof_types
        } else {
            &self.prove_types
        }
    }

    /// Where keystores and passwords are, if there are any.
    pub fn keystore_places(&self) -> Option<KeystorePlaces> {
        Some(KeystorePlaces {
            keystores: self.keystores.clone()?,
            secrets: self.secrets.clone(),
            password_file: self.password_file.clone(),
            locks: if self.ignore_keystore_locks {
                Locks::Ignore
            } else {
                Locks::Respect
            },
        })
    }

    /// The remote signer, if there is one.
    pub fn web3_signer(&self) -> Result<Option<Web3SignerConfig>, ConfigError> {
        let given = [
            ("web3-signer-ca", self.web3_signer_ca.is_some()),
            ("web3-signer-client-cert", self.web3_signer_client_cert.is_some()),
            ("web3-signer-client-key", self.web3_signer_client_key.is_some()),
            (
                "web3-signer-public-keys",
                !self.web3_signer_public_keys.is_empty(),
            ),
        ];
        let Some(text) = &self.web3_signer_url else {
            return match given.iter().find(|(_, given)| *given) {
                Some((flag, _)) => wrong(flag, "of use with --web3-signer-url only"),
                None => Ok(None),
            };
        };
        let url = match reqwest::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            // Not the text: there may be a password in it.
            _ => return wrong("web3-signer-url", "not an http or https URL"),
        };
        if url.scheme() == "http"
            && let Some((flag, _)) = given[..3].iter().find(|(_, given)| *given)
        {
            return wrong(flag, "of use with an https --web3-signer-url only");
        }
        let client_identity = match (&self.web3_signer_client_cert, &self.web3_signer_client_key) {
            (None, None) => None,
            (Some(certificate), key) => {
                Some((certificate.clone(), key.as_ref().unwrap_or(certificate).clone()))
            }
            (None, Some(_)) => return wrong("web3-signer-client-cert", "needed with its key"),
        };
        let mut public_keys: Vec<PublicKeyBytes> = Vec::new();
        for text in &self.web3_signer_public_keys {
            match text.trim().parse() {
                Ok(key) if !public_keys.contains(&key) => public_keys.push(key),
                Ok(_) => {}
                Err(error) => return wrong("web3-signer-public-keys", format!("{text:?}: {error}")),
            }
        }
        if public_keys.len() > MAX_KEYS {
            return wrong("web3-signer-public-keys", format!("more than {MAX_KEYS}"));
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&self.web3_signer_timeout_ms) {
            return wrong("web3-signer-timeout-ms", format!("1 to {MAX_TIMEOUT_MS}"));
        }
        if self.web3_signer_type.is_empty() {
            return wrong("web3-signer-type", "a name is needed");
        }
        Ok(Some(Web3SignerConfig {
            public_keys,
            ca: self.web3_signer_ca.clone(),
            client_identity,
            timeout: Duration::from_millis(self.web3_signer_timeout_ms),
            message_type: self.web3_signer_type.clone(),
            send_proof: !self.web3_signer_omit_proof,
            ..Web3SignerConfig::new(url)
        }))
    }
}

/// Where a prover works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProverIs {
    /// `assay prover`: only what a proof engine tells of comes to it.
    Alone,
    /// `assay node --prover`: an engine that speaks JSON-RPC posts what it made to the node around it.
    InNode,
}

/// Somebody makes proofs of each type, and they come back to who asked.
fn check_makers(config: &NodeConfig, place: ProverIs) -> Result<(), ConfigError> {
    let endpoints = config.engine_endpoints()?;
    let makes = |kind: &EngineKind| match kind {
        EngineKind::Dev | EngineKind::ProofNode(_) => true,
        EngineKind::EngineApi(_) => place == ProverIs::InNode,
        EngineKind::Native => false,
    };
    for proof_type in config.types_to_prove() {
        let asked = || endpoints.iter().filter(|e| e.types(config).contains(proof_type));
        if asked().any(|e| makes(&e.kind)) {
            continue;
        }
        let why = if asked().any(|e| matches!(e.kind, EngineKind::EngineApi(_))) {
            format!(
                "an engine+http endpoint posts what it makes to a node: it can be asked for proofs of type {proof_type} by \
                 `assay node --prover` only; here `dev` or a proof node is needed"
            )
        } else {
            format!("nobody here makes proofs of type {proof_type}: `native` verifies only")
        };
        return wrong("proof-engine-endpoint", why);
    }
    Ok(())
}

/// Keys can be found, and a prover has all it needs.
pub(crate) fn check_signer(config: &NodeConfig, place: ProverIs) -> Result<(), ConfigError> {
    config.web3_signer()?;
    if config.keystores.is_none() {
        let needless = [
            ("secrets", config.secrets.is_some()),
            ("password-file", config.password_file.is_some()),
            ("ignore-keystore-locks", config.ignore_keystore_locks),
        ];
        if let Some((flag, _)) = needless.iter().find(|(_, given)| *given) {
            return wrong(flag, "of use with --keystores only");
        }
    }
    if !(1..=MAX_BUDGET_SLOTS).contains(&config.budget_slots) {
        return wrong("budget-slots", format!("1 to {MAX_BUDGET_SLOTS}"));
    }
    if !(1..=MAX_PAYLOADS).contains(&config.max_payloads) {
        return wrong("max-payloads", format!("1 to {MAX_PAYLOADS}"));
    }
    for (at, proof_type) in config.prove_types.iter().enumerate() {
        if !config.proof_types.contains(proof_type) {
            return wrong(
                "prove-types",
                format!("type {proof_type} is not among --proof-types"),
            );
        }
        if config.prove_types[..at].contains(proof_type) {
            return wrong("prove-types", "a type stands there twice");
        }
    }
    if !config.prover {
        return match config.prove_types.is_empty() {
            true => Ok(()),
            false => wrong("prove-types", "of use with --prover only"),
        };
    }
    if !config.has_keys() {
        return wrong("keystores", "needed by a prover, or --web3-signer-url");
    }
    if config.proof_engine_endpoint.is_empty() {
        return wrong(
            "proof-engine-endpoint",
            "needed by a prover: nobody would make its proofs",
        );
    }
    check_makers(config, place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{ProverIs::*, *};

    const KEY: &str =
        "0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c";

    fn prover() -> NodeConfig {
        NodeConfig {
            prover: true,
            keystores: Some("keys".into()),
            proof_engine_endpoint: vec!["dev".into()],
            proof_types: vec![1, 2],
            ..NodeConfig::default()
        }
    }

    #[test]
    fn what_can_sign() {
        check_signer(&NodeConfig::default(), InNode).unwrap();
        check_signer(&prover(), Alone).unwrap();
        assert_eq!(prover().types_to_prove(), [1, 2]);
        let config = NodeConfig {
            keystores: None,
            prove_types: vec![2],
            web3_signer_url: Some("https://user:secret@signer:9000/".into()),
            web3_signer_public_keys: vec![KEY.into(), format!(" {KEY}")],
            web3_signer_client_cert: Some("client.pem".into()),
            web3_signer_omit_proof: true,
            ..prover()
        };
        check_signer(&config, Alone).unwrap();
        assert_eq!(config.types_to_prove(), [2]);
        assert!(config.keystore_places().is_none());
        let signer = config.web3_signer().unwrap().unwrap();
        assert_eq!(signer.public_keys.len(), 1);
        assert_eq!(
            signer.client_identity,
            Some(("client.pem".into(), "client.pem".into()))
        );
        assert!(!signer.send_proof);
    }

    #[test]
    fn what_cannot_is_refused_with_the_flag_named() {
        type Change = fn(&mut NodeConfig);
        let remote = |c: &mut NodeConfig| c.web3_signer_url = Some("https://signer".into());
        let table: [(&str, Change); 19] = [
            ("keystores", |c| c.keystores = None),
            ("proof-engine-endpoint", |c| c.proof_engine_endpoint.clear()),
            ("prove-types", |c| c.prove_types = vec![3]),
            ("prove-types", |c| c.prove_types = vec![1, 1]),
            ("prove-types", |c| {
                c.prove_types = vec![1];
                c.prover = false;
            }),
            ("budget-slots", |c| c.budget_slots = 0),
            ("budget-slots", |c| c.budget_slots = u32::MAX),
            ("max-payloads", |c| c.max_payloads = 0),
            ("max-payloads", |c| c.max_payloads = 65),
            ("secrets", |c| {
                c.web3_signer_url = Some("http://signer".into());
                c.keystores = None;
                c.secrets = Some("secrets".into());
            }),
            ("web3-signer-url", |c| {
                c.web3_signer_url = Some("ftp://u:secret@signer".into())
            }),
            ("web3-signer-ca", |c| c.web3_signer_ca = Some("ca.pem".into())),
            ("web3-signer-ca", |c| {
                c.web3_signer_url = Some("http://signer".into());
                c.web3_signer_ca = Some("ca.pem".into());
            }),
            ("web3-signer-public-keys", |c| {
                c.web3_signer_public_keys = vec![KEY.into()]
            }),
            ("web3-signer-public-keys", |c| {
                c.web3_signer_public_keys = vec!["0x12".into()]
            }),
            ("web3-signer-client-cert", |c| {
                c.web3_signer_client_key = Some("key.pem".into())
            }),
            ("web3-signer-timeout-ms", |c| c.web3_signer_timeout_ms = 0),
            ("web3-signer-timeout-ms", |c| c.web3_signer_timeout_ms = u64::MAX),
            ("web3-signer-type", |c| c.web3_signer_type.clear()),
        ];
        for (at, (flag, change)) in table.into_iter().enumerate() {
            let mut config = prover();
            if at >= 14 {
                remote(&mut config);
            }
            change(&mut config);
            let error = check_signer(&config, Alone).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--{flag}:")), "{at}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }

    /// A proof must come back to who asked for it.
    #[test]
    fn somebody_makes_proofs_of_each_type() {
        for (endpoints, alone, in_node) in [
            ("dev", true, true),
            ("http://n:3000", true, true),
            ("engine+http://n:8551", false, true),
            ("1@dev,2@engine+http://n:8551", false, true),
            ("engine+http://n:8551,http://n:3000", true, true),
            ("native", false, false),
            ("1@dev,2@native", false, false),
            ("native,dev", true, true),
        ] {
            let config = NodeConfig {
                proof_engine_endpoint: endpoints.split(',').map(str::to_owned).collect(),
                native_verifier: [1, 2]
                    .map(|t| {
                        format!("{t}:sp1:vk=k:sha256=0x{}:guest=output", "aa".repeat(32))
                            .parse()
                            .unwrap()
                    })
                    .into(),
                ..prover()
            };
            for (place, fits) in [(Alone, alone), (InNode, in_node)] {
                let checked = check_signer(&config, place);
                assert_eq!(checked.is_ok(), fits, "{endpoints} {place:?}: {checked:?}");
                if let Err(error) = checked {
                    assert!(
                        error.to_string().starts_with("--proof-engine-endpoint:"),
                        "{error}"
                    );
                }
            }
        }
        let one_type = NodeConfig {
            proof_engine_endpoint: vec!["1@dev".into(), "2@native".into()],
            prove_types: vec![1],
            ..prover()
        };
        check_signer(&one_type, Alone).unwrap();
    }
}
