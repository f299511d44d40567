//! Flags, environment and file: one precedence, and errors that name the setting.

use crate::binary;
use std::process::Output;

fn node(file: &str, env: &[(&str, &str)], flags: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("assay.toml");
    std::fs::write(&path, file).unwrap();
    let mut command = binary();
    command.arg("node").arg("--config").arg(&path).args(flags);
    for (name, value) in env {
        command.env(name, value);
    }
    // Every one of these has a setting that is refused before anything starts.
    command.output().unwrap()
}

#[test]
fn a_setting_that_is_refused_is_named_wherever_it_came_from() {
    for (file, env, flags, says) in [
        ("required-proofs = 0\n", vec![], vec![], "--required-proofs"),
        (
            "",
            vec![("ASSAY_REQUIRED_PROOFS", "0")],
            vec![],
            "--required-proofs",
        ),
        ("", vec![], vec!["--required-proofs", "0"], "--required-proofs"),
        // The environment wins over the file, flags win over both.
        (
            "required-proofs = 1\n",
            vec![("ASSAY_REQUIRED_PROOFS", "0")],
            vec![],
            "--required-proofs",
        ),
        (
            "beacon-node = \"nonsense\"\n",
            vec![("ASSAY_REQUIRED_PROOFS", "0")],
            vec!["--beacon-node", "http://x"],
            "--required-proofs",
        ),
        ("no-such-setting = 1\n", vec![], vec![], "no-such-setting"),
        ("http-port = 99999\n", vec![], vec![], "http-port"),
        ("http-port = 99999\n", vec![], vec![], "assay.toml: "),
        ("", vec![("ASSAY_HTTP_PORT", "many")], vec![], "ASSAY_HTTP_PORT"),
        ("", vec![], vec!["--max-db-size", "lots"], "--max-db-size"),
        (
            "proof-types = \"1,x\"\n",
            vec![],
            vec![],
            "\"x\": proof types are numbers from 0 to 255",
        ),
        (
            "",
            vec![],
            vec!["--proof-engine-endpoint", "dev,dev"],
            "dev stands there twice",
        ),
        ("max-db-size = \"lots\"\n", vec![], vec![], "lots"),
        ("import-policy = \"sometimes\"\n", vec![], vec![], "sometimes"),
        ("beacon-node = http\n", vec![], vec![], "TOML"),
    ] {
        let output = node(file, &env, &flags);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{file:?} {env:?} {flags:?}: {text}"
        );
        assert!(
            text.to_lowercase().contains(&says.to_lowercase()),
            "{file:?} {env:?} {flags:?}: {says:?} is not in {text}"
        );
        assert!(!text.contains(".rs"), "names our source: {text}");
    }
}

#[test]
fn what_file_and_flags_say_of_numbers_is_put_together() {
    let file = "proof-engine-endpoint = [\"dev\"]\nrequired-proofs = 0\n\
                [[proof-type]]\ntype = 1\nsystem = \"sp1\"\nname = \"a\"\n\
                [[proof-type]]\ntype = 2\nsystem = \"zisk\"\nname = \"b\"\n";
    let file_and = |by: &str| format!("assay.toml and \"{by}\"");
    for (env, flags, says) in [
        // Only what is wrong beside it is refused.
        (
            vec![],
            vec!["--proof-type", "3:sp1:name=c"],
            vec!["--required-proofs"],
        ),
        (
            vec![],
            vec!["--proof-type", "1:sp1:name=a:version=7"],
            vec!["--required-proofs"],
        ),
        (
            vec![],
            vec!["--proof-type", "1:zisk:name=zzz"],
            vec![
                "proof type 1",
                "proof-type in",
                &file_and("zisk"),
                "by --proof-type",
            ],
        ),
        (
            vec![("ASSAY_PROOF_TYPE", "2:name=c")],
            vec![],
            vec!["proof type 2", &file_and("c"), "by ASSAY_PROOF_TYPE"],
        ),
        (
            vec![("ASSAY_PROOF_TYPE", "3:name=c")],
            vec!["--proof-engine-types", "3=d"],
            vec!["\"c\" by ASSAY_PROOF_TYPE and \"d\" by --proof-engine-types"],
        ),
        (
            vec![],
            vec!["--proof-engine-types", "2=c"],
            vec![&file_and("c"), "by --proof-engine-types"],
        ),
    ] {
        let output = node(file, &env, &flags);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{env:?} {flags:?}: {text}");
        for says in says {
            assert!(
                text.contains(says),
                "{env:?} {flags:?}: {says:?} is not in {text}"
            );
        }
    }
}

#[test]
fn help_is_grouped() {
    let output = binary().args(["node", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for group in [
        "Beacon node:",
        "Execution client and gate:",
        "Network:",
        "HTTP API and metrics:",
        "Proof engine:",
        "Store:",
    ] {
        assert!(text.contains(group), "{group}");
    }
}
