//! A posted body of large proofs is in memory once, from the socket's chunks to the sink that keeps them.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]
#![allow(
    dead_code,
    reason = "files of the API, compiled as they are: the reader is no part of its interface"
)]

#[path = "../src/error.rs"]
mod error;
#[path = "../src/posted.rs"]
mod posted;
#[path = "../src/proof_body.rs"]
mod proof_body;
#[path = "../src/ssz_split.rs"]
mod ssz_split;

use assay_chain::Chain;
use assay_types::{ProofKey, Root, Slot, Spec};
use assay_verification::{
    Candidate, MemoryContainment, Source, Verdict, Verifier, VerifierConfig, VerifierParts, Waited,
    testing::{MemoryChain, MemorySink, ScriptedEngine, sign},
};
use axum::{
    body::Body,
    extract::Request,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use bytes::Bytes;
use error::ApiError;
use futures::{StreamExt, stream};
use peak_alloc::PeakAlloc;
use std::{ops::Range, sync::Arc, time::Duration};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// As large as proofs may be.
const PROOF: usize = 4 << 20;
const PROOFS: usize = 3;
/// What a connection reads at once.
const CHUNK: usize = 64 * 1024;
/// Hashing one proof of this size takes half of it and less, and everything else little.
const SCRATCH: usize = PROOF;

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The chunks of a list of proofs, made when they are asked for: what is in memory is the reader's.
fn chunks(heads: Vec<Bytes>, data: u8) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut offset = u32::try_from(4 * heads.len()).unwrap();
    let mut table = Vec::new();
    for head in &heads {
        table.extend_from_slice(&offset.to_le_bytes());
        offset += u32::try_from(head.len() + PROOF).unwrap();
    }
    let of_proof = move |head: Bytes| {
        let data = (0..PROOF / CHUNK).map(move |_| Bytes::from(vec![data; CHUNK]));
        std::iter::once(head).chain(data)
    };
    std::iter::once(Bytes::from(table)).chain(heads.into_iter().flat_map(of_proof))
}

#[test]
fn posted_proofs_are_in_memory_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let chain = Arc::new(MemoryChain::new(Arc::new(Spec::minimal()), Root::from([7; 32])));
        chain.add_interop_validators(0..4);
        chain.add_payload(Root::from([1; 32]), Slot(3));
        let store = Arc::new(MemorySink::new("store"));
        let verifier = Verifier::start(
            VerifierConfig::default(),
            VerifierParts {
                chain: chain.clone(),
                engine: Arc::new(ScriptedEngine::new([1, 2, 3])),
                known: store.clone(),
                containment: Arc::new(MemoryContainment::default()),
                store: store.clone(),
            },
        );
        // All of a signed proof but its data.
        let heads: Vec<Bytes> = (1..=PROOFS)
            .map(|proof_type| {
                let key = ProofKey {
                    new_payload_request_root: Root::from([1; 32]),
                    proof_type: u8::try_from(proof_type).unwrap(),
                };
                let data = Bytes::from(vec![b'V'; PROOF]);
                let signed = sign(chain.spec(), &chain.genesis(), key, Slot(3), data, 1);
                Bytes::copy_from_slice(&signed.to_ssz_bytes()[..145])
            })
            .collect();
        let length = 4 * PROOFS + PROOFS * (145 + PROOF);
        let post = |declared: bool| {
            let body = stream::iter(chunks(heads.clone(), b'V')).map(Ok::<_, std::io::Error>);
            let mut request = Request::builder().header(CONTENT_TYPE, "application/octet-stream");
            if declared {
                request = request.header(CONTENT_LENGTH, length);
            }
            request.body(Body::from_stream(body)).unwrap()
        };

        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let found = posted::proofs(post(true), 2 * length, 4, false).await.unwrap();
        let read = HEAP.peak_usage().saturating_sub(before);
        assert!(
            read < length + length / 8,
            "{} to read {}",
            mib(read),
            mib(length)
        );

        let buffers: Vec<Range<*const u8>> = found
            .iter()
            .map(|c| match c.as_ref().unwrap() {
                Candidate::Ssz(ssz) => ssz.as_ptr_range(),
                _ => unreachable!("SSZ stays SSZ"),
            })
            .collect();
        for candidate in found {
            let wait = Duration::from_secs(60);
            let intake = verifier.intake();
            let verdict = intake
                .submit_and_wait(candidate.unwrap(), Source::Http, wait)
                .await;
            assert!(
                matches!(verdict, Waited::Decided(Verdict::Accept(_))),
                "{verdict:?}"
            );
        }
        let peak = HEAP.peak_usage().saturating_sub(before);
        assert!(
            peak < length + SCRATCH,
            "{} from the body to the store, {} of proofs",
            mib(peak),
            mib(length)
        );
        // The very bytes that were read are those that are kept.
        let kept = store.proofs();
        assert_eq!(kept.len(), PROOFS);
        for (proof, _) in &kept {
            assert!(buffers.contains(&proof.ssz().as_ptr_range()));
            assert!(!proof.signed().message.proof_data.is_empty());
        }
        verifier.shutdown().await;
    });
}
