//! What snow computes with, and the keys of a channel.

use super::suite::Suite;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use snow::{
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, RingResolver},
    types::{Cipher, Dh, Hash, Random},
};
use std::io;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

/// Bytes of an authentication tag.
pub(super) const TAG_LEN: usize = 16;
/// Bytes of every key and of a shared secret.
const KEY_LEN: usize = 32;

/// ring, and x25519-dalek for what ring has not: keys that are used more than once.
pub(super) struct Resolver;

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        RingResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

#[derive(Default)]
struct X25519 {
    secret: Zeroizing<[u8; KEY_LEN]>,
    public: [u8; KEY_LEN],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, secret: &[u8]) {
        // snow gives as many bytes as `priv_len` says.
        self.secret.copy_from_slice(secret);
        self.public = x25519(*self.secret, X25519_BASEPOINT_BYTES);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut *self.secret)?;
        self.public = x25519(*self.secret, X25519_BASEPOINT_BYTES);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, theirs: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let theirs = theirs.first_chunk::<KEY_LEN>().ok_or(snow::Error::Dh)?;
        let shared = Zeroizing::new(x25519(*self.secret, *theirs));
        // A point of small order: the secret would be known to everybody (RFC 7748, section 6.1).
        if *shared == [0; KEY_LEN] {
            return Err(snow::Error::Dh);
        }
        out.get_mut(..KEY_LEN)
            .ok_or(snow::Error::Dh)?
            .copy_from_slice(&*shared);
        Ok(())
    }
}

/// One direction of a channel: a key, and the number of the next message.
pub(super) struct Keyed {
    suite: Suite,
    key: LessSafeKey,
    next: u64,
}

impl Keyed {
    /// For a key of `KEY_LEN` bytes; nothing was encrypted with it before.
    pub(super) fn new(suite: Suite, key: &[u8]) -> io::Result<Self> {
        let key = UnboundKey::new(suite.algorithm(), key).map_err(|_| io::Error::other("no key"))?;
        Ok(Self {
            suite,
            key: LessSafeKey::new(key),
            next: 0,
        })
    }

    /// The next message's. A channel whose key is used up ends; the next has a new one.
    fn nonce(&mut self) -> io::Result<Nonce> {
        if self.next >= self.suite.messages() {
            return Err(io::Error::other("noise: no message is left to the key"));
        }
        let nonce = self.suite.nonce(self.next);
        self.next += 1;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Encrypts in place; the tag belongs behind it.
    pub(super) fn seal(&mut self, plain: &mut [u8]) -> io::Result<[u8; TAG_LEN]> {
        let nonce = self.nonce()?;
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), plain)
            .map_err(|_| io::Error::other("noise: not encrypted"))?;
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    /// Decrypts a message with its tag in place: how many bytes from its start are what was said.
    pub(super) fn open(&mut self, message: &mut [u8]) -> io::Result<usize> {
        let nonce = self.nonce()?;
        self.key
            .open_in_place(nonce, Aad::empty(), message)
            .map(|plain| plain.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "noise: not the peer's message"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// No number is used twice, and none beyond what a key is good for.
    #[test]
    fn a_key_ends_with_its_last_message() {
        for (suite, last) in [(Suite::ChaChaPoly, u64::MAX - 1), (Suite::AesGcm, (1 << 24) - 1)] {
            let end = |suite| {
                let mut key = Keyed::new(suite, &[7; KEY_LEN]).unwrap();
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
}
