//! What the store and its disk ask for.

use super::{Facts, Found, Level, count};

/// Of `--max-db-size`, as a percentage: beyond it proofs of old blocks go soon.
const STORE_NEARLY_FULL_PERCENT: u64 = 90;
/// Free bytes on the store's disk below which the node is about to stop keeping proofs.
const DISK_NEARLY_FULL_BYTES: u64 = 2 << 30;

pub(super) fn of_disk(facts: &Facts<'_>, found: &mut Found) {
    use Level::{Critical, Warning};
    match &facts.store {
        None => {
            found.add(
                Critical,
                "store_unreadable",
                "The proof store cannot be read.",
                "Look at the log and at the disk.",
            );
        }
        Some(store) => {
            if !store.is_healthy {
                found.add(
                    Critical,
                    "store_failing",
                    "The last write to the proof store did not reach the disk.",
                    "Look at the log and at the disk; no proof is accepted meanwhile.",
                );
            }
            if let Some(max) = facts.max_db_size
                && store.proof_bytes.saturating_mul(100) > max.saturating_mul(STORE_NEARLY_FULL_PERCENT)
            {
                found.add(
                    Warning,
                    "store_near_limit",
                    format!("The proofs take {} % of --max-db-size.", store.proof_bytes.saturating_mul(100) / max.max(1)),
                    "Beyond it the oldest go, and what peers may ask for stays: raise the limit or lower --retention-epochs.",
                );
            }
            if store.corrupted > 0 {
                found.add(
                    Warning,
                    "store_damaged",
                    format!(
                        "{} found damaged on disk and removed.",
                        count(
                            usize::try_from(store.corrupted).unwrap_or(usize::MAX),
                            "proof was",
                            "proofs were"
                        )
                    ),
                    "Check the disk; the proofs are asked of peers again.",
                );
            }
        }
    }
    if let Some(free) = facts.disk_free.filter(|free| *free < DISK_NEARLY_FULL_BYTES) {
        found.add(
            Warning,
            "disk_nearly_full",
            format!("{} MiB are free on the disk of --datadir.", free >> 20),
            "Make room, or set --max-db-size.",
        );
    }
}
