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
    for (revision, one) in [(Revision::Alpha, None), (Revision::Beta, Some("ethrex-openvm"))] {
        let of = |proof_type| names.name(revision, proof_type);
        assert_eq!((of(2), of(1), of(5)), (Some("ethrex-sp1"), one, Some("reth-sp1")));
    }
}

#[test]
fn proof_nodes_types_have_the_names_of_the_revisions_that_hold() {
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
    for (gloas, revision, names) in [
        (Epoch(0), None, &[(Beta, "ethrex-openvm")][..]),
        (Epoch(5), None, &[(Alpha, "ethrex-sp1"), (Beta, "ethrex-openvm")]),
        (Epoch::FAR_FUTURE, None, &[(Alpha, "ethrex-sp1")]),
        (Epoch(0), Some(Alpha), &[(Alpha, "ethrex-sp1")]),
        (Epoch(5), Some(Beta), &[(Beta, "ethrex-openvm")]),
    ] {
        let asked = config(revision, &[1], &[])
            .proof_type_names_on(&scheduled(gloas, revision))
            .unwrap();
        assert_eq!(asked.in_use(1).collect::<Vec<_>>(), names, "{gloas} {revision:?}");
    }
    // What stands behind the number is the same whichever holds, and a name given for both is one.
    let crossing = scheduled(Epoch(5), None);
    let records = |revision, spec: &Spec| config(revision, &[1], &[]).entries_on(spec).unwrap().records();
    assert_eq!(
        records(None, &crossing),
        records(Some(Beta), &scheduled(Epoch(5), Some(Beta)))
    );
    assert_eq!(
        records(None, &crossing),
        records(Some(Alpha), &scheduled(Epoch(5), Some(Alpha)))
    );
    let of = |names: &[&str]| {
        let entries = config(None, &[1], names).entries_on(&crossing).unwrap();
        entries.get(1).unwrap().name().unwrap().to_owned()
    };
    assert_eq!(of(&[]), "ethrex-sp1 in alpha, ethrex-openvm in beta");
    assert_eq!(of(&["1=mine"]), "mine");
    assert_eq!(of(&["beta:1=mine"]), "ethrex-sp1 in alpha, mine in beta");
    assert_eq!(of(&["1=mine", "beta:1=other"]), "mine in alpha, other in beta");
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
    check(&config(Some(Alpha), &[7], &[])).unwrap_err();
    // Before it is known which holds, and where both do, one name is enough.
    check(&config(None, &[7], &[])).unwrap();
    config(None, &[7], &[]).proof_type_names_on(&crossing).unwrap();
    config(None, &[7], &[])
        .proof_type_names_on(&scheduled(Epoch::FAR_FUTURE, None))
        .unwrap_err();
}

#[test]
fn where_nothing_is_said_the_types_are_those_of_the_revision() {
    let with_gloas = |gloas: Epoch, revision: Option<Revision>| {
        let mut spec = Spec::minimal();
        for entry in &mut spec.fork_schedule {
            entry.2 = match entry.0 {
                assay_types::ForkName::Gloas => gloas,
                _ => Epoch(0),
            };
        }
        if let Some(revision) = revision {
            (spec.revision, spec.revision_by_fork) = (revision, Default::default());
        }
        spec
    };
    use Revision::{Alpha, Beta};
    let mut config = NodeConfig {
        proof_engine_endpoint: vec!["http://a:3000".into()],
        ..NodeConfig::default()
    };
    for (gloas, revision, types) in [
        (Epoch(0), None, &[1, 2, 3][..]),
        (Epoch(9), None, &[1, 2, 3]),
        (Epoch::FAR_FUTURE, None, &[1]),
        (Epoch::FAR_FUTURE, Some(Beta), &[1, 2, 3]),
        (Epoch(0), Some(Alpha), &[1]),
    ] {
        let spec = with_gloas(gloas, revision);
        let settled = config.settled(&spec).unwrap();
        assert_eq!(settled.proof_types, types, "{gloas} {revision:?}");
        let entries = settled.entries_on(&spec).unwrap();
        let names: Vec<_> = entries.iter().filter_map(|entry| entry.name()).collect();
        let expected = match (gloas, revision) {
            (Epoch(9), None) => vec![
                "ethrex-sp1 in alpha, ethrex-openvm in beta",
                "ethrex-zisk in alpha, ethrex-sp1 in beta",
                "reth-openvm in alpha, ethrex-zisk in beta",
            ],
            (Epoch::FAR_FUTURE, None) | (_, Some(Alpha)) => vec!["ethrex-sp1"],
            _ => vec!["ethrex-openvm", "ethrex-sp1", "ethrex-zisk"],
        };
        assert_eq!(names, expected, "{gloas} {revision:?}");
    }
    // What the network supports, and what is defined, come before the text's three.
    let mut spec = with_gloas(Epoch(0), None);
    spec.supported_proof_types = [2, 5].into();
    assert_eq!(config.settled(&spec).unwrap().proof_types, [2, 5]);
    config.proof_type = vec!["7:name=mine".parse().unwrap()];
    assert_eq!(config.settled(&spec).unwrap().proof_types, [7]);
    config.proof_types = vec![7, 2];
    assert_eq!(config.settled(&spec).unwrap().proof_types, [7, 2]);
}

#[test]
fn where_each_endpoint_names_its_types_those_are_verified() {
    let mut spec = Spec::minimal();
    for entry in &mut spec.fork_schedule {
        entry.2 = Epoch(0);
    }
    let key = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let native = format!("5:sp1:vk=a:sha256={key}:guest=output");
    for (endpoints, definition, types) in [
        (&["1@http://a"][..], None, &[1][..]),
        (&["1@dev"], None, &[1]),
        (&["3+1@http://a", "1+5@http://b"], None, &[3, 1, 5]),
        (&["1@http://a", "native"], Some(native.as_str()), &[5, 1]),
        (&["6+5@http://a"], Some("5:name=mine"), &[5, 6]),
        (&["native"], Some(&native), &[5]),
        // One that names none is asked for the text's.
        (&["1@http://a", "http://b"], None, &[1, 2, 3]),
        (&[], None, &[1, 2, 3]),
    ] {
        let config = NodeConfig {
            proof_engine_endpoint: endpoints.iter().map(|e| (*e).to_owned()).collect(),
            proof_type: definition.iter().map(|line| line.parse().unwrap()).collect(),
            ..NodeConfig::default()
        };
        if definition != Some(native.as_str()) || cfg!(feature = "native-sp1") {
            check(&config).unwrap();
            assert_eq!(config.settled(&spec).unwrap().proof_types, types, "{endpoints:?}");
        }
        assert_eq!(config.with_types(&[1, 2, 3]).proof_types, types, "{endpoints:?}");
    }
}

#[test]
fn parts_over_several_lines_are_one_entry_with_a_verifier() {
    let key = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let vk = format!("5:vk=a:sha256={key}");
    let config = |lines: &[&str]| NodeConfig {
        proof_types: vec![5],
        proof_engine_endpoint: vec!["5@native".into()],
        proof_type: lines.iter().map(|line| line.parse().unwrap()).collect(),
        ..NodeConfig::default()
    };
    let split = config(&["5:sp1:guest=output", &vk]);
    assert_eq!(split.native_types(), [5]);
    // In a build without it.
    if let Err(error) = check(&split) {
        let error = error.to_string();
        assert!(
            error.starts_with("--proof-type:") && error.contains("--features native-"),
            "{error}"
        );
    }
    // What is missing is named, and where it is written.
    for (lines, missing) in [
        (&["5:sp1:guest=output"][..], "vk"),
        (&["5:sp1", &vk], "guest"),
        (&["5:guest=output", &vk], "system"),
        (&["5:name=mine"], "system, vk, guest"),
    ] {
        let error = check(&config(lines)).unwrap_err().to_string();
        assert!(
            error.starts_with("--proof-type:") && error.contains(&format!("lacks {missing}")),
            "{error}"
        );
    }
}

#[test]
fn what_a_node_is_set_up_to_verify_is_supported() {
    let network = Arc::new(Spec::minimal());
    let config = |types: &[ProofType]| NodeConfig {
        proof_types: types.to_vec(),
        ..NodeConfig::default()
    };
    let overrides = ConfigMap::from_iter([("MAX_PROOF_SIZE".to_owned(), "4096".into())]);
    let (spec, laid_over) = config(&[5, 2]).with_own_types(&network, &overrides);
    for (proof_type, defined) in [(1, true), (2, true), (3, true), (4, false), (5, true)] {
        assert_eq!(
            spec.defines_proof_type(Revision::Beta, proof_type),
            defined,
            "{proof_type}"
        );
    }
    // The beacon node's values read anew are the same network's.
    let theirs = network.to_config();
    let read = |overrides: &ConfigMap| Spec::from_config(&theirs, overrides).unwrap();
    assert_eq!(read(&laid_over).supported_proof_types, spec.supported_proof_types);
    assert_eq!(read(&laid_over).max_proof_size, 4096);
    // Nothing more: what the beacon node says stays its own.
    let (spec, laid_over) = config(&[3]).with_own_types(&network, &overrides);
    assert!(Arc::ptr_eq(&spec, &network));
    assert_eq!(laid_over, overrides);
}

#[test]
fn where_nobody_judges_there_are_no_entries() {
    let config = NodeConfig {
        proof_types: vec![1, 5],
        proof_type: vec!["5:name=mine:version=1".parse().unwrap()],
        ..NodeConfig::default()
    };
    let spec = Spec::minimal();
    assert_eq!(config.entries_on(&spec).unwrap(), ProofTypes::default());
    assert_eq!(config.provisional_entries().unwrap(), ProofTypes::default());
    let twice = NodeConfig {
        proof_engine_types: vec!["5=other".into()],
        ..config
    };
    twice.entries_on(&spec).unwrap_err();
}

#[test]
fn settings_hold_together_by_the_revision_that_may_turn_out_to_hold() {
    let two = NodeConfig {
        required_proofs: 2,
        proof_engine_endpoint: vec!["dev".into()],
        import_policy: crate::config::ImportPolicyName::ProofsOnly,
        engine_jwt: Some("jwt.hex".into()),
        ..NodeConfig::default()
    };
    check(&two).unwrap();
    let alpha = NodeConfig {
        revision: Some(Revision::Alpha),
        ..two.clone()
    };
    check(&alpha).unwrap_err();
    // Where the network says it, it is found out.
    let mut spec = Spec::minimal();
    (spec.revision, spec.revision_by_fork) = (Revision::Alpha, Default::default());
    let error = two.settled(&spec).unwrap_err().to_string();
    assert!(error.starts_with("--required-proofs:"), "{error}");
    spec.revision = Revision::Beta;
    two.settled(&spec).unwrap();
}

#[test]
fn a_number_is_defined_once() {
    let config = |lines: &[&str], names: &[&str]| NodeConfig {
        proof_types: vec![5, 6],
        proof_type: lines.iter().map(|line| line.parse().unwrap()).collect(),
        proof_engine_types: names.iter().map(|name| (*name).to_owned()).collect(),
        ..NodeConfig::default()
    };
    check(&config(&["5:name=reth-sp1:version=1", "5:sp1"], &["5=reth-sp1"])).unwrap();
    for (config, says) in [
        (
            config(&["5:name=a"], &["5=b"]),
            "--proof-engine-types: proof type 5 is defined twice: name is \"a\" by --proof-type and \"b\" by \
             --proof-engine-types",
        ),
        (
            config(&["5:sp1", "5:zisk"], &[]),
            "--proof-type: proof type 5 is defined twice: system",
        ),
        (
            config(&["5:name=a", "6:name=a"], &[]),
            "the name of two proof types",
        ),
        (config(&["7:name=a"], &[]), "--proof-type: type 7 is not among"),
    ] {
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let named = config(&["5:name=mine"], &[]);
    let names = named.proof_type_names().unwrap();
    assert_eq!(names.name(Revision::Beta, 5), Some("mine"));
}
