//! BLS12-381 as the beacon chain uses it: minimal public keys, signatures in G2, proof-of-possession suite, over blst.

use crate::primitives::{PublicKeyBytes, Root, SignatureBytes};
use blst::{BLST_ERROR, min_pk};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// The suite's domain separation tag (consensus specs, phase 0, BLS signatures).
const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// The order r of the groups.
const CURVE_ORDER: ruint::aliases::U256 = ruint::aliases::U256::from_limbs([
    0xffff_ffff_0000_0001,
    0x53bd_a402_fffe_5bfe,
    0x3339_d808_09a1_d805,
    0x73ed_a753_299d_7d48,
]);

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
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(min_pk::PublicKey);

/// A secret key; zeroized when dropped, never printed.
pub struct SecretKey(min_pk::SecretKey);

impl PublicKey {
    /// Decompresses and validates (about 55 µs: keep the result).
    pub fn from_bytes(bytes: &PublicKeyBytes) -> Result<Self, BlsError> {
        min_pk::PublicKey::key_validate(&bytes.0)
            .map(Self)
            .map_err(|_| BlsError::PublicKey)
    }

    /// The compressed form.
    pub fn to_bytes(&self) -> PublicKeyBytes {
        PublicKeyBytes(self.0.to_bytes())
    }

    /// Whether `signature` is this key's over `message`; the signature is subgroup-checked, infinity refused.
    pub fn verify(&self, message: &Root, signature: &SignatureBytes) -> bool {
        self.check(message, signature) == Ok(true)
    }

    /// As `verify`, but a signature that is no signature at all (no point of the subgroup, or infinity) is an error.
    pub fn check(&self, message: &Root, signature: &SignatureBytes) -> Result<bool, BlsError> {
        let signature =
            min_pk::Signature::sig_validate(&signature.0, true).map_err(|_| BlsError::Signature)?;
        // Both points are validated above and in `from_bytes`.
        let outcome = signature.verify(false, &message.0, DST, &[], &self.0, false);
        Ok(outcome == BLST_ERROR::BLST_SUCCESS)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_bytes(), f)
    }
}

impl SecretKey {
    /// From 32 big-endian bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        min_pk::SecretKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| BlsError::SecretKey)
    }

    /// The well-known interop key of a validator index: int(SHA-256(uint256_le(index)) little-endian) mod r.
    pub fn interop(index: u64) -> Self {
        let mut input = Zeroizing::new([0; 32]);
        input[..8].copy_from_slice(&index.to_le_bytes());
        loop {
            let hash: [u8; 32] = Sha256::digest(*input).into();
            let scalar = ruint::aliases::U256::from_le_bytes(hash) % CURVE_ORDER;
            // Only zero is refused, which no index is known to give.
            if let Ok(key) = Self::from_bytes(&scalar.to_be_bytes::<32>()) {
                return key;
            }
            *input = hash;
        }
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.sk_to_pk())
    }

    /// Signs a signing root.
    pub fn sign(&self, message: &Root) -> SignatureBytes {
        SignatureBytes(self.0.sign(&message.0, DST, &[]).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn infinity<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        bytes[0] = 0xc0;
        bytes
    }

    #[test]
    fn interop_keys_are_the_well_known_ones() {
        // Validators 0 and 1 of every interop genesis.
        for (index, pubkey) in [
            (
                0,
                "0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c",
            ),
            (
                1,
                "0xb89bebc699769726a318c8e9971bd3171297c61aea4a6578a7a4f94b547dcba5bac16a89108b6b6a1fe3695d1a874a0b",
            ),
        ] {
            assert_eq!(
                SecretKey::interop(index).public_key().to_bytes().to_string(),
                pubkey
            );
        }
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        let (key, other) = (SecretKey::interop(3), SecretKey::interop(4));
        let (message, another) = (Root::from([1; 32]), Root::from([2; 32]));
        let signature = key.sign(&message);
        assert!(key.public_key().verify(&message, &signature));
        assert!(!key.public_key().verify(&another, &signature));
        assert!(!other.public_key().verify(&message, &signature));
        for bit in 0..8 {
            let mut bent = signature;
            bent.0[bit * 12] ^= 1 << bit;
            assert!(!key.public_key().verify(&message, &bent));
        }
    }

    #[test]
    fn points_that_are_no_keys_or_signatures_are_refused() {
        for bytes in [PublicKeyBytes::ZERO, infinity().into(), [0xff; 48].into()] {
            assert_eq!(PublicKey::from_bytes(&bytes), Err(BlsError::PublicKey));
        }
        // On the curve, but of a small subgroup: x = 4 has a point on G1's curve outside the group.
        let mut outside = [0; 48];
        outside[0] = 0x80;
        outside[47] = 4;
        assert!(min_pk::PublicKey::from_bytes(&outside).is_ok());
        assert_eq!(PublicKey::from_bytes(&outside.into()), Err(BlsError::PublicKey));

        let key = SecretKey::interop(0).public_key();
        for bytes in [SignatureBytes::ZERO, infinity().into(), [0xff; 96].into()] {
            assert_eq!(key.check(&Root::ZERO, &bytes), Err(BlsError::Signature));
        }
    }

    #[test]
    fn secret_keys_are_in_range() {
        let order = CURVE_ORDER.to_be_bytes::<32>();
        for bytes in [&[0; 32][..], &order, &[0xff; 32], &[1; 31], &[1; 33], &[]] {
            assert_eq!(SecretKey::from_bytes(bytes).err(), Some(BlsError::SecretKey));
        }
    }
}
