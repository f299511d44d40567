//! One case of a file: values by key, bytes inline or in files beside.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

/// A case, or a file that is one case. Every method's error says which key is at fault.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    value: &'a Value,
    dir: &'a Path,
}

impl<'a> Case<'a> {
    pub(crate) fn new(value: &'a Value, dir: &'a Path) -> Self {
        Self { value, dir }
    }

    /// The JSON.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The case's name: `name`, or `case` and `kind` where it has none.
    pub fn name(&self) -> String {
        let text = |key| self.value.get(key).and_then(Value::as_str);
        match (text("name"), text("kind"), text("case")) {
            (Some(name), ..) => name.to_owned(),
            (None, Some(kind), Some(case)) => format!("{kind} {case}"),
            (None, kind, case) => kind.or(case).unwrap_or_default().to_owned(),
        }
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    fn get(&self, key: &str) -> Result<&'a Value, String> {
        self.value
            .get(key)
            .ok_or_else(|| format!("the case has no {key:?}"))
    }

    /// The object under a key.
    pub fn inner(&self, key: &str) -> Result<Case<'a>, String> {
        Ok(Self::new(self.get(key)?, self.dir))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<&'a str, String> {
        let value = self.get(key)?;
        value
            .as_str()
            .ok_or_else(|| format!("{key:?} is no text: {value}"))
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Result<bool, String> {
        let value = self.get(key)?;
        value
            .as_bool()
            .ok_or_else(|| format!("{key:?} is no boolean: {value}"))
    }

    /// A whole number below 2^64, as a JSON number or a decimal text.
    pub fn number(&self, key: &str) -> Result<u64, String> {
        let value = self.get(key)?;
        value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
            .ok_or_else(|| format!("{key:?} is no whole number below 2^64: {value}"))
    }

    /// Bytes of 0x-prefixed hex.
    pub fn hex(&self, key: &str) -> Result<Vec<u8>, String> {
        unhex(self.text(key)?).map_err(|why| format!("{key:?}: {why}"))
    }

    /// Bytes of a fixed length.
    pub fn array<const N: usize>(&self, key: &str) -> Result<[u8; N], String> {
        let bytes = self.hex(key)?;
        let len = bytes.len();
        bytes
            .try_into()
            .map_err(|_| format!("{key:?} has {len} bytes, {N} expected"))
    }

    /// SSZ that stands inline under `key`, or raw snappy in the file that `<key>_snappy_file` names; checked against
    /// `<key>_len` and `<key>_sha256` where the case has them. `None`: neither is there.
    pub fn optional_ssz(&self, key: &str) -> Result<Option<Bytes>, String> {
        let in_file = format!("{key}_snappy_file");
        let bytes = if self.has(key) {
            self.hex(key)?
        } else if self.has(&in_file) {
            snap::raw::Decoder::new()
                .decompress_vec(&self.read(&in_file)?)
                .map_err(|e| format!("{in_file:?}: {e}"))?
        } else {
            return Ok(None);
        };
        self.check_bytes(key, &bytes)?;
        Ok(Some(bytes.into()))
    }

    /// As [`Case::optional_ssz`], where it must be there.
    pub fn ssz(&self, key: &str) -> Result<Bytes, String> {
        self.optional_ssz(key)?
            .ok_or_else(|| format!("the case has neither {key:?} nor a file for it"))
    }

    /// Bytes that stand inline under `key`, or, as they are, in the file that `<key>_file` names; checked against
    /// `<key>_len` and `<key>_sha256`. `None`: neither is there.
    pub fn optional_raw(&self, key: &str) -> Result<Option<Bytes>, String> {
        let in_file = format!("{key}_file");
        let bytes = if self.has(key) {
            self.hex(key)?
        } else if self.has(&in_file) {
            self.read(&in_file)?
        } else {
            return Ok(None);
        };
        self.check_bytes(key, &bytes)?;
        Ok(Some(bytes.into()))
    }

    /// Bytes, as they are, of the file that some key ending in `_file` names, if its name ends in `ending`.
    pub fn raw_file(&self, ending: &str) -> Result<Option<Bytes>, String> {
        let named = self.value.as_object().into_iter().flatten().find(|(key, value)| {
            key.ends_with("_file") && value.as_str().is_some_and(|name| name.ends_with(ending))
        });
        named.map_or(Ok(None), |(key, _)| {
            self.read(key).map(|bytes| Some(bytes.into()))
        })
    }

    /// SSZ of the case that `key` refers to as `<file> <name>`. `None`: that case, or its file, is not in the folder.
    pub fn referred_ssz(&self, key: &str, ssz: &str) -> Result<Option<Bytes>, String> {
        let reference = self.text(key)?;
        let (file, name) = reference
            .split_once(' ')
            .ok_or_else(|| format!("{key:?} refers to no case: {reference}"))?;
        self.ssz_beside(file, name, ssz)
    }

    /// The SSZ under `ssz` of the case called `name` in another file of the folder. `None`: it is not there.
    pub fn ssz_beside(&self, file: &str, name: &str, ssz: &str) -> Result<Option<Bytes>, String> {
        let Ok(text) = std::fs::read_to_string(self.dir.join(file)) else {
            return Ok(None);
        };
        let json: Value = serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))?;
        let cases = json.get("cases").and_then(Value::as_array);
        let found = cases
            .into_iter()
            .flatten()
            .find(|case| case.get("name").and_then(Value::as_str) == Some(name));
        found.map_or(Ok(None), |case| Case::new(case, self.dir).optional_ssz(ssz))
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        let path = self.dir.join(self.text(key)?);
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Holds bytes against `<key>_len` and `<key>_sha256`, where the case has them.
    pub fn check_bytes(&self, key: &str, bytes: &[u8]) -> Result<(), String> {
        let len = format!("{key}_len");
        if self.has(&len) && self.number(&len)? != bytes.len() as u64 {
            return Err(format!("{key:?} has {} bytes, not {len}", bytes.len()));
        }
        let hash = format!("{key}_sha256");
        if self.has(&hash) {
            let expected = self.text(&hash)?.trim_start_matches("0x");
            if hex::encode(Sha256::digest(bytes)) != expected {
                return Err(format!("{key:?} does not hash to {hash}"));
            }
        }
        Ok(())
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").ok_or("hex without 0x")?;
    hex::decode(digits).map_err(|e| e.to_string())
}
