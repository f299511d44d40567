//! The order of newPayload and fcU within a batch: each goes to the execution client when that has answered the one before,
//! as if it worked the batch off by itself. Rule 8 lets calls run beside each other; the order inside a batch is the caller's.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Gives out turns.
#[derive(Debug, Default)]
pub(super) struct Turns(Option<CancellationToken>);

/// A call's turn.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<CancellationToken>,
    ended: CancellationToken,
}

/// Held by a call until the execution client's answer to it is here and noted.
pub(super) type Unanswered = DropGuard;

impl Turns {
    /// The turn after all that were given out.
    pub(super) fn next(&mut self) -> Turn {
        let ended = CancellationToken::new();
        let before = self.0.replace(ended.clone());
        Turn { before, ended }
    }
}

impl Turn {
    /// Waits for the turn.
    pub(super) async fn come(&self) -> Unanswered {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
        self.ended.clone().drop_guard()
    }

    /// The caller's answer is here, whether the execution client gave it or not.
    pub(super) fn end(self) {
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_the_one_before_is_answered_or_over() {
        use futures::FutureExt;
        let mut turns = Turns::default();
        let (first, second, third) = (turns.next(), turns.next(), turns.next());
        let unanswered = first.come().await;
        assert!(second.come().now_or_never().is_none());
        drop(unanswered);
        let unanswered = second.come().await;
        assert!(third.come().now_or_never().is_none());
        second.end();
        assert!(third.come().now_or_never().is_some());
        drop((unanswered, first));
    }
}
