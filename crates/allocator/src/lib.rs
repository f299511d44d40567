//! How a process that passes proofs on should have its memory: one setting of glibc's allocator, where that is the one
//! in use.
//!
//! What brings proofs are blocks of megabytes that come and go on every thread. glibc takes blocks above a threshold from
//! the system one by one and gives each back when it is freed, but raises that threshold, up to 32 MiB, with the largest
//! block it has seen freed; from then on such blocks lie in its arenas, which keep what was freed between others. Of a node
//! under attack (`testnet/abuse`) that was a quarter of its memory. A threshold that is set stays as it is.
//!
//! Whoever links the crates of a node into a process of their own, and has no other allocator, may call this too.

/// Bytes of a block from which on it goes back to the system when it is freed: more than the largest proof has with
/// all that it may be packed in (4.9 MiB), for memory that is new each time halves the speed at which proofs are served; less
/// than the buffer of an RPC with several of them (8 MiB and more).
pub const LARGE: usize = 5 << 20;
/// Bytes that an arena may have free at its end: as many as glibc would allow by itself once it had seen a block of `LARGE`.
/// With the 128 KiB that it starts with, by-range serving has half its speed.
const FREE_AT_END: usize = 2 * LARGE;

/// Has blocks of `LARGE` bytes and more given back when they are freed: whether the allocator takes that. False where it
/// is not glibc's. Called once, as early as may be; later calls do no harm.
pub fn give_back_large_blocks() -> bool {
    set()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set() -> bool {
    let settings = [
        (libc::M_MMAP_THRESHOLD, LARGE),
        (libc::M_TRIM_THRESHOLD, FREE_AT_END),
    ];
    settings.into_iter().all(|(setting, bytes)| {
        let Ok(bytes) = libc::c_int::try_from(bytes) else {
            return false;
        };
        // Sound: it sets a number of the allocator's under the allocator's own lock; both arguments are plain integers.
        #[allow(unsafe_code, reason = "no crate wraps mallopt(3)")]
        let taken = unsafe { libc::mallopt(setting, bytes) };
        taken == 1
    })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::hint::black_box;

    /// Bytes of this process that are in memory.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    #[test]
    fn freed_blocks_go_back_though_others_lie_above_them() {
        assert!(give_back_large_blocks());
        // What raises the threshold where it is not set.
        drop(black_box(vec![1_u8; 24 << 20]));
        let before = resident();
        let blocks: Vec<Vec<u8>> = (0..32).map(|_| black_box(vec![1; LARGE])).collect();
        let small = black_box(Box::new([1_u8; 64]));
        assert!(resident() > before + (100 << 20));
        drop(blocks);
        assert!(
            resident() < before + (16 << 20),
            "{} MiB",
            (resident() - before) >> 20
        );
        drop(small);
    }
}
