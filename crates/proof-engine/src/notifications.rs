//! What an endpoint is told of payloads and fork choice, in order, when it has time for it.

use assay_types::{NewPayloadRequest, Root};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::Notify;

/// Notifications an endpoint may fall behind; of more the oldest are dropped and counted: who was away needs the newest.
pub const NOTIFICATION_BACKLOG: usize = 64;

/// A notification under way to a backend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Notification {
    NewPayload(Root, Arc<NewPayloadRequest>),
    ForkchoiceUpdated { head: Root, safe: Root, finalized: Root },
}

/// A queue with one reader. A fork choice that nothing followed is replaced by the next.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    queue: Mutex<VecDeque<Notification>>,
    pushed: Notify,
}

impl Notifications {
    /// Never waits; whether another had to be dropped for it.
    pub(crate) fn push(&self, notification: Notification) -> bool {
        use Notification::ForkchoiceUpdated;
        let mut queue = self.queue.lock();
        if let (ForkchoiceUpdated { .. }, Some(last @ ForkchoiceUpdated { .. })) =
            (&notification, queue.back_mut())
        {
            *last = notification;
            return false;
        }
        let full = queue.len() >= NOTIFICATION_BACKLOG;
        if full {
            queue.pop_front();
        }
        queue.push_back(notification);
        drop(queue);
        self.pushed.notify_one();
        full
    }

    /// The oldest, once there is one.
    pub(crate) async fn next(&self) -> Notification {
        loop {
            let next = self.queue.lock().pop_front();
            match next {
                Some(notification) => return notification,
                // One push while nobody waits is remembered.
                None => self.pushed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::payload_request;

    fn root(n: usize) -> Root {
        Root::from([u8::try_from(n).unwrap_or(u8::MAX); 32])
    }

    fn choice(n: usize) -> Notification {
        Notification::ForkchoiceUpdated {
            head: root(n),
            safe: Root::ZERO,
            finalized: Root::ZERO,
        }
    }

    #[tokio::test]
    async fn a_fork_choice_that_nothing_followed_is_replaced_and_the_order_stays() {
        let queue = Notifications::default();
        let payload = |n| Notification::NewPayload(root(n), payload_request());
        for (notification, drops) in [choice(1), choice(2), payload(3), choice(4), choice(5), payload(6)]
            .into_iter()
            .zip([false; 6])
        {
            assert_eq!(queue.push(notification), drops);
        }
        for expected in [choice(2), payload(3), choice(5), payload(6)] {
            assert_eq!(queue.next().await, expected);
        }
    }

    #[tokio::test]
    async fn who_is_far_behind_gets_the_newest() {
        let queue = Notifications::default();
        let request = payload_request();
        let payload = |n| Notification::NewPayload(root(n), request.clone());
        for n in 0..NOTIFICATION_BACKLOG {
            assert!(!queue.push(payload(n)));
        }
        assert!(queue.push(choice(100)), "the oldest payload");
        assert!(!queue.push(choice(101)), "in the place of the last");
        assert_eq!(queue.next().await, payload(1));
        for _ in 2..NOTIFICATION_BACKLOG {
            queue.next().await;
        }
        assert_eq!(queue.next().await, choice(101));
    }
}
