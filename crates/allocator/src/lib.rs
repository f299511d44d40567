//! How a process that passes proofs on should have its memory: glibc's allocator set up for it, where that is the one in
//! use.
//!
//! What brings proofs are blocks of megabytes that come and go on every thread, and glibc keeps what was freed. It takes
//! blocks above a threshold from the system one by one and gives each back when it is freed, but raises that threshold, up
//! to 32 MiB, with the largest block it has seen freed; from then on such blocks lie in its arenas, of which each thread has
//! its own. Of a node under attack (`testnet/abuse`) a third of the memory was such. So the threshold is set, which fixes
//! it, and what is free in the arenas is looked at five times a second.
//!
//! Whoever links the crates of a node into a process of their own, and has no other allocator, may call this too.

/// Bytes of a block from which on it goes back to the system when it is freed: more than the largest proof has with
/// all that it may be packed in (4.9 MiB), for memory that is new each time halves the speed at which proofs are served; less
/// than the buffer of an RPC with several of them (8 MiB and more).
pub const LARGE: usize = 5 << 20;
/// Bytes that may be free in all arenas together when they are looked at; where it is more, all of it goes back. To take
/// as much anew each time costs a hundredth of a core.
pub const FREE: usize = 32 << 20;

/// Has freed memory given back from now on: whether that could be set up. False where the allocator is not glibc's. Called
/// once, as early as may be; each call starts a thread that ends with the process.
pub fn give_back_freed_memory() -> bool {
    freed::give_back()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "no crate wraps mallopt(3), mallinfo(3) and malloc_trim(3)"
)]
mod freed {
    use super::{FREE, LARGE};
    use std::{thread, time::Duration};

    /// How often what is free is looked at.
    const EVERY: Duration = Duration::from_millis(200);

    pub(super) fn give_back() -> bool {
        // At its end an arena may have as many bytes free as glibc would allow by itself once it had seen a block of
        // `LARGE`. With the 128 KiB that it starts with, by-range serving has half its speed.
        set(libc::M_MMAP_THRESHOLD, LARGE)
            && set(libc::M_TRIM_THRESHOLD, 2 * LARGE)
            && thread::Builder::new()
                .name("freed-memory".to_owned())
                .spawn(|| {
                    loop {
                        thread::sleep(EVERY);
                        if free() > FREE {
                            trim();
                        }
                    }
                })
                .is_ok()
    }

    fn set(setting: libc::c_int, bytes: usize) -> bool {
        // Sound: it sets a number of the allocator's under the allocator's own lock; both arguments are plain integers.
        libc::c_int::try_from(bytes).is_ok_and(|bytes| unsafe { libc::mallopt(setting, bytes) } == 1)
    }

    /// Bytes that are free in all arenas. Counted in 32 bits: what passes 4 GiB is told as less, and comes again.
    pub(super) fn free() -> usize {
        // Sound: it adds numbers up under each arena's lock. (mallinfo2 is not in every glibc that is in use.)
        let info = unsafe { libc::mallinfo() };
        info.fordblks.cast_unsigned() as usize
    }

    /// Gives whole pages that are free back to the system.
    pub(super) fn trim() {
        // Sound: it takes each arena's lock, and touches what is free alone.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod freed {
    pub(super) fn give_back() -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{hint::black_box, thread, time::Duration};

    /// Bytes of this process that are in memory.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    // One after the other: both look at all of the process.
    #[test]
    fn freed_memory_goes_back() {
        assert!(give_back_freed_memory());
        large_blocks_go_though_others_lie_above_them();
        what_is_free_between_others_goes();
    }

    fn large_blocks_go_though_others_lie_above_them() {
        // What raises the threshold where it is not set.
        drop(black_box(vec![1_u8; 24 << 20]));
        let before = resident();
        let blocks: Vec<Vec<u8>> = (0..32).map(|_| black_box(vec![1; LARGE])).collect();
        let small = black_box(Box::new([1_u8; 64]));
        assert!(resident() > before + (100 << 20));
        drop(blocks);
        assert!(resident() < before + (16 << 20), "at once");
        drop(small);
    }

    fn what_is_free_between_others_goes() {
        let (mut blocks, mut others) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            blocks.push(black_box(vec![1_u8; 1 << 20]));
            others.push(black_box(vec![1_u8; 4096]));
        }
        let before = resident();
        drop(blocks);
        let goes = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(100));
            resident() + (150 << 20) < before
        });
        assert!(goes, "{} of {before} bytes stay", resident());
    }
}
