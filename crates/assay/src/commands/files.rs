//! Files that hold containers: SSZ, SSZ in snappy by the ending, JSON by the ending, `-` for standard input or output.

use anyhow::{Context, bail};
use std::{
    io::{Read, Write},
    path::Path,
};

/// Most bytes read from one file or from standard input: far above any container here.
const MAX_INPUT_BYTES: u64 = 256 << 20;

/// How a container stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Plain SSZ.
    Ssz,
    /// SSZ in one raw snappy block (`.ssz_snappy`).
    SszSnappy,
    /// The Beacon API's JSON (`.json`).
    Json,
}

impl Encoding {
    /// By the file's ending; plain SSZ where it says nothing.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|e| e.to_str()) {
            Some("ssz_snappy") => Self::SszSnappy,
            Some("json") => Self::Json,
            _ => Self::Ssz,
        }
    }
}

/// The bytes of a file, or of standard input for `-`; snappy is unpacked.
pub fn read(path: &Path) -> anyhow::Result<(Encoding, Vec<u8>)> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_INPUT_BYTES + 1)
            .read_to_end(&mut bytes)
            .context("standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        file.take(MAX_INPUT_BYTES + 1)
            .read_to_end(&mut bytes)
            .with_context(|| path.display().to_string())?;
    }
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        bail!("{}: larger than {MAX_INPUT_BYTES} bytes", path.display());
    }
    let encoding = Encoding::of(path);
    if encoding == Encoding::SszSnappy {
        bytes = unpack(&bytes).with_context(|| path.display().to_string())?;
    }
    Ok((encoding, bytes))
}

/// Unpacks one raw snappy block, or a snappy frame stream where the bytes begin as one.
fn unpack(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";
    if bytes.starts_with(STREAM_IDENTIFIER) {
        let mut out = Vec::new();
        snap::read::FrameDecoder::new(bytes)
            .take(MAX_INPUT_BYTES + 1)
            .read_to_end(&mut out)?;
        if out.len() as u64 > MAX_INPUT_BYTES {
            bail!("unpacks to more than {MAX_INPUT_BYTES} bytes");
        }
        return Ok(out);
    }
    Ok(assay_types::gossip::decompress(
        bytes,
        usize::try_from(MAX_INPUT_BYTES)?,
    )?)
}

/// Writes to a file, or to standard output for `-`; packs where the ending says so.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let packed;
    let bytes = if Encoding::of(path) == Encoding::SszSnappy {
        packed = assay_types::gossip::compress(bytes);
        &packed
    } else {
        bytes
    };
    if path == Path::new("-") {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .context("standard output")
    } else {
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }
}

/// Prints a line on standard output.
pub fn print_line(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("standard output")
}
