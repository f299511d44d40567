//! Who judges proofs of which type, as it is kept beside them.

use super::{ConfigError, EngineKind, NodeConfig};
use assay_proof_engine::proof_types::{Judge, ProofTypeRecords, ProofTypes};

impl NodeConfig {
    /// What is kept of the entries: each with those who are asked for its type. The settings are settled.
    ///
    /// # Errors
    /// Where an endpoint is none.
    pub(crate) fn records_of(&self, entries: &ProofTypes) -> Result<ProofTypeRecords, ConfigError> {
        let mut records = entries.records();
        for endpoint in self.engine_endpoints()? {
            let judge = match endpoint.kind {
                EngineKind::Dev => Judge::Dev,
                EngineKind::Native => Judge::Native,
                EngineKind::ProofNode(_) => Judge::ProofNode,
                EngineKind::EngineApi(_) => Judge::EngineApi,
            };
            for proof_type in endpoint.types(self) {
                if let Some(record) = records.0.get_mut(&proof_type) {
                    record.judged_by.insert(judge);
                }
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn each_type_has_those_who_are_asked_for_it() {
        let config = NodeConfig {
            proof_types: vec![1, 2, 3],
            proof_engine_endpoint: vec![
                "1+2@http://a:3000".into(),
                "2@engine+http://b".into(),
                "3@dev".into(),
            ],
            ..NodeConfig::default()
        };
        let entries = config.provisional_entries().unwrap();
        let records = config.records_of(&entries).unwrap();
        let judges: Vec<Vec<Judge>> = records
            .0
            .values()
            .map(|record| record.judged_by.iter().copied().collect())
            .collect();
        use Judge::{Dev, EngineApi, ProofNode};
        assert_eq!(judges, [vec![ProofNode], vec![ProofNode, EngineApi], vec![Dev]]);
    }
}
