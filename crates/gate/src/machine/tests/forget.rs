//! Proofs of a type that is forgotten count no more; what was told VALID stays so.

use super::*;

fn pairs(bench: &Bench) -> Vec<Record> {
    bench.records.iter().map(|(k, v)| (*k, v.clone())).collect()
}

/// What a start finds when these types were forgotten between two runs.
fn forgotten(bench: &Bench, proof_types: &[ProofType], payloads: usize) -> Bench {
    let forgotten = forget_proof_types(pairs(bench), proof_types, UnixMillis(99)).unwrap();
    assert_eq!(forgotten.payloads, payloads);
    assert_eq!(forgotten.changes.is_empty(), payloads == 0);
    let mut again = bench.restarted(*bench.gate.config());
    again.records.clone_from(&bench.records);
    let durability = Durability::BeforeAnswer;
    let changes = forgotten.changes;
    again.keep(&[Action::Persist { changes, durability }]);
    again.restarted(*bench.gate.config())
}

fn types_of(bench: &Bench, n: u8) -> Vec<ProofType> {
    let proofs = bench.gate.payload(&hash(n)).unwrap().proofs;
    proofs.iter().map(|(t, _)| *t).collect()
}

#[test]
fn proofs_of_a_forgotten_type_count_no_more_and_what_was_told_valid_stays() {
    let mut bench = Bench::started(require(1));
    for n in 2..=4 {
        bench.prove(n, 1);
    }
    bench.prove(2, 2);
    bench.prove(5, 2);
    for n in 2..=3 {
        assert_eq!(bench.import(payload(n, n - 1), valid(n)), Decision::PassThrough);
    }
    // Proven, and nobody was told.
    bench.import(payload(4, 3), SYNCING);
    let other = forgotten(&bench, &[7], 0);
    assert_eq!(other.records, bench.restarted(require(1)).records);

    let mut again = forgotten(&bench, &[1], 3);
    assert_eq!(types_of(&again, 2), [2]);
    assert!(types_of(&again, 3).is_empty());
    let shown = |again: &Bench, n: u8| {
        let view = again.gate.payload(&hash(n)).unwrap();
        (view.proven, view.anchor, view.verdict)
    };
    use PayloadVerdict::{Syncing, Valid};
    assert_eq!(shown(&again, 3), (false, true, Valid), "rule 4");
    assert_eq!(shown(&again, 4), (false, false, Syncing));
    assert_eq!(again.gate.payload(&hash(4)).unwrap().times.proven_at, None);
    assert_eq!(again.import(payload(3, 2), valid(3)), Decision::PassThrough);
    assert!(is_syncing(again.import(payload(4, 3), valid(4))));
    again.prove(4, 1);
    assert_eq!(again.import(payload(4, 3), valid(4)), Decision::PassThrough);
    // Once more changes nothing: a kill between this and what follows it costs nothing.
    let once = forgotten(&bench, &[1], 3);
    let twice = forgotten(&once, &[1], 0);
    assert_eq!(once.records, twice.records);
}

/// Where the proofs decided nothing, nothing becomes trusted by their going.
#[test]
fn under_observe_nothing_becomes_an_anchor() {
    let mut bench = Bench::started(observe());
    bench.prove(2, 1);
    bench.import(payload(2, 1), valid(2));
    let again = forgotten(&bench, &[1], 1);
    let view = again.gate.payload(&hash(2)).unwrap();
    assert_eq!((view.proven, view.anchor, view.proofs), (false, false, vec![]));
    assert_eq!(view.verdict, PayloadVerdict::Valid);
}

/// Raised by proofs alone, while the execution client was silent.
#[test]
fn what_proofs_raised_stays_raised() {
    let mut bench = Bench::started(GateConfig {
        policy: ImportPolicy::AcceptProofs,
        ..require(1)
    });
    bench.prove(2, 1);
    assert_eq!(
        bench.import(payload(2, 1), SYNCING),
        Decision::RaiseToValid(hash(2))
    );
    let mut again = forgotten(&bench, &[1], 1);
    assert_eq!(
        again.import(payload(2, 1), SYNCING),
        Decision::RaiseToValid(hash(2))
    );
    assert!(!matches!(
        again.import(payload(3, 2), SYNCING),
        Decision::RaiseToValid(_)
    ));
}

#[test]
fn damaged_records_are_told() {
    let bench = Bench::started(require(1));
    let mut records = pairs(&bench);
    records[0].1.truncate(1);
    assert!(forget_proof_types(records, &[1], UnixMillis(1)).is_err());
}
