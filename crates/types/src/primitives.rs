//! The small values everything else is made of. SSZ byte order and JSON form are the Beacon API's:
//! integers are decimal strings, bytes are 0x-prefixed lower-case hex.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// Why a hex string was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// The string does not begin with `0x`.
    #[error("hex must begin with 0x")]
    NoPrefix,
    /// A character that is no hex digit, or an odd number of them.
    #[error("not hex: {0}")]
    Digits(String),
    /// The number of bytes is not the one asked for.
    #[error("{actual} bytes, {expected} expected")]
    Length {
        /// Bytes the type has.
        expected: usize,
        /// Bytes the string held.
        actual: usize,
    },
}

/// Reads 0x-prefixed hex of any length.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, HexError> {
    let digits = text.strip_prefix("0x").ok_or(HexError::NoPrefix)?;
    hex::decode(digits).map_err(|e| HexError::Digits(e.to_string()))
}

/// Writes bytes as 0x-prefixed lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 + bytes.len() * 2);
    out.push_str("0x");
    out.push_str(&hex::encode(bytes));
    out
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ssz_derive::Encode, ssz_derive::Decode)]
        #[ssz(struct_behaviour = "transparent")]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $len]);
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            pub fn as_slice(&self) -> &[u8] {
                &self.0
            }

            /// Takes exactly the type's length of bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, HexError> {
                bytes.try_into().map(Self).map_err(|_| HexError::Length { expected: $len, actual: bytes.len() })
            }

            /// Whether every byte is zero.
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|b| *b == 0)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ZERO
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                Self::from_slice(&parse_hex(text)?)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

fixed_bytes!(
    /// 32 bytes: a tree-hash root, a block hash, a versioned hash.
    Hash256, 32
);
fixed_bytes!(
    /// A fork's version, as signing domains and fork digests mix it in.
    ForkVersion, 4
);
fixed_bytes!(
    /// A compressed BLS12-381 public key, not yet checked.
    PublicKeyBytes, 48
);
fixed_bytes!(
    /// A compressed BLS12-381 signature, not yet checked.
    SignatureBytes, 96
);

impl Hash256 {
    /// The first eight hex digits, for log lines.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// A tree-hash root.
pub type Root = Hash256;
/// The hash of an execution block.
pub type BlockHash = Hash256;
/// What kind of proof (which guest on which zkVM): EIP-8025 `ProofType = uint8`.
pub type ProofType = u8;
/// A validator's place in the registry.
pub type ValidatorIndex = u64;

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, ssz_derive::Encode, ssz_derive::Decode,
        )]
        #[ssz(struct_behaviour = "transparent")]
        pub struct $name(pub u64);

        impl $name {
            /// The number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }
            /// `self + n`, at most `u64::MAX`.
            pub const fn saturating_add(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }
            /// `self - n`, at least 0.
            pub const fn saturating_sub(self, n: u64) -> Self {
                Self(self.0.saturating_sub(n))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(n: u64) -> Self {
                Self(n)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                quoted::deserialize(d).map(Self)
            }
        }
    };
}

count!(
    /// A slot's number since genesis.
    Slot
);
count!(
    /// An epoch's number since genesis.
    Epoch
);

impl Epoch {
    /// `FAR_FUTURE_EPOCH`: never.
    pub const FAR_FUTURE: Self = Self(u64::MAX);
}

/// `#[serde(with = "quoted")]`: an unsigned integer as the Beacon API writes it, a decimal string.
/// Reading takes nothing but a string of decimal digits that fits.
pub mod quoted {
    use super::*;

    /// Writes a decimal string.
    pub fn serialize<T: fmt::Display, S: Serializer>(n: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(n)
    }

    /// Reads a decimal string.
    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(d: D) -> Result<T, D::Error>
    where
        T::Err: fmt::Display,
    {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(D::Error::custom(format!(
                "a decimal string expected, got {text:?}"
            )));
        }
        text.parse()
            .map_err(|e| D::Error::custom(format!("{text:?}: {e}")))
    }
}

/// `#[serde(with = "hex_bytes")]`: bytes of any length as 0x-prefixed hex.
pub mod hex_bytes {
    use super::*;

    /// Writes hex.
    pub fn serialize<B: AsRef<[u8]>, S: Serializer>(bytes: &B, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&to_hex(bytes.as_ref()))
    }

    /// Reads hex.
    pub fn deserialize<'de, B: From<Vec<u8>>, D: Deserializer<'de>>(d: D) -> Result<B, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        parse_hex(&text).map(B::from).map_err(D::Error::custom)
    }
}
