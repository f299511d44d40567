//! The node key: a secp256k1 key that is the node's identity in libp2p and in its ENR, kept across restarts.

use crate::{
    NetworkError,
    files::{self, Readers},
};
use enr::CombinedKey;
use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, secp256k1},
};
use std::path::Path;

/// Name of the key's file in the network's directory: 64 hex digits.
pub const NODE_KEY_FILE: &str = "node.key";

/// The node's identity.
#[derive(Clone)]
pub struct NodeKey {
    secret: secp256k1::SecretKey,
}

impl NodeKey {
    /// A key that nobody had before.
    pub fn generate() -> Self {
        Self {
            secret: secp256k1::SecretKey::generate(),
        }
    }

    /// Reads the key of `directory`, or makes one and keeps it there (mode 0600).
    ///
    /// Errors: a file that is there and is no key is never replaced; files that cannot be read or written.
    pub fn load_or_create(directory: &Path) -> Result<Self, NetworkError> {
        let path = directory.join(NODE_KEY_FILE);
        if let Some(text) = files::read(&path)? {
            warn_if_readable_by_others(&path);
            return Self::from_hex(text.trim()).map_err(|why| NetworkError::DamagedKey { path, why });
        }
        let key = Self::generate();
        let mut text = hex::encode(key.secret.to_bytes());
        text.push('\n');
        files::replace(&path, &text, Readers::Owner)?;
        tracing::info!(path = %path.display(), peer_id = %key.peer_id(), "new node key");
        Ok(key)
    }

    /// Reads the key of a file: 64 hex digits. Nothing is made or changed.
    pub fn from_file(path: &Path) -> Result<Self, NetworkError> {
        let text = files::read(path)?.ok_or_else(|| NetworkError::File {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        Self::from_hex(text.trim()).map_err(|why| NetworkError::DamagedKey {
            path: path.to_owned(),
            why,
        })
    }

    fn from_hex(text: &str) -> Result<Self, String> {
        if text.len() != 64 {
            return Err(format!("{} characters, 64 hex digits expected", text.len()));
        }
        // Not the text itself in the error: it may be most of a secret.
        let bytes = hex::decode(text).map_err(|_| "not hex digits".to_owned())?;
        let secret =
            secp256k1::SecretKey::try_from_bytes(bytes).map_err(|_| "not a secp256k1 key".to_owned())?;
        Ok(Self { secret })
    }

    /// As libp2p wants it.
    pub fn keypair(&self) -> Keypair {
        Keypair::from(secp256k1::Keypair::from(self.secret.clone()))
    }

    /// As the ENR's signer wants it.
    pub fn enr_key(&self) -> Result<CombinedKey, NetworkError> {
        CombinedKey::secp256k1_from_bytes(&mut self.secret.to_bytes())
            .map_err(|e| NetworkError::Enr(format!("node key: {e}")))
    }

    /// The libp2p id.
    pub fn peer_id(&self) -> PeerId {
        PublicKey::from(secp256k1::Keypair::from(self.secret.clone()).public().clone()).to_peer_id()
    }
}

impl std::fmt::Debug for NodeKey {
    /// The public half alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NodeKey").field(&self.peer_id()).finish()
    }
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(path = %path.display(), "the node key can be read by others; chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let made = NodeKey::load_or_create(dir.path()).unwrap();
        let read = NodeKey::load_or_create(dir.path()).unwrap();
        assert_eq!(made.peer_id(), read.peer_id());
        assert_eq!(made.keypair().public().to_peer_id(), made.peer_id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.path().join(NODE_KEY_FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays_as_it_is() {
        let zero = "0".repeat(64);
        let short = "ab".repeat(31);
        let letters = "zz".repeat(32);
        for (text, why) in [
            ("", "0 characters"),
            (zero.as_str(), "not a secp256k1 key"),
            (short.as_str(), "62 characters"),
            (letters.as_str(), "not hex"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(NODE_KEY_FILE);
            std::fs::write(&path, text).unwrap();
            let Err(NetworkError::DamagedKey { why: said, .. }) = NodeKey::load_or_create(dir.path()) else {
                panic!("{text:?} was taken for a key");
            };
            assert!(said.contains(why), "{said}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
