//! The bytes of an event stream, bounded before they are parsed.

use super::{MAX_EVENT_BYTES, NodeError, unreachable};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use std::time::Duration;

/// Passes bytes on as long as some come within `idle` and a blank line ends each event within `MAX_EVENT_BYTES`.
pub(super) fn bounded(
    bytes: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    idle: Duration,
) -> impl Stream<Item = Result<Bytes, NodeError>> + Send {
    struct State {
        bytes: BoxStream<'static, reqwest::Result<Bytes>>,
        /// Bytes since the last blank line, and whether the last byte ended a line.
        pending: usize,
        line_ended: bool,
        over: bool,
    }
    let state = State {
        bytes: bytes.boxed(),
        pending: 0,
        line_ended: true,
        over: false,
    };
    futures::stream::unfold(state, move |mut state| async move {
        if state.over {
            return None;
        }
        let item = match tokio::time::timeout(idle, state.bytes.next()).await {
            Err(_) => Err(NodeError::Timeout(idle)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => Err(unreachable(error)),
            Ok(Some(Ok(chunk))) => {
                for byte in &chunk {
                    match byte {
                        b'\n' if state.line_ended => state.pending = 0,
                        b'\n' => state.line_ended = true,
                        b'\r' => {}
                        _ => state.line_ended = false,
                    }
                    state.pending += 1;
                    if state.pending > MAX_EVENT_BYTES {
                        break;
                    }
                }
                if state.pending > MAX_EVENT_BYTES {
                    Err(NodeError::TooLarge(MAX_EVENT_BYTES))
                } else {
                    Ok(chunk)
                }
            }
        };
        state.over = item.is_err();
        Some((item, state))
    })
}
