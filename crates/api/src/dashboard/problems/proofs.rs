//! What proofs, and who judges and makes them, ask for.

use super::{Facts, Found, Level, count};
use assay_proof_engine::EndpointHealth;
use assay_types::ValidatorIndex;
use std::collections::BTreeSet;

/// Signers of invalid proofs named in one text.
const MAX_NAMED: usize = 3;

pub(super) fn of_proofs(facts: &Facts<'_>, found: &mut Found) {
    use Level::{Critical, Note, Warning};
    if !facts.verifies {
        found.add(
            Note,
            "no_proof_engine",
            "No proof engine is configured: proofs are neither verified nor kept.",
            "Set --proof-engine-endpoint.",
        );
    }
    let down: Vec<&EndpointHealth> = facts.engines.iter().filter(|e| !e.is_healthy).collect();
    if !down.is_empty() {
        let all = down.len() == facts.engines.len();
        let names: Vec<&str> = down.iter().map(|e| e.name.as_str()).collect();
        found.add(
            if all { Critical } else { Warning },
            "proof_engine_down",
            format!(
                "{} not answer: {}.",
                if names.len() == 1 {
                    "A proof engine does"
                } else {
                    "Proof engines do"
                },
                names.join(", ")
            ),
            "Proofs wait here, none is lost; start it again or look at its log.",
        );
    }
    if let (Some(first), Some(last)) = (facts.unproven.first(), facts.unproven.last()) {
        let slots = if first == last {
            format!("slot {first}")
        } else {
            format!("slots {first} to {last}")
        };
        found.add(
            Warning,
            "proofs_missing",
            format!(
                "{} proofs: {slots}.",
                if facts.unproven.len() == 1 {
                    "1 payload lacks its".to_owned()
                } else {
                    format!("{} payloads lack their", facts.unproven.len())
                }
            ),
            "Is a prover at work for these types, and do peers that take part in proofs reach this node?",
        );
    }
    if let Some((slot, ..)) = facts.invalid.last() {
        let signers: BTreeSet<ValidatorIndex> = facts.invalid.iter().map(|(_, _, v)| *v).collect();
        let named: Vec<String> = signers.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        let more = if signers.len() > MAX_NAMED {
            " and others"
        } else {
            ""
        };
        found.add(
            Warning,
            "invalid_proofs",
            format!(
                "{} found invalid, the newest of slot {slot}, signed by validator {}{more}.",
                count(facts.invalid.len(), "proof was", "proofs were"),
                named.join(", ")
            ),
            "Their signers are contained. If the execution client calls the payload VALID, tell the prover's operator.",
        );
    }
    if facts.insecure {
        found.add(
            Note,
            "proofs_prove_nothing",
            "The development proof engine is in use: its proofs prove nothing.",
            "For devnets and tests only.",
        );
    }
    if facts.sync.paused {
        found.add(
            Note,
            "sync_paused",
            "No proofs are asked of peers, because none can be judged now.",
            "It goes on by itself once proof engine and beacon node answer.",
        );
    }
}
