//! The ciphers that two nodes may agree on.

use super::keyed::NONCE_LEN;

/// A cipher, and the name that a handshake with it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Suite {
    /// What eth2's text asks of every node.
    ChaChaPoly,
    /// For two nodes that have it in hardware.
    AesGcm,
}

impl Suite {
    /// The handshake, as noise names it.
    pub(super) const fn pattern(self) -> &'static str {
        match self {
            Self::ChaChaPoly => "Noise_XX_25519_ChaChaPoly_SHA256",
            Self::AesGcm => "Noise_XX_25519_AESGCM_SHA256",
        }
    }

    /// Messages that one key may encrypt. The last number there is is not for messages (noise, section 5.1). AES-GCM
    /// loses some strength with each block under one key: 2^24 messages of 64 KiB are a TiB, far below the 2^56 bytes
    /// that noise allows (section 14) and near what TLS 1.3 does (RFC 8446, section 5.5); peers connect anew then.
    pub(super) const fn messages(self) -> u64 {
        match self {
            Self::ChaChaPoly => u64::MAX,
            Self::AesGcm => 1 << 24,
        }
    }

    /// The nonce of a message by its number: four zero bytes in front, and the number in the order of bytes that the
    /// cipher has (noise, section 12).
    pub(super) fn nonce(self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&match self {
            Self::ChaChaPoly => number.to_le_bytes(),
            Self::AesGcm => number.to_be_bytes(),
        });
        nonce
    }
}

impl AsRef<str> for Suite {
    fn as_ref(&self) -> &str {
        match self {
            Self::ChaChaPoly => "/noise",
            Self::AesGcm => "/assay/noise-aesgcm/1",
        }
    }
}

/// What a node offers and takes, the earlier the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Offer {
    /// What every peer speaks.
    Standard,
    /// AES before it.
    AesFirst,
}

impl Offer {
    /// AES where this machine computes it in hardware: elsewhere it is the slower of the two.
    pub(in crate::host) fn of_this_machine() -> Self {
        if has_aes() { Self::AesFirst } else { Self::Standard }
    }

    pub(super) const fn suites(self) -> &'static [Suite] {
        match self {
            Self::Standard => &[Suite::ChaChaPoly],
            Self::AesFirst => &[Suite::AesGcm, Suite::ChaChaPoly],
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}
