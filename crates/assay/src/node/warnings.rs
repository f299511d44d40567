//! What an operator must know at start, in plain words.

use super::guests;
use crate::{
    config::{EngineKind, ImportPolicyName, NodeConfig, OnMissingProofsName},
    endpoints::Endpoints,
};
use assay_proof_engine::{ProofEngine, ProofTypes};
use assay_types::{Epoch, ForkName, ProofType, Revision, Spec};
use std::collections::BTreeSet;

/// Says it in the log.
pub(super) fn tell(
    config: &NodeConfig,
    engine: &dyn ProofEngine,
    proof_types: &ProofTypes,
    endpoints: &Endpoints,
    spec: &Spec,
) {
    if config.proof_engine_endpoint.is_empty() {
        tracing::warn!(
            "no --proof-engine-endpoint: no proof type is verified, so proofs are neither kept nor forwarded"
        );
    }
    for entry in proof_types
        .iter()
        .filter(|_| !config.proof_engine_endpoint.is_empty())
    {
        tracing::info!(
            proof_type = entry.proof_type(),
            entry = %entry,
            "proofs of this type are verified"
        );
    }
    if config.execution_endpoint.is_empty() && config.import_policy != ImportPolicyName::ProofsOnly {
        tracing::warn!(
            "no --execution-endpoint: no Engine API is served, so proofs change nothing at import"
        );
    }
    for text in of_forks(spec) {
        tracing::warn!("{text}");
    }
    tell_revisions(engine, spec);
    for endpoint in config.engine_endpoints().unwrap_or_default() {
        if endpoint.kind == EngineKind::Native {
            for finding in guests::under_beta(proof_types, &endpoint.types(config), spec) {
                tracing::warn!("{}", finding.text);
            }
        }
    }
    for text in of_names(config, spec) {
        tracing::warn!("{text}");
    }
    for text in of_policy(config, spec.fork_epoch(ForkName::Gloas).is_some()) {
        tracing::warn!("{text}");
    }
    if let Some(text) = config.never_proven() {
        tracing::warn!("{text}");
    }
    tracing::info!(
        http = %endpoints.http,
        engine = %endpoints.engine,
        p2p = %endpoints.p2p,
        proof_types = ?engine.proof_types(),
        import_policy = %config.import_policy,
        "node runs"
    );
}

/// From these forks on nothing here can be relied upon.
fn of_forks(spec: &Spec) -> impl Iterator<Item = String> {
    spec.unknown_forks.iter().map(|(fork, epoch)| {
        format!(
            "the beacon node has scheduled a fork that this version does not know: {fork} at epoch {epoch}; upgrade before it"
        )
    })
}

/// Which state of the EIP-8025 texts holds where, and what `beta` means for whoever runs a node.
fn tell_revisions(engine: &dyn ProofEngine, spec: &Spec) {
    let scheduled: Vec<(ForkName, Revision)> = spec
        .fork_schedule
        .iter()
        .filter(|(fork, _, epoch)| fork.has_payload() && *epoch != Epoch::FAR_FUTURE)
        .map(|(fork, _, _)| (*fork, spec.revision_at(*fork)))
        .collect();
    let Some((first, _)) = scheduled.iter().find(|(_, r)| *r == Revision::Beta) else {
        return;
    };
    let epoch = spec.fork_epoch(*first).unwrap_or_default();
    tracing::info!(
        fork = %first, %epoch, supported_proof_types = ?spec.supported_proof_types,
        "from this fork on revision beta of EIP-8025 holds: envelopes that name the beacon block, and no req/resp. Proofs of \
         its payloads come by gossip and by POST alone; what was missed while this node was away comes again only if a \
         prover submits it again"
    );
    let mut beyond = engine.proof_types();
    beyond.retain(|t| !spec.supported_proof_types.contains(t));
    if !beyond.is_empty() {
        tracing::warn!(
            proof_types = ?beyond,
            supported_proof_types = ?spec.supported_proof_types,
            "proof types are verified here that are not among the network's: from that fork on other nodes may reject their \
             proofs, and hold them against who signs and sends them. --spec SUPPORTED_PROOF_TYPES=1,2,3,... says which are, \
             for a network that agrees on it"
        );
    }
}

/// Types that a proof node has no name for where one of the network's revisions holds.
fn of_names(config: &NodeConfig, spec: &Spec) -> Vec<String> {
    let asks = |kind: &EngineKind| matches!(kind, EngineKind::ProofNode(_));
    let endpoints = config.engine_endpoints().unwrap_or_default();
    let asked: BTreeSet<ProofType> = endpoints
        .iter()
        .filter(|endpoint| asks(&endpoint.kind))
        .flat_map(|endpoint| endpoint.types(config))
        .collect();
    let Ok(names) = config.proof_type_names_on(spec) else {
        return Vec::new();
    };
    let unnamed = |t: &ProofType| {
        let proof_type = *t;
        let unnamed = names.revisions().filter(|r| names.name(*r, proof_type).is_none());
        let text = |r| {
            format!(
                "proof type {proof_type} has no name at proof nodes where {r} holds, so its proofs are not judged there: \
                 --proof-engine-types {r}:{proof_type}=NAME gives it one"
            )
        };
        unnamed.map(text).collect::<Vec<_>>()
    };
    asked.iter().flat_map(unnamed).collect()
}

/// What the policy means for whoever runs validators. `gloas`: whether the network has that fork, or will.
fn of_policy(config: &NodeConfig, gloas: bool) -> Vec<&'static str> {
    let mut texts = Vec::new();
    match config.import_policy {
        ImportPolicyName::Observe => {}
        ImportPolicyName::RequireProofs => {
            let covered = config.proof_lag > 0 || config.wait_for_proofs > 0;
            if config.proof_lag == 0 {
                texts.push(
                    "require-proofs: payloads stay SYNCING until they are proven, and turn VALID only when the beacon \
                     node asks again; a head that is optimistic costs a validating node its attestations and proposals. \
                     Do not run validators on this beacon node, or set --proof-lag",
                );
            }
            if gloas && !covered {
                // Rule 10.
                texts.push(
                    "require-proofs without --proof-lag or --wait-for-proofs: from Gloas on, votes for an optimistic \
                     payload are ignored on gossip",
                );
            }
            if config.on_missing_proofs == OnMissingProofsName::TrustExecution {
                texts.push(
                    "trust-execution: a payload without proofs counts as proven when its grace is over; proofs then \
                     delay a faulty execution client, they do not stop it",
                );
            }
        }
        ImportPolicyName::AcceptProofs => texts.push(
            "accept-proofs: while the execution client is SYNCING or silent, the beacon node follows proofs alone; it can \
             build no block then",
        ),
        ImportPolicyName::ProofsOnly => texts.push(
            "proofs-only: there is no execution client. The beacon node follows what is proven and builds no block: \
             proposals need a builder, and eth_call, eth_getLogs and blobs of the pool are not to be had here",
        ),
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_that_is_not_known_is_said_with_its_epoch() {
        let mut spec = Spec::minimal();
        assert_eq!(of_forks(&spec).count(), 0);
        spec.unknown_forks = vec![("HEZE".to_owned(), assay_types::Epoch(77))];
        let said: Vec<String> = of_forks(&spec).collect();
        assert!(
            said.len() == 1 && said[0].contains("HEZE at epoch 77;"),
            "{said:?}"
        );
    }

    #[test]
    fn a_type_without_a_name_in_one_of_the_revisions_is_said() {
        let mut spec = Spec::minimal();
        for entry in &mut spec.fork_schedule {
            entry.2 = if entry.0 == ForkName::Gloas {
                Epoch(5)
            } else {
                Epoch(0)
            };
        }
        let said = |types: &[ProofType], names: &[&str]| {
            let config = NodeConfig {
                proof_types: types.to_vec(),
                proof_engine_endpoint: vec!["http://a:3000".into()],
                proof_engine_types: names.iter().map(|name| (*name).to_owned()).collect(),
                ..NodeConfig::default()
            };
            of_names(&config, &spec)
        };
        assert_eq!(said(&[1, 2], &[]), Vec::<String>::new());
        assert_eq!(said(&[0, 7], &["0=a", "alpha:7=b"]), Vec::<String>::new());
        let texts = said(&[0, 7], &[]);
        assert!(
            texts.len() == 2 && texts[0].contains("beta:0=NAME") && texts[1].contains("alpha:7=NAME"),
            "{texts:?}"
        );
    }

    #[test]
    fn what_is_said() {
        let config = |policy, lag, wait| NodeConfig {
            import_policy: policy,
            proof_lag: lag,
            wait_for_proofs: wait,
            ..NodeConfig::default()
        };
        use ImportPolicyName::{AcceptProofs, Observe, ProofsOnly, RequireProofs};
        for (policy, lag, wait, gloas, texts) in [
            (Observe, 0, 0, true, 0),
            (RequireProofs, 0, 0, false, 1),
            (RequireProofs, 0, 0, true, 2),
            (RequireProofs, 0, 500, true, 1),
            (RequireProofs, 2, 0, true, 0),
            (AcceptProofs, 0, 0, true, 1),
            (ProofsOnly, 0, 0, true, 1),
        ] {
            let said = of_policy(&config(policy, lag, wait), gloas);
            assert_eq!(said.len(), texts, "{policy} {lag} {wait} {gloas}: {said:?}");
        }
    }
}
