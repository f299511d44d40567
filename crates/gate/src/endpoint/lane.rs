//! The order of fork choice updates (design.md gate rule 8): in the order received, the next one only after the answer
//! to the one before, or its time-out. Everything else runs beside.

use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// Calls that wait for their turn at most; a beacon node sends a few each slot, so this many means that none is
/// answered.
pub(super) const MAX_WAITING: usize = 64;

/// See `next_may_go`.
const LEAST_PART: u32 = 8;

/// A queue of calls, first come first served.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Ends when the newest ticket is done.
    last: Mutex<Option<oneshot::Receiver<Handover>>>,
    waiting: Arc<AtomicUsize>,
}

/// What a ticket leaves to the next one: nothing, or, where it gave up before its turn, whom it was waiting for.
#[derive(Debug)]
struct Handover(Option<oneshot::Receiver<Handover>>);

/// A place in the queue. Dropping it lets the next one go.
#[derive(Debug)]
pub(super) struct Ticket {
    before: Option<oneshot::Receiver<Handover>>,
    done: Option<oneshot::Sender<Handover>>,
    waiting: Arc<AtomicUsize>,
}

/// The lane is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Lane {
    /// Takes the next place; the order is that of these calls.
    pub(super) fn ticket(&self) -> Result<Ticket, Full> {
        self.ticket_among(MAX_WAITING)
    }

    /// As `ticket`, where fewer than `most` are taken.
    pub(super) fn ticket_among(&self, most: usize) -> Result<Ticket, Full> {
        let mut last = self.last.lock();
        if self.waiting.load(Ordering::Relaxed) >= most {
            return Err(Full);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (done, ended) = oneshot::channel();
        let before = last.replace(ended);
        Ok(Ticket {
            before,
            done: Some(done),
            waiting: Arc::clone(&self.waiting),
        })
    }
}

impl Ticket {
    /// Waits until every earlier ticket is gone.
    pub(super) async fn turn(&mut self) {
        while let Some(before) = &mut self.before {
            self.before = before.await.ok().and_then(|Handover(before)| before);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(done) = self.done.take() {
            // Nobody may be waiting.
            let _ = done.send(Handover(self.before.take()));
        }
    }
}

/// Ends when the next call may go although this one, whose turn began now, has no answer: its caller's time is over. A call that
/// waited long for its turn has little of that left, or calls that are not answered would queue up behind each other; it has
/// `1 / LEAST_PART` of it in any case.
pub(super) async fn next_may_go(received: Instant, patience: Duration) {
    let least = Instant::now() + patience / LEAST_PART;
    tokio::time::sleep_until(least.max(received + patience)).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_of_the_tickets() {
        let lane = Lane::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let tickets: Vec<Ticket> = (0..5).map(|_| lane.ticket().unwrap()).collect();
        // Started in the reverse order, each holding its turn for a while; number 2 gives up before its turn.
        let mut tasks = Vec::new();
        for (number, mut ticket) in tickets.into_iter().enumerate().rev() {
            let order = Arc::clone(&order);
            tasks.push(tokio::spawn(async move {
                if number == 2 {
                    return;
                }
                ticket.turn().await;
                order.lock().push((number, "starts"));
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                order.lock().push((number, "ends"));
            }));
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.lock().clone();
        let expected: Vec<_> = [0, 1, 3, 4]
            .iter()
            .flat_map(|n| [(*n, "starts"), (*n, "ends")])
            .collect();
        assert_eq!(order, expected);
    }

    #[test]
    fn the_queue_is_bounded() {
        let lane = Lane::default();
        let tickets: Vec<Ticket> = (0..MAX_WAITING).map(|_| lane.ticket().unwrap()).collect();
        assert_eq!(lane.ticket().unwrap_err(), Full);
        drop(tickets);
        assert!(lane.ticket().is_ok());
    }
}
