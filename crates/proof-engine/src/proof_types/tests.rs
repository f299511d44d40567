#![allow(clippy::unwrap_used)]
use super::*;
use crate::ProofTypeNames;
use assay_types::Revision;
use proptest::prelude::*;

const DIGEST: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn definition(line: &str) -> ProofTypeDefinition {
    line.parse().unwrap()
}

fn native(_: ProofType) -> JudgedBy {
    JudgedBy {
        other: true,
        ..JudgedBy::default()
    }
}

fn beta(types: &[ProofType], definitions: &[(&'static str, &str)]) -> Result<ProofTypes, DefinedTwice> {
    let definitions: Vec<_> = definitions
        .iter()
        .map(|(source, line)| (*source, definition(line)))
        .collect();
    ProofTypes::new(types, ProofTypeNames::of(Revision::Beta), &definitions, native)
}

#[test]
fn parts_of_several_settings_are_one_entry() {
    let key = format!("5:sp1:vk=a:sha256={DIGEST}:guest=output-sha256");
    let entries = beta(
        &[5, 2, 77],
        &[
            ("native-verifier", &key),
            ("proof-type", "5:version=v1.2:name=reth-sp1"),
        ],
    )
    .unwrap();
    let five = entries.get(5).unwrap();
    assert_eq!((five.name(), five.version()), (Some("reth-sp1"), Some("v1.2")));
    assert_eq!(five.key().unwrap().file(), Some(Path::new("a")));
    assert_eq!(five.guest(), Some(&GuestFamily::OutputSha256));
    let text = five.to_string();
    let start = format!("reth-sp1, sp1, key {DIGEST}, guest output-sha256, version v1.2, entry 0x");
    assert!(text.starts_with(&start), "{text}");
    // The names of section 9 where nothing is said, and none where there is none.
    assert_eq!(entries.get(2).unwrap().name(), Some("ethrex-sp1"));
    assert_eq!(entries.get(77).unwrap().name(), None);
    let order: Vec<_> = entries.iter().map(ProofTypeEntry::proof_type).collect();
    assert_eq!(order, [5, 2, 77]);
}

#[test]
fn two_definitions_of_one_number_are_refused_by_the_names_of_both() {
    let other = DIGEST.replace('a', "b");
    for (first, second, part) in [
        ("5:sp1", "5:zisk", "system"),
        ("5:name=a", "5:name=b", "name"),
        ("5:version=1", "5:version=2", "version"),
        ("5:guest=output", "5:guest=output-sha256", "guest"),
        (
            "5:guest=validation-result:schema=1",
            "5:guest=validation-result:schema=2",
            "schema",
        ),
        (
            &format!("5:sha256={DIGEST}"),
            &format!("5:sha256={other}"),
            "sha256",
        ),
    ] {
        let error = beta(&[5], &[("proof-type", first), ("native-verifier", second)]).unwrap_err();
        assert_eq!((error.proof_type, error.part), (5, part));
        let text = error.to_string();
        assert!(
            text.contains("--proof-type") && text.contains("--native-verifier"),
            "{text}"
        );
        // The same said twice is no contradiction, nor is another number's.
        beta(&[5], &[("proof-type", first), ("native-verifier", first)]).unwrap();
        let elsewhere = second.replacen('5', "6", 1);
        beta(&[5, 6], &[("proof-type", first), ("native-verifier", &elsewhere)]).unwrap();
    }
}

#[test]
fn what_judges_decides_what_the_number_stands_for() {
    let judged = |judged_by: JudgedBy| {
        let names = RevisionNames::default().where_holds(Some(Revision::Beta));
        let entries = ProofTypes::new(&[1], names, &[], |_| judged_by).unwrap();
        let entry = entries.get(1).unwrap();
        (entry.name().map(str::to_owned), entry.record())
    };
    let by = |name, dev: bool, other| JudgedBy {
        name,
        dev: dev.then(|| dev_seed_digest("assay-dev")),
        other,
    };
    // A label alone is no part of it: the key is.
    let (name, record) = judged(by(false, false, true));
    assert_eq!((name.as_deref(), &record.name), (Some("ethrex-openvm"), &None));
    let (_, record) = judged(by(true, false, false));
    // Whichever revision holds: the network's change of it is none of the number's.
    assert_eq!(
        record.name.as_deref(),
        Some("alpha:ethrex-sp1,beta:ethrex-openvm")
    );
    let (name, record) = judged(by(false, true, false));
    assert_eq!((name, record.name, record.proves_nothing), (None, None, true));
    // Another seed is another statement, and nobody else's entry has one.
    let seeded = |seed| {
        let by = JudgedBy {
            dev: Some(dev_seed_digest(seed)),
            ..JudgedBy::default()
        };
        judged(by).1
    };
    let (default, other) = (seeded("assay-dev"), seeded("other"));
    assert_eq!(default.digest(1), seeded("assay-dev").digest(1));
    assert_ne!(default.digest(1), other.digest(1));
    let [difference] = &default.differences(&other)[..] else {
        unreachable!("one part differs")
    };
    assert!(difference.to_string().contains("seed was 0x"), "{difference}");
    assert_eq!(judged(by(true, false, true)).1.dev_seed_sha256, None);
    let kept = ProofTypeRecord::default().with(other.clone());
    assert_eq!(kept.dev_seed_sha256, other.dev_seed_sha256);
    let statements = [(
        "proof-type",
        definition("1:sp1:guest=unsafe-statements:statements=t"),
    )];
    let entries = ProofTypes::new(&[1], ProofTypeNames::default(), &statements, native).unwrap();
    assert!(entries.get(1).unwrap().is_insecure());
}

#[test]
fn a_revision_is_no_change_of_an_entry_and_another_name_is() {
    let record = |names: RevisionNames, sole| {
        let by_name = JudgedBy {
            name: true,
            ..JudgedBy::default()
        };
        let names = names.where_holds(sole);
        let entries = ProofTypes::new(&[1], names, &[], |_| by_name).unwrap();
        entries.get(1).unwrap().record()
    };
    let (default, given): (_, RevisionNames) = (RevisionNames::default(), "1=mine".parse().unwrap());
    let soles = [None, Some(Revision::Alpha), Some(Revision::Beta)];
    let kept_before = |name: &str| ProofTypeRecord {
        name: Some(name.to_owned()),
        ..ProofTypeRecord::default()
    };
    for was in soles {
        for is in soles {
            let (was, is) = (record(default.clone(), was), record(default.clone(), is));
            assert_eq!(was, is);
            assert_eq!(was.digest(1), is.digest(1));
        }
        let now = record(default.clone(), was);
        for (old, differs) in [("ethrex-sp1", 0), ("ethrex-openvm", 0), ("reth-sp1", 1)] {
            assert_eq!(kept_before(old).differences(&now).len(), differs, "{old}");
        }
        assert_eq!(record(given.clone(), was).differences(&now).len(), 1);
        assert_eq!(now.differences(&record(given.clone(), was)).len(), 1);
        assert_eq!(kept_before("mine").differences(&record(given.clone(), was)), []);
    }
}

#[test]
fn a_definition_is_read_and_written() {
    for line in [
        "5:name=reth-sp1",
        "5:sp1:name=reth-sp1:version=1.0+2",
        &format!("5:sp1:vk=a/b:sha256={DIGEST}:guest=validation-result:schema=0x1502:version=v"),
        "5:guest=unsafe-statements:statements=t",
    ] {
        let read = definition(line).checked().unwrap();
        assert_eq!(read.to_string(), line);
        let json = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_value::<ProofTypeDefinition>(json).unwrap(), read);
    }
    for (line, says) in [
        ("", "type is missing"),
        ("5", "nothing is said"),
        ("5:vk=a", "sha256 is missing"),
        ("5:schema=1", "guest is missing"),
        ("5:name=a/b", "name \"a/b\""),
        ("5:version=a b", "version \"a b\""),
        ("name=a", "does not begin"),
        ("5:key=a", "key is no part"),
        ("5:sp1:system=sp1", "system is there twice"),
    ] {
        let read = line
            .parse::<ProofTypeDefinition>()
            .and_then(ProofTypeDefinition::checked);
        let error = read.unwrap_err().to_string();
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[test]
fn a_record_keeps_what_was_said_once() {
    let record = |parts: &[&str]| ProofTypeRecord {
        system: parts.first().filter(|p| !p.is_empty()).map(|p| (*p).to_owned()),
        version: parts.get(1).map(|p| (*p).to_owned()),
        ..ProofTypeRecord::default()
    };
    let (said, less, other) = (record(&["sp1", "1"]), record(&["", "1"]), record(&["zisk", "1"]));
    assert_eq!(said.differences(&said), []);
    assert_eq!(said.differences(&less), []);
    assert_eq!(less.differences(&said), []);
    let [difference] = &said.differences(&other)[..] else {
        unreachable!("one part differs")
    };
    assert_eq!(difference.to_string(), "the system was sp1 and is zisk");
    // What is not said any more is remembered, so another one is found out later.
    let kept = |r: &ProofTypeRecord| ProofTypeRecords([(5, r.clone())].into());
    let after = kept(&said).updated_with(kept(&less));
    assert_eq!(after, kept(&said));
    assert_eq!(after.differences(&kept(&other)).len(), 1);
    // Other numbers stay.
    let more = ProofTypeRecords([(6, other.clone())].into());
    assert_eq!(after.clone().updated_with(more).0.len(), 2);
    assert_eq!(ProofTypeRecords::from_bytes(&after.to_bytes()).unwrap(), after);
    assert!(ProofTypeRecords::from_bytes(b"[").is_err());
    // Proofs of nothing are never proofs of something, whatever else is said.
    let dev = ProofTypeRecord {
        proves_nothing: true,
        ..ProofTypeRecord::default()
    };
    assert_eq!(dev.differences(&ProofTypeRecord::default()).len(), 1);
    assert_eq!(ProofTypeRecord::default().differences(&dev).len(), 1);
}

#[test]
fn who_judges_is_told_and_a_key_that_the_new_judge_does_not_say_is_missed() {
    use Judge::{EngineApi, Native, ProofNode};
    let record = |key: Option<u8>, judges: &[Judge]| ProofTypeRecord {
        key_sha256: key.map(|byte| Root::from([byte; 32])),
        judged_by: judges.iter().copied().collect(),
        ..ProofTypeRecord::default()
    };
    for (before, now, differs, told) in [
        (record(Some(1), &[Native]), record(None, &[ProofNode]), true, true),
        (record(Some(1), &[Native]), record(None, &[EngineApi]), true, true),
        (
            record(Some(1), &[Native]),
            record(Some(1), &[ProofNode]),
            false,
            true,
        ),
        (
            record(Some(1), &[Native]),
            record(Some(1), &[Native, ProofNode]),
            false,
            true,
        ),
        (
            record(None, &[ProofNode]),
            record(Some(1), &[Native]),
            false,
            true,
        ),
        // The same judge, whether it says its key again or not; and one that was not recorded, or nobody.
        (record(Some(1), &[Native]), record(None, &[Native]), false, false),
        (record(Some(1), &[]), record(None, &[ProofNode]), false, false),
        (record(Some(1), &[Native]), record(None, &[]), false, false),
    ] {
        assert_eq!(
            !before.differences(&now).is_empty(),
            differs,
            "{before:?} {now:?}"
        );
        assert_eq!(before.other_judges(&now).is_some(), told, "{before:?} {now:?}");
        // The entry is the same on nodes that ask others.
        let again = ProofTypeRecord {
            judged_by: before.judged_by.clone(),
            ..now.clone()
        };
        assert_eq!(now.digest(5), again.digest(5));
        let kept = now.clone().with(before.clone());
        let judges = if now.judged_by.is_empty() { before } else { now };
        assert_eq!(kept.judged_by, judges.judged_by);
    }
    let [difference] = &record(Some(1), &[Native]).differences(&record(None, &[ProofNode]))[..] else {
        unreachable!("one part differs")
    };
    let text = difference.to_string();
    assert!(
        text.starts_with("who judges its proofs was a verifier in this process under the key 0x0101")
            && text.contains("and is a proof node, under no key"),
        "{text}"
    );
    let kept = ProofTypeRecords([(5, record(None, &[EngineApi, ProofNode]))].into());
    assert_eq!(ProofTypeRecords::from_bytes(&kept.to_bytes()).unwrap(), kept);
}

proptest! {
    /// Entries have the same digest only where they say the same of the same number.
    #[test]
    fn digests_tell_entries_apart(
        a in (0u8..3, prop::option::of("[ab]{0,2}"), prop::option::of("[ab]{0,2}"), any::<bool>()),
        b in (0u8..3, prop::option::of("[ab]{0,2}"), prop::option::of("[ab]{0,2}"), any::<bool>()),
    ) {
        let digest = |(number, system, version, proves_nothing): &(u8, Option<String>, Option<String>, bool)| {
            let record = ProofTypeRecord {
                system: system.clone(),
                version: version.clone(),
                proves_nothing: *proves_nothing,
                ..ProofTypeRecord::default()
            };
            record.digest(*number)
        };
        prop_assert_eq!(digest(&a) == digest(&b), a == b);
    }
}
