//! Every bound of the verifier, with its name and its reason.

use std::time::Duration;

/// Bookkeeping bytes charged for a candidate besides its SSZ, so that tiny proofs are not free.
pub const CANDIDATE_OVERHEAD: usize = 1024;

/// Most submissions of the very same bytes that share one verification; each is a channel that waits.
pub const MAX_SHARERS: usize = 1024;

/// Most of these from one peer: both gossip topics around a fork and an answer or two.
pub const MAX_SHARERS_PER_PEER: usize = 4;

/// What the verifier is allowed to hold, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierConfig {
    /// Bounds of what is held: waiting for its turn, under way, or parked.
    pub room: RoomLimits,
    /// How parked candidates are tried again.
    pub retry: Backoff,
    /// Epochs that a validator which signed an invalid proof is contained for.
    pub containment_epochs: u64,
    /// Hashes and pairings at once (blocking threads, one core each).
    pub cpu_jobs: usize,
    /// Validator records asked for at once.
    pub validator_reads: usize,
    /// Proofs of one type at the proof engine at once: one type whose engine is slow does not hold up the others.
    pub engine_calls: usize,
    /// Proofs on their way through the sinks at once.
    pub commits: usize,
    /// After this the chain's answer about a validator counts as unavailable.
    pub validator_timeout: Duration,
    /// After this the proof engine's answer counts as unavailable.
    pub engine_timeout: Duration,
    /// After this a sink other than the first is given up on for that proof (logged and counted).
    pub sink_timeout: Duration,
    /// Proofs of payloads more than this many epochs before the finalized one are ignored; `None`: a proof of any
    /// payload the chain view knows is taken, so that old holes can be filled.
    pub retention_epochs: Option<u64>,
    /// Entries of each observed cache: valid keys, validators' tries, seen proof roots.
    pub observed_entries: usize,
    /// Peers of which it is remembered that they brought a valid proof.
    pub remembered_peers: usize,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            room: RoomLimits::default(),
            retry: Backoff::default(),
            containment_epochs: 64,
            cpu_jobs: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            validator_reads: 16,
            engine_calls: 8,
            commits: 16,
            validator_timeout: Duration::from_secs(10),
            engine_timeout: Duration::from_secs(30),
            sink_timeout: Duration::from_secs(2),
            retention_epochs: None,
            // 16 validators for each of 4 types of the 3 epochs or so between finality and head.
            observed_entries: 16 * 1024,
            remembered_peers: 1024,
        }
    }
}

/// Bounds of the waiting room. Bytes are those of the candidates' SSZ and `CANDIDATE_OVERHEAD` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomLimits {
    /// Bytes in all.
    pub bytes: usize,
    /// Bytes of candidates whose payload is not known, in all: they cannot be authenticated yet.
    pub bytes_unknown_payload: usize,
    /// Bytes of one peer.
    pub bytes_per_peer: usize,
    /// Bytes of one payload.
    pub bytes_per_payload: usize,
    /// Candidates in all.
    pub candidates: usize,
    /// Candidates of one peer.
    pub candidates_per_peer: usize,
    /// How long a candidate may wait for its payload or its validator, in epochs.
    pub wait_epochs: u32,
    /// How long a proof whose signature verified may wait for the proof engine, in epochs. After that its marks are
    /// taken back, so that it may come again.
    pub engine_wait_epochs: u32,
}

const MIB: usize = 1024 * 1024;

impl Default for RoomLimits {
    /// Room for 32 proofs of 4 MiB; a quarter of it for unknown payloads (two slots of four proofs each, and gossipsub's cache
    /// holds them once more), 4 a peer, 8 a payload.
    fn default() -> Self {
        Self {
            bytes: 136 * MIB,
            bytes_unknown_payload: 34 * MIB,
            bytes_per_peer: 17 * MIB,
            bytes_per_payload: 34 * MIB,
            candidates: 2048,
            candidates_per_peer: 256,
            wait_epochs: 1,
            engine_wait_epochs: 4,
        }
    }
}

impl RoomLimits {
    /// Raised where a network's proofs are so large that the room would not hold a few of them: what may be sent must
    /// not be refused for its size alone.
    pub fn fit(mut self, max_signed_proof_size: usize) -> Self {
        let proofs = |n: usize| {
            max_signed_proof_size
                .saturating_add(CANDIDATE_OVERHEAD)
                .saturating_mul(n)
        };
        self.bytes_per_peer = self.bytes_per_peer.max(proofs(2));
        self.bytes_per_payload = self.bytes_per_payload.max(proofs(4));
        self.bytes_unknown_payload = self.bytes_unknown_payload.max(proofs(4));
        self.bytes = self.bytes.max(proofs(8));
        self
    }
}

/// Waiting time between tries: `first`, doubled each time, at most `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failed try.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(12),
        }
    }
}

impl Backoff {
    /// The wait after `tries` failed tries (1 or more).
    pub fn after(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}
