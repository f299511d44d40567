//! The endpoint in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// Counters since start. Read with `snapshot`.
        #[derive(Debug, Default)]
        pub struct EndpointStats { $($(#[doc = $doc])* pub(super) $name: AtomicU64,)+ }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        pub struct EndpointCounts { $($(#[doc = $doc])* pub $name: u64,)+ }

        impl EndpointStats {
            /// The counters now.
            pub fn snapshot(&self) -> EndpointCounts {
                EndpointCounts { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        impl EndpointCounts {
            /// Every counter with its name and what it counts, for metrics.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),*).trim_matches([' ', '.']), self.$name),)+]
            }
        }
    };
}

stats! {
    /// `engine_newPayload*` calls, in batches too.
    new_payload_calls,
    /// `engine_forkchoiceUpdated*` calls, in batches too.
    forkchoice_updated_calls,
    /// Of beacon nodes that are not the primary: answered from the tree.
    other_nodes_forkchoices,
    /// Everything that passed byte for byte.
    passed_calls,
    /// Calls of EIP-8025's methods that were answered here, in batches too.
    proof_calls,
    /// Batches that were taken apart.
    split_batches,
    /// Payloads whose request could not be read; they are never answered VALID but by the execution client's own word
    /// under `observe`.
    unreadable_payloads,
    /// Payloads whose block hash or versioned hashes are not those of their fields.
    mismatched_payloads,
    /// Answers whose status the gate changed, or made: lowered to SYNCING, raised to VALID.
    changed_answers,
    /// Answers by proofs while the execution client was silent.
    answered_for_silent_client,
    /// Calls that waited for proofs.
    waited_for_proofs,
    /// Calls to which the execution client gave no answer.
    unanswered_calls,
    /// Calls sent a second time because the first met a connection that was closing.
    retried_calls,
    /// Calls that did not go to the execution clients beside the active one, because too many wait there.
    calls_kept_from_others,
    /// Requests with a wrong token, or none.
    unauthorized_requests,
    /// Requests over the body limit.
    oversize_requests,
    /// Requests that were no JSON-RPC.
    malformed_requests,
    /// Requests refused because too much was under way.
    refused_requests,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
