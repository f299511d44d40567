//! Req/resp streams: the same bytes mean the same, in whatever pieces they come.

use crate::{Seen, choose};
use assay_network::framing::{
    FramingError, LengthBounds, MAX_ERROR_MESSAGE_BYTES, PayloadDecoder, ResponseChunk, ResponseDecoder,
    decode_length, decode_request, encode_error_chunk, encode_length, encode_request, encode_success_chunk,
};
use assay_types::{ExecutionProofsByRange, ProofByRootIdentifiers, SszContainer};

/// Bytes in front of the stream: which bounds, how many chunks, and sizes of pieces.
const CUTS: usize = 4;

/// What is asked for, as an input chooses it.
struct Ask {
    bounds: LengthBounds,
    max_chunks: u64,
    cuts: [u8; CUTS],
}

fn read(data: &[u8]) -> Option<(Ask, &[u8])> {
    let (&[which, chunks], rest) = data.split_first_chunk()?;
    let (&cuts, wire) = rest.split_first_chunk::<CUTS>()?;
    let bounds = choose(
        &[
            ExecutionProofsByRange::ssz_len_bounds(),
            ProofByRootIdentifiers::ssz_len_bounds(),
            (0, 100),
            (145, 1 << 16),
            (1, 1 << 22),
        ],
        which,
    );
    let ask = Ask {
        bounds: LengthBounds::new(bounds.0, bounds.1),
        max_chunks: u64::from(chunks % 8),
        cuts,
    };
    Some((ask, wire))
}

/// `wire` in pieces of the sizes that `cuts` says, over and over; sizes of 0 are pieces too.
fn pieces<'a>(wire: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = wire;
    let all_empty = cuts.iter().all(|cut| *cut == 0);
    let sizes = cuts
        .iter()
        .cycle()
        .map(move |cut| if all_empty { 1 } else { usize::from(*cut) });
    sizes.map_while(move |size| {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// A request that was read to its end.
pub(crate) fn framing_request(data: &[u8]) -> Seen {
    let Some((ask, wire)) = read(data) else {
        return Seen::Refused;
    };
    if let Ok(Some((length, taken))) = decode_length(wire) {
        let mut again = Vec::new();
        encode_length(length, &mut again);
        assert_eq!(again, wire[..taken]);
    }
    let whole = decode_request(wire, ask.bounds);

    let mut decoder = PayloadDecoder::new(ask.bounds);
    let mut payload = None;
    let mut failed = None;
    for mut piece in pieces(wire, &ask.cuts) {
        if payload.is_some() {
            if !piece.is_empty() {
                failed = Some(FramingError::Trailing("request"));
                break;
            }
            continue;
        }
        match decoder.push(&mut piece) {
            Ok(None) => assert!(piece.is_empty(), "bytes were left without an answer"),
            Ok(Some(_)) if !piece.is_empty() => {
                failed = Some(FramingError::Trailing("request"));
                break;
            }
            Ok(got) => payload = got,
            Err(e) => {
                failed = Some(e);
                break;
            }
        }
    }
    let in_pieces = failed.map_or_else(|| payload.ok_or(FramingError::Truncated), Err);
    assert_eq!(whole, in_pieces);

    if let Ok(ssz) = &whole {
        assert!((ask.bounds.min..=ask.bounds.max).contains(&ssz.len()));
        assert_eq!(decode_request(&encode_request(ssz), ask.bounds).as_ref(), Ok(ssz));
    }
    Seen::of(&whole)
}

/// Chunks of a response, and how it ended.
type Response = (Vec<ResponseChunk>, Result<(), FramingError>);

fn decode_response<'a>(ask: &Ask, pieces: impl Iterator<Item = &'a [u8]>) -> Response {
    let mut decoder = ResponseDecoder::new(ask.bounds, ask.max_chunks);
    let mut chunks = Vec::new();
    for mut piece in pieces {
        loop {
            let before = piece.len();
            match decoder.push(&mut piece) {
                Ok(Some(chunk)) => {
                    assert!(piece.len() < before, "a chunk out of nothing");
                    chunks.push(chunk);
                }
                Ok(None) => break,
                Err(e) => {
                    let mut more: &[u8] = &[0];
                    assert!(decoder.push(&mut more).is_err(), "a broken stream went on");
                    return (chunks, Err(e));
                }
            }
        }
        assert!(piece.is_empty(), "bytes were left without an answer");
    }
    (chunks, decoder.finish())
}

/// A response, until its stream ends.
pub(crate) fn framing_response(data: &[u8]) -> Seen {
    let Some((ask, wire)) = read(data) else {
        return Seen::Refused;
    };
    let (chunks, end) = decode_response(&ask, std::iter::once(wire));
    assert_eq!(
        decode_response(&ask, pieces(wire, &ask.cuts)),
        (chunks.clone(), end.clone())
    );

    let successes = chunks
        .iter()
        .filter(|chunk| matches!(chunk, ResponseChunk::Success(_)));
    assert!(successes.count() as u64 <= ask.max_chunks);
    let mut again = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        match chunk {
            ResponseChunk::Success(ssz) => {
                assert!((ask.bounds.min..=ask.bounds.max).contains(&ssz.len()));
                again.extend(encode_success_chunk(ssz));
            }
            ResponseChunk::Error { code, message } => {
                assert_eq!(index + 1, chunks.len(), "something follows an error");
                assert!(message.len() <= MAX_ERROR_MESSAGE_BYTES);
                assert_ne!(code.as_byte(), 0);
                again.extend(encode_error_chunk(*code, message));
            }
        }
    }
    let accepted = Seen::accepted(end.is_ok() && !chunks.is_empty());
    assert_eq!(
        decode_response(&ask, std::iter::once(&again[..])),
        (chunks, Ok(()))
    );
    accepted
}
