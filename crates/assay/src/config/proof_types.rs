//! Which proof types are verified, and their names.

use super::{ConfigError, EngineKind, NodeConfig, shown_endpoint};
use assay_proof_engine::{NamesError, ProofTypeNames};
use assay_types::{Epoch, Revision, Spec};

impl NodeConfig {
    /// `--proof-engine-types` over the names proof nodes have by default: of `--revision`, without it of `alpha`.
    pub fn proof_type_names(&self) -> Result<ProofTypeNames, ConfigError> {
        self.names_over(self.revision.unwrap_or(Revision::Alpha))
    }

    /// The same on a network (`spec` has the flags laid over it): the names are `beta`'s where no other revision ever holds,
    /// else `alpha`'s, before and after the boundary. An error where a proof node is asked for a type without a name.
    pub fn proof_type_names_on(&self, spec: &Spec) -> Result<ProofTypeNames, ConfigError> {
        let names = self.names_over(sole_revision(spec).unwrap_or(Revision::Alpha))?;
        for endpoint in self.engine_endpoints()? {
            let types = endpoint.types(self);
            let unnamed = types.iter().find(|t| names.name(**t).is_none());
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

    fn names_over(&self, revision: Revision) -> Result<ProofTypeNames, ConfigError> {
        let wrong = |error: NamesError| ConfigError::Value {
            flag: "proof-engine-types",
            why: error.to_string(),
        };
        if self.proof_engine_types.is_empty() {
            return Ok(ProofTypeNames::of(revision));
        }
        let given: ProofTypeNames = self.proof_engine_types.join(",").parse().map_err(wrong)?;
        Ok(ProofTypeNames::of(revision).overlaid_with(&given))
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

/// At least one, and none twice.
pub(crate) fn check_proof_types(config: &NodeConfig) -> Result<(), ConfigError> {
    let mut types = config.proof_types.clone();
    types.sort_unstable();
    types.dedup();
    let why = match types.len() {
        0 => "at least one",
        n if n != config.proof_types.len() => "a type stands there twice",
        _ => return Ok(()),
    };
    Err(ConfigError::Value {
        flag: "proof-types",
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::checks::check;

    #[test]
    fn engines_that_can_run() {
        let config = NodeConfig {
            proof_types: vec![5, 2, 77],
            proof_engine_endpoint: vec![
                "5+2@http://a:3000".into(),
                "5@http://b".into(),
                "77@engine+http://c:8551".into(),
            ],
            proof_engine_jwt: Some("jwt.hex".into()),
            // The name that was number 1.
            proof_engine_types: vec!["2=ethrex-sp1".into()],
            ..NodeConfig::default()
        };
        check(&config).unwrap();
        let names = config.proof_type_names().unwrap();
        assert_eq!(
            (names.name(2), names.name(1), names.name(5)),
            (Some("ethrex-sp1"), None, Some("reth-sp1"))
        );
    }

    #[test]
    fn proof_nodes_types_have_the_names_of_the_revision_that_holds_throughout() {
        let scheduled = |gloas: Epoch, revision: Option<Revision>| {
            let mut spec = Spec::minimal();
            for entry in &mut spec.fork_schedule {
                entry.2 = if entry.0 == assay_types::ForkName::Gloas {
                    gloas
                } else {
                    Epoch(0)
                };
            }
            if let Some(revision) = revision {
                (spec.revision, spec.revision_by_fork) = (revision, Default::default());
            }
            spec
        };
        let config = |revision, types: &[u8], names: &[&str]| NodeConfig {
            revision,
            proof_types: types.to_vec(),
            proof_engine_endpoint: vec!["http://a:3000".into()],
            proof_engine_types: names.iter().map(|name| (*name).to_owned()).collect(),
            ..NodeConfig::default()
        };
        use Revision::{Alpha, Beta};
        for (gloas, revision, name) in [
            (Epoch(0), None, "ethrex-openvm"),
            (Epoch(5), None, "ethrex-sp1"),
            (Epoch::FAR_FUTURE, None, "ethrex-sp1"),
            (Epoch(0), Some(Alpha), "ethrex-sp1"),
            (Epoch(5), Some(Beta), "ethrex-openvm"),
        ] {
            let names = config(revision, &[1], &[])
                .proof_type_names_on(&scheduled(gloas, revision))
                .unwrap();
            assert_eq!(names.name(1), Some(name), "{gloas} {revision:?}");
        }
        // Type 0 has a name before `beta`, 7 from then on.
        let beta = scheduled(Epoch(0), None);
        let error = config(None, &[0], &[])
            .proof_type_names_on(&beta)
            .unwrap_err()
            .to_string();
        assert!(error.contains("proof type 0 needs a name"), "{error}");
        config(None, &[0], &["0=mine"])
            .proof_type_names_on(&beta)
            .unwrap();
        check(&config(Some(Beta), &[7], &[])).unwrap();
        check(&config(None, &[7], &[])).unwrap_err();
    }
}
