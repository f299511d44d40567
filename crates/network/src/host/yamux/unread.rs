//! What is received over yamux and not read yet, over all connections together.
//!
//! A stream's window is a promise to its peer: 64 streams of 256 KiB are 16 MiB a connection, and a hundred peers that
//! send on streams which nobody reads would fill the memory. Windows cannot be smaller than yamux's first, and what they
//! are for is not known when they are given. So it is counted what is really there. Each connection has a share of its
//! own, which is as much as one stream's first window in its frames; what is beyond comes from one pool; and where the pool
//! is empty, a connection beyond its share is not read on until its streams are, or the pool has room again. Who reads
//! nothing of his streams then stands still, who reads them goes on: for the length of a window, an honest peer's streams
//! are read.
//!
//! No reader of ours waits for what comes on another stream of the same connection (`mplex`), so there is no circle.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// Of each connection: one stream's first window, and what its frames cost beside their bytes, or the last of them would
/// stop a connection that has nothing else unread: 512 frames, of half a KiB each. 110 peers: 31 MiB; twice that if each
/// has two connections.
pub(super) const SHARE: usize = yamux::DEFAULT_CREDIT as usize + 32 * 1024;
/// Beyond shares, of all connections together: the grown windows (1.25 MiB) of the sixteen requests that sync has under
/// way are 20 MiB, if none of them is read for a moment.
pub(super) const POOL: usize = 32 << 20;
/// What a frame costs beside its bytes: yamux keeps each in an allocation of its own, in a list.
const FRAME_COST: usize = 64;

/// The pool. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    taken: usize,
    last: u64,
    /// Connections that wait for room, and for how much.
    waiting: HashMap<u64, (usize, Waker)>,
}

impl Unread {
    /// For a new connection.
    pub(super) fn line(&self) -> Arc<Line> {
        let mut pool = self.0.lock();
        pool.last += 1;
        Arc::new(Line {
            pool: self.clone(),
            id: pool.last,
            held: Mutex::default(),
        })
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0.lock().taken
    }

    fn take(&self, id: u64, cost: usize, waker: &Waker) -> bool {
        let mut pool = self.0.lock();
        if pool.taken + cost > POOL {
            pool.waiting.insert(id, (cost, waker.clone()));
            return false;
        }
        pool.taken += cost;
        pool.waiting.remove(&id);
        true
    }

    fn give(&self, cost: usize) {
        let mut pool = self.0.lock();
        pool.taken -= cost;
        // All for whom there is room, as some may have gone; the others each read of some stream would wake in vain.
        let free = POOL.saturating_sub(pool.taken);
        let woken: Vec<_> = pool.waiting.extract_if(|_, (cost, _)| *cost <= free).collect();
        drop(pool);
        woken.into_iter().for_each(|(_, (_, waker))| waker.wake());
    }
}

/// One connection's part of it.
#[derive(Debug)]
pub(super) struct Line {
    pool: Unread,
    id: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Of each stream that is open here.
    streams: HashMap<u32, Stream>,
    cost: usize,
    /// What of it is the pool's.
    pooled: usize,
    /// Of whoever drives the connection, while it waits for room.
    driver: Option<Waker>,
}

#[derive(Debug, Default)]
struct Stream {
    bytes: usize,
    frames: usize,
}

impl Stream {
    fn cost(&self) -> usize {
        self.bytes + self.frames * FRAME_COST
    }
}

impl Line {
    /// A stream is open from now on.
    pub(super) fn opens(&self, stream: u32) {
        self.held.lock().streams.entry(stream).or_default();
    }

    /// Whether so many bytes of a frame may be taken in now, which may open its stream; else who asks is woken when they
    /// may.
    pub(super) fn arrives(&self, stream: u32, len: usize, opens: bool, cx: &Context<'_>) -> Poll<()> {
        let mut held = self.held.lock();
        // yamux keeps nothing of streams that are not open, and no empty frame.
        if len == 0 || !(opens || held.streams.contains_key(&stream)) {
            return Poll::Ready(());
        }
        let cost = held.cost + len + FRAME_COST;
        let pooled = cost.saturating_sub(SHARE);
        if pooled > held.pooled {
            if !self.pool.take(self.id, pooled - held.pooled, cx.waker()) {
                held.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            held.pooled = pooled;
        }
        held.cost = cost;
        held.driver = None;
        let entry = held.streams.entry(stream).or_default();
        entry.bytes += len;
        entry.frames += 1;
        Poll::Ready(())
    }

    /// So many bytes of a stream were read.
    pub(super) fn takes(&self, stream: u32, len: usize) {
        let mut held = self.held.lock();
        let Some(entry) = held.streams.get_mut(&stream) else {
            return;
        };
        let before = entry.cost();
        let left = entry.bytes.saturating_sub(len);
        // Which frame ends where is not known: as many are gone as of bytes.
        entry.frames = match left {
            0 => 0,
            left => (entry.frames * left).div_ceil(entry.bytes),
        };
        entry.bytes = left;
        let freed = before - entry.cost();
        self.free(held, freed);
    }

    /// A stream is not open any more.
    pub(super) fn closes(&self, stream: u32) {
        let mut held = self.held.lock();
        let freed = held.streams.remove(&stream).map_or(0, |entry| entry.cost());
        self.free(held, freed);
    }

    fn free(&self, mut held: parking_lot::MutexGuard<'_, Held>, freed: usize) {
        held.cost -= freed;
        let pooled = held.cost.saturating_sub(SHARE);
        let given = held.pooled.saturating_sub(pooled);
        held.pooled -= given;
        let driver = if freed > 0 { held.driver.take() } else { None };
        drop(held);
        if given > 0 {
            self.pool.give(given);
        }
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let pooled = self.held.get_mut().pooled;
        self.pool.0.lock().waiting.remove(&self.id);
        if pooled > 0 {
            self.pool.give(pooled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        task::Wake,
    };

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    const FRAME: usize = 32 * 1024 - FRAME_COST;

    /// Fills until there is no room; how many bytes went in.
    fn fill(line: &Line, stream: u32, cx: &Context<'_>) -> usize {
        let mut bytes = 0;
        while line.arrives(stream, FRAME, false, cx).is_ready() {
            bytes += FRAME + FRAME_COST;
        }
        bytes
    }

    #[test]
    fn beyond_their_shares_connections_have_one_pool_and_who_waits_is_woken() {
        let unread = Unread::default();
        let wakes = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        let (greedy, modest) = (unread.line(), unread.line());
        for line in [&greedy, &modest] {
            line.opens(1);
        }
        assert_eq!(fill(&greedy, 1, &cx), SHARE + POOL);
        assert_eq!(fill(&modest, 1, &cx), SHARE);
        assert_eq!(unread.taken(), POOL);
        // Who is read goes on within his share, whatever others hold.
        assert_eq!(wakes.0.load(Relaxed), 0);
        modest.takes(1, FRAME);
        assert_eq!(wakes.0.swap(0, Relaxed), 1);
        assert_eq!(fill(&modest, 1, &cx), FRAME + FRAME_COST);
        // What one gives back, both were waiting for.
        greedy.takes(1, 3 * FRAME);
        assert_eq!(wakes.0.swap(0, Relaxed), 3);
        assert_eq!(fill(&modest, 1, &cx), 3 * (FRAME + FRAME_COST));
        // Of streams that are not open nothing is kept.
        assert!(greedy.arrives(3, FRAME, false, &cx).is_ready());
        assert!(greedy.arrives(3, FRAME, true, &cx).is_pending());
        greedy.closes(1);
        assert!(greedy.arrives(3, FRAME, true, &cx).is_ready());
        drop((greedy, modest));
        assert_eq!(unread.taken(), 0);
    }

    #[test]
    fn small_frames_cost_what_they_take() {
        let unread = Unread::default();
        let line = unread.line();
        let cx = Context::from_waker(Waker::noop());
        line.opens(1);
        let mut frames = 0;
        while line.arrives(1, 1, false, &cx).is_ready() {
            frames += 1;
        }
        assert_eq!(frames, (SHARE + POOL) / (FRAME_COST + 1));
        line.takes(1, frames);
        assert_eq!(unread.taken(), 0);
        // Empty ones are not kept.
        assert!((0..POOL).all(|_| line.arrives(1, 0, false, &cx).is_ready()));
    }

    /// A stream's first window, whatever its frames, finds room where others hold all of the pool.
    #[test]
    fn a_first_window_fits_the_share_with_its_frames() {
        let unread = Unread::default();
        let cx = Context::from_waker(Waker::noop());
        let greedy = unread.line();
        greedy.opens(1);
        while greedy.arrives(1, 1000, false, &cx).is_ready() {}
        for frame in [512, 16 * 1024, super::super::FRAME_BODY, 256 * 1024] {
            let line = unread.line();
            line.opens(1);
            let mut left = yamux::DEFAULT_CREDIT as usize;
            while left > 0 {
                let len = frame.min(left);
                assert!(line.arrives(1, len, false, &cx).is_ready(), "{frame}: {left}");
                left -= len;
            }
        }
    }

    #[test]
    fn who_waits_with_a_small_frame_is_woken_for_little_room() {
        let unread = Unread::default();
        let nobody = Context::from_waker(Waker::noop());
        let lines = [unread.line(), unread.line(), unread.line()];
        for line in &lines {
            line.opens(1);
            while line.arrives(1, 1000, false, &nobody).is_ready() {}
            while line.arrives(1, 1, false, &nobody).is_ready() {}
        }
        let [greedy, small, large] = lines;
        let (of_small, of_large) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        for (line, len, counted) in [(&small, 1000, &of_small), (&large, 50_000, &of_large)] {
            let waker = Waker::from(Arc::clone(counted));
            assert!(
                line.arrives(1, len, false, &Context::from_waker(&waker))
                    .is_pending()
            );
        }
        greedy.takes(1, 20_000);
        assert_eq!((of_small.0.load(Relaxed), of_large.0.load(Relaxed)), (1, 0));
        greedy.takes(1, 40_000);
        assert_eq!(of_large.0.load(Relaxed), 1);
    }

    proptest! {
        /// Whatever comes, is read, closed and dropped in whatever order: never more than there is, and all of it back.
        #[test]
        fn the_pool_is_never_overdrawn_and_never_leaks(
            steps in prop::collection::vec((0..4usize, 0..3u32, 0..4u8, 1..200_000usize), 0..400),
        ) {
            let unread = Unread::default();
            let cx = Context::from_waker(Waker::noop());
            let mut lines: Vec<_> = (0..4).map(|_| unread.line()).collect();
            for (line, stream, what, len) in steps {
                match what {
                    0 => lines[line].takes(stream, len),
                    1 if len % 50 == 0 => lines[line].closes(stream),
                    2 if len % 99 == 0 => lines[line] = unread.line(),
                    _ => drop(lines[line].arrives(stream, len.min(100_000), true, &cx)),
                }
                prop_assert!(unread.taken() <= POOL);
                let pooled: usize = lines.iter().map(|line| line.held.lock().pooled).sum();
                prop_assert_eq!(pooled, unread.taken());
                for line in &lines {
                    let held = line.held.lock();
                    let cost: usize = held.streams.values().map(Stream::cost).sum();
                    prop_assert_eq!(cost, held.cost);
                    prop_assert!(held.cost <= SHARE + held.pooled);
                }
            }
            lines.clear();
            prop_assert_eq!(unread.taken(), 0);
        }
    }
}
