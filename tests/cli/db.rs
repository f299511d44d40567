//! `assay db` over a database that holds real proofs, as a user runs it.

use crate::{assay, binary};
use assay_store::{BlockUpdate, ChainIdentity, Editor, KeptAs, RecordKey};
use assay_types::{
    ExecutionProof, ProofMessage, PublicInput, Revision, Root, SignatureBytes, SignedExecutionProof,
    SignedProof, Slot,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
};

fn root(kind: u8, slot: u64) -> Root {
    let mut root = [kind; 32];
    root[24..].copy_from_slice(&slot.to_be_bytes());
    Root::from(root)
}

fn identity(chain_id: u64) -> ChainIdentity {
    ChainIdentity {
        genesis_validators_root: root(1, chain_id),
        chain_id,
        config_name: "testnet".into(),
    }
}

/// Slots 1 to 6, each with a block and proofs of types 1 and 2.
fn fill(datadir: &Path) {
    std::fs::create_dir_all(datadir).unwrap();
    let editor = Editor::create(&datadir.join("proofs.redb"), &identity(1337)).unwrap();
    let block = |slot| BlockUpdate {
        block_root: root(2, slot),
        parent_root: root(2, slot - 1),
        slot: Slot(slot),
        new_payload_request_root: Some(root(3, slot)),
    };
    let blocks: Vec<BlockUpdate> = (1..=6).map(block).collect();
    editor.take_blocks(&blocks, Some(root(2, 6))).unwrap();
    for slot in 1..=6 {
        for proof_type in [1, 2] {
            let key = RecordKey {
                slot: Slot(slot),
                root: root(3, slot),
                proof_type,
                validator_index: 7,
            };
            let proof = SignedExecutionProof {
                message: ExecutionProof {
                    proof_data: vec![proof_type; 3000].into(),
                    proof_type,
                    public_input: PublicInput {
                        new_payload_request_root: key.root,
                    },
                },
                validator_index: 7,
                signature: SignatureBytes([9; 96]),
            };
            editor
                .take_proofs(&[(key, KeptAs::Alpha, proof.to_ssz_bytes())])
                .unwrap();
        }
    }
}

fn json(dir: &Path, args: &[&str]) -> Value {
    let text = assay(dir, args, b"").text();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn what_is_there_is_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let list = |more: &[&str]| {
        let mut args = vec!["db", "list", "--datadir", "node", "--json"];
        args.extend(more);
        let text = assay(dir.path(), &args, b"").text();
        text.lines()
            .map(|line| {
                let proof: Value = serde_json::from_str(line).unwrap();
                assert_eq!(proof["canonical"], true);
                (
                    proof["slot"].as_u64().unwrap(),
                    proof["proof_type"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[]).len(), 12);
    assert_eq!(
        list(&["--from-slot", "5", "--proof-types", "2"]),
        [(5, 2), (6, 2)]
    );
    assert_eq!(list(&["--to-slot", "1"]), [(1, 1), (1, 2)]);
    assert_eq!(
        list(&["--payload", &root(3, 4).to_string(), "--limit", "1"]),
        [(4, 1)]
    );
    assert_eq!(list(&["--validator-index", "8"]), []);
    let text = assay(dir.path(), &["db", "list", "--datadir", "node"], b"").text();
    assert!(text.ends_with("12 proofs, 36.9 KiB"), "{text}");

    let whole = json(dir.path(), &["db", "show", "--datadir", "node", "--json"]);
    assert_eq!(
        (whole["proofs"].as_u64(), whole["chain_id"].as_u64()),
        (Some(12), Some(1337))
    );
    let text = assay(dir.path(), &["db", "show", "--datadir", "node"], b"").text();
    assert!(
        text.contains("network: testnet") && text.contains("newest canonical slot: 6"),
        "{text}"
    );
    for what in ["4".to_owned(), root(2, 4).to_string(), root(3, 4).to_string()] {
        let one = json(dir.path(), &["db", "show", &what, "--datadir", "node", "--json"]);
        let found = if one["blocks"].is_null() {
            &one
        } else {
            &one["blocks"][0]
        };
        assert_eq!(
            found["new_payload_request_root"],
            root(3, 4).to_string(),
            "{what}"
        );
        assert_eq!(found["proofs"][1]["proof_type"], 2, "{what}");
        assert_eq!(found["proofs"][1]["intact"], true, "{what}");
        assert_eq!(found["proofs"][1]["revision"], "alpha", "{what}");
        assert_eq!(found["proofs"][1]["names"], root(3, 4).to_string(), "{what}");
    }
    for (what, says) in [
        ("99", "nothing is known"),
        ("0x12", "neither a slot nor a root"),
        (&root(8, 8).to_string(), "neither a block"),
    ] {
        let error = assay(dir.path(), &["db", "show", what, "--datadir", "node"], b"").error();
        assert!(error.contains(says), "{error}");
    }
    let error = assay(dir.path(), &["db", "list", "--datadir", "none"], b"").error();
    assert!(error.contains("no database is there"), "{error}");
    std::fs::write(dir.path().join("x.redb"), vec![7; 10_000]).unwrap();
    let error = assay(dir.path(), &["db", "list", "--database", "x.redb"], b"").error();
    assert!(error.contains("not a database of this program"), "{error}");
}

#[test]
fn a_running_process_keeps_its_database_and_a_copy_is_free() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let held = Editor::open(&dir.path().join("node/proofs.redb")).unwrap();
    for command in ["list", "show", "verify"] {
        let error = assay(dir.path(), &["db", command, "--datadir", "node"], b"").error();
        assert!(error.contains("stop the node, or work on a copy"), "{error}");
    }
    let error = assay(
        dir.path(),
        &["db", "prune", "--datadir", "node", "--max-size", "0"],
        b"",
    )
    .error();
    assert!(error.contains("stop the node"), "{error}");
    std::fs::copy(dir.path().join("node/proofs.redb"), dir.path().join("copy")).unwrap();
    let before = std::fs::read(dir.path().join("copy")).unwrap();
    let text = assay(dir.path(), &["db", "verify", "--database", "copy"], b"").text();
    assert!(
        text.ends_with("12 proofs, 36.9 KiB, 6 blocks looked at; 0 wrong"),
        "{text}"
    );
    assert!(
        before == std::fs::read(dir.path().join("copy")).unwrap(),
        "reading changed the copy"
    );
    drop(held);
    // A directory that the environment names, as in a container, is no flag that was given.
    let mut command = binary();
    command.current_dir(dir.path()).env("ASSAY_DATADIR", "nowhere");
    let listed = command
        .args(["db", "list", "--database", "copy"])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
}

#[test]
fn a_repair_that_leaves_something_wrong_does_not_pass_for_one() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let path = dir.path().join("node/proofs.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    // Which payload block 5 has, wherever the file has its row.
    let row = [
        &5_u64.to_be_bytes()[..],
        root(2, 4).as_slice(),
        &[1],
        root(3, 5).as_slice(),
    ]
    .concat();
    let places: Vec<usize> = bytes
        .windows(row.len())
        .enumerate()
        .filter_map(|(at, found)| (found == row).then_some(at))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + row.len() - 1] ^= 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    let verify = |more: &[&str]| {
        let mut command = binary();
        let output = command
            .current_dir(dir.path())
            .args(["db", "verify", "--datadir", "node"])
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = verify(&[]);
    assert!(code == Some(1) && out.contains("1 wrong"), "{out}");
    let (code, out, error) = verify(&["--repair"]);
    assert!(code == Some(1) && out.contains("1 wrong now"), "{out}");
    assert!(error.contains("cannot be repaired"), "{error}");
}

#[test]
fn an_export_is_read_by_others_and_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let export = |dir: &Path, to: &str| {
        assay(
            dir,
            &["db", "export", to, "--datadir", "node", "--from-slot", "2"],
            b"",
        )
    };
    let ran = export(dir.path(), "out");
    // Nothing but results where standard error is no terminal.
    assert_eq!(ran.err, "");
    assert!(
        ran.text().ends_with("10 proofs, 30.7 KiB, 5 blocks"),
        "what was said"
    );
    assert!(export(dir.path(), "out").error().contains("not empty"));
    let files: Vec<_> = std::fs::read_dir(dir.path().join("out"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(files.len(), 11);
    let proof = files
        .iter()
        .find(|p| p.extension().unwrap() == "ssz_snappy")
        .unwrap();
    let file = proof.to_str().unwrap();
    let decoded = json(
        dir.path(),
        &["ssz", "decode", "--type", "SignedExecutionProof", file],
    );
    assert_eq!(decoded["validator_index"], "7");

    // Nobody takes proofs at their word unasked.
    let error = assay(dir.path(), &["db", "import", "out", "--datadir", "other"], b"").error();
    assert!(error.contains("nothing would verify these proofs"), "{error}");
    assert!(!dir.path().join("other").exists());
    let import = |to: &str| {
        json(
            dir.path(),
            &["db", "import", "out", "--datadir", to, "--unverified", "--json"],
        )
    };
    assert_eq!(import("other")["taken"], 10);
    assert_eq!(import("other")["known"], 10);
    let text = assay(dir.path(), &["db", "list", "--datadir", "other"], b"").text();
    assert!(text.contains("yes") && !text.contains(" no "), "{text}");
    let text = assay(dir.path(), &["db", "verify", "--datadir", "other"], b"").text();
    assert!(text.ends_with("0 wrong"), "{text}");

    // Another chain's database.
    std::fs::create_dir(dir.path().join("foreign")).unwrap();
    drop(Editor::create(&dir.path().join("foreign/proofs.redb"), &identity(1)).unwrap());
    let error = assay(
        dir.path(),
        &["db", "import", "out", "--datadir", "foreign", "--unverified"],
        b"",
    )
    .error();
    assert!(
        error.contains("chain id 1,") && error.contains("chain id 1337"),
        "{error}"
    );

    // A file that was changed is refused, the rest is taken.
    let bytes = std::fs::read(proof).unwrap();
    std::fs::write(proof, &bytes[..bytes.len() - 1]).unwrap();
    let ran = assay(
        dir.path(),
        &["db", "import", "out", "--datadir", "third", "--unverified"],
        b"",
    );
    assert_eq!(ran.code, Some(1));
    assert!(
        String::from_utf8_lossy(&ran.out).starts_with("9 taken"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("1 proofs were not taken"), "{}", ran.err);
    // A list that leads elsewhere.
    std::fs::write(proof, &bytes).unwrap();
    let list = dir.path().join("out/export.json");
    let text = std::fs::read_to_string(&list).unwrap();
    let name = proof.file_name().unwrap().to_str().unwrap();
    std::fs::write(&list, text.replace(name, "../node/proofs.redb")).unwrap();
    let ran = assay(
        dir.path(),
        &["db", "import", "out", "--datadir", "fourth", "--unverified"],
        b"",
    );
    assert!(
        ran.err.contains("which is no file of the directory"),
        "{}",
        ran.err
    );
    // One that was cut short.
    std::fs::remove_file(&list).unwrap();
    let error = assay(
        dir.path(),
        &["db", "import", "out", "--datadir", "fifth", "--unverified"],
        b"",
    )
    .error();
    assert!(error.contains("cut short"), "{error}");
    // A node that is not there.
    export(dir.path(), "again").text();
    let error = assay(
        dir.path(),
        &["db", "import", "again", "--to-node", "http://127.0.0.1:1"],
        b"",
    )
    .error();
    assert!(error.contains("http://127.0.0.1:1/"), "{error}");
}

/// A node of this chain that takes every proof, one connection a request; and the fork that each POST names.
fn taking_node(genesis_validators_root: &Root) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let genesis = format!(r#"{{"data":{{"genesis_validators_root":"{genesis_validators_root}"}}}}"#);
    let (tell, forks) = mpsc::channel();
    let answer = move |stream: TcpStream| -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut lines, mut length, mut fork) = (Vec::new(), 0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("eth-consensus-version", value)) => fork = value.to_owned(),
                _ if line.is_empty() => break,
                _ => {}
            }
            lines.push(line);
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        if lines[0].starts_with("post") {
            tell.send(fork).unwrap();
        }
        let (head, size) = ("HTTP/1.1 200 OK\r\nConnection: close", genesis.len());
        let stream = reader.get_mut();
        write!(
            stream,
            "{head}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{genesis}"
        )
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap()).unwrap();
        }
    });
    (url, forks)
}

/// What names a block is listed, exported, decoded and imported as that, under its payload.
#[test]
fn envelopes_go_out_and_come_back_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let (block, payload) = (root(2, 6), root(3, 6));
    let key = RecordKey {
        slot: Slot(6),
        root: block,
        proof_type: 3,
        validator_index: 8,
    };
    let envelope = SignedProof {
        revision: Revision::Beta,
        message: ProofMessage {
            proof_data: vec![3; 3000].into(),
            proof_type: 3,
            root: block,
        },
        validator_index: 8,
        signature: SignatureBytes([9; 96]),
    };
    let kept_as = KeptAs::Beta {
        new_payload_request_root: payload,
    };
    let editor = Editor::open(&dir.path().join("node/proofs.redb")).unwrap();
    editor
        .take_proofs(&[(key, kept_as, envelope.to_ssz_bytes())])
        .unwrap();
    drop(editor);

    let out = dir.path().join("out");
    let export = ["db", "export", "out", "--datadir", "node", "--from-slot", "6"];
    assert!(assay(dir.path(), &export, b"").text().contains("3 proofs"));
    let list = std::fs::read_to_string(out.join("export.json")).unwrap();
    let named = |list: &str| -> Vec<Value> {
        let list: Value = serde_json::from_str(list).unwrap();
        let proofs = list["proofs"].as_array().unwrap();
        let of = |proof: &Value| proof["beacon_block_root"].is_string();
        proofs.iter().filter(|proof| of(proof)).cloned().collect()
    };
    let exported = named(&list);
    assert_eq!(exported.len(), 1, "{list}");
    assert_eq!(exported[0]["beacon_block_root"], block.to_string());
    let file = format!("out/{}", exported[0]["file"].as_str().unwrap());
    let decode = [
        "ssz",
        "decode",
        "--type",
        "SignedExecutionProofEnvelope",
        file.as_str(),
    ];
    let decoded = json(dir.path(), &decode);
    assert_eq!(decoded["message"]["beacon_block_root"], block.to_string());

    // A node is told by the header what SSZ does not say.
    let (url, forks) = taking_node(&root(1, 1337));
    let posted = assay(dir.path(), &["db", "import", "out", "--to-node", &url], b"").text();
    assert!(posted.starts_with("3 taken"), "{posted}");
    let mut forks: Vec<String> = forks.try_iter().collect();
    forks.sort();
    assert_eq!(forks, ["fulu", "fulu", "gloas"]);

    let import = |to| ["db", "import", "out", "--datadir", to, "--unverified"];
    assert_eq!(assay(dir.path(), &import("other"), b"").code, Some(0));
    for node in ["node", "other"] {
        for (by, proofs) in [(payload, 3), (block, 1)] {
            let by = by.to_string();
            let list = ["db", "list", "--json", "--datadir", node, "--payload", &by];
            let text = assay(dir.path(), &list, b"").text();
            assert_eq!(text.lines().count(), proofs, "{node}: {text}");
            // In a slot by what they name: the block's root is below the payload's.
            let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert_eq!(
                (&first["beacon_block_root"], &first["new_payload_request_root"]),
                (&block.to_string().into(), &payload.to_string().into()),
                "{node}: {text}"
            );
            assert_eq!(
                (&first["proof_type"], &first["canonical"]),
                (&3.into(), &true.into())
            );
        }
        let text = assay(dir.path(), &["db", "verify", "--datadir", node], b"").text();
        assert!(text.ends_with("0 wrong"), "{text}");
    }

    // Said to be of another block than it names, which is the parent's.
    let parent = root(2, 5).to_string();
    let mut lie: Value = serde_json::from_str(&list).unwrap();
    for proof in lie["proofs"].as_array_mut().unwrap() {
        if proof["beacon_block_root"].is_string() {
            proof["beacon_block_root"] = parent.clone().into();
        }
    }
    std::fs::write(out.join("export.json"), lie.to_string()).unwrap();
    let ran = assay(dir.path(), &import("third"), b"");
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("a proof of something else"), "{}", ran.err);
}

#[test]
fn a_range_that_ends_before_it_begins_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let range = ["--datadir", "node", "--from-slot", "5", "--to-slot", "3"];
    for command in [&["db", "export", "out"][..], &["db", "list"]] {
        let args: Vec<&str> = command.iter().chain(&range).copied().collect();
        let error = assay(dir.path(), &args, b"").error();
        assert!(error.contains("--from-slot 5 is above --to-slot 3"), "{error}");
    }
    assert!(!dir.path().join("out").exists());
}

/// Of a list that nothing verifies, what can be seen to be wrong is.
#[test]
fn a_list_that_contradicts_itself_or_the_database_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fill(&path.join("node"));
    assay(path, &["db", "export", "out", "--datadir", "node"], b"").text();
    let list = path.join("out/export.json");
    let good: Value = serde_json::from_slice(&std::fs::read(&list).unwrap()).unwrap();
    let unlisted = root(9, 9).to_string();
    type Change = Box<dyn Fn(&mut Value)>;
    let changes: [(&str, Change); 7] = [
        (
            "is none of its blocks",
            Box::new(move |l| l["head"] = unlisted.clone().into()),
        ),
        ("twice", Box::new(|l| l["blocks"][1] = l["blocks"][0].clone())),
        (
            "not after its parent",
            Box::new(|l| l["blocks"][2]["slot"] = 2.into()),
        ),
        (
            "and its block at another",
            Box::new(|l| l["proofs"][0]["slot"] = 2.into()),
        ),
        // Of the database: another slot, parent or payload of a block that it has.
        (
            "has under this root",
            Box::new(|l| l["blocks"][5]["slot"] = 9.into()),
        ),
        (
            "has under this root",
            Box::new(|l| l["blocks"][5]["parent_root"] = l["blocks"][1]["block_root"].clone()),
        ),
        (
            "has under this root",
            Box::new(|l| l["blocks"][5]["new_payload_request_root"] = root(8, 8).to_string().into()),
        ),
    ];
    let import = |to: &str| {
        assay(
            path,
            &["db", "import", "out", "--datadir", to, "--unverified"],
            b"",
        )
    };
    for (says, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        // Proofs of the block that was moved go with it.
        if says.contains("under this root") {
            bad["proofs"] = Value::Array(Vec::new());
        }
        std::fs::write(&list, bad.to_string()).unwrap();
        let error = import("node").error();
        assert!(error.contains(says), "{says}: {error}");
    }
    std::fs::write(&list, good.to_string()).unwrap();
    assert!(import("node").text().contains("12 known already"));
    // A block whose payload the list does not know.
    let mut less = good.clone();
    less["blocks"][5]["new_payload_request_root"] = Value::Null;
    std::fs::write(&list, less.to_string()).unwrap();
    assert!(import("node").text().contains("12 known already"));
}

/// What the database code says of a file that it cannot bear is one error, and nothing before it.
#[test]
fn a_badly_damaged_database_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let file = dir.path().join("node/proofs.redb");
    let whole = std::fs::read(&file).unwrap();
    let mut panicked = 0;
    // Whatever the version of the database code panics over.
    for seed in 0_u32..24 {
        let mut bytes = whole.clone();
        let from = 4096 * (seed as usize % 4 + 1);
        for (at, byte) in bytes.iter_mut().enumerate().skip(from) {
            *byte ^= (at as u32)
                .wrapping_mul(2_654_435_761)
                .wrapping_add(seed)
                .to_le_bytes()[3];
        }
        std::fs::write(&file, &bytes).unwrap();
        let ran = assay(dir.path(), &["db", "show", "--datadir", "node"], b"");
        assert!(!ran.err.contains("thread '"), "{}", ran.err);
        panicked += usize::from(ran.err.contains("the database code panicked over it: "));
    }
    assert!(panicked > 0, "no damage of these made the database code panic");
}

#[test]
fn pruning_asks_for_a_limit_and_keeps_what_peers_are_served() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("node"));
    let usage = binary().args(["db", "prune", "--datadir", "x"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "without a limit");
    let prune = |more: &[&str]| {
        let mut args = vec!["db", "prune", "--datadir", "node"];
        args.extend(more);
        assay(dir.path(), &args, b"")
    };
    // Nothing is final here, so peers may ask for everything.
    let error = prune(&["--before-slot", "3"]).error();
    assert!(error.contains("peers are served from slot 0 on"), "{error}");
    assert!(prune(&["--max-size", "1KiB"]).text().starts_with("0 proofs"));
    let error = prune(&["--max-size", "lots"]).error();
    assert!(error.contains("--max-size \"lots\""), "{error}");
    assert!(
        prune(&["--max-size", "1KiB", "--dry-run"])
            .text()
            .contains("would go")
    );
    assert!(prune(&["--compact"]).text().starts_with("0 proofs"));
    let text = assay(dir.path(), &["db", "verify", "--datadir", "node"], b"").text();
    assert!(text.ends_with("0 wrong"), "{text}");
}
