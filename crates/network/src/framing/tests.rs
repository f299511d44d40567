#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use proptest::prelude::*;

const ANY: LengthBounds = LengthBounds::new(0, 1 << 20);

/// The payload and how many bytes it took when fed `step` bytes at a time.
fn decode_in_steps(
    wire: &[u8],
    bounds: LengthBounds,
    step: usize,
) -> Result<Option<(Vec<u8>, usize)>, FramingError> {
    let mut decoder = PayloadDecoder::new(bounds);
    let mut taken = 0;
    for piece in wire.chunks(step.max(1)) {
        let mut rest = piece;
        let payload = decoder.push(&mut rest)?;
        taken += piece.len() - rest.len();
        if let Some(payload) = payload {
            return Ok(Some((payload, taken)));
        }
        assert!(rest.is_empty(), "bytes left though more is needed");
    }
    Ok(None)
}

fn frames(parts: &[&[u8]]) -> Vec<u8> {
    let mut wire = Vec::new();
    for part in parts {
        wire.extend_from_slice(part);
    }
    wire
}

const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

#[test]
fn bytes_that_cannot_become_a_request_are_refused_at_once() {
    let valid = encode_request(&[7; 40]);
    let body = &valid[1..];
    let mut flipped = valid.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let bounds = LengthBounds::new(20, 100);
    let bomb_length = frames(&[&[0xff, 0xff, 0xff, 0xff, 0x0f]]);
    let not_identifier = frames(&[&[40], b"\xff\x06\x00\x00sNaPpX"]);
    let table: Vec<(&str, Vec<u8>, FramingError)> = vec![
        (
            "too short",
            vec![19],
            FramingError::LengthOutOfBounds {
                declared: 19,
                min: 20,
                max: 100,
            },
        ),
        (
            "too long",
            vec![101],
            FramingError::LengthOutOfBounds {
                declared: 101,
                min: 20,
                max: 100,
            },
        ),
        (
            "gigabytes",
            bomb_length,
            FramingError::LengthOutOfBounds {
                declared: 0xffff_ffff,
                min: 20,
                max: 100,
            },
        ),
        ("ten bytes", vec![0x80; 10], FramingError::LengthOverflow),
        (
            "65 bits",
            [vec![0xff; 9], vec![2]].concat(),
            FramingError::LengthOverflow,
        ),
        ("not minimal", vec![0xa8, 0x00], FramingError::LengthNotMinimal),
        (
            "no identifier",
            frames(&[&[40], &body[10..11]]),
            FramingError::NoStreamIdentifier,
        ),
        ("padding first", vec![40, 0xfe], FramingError::NoStreamIdentifier),
        (
            "another identifier",
            not_identifier,
            FramingError::NoStreamIdentifier,
        ),
        (
            "unknown frame",
            frames(&[&[40], IDENTIFIER, &[0x02]]),
            FramingError::BadFrame { kind: 2, len: 0 },
        ),
        (
            "frame of 16 MiB",
            frames(&[&[40], IDENTIFIER, &[0x00, 0xff, 0xff, 0xff]]),
            FramingError::BadFrame {
                kind: 0,
                len: 0xff_ffff,
            },
        ),
        (
            "frame without checksum",
            frames(&[&[40], IDENTIFIER, &[0x01, 3, 0, 0]]),
            FramingError::BadFrame { kind: 1, len: 3 },
        ),
        (
            "plain frame with more than declared",
            frames(&[&[40], IDENTIFIER, &[0x01, 45, 0, 0]]),
            FramingError::MoreThanDeclared { declared: 40 },
        ),
        (
            "padding beyond the budget",
            frames(&[&[40], IDENTIFIER, &[0xfe, 0, 1, 0]]),
            FramingError::TooManyFrameBytes { max: 32 + 40 + 6 },
        ),
        (
            "second identifier of another length",
            frames(&[&[40], IDENTIFIER, &[0xff, 7, 0, 0]]),
            FramingError::BadFrame { kind: 0xff, len: 7 },
        ),
        (
            "trailing",
            frames(&[&valid, &[0]]),
            FramingError::Trailing("request"),
        ),
        ("cut", valid[..valid.len() - 1].to_vec(), FramingError::Truncated),
        ("nothing", Vec::new(), FramingError::Truncated),
    ];
    for (name, wire, expected) in table {
        assert_eq!(decode_request(&wire, bounds), Err(expected), "{name}");
    }
    assert!(matches!(
        decode_request(&flipped, bounds),
        Err(FramingError::Snappy(_))
    ));
    assert_eq!(decode_request(&valid, bounds), Ok(vec![7; 40]));
}

#[test]
fn a_compressed_frame_cannot_hold_more_than_declared() {
    let mut wire = encode_request(&[7; 40]);
    wire[0] = 39;
    assert_eq!(
        decode_request(&wire, ANY),
        Err(FramingError::MoreThanDeclared { declared: 39 })
    );
}

#[test]
fn skippable_frames_are_passed_over() {
    let plain = encode_request(&[5; 120]);
    let padded = frames(&[
        &plain[..11],
        &[0x80, 1, 0, 0, 9],
        &[0xfe, 0, 0, 0],
        IDENTIFIER,
        &plain[11..],
    ]);
    for step in [1, 3, 100] {
        assert_eq!(
            decode_in_steps(&padded, ANY, step),
            Ok(Some((vec![5; 120], padded.len())))
        );
    }
}

#[test]
fn an_empty_payload_has_no_frames() {
    assert_eq!(encode_request(&[]), [0]);
    assert_eq!(decode_request(&[0], ANY), Ok(Vec::new()));
}

#[test]
fn after_an_error_nothing_is_taken() {
    let mut decoder = PayloadDecoder::new(ANY);
    let mut wrong: &[u8] = &[5, 0xfe];
    assert_eq!(decoder.push(&mut wrong), Err(FramingError::NoStreamIdentifier));
    let valid = encode_request(&[1; 5]);
    assert!(decoder.push(&mut &valid[..]).is_err());
}

#[test]
fn a_response_ends_with_its_error_chunk() {
    let long = "é".repeat(200);
    let cases = [
        (ErrorCode::InvalidRequest, "count", 1, "count".as_bytes().to_vec()),
        (ErrorCode::ServerError, "", 2, Vec::new()),
        (
            ErrorCode::ResourceUnavailable,
            long.as_str(),
            3,
            long.as_bytes()[..256].to_vec(),
        ),
        (ErrorCode::Other(140), "x", 140, b"x".to_vec()),
    ];
    for (code, message, byte, expected) in cases {
        let wire = [
            encode_success_chunk(b"a"),
            encode_error_chunk(code, message),
            vec![0],
        ]
        .concat();
        assert_eq!(encode_error_chunk(code, message)[0], byte);
        let mut decoder = ResponseDecoder::new(ANY, 4);
        let mut rest = &wire[..];
        assert_eq!(
            decoder.push(&mut rest),
            Ok(Some(ResponseChunk::Success(b"a".to_vec())))
        );
        assert_eq!(
            decoder.push(&mut rest),
            Ok(Some(ResponseChunk::Error {
                code,
                message: expected
            }))
        );
        assert_eq!(decoder.finish(), Ok(()));
        assert_eq!(decoder.push(&mut rest), Err(FramingError::Trailing("response")));
    }
}

#[test]
fn a_response_has_no_more_chunks_than_asked_for() {
    let wire = encode_success_chunk(b"a").repeat(3);
    let mut decoder = ResponseDecoder::new(ANY, 2);
    let mut rest = &wire[..];
    assert!(matches!(decoder.push(&mut rest), Ok(Some(_))));
    assert!(matches!(decoder.push(&mut rest), Ok(Some(_))));
    assert_eq!(
        decoder.push(&mut rest),
        Err(FramingError::TooManyChunks { max: 2 })
    );

    let mut short = ResponseDecoder::new(ANY, 2);
    assert_eq!(short.push(&mut &wire[..4]), Ok(None));
    assert_eq!(short.finish(), Err(FramingError::Truncated));
}

proptest! {
    #[test]
    fn pieces_make_the_same_payload(
        seed in proptest::collection::vec(any::<u8>(), 0..300),
        repeat in 1usize..2000,
    ) {
        let ssz = seed.repeat(repeat);
        let mut encoder = PayloadEncoder::default();
        // One encoder writes payload after payload, empty ones among them.
        for ssz in [&[][..], &ssz, &[], &ssz] {
            let mut wire = vec![0];
            encoder.begin(ssz.len(), &mut wire);
            for piece in ssz.chunks(PayloadEncoder::PIECE_LEN) {
                encoder.append(piece, &mut wire);
            }
            prop_assert_eq!(&wire[1..], &encode_payload(ssz)[..]);
        }
    }

    #[test]
    fn pieces_of_any_length_make_the_same_payload(
        seed in proptest::collection::vec(any::<u8>(), 0..300),
        repeat in 1usize..2000,
        step in 1usize..300_000,
    ) {
        let ssz = seed.repeat(repeat);
        let mut encoder = PayloadEncoder::default();
        // A payload that is given up leaves nothing behind.
        encoder.push(&seed, &mut Vec::new());
        for ssz in [&ssz, &[][..], &ssz] {
            let mut wire = Vec::new();
            encoder.begin(ssz.len(), &mut wire);
            for piece in ssz.chunks(step) {
                encoder.push(piece, &mut wire);
            }
            encoder.finish(&mut wire);
            prop_assert_eq!(&wire, &encode_payload(ssz));
            prop_assert!(wire.len() <= plain_payload_len(ssz.len()));
        }
    }

    #[test]
    fn what_is_encoded_decodes_in_pieces_of_any_size(
        seed in proptest::collection::vec(any::<u8>(), 0..300),
        repeat in 1usize..700,
        step in 1usize..100_000,
        behind in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let ssz = seed.repeat(repeat);
        let wire = encode_payload(&ssz);
        prop_assert!(wire.len() <= 10 + max_frames_len(ssz.len()));
        let longer = [&wire[..], &behind].concat();
        prop_assert_eq!(decode_in_steps(&longer, ANY, step), Ok(Some((ssz, wire.len()))));
        prop_assert_eq!(decode_in_steps(&wire[..wire.len() - 1], ANY, step), Ok(None));
    }

    /// Bytes of anybody's making: no panic, and the pieces they come in change nothing.
    #[test]
    fn any_bytes_are_judged_the_same_in_any_pieces(
        tail in proptest::collection::vec(any::<u8>(), 0..200),
        with_identifier in any::<bool>(),
        declared in 0u8..127,
        step in 1usize..40,
    ) {
        let wire = if with_identifier { frames(&[&[declared], IDENTIFIER, &tail]) } else { tail };
        let whole = decode_in_steps(&wire, ANY, wire.len());
        prop_assert_eq!(decode_in_steps(&wire, ANY, step), whole);
    }

    #[test]
    fn lengths_read_back(length in any::<u64>(), behind in any::<u8>()) {
        let mut wire = Vec::new();
        encode_length(length, &mut wire);
        let taken = wire.len();
        wire.push(behind);
        prop_assert_eq!(decode_length(&wire), Ok(Some((length, taken))));
        if taken > 1 {
            prop_assert_eq!(decode_length(&wire[..taken - 1]), Ok(None));
        }
    }
}
