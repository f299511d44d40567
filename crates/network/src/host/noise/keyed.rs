//! The keys of a channel: one direction each.

use super::suite::Suite;
use std::io;

/// Bytes of an authentication tag.
pub(super) const TAG_LEN: usize = 16;
/// Bytes of a nonce.
pub(super) const NONCE_LEN: usize = 12;

/// One direction of a channel: a key, and the number of the next message.
pub(super) struct Keyed {
    suite: Suite,
    cipher: Cipher,
    next: u64,
}

/// A key as the library has it that is fastest here. Both make the same bytes.
enum Cipher {
    Ring(Box<ring::aead::LessSafeKey>),
    /// AES four blocks at a time, at half the cost of ring's two.
    AwsLc(aws_lc_rs::aead::LessSafeKey),
}

impl Keyed {
    /// For a key of 32 bytes; nothing was encrypted with it before.
    pub(super) fn new(suite: Suite, key: &[u8]) -> io::Result<Self> {
        let cipher = match suite {
            Suite::AesGcm if has_wide_aes() => Cipher::aws_lc(key)?,
            suite => Cipher::ring(suite, key)?,
        };
        Ok(Self {
            suite,
            cipher,
            next: 0,
        })
    }

    /// The next message's. A channel whose key is used up ends; the next has a new one.
    fn nonce(&mut self) -> io::Result<[u8; NONCE_LEN]> {
        if self.next >= self.suite.messages() {
            return Err(io::Error::other("noise: no message is left to the key"));
        }
        let nonce = self.suite.nonce(self.next);
        self.next += 1;
        Ok(nonce)
    }

    /// Encrypts in place; the tag belongs behind it.
    pub(super) fn seal(&mut self, plain: &mut [u8]) -> io::Result<[u8; TAG_LEN]> {
        let nonce = self.nonce()?;
        let mut bytes = [0; TAG_LEN];
        match &self.cipher {
            Cipher::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), plain);
                bytes.copy_from_slice(tag.map_err(|_| not_encrypted())?.as_ref());
            }
            Cipher::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), plain);
                bytes.copy_from_slice(tag.map_err(|_| not_encrypted())?.as_ref());
            }
        }
        Ok(bytes)
    }

    /// Decrypts a message with its tag in place: how many bytes from its start are what was said.
    pub(super) fn open(&mut self, message: &mut [u8]) -> io::Result<usize> {
        let nonce = self.nonce()?;
        let plain = match &self.cipher {
            Cipher::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let plain = key.open_in_place(nonce, Aad::empty(), message);
                plain.map(|plain| plain.len()).ok()
            }
            Cipher::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let plain = key.open_in_place(nonce, Aad::empty(), message);
                plain.map(|plain| plain.len()).ok()
            }
        };
        plain.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "noise: not the peer's message"))
    }
}

impl Cipher {
    fn ring(suite: Suite, key: &[u8]) -> io::Result<Self> {
        use ring::aead::{AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
        let algorithm = match suite {
            Suite::ChaChaPoly => &CHACHA20_POLY1305,
            Suite::AesGcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| no_key())?;
        Ok(Self::Ring(Box::new(LessSafeKey::new(key))))
    }

    /// AES-256-GCM.
    fn aws_lc(key: &[u8]) -> io::Result<Self> {
        use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| no_key())?;
        Ok(Self::AwsLc(LessSafeKey::new(key)))
    }
}

fn no_key() -> io::Error {
    io::Error::other("no key")
}

fn not_encrypted() -> io::Error {
    io::Error::other("noise: not encrypted")
}

/// Whether aws-lc's wide form of AES-GCM runs here. Where it does not, ring's is the faster of the two.
#[cfg(target_arch = "x86_64")]
fn has_wide_aes() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("vaes")
        && has!("vpclmulqdq")
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512vl")
        && has!("avx512dq")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_wide_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];

    /// No number is used twice, and none beyond what a key is good for.
    #[test]
    fn a_key_ends_with_its_last_message() {
        for (suite, last) in [(Suite::ChaChaPoly, u64::MAX - 1), (Suite::AesGcm, (1 << 24) - 1)] {
            let end = |suite| {
                let mut key = Keyed::new(suite, &KEY).unwrap();
                key.next = last;
                key
            };
            let (mut ours, mut theirs) = (end(suite), end(suite));
            let mut message = *b"the last word";
            let tag = ours.seal(&mut message).unwrap();
            let mut wire = [&message[..], &tag].concat();
            assert_eq!(theirs.open(&mut wire.clone()).unwrap(), message.len());
            assert!(ours.seal(&mut message).is_err());
            assert!(theirs.open(&mut wire).is_err());
        }
    }

    fn keyed(suite: Suite, cipher: Cipher) -> Keyed {
        Keyed {
            suite,
            cipher,
            next: 0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Two nodes of which one has the wide form and the other has not.
        #[test]
        fn both_libraries_make_the_same_bytes(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..5)) {
            let suite = Suite::AesGcm;
            let ring = || keyed(suite, Cipher::ring(suite, &KEY).unwrap());
            let aws_lc = || keyed(suite, Cipher::aws_lc(&KEY).unwrap());
            let (mut one, mut other) = (ring(), aws_lc());
            let (mut reads_one, mut reads_other) = (aws_lc(), ring());
            for message in messages {
                let (mut by_one, mut by_other) = (message.clone(), message.clone());
                let tag = one.seal(&mut by_one).unwrap();
                prop_assert_eq!(tag, other.seal(&mut by_other).unwrap());
                prop_assert_eq!(&by_one, &by_other);
                let mut wire = [&by_one[..], &tag].concat();
                let mut again = wire.clone();
                prop_assert_eq!(reads_one.open(&mut wire).unwrap(), message.len());
                prop_assert_eq!(reads_other.open(&mut again).unwrap(), message.len());
                prop_assert_eq!(&wire[..message.len()], &message[..]);
                prop_assert_eq!(&again[..message.len()], &message[..]);
            }
        }
    }

    #[test]
    fn no_library_takes_a_message_that_was_changed() {
        let suite = Suite::AesGcm;
        for cipher in [Cipher::ring, |_, key: &[u8]| Cipher::aws_lc(key)] {
            let mut message = *b"as it was said";
            let tag = keyed(suite, cipher(suite, &KEY).unwrap())
                .seal(&mut message)
                .unwrap();
            let mut wire = [&message[..], &tag].concat();
            wire[3] ^= 1;
            assert!(
                keyed(suite, cipher(suite, &KEY).unwrap())
                    .open(&mut wire)
                    .is_err()
            );
            assert!(cipher(suite, &KEY[1..]).is_err());
        }
    }
}
