#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::testing::{SignerFaults, StubWeb3Signer};
use assay_types::{Epoch, PublicInput, PublicKey, SecretKey, Spec, spec::Genesis};
use assay_types::{ExecutionProof, Revision};
use std::path::Path;

fn public(index: u64) -> PublicKeyBytes {
    SecretKey::interop(index).public_key().to_bytes()
}

fn message() -> SigningMessage {
    let genesis = Genesis {
        genesis_time: 0,
        genesis_validators_root: Root::from([9; 32]),
    };
    let proof = ExecutionProof {
        proof_data: vec![0xab; 5000].into(),
        proof_type: 6,
        public_input: PublicInput {
            new_payload_request_root: Root::from([7; 32]),
        },
    };
    SigningMessage::new(
        &Spec::minimal(),
        &genesis,
        Epoch(0),
        Revision::Alpha,
        proof.into(),
    )
}

fn config(url: &str) -> Web3SignerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Web3SignerConfig {
        timeout: Duration::from_secs(10),
        ..Web3SignerConfig::new(url.parse().unwrap())
    }
}

fn verifies(signature: &SignatureBytes, index: u64, message: &SigningMessage) -> bool {
    let key = PublicKey::from_bytes(&public(index)).unwrap();
    key.verify(&message.signing_root, signature)
}

#[tokio::test]
async fn what_is_sent_and_what_comes_back() {
    let stub = StubWeb3Signer::start(&[3, 5]).await.unwrap();
    let signer = Web3Signer::new(config(stub.url())).unwrap();
    let mut both = vec![public(3), public(5)];
    both.sort();
    assert_eq!(signer.public_keys().await.unwrap(), both);
    let message = message();
    let signature = signer.sign(&public(3), &message).await.unwrap();
    assert!(verifies(&signature, 3, &message));
    // The form of eth-act's Lighthouse, field by field.
    let proof = serde_json::json!({
        "proof_data": format!("0x{}", "ab".repeat(5000)),
        "proof_type": "6",
        "public_input": {"new_payload_request_root": format!("0x{}", "07".repeat(32))},
    });
    let version = message.fork.current_version;
    let mut expected = serde_json::json!({
        "type": "EXECUTION_PROOF",
        "fork_info": {
            "fork": {"previous_version": version, "current_version": version, "epoch": "0"},
            "genesis_validators_root": format!("0x{}", "09".repeat(32)),
        },
        "signingRoot": message.signing_root,
        "execution_proof": proof,
    });
    assert_eq!(stub.last_request(), Some(expected.clone()));
    // Another name, and no proof; keys that were named are not asked for; bare hex.
    let without = Web3SignerConfig {
        message_type: "PROOF".to_owned(),
        send_proof: false,
        public_keys: vec![public(5)],
        ..config(stub.url())
    };
    let signer = Web3Signer::new(without).unwrap();
    stub.set_faults(SignerFaults {
        plain_text: true,
        ..SignerFaults::default()
    });
    assert_eq!(signer.public_keys().await.unwrap(), [public(5)]);
    let signature = signer.sign(&public(5), &message).await.unwrap();
    assert!(verifies(&signature, 5, &message));
    expected["type"] = "PROOF".into();
    expected.as_object_mut().unwrap().remove("execution_proof");
    assert_eq!(stub.last_request(), Some(expected));
}

#[tokio::test]
async fn what_goes_wrong_there_is_told_and_tried_again_where_that_helps() {
    let stub = StubWeb3Signer::start(&[3]).await.unwrap();
    let short = Web3SignerConfig {
        timeout: Duration::from_millis(1500),
        ..config(stub.url())
    };
    let signer = Web3Signer::new(short).unwrap();
    let message = message();
    let sign = async |faults: SignerFaults| {
        stub.set_faults(faults);
        let before = stub.sign_calls();
        let outcome = signer.sign(&public(3), &message).await;
        (outcome, stub.sign_calls() - before)
    };
    let none = SignerFaults::default;
    let failing = |failing_calls| SignerFaults {
        failing_calls,
        ..none()
    };
    let (signed, calls) = sign(failing(2)).await;
    assert!(signed.is_ok() && calls == 3, "{signed:?}, {calls}");
    let (failed, calls) = sign(failing(3)).await;
    assert!(
        matches!(&failed, Err(KeyError::Unavailable(why)) if why.contains("503")),
        "{failed:?}"
    );
    assert_eq!(calls, 3);
    let answer = |text: &str| SignerFaults {
        answer: Some(text.to_owned()),
        ..none()
    };
    type Is = fn(&KeyError) -> bool;
    let no_signature: Is = |e| matches!(e, KeyError::Unavailable(why) if why.contains("no signature"));
    let table: [(SignerFaults, Is); 8] = [
        (
            SignerFaults {
                silent: true,
                ..none()
            },
            |e| matches!(e, KeyError::Unavailable(why) if why.contains("timed out")),
        ),
        (
            SignerFaults {
                unknown_type: true,
                ..none()
            },
            |e| matches!(e, KeyError::Refused(why) if why.contains("unknown type id")),
        ),
        (
            SignerFaults {
                endless: Some(1024),
                ..none()
            },
            no_signature,
        ),
        (answer(""), no_signature),
        (answer("{}"), no_signature),
        (answer("0x1234"), no_signature),
        (answer("{\"signature\": \"0x00\"}"), no_signature),
        (answer("<html>"), no_signature),
    ];
    for (faults, is) in table {
        let shown = format!("{faults:?}");
        let (outcome, calls) = sign(faults).await;
        assert!(is(outcome.as_ref().unwrap_err()), "{shown}: {outcome:?}");
        assert_eq!(calls, 1, "{shown}: not made again");
    }
    let unknown = signer.sign(&public(4), &message).await;
    stub.set_faults(none());
    assert!(unknown.is_err());
    let unknown = signer.sign(&public(4), &message).await;
    assert_eq!(unknown, Err(KeyError::NoKey));
    // Lists that are none.
    let too_many: Vec<String> = (0..=MAX_KEYS).map(|n| format!("0x{n:096x}")).collect();
    for list in [
        "{}".to_owned(),
        "[\"0x12\"]".to_owned(),
        serde_json::to_string(&too_many).unwrap(),
    ] {
        stub.set_faults(answer(&list));
        let listed = signer.public_keys().await;
        assert!(matches!(&listed, Err(KeyError::Unavailable(_))), "{listed:?}");
    }
    stub.set_faults(SignerFaults {
        endless: Some(1024),
        ..none()
    });
    assert!(signer.public_keys().await.is_err());
    drop(stub);
    let gone = signer.public_keys().await;
    assert!(matches!(gone, Err(KeyError::Unavailable(_))), "{gone:?}");
}

#[tokio::test]
async fn client_certificates() {
    let home = tempfile::tempdir().unwrap();
    let (stub, files) = StubWeb3Signer::start_tls(&[3], home.path()).await.unwrap();
    let with = |ca: Option<&Path>, client: Option<&(PathBuf, PathBuf)>| {
        let config = Web3SignerConfig {
            ca: ca.map(Path::to_owned),
            client_identity: client.cloned(),
            ..config(stub.url())
        };
        Web3Signer::new(config).unwrap()
    };
    let message = message();
    let signer = with(Some(&files.ca), Some(&files.client));
    assert_eq!(signer.public_keys().await.unwrap(), [public(3)]);
    let signature = signer.sign(&public(3), &message).await.unwrap();
    assert!(verifies(&signature, 3, &message));
    // Both in one file.
    let one = home.path().join("one.pem");
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    std::fs::write(&one, text(&files.client.0) + &text(&files.client.1)).unwrap();
    let signer = with(Some(&files.ca), Some(&(one.clone(), one)));
    assert!(signer.public_keys().await.is_ok());
    // Without a certificate, with a stranger's, and a signer whose authority is not known.
    for (ca, client) in [
        (Some(files.ca.as_path()), None),
        (Some(files.ca.as_path()), Some(&files.stranger)),
        (None, Some(&files.client)),
        (Some(files.stranger.0.as_path()), Some(&files.client)),
    ] {
        let refused = with(ca, client).public_keys().await;
        let why = format!("{refused:?}");
        assert!(matches!(refused, Err(KeyError::Unavailable(_))), "{why}");
        let says = why.to_lowercase();
        assert!(says.contains("certificate") || says.contains("alert"), "{why}");
    }
    assert_eq!(stub.sign_calls(), 1, "nothing got through");
}

#[test]
fn files_and_urls_that_are_none() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let none = file("none.pem", "not PEM");
    let large = file("large.pem", &" ".repeat(300_000));
    let missing = home.path().join("missing.pem");
    let refused = |change: &dyn Fn(&mut Web3SignerConfig)| {
        let mut config = config("https://user:secret@signer:9000");
        change(&mut config);
        let error = Web3Signer::new(config).map(drop).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        error
    };
    assert!(refused(&|c| c.url = "ftp://signer".parse().unwrap()).contains("http or https"));
    assert!(refused(&|c| c.public_keys = vec![PublicKeyBytes::ZERO; MAX_KEYS + 1]).contains("more than"));
    let plain = refused(&|c| {
        c.url = "http://user:secret@signer".parse().unwrap();
        c.ca = Some(none.clone());
    });
    assert!(plain.contains("https only"), "{plain}");
    for path in [&none, &large, &missing] {
        let name = path.file_name().unwrap().to_str().unwrap();
        let error = refused(&|c| c.ca = Some(path.clone()));
        assert!(error.contains(name), "{error}");
        let error = refused(&|c| c.client_identity = Some((path.clone(), path.clone())));
        assert!(error.contains(name), "{error}");
    }
}
