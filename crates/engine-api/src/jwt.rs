//! The Engine API's authentication (execution-apis, src/engine/authentication.md): a shared secret of 32 bytes, tokens
//! signed with HMAC SHA-256, `iat` within 60 seconds of the callee's clock both ways, a fresh token for each call.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use rand::RngCore as _;
use serde::Deserialize;
use sha2::Sha256;
use std::{
    fmt,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// How far `iat` may lie from the callee's clock, both ways.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);
/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest secret file that is read.
const MAX_SECRET_FILE_BYTES: u64 = 1024;
/// `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Why a secret could not be had. The secret itself is never part of the text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read or written.
    #[error("JWT secret {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "JWT secret {path}: 64 hex digits expected (32 bytes, with or without 0x), found {found}; \
         make one with: openssl rand -hex 32"
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without the content.
        found: &'static str,
    },
}

/// Why a token was refused. The text goes to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// No token at all.
    #[error("no JWT: the Authorization header must be \"Bearer <token>\"")]
    Missing,
    /// Not a token.
    #[error("JWT cannot be read: {0}")]
    Malformed(&'static str),
    /// Another algorithm than HS256.
    #[error("JWT must be signed with HS256")]
    Algorithm,
    /// Another secret.
    #[error("JWT signature does not match: the two clients use different JWT secrets")]
    Signature,
    /// `iat` too far away.
    #[error("JWT iat is {seconds} s {direction} this clock; at most 60 s are allowed: check both clocks")]
    Clock {
        /// How far.
        seconds: u64,
        /// `behind` or `ahead of`.
        direction: &'static str,
    },
}

/// The secret two clients share. Overwritten when dropped; never shown.
#[derive(Clone, ZeroizeOnDrop)]
pub struct JwtSecret([u8; 32]);

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(hidden)")
    }
}

impl From<[u8; 32]> for JwtSecret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl JwtSecret {
    /// A new one. Whether one may be made where none is there is for the caller to decide.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let out = Self(bytes);
        bytes.zeroize();
        out
    }

    /// From text: 64 hex digits, with or without `0x`, white space around it passed over.
    pub fn from_hex(text: &str) -> Result<Self, &'static str> {
        let digits = text.trim();
        let digits = digits
            .strip_prefix("0x")
            .or_else(|| digits.strip_prefix("0X"))
            .unwrap_or(digits);
        match digits.len() {
            0 => return Err("nothing"),
            64 => {}
            n if n < 64 => return Err("fewer digits"),
            _ => return Err("more digits"),
        }
        if !const_hex::check_raw(digits) {
            return Err("other characters than hex digits");
        }
        let mut bytes = [0; 32];
        const_hex::decode_to_slice(digits, &mut bytes).map_err(|_| "other characters than hex digits")?;
        let out = Self(bytes);
        bytes.zeroize();
        Ok(out)
    }

    /// From a file as consensus and execution clients share it.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let io = |source| SecretError::Io {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        file.take(MAX_SECRET_FILE_BYTES)
            .read_to_end(&mut text)
            .map_err(io)?;
        let content = |found| SecretError::Content {
            path: path.to_owned(),
            found,
        };
        let text = std::str::from_utf8(&text).map_err(|_| content("bytes that are no text"))?;
        Self::from_hex(text).map_err(content)
    }

    /// Writes a new file, readable by its owner alone. An existing file is left alone and is an error.
    pub fn write_new_file(&self, path: &Path) -> Result<(), SecretError> {
        let io = |source| SecretError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let text = Zeroizing::new(format!("{}\n", const_hex::encode_prefixed(self.0)));
        options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(io)
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&self.block());
        mac.update(signed.as_bytes());
        mac
    }

    /// The key as HMAC pads it: zeros up to the block of SHA-256.
    fn block(&self) -> hmac::digest::Key<Hmac<Sha256>> {
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(self.0) {
            *to = from;
        }
        block
    }

    /// A token for one call at `now`.
    pub fn token(&self, now: SystemTime) -> String {
        let iat = unix_seconds(now);
        let header = URL_SAFE_NO_PAD.encode(HEADER);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{iat}}}"#));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// The value of the `Authorization` header for one call at `now`.
    pub fn bearer(&self, now: SystemTime) -> String {
        format!("Bearer {}", self.token(now))
    }

    /// Checks the value of an `Authorization` header.
    pub fn verify_header(&self, authorization: Option<&str>, now: SystemTime) -> Result<(), JwtError> {
        let (scheme, token) = authorization
            .and_then(|v| v.split_once(' '))
            .ok_or(JwtError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(JwtError::Missing);
        }
        self.verify(token.trim(), now)
    }

    /// Checks a token: signature first, so that nothing is believed from a caller without the secret. Claims other than
    /// `iat` are passed over, as the Engine API asks.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<(), JwtError> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
        }
        #[derive(Deserialize)]
        struct Claims {
            iat: serde_json::Number,
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::Malformed("too long"));
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(JwtError::Malformed("three parts expected"))?;
        let (header, claims) = signed
            .split_once('.')
            .ok_or(JwtError::Malformed("three parts expected"))?;
        let base64 = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part.trim_end_matches('='))
                .map_err(|_| JwtError::Malformed("not base64url"))
        };
        let header: Header = serde_json::from_slice(&base64(header)?)
            .map_err(|_| JwtError::Malformed("the header is no JSON object with alg"))?;
        if header.alg != "HS256" {
            return Err(JwtError::Algorithm);
        }
        let signature = base64(signature)?;
        self.mac(signed)
            .verify_slice(&signature)
            .map_err(|_| JwtError::Signature)?;
        let claims: Claims = serde_json::from_slice(&base64(claims)?)
            .map_err(|_| JwtError::Malformed("the claims are no JSON object with a number iat"))?;
        let iat = whole_seconds(&claims.iat).ok_or(JwtError::Malformed("iat is no time"))?;
        let now = unix_seconds(now);
        let seconds = now.abs_diff(iat);
        if seconds > MAX_CLOCK_DIFFERENCE.as_secs() {
            let direction = if iat < now { "behind" } else { "ahead of" };
            return Err(JwtError::Clock { seconds, direction });
        }
        Ok(())
    }
}

/// `NumericDate` may have a fraction (RFC 7519); it is cut off.
fn whole_seconds(number: &serde_json::Number) -> Option<u64> {
    if let Some(seconds) = number.as_u64() {
        return Some(seconds);
    }
    let seconds = number.as_f64().filter(|f| (0.0..1e15).contains(f))?;
    Duration::try_from_secs_f64(seconds).ok().map(|d| d.as_secs())
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn secret() -> JwtSecret {
        JwtSecret::from([7; 32])
    }

    fn sign(header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let mac = secret().mac(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    #[test]
    fn a_token_of_another_implementation() {
        // python3: hmac.new(bytes.fromhex("07" * 32), signing input, sha256), base64url without padding.
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDB9.q7vdxvYJozZ6UoScEnMgFSivYb-nzMGBXN-k-GD5t_8";
        assert_eq!(secret().token(at(1_700_000_000)), token);
        assert_eq!(secret().verify(token, at(1_700_000_000)), Ok(()));
    }

    #[test]
    fn clocks() {
        let token = secret().token(at(1000));
        for now in [940, 1000, 1060] {
            assert_eq!(secret().verify(&token, at(now)), Ok(()), "{now}");
        }
        assert_eq!(
            secret().verify(&token, at(1061)),
            Err(JwtError::Clock {
                seconds: 61,
                direction: "behind"
            })
        );
        assert_eq!(
            secret().verify(&token, at(939)),
            Err(JwtError::Clock {
                seconds: 61,
                direction: "ahead of"
            })
        );
        let fraction = sign(HEADER, r#"{"iat":1000.75,"exp":1,"clv":"x"}"#);
        assert_eq!(secret().verify(&fraction, at(1060)), Ok(()));
    }

    #[test]
    fn refused_tokens() {
        let now = at(1000);
        let good = secret().token(now);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let verify = |token: &str| secret().verify(token, now).unwrap_err();
        assert_eq!(verify(&JwtSecret::from([8; 32]).token(now)), JwtError::Signature);
        assert_eq!(verify(&format!("{signed}.")), JwtError::Signature);
        assert_eq!(
            verify(&format!(
                "{signed}.{}",
                signature.chars().take(20).collect::<String>()
            )),
            JwtError::Signature
        );
        assert_eq!(
            verify(&sign(r#"{"alg":"none"}"#, r#"{"iat":1000}"#)),
            JwtError::Algorithm
        );
        assert_eq!(
            verify(&sign(r#"{"alg":"HS512"}"#, r#"{"iat":1000}"#)),
            JwtError::Algorithm
        );
        for bad in [
            "",
            "a",
            "a.b",
            "a.b.c",
            "!.!.!",
            &sign(HEADER, "{}"),
            &sign(HEADER, r#"{"iat":"1000"}"#),
            &sign(HEADER, r#"{"iat":-1000}"#),
            &sign(HEADER, r#"{"iat":1e300}"#),
            &sign("[]", r#"{"iat":1000}"#),
            &"x".repeat(MAX_TOKEN_BYTES + 1),
        ] {
            assert!(matches!(verify(bad), JwtError::Malformed(_)), "{bad}");
        }
    }

    #[test]
    fn headers() {
        let now = at(1000);
        let token = secret().token(now);
        let verify = |header: Option<&str>| secret().verify_header(header, now);
        assert_eq!(verify(Some(&secret().bearer(now))), Ok(()));
        assert_eq!(verify(Some(&format!("bearer  {token} "))), Ok(()));
        assert_eq!(verify(None), Err(JwtError::Missing));
        assert_eq!(verify(Some("")), Err(JwtError::Missing));
        assert_eq!(verify(Some(&token)), Err(JwtError::Missing));
        assert_eq!(verify(Some("Basic YTpi")), Err(JwtError::Missing));
    }

    #[test]
    fn secret_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwt.hex");
        let digits = "07".repeat(32);
        for text in [
            digits.clone(),
            format!("0x{digits}"),
            format!("{digits}\n"),
            format!("0x{digits}\r\n"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(JwtSecret::from_file(&path).unwrap().0, [7; 32]);
        }
        for text in [
            "",
            "\n",
            "0x",
            "07",
            &format!("{digits}00"),
            &digits.replace('7', "g"),
            &format!("0x0x{}", &digits[4..]),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = JwtSecret::from_file(&path).unwrap_err();
            assert!(matches!(error, SecretError::Content { .. }), "{text}: {error}");
            assert!(
                text.is_empty()
                    || text.trim().is_empty()
                    || !error.to_string().contains(text.trim())
                    || text.len() < 5
            );
        }
        std::fs::write(&path, [0xff; 64]).unwrap();
        assert!(JwtSecret::from_file(&path).is_err());
        assert!(matches!(
            JwtSecret::from_file(&dir.path().join("none")),
            Err(SecretError::Io { .. })
        ));

        let made = JwtSecret::generate();
        let new = dir.path().join("new.hex");
        made.write_new_file(&new).unwrap();
        assert_eq!(JwtSecret::from_file(&new).unwrap().0, made.0);
        assert!(
            made.write_new_file(&new).is_err(),
            "an existing file is left alone"
        );
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&new).unwrap()) & 0o777,
            0o600
        );
        assert!(!format!("{made:?}").contains(&const_hex::encode(made.0)[..8]));
    }
}
