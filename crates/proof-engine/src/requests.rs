//! Requests for proofs that this node made, by their `ProofGenId`: what a prover that brings a proof later is held
//! against (protocol.md section 8, `POST /eth/v1/prover/execution_proofs`).

use crate::{EngineError, EngineEvent, ProofEngine, ProofGenId, Verification};
use assay_types::{EngineInput, NewPayloadRequest, ProofKey, ProofType, Root};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, broadcast},
    time::timeout_at,
};

/// Requests that are remembered at once; with more the oldest is forgotten.
pub const MAX_PROOF_REQUESTS: usize = 4096;
/// How long a request is remembered: a slow prover may need many slots, and its proof is still wanted for sync.
pub const PROOF_REQUEST_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Why a proof does not answer a request of this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestMismatch {
    /// Never made, or forgotten.
    #[error("this node made no request with this proof_gen_id, or it has expired")]
    Unknown,
    /// The request was for another payload.
    #[error("the proof names another new_payload_request_root than the request of this proof_gen_id")]
    OtherRoot,
    /// The request did not ask for this type.
    #[error("the request of this proof_gen_id did not ask for proof type {0}")]
    TypeNotAsked(ProofType),
    /// The proof of this type was brought already.
    #[error("duplicate: a proof of type {0} was already given for this proof_gen_id")]
    Delivered(ProofType),
    /// A request for this payload and type is on its way to a proof engine, which has not told its `proof_gen_id` yet.
    #[error("a request for this payload has no answer yet: bring the proof again")]
    BeingMade,
}

#[derive(Debug, Default)]
struct Request {
    asked: BTreeSet<ProofType>,
    delivered: BTreeSet<ProofType>,
    /// Number of the newest entry for it in `order`.
    newest: u64,
}

/// The requests, as plain state; time is passed in and never goes back.
///
/// Engines behind one router give ids of their own, and two of them may give the same id to two payloads: a request is
/// found by both.
#[derive(Debug, Default)]
pub struct ProofRequests {
    by_id: BTreeMap<(ProofGenId, Root), Request>,
    /// When each was made or renewed, the oldest first.
    order: VecDeque<(Instant, u64, (ProofGenId, Root))>,
    next: u64,
}

impl ProofRequests {
    /// Remembers a request. One that is there already is asked for more types, and lives on from now.
    pub fn remember(&mut self, id: ProofGenId, root: Root, types: &[ProofType], now: Instant) {
        self.expire(now);
        self.next += 1;
        let request = self.by_id.entry((id, root)).or_default();
        request.asked.extend(types);
        request.newest = self.next;
        self.order.push_back((now, self.next, (id, root)));
        // Renewals leave old entries in the order; they go with the rest from its front.
        while self.by_id.len() > MAX_PROOF_REQUESTS || self.order.len() > 2 * MAX_PROOF_REQUESTS {
            self.forget_oldest();
        }
    }

    /// Whether a proof of `key` that is brought under `id` was asked for.
    pub fn check(&mut self, id: ProofGenId, key: &ProofKey, now: Instant) -> Result<(), RequestMismatch> {
        self.expire(now);
        let root = key.new_payload_request_root;
        let Some(request) = self.by_id.get(&(id, root)) else {
            let mut of_id = self.by_id.range((id, Root::ZERO)..=(id, Root::from([0xff; 32])));
            return Err(match of_id.next() {
                Some(_) => RequestMismatch::OtherRoot,
                None => RequestMismatch::Unknown,
            });
        };
        if !request.asked.contains(&key.proof_type) {
            Err(RequestMismatch::TypeNotAsked(key.proof_type))
        } else if request.delivered.contains(&key.proof_type) {
            Err(RequestMismatch::Delivered(key.proof_type))
        } else {
            Ok(())
        }
    }

    /// A proof of `key` was brought under `id`, and taken.
    pub fn delivered(&mut self, id: ProofGenId, key: &ProofKey) {
        if let Some(request) = self.by_id.get_mut(&(id, key.new_payload_request_root)) {
            request.delivered.insert(key.proof_type);
        }
    }

    /// Requests remembered.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn expire(&mut self, now: Instant) {
        while self
            .order
            .front()
            .is_some_and(|(at, ..)| now.saturating_duration_since(*at) >= PROOF_REQUEST_LIFETIME)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, number, name)) = self.order.pop_front() else {
            return;
        };
        if self
            .by_id
            .get(&name)
            .is_some_and(|request| request.newest == number)
        {
            self.by_id.remove(&name);
        }
    }
}

/// What a book has behind its lock.
#[derive(Debug, Default)]
struct Pages {
    requests: ProofRequests,
    /// How many requests for each key wait for their `ProofGenId`; bounded by what an engine takes at once.
    being_made: BTreeMap<ProofKey, usize>,
}

#[derive(Debug, Default)]
struct Book {
    pages: Mutex<Pages>,
    /// A request was answered, or given up.
    answered: Notify,
}

/// `ProofRequests` for several users. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct RequestBook(Arc<Book>);

impl RequestBook {
    /// See `ProofRequests::remember`.
    pub fn remember(&self, id: ProofGenId, root: Root, types: &[ProofType]) {
        let mut pages = self.0.pages.lock();
        pages.requests.remember(id, root, types, Instant::now());
    }

    /// See `ProofRequests::check`. A proof may be made before the answer to its request is here, so that its
    /// `proof_gen_id` is not known yet: that answer is waited for until `until`, and `RequestMismatch::BeingMade` says
    /// that it did not come.
    pub async fn check(
        &self,
        id: ProofGenId,
        key: &ProofKey,
        until: tokio::time::Instant,
    ) -> Result<(), RequestMismatch> {
        loop {
            let mut answered = pin!(self.0.answered.notified());
            // From here on no answer is missed.
            answered.as_mut().enable();
            {
                let mut pages = self.0.pages.lock();
                let found = pages.requests.check(id, key, Instant::now());
                let settled = matches!(found, Ok(()) | Err(RequestMismatch::Delivered(_)));
                if settled || !pages.being_made.contains_key(key) {
                    return found;
                }
            }
            if timeout_at(until, answered).await.is_err() {
                return Err(RequestMismatch::BeingMade);
            }
        }
    }

    /// See `ProofRequests::delivered`.
    pub fn delivered(&self, id: ProofGenId, key: &ProofKey) {
        self.0.pages.lock().requests.delivered(id, key);
    }

    /// An engine whose requests are remembered here, whoever makes them.
    pub fn noting(&self, engine: Arc<dyn ProofEngine>) -> Arc<dyn ProofEngine> {
        Arc::new(Noted {
            engine,
            book: self.clone(),
        })
    }

    fn asking(&self, root: Root, types: &[ProofType]) -> Asking<'_> {
        let key = |proof_type: &ProofType| ProofKey {
            new_payload_request_root: root,
            proof_type: *proof_type,
        };
        let keys: Vec<ProofKey> = types.iter().map(key).collect();
        let mut pages = self.0.pages.lock();
        for key in &keys {
            *pages.being_made.entry(*key).or_default() += 1;
        }
        Asking { book: &self.0, keys }
    }
}

/// A request that has no answer yet; ends when dropped.
struct Asking<'a> {
    book: &'a Book,
    keys: Vec<ProofKey>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut pages = self.book.pages.lock();
        for key in &self.keys {
            if let Some(number) = pages.being_made.get_mut(key) {
                *number -= 1;
                if *number == 0 {
                    pages.being_made.remove(key);
                }
            }
        }
        drop(pages);
        self.book.answered.notify_waiters();
    }
}

/// An engine whose requests are remembered.
struct Noted {
    engine: Arc<dyn ProofEngine>,
    book: RequestBook,
}

#[async_trait]
impl ProofEngine for Noted {
    fn name(&self) -> &str {
        self.engine.name()
    }
    fn proof_types(&self) -> Vec<ProofType> {
        self.engine.proof_types()
    }
    fn is_insecure(&self) -> bool {
        self.engine.is_insecure()
    }
    fn makes_proofs(&self) -> bool {
        self.engine.makes_proofs()
    }
    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        self.engine.verify(proof).await
    }
    async fn request(
        &self,
        new_payload_request_root: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        // Until what is remembered can be found: a fast prover brings its proof before its answer is read.
        let _asking = self.book.asking(new_payload_request_root, types);
        let asked = self.engine.request(new_payload_request_root, request, types);
        let id = asked.await?;
        self.book.remember(id, new_payload_request_root, types);
        Ok(id)
    }
    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.engine.events()
    }
    async fn notify_new_payload(&self, new_payload_request_root: Root, request: Arc<NewPayloadRequest>) {
        self.engine
            .notify_new_payload(new_payload_request_root, request)
            .await;
    }
    async fn notify_forkchoice_updated(&self, head: Root, safe: Root, finalized: Root) {
        self.engine.notify_forkchoice_updated(head, safe, finalized).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn key(root: u8, proof_type: ProofType) -> ProofKey {
        ProofKey {
            new_payload_request_root: Root::from([root; 32]),
            proof_type,
        }
    }

    const ID: ProofGenId = ProofGenId([1; 8]);

    #[test]
    fn a_proof_is_held_against_its_request() {
        let (mut requests, start) = (ProofRequests::default(), Instant::now());
        requests.remember(ID, Root::from([1; 32]), &[1, 2], start);
        for (id, key, expected) in [
            (ID, key(1, 1), Ok(())),
            (ID, key(1, 2), Ok(())),
            (ID, key(1, 3), Err(RequestMismatch::TypeNotAsked(3))),
            (ID, key(2, 1), Err(RequestMismatch::OtherRoot)),
            (ProofGenId([0; 8]), key(1, 1), Err(RequestMismatch::Unknown)),
            (ProofGenId([2; 8]), key(1, 1), Err(RequestMismatch::Unknown)),
        ] {
            assert_eq!(requests.check(id, &key, start), expected, "{id:?} {key:?}");
        }
        requests.delivered(ID, &key(1, 1));
        assert_eq!(
            requests.check(ID, &key(1, 1), start),
            Err(RequestMismatch::Delivered(1))
        );
        assert_eq!(requests.check(ID, &key(1, 2), start), Ok(()));
        // The same id for another payload, as another engine may give it.
        requests.remember(ID, Root::from([2; 32]), &[1], start);
        assert_eq!(requests.check(ID, &key(2, 1), start), Ok(()));
        assert_eq!(
            requests.check(ID, &key(3, 1), start),
            Err(RequestMismatch::OtherRoot)
        );
    }

    #[test]
    fn requests_expire_and_a_renewed_one_lives_on() {
        let (mut requests, start) = (ProofRequests::default(), Instant::now());
        let root = Root::from([1; 32]);
        requests.remember(ID, root, &[1], start);
        let half = start + PROOF_REQUEST_LIFETIME / 2;
        requests.remember(ID, root, &[2], half);
        let after_the_first = start + PROOF_REQUEST_LIFETIME;
        assert_eq!(requests.check(ID, &key(1, 1), after_the_first), Ok(()));
        let over = half + PROOF_REQUEST_LIFETIME;
        assert_eq!(
            requests.check(ID, &key(1, 1), over),
            Err(RequestMismatch::Unknown)
        );
        assert!(requests.is_empty());
    }

    #[test]
    fn there_is_a_bound_on_what_is_remembered() {
        let (mut requests, start) = (ProofRequests::default(), Instant::now());
        let id = |n: u64| ProofGenId(n.to_be_bytes());
        let most = MAX_PROOF_REQUESTS as u64;
        for n in 0..=most {
            requests.remember(id(n), Root::from([1; 32]), &[1], start);
        }
        assert_eq!(requests.len(), MAX_PROOF_REQUESTS);
        assert_eq!(
            requests.check(id(0), &key(1, 1), start),
            Err(RequestMismatch::Unknown)
        );
        assert_eq!(requests.check(id(1), &key(1, 1), start), Ok(()));
        for _ in 0..4 * most {
            requests.remember(id(most), Root::from([1; 32]), &[1], start);
        }
        assert!(requests.order.len() <= 2 * MAX_PROOF_REQUESTS);
        assert_eq!(requests.check(id(most), &key(1, 1), start), Ok(()));
    }

    /// Judges only.
    struct Judge(broadcast::Sender<EngineEvent>);

    #[async_trait]
    impl ProofEngine for Judge {
        fn name(&self) -> &str {
            "judge"
        }
        fn proof_types(&self) -> Vec<ProofType> {
            vec![1]
        }
        fn is_insecure(&self) -> bool {
            true
        }
        fn makes_proofs(&self) -> bool {
            false
        }
        async fn verify(&self, _: &EngineInput) -> Result<Verification, EngineError> {
            Ok(Verification::Valid)
        }
        async fn request(
            &self,
            _: Root,
            _: Arc<NewPayloadRequest>,
            _: &[ProofType],
        ) -> Result<ProofGenId, EngineError> {
            Err(EngineError::Unavailable("it makes none".into()))
        }
        fn events(&self) -> broadcast::Receiver<EngineEvent> {
            self.0.subscribe()
        }
        async fn notify_new_payload(&self, _: Root, _: Arc<NewPayloadRequest>) {}
        async fn notify_forkchoice_updated(&self, _: Root, _: Root, _: Root) {}
    }

    #[tokio::test]
    async fn an_engine_whose_requests_are_remembered_is_the_engine() {
        let book = RequestBook::default();
        let noted = book.noting(Arc::new(Judge(broadcast::channel(1).0)));
        assert_eq!((noted.name(), noted.proof_types()), ("judge", vec![1]));
        assert!(noted.is_insecure() && !noted.makes_proofs());
        let refused = noted
            .request(Root::ZERO, crate::test_support::payload_request(), &[1])
            .await;
        assert!(refused.is_err());
        let pages = book.0.pages.lock();
        assert!(pages.requests.is_empty(), "what was not taken is not remembered");
        assert!(pages.being_made.is_empty());
    }

    /// Proves, and tells the id of a request when it is let.
    struct Slow {
        judge: Judge,
        tell: Arc<Notify>,
    }

    #[async_trait]
    impl ProofEngine for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        fn proof_types(&self) -> Vec<ProofType> {
            self.judge.proof_types()
        }
        fn is_insecure(&self) -> bool {
            true
        }
        fn makes_proofs(&self) -> bool {
            true
        }
        async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
            self.judge.verify(proof).await
        }
        async fn request(
            &self,
            _: Root,
            _: Arc<NewPayloadRequest>,
            types: &[ProofType],
        ) -> Result<ProofGenId, EngineError> {
            self.tell.notified().await;
            if types == [7] {
                return Err(EngineError::Unavailable("it is down".into()));
            }
            Ok(ID)
        }
        fn events(&self) -> broadcast::Receiver<EngineEvent> {
            self.judge.events()
        }
        async fn notify_new_payload(&self, _: Root, _: Arc<NewPayloadRequest>) {}
        async fn notify_forkchoice_updated(&self, _: Root, _: Root, _: Root) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_that_is_brought_before_its_request_is_answered_waits_for_the_answer() {
        let (book, tell) = (RequestBook::default(), Arc::new(Notify::new()));
        let judge = Judge(broadcast::channel(1).0);
        let noted = book.noting(Arc::new(Slow {
            judge,
            tell: tell.clone(),
        }));
        let root = Root::from([1; 32]);
        let ask = |types: Vec<ProofType>| {
            let noted = noted.clone();
            tokio::spawn(async move {
                let payload = crate::test_support::payload_request();
                noted.request(root, payload, &types).await.is_ok()
            })
        };
        let soon = || tokio::time::Instant::now() + Duration::from_secs(5);
        let bring = |key: ProofKey| {
            let book = book.clone();
            tokio::spawn(async move { book.check(ID, &key, soon()).await })
        };
        // Asked for by nobody, and by somebody who has no answer.
        assert_eq!(bring(key(1, 1)).await.unwrap(), Err(RequestMismatch::Unknown));
        let asked = ask(vec![1, 2]);
        tokio::task::yield_now().await;
        assert_eq!(
            bring(key(1, 2)).await.unwrap(),
            Err(RequestMismatch::BeingMade),
            "in vain"
        );
        for other in [key(1, 3), key(2, 1)] {
            let told = bring(other).await.unwrap();
            assert_eq!(told, Err(RequestMismatch::Unknown), "nobody asks for {other:?}");
        }
        let waits = bring(key(1, 1));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        tell.notify_one();
        assert!(asked.await.unwrap());
        assert_eq!(waits.await.unwrap(), Ok(()));
        // The engine refuses: so is the proof.
        let asked = ask(vec![7]);
        tokio::task::yield_now().await;
        let waits = bring(key(1, 7));
        tokio::task::yield_now().await;
        tell.notify_one();
        assert!(!asked.await.unwrap());
        assert_eq!(waits.await.unwrap(), Err(RequestMismatch::TypeNotAsked(7)));
        assert!(book.0.pages.lock().being_made.is_empty());
    }
}
