//! Whether settings hold together: each part's own check, and what is nobody's alone.

use super::{
    ConfigError, ImportPolicyName, NodeConfig, ProverIs, check_engines, check_proof_types, check_signer,
    policy::check_gate, ports::check_ports, shown_endpoint,
};

/// Beacon nodes beside the primary at most.
const MAX_SECONDARY_BEACON_NODES: usize = 8;
/// Execution clients at most.
const MAX_EXECUTION_ENDPOINTS: usize = 8;

/// Everything.
pub(super) fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    check_secrets(config)?;
    check_but_secrets(config)
}

/// A secret for each execution client.
fn check_secrets(config: &NodeConfig) -> Result<(), ConfigError> {
    let wrong = |why: &str| {
        Err(ConfigError::Value {
            flag: "execution-jwt",
            why: why.to_owned(),
        })
    };
    match (config.execution_endpoint.len(), config.execution_jwt.len()) {
        (0, _) => Ok(()),
        (_, 0) => wrong("needed with --execution-endpoint: the file the execution client has too"),
        (endpoints, files) if files != 1 && files != endpoints => {
            wrong("one for all of --execution-endpoint, or one for each")
        }
        _ => Ok(()),
    }
}

/// Everything but the secrets of the execution clients. Which proof types are verified where none are named is the network's
/// to say: then it is enough that the settings hold together by one of the revisions, until it has said so.
pub(super) fn check_but_secrets(config: &NodeConfig) -> Result<(), ConfigError> {
    config.some_candidate(check_with_types)
}

fn check_with_types(config: &NodeConfig) -> Result<(), ConfigError> {
    let wrong = |flag, why: &str| {
        Err(ConfigError::Value {
            flag,
            why: why.to_owned(),
        })
    };
    let url = |flag, text: &str| match reqwest::Url::parse(text) {
        Ok(u) if matches!(u.scheme(), "http" | "https") && u.has_host() => Ok(()),
        _ => Err(ConfigError::Value {
            flag,
            why: format!("{:?} is not an http or https URL", shown_endpoint(text)),
        }),
    };
    url("beacon-node", &config.beacon_node)?;
    for endpoint in &config.execution_endpoint {
        url("execution-endpoint", endpoint)?;
    }
    if let Some(collector) = &config.otlp_endpoint {
        url("otlp-endpoint", collector)?;
    }
    if config.execution_endpoint.len() > MAX_EXECUTION_ENDPOINTS {
        return wrong("execution-endpoint", "more than 8");
    }
    for node in &config.secondary_beacon_node {
        url("secondary-beacon-node", node)?;
    }
    if config.secondary_beacon_node.len() != config.secondary_engine_jwt.len() {
        return wrong(
            "secondary-engine-jwt",
            "one for each --secondary-beacon-node, in their order: the secret tells who calls",
        );
    }
    if config.secondary_beacon_node.len() > MAX_SECONDARY_BEACON_NODES {
        return wrong("secondary-beacon-node", "more than 8");
    }
    let served =
        !config.execution_endpoint.is_empty() || config.import_policy == ImportPolicyName::ProofsOnly;
    if !config.secondary_beacon_node.is_empty() && !served {
        return wrong(
            "secondary-beacon-node",
            "no Engine API is served without --execution-endpoint",
        );
    }
    if config.required_proofs == 0 {
        return wrong("required-proofs", "at least 1");
    }
    check_proof_types(config)?;
    check_engines(config)?;
    check_signer(config, ProverIs::InNode)?;
    check_gate(config)?;
    check_ports(config)?;
    if !(0.0..=1.0).contains(&config.dev_failure_rate) {
        return wrong("dev-failure-rate", "between 0 and 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::OnMissingProofsName;
    use assay_gate::machine::{MAX_PROOF_LAG, MAX_WAIT_FOR_PROOFS_MS};

    #[test]
    fn defaults_hold_together() {
        check(&NodeConfig::default()).unwrap();
    }

    fn with_client(c: &mut NodeConfig) {
        c.execution_endpoint = vec!["http://127.0.0.1:8551".into()];
        c.execution_jwt = vec!["jwt.hex".into()];
    }

    fn requires(c: &mut NodeConfig) {
        with_client(c);
        c.proof_engine_endpoint = vec!["dev".into()];
        c.import_policy = ImportPolicyName::RequireProofs;
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_flag_named() {
        type Change = fn(&mut NodeConfig);
        let table: &[(&str, Change)] = &[
            ("beacon-node", |c| c.beacon_node = "localhost".into()),
            ("execution-jwt", |c| {
                c.execution_endpoint = vec!["http://127.0.0.1:8551".into()]
            }),
            ("execution-jwt", |c| {
                c.execution_endpoint = vec!["http://a".into(), "http://b".into(), "http://c".into()];
                c.execution_jwt = vec!["a".into(), "b".into()];
            }),
            ("secondary-engine-jwt", |c| {
                with_client(c);
                c.secondary_beacon_node = vec!["http://a".into(), "http://b".into()];
                c.secondary_engine_jwt = vec!["a".into()];
            }),
            ("secondary-beacon-node", |c| {
                c.secondary_beacon_node = vec!["http://a".into()];
                c.secondary_engine_jwt = vec!["a".into()];
            }),
            ("secondary-beacon-node", |c| {
                with_client(c);
                c.secondary_beacon_node = vec!["a".into()];
                c.secondary_engine_jwt = vec!["a".into()];
            }),
            ("execution-endpoint", |c| {
                c.import_policy = ImportPolicyName::RequireProofs
            }),
            ("required-proofs", |c| c.required_proofs = 0),
            ("execution-endpoint", |c| {
                c.import_policy = ImportPolicyName::AcceptProofs
            }),
            ("execution-endpoint", |c| {
                with_client(c);
                c.import_policy = ImportPolicyName::ProofsOnly;
            }),
            ("engine-jwt", |c| c.import_policy = ImportPolicyName::ProofsOnly),
            ("proof-engine-endpoint", |c| {
                with_client(c);
                c.import_policy = ImportPolicyName::AcceptProofs;
            }),
            ("required-proofs", |c| {
                requires(c);
                c.proof_types = vec![1, 2];
                c.required_proof_types = vec![2];
                c.required_proofs = 2;
            }),
            ("required-proof-types", |c| c.required_proof_types = vec![9]),
            ("required-proof-types", |c| c.required_proof_types = vec![1, 1]),
            ("proof-lag", |c| c.proof_lag = 1),
            ("proof-lag", |c| {
                requires(c);
                c.proof_lag = MAX_PROOF_LAG + 1;
            }),
            ("on-missing-proofs", |c| {
                c.on_missing_proofs = OnMissingProofsName::TrustExecution
            }),
            ("missing-proofs-grace-slots", |c| c.missing_proofs_grace_slots = 0),
            ("wait-for-proofs", |c| c.wait_for_proofs = 1),
            ("wait-for-proofs", |c| {
                requires(c);
                c.wait_for_proofs = MAX_WAIT_FOR_PROOFS_MS + 1;
            }),
            ("execution-slow-after", |c| c.execution_slow_after = 0),
            ("trusted-checkpoint", |c| {
                c.trusted_checkpoint = Some("0x00:1".into())
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["ftp://x".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["300@dev".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_types = vec![1];
                c.proof_engine_endpoint = vec!["1+2@dev".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["dev".into(), "dev".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_types = vec![1, 2];
                c.proof_engine_endpoint = vec!["1+2@dev".into(), "2@dev".into()]
            }),
            ("proof-engine-jwt", |c| {
                c.proof_engine_endpoint = vec!["dev".into(), "engine+http://x".into()]
            }),
            ("proof-engine-types", |c| {
                c.proof_types = vec![1, 200];
                c.proof_engine_endpoint = vec!["http://x".into()];
            }),
            ("proof-engine-types", |c| c.proof_engine_types = vec!["5".into()]),
            ("proof-engine-types", |c| {
                c.proof_engine_types = vec!["5=a".into(), "6=a".into()]
            }),
            ("proof-types", |c| {
                c.proof_types = vec![1, 2];
                c.proof_engine_endpoint = vec!["1@dev".into()];
            }),
            ("proof-types", |c| c.proof_types = vec![1, 2, 1]),
            ("dev-failure-rate", |c| c.dev_failure_rate = 1.5),
            ("otlp-endpoint", |c| {
                c.otlp_endpoint = Some("127.0.0.1:4318".into())
            }),
        ];
        for (flag, change) in table {
            let mut config = NodeConfig::default();
            change(&mut config);
            let error = check(&config).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--{flag}:")), "{error}");
        }
    }
}
