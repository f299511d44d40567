//! BLS12-381 as the beacon chain uses it: minimal public keys, signatures in G2, proof-of-possession suite, over blst.

use crate::primitives::{PublicKeyBytes, Root, SignatureBytes};

/// Why a key or signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlsError {
    /// Not a public key in the right subgroup, or the point at infinity.
    #[error("not a valid BLS public key")]
    PublicKey,
    /// Not a point of G2 in the right subgroup.
    #[error("not a valid BLS signature")]
    Signature,
    /// Zero, or not below the group's order.
    #[error("not a valid BLS secret key")]
    SecretKey,
}

/// A public key that was validated: on the curve, in the subgroup, not infinity.
#[derive(Clone)]
pub struct PublicKey(#[allow(dead_code)] blst::min_pk::PublicKey);

/// A secret key; zeroized when dropped, never printed.
pub struct SecretKey(#[allow(dead_code)] blst::min_pk::SecretKey);

impl PublicKey {
    /// Decompresses and validates (about 55 µs: keep the result).
    pub fn from_bytes(bytes: &PublicKeyBytes) -> Result<Self, BlsError> {
        let _ = bytes;
        unimplemented!()
    }

    /// The compressed form.
    pub fn to_bytes(&self) -> PublicKeyBytes {
        unimplemented!()
    }

    /// Whether `signature` is this key's over `message`; the signature is subgroup-checked, infinity refused.
    pub fn verify(&self, message: &Root, signature: &SignatureBytes) -> bool {
        let _ = (message, signature);
        unimplemented!()
    }
}

impl SecretKey {
    /// From 32 big-endian bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        let _ = bytes;
        unimplemented!()
    }

    /// The well-known interop key of a validator index: int(SHA-256(uint256_le(index)) little-endian) mod r.
    pub fn interop(index: u64) -> Self {
        let _ = index;
        unimplemented!()
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        unimplemented!()
    }

    /// Signs a signing root.
    pub fn sign(&self, message: &Root) -> SignatureBytes {
        let _ = message;
        unimplemented!()
    }
}
