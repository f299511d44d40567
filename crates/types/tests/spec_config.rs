//! `Spec` from a node's config: what real nodes answer, every override, and what is refused.

#![allow(clippy::unwrap_used)]

use assay_types::{
    Epoch, ForkName, ForkVersion, NewPayloadRequestForm, Preset, Revision, Spec,
    spec::{BlobParameters, ConfigMap, ProofDataForm, SETTINGS, SpecError},
};
use serde_json::{Value, json};

fn map(value: Value) -> ConfigMap {
    serde_json::from_value(value).unwrap()
}

/// As Lodestar 1.5.1 answers at Capella: no later forks, no `SLOT_DURATION_MS`, an old name of Deneb.
fn capella_node() -> ConfigMap {
    map(json!({
        "PRESET_BASE": "minimal", "CONFIG_NAME": "minimal", "GENESIS_FORK_VERSION": "0x00000001",
        "ALTAIR_FORK_VERSION": "0x01000001", "ALTAIR_FORK_EPOCH": "0",
        "BELLATRIX_FORK_VERSION": "0x02000001", "BELLATRIX_FORK_EPOCH": "0",
        "CAPELLA_FORK_VERSION": "0x03000001", "CAPELLA_FORK_EPOCH": "0",
        "EIP4844_FORK_VERSION": "0x04000001", "EIP4844_FORK_EPOCH": "18446744073709551615",
        "SECONDS_PER_SLOT": "2", "DEPOSIT_CHAIN_ID": "5", "SLOTS_PER_EPOCH": "8",
        "MAX_WITHDRAWALS_PER_PAYLOAD": "4", "TERMINAL_TOTAL_DIFFICULTY": "0", "ENDIANNESS": "little"
    }))
}

/// As a node of today answers, with a list, numbers among the strings, and the preset's values left out.
fn gloas_node() -> ConfigMap {
    map(json!({
        "PRESET_BASE": "minimal", "CONFIG_NAME": "realnet", "GENESIS_FORK_VERSION": "0x00000538",
        "ALTAIR_FORK_VERSION": "0x01000538", "ALTAIR_FORK_EPOCH": "0",
        "BELLATRIX_FORK_VERSION": "0x02000538", "BELLATRIX_FORK_EPOCH": "0",
        "CAPELLA_FORK_VERSION": "0x03000538", "CAPELLA_FORK_EPOCH": "0",
        "DENEB_FORK_VERSION": "0x04000538", "DENEB_FORK_EPOCH": "0",
        "ELECTRA_FORK_VERSION": "0x05000538", "ELECTRA_FORK_EPOCH": 0,
        "FULU_FORK_VERSION": "0x06000538", "FULU_FORK_EPOCH": "1",
        "GLOAS_FORK_VERSION": "0x07000538", "GLOAS_FORK_EPOCH": "2",
        "HEZE_FORK_VERSION": "0x08000538", "HEZE_FORK_EPOCH": "18446744073709551615",
        "SECONDS_PER_SLOT": "6", "SLOT_DURATION_MS": "6000", "DEPOSIT_CHAIN_ID": 1337,
        "MAX_PAYLOAD_SIZE": "10485760", "MAX_REQUEST_BLOCKS_DENEB": "128", "MAX_BLOBS_PER_BLOCK_ELECTRA": "9",
        "BLOB_SCHEDULE": [
            {"EPOCH": "9", "MAX_BLOBS_PER_BLOCK": "21"},
            {"EPOCH": 5, "MAX_BLOBS_PER_BLOCK": 15}
        ],
        "GAS_LIMIT_SCHEDULE": []
    }))
}

fn read(config: &ConfigMap, overrides: Value) -> Result<Spec, SpecError> {
    Spec::from_config(config, &map(overrides))
}

fn refused(config: &ConfigMap, overrides: Value) -> String {
    read(config, overrides).unwrap_err().to_string()
}

#[test]
fn a_node_that_stops_at_capella() {
    let spec = read(&capella_node(), json!({})).unwrap();
    assert_eq!(spec.preset, Preset::Minimal);
    assert_eq!(spec.slot_duration_ms, 2000);
    assert_eq!(spec.fork_at_epoch(Epoch(1_000_000)), ForkName::Capella);
    assert_eq!(
        spec.fork_schedule.last().map(|f| (f.0, f.1)),
        Some((ForkName::Capella, ForkVersion([3, 0, 0, 1])))
    );
    assert_eq!((spec.slots_per_epoch, spec.max_withdrawals_per_payload), (8, 4));
    assert_eq!(
        (spec.max_proof_size, spec.max_payload_size),
        (4_194_304, 10_485_760)
    );
    assert_eq!(spec.unknown_forks, []);
}

#[test]
fn a_node_of_today() {
    let spec = read(&gloas_node(), json!({})).unwrap();
    assert_eq!((spec.chain_id, spec.slots_per_epoch), (1337, 8));
    for (epoch, fork) in [(0, ForkName::Electra), (1, ForkName::Fulu), (2, ForkName::Gloas)] {
        assert_eq!(spec.fork_at_epoch(Epoch(epoch)), fork);
    }
    let entry = |epoch, max_blobs_per_block| BlobParameters {
        epoch: Epoch(epoch),
        max_blobs_per_block,
    };
    assert_eq!(spec.blob_schedule, [entry(5, 15), entry(9, 21)]);
    // Known by name, but never to come: nothing to warn of.
    assert_eq!(spec.unknown_forks, []);
    let later = read(&gloas_node(), json!({"GLOAS_FORK_EPOCH": "18446744073709551615"})).unwrap();
    assert_eq!(later.fork_epoch(ForkName::Gloas), None);
}

#[test]
fn a_fork_beyond_those_known_is_told() {
    let mut node = gloas_node();
    node.insert("HEZE_FORK_EPOCH".to_owned(), "77".into());
    let spec = read(&node, json!({})).unwrap();
    assert_eq!(spec.unknown_forks, [("HEZE".to_owned(), Epoch(77))]);
}

#[test]
fn recorded_configs_of_real_nodes() {
    let vectors = std::env::var_os("ASSAY_VECTORS")
        .map(Into::into)
        .unwrap_or(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"));
    let capture = vectors.join("../realnet/capture");
    for (file, last) in [
        ("capella-lodestar-1.5.1/config_spec.json", ForkName::Capella),
        ("electra-fulu-gloas/spec.json", ForkName::Gloas),
    ] {
        let Ok(text) = std::fs::read_to_string(capture.join(file)) else {
            continue;
        };
        let json: Value = serde_json::from_str(&text).unwrap();
        let config = map(json.get("data").cloned().unwrap_or(json));
        let spec = read(&config, json!({})).unwrap();
        assert_eq!(spec.fork_at_epoch(Epoch(1000)), last, "{file}");
        assert_eq!(
            (spec.preset, spec.slots_per_epoch),
            (Preset::Minimal, 8),
            "{file}"
        );
        assert_eq!(read(&spec.to_config(), json!({})).unwrap(), spec, "{file}");
    }
}

#[test]
fn what_is_written_reads_back() {
    let mut odd = read(&gloas_node(), json!({})).unwrap();
    odd.slot_duration_ms = 1500;
    odd.proof_data_form = Some(ProofDataForm::ByteList);
    odd.revision_by_fork.insert(ForkName::Phase0, Revision::Beta);
    odd.revision_by_fork.insert(ForkName::Gloas, Revision::Beta);
    odd.unknown_forks = vec![("HEZE".to_owned(), Epoch(9))];
    for spec in [Spec::mainnet(), Spec::minimal(), odd] {
        assert_eq!(read(&spec.to_config(), json!({})).unwrap(), spec);
    }
}

/// protocol.md section 1: every value of the table can be set.
#[test]
fn every_value_of_the_table_is_a_setting() {
    let node = Spec::mainnet().to_config();
    let spec = read(
        &node,
        json!({
            "EIP8025_REVISION": "beta", "EIP8025_REVISION_FULU": "alpha", "NEW_PAYLOAD_REQUEST_FORM": "a",
            "PROOF_DATA_FORM": "bytelist", "MAX_PROOF_SIZE": 307_200, "DOMAIN_EXECUTION_PROOF": "0x0d000000",
            "MAX_EXECUTION_PROOFS_PER_PAYLOAD": "8", "MIN_REQUIRED_EXECUTION_PROOFS": "2",
            "MAX_REQUEST_BLOCKS_DENEB": "64", "SUPPORTED_PROOF_TYPES": "7, 1"
        }),
    )
    .unwrap();
    assert_eq!(spec.revision_at(ForkName::Gloas), Revision::Beta);
    assert_eq!(spec.revision_at(ForkName::Fulu), Revision::Alpha);
    assert_eq!(spec.supported_proof_types, [1, 7].into());
    assert_eq!(spec.new_payload_request_form, NewPayloadRequestForm::A);
    assert_eq!(spec.proof_data_form(Revision::Alpha), ProofDataForm::ByteList);
    assert_eq!(spec.max_signed_proof_size(), 307_200 + 145);
    assert_eq!(spec.domain_execution_proof, [0x0d, 0, 0, 0]);
    assert_eq!(spec.min_required_execution_proofs, 2);
    assert_eq!(spec.max_request_execution_proofs(), 512);
    assert_eq!(
        (spec.list_limits().proof_types, spec.list_limits().identifiers),
        (8, 64)
    );
}

/// Where nothing is said, `beta` begins with Gloas; a word for all forks is for all of them.
#[test]
fn the_revision_follows_the_fork_unless_it_is_fixed() {
    use Revision::{Alpha, Beta};
    let node = |config: Value| {
        let mut read = gloas_node();
        read.extend(map(config));
        read
    };
    let revisions = |config: Value, overrides: Value| {
        let spec = read(&node(config), overrides).unwrap();
        [ForkName::Electra, ForkName::Fulu, ForkName::Gloas].map(|fork| spec.revision_at(fork))
    };
    for (config, overrides, expected) in [
        (json!({}), json!({}), [Alpha, Alpha, Beta]),
        (
            json!({}),
            json!({"EIP8025_REVISION": "alpha"}),
            [Alpha, Alpha, Alpha],
        ),
        (
            json!({}),
            json!({"EIP8025_REVISION_FULU": "beta"}),
            [Alpha, Beta, Beta],
        ),
        (json!({"EIP8025_REVISION": "beta"}), json!({}), [Beta, Beta, Beta]),
        (
            json!({"EIP8025_REVISION": "alpha", "EIP8025_REVISION_GLOAS": "beta"}),
            json!({"EIP8025_REVISION": "alpha"}),
            [Alpha, Alpha, Alpha],
        ),
        (
            json!({"EIP8025_REVISION": "alpha"}),
            json!({"EIP8025_REVISION": "beta", "EIP8025_REVISION_FULU": "alpha"}),
            [Beta, Alpha, Beta],
        ),
    ] {
        let said = format!("{config} {overrides}");
        assert_eq!(revisions(config, overrides), expected, "{said}");
    }
    let types = |value: Value| read(&gloas_node(), json!({ "SUPPORTED_PROOF_TYPES": value }));
    assert_eq!(
        read(&gloas_node(), json!({})).unwrap().supported_proof_types,
        [1, 2, 3].into()
    );
    assert_eq!(
        types(json!([5, "6"])).unwrap().supported_proof_types,
        [5, 6].into()
    );
    for wrong in [json!(""), json!([]), json!("1,x"), json!("256"), json!({})] {
        let error = types(wrong).unwrap_err().to_string();
        assert!(error.contains("SUPPORTED_PROOF_TYPES"), "{error}");
    }
}

/// Each setting changes the `Spec`, or is refused for a value it cannot have: none is read by nobody.
#[test]
fn no_setting_is_ignored() {
    let node = Spec::mainnet().to_config();
    let forks = ForkName::ALL.iter().flat_map(|fork| {
        let (prefix, name) = (fork.config_prefix(), fork.as_str().to_uppercase());
        [
            (*fork != ForkName::Phase0).then(|| format!("{prefix}_FORK_EPOCH")),
            Some(format!("{prefix}_FORK_VERSION")),
            Some(format!("EIP8025_REVISION_{name}")),
        ]
    });
    let keys = SETTINGS.iter().map(|(key, _)| (*key).to_owned());
    for key in keys.chain(forks.flatten()) {
        let changed = [
            "2",
            "minimal",
            "beta",
            "alpha",
            "B",
            "bytelist",
            "0xff00ff00",
            "[]",
        ]
        .iter()
        .any(|value| match read(&node, json!({ key.as_str(): value })) {
            Ok(spec) => spec != Spec::mainnet(),
            Err(error) => error.to_string().contains("the fork before it"),
        });
        // An older name is read only where the newer is absent; that is `the_older_name_as_an_override_wins`.
        assert!(changed, "{key}");
    }
}

#[test]
fn the_older_name_as_an_override_wins() {
    let node = Spec::mainnet().to_config();
    assert_eq!(
        read(&node, json!({"SECONDS_PER_SLOT": "5"}))
            .unwrap()
            .slot_duration_ms,
        5000
    );
    assert_eq!(
        read(&node, json!({"GOSSIP_MAX_SIZE": "77"}))
            .unwrap()
            .max_payload_size,
        77
    );
    let both = json!({"SECONDS_PER_SLOT": "5", "SLOT_DURATION_MS": "700"});
    assert_eq!(read(&node, both).unwrap().slot_duration_ms, 700);
}

#[test]
fn hex_that_yaml_or_toml_read_as_a_number() {
    let node = Spec::mainnet().to_config();
    let spec = read(&node, json!({"DOMAIN_EXECUTION_PROOF": 0x0d00_0000})).unwrap();
    assert_eq!(spec.domain_execution_proof, [0x0d, 0, 0, 0]);
    let schedule = json!({"BLOB_SCHEDULE": r#"[{"EPOCH": 7, "MAX_BLOBS_PER_BLOCK": "3"}]"#});
    assert_eq!(read(&node, schedule).unwrap().blob_schedule.len(), 1);
}

#[test]
fn what_cannot_be_is_refused_with_its_key() {
    let node = Spec::mainnet().to_config();
    for (overrides, told) in [
        (
            json!({"SLOTS_PER_EPOCH": "0"}),
            "SLOTS_PER_EPOCH = 0: must be from 1",
        ),
        (
            json!({"SLOT_DURATION_MS": 0}),
            "SLOT_DURATION_MS = 0: must be from 1",
        ),
        (
            json!({"SECONDS_PER_SLOT": "18446744073709551615"}),
            "SECONDS_PER_SLOT",
        ),
        (json!({"SLOT_DURATION_MS": "12.5"}), "a whole number below 2^64"),
        (json!({"SLOT_DURATION_MS": ""}), "a whole number below 2^64"),
        (json!({"SLOTS_PER_EPOCH": "-1"}), "a whole number below 2^64"),
        (
            json!({"SLOTS_PER_EPOCH": "18446744073709551616"}),
            "a whole number below 2^64",
        ),
        (json!({"MAX_PROOF_SIZE": "0"}), "MAX_PROOF_SIZE = 0"),
        (
            json!({"MAX_PROOF_SIZE": "18446744073709551615"}),
            "must be from 1 to 1073741824",
        ),
        (
            json!({"MAX_EXECUTION_PROOFS_PER_PAYLOAD": "257"}),
            "must be from 1 to 256",
        ),
        (json!({"MAX_WITHDRAWALS_PER_PAYLOAD": "0"}), "must be from 1"),
        (
            json!({"DOMAIN_EXECUTION_PROOF": "0x0f0000"}),
            "3 bytes, 4 expected",
        ),
        (
            json!({"DOMAIN_EXECUTION_PROOF": "0f000000"}),
            "hex must begin with 0x",
        ),
        (
            json!({"DOMAIN_EXECUTION_PROOF": 4_294_967_296u64}),
            "four bytes of hex expected",
        ),
        (json!({"EIP8025_REVISION": "gamma"}), "one of: alpha, beta"),
        (
            json!({"EIP8025_REVISION_GLOAS": "gamma"}),
            "EIP8025_REVISION_GLOAS",
        ),
        (json!({"NEW_PAYLOAD_REQUEST_FORM": "D"}), "one of: A, B, C"),
        (
            json!({"PROOF_DATA_FORM": 1}),
            "PROOF_DATA_FORM = 1: a text expected",
        ),
        (json!({"PRESET_BASE": "gnosis"}), "one of: mainnet, minimal"),
        (
            json!({"FULU_FORK_EPOCH": "7"}),
            "electra, the fork before it, begins at epoch 364032",
        ),
        (
            json!({"ELECTRA_FORK_EPOCH": null, "FULU_FORK_EPOCH": "7"}),
            "electra, the fork before it, is not scheduled",
        ),
        (json!({"BLOB_SCHEDULE": "soon"}), "BLOB_SCHEDULE"),
        (json!({"BLOB_SCHEDULE": {"EPOCH": 1}}), "a list expected"),
        (
            json!({"BLOB_SCHEDULE": [{"EPOCH": 1}]}),
            "an entry has no MAX_BLOBS_PER_BLOCK",
        ),
        (
            json!({"BLOB_SCHEDULE": [{"EPOCH": 1, "MAX_BLOBS_PER_BLOCK": 2}, {"EPOCH": "1", "MAX_BLOBS_PER_BLOCK": 3}]}),
            "two entries for epoch 1",
        ),
        (
            json!({"MAX_PROOF_SIZ": "1"}),
            "no setting of the protocol is called MAX_PROOF_SIZ",
        ),
        (
            json!({"max_proof_size": "1"}),
            "no setting of the protocol is called max_proof_size",
        ),
        (
            json!({"GENESIS_FORK_EPOCH": "0"}),
            "no setting of the protocol is called GENESIS_FORK_EPOCH",
        ),
    ] {
        let error = refused(&node, overrides.clone());
        assert!(error.contains(told), "{overrides}: {error}");
    }
}

#[test]
fn what_is_needed_and_absent_is_named() {
    for key in ["PRESET_BASE", "DEPOSIT_CHAIN_ID", "GENESIS_FORK_VERSION"] {
        let mut node = capella_node();
        node.remove(key);
        assert_eq!(
            refused(&node, json!({})),
            format!("the beacon node's config has no {key}")
        );
    }
    let mut node = capella_node();
    node.remove("SECONDS_PER_SLOT");
    assert!(refused(&node, json!({})).ends_with("no SLOT_DURATION_MS"));
    node = capella_node();
    node.remove("CAPELLA_FORK_VERSION");
    assert!(refused(&node, json!({})).contains("CAPELLA_FORK_VERSION is absent"));
    // Values of the preset may be.
    node = capella_node();
    node.remove("SLOTS_PER_EPOCH");
    node.remove("MAX_WITHDRAWALS_PER_PAYLOAD");
    assert_eq!(
        read(&node, json!({})).unwrap(),
        read(&capella_node(), json!({})).unwrap()
    );
}
