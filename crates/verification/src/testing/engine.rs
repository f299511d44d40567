//! A `ProofEngine` that answers at once, from the proof's first byte.

use assay_proof_engine::{EngineError, EngineEvent, ProofEngine, ProofGenId, Verification};
use assay_types::{EngineInput, NewPayloadRequest, ProofType, Root};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

struct Script {
    down: bool,
    verdict: Option<Verification>,
    delay: Duration,
    asked: usize,
    last: Option<EngineInput>,
    under_way: usize,
    most_under_way: usize,
    makes: bool,
    requested: Vec<(Root, Vec<ProofType>)>,
}

/// Proofs that begin with `I` are invalid, with `U` unsupported, with `P` make it panic; all others are valid.
pub struct ScriptedEngine {
    types: Vec<ProofType>,
    script: Mutex<Script>,
    events: broadcast::Sender<EngineEvent>,
}

impl ScriptedEngine {
    /// Verifies these types, and is up.
    pub fn new(types: impl Into<Vec<ProofType>>) -> Self {
        let script = Script {
            down: false,
            verdict: None,
            delay: Duration::ZERO,
            asked: 0,
            last: None,
            under_way: 0,
            most_under_way: 0,
            makes: false,
            requested: Vec::new(),
        };
        Self {
            types: types.into(),
            script: Mutex::new(script),
            events: broadcast::channel(16).0,
        }
    }

    /// Down: every call fails.
    pub fn set_down(&self, down: bool) {
        self.script.lock().down = down;
    }

    /// Says this of every proof from now on; `None`: what its first byte says.
    pub fn set_verdict(&self, verdict: Option<Verification>) {
        self.script.lock().verdict = verdict;
    }

    /// Time that each call takes.
    pub fn set_delay(&self, delay: Duration) {
        self.script.lock().delay = delay;
    }

    /// Takes requests for proofs from now on; their ids are the first bytes of the root.
    pub fn set_makes_proofs(&self, makes: bool) {
        self.script.lock().makes = makes;
    }

    /// The requests it took.
    pub fn requested(&self) -> Vec<(Root, Vec<ProofType>)> {
        self.script.lock().requested.clone()
    }

    /// Tells an event.
    pub fn tell(&self, event: EngineEvent) {
        // Nobody listening is fine.
        drop(self.events.send(event));
    }

    /// What it was asked last.
    pub fn last_asked(&self) -> Option<EngineInput> {
        self.script.lock().last.clone()
    }

    /// Calls of `verify` so far, and most at once.
    pub fn calls(&self) -> (usize, usize) {
        let script = self.script.lock();
        (script.asked, script.most_under_way)
    }
}

#[async_trait]
impl ProofEngine for ScriptedEngine {
    fn name(&self) -> &str {
        "scripted"
    }
    fn proof_types(&self) -> Vec<ProofType> {
        self.types.clone()
    }
    fn is_insecure(&self) -> bool {
        true
    }
    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        let delay = {
            let mut script = self.script.lock();
            script.asked += 1;
            script.last = Some(proof.clone());
            script.under_way += 1;
            script.most_under_way = script.most_under_way.max(script.under_way);
            script.delay
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (down, verdict) = {
            let mut script = self.script.lock();
            script.under_way -= 1;
            (script.down, script.verdict.clone())
        };
        if down {
            return Err(EngineError::Unavailable("as the test wants it".to_owned()));
        }
        if let Some(verdict) = verdict {
            return Ok(verdict);
        }
        match proof.proof_data.first() {
            Some(b'I') => Ok(Verification::Invalid("it says so".to_owned())),
            Some(b'U') => Ok(Verification::Unsupported),
            #[allow(clippy::panic, reason = "what a test of contained panics asks for")]
            Some(b'P') => panic!("as the test wants it"),
            _ => Ok(Verification::Valid),
        }
    }
    async fn request(
        &self,
        root: Root,
        _: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        let mut script = self.script.lock();
        if !script.makes || script.down {
            return Err(EngineError::Unavailable("it makes no proofs".to_owned()));
        }
        script.requested.push((root, types.to_vec()));
        let mut id = [0; 8];
        id.copy_from_slice(&root.0[..8]);
        Ok(ProofGenId(id))
    }
    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }
    async fn notify_new_payload(&self, _: Root, _: Arc<NewPayloadRequest>) {}
    async fn notify_forkchoice_updated(&self, _: Root, _: Root, _: Root) {}
}
