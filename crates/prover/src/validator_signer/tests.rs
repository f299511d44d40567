#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::LocalKeys;
use assay_proof_engine::{DevConfig, DevEngine, DevProver};
use assay_types::{ExecutionProof, PublicInput, Revision, Root, SecretKey, SignatureBytes, Spec};
use assay_verification::testing::MemoryChain;
use axum::{Router, extract::Path, http::StatusCode, response::IntoResponse, routing::get};
use parking_lot::Mutex;
use serde_json::json;

/// Whose key it signs with, asked for this one's.
type Signs = fn(u64) -> Result<u64, KeyError>;

/// A source of keys that answers as it is told.
struct Fake {
    keys: Mutex<Result<Vec<u64>, KeyError>>,
    signs_as: Mutex<Signs>,
    asked: Mutex<Vec<u64>>,
}

fn public(index: u64) -> PublicKeyBytes {
    SecretKey::interop(index).public_key().to_bytes()
}

impl Fake {
    fn new(keys: &[u64]) -> Arc<Self> {
        Arc::new(Self {
            keys: Mutex::new(Ok(keys.to_vec())),
            signs_as: Mutex::new(Ok),
            asked: Mutex::default(),
        })
    }
}

#[async_trait]
impl KeySigner for Fake {
    fn name(&self) -> &str {
        "told"
    }

    async fn public_keys(&self) -> Result<Vec<PublicKeyBytes>, KeyError> {
        let keys = self.keys.lock().clone()?;
        Ok(keys.into_iter().map(public).collect())
    }

    async fn sign(&self, key: &PublicKeyBytes, message: &SigningMessage) -> Result<SignatureBytes, KeyError> {
        let index = (0..100).find(|index| public(*index) == *key).unwrap();
        self.asked.lock().push(index);
        let signs_as = *self.signs_as.lock();
        let index = signs_as(index)?;
        Ok(SecretKey::interop(index).sign(&message.signing_root))
    }
}

/// Entries from here on name validators of whom the beacon node cannot tell.
const FAILS: u64 = u64::MAX - 9;

/// Validators by interop key: activation and exit epoch.
type Registry = Arc<Mutex<BTreeMap<u64, (u64, u64)>>>;

async fn beacon_node(registry: Registry) -> NodeApi {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = async move |Path(key): Path<String>| {
        let registry = registry.lock();
        let fails = registry
            .range(FAILS..)
            .any(|(_, (failing, _))| key == public(*failing).to_string());
        if registry.is_empty() || fails {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let found = registry
            .iter()
            .find(|(index, _)| public(**index).to_string() == key);
        let Some((index, (from, until))) = found else {
            return StatusCode::NOT_FOUND.into_response();
        };
        axum::Json(json!({"execution_optimistic": false, "finalized": false, "data": {"index": index.to_string(),
            "validator": {"pubkey": key, "activation_epoch": from.to_string(), "exit_epoch": until.to_string()}}}))
        .into_response()
    };
    let routes = Router::new().route("/eth/v1/beacon/states/head/validators/{key}", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    NodeApi::new(&url).unwrap()
}

fn spec() -> Arc<Spec> {
    Arc::new(Spec::minimal())
}

async fn checked() -> CheckedProof {
    let dev = DevConfig {
        proof_types: vec![1],
        ..DevConfig::new("seed".to_owned(), spec())
    };
    let engine = DevEngine::new(dev).unwrap();
    let root = Root::from([7; 32]);
    let proof = ExecutionProof {
        proof_data: DevProver::new("seed".to_owned(), 4096)
            .prove(&root, 1, 100)
            .unwrap(),
        proof_type: 1,
        public_input: PublicInput {
            new_payload_request_root: root,
        },
    };
    CheckedProof::check(&engine, &spec(), Revision::Alpha, proof)
        .await
        .unwrap()
}

/// A payload of this slot, in block 8.
fn at(slot: u64) -> PayloadInfo {
    let (root, spec) = (Root::from([7; 32]), spec());
    PayloadInfo {
        new_payload_request_root: root,
        block_hash: root,
        parent_hash: root,
        slot: Slot(slot),
        fork: spec.fork_at_epoch(spec.epoch_at_slot(Slot(slot))),
        block_root: Some(Root::from([8; 32])),
        source: assay_chain::PayloadSource::Embedder,
    }
}

fn chain() -> Arc<MemoryChain> {
    Arc::new(MemoryChain::new(spec(), Root::from([1; 32])))
}

const FOREVER: (u64, u64) = (0, u64::MAX);

#[tokio::test]
async fn active_validators_take_turns_and_whoever_cannot_is_stood_in_for() {
    let registry: Registry = Arc::new(Mutex::new(BTreeMap::from([
        (3, FOREVER),
        (5, FOREVER),
        (8, (1, u64::MAX)),
        (9, (0, 0)),
    ])));
    let api = beacon_node(registry).await;
    let (local, remote) = (
        LocalKeys::from_keys([SecretKey::interop(3)]),
        // 3 is here too: the first source has it. 77 is in no registry.
        Fake::new(&[3, 5, 8, 9, 77]),
    );
    let chain = chain();
    let signer = ValidatorSigner::new(chain.clone(), vec![Arc::new(local), remote.clone()]);
    let early = signer.sign(checked().await, &at(0)).await;
    assert!(
        matches!(early, Err(SignError::NoValidator(Slot(0)))),
        "nobody was looked up yet"
    );
    let mut told = Told::default();
    assert!(signer.look_up(&api, &mut told).await);
    let per_epoch = chain.spec().slots_per_epoch;
    assert_eq!(signer.validators(Slot(0)), [3, 5]);
    assert_eq!(
        signer.validators(Slot(per_epoch)),
        [3, 5, 8],
        "active from epoch 1 on"
    );
    let standings: Vec<Standing> = [3, 8, 9, 77].map(|i| told.standing[&public(i)]).into();
    let expected = [
        Standing::Active,
        Standing::Pending,
        Standing::Exited,
        Standing::Unknown,
    ];
    assert_eq!(standings, expected);

    for slot in 0..4 {
        let signed = signer.sign(checked().await, &at(slot)).await.unwrap();
        let turn = [3, 5][usize::try_from(slot % 2).unwrap()];
        assert_eq!(signed.validator_index, turn);
        // By the rule, not by this signer.
        let epoch = chain.spec().epoch_at_slot(Slot(slot));
        let root = chain.spec().proof_message_root(epoch, &signed.message);
        let root = chain
            .spec()
            .execution_proof_signing_root(&chain.genesis(), epoch, &root);
        let key = PublicKey::from_bytes(&public(turn)).unwrap();
        assert!(key.verify(&root, &signed.signature), "slot {slot}");
    }
    assert_eq!(
        *remote.asked.lock(),
        [5, 5],
        "3 was signed for with the key of the first source"
    );

    // Another key's signature is not used, nor is an error the end: 3 stands in.
    let wrongs: [Signs; 3] = [
        |i| Ok(i + 1),
        |_| Err(KeyError::NoKey),
        |_| Err(KeyError::Unavailable("down".into())),
    ];
    for wrong in wrongs {
        *remote.signs_as.lock() = wrong;
        let signed = signer.sign(checked().await, &at(1)).await.unwrap();
        assert_eq!(signed.validator_index, 3);
    }
    assert_eq!(
        (signer.metrics().signed.get(), signer.metrics().failed.get()),
        (7, 3)
    );
    assert_eq!(signer.metrics().active.get(), 2);
}

#[tokio::test]
async fn nothing_is_signed_by_a_key_that_is_not_the_validators() {
    let registry: Registry = Arc::new(Mutex::new(BTreeMap::from([(5, FOREVER)])));
    let api = beacon_node(registry).await;
    let remote = Fake::new(&[5]);
    *remote.signs_as.lock() = |_| Ok(6);
    let signer = ValidatorSigner::new(chain(), vec![remote]);
    signer.look_up(&api, &mut Told::default()).await;
    let refused = signer.sign(checked().await, &at(0)).await;
    assert!(
        matches!(&refused, Err(SignError::Signer(why)) if why.contains("does not verify")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_asked_now_keeps_what_was_known() {
    let registry: Registry = Arc::new(Mutex::new(BTreeMap::from([(3, FOREVER), (5, FOREVER)])));
    let api = beacon_node(registry.clone()).await;
    let remote = Fake::new(&[3, 5]);
    let signer = ValidatorSigner::new(chain(), vec![remote.clone()]);
    let mut told = Told::default();
    assert!(signer.look_up(&api, &mut told).await);
    // The signer does not tell its keys; then the beacon node does not answer.
    *remote.keys.lock() = Err(KeyError::Unavailable("down".into()));
    assert!(!signer.look_up(&api, &mut told).await);
    assert_eq!(signer.validators(Slot(0)), [3, 5]);
    *remote.keys.lock() = Ok(vec![3, 5]);
    let all = std::mem::take(&mut *registry.lock());
    assert!(!signer.look_up(&api, &mut told).await);
    assert_eq!(signer.validators(Slot(0)), [3, 5]);
    // A key that is taken away there, and a validator that leaves.
    *registry.lock() = all;
    *remote.keys.lock() = Ok(vec![5]);
    assert!(signer.look_up(&api, &mut told).await);
    assert_eq!(signer.validators(Slot(0)), [5]);
    registry.lock().insert(5, (0, 0));
    assert!(signer.look_up(&api, &mut told).await);
    assert!(signer.validators(Slot(0)).is_empty());
    // Told after each round, to whoever listens.
    let mut changes = signer.changes();
    let waiting = async { changes.changed().await.is_ok() };
    tokio::select! {
        told = waiting => assert!(told),
        () = signer.keep_up(&api) => panic!("it has no end"),
    }
}

#[tokio::test]
async fn one_that_cannot_be_told_of_keeps_no_other_waiting() {
    for failing in [3, 5, 8] {
        let all = [(3, FOREVER), (5, FOREVER), (8, FOREVER), (FAILS, (failing, 0))];
        let api = beacon_node(Arc::new(Mutex::new(BTreeMap::from(all)))).await;
        let signer = ValidatorSigner::new(chain(), vec![Fake::new(&[3, 5, 8])]);
        assert!(!signer.look_up(&api, &mut Told::default()).await);
        let others: Vec<u64> = [3, 5, 8].into_iter().filter(|n| *n != failing).collect();
        assert_eq!(signer.validators(Slot(0)), others);
    }
}

/// More than a round asks for fail: the rounds after it begin behind them.
#[tokio::test]
async fn several_that_cannot_be_told_of_keep_no_other_waiting() {
    let mut by_key: Vec<u64> = (1..=8).collect();
    by_key.sort_by_key(|n| public(*n));
    let mut registry: BTreeMap<u64, (u64, u64)> = (1..=8).map(|n| (n, FOREVER)).collect();
    for (at, failing) in by_key[..4].iter().enumerate() {
        registry.insert(FAILS + at as u64, (*failing, 0));
    }
    let api = beacon_node(Arc::new(Mutex::new(registry))).await;
    let signer = ValidatorSigner::new(chain(), vec![Fake::new(&by_key)]);
    let mut told = Told::default();
    for _ in 0..3 {
        assert!(!signer.look_up(&api, &mut told).await);
    }
    let mut others = by_key[4..].to_vec();
    others.sort_unstable();
    assert_eq!(signer.validators(Slot(0)), others);
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_asked_for_one_key_only() {
    let registry: Registry = Arc::new(Mutex::new((1..=5).map(|n| (n, FOREVER)).collect()));
    let api = beacon_node(registry).await;
    let (silent, other) = (Fake::new(&[1, 2, 3, 4]), Fake::new(&[5]));
    *silent.signs_as.lock() = |_| Err(KeyError::Unavailable("no answer".into()));
    let signer = ValidatorSigner::new(chain(), vec![silent.clone(), other]);
    signer.look_up(&api, &mut Told::default()).await;
    let signed = signer.sign(checked().await, &at(0)).await.unwrap();
    assert_eq!(signed.validator_index, 5);
    assert_eq!(*silent.asked.lock(), [1]);
    // One that refuses a key may have another.
    *silent.signs_as.lock() = |n| if n < 3 { Err(KeyError::NoKey) } else { Ok(n) };
    let signed = signer.sign(checked().await, &at(0)).await.unwrap();
    assert_eq!(signed.validator_index, 3);
}
