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
