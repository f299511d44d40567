//! The engine with real proofs and a guest of our own: a table that claims what their public values stand for.

use crate::{
    places::public_value_places,
    samples::{Sample, key_file, sample, sha256, with_key},
};
use assay_native_verifiers::{
    Guest, NativeEngine, NativeLimits, NativeMetrics, StatementTable, SystemName, VerifierSetting,
};
use assay_proof_engine::{ProofEngine, Verification};
use assay_types::{ExecutionProof, ProofType, PublicInput, Root};
use std::sync::Arc;

const CHAIN_ID: u64 = 1337;

fn root() -> Root {
    Root::from([0x25; 32])
}

fn setting(system: SystemName, sample: &Sample, proof_type: ProofType, guest: &str) -> VerifierSetting {
    let line = format!(
        "{proof_type}:{system}:vk={}:sha256={}:guest={guest}",
        key_file(system).display(),
        sha256(&sample.key)
    );
    line.parse().unwrap()
}

fn proof(proof_type: ProofType, root: Root, bytes: Vec<u8>) -> ExecutionProof {
    ExecutionProof {
        proof_data: bytes.into(),
        proof_type,
        public_input: PublicInput {
            new_payload_request_root: root,
        },
    }
}

fn engine(settings: &[VerifierSetting]) -> NativeEngine {
    let verifiers = settings
        .iter()
        .map(|setting| {
            (
                setting.definition().proof_type,
                setting.load(CHAIN_ID, true).unwrap(),
            )
        })
        .collect();
    NativeEngine::new(
        verifiers,
        CHAIN_ID,
        NativeLimits::default(),
        NativeMetrics::default(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_proof_counts_for_the_root_its_public_values_stand_for_and_no_other() {
    let samples = SystemName::ALL.map(|system| (system, sample(system)));
    let home = tempfile::tempdir().unwrap();
    let table = home.path().join("statements");
    let claims: String = samples
        .iter()
        .map(|(_, sample)| format!("{} {}\n", root(), sha256(&sample.public_values)))
        .collect();
    std::fs::write(&table, claims).unwrap();
    let guest = format!("unsafe-statements:statements={}", table.display());
    let settings: Vec<_> = samples
        .iter()
        .zip([5, 6])
        .map(|((system, sample), proof_type)| setting(*system, sample, proof_type, &guest))
        .collect();
    let engine = engine(&settings);
    assert!(engine.is_insecure(), "a table proves nothing");

    for ((system, sample), proof_type) in samples.iter().zip([5, 6]) {
        let verify = |root, bytes| {
            let proof = proof(proof_type, root, bytes);
            let engine = &engine;
            async move { engine.verify(&proof.clone().into()).await.unwrap() }
        };
        assert_eq!(verify(root(), sample.proof.clone()).await, Verification::Valid);
        let mut other = [0x25; 32];
        other[31] ^= 1;
        let said = verify(other.into(), sample.proof.clone()).await;
        assert!(
            matches!(&said, Verification::Invalid(why) if why.contains("request root")),
            "{said:?}"
        );
        // Claimed, too, are public values that were changed: then it is the proof that refuses them.
        let at = public_value_places(*system, sample)[0];
        let mut changed = sample.proof.clone();
        changed[at] ^= 0x10;
        let mut values = sample.public_values.clone();
        values[0] = changed[at];
        let claims = format!("{} {}\n", root(), sha256(&values));
        let before = std::fs::read_to_string(&table).unwrap();
        std::fs::write(&table, before + &claims).unwrap();
        let said = verify(root(), changed).await;
        assert!(
            matches!(&said, Verification::Invalid(why) if why.contains("does not verify")),
            "{said:?}"
        );
        // Another system's proof under this type.
        let (_, foreign) = samples.iter().find(|(other, _)| other != system).unwrap();
        let said = verify(root(), foreign.proof.clone()).await;
        assert!(
            matches!(&said, Verification::Invalid(why) if why.contains("not a proof")),
            "{said:?}"
        );
    }
}

/// The proofs are of programs that know no payload: no family of block validators takes them.
#[tokio::test]
async fn no_family_takes_a_proof_of_another_program_for_one_of_a_payload() {
    for system in SystemName::ALL {
        let sample = sample(system);
        for guest in [
            "output",
            "output-sha256",
            "validation-result",
            "validation-result-sha256",
        ] {
            let engine = engine(&[setting(system, &sample, 5, guest)]);
            let said = engine
                .verify(&proof(5, root(), sample.proof.clone()).into())
                .await
                .unwrap();
            assert!(
                matches!(&said, Verification::Invalid(why) if why.contains("request root")),
                "{said:?}"
            );
        }
    }
}

/// As many at once as there are callers: all are judged, and rightly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once() {
    let sample = sample(SystemName::Zisk);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("statements");
    std::fs::write(&path, format!("{} {}\n", root(), sha256(&sample.public_values))).unwrap();
    let verifier = assay_native_verifiers::NativeVerifier {
        system: with_key(SystemName::Zisk, &sample.key).unwrap(),
        guest: Guest::UnsafeStatements(Arc::new(StatementTable::new(&path).unwrap())),
    };
    let limits = NativeLimits {
        timeout: std::time::Duration::from_secs(120),
        ..NativeLimits::default()
    };
    let engine = NativeEngine::new(vec![(6, verifier)], CHAIN_ID, limits, NativeMetrics::default()).unwrap();
    let engine = Arc::new(engine);
    let calls: Vec<_> = (0..12)
        .map(|n| {
            let engine = engine.clone();
            let mut bytes = sample.proof.clone();
            if n % 2 == 1 {
                bytes[1000 + n] ^= 1;
            }
            let proof = proof(6, root(), bytes);
            tokio::spawn(async move { engine.verify(&proof.clone().into()).await.unwrap() })
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap() == Verification::Valid, n % 2 == 0, "{n}");
    }
}

/// The stack that threads have is sixteen times what a real proof is verified with here.
#[tokio::test]
async fn a_sixteenth_of_the_stack_is_enough() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("statements");
        std::fs::write(&path, format!("{} {}\n", root(), sha256(&sample.public_values))).unwrap();
        let guest = format!("unsafe-statements:statements={}", path.display());
        let verifier = setting(system, &sample, 5, &guest).load(CHAIN_ID, true).unwrap();
        let limits = NativeLimits::default();
        let limits = NativeLimits {
            stack_size: limits.stack_size / 16,
            ..limits
        };
        let engine =
            NativeEngine::new(vec![(5, verifier)], CHAIN_ID, limits, NativeMetrics::default()).unwrap();
        let said = engine.verify(&proof(5, root(), sample.proof).into()).await;
        assert_eq!(said, Ok(Verification::Valid), "{system}");
    }
}
