#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;
use ssz::Encode;
use ssz_types::{
    BitList, BitVector, FixedVector, VariableList,
    typenum::{U4, U8, U40, U64, U100, U1000},
};
use tree_hash::TreeHash;

/// A value of `tree_hash`'s and `ethereum_ssz`'s types has the same root and passes the check.
fn agrees<T: Encode + TreeHash>(schema: &Schema, value: &T) {
    let bytes = value.as_ssz_bytes();
    let view = schema
        .view(&bytes)
        .unwrap_or_else(|e| panic!("{}: {e}", schema.name()));
    assert_eq!(
        view.hash_tree_root().0,
        value.tree_hash_root().0,
        "{} of {} bytes",
        schema.name(),
        bytes.len()
    );
    assert_eq!(schema.encode_json(&view.to_json()).unwrap(), bytes);
}

#[test]
fn plain_shapes_agree_with_tree_hash() {
    agrees(&Schema::U8, &7u8);
    agrees(&Schema::U16, &0x1501u16);
    agrees(&Schema::U64, &u64::MAX);
    agrees(&Schema::Boolean, &true);
    agrees(&Schema::BYTES32, &tree_hash::Hash256::repeat_byte(3));
    for len in [0usize, 1, 3, 4, 5, 31, 32, 33, 40] {
        let bytes: Vec<u8> = (0..len as u8).collect();
        agrees(
            &Schema::ByteList(40),
            &VariableList::<u8, U40>::new(bytes).unwrap(),
        );
        let numbers: Vec<u64> = (0..len as u64)
            .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        agrees(
            &Schema::list(Schema::U64, 100),
            &VariableList::<u64, U100>::new(numbers).unwrap(),
        );
        let hashes: Vec<_> = (0..len as u8).map(tree_hash::Hash256::repeat_byte).collect();
        agrees(
            &Schema::list(Schema::BYTES32, 1000),
            &VariableList::<tree_hash::Hash256, U1000>::new(hashes).unwrap(),
        );
    }
    agrees(
        &Schema::vector(Schema::U64, 4),
        &FixedVector::<u64, U4>::new(vec![1, 2, 3, 4]).unwrap(),
    );
    for len in [0usize, 1, 7, 8, 9, 63, 64] {
        let mut bits = BitList::<U64>::with_capacity(len).unwrap();
        for bit in (0..len).step_by(3) {
            bits.set(bit, true).unwrap();
        }
        agrees(&Schema::Bitlist(64), &bits);
    }
    let mut bits = BitVector::<U8>::new();
    bits.set(2, true).unwrap();
    agrees(&Schema::Bitvector(8), &bits);
}

#[derive(ssz_derive::Encode, tree_hash_derive::TreeHash)]
struct Inner {
    number: u16,
    bytes: VariableList<u8, U8>,
}

#[derive(ssz_derive::Encode, tree_hash_derive::TreeHash)]
struct Outer {
    first: VariableList<u8, U100>,
    flag: bool,
    inner: VariableList<Inner, U4>,
    fixed: u64,
    last: Inner,
}

fn inner() -> Schema {
    Schema::container(
        "Inner",
        vec![
            Field::new("number", Schema::U16),
            Field::new("bytes", Schema::ByteList(8)),
        ],
    )
}

fn outer() -> Schema {
    Schema::container(
        "Outer",
        vec![
            Field::new("first", Schema::ByteList(100)),
            Field::new("flag", Schema::Boolean),
            Field::new("inner", Schema::list(inner(), 4)),
            Field::new("fixed", Schema::U64),
            Field::new("last", inner()),
        ],
    )
}

fn outer_value(items: usize) -> Outer {
    let inner = |n: usize| Inner {
        number: n as u16 * 300,
        bytes: VariableList::new(vec![n as u8; n]).unwrap(),
    };
    Outer {
        first: VariableList::new(vec![9; items * 11]).unwrap(),
        flag: items.is_multiple_of(2),
        inner: VariableList::new((0..items).map(inner).collect()).unwrap(),
        fixed: 77,
        last: inner(5),
    }
}

#[test]
fn containers_agree_with_tree_hash() {
    for items in 0..=4 {
        agrees(&outer(), &outer_value(items));
    }
}

#[test]
fn views_slice_by_path_and_place() {
    let bytes = outer_value(3).as_ssz_bytes();
    let schema = outer();
    let view = schema.view(&bytes).unwrap();
    assert_eq!(view.at("last.number").unwrap().as_u64(), Some(1500));
    assert_eq!(view.field("fixed").unwrap().as_u64(), Some(77));
    let items: Vec<_> = view.field("inner").unwrap().items().collect();
    assert_eq!(items.len(), 3);
    assert_eq!(items[2].field("bytes").unwrap().bytes(), [2, 2]);
    assert!(view.at("last.nothing").is_none());
    assert!(view.at("fixed.deeper").is_none());
    // Nothing is copied: the last field ends where the value ends.
    assert_eq!(
        view.field("last").unwrap().bytes().as_ptr_range().end,
        bytes.as_ptr_range().end
    );
}

/// What is refused, where the error says it lies, and why.
#[test]
fn refusals_name_place_and_reason() {
    use SchemaFault as F;
    let offsets = |a: u32, b: u32| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let pair = Schema::container(
        "Pair",
        vec![
            Field::new("left", Schema::ByteList(3)),
            Field::new("right", Schema::ProgressiveByteList),
        ],
    );
    let lists = Schema::list(Schema::ByteList(2), 3);
    let trio = Schema::container(
        "Trio",
        ["a", "b", "c"]
            .into_iter()
            .map(|name| Field::new(name, Schema::ProgressiveByteList))
            .collect(),
    );
    let cases: Vec<(Schema, Vec<u8>, &str, SchemaFault)> = vec![
        (
            Schema::U64,
            vec![0; 7],
            "",
            F::Length {
                expected: 8,
                actual: 7,
            },
        ),
        (Schema::Boolean, vec![2], "", F::NotBoolean(2)),
        (
            Schema::Boolean,
            vec![],
            "",
            F::Length {
                expected: 1,
                actual: 0,
            },
        ),
        (Schema::ByteList(3), vec![0; 4], "", F::Limit { len: 4, limit: 3 }),
        (Schema::Bitvector(5), vec![0b10_0000], "", F::PaddingBits(5)),
        (Schema::Bitlist(8), vec![], "", F::NoEndBit),
        (Schema::Bitlist(8), vec![1, 0], "", F::NoEndBit),
        (Schema::Bitlist(8), vec![0, 2], "", F::Limit { len: 9, limit: 8 }),
        (Schema::ProgressiveBitlist, vec![0], "", F::NoEndBit),
        (
            Schema::vector(Schema::U16, 2),
            vec![0; 6],
            "",
            F::VectorLength {
                expected: 2,
                actual: 3,
            },
        ),
        (
            Schema::vector(Schema::U16, 0),
            vec![],
            "",
            F::VectorLength {
                expected: 0,
                actual: 0,
            },
        ),
        (
            Schema::list(Schema::U64, 9),
            vec![0; 9],
            "",
            F::PartialElement { len: 9, element: 8 },
        ),
        (
            Schema::list(Schema::U64, 1),
            vec![0; 16],
            "",
            F::Limit { len: 2, limit: 1 },
        ),
        (Schema::list(Schema::Bytes(0), 1), vec![], "", F::EmptyShape),
        (
            Schema::list(Schema::Boolean, 9),
            vec![1, 0, 3],
            "[2]",
            F::NotBoolean(3),
        ),
        (
            lists.clone(),
            vec![4, 0, 0],
            "",
            F::TooShort { needed: 4, actual: 3 },
        ),
        (
            lists.clone(),
            offsets(0, 0),
            "",
            F::ListOffset { actual: 0, len: 8 },
        ),
        (
            lists.clone(),
            offsets(6, 8),
            "",
            F::ListOffset { actual: 6, len: 8 },
        ),
        (
            lists.clone(),
            offsets(12, 8),
            "",
            F::ListOffset { actual: 12, len: 8 },
        ),
        (
            lists.clone(),
            offsets(8, 9),
            "[1]",
            F::Offset {
                lowest: 8,
                highest: 8,
                actual: 9,
            },
        ),
        (
            lists.clone(),
            offsets(8, 7),
            "[1]",
            F::Offset {
                lowest: 8,
                highest: 8,
                actual: 7,
            },
        ),
        (
            lists,
            [offsets(8, 8), vec![1, 2, 3]].concat(),
            "[1]",
            F::Limit { len: 3, limit: 2 },
        ),
        (pair.clone(), vec![0; 7], "", F::TooShort { needed: 8, actual: 7 }),
        (
            pair.clone(),
            offsets(7, 8),
            "left",
            F::FirstOffset {
                expected: 8,
                actual: 7,
            },
        ),
        // A hole behind the fixed part: lenient decoders take it, and encode to other bytes.
        (
            pair.clone(),
            [offsets(9, 9), vec![0]].concat(),
            "left",
            F::FirstOffset {
                expected: 8,
                actual: 9,
            },
        ),
        (
            pair.clone(),
            offsets(8, 4),
            "right",
            F::Offset {
                lowest: 8,
                highest: 8,
                actual: 4,
            },
        ),
        (
            pair.clone(),
            offsets(8, u32::MAX),
            "right",
            F::Offset {
                lowest: 8,
                highest: 8,
                actual: u32::MAX as usize,
            },
        ),
        (
            pair,
            [offsets(8, 12), vec![0; 4]].concat(),
            "left",
            F::Limit { len: 4, limit: 3 },
        ),
        // Each offset is measured by the one before it, not by the fixed part alone.
        (
            trio,
            [offsets(12, 14), vec![13, 0, 0, 0, 1, 2, 3]].concat(),
            "c",
            F::Offset {
                lowest: 14,
                highest: 15,
                actual: 13,
            },
        ),
        (
            Schema::progressive_list(Schema::ProgressiveByteList),
            [offsets(12, 14), vec![13, 0, 0, 0, 1, 2, 3]].concat(),
            "[2]",
            F::Offset {
                lowest: 14,
                highest: 15,
                actual: 13,
            },
        ),
        (Schema::container("Nothing", vec![]), vec![], "", F::EmptyShape),
        (
            Schema::container("Fixed", vec![Field::new("n", Schema::U16)]),
            vec![0; 3],
            "",
            F::Length {
                expected: 2,
                actual: 3,
            },
        ),
    ];
    for (schema, bytes, path, fault) in cases {
        let error = schema
            .check(&bytes)
            .expect_err(&format!("{schema:?} takes {bytes:?}"));
        assert_eq!(
            (error.path.as_str(), &error.fault),
            (path, &fault),
            "{schema:?} of {bytes:?}"
        );
    }
}

#[test]
fn paths_of_errors_lead_inwards() {
    let mut bytes = outer_value(3).as_ssz_bytes();
    let schema = outer();
    let view = schema.view(&bytes).unwrap();
    let inner_start = view.field("inner").unwrap().bytes().as_ptr() as usize - bytes.as_ptr() as usize;
    // The offset inside the list's third element.
    let third = inner_start + 12 + 6 + 7;
    bytes[third + 2] = 7;
    let error = schema.check(&bytes).unwrap_err();
    assert_eq!(error.path, "inner[2].bytes");
    assert_eq!(
        error.to_string(),
        "inner[2].bytes: the first offset is 7, the fixed part ends at 6"
    );
}

#[test]
fn a_small_lie_costs_no_memory() {
    // Four bytes that claim a billion elements.
    let schema = Schema::progressive_list(Schema::ProgressiveByteList);
    assert!(schema.check(&0xffff_fffcu32.to_le_bytes()).is_err());
}

#[test]
fn json_is_the_beacon_apis() {
    let schema = Schema::container(
        "All",
        vec![
            Field::new("small", Schema::U8),
            Field::new("big", Schema::U256),
            Field::new("flag", Schema::Boolean),
            Field::new("root", Schema::Bytes(2)),
            Field::new("types", Schema::list(Schema::U8, 4)),
            Field::new("bits", Schema::Bitlist(9)),
        ],
    );
    let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let value = json!({
        "small": "255", "big": max, "flag": true, "root": "0xab01", "types": ["1", "2"], "bits": "0x0302"
    });
    let bytes = schema.encode_json(&value).unwrap();
    assert_eq!(schema.view(&bytes).unwrap().to_json(), value);

    for (field, wrong, place, why) in [
        ("small", json!("256"), "small", "\"256\" does not fit 8 bits"),
        (
            "small",
            json!(1),
            "small",
            "a decimal string expected, got a number",
        ),
        (
            "small",
            json!("+1"),
            "small",
            "a decimal string expected, got \"+1\"",
        ),
        ("small", json!(""), "small", "a decimal string expected, got \"\""),
        ("big", json!(format!("{max}0")), "big", "does not fit 256 bits"),
        (
            "flag",
            json!("true"),
            "flag",
            "true or false expected, got a string",
        ),
        ("root", json!("0xab"), "root", "1 bytes, 2 expected"),
        ("root", json!("ab01"), "root", "hex must begin with 0x"),
        ("types", json!({}), "types", "an array expected, got an object"),
        (
            "types",
            json!(["1", "x"]),
            "types[1]",
            "a decimal string expected, got \"x\"",
        ),
        (
            "types",
            json!(["1", "1", "1", "1", "1"]),
            "types",
            "5 elements, at most 4 are allowed",
        ),
        ("bits", json!("0x00"), "bits", "the bit list has no end bit"),
    ] {
        let mut value = value.clone();
        value[field] = wrong;
        let error = schema.encode_json(&value).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{place}: ")) && error.contains(why),
            "{field}: {error}"
        );
    }
    let mut value = value;
    value.as_object_mut().unwrap().remove("flag");
    assert_eq!(
        schema.encode_json(&value).unwrap_err().to_string(),
        "flag: the field is missing"
    );
}

#[test]
fn inactive_fields_are_zero_chunks() {
    // EIP-7495: places 0 and 2 are taken; the tree is that of three chunks, and the configuration is mixed in.
    let schema = Schema::ProgressiveContainer {
        name: "Sparse",
        active_fields: vec![true, false, true],
        fields: vec![Field::new("a", Schema::U64), Field::new("c", Schema::U64)],
    };
    let chunk = |n: u8| {
        let mut chunk = [0; 32];
        chunk[0] = n;
        chunk
    };
    let bytes = [1u64.to_le_bytes(), 2u64.to_le_bytes()].concat();
    let tree = crate::merkle::merkleize_progressive(&[chunk(1), [0; 32], chunk(2)]);
    assert_eq!(
        schema.hash_tree_root(&bytes).unwrap(),
        crate::merkle::mix_in_active_fields(&tree, &[true, false, true])
    );
}
