//! Values in the forms that file, environment and flags give them in.

use assay_types::ProofType;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// A list, or one string with commas (as the environment has it).
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Form::deserialize(d)? {
        Form::Many(list) => list,
        Form::One(text) => text
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// A list of IP addresses, or one string with commas.
pub(super) fn addresses<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpAddr>, D::Error> {
    one_or_many(d)?
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|e| serde::de::Error::custom(format!("{text:?}: {e}")))
        })
        .collect()
}

/// Text; a number is text too (the environment's values come typed).
pub(super) fn text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Number(i64),
    }
    Ok(match Form::deserialize(d)? {
        Form::Text(text) => text,
        Form::Number(n) => n.to_string(),
    })
}

/// A proof type as flags have it.
pub(crate) fn proof_type(text: &str) -> Result<ProofType, String> {
    text.trim().parse().map_err(|_| {
        format!(
            "proof types are numbers from 0 to {}, comma-separated",
            ProofType::MAX
        )
    })
}

/// A list of numbers, one number, or a string with commas.
pub(super) fn types<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ProofType>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Many(Vec<ProofType>),
        One(ProofType),
        Text(String),
    }
    match Form::deserialize(d)? {
        Form::Many(list) => Ok(list),
        Form::One(n) => Ok(vec![n]),
        Form::Text(text) => text
            .split(',')
            .map(|t| proof_type(t).map_err(|why| serde::de::Error::custom(format!("{t:?}: {why}"))))
            .collect(),
    }
}

/// Bytes as a number, or a string with a unit of KiB, MiB, GiB, TiB (or KB, MB, GB, TB: powers of ten).
pub(super) fn size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u64),
        Text(String),
    }
    match Option::<Form>::deserialize(d)? {
        None => Ok(None),
        Some(Form::Number(n)) => Ok(Some(n)),
        Some(Form::Text(text)) => parse_size(&text).map(Some).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is not a size: a whole number of bytes, KiB, MiB, GiB or TiB"
            ))
        }),
    }
}

/// A size in bytes with or without a unit; `None` where it is none.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("20GiB", Some(20 << 30)),
            ("2 MB", Some(2_000_000)),
            ("1TiB", Some(1 << 40)),
            ("", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }
}
