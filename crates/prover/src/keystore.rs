//! One EIP-2335 keystore: a BLS secret key under a password. Everything secret on the way is zeroized.
//!
//! What a file asks for in work and memory is bounded before it is done: a keystore is input like any other.

use aes::cipher::{KeyIvInit, StreamCipher};
use assay_types::{PublicKeyBytes, SecretKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

type Aes128Ctr = ctr::Ctr128BE<aes::Aes128>;

/// Bytes of a keystore file at most.
pub const MAX_KEYSTORE_BYTES: u64 = 64 * 1024;
/// Bytes of memory that scrypt may take: 128·n·r. Keystores of today take 256 MiB.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// scrypt's parallelisation.
const MAX_SCRYPT_P: u32 = 16;
/// Rounds of PBKDF2 at most. Keystores of today have 2^18.
const MAX_PBKDF2_ROUNDS: u32 = 1 << 24;
/// The derived key: 16 bytes for the cipher, 16 for the checksum. More is allowed, and unused.
const DERIVED: usize = 32;
const MAX_DERIVED: usize = 128;
/// A BLS secret key.
const SECRET: usize = 32;

/// Why a keystore gave no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// No keystore at all: cut off, or another kind of file.
    #[error("not an EIP-2335 keystore, or cut off: {0}")]
    Form(String),
    /// Another version.
    #[error("keystore version {0}; only version 4 (EIP-2335) can be read")]
    Version(u64),
    /// A function this cannot do.
    #[error("{what} {name:?} is not known: {known}")]
    Unknown {
        /// What it is for.
        what: &'static str,
        /// Its name in the file.
        name: String,
        /// What is known.
        known: &'static str,
    },
    /// Parameters that no honest keystore has.
    #[error("{0}")]
    Parameters(String),
    /// The checksum says so.
    #[error("wrong password, or the keystore is damaged")]
    WrongPassword,
    /// The decrypted bytes are no key.
    #[error("the decrypted bytes are no BLS secret key")]
    NoKey,
    /// The key is not the one the file names.
    #[error("the key inside is {inside}, the keystore names {named}")]
    OtherKey {
        /// Of the decrypted key.
        inside: PublicKeyBytes,
        /// `pubkey` of the file.
        named: PublicKeyBytes,
    },
}

/// A keystore as its file has it; nothing in it is secret.
#[derive(Debug, Clone)]
pub struct Keystore {
    file: File,
    named: Option<PublicKeyBytes>,
}

#[derive(Debug, Clone, Deserialize)]
struct File {
    crypto: Crypto,
    pubkey: Option<String>,
    version: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct Crypto {
    kdf: Kdf,
    checksum: Checksum,
    cipher: Cipher,
}

#[derive(Debug, Clone, Deserialize)]
struct Kdf {
    function: String,
    params: KdfParams,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum KdfParams {
    Scrypt {
        dklen: usize,
        n: u64,
        p: u32,
        r: u32,
        salt: String,
    },
    Pbkdf2 {
        dklen: usize,
        c: u32,
        prf: String,
        salt: String,
    },
}

#[derive(Debug, Clone, Deserialize)]
struct Checksum {
    function: String,
    message: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Cipher {
    function: String,
    params: CipherParams,
    message: String,
}

#[derive(Debug, Clone, Deserialize)]
struct CipherParams {
    iv: String,
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, KeystoreError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map_err(|_| KeystoreError::Form(format!("{name} is not hex")))
}

fn fixed<const N: usize>(name: &str, text: &str) -> Result<[u8; N], KeystoreError> {
    let bytes = bytes(name, text)?;
    let length = bytes.len();
    <[u8; N]>::try_from(bytes)
        .map_err(|_| KeystoreError::Form(format!("{name} has {length} bytes in place of {N}")))
}

/// A password as EIP-2335 takes it: NFKD, without control codes (C0, C1 and Delete).
fn normalized(password: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(4 * password.len()));
    out.extend(password.nfkd().filter(|c| !c.is_control()));
    out
}

impl Keystore {
    /// Reads the file's JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, KeystoreError> {
        let file: File = serde_json::from_slice(json).map_err(|e| KeystoreError::Form(e.to_string()))?;
        if file.version != 4 {
            return Err(KeystoreError::Version(file.version));
        }
        let named = match file.pubkey.as_deref() {
            None | Some("") => None,
            Some(text) => Some(PublicKeyBytes(fixed("pubkey", text)?)),
        };
        Ok(Self { file, named })
    }

    /// The public key the file names, if it names one.
    pub fn public_key(&self) -> Option<PublicKeyBytes> {
        self.named
    }

    /// The secret key. Takes a second or so, and a quarter of a GiB, with parameters of today: off the async threads.
    pub fn decrypt(&self, password: &str) -> Result<SecretKey, KeystoreError> {
        let Crypto {
            kdf,
            checksum,
            cipher,
        } = &self.file.crypto;
        let known = |what, name: &str, known: &'static str| {
            if name == known {
                return Ok(());
            }
            Err(KeystoreError::Unknown {
                what,
                name: name.to_owned(),
                known,
            })
        };
        known("cipher", &cipher.function, "aes-128-ctr")?;
        known("checksum", &checksum.function, "sha256")?;
        let iv: [u8; 16] = fixed("iv", &cipher.params.iv)?;
        let expected: [u8; 32] = fixed("checksum", &checksum.message)?;
        let secret: [u8; SECRET] = fixed("cipher message", &cipher.message)?;
        let derived = kdf.derive(&normalized(password))?;
        let (for_cipher, for_checksum) = (&derived[..16], &derived[16..32]);
        let actual = Sha256::new()
            .chain_update(for_checksum)
            .chain_update(secret)
            .finalize();
        if actual.as_slice() != expected {
            return Err(KeystoreError::WrongPassword);
        }
        let mut secret = Zeroizing::new(secret);
        Aes128Ctr::new_from_slices(for_cipher, &iv)
            .map_err(|e| KeystoreError::Parameters(e.to_string()))?
            .apply_keystream(secret.as_mut_slice());
        let key = SecretKey::from_bytes(secret.as_slice()).map_err(|_| KeystoreError::NoKey)?;
        let inside = key.public_key().to_bytes();
        match self.named {
            Some(named) if named != inside => Err(KeystoreError::OtherKey { inside, named }),
            _ => Ok(key),
        }
    }
}

impl Kdf {
    fn derive(&self, password: &str) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        let wrong = |why: String| Err(KeystoreError::Parameters(why));
        let length = |dklen: usize| match dklen {
            DERIVED..=MAX_DERIVED => Ok(Zeroizing::new(vec![0; dklen])),
            _ => Err(KeystoreError::Parameters(format!(
                "dklen {dklen}: {DERIVED} is needed"
            ))),
        };
        match (self.function.as_str(), &self.params) {
            ("scrypt", KdfParams::Scrypt { dklen, n, p, r, salt }) => {
                let mut derived = length(*dklen)?;
                let memory = n.saturating_mul(u64::from(*r)).saturating_mul(128);
                if !n.is_power_of_two() || *n < 2 {
                    return wrong(format!("scrypt's n is {n}: a power of two is needed"));
                }
                if memory > MAX_SCRYPT_BYTES || *p > MAX_SCRYPT_P {
                    return wrong(format!(
                        "scrypt with n = {n}, r = {r}, p = {p} takes more than it may"
                    ));
                }
                let log_n = u8::try_from(n.ilog2()).unwrap_or(u8::MAX);
                let params = scrypt::Params::new(log_n, *r, *p, DERIVED)
                    .map_err(|e| KeystoreError::Parameters(format!("scrypt: {e}")))?;
                scrypt::scrypt(password.as_bytes(), &bytes("salt", salt)?, &params, &mut derived)
                    .map_err(|e| KeystoreError::Parameters(format!("scrypt: {e}")))?;
                Ok(derived)
            }
            ("pbkdf2", KdfParams::Pbkdf2 { dklen, c, prf, salt }) => {
                let mut derived = length(*dklen)?;
                if prf != "hmac-sha256" {
                    return Err(KeystoreError::Unknown {
                        what: "prf",
                        name: prf.clone(),
                        known: "hmac-sha256",
                    });
                }
                if *c == 0 || *c > MAX_PBKDF2_ROUNDS {
                    return wrong(format!("pbkdf2 with {c} rounds: 1 to {MAX_PBKDF2_ROUNDS}"));
                }
                pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &bytes("salt", salt)?, *c, &mut derived);
                Ok(derived)
            }
            ("scrypt" | "pbkdf2", _) => {
                wrong(format!("parameters of another function than {}", self.function))
            }
            (other, _) => Err(KeystoreError::Unknown {
                what: "key derivation function",
                name: other.to_owned(),
                known: "scrypt and pbkdf2",
            }),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The password, secret and public key of the test vectors in EIP-2335.
    const PASSWORD: &str = "\u{1d531}\u{1d522}\u{1d530}\u{1d531}\u{1d52d}\u{1d51e}\u{1d530}\u{1d530}\u{1d534}\u{1d52c}\u{1d52f}\u{1d521}\u{1f511}";
    const PUBKEY: &str =
        "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07";
    const SALT: &str = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";

    fn eip(kdf: Value, checksum: &str, message: &str) -> Value {
        json!({"crypto": {"kdf": kdf,
                "checksum": {"function": "sha256", "params": {}, "message": checksum},
                "cipher": {"function": "aes-128-ctr", "params": {"iv": "264daa3f303d7259501c93d997d84fe6"},
                    "message": message}},
            "description": "", "pubkey": PUBKEY, "path": "m/12381/60/0/0",
            "uuid": "64625def-3331-4eea-ab6f-782f3ed16a83", "version": 4})
    }

    fn scrypt_vector() -> Value {
        eip(
            json!({"function": "scrypt", "message": "",
                "params": {"dklen": 32, "n": 262144, "p": 1, "r": 8, "salt": SALT}}),
            "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484",
            "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f",
        )
    }

    fn pbkdf2_vector() -> Value {
        eip(
            json!({"function": "pbkdf2", "message": "",
                "params": {"dklen": 32, "c": 262144, "prf": "hmac-sha256", "salt": SALT}}),
            "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1",
            "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad",
        )
    }

    /// A keystore of `key` that costs little.
    pub(crate) fn cheap(key: &[u8; 32], password: &str, scrypt: bool) -> Value {
        let params = if scrypt {
            json!({"dklen": 32, "n": 2, "p": 1, "r": 8, "salt": "ab".repeat(32)})
        } else {
            json!({"dklen": 32, "c": 1, "prf": "hmac-sha256", "salt": "ab".repeat(32)})
        };
        let kdf =
            json!({"function": if scrypt { "scrypt" } else { "pbkdf2" }, "params": params, "message": ""});
        let derive: Kdf = serde_json::from_value(kdf.clone()).unwrap();
        let derived = derive.derive(&normalized(password)).unwrap();
        let mut message = *key;
        Aes128Ctr::new_from_slices(&derived[..16], &[7; 16])
            .unwrap()
            .apply_keystream(&mut message);
        let checksum = Sha256::new()
            .chain_update(&derived[16..32])
            .chain_update(message)
            .finalize();
        let pubkey = SecretKey::from_bytes(key).unwrap().public_key().to_bytes();
        json!({"crypto": {"kdf": kdf,
                "checksum": {"function": "sha256", "params": {}, "message": hex::encode(checksum)},
                "cipher": {"function": "aes-128-ctr", "params": {"iv": "07".repeat(16)}, "message": hex::encode(message)}},
            "pubkey": hex::encode(pubkey.0), "path": "", "uuid": "u", "version": 4})
    }

    fn read(json: &Value) -> Result<Keystore, KeystoreError> {
        Keystore::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn the_vectors_of_eip_2335() {
        for vector in [scrypt_vector(), pbkdf2_vector()] {
            let keystore = read(&vector).unwrap();
            assert_eq!(hex::encode(keystore.public_key().unwrap().0), PUBKEY);
            let key = keystore.decrypt(PASSWORD).unwrap();
            assert_eq!(hex::encode(key.public_key().to_bytes().0), PUBKEY);
        }
        // What NFKD makes of it is the same password; control codes are none of it.
        assert_eq!(normalized(PASSWORD).as_str(), "testpassword\u{1f511}");
        assert_eq!(normalized("a\u{0}\u{7f}\u{85}b\n").as_str(), "ab");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let key = [9; 32];
        let good = cheap(&key, "pw", true);
        assert!(read(&good).unwrap().decrypt("pw").is_ok());
        assert_eq!(
            read(&good).unwrap().decrypt("pW").err(),
            Some(KeystoreError::WrongPassword)
        );
        type Change = fn(&mut Value);
        let table: [(&str, Change); 17] = [
            ("version 3", |v| v["version"] = json!(3)),
            ("not an EIP-2335", |v| v["version"] = json!("4")),
            ("not an EIP-2335", |v| v["crypto"] = json!({})),
            ("pubkey is not hex", |v| v["pubkey"] = json!("zz")),
            ("pubkey has 1 bytes", |v| v["pubkey"] = json!("00")),
            ("keystore names", |v| v["pubkey"] = json!(PUBKEY)),
            ("cipher \"aes-256\"", |v| {
                v["crypto"]["cipher"]["function"] = json!("aes-256")
            }),
            ("checksum \"md5\"", |v| {
                v["crypto"]["checksum"]["function"] = json!("md5")
            }),
            ("function \"argon2\"", |v| {
                v["crypto"]["kdf"]["function"] = json!("argon2")
            }),
            ("another function", |v| {
                v["crypto"]["kdf"]["function"] = json!("pbkdf2")
            }),
            ("power of two", |v| v["crypto"]["kdf"]["params"]["n"] = json!(3)),
            ("more than it may", |v| {
                v["crypto"]["kdf"]["params"]["n"] = json!(1u64 << 40)
            }),
            ("more than it may", |v| {
                v["crypto"]["kdf"]["params"]["p"] = json!(1000)
            }),
            ("scrypt", |v| v["crypto"]["kdf"]["params"]["r"] = json!(0)),
            ("dklen 16", |v| v["crypto"]["kdf"]["params"]["dklen"] = json!(16)),
            ("cipher message has 31", |v| {
                v["crypto"]["cipher"]["message"] = json!("00".repeat(31))
            }),
            ("iv has 15", |v| {
                v["crypto"]["cipher"]["params"]["iv"] = json!("00".repeat(15))
            }),
        ];
        for (says, change) in table {
            let mut bad = good.clone();
            change(&mut bad);
            let error = read(&bad).and_then(|k| k.decrypt("pw")).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        let mut rounds = cheap(&key, "pw", false);
        for (c, says) in [
            (json!(0), "0 rounds"),
            (json!(u32::MAX), "rounds"),
            (json!(-1), "EIP-2335"),
        ] {
            rounds["crypto"]["kdf"]["params"]["c"] = c;
            let error = read(&rounds)
                .and_then(|k| k.decrypt("pw"))
                .map(|_| ())
                .unwrap_err();
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        // Whole keystores of what is no key.
        let mut zero = cheap(&key, "pw", false);
        let message = zero["crypto"]["cipher"]["message"].as_str().unwrap();
        let stream: Vec<u8> = hex::decode(message).unwrap().iter().map(|b| b ^ 9).collect();
        let kdf: Kdf = serde_json::from_value(zero["crypto"]["kdf"].clone()).unwrap();
        let derived = kdf.derive("pw").unwrap();
        let checksum = Sha256::new()
            .chain_update(&derived[16..32])
            .chain_update(&stream)
            .finalize();
        zero["crypto"]["cipher"]["message"] = json!(hex::encode(stream));
        zero["crypto"]["checksum"]["message"] = json!(hex::encode(checksum));
        assert_eq!(
            read(&zero).unwrap().decrypt("pw").err(),
            Some(KeystoreError::NoKey)
        );
    }

    #[test]
    fn a_truncated_file_is_never_a_keystore() {
        let whole = cheap(&[9; 32], "pw", true).to_string();
        for length in 0..whole.len() {
            let error = Keystore::from_json(&whole.as_bytes()[..length]).unwrap_err();
            assert!(matches!(error, KeystoreError::Form(_)), "{length}: {error}");
        }
        assert!(Keystore::from_json(whole.as_bytes()).is_ok());
    }

    /// JSON that readers disagree about, and hex in either case.
    #[test]
    fn json_that_is_ambiguous_is_refused_and_hex_has_no_case() {
        let good = cheap(&[9; 32], "pw", true);
        let whole = good.to_string();
        for (from, to, says) in [
            (
                r#""version":4"#,
                r#""version":4,"version":4"#,
                "duplicate field `version`",
            ),
            (r#""n":2"#, r#""n":2,"n":4"#, "EIP-2335"),
            (r#""version":4"#, r#""version":1e999"#, "EIP-2335"),
            (r#""n":2"#, r#""n":1e30"#, "EIP-2335"),
            (r#""n":2"#, r#""n":99999999999999999999999"#, "EIP-2335"),
            (r#""dklen":32"#, r#""dklen":18446744073709551615"#, "dklen"),
            (r#""salt":"ab"#, r#""salt":"0Xab"#, "salt is not hex"),
            (r#""salt":"ab"#, r#""salt":"zb"#, "salt is not hex"),
        ] {
            assert!(whole.contains(from), "{from} in {whole}");
            let bad = whole.replacen(from, to, 1);
            let error = Keystore::from_json(bad.as_bytes())
                .and_then(|k| k.decrypt("pw"))
                .map(|_| ())
                .unwrap_err();
            assert!(error.to_string().contains(says), "{to}: {error}");
        }
        let mut upper = good.clone();
        for place in ["/crypto/cipher/message", "/crypto/checksum/message", "/pubkey"] {
            let text = upper.pointer_mut(place).unwrap();
            *text = json!(text.as_str().unwrap().to_uppercase());
        }
        assert!(read(&upper).unwrap().decrypt("pw").is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_key_comes_back_under_its_password_alone(seed: [u8; 31], password in ".{0,40}", other in "[a-z]{1,8}", scrypt: bool) {
            let mut key = [1; 32];
            key[1..].copy_from_slice(&seed);
            let keystore = read(&cheap(&key, &password, scrypt)).unwrap();
            let public = keystore.decrypt(&password).unwrap().public_key().to_bytes();
            prop_assert_eq!(Some(public), keystore.public_key());
            let wrong = format!("{password}{other}");
            prop_assert_eq!(keystore.decrypt(&wrong).err(), Some(KeystoreError::WrongPassword));
        }
    }
}
