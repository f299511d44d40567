//! What guest programs of verifiers in this process state, held against what `beta` asks for where it holds.
//!
//! `beta`'s public input has the request root, the chain id and the schema id (protocol.md 9). A family that states a chain
//! and a schema is held to them. One that states neither leaves open on which chain, and under which schema, the guest
//! judged the payload: its key alone vouches for that.

use assay_proof_engine::{ProofTypes, proof_types::GuestFamily};
use assay_types::{Epoch, ProofType, Revision, Root, Spec, proof_beta::PublicInput};

/// What is to be said of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestFinding {
    /// The type.
    pub(crate) proof_type: ProofType,
    /// None of its proofs can be valid under `beta`: the node does not start so.
    pub(crate) contradicts: bool,
    /// In words.
    pub(crate) text: String,
}

/// Looks at the types that verifiers in this process judge, where `beta` holds for a payload now or later: what a
/// node is set up to verify is supported there.
pub(crate) fn under_beta(entries: &ProofTypes, native: &[ProofType], spec: &Spec) -> Vec<GuestFinding> {
    let holds = spec.fork_schedule.iter().any(|(fork, _, epoch)| {
        fork.has_payload() && *epoch != Epoch::FAR_FUTURE && spec.revision_at(*fork) == Revision::Beta
    });
    if !holds {
        return Vec::new();
    }
    let asked = PublicInput::of_valid_payload(spec, Root::default());
    let of = |proof_type: &ProofType| {
        let guest = entries.get(*proof_type)?.guest()?;
        let (contradicts, text) = match guest {
            GuestFamily::Output | GuestFamily::OutputSha256 => (
                false,
                format!(
                    "guest {guest} of proof type {proof_type} states neither chain id nor schema: under beta, which asks for \
                     chain id {} and schema {:#06x}, the key alone vouches that its program has judged by them",
                    asked.chain_id, asked.schema_id
                ),
            ),
            GuestFamily::ValidationResult(schema) | GuestFamily::ValidationResultSha256(schema)
                if *schema != asked.schema_id =>
            {
                (
                    true,
                    format!(
                        "guest {guest} of proof type {proof_type}: beta holds on this network and asks for schema {:#06x}, so \
                         none of its proofs would be valid there. Name the guest's schema as it is, or verify another type",
                        asked.schema_id
                    ),
                )
            }
            // What a table claims is told to prove nothing.
            GuestFamily::ValidationResult(_)
            | GuestFamily::ValidationResultSha256(_)
            | GuestFamily::UnsafeStatements(_) => return None,
        };
        Some(GuestFinding {
            proof_type: *proof_type,
            contradicts,
            text,
        })
    };
    native.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::NodeConfig;
    use assay_proof_engine::{ProofTypeNames, RequestBook, proof_types::JudgedBy};
    use assay_types::ForkName;

    fn spec(gloas: Epoch) -> Spec {
        let mut spec = Spec::minimal();
        for entry in &mut spec.fork_schedule {
            entry.2 = match entry.0 {
                ForkName::Gloas => gloas,
                _ => Epoch(0),
            };
        }
        spec
    }

    fn found(guest: &str, native: &[ProofType], spec: &Spec) -> Vec<bool> {
        let definition = ("proof-type", format!("1:sp1:guest={guest}").parse().unwrap());
        let judged = |_| JudgedBy::default();
        let entries = ProofTypes::new(&[1, 77], ProofTypeNames::none(), &[definition], judged).unwrap();
        let findings = under_beta(&entries, native, spec);
        findings.iter().map(|finding| finding.contradicts).collect()
    }

    #[test]
    fn a_guest_states_what_beta_asks_for_or_it_is_said() {
        let scheduled = spec(Epoch(9));
        for (guest, says) in [
            ("output", Some(false)),
            ("output-sha256", Some(false)),
            ("validation-result", None),
            ("validation-result-sha256:schema=0x1501", None),
            ("validation-result:schema=0x1502", Some(true)),
            ("validation-result-sha256:schema=0x1502", Some(true)),
            ("unsafe-statements:statements=t", None),
        ] {
            let all: Vec<bool> = says.into_iter().collect();
            assert_eq!(found(guest, &[1, 77], &scheduled), all, "{guest}");
            // Nobody judges it here, or beta never holds.
            assert!(found(guest, &[77], &scheduled).is_empty());
            assert!(found(guest, &[1], &spec(Epoch::FAR_FUTURE)).is_empty());
        }
    }

    /// The engines are not made: no key is read before.
    #[test]
    fn a_schema_that_beta_does_not_have_ends_the_start() {
        let key = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let started = |schema: &str, gloas: Epoch| {
            let line = format!("1:sp1:vk=/nowhere:sha256={key}:guest=validation-result:schema={schema}");
            let config = NodeConfig {
                proof_types: vec![1],
                proof_engine_endpoint: vec!["native".to_owned()],
                native_verifier: vec![line.parse().unwrap()],
                ..NodeConfig::default()
            };
            let spec = spec(gloas);
            let entries = config.entries_on(&spec).unwrap();
            let made = super::super::engine::from_config(&config, &entries, &spec, &RequestBook::default());
            format!("{:#}", made.err().unwrap())
        };
        let why = started("0x1502", Epoch(9));
        assert!(
            why.contains("validation-result schema 0x1502 of proof type 1") && why.contains("schema 0x1501"),
            "{why}"
        );
        // Then it is the key that is missing.
        for (schema, gloas) in [("0x1501", Epoch(9)), ("0x1502", Epoch::FAR_FUTURE)] {
            let why = started(schema, gloas);
            assert!(why.contains("--native-verifier of type 1"), "{why}");
        }
    }
}
