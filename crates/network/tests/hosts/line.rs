//! Three nodes in a line, A–B–C: what passes B, when, and what does not.

use crate::support::*;
use assay_chain::Chain;
use assay_types::Spec;
use std::time::Duration;

/// Slot of payloads before the boundary of fork digests, where the clock stands too.
const SLOT: u64 = 30;
/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(1500);

struct Line {
    a: Node,
    b: Node,
    c: Node,
    _dirs: [tempfile::TempDir; 3],
}

async fn line() -> Line {
    line_on(spec()).await
}

async fn line_on(spec: Spec) -> Line {
    let (b, dir_b) = Node::start_on(spec.clone(), vec![]).await;
    let (a, dir_a) = Node::start_on(spec.clone(), vec![b.address()]).await;
    let (c, dir_c) = Node::start_on(spec, vec![b.address()]).await;
    b.connected_to(2).await;
    a.connected_to(1).await;
    c.connected_to(1).await;
    Line {
        a,
        b,
        c,
        _dirs: [dir_a, dir_b, dir_c],
    }
}

impl Line {
    async fn stop(self) {
        tokio::join!(self.a.stop(), self.b.stop(), self.c.stop());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_of_four_mebibytes_passes_from_end_to_end() {
    let line = line().await;
    let payload = root(1);
    for node in [&line.a, &line.b, &line.c] {
        node.chain.see_payload(payload, SLOT);
    }
    let size = line.a.chain.spec().max_proof_size as usize;
    let proof = signed_proof(&line.a.chain, payload, SLOT, size);
    let key = proof.key();
    line.a.post(proof).await;
    assert_eq!(line.b.gets(&key).await, Some("gossip"));
    assert_eq!(line.c.gets(&key).await, Some("gossip"));
    // A verdict is counted after the proof is kept.
    wait_for(|| (line.c.network.counters().accepted == 1).then_some(()))
        .await
        .unwrap();

    let (a, b, c) = (
        line.a.network.counters(),
        line.b.network.counters(),
        line.c.network.counters(),
    );
    assert_eq!((a.messages_published, a.messages_received), (1, 0));
    assert_eq!(
        (
            b.messages_received,
            b.accepted,
            b.messages_forwarded,
            b.messages_published
        ),
        (1, 1, 1, 0)
    );
    assert_eq!((c.messages_received, c.accepted), (1, 1));
    // Random bytes do not compress: each hop moves the proof once.
    let size = size as u64;
    assert!(a.bytes_sent > size && a.bytes_sent < 2 * size, "{a:?}");
    assert!(b.bytes_received > size && b.bytes_sent > size, "{b:?}");
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_goes_on_only_after_the_verdict_and_still_when_the_payload_comes_late() {
    let line = line().await;
    let payload = root(2);
    line.a.chain.see_payload(payload, SLOT);
    line.c.chain.see_payload(payload, SLOT);
    let proof = signed_proof(&line.a.chain, payload, SLOT, 5000);
    let key = proof.key();
    line.a.post(proof).await;

    wait_for(|| (line.b.network.counters().parked == 1).then_some(()))
        .await
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        line.c.network.counters().messages_received,
        0,
        "nothing passes without a verdict"
    );
    assert_eq!(line.b.network.counters().undecided, 1);

    line.b.chain.see_payload(payload, SLOT);
    assert_eq!(line.c.gets(&key).await, Some("gossip"));
    assert_eq!(line.b.network.counters().undecided, 0);
    assert_eq!(line.b.network.counters().late_accepts, 0);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_after_the_cache_has_forgotten_is_counted_and_the_proof_is_there_to_be_asked_for() {
    let mut quick = spec();
    quick.slot_duration_ms = 2000;
    let line = line_on(quick).await;
    let payload = root(3);
    for node in [&line.a, &line.c] {
        node.chain.see_payload(payload, SLOT);
        node.chain.see_block(payload, SLOT);
    }
    let proof = signed_proof(&line.a.chain, payload, SLOT, 5000);
    let key = proof.key();
    line.a.post(proof).await;
    wait_for(|| (line.b.network.counters().parked == 1).then_some(()))
        .await
        .unwrap();
    // Two slots of 2 s are six heartbeats of 0.7 s; twice that, for a machine that is busy.
    tokio::time::sleep(Duration::from_secs(8)).await;
    line.b.chain.see_payload(payload, SLOT);
    line.b.chain.see_block(payload, SLOT);
    assert_eq!(line.b.gets(&key).await, Some("gossip"));
    wait_for(|| (line.b.network.counters().late_accepts == 1).then_some(()))
        .await
        .unwrap();
    let b = line.b.network.counters();
    assert_eq!((b.accepted, b.messages_forwarded), (1, 0));
    // C knows the payload, got nothing by gossip, and asks B until B has it.
    assert_eq!(line.c.gets(&key).await, Some("req_resp"));
    assert_eq!(line.c.network.counters().messages_received, 0);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_proof_stops_at_the_first_honest_node_and_its_sender_pays() {
    let line = line().await;
    let payload = root(4);
    for node in [&line.a, &line.b, &line.c] {
        node.chain.see_payload(payload, SLOT);
    }
    line.a
        .publish_unverified(invalid_proof(&line.a.chain, payload, SLOT), SLOT)
        .await;
    wait_for(|| (line.b.network.counters().rejected == 1).then_some(()))
        .await
        .unwrap();
    let a = line.a.network.identity().peer_id;
    let score = wait_for(|| {
        line.b
            .network
            .peers()
            .into_iter()
            .find(|p| p.peer_id == a && p.score < 0.0)
            .map(|p| p.score)
    });
    assert!(score.await.is_some(), "the sender's score stayed as it was");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(line.c.network.counters().messages_received, 0);
    let c = line.c.network.identity().peer_id;
    assert!(
        line.b
            .network
            .peers()
            .iter()
            .any(|p| p.peer_id == c && p.score == 0.0)
    );
    line.stop().await;
}

/// B and C see the payload in the epoch after the boundary, A in the one before: A's message comes on the old digest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_on_another_forks_topic_is_ignored_and_takes_nothing_from_the_right_one() {
    let line = line().await;
    let (payload, after) = (root(5), BOUNDARY.0 * 8);
    for node in [&line.b, &line.c] {
        node.chain.see_payload(payload, after);
    }
    let proof = signed_proof(&line.a.chain, payload, after, 5000);
    line.a.publish_unverified(proof.clone(), SLOT).await;
    wait_for(|| (line.b.network.counters().wrong_digest == 1).then_some(()))
        .await
        .unwrap();
    let b = line.b.network.counters();
    assert_eq!(
        (b.accepted, b.ignored, b.rejected),
        (0, 0, 0),
        "the verifier never saw it"
    );
    assert_eq!(line.b.kept.source_of(&proof.key()), None);

    line.a.publish_unverified(proof.clone(), after).await;
    assert_eq!(line.c.gets(&proof.key()).await, Some("gossip"));
    let a = line.a.network.identity().peer_id;
    assert!(
        line.b
            .network
            .peers()
            .iter()
            .any(|p| p.peer_id == a && p.score == 0.0),
        "IGNORE costs nothing"
    );
    line.stop().await;
}

/// As above, but B learns of the payload only after the message: it then knows the proof, and would ignore it on the
/// right topic. So it brings it there itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misplaced_proof_that_turns_out_good_is_published_where_it_belongs() {
    let line = line().await;
    let (payload, after) = (root(6), BOUNDARY.0 * 8);
    line.c.chain.see_payload(payload, after);
    let proof = signed_proof(&line.a.chain, payload, after, 5000);
    line.a.publish_unverified(proof.clone(), SLOT).await;
    wait_for(|| (line.b.network.counters().parked == 1).then_some(()))
        .await
        .unwrap();
    line.b.chain.see_payload(payload, after);
    assert_eq!(line.c.gets(&proof.key()).await, Some("gossip"));
    // Told of behind the sinks.
    wait_for(|| (line.c.network.counters().accepted == 1).then_some(()))
        .await
        .unwrap();
    let (b, c) = (line.b.network.counters(), line.c.network.counters());
    assert_eq!(
        (b.wrong_digest, b.messages_forwarded, b.messages_published),
        (1, 0, 1)
    );
    assert_eq!((c.wrong_digest, c.accepted), (0, 1));
    line.stop().await;
}

/// The proof comes to B by HTTP; while B is keeping it, A brings the same bytes by gossip. B ignores those, for it knows
/// a valid proof, and gossipsub then refuses to publish what it has seen: C depends on B passing it on all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_a_peer_brings_while_it_is_about_to_be_published_still_goes_on() {
    let line = line().await;
    let payload = root(7);
    for node in [&line.a, &line.b, &line.c] {
        node.chain.see_payload(payload, SLOT);
    }
    let proof = signed_proof(&line.b.chain, payload, SLOT, 5000);
    line.b.kept.take_time(Duration::from_secs(2));
    let posted = line.b.post(proof.clone());
    let brought = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        line.a.publish_unverified(proof.clone(), SLOT).await;
        wait_for(|| (line.b.network.counters().messages_received == 1).then_some(())).await
    };
    let (_, brought) = tokio::join!(posted, brought);
    assert!(brought.is_some());
    assert_eq!(line.c.gets(&proof.key()).await, Some("gossip"));
    assert_eq!(line.b.kept.source_of(&proof.key()), Some("http"));
    let b = line.b.network.counters();
    assert_eq!((b.messages_published, b.messages_forwarded), (0, 1), "{b:?}");
    line.stop().await;
}
