//! What verifying a real proof takes: decoding, its statement held against the root, the proof itself; on one thread.
//!
//! Beside it one BLS verification, which every proof needs too, in turn in the same run. What counts is the ratios of
//! the medians; times are this machine's. protocol.md section 10 has 40 ms (SP1) and 36 ms (ZisK) on one core.
//! And the proof of `MAX_PROOF_SIZE` that was found to cost a verifier most, as a multiple of the real one: what a validator
//! can cost a node by signing it. The proofs lie beside the reference vectors.
//! `cargo bench -p assay-native-verifiers --features sp1,zisk --bench verify`

#[path = "../tests/support/samples.rs"]
mod samples;

use assay_native_verifiers::SystemName;
use assay_types::{Root, SecretKey};
use bincode::Options;
use sp1_verifier::{ProofFromNetwork, SP1Proof};
use std::{
    error::Error,
    hint::black_box,
    io::{self, Write as _},
    time::{Duration, Instant},
};

/// Samples of each.
const ROUNDS: usize = 31;

/// `MAX_PROOF_SIZE`.
const LARGEST: usize = 4 << 20;

/// Bytes that decode and take a verifier long. SP1: a chip with a name that fills the proof, every byte of which goes into the
/// transcript before the name is looked up. ZisK takes proofs of one length alone, and does the same work for each: the last
/// byte of its words changed, found wrong at the end of a verification.
fn dear(system: SystemName, proof: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    if system == SystemName::Zisk {
        let mut bytes = proof.to_vec();
        bytes[8 + 8 * 31_000] ^= 1;
        return Ok(bytes);
    }
    let options = bincode::DefaultOptions::new().with_fixint_encoding();
    let mut decoded: ProofFromNetwork = options.deserialize(proof)?;
    let SP1Proof::Compressed(inner) = &mut decoded.proof else {
        return Err("another kind of proof".into());
    };
    let chips = &mut inner.proof.opened_values.chips;
    let (name, values) = chips.pop_last().ok_or("a proof without chips")?;
    let room = LARGEST - proof.len() - name.len();
    chips.insert(name + &"Z".repeat(room), values);
    Ok(options.serialize(&decoded)?)
}

fn milliseconds(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() -> Result<(), Box<dyn Error>> {
    let secret = SecretKey::interop(0);
    let (public, message) = (secret.public_key(), Root::from([7; 32]));
    let signature = secret.sign(&message);
    let mut out = io::stdout().lock();
    writeln!(out, "one proof verified on one thread, medians of {ROUNDS}")?;
    for system in SystemName::ALL {
        let sample = samples::sample(system);
        let began = Instant::now();
        let verifier = samples::with_key(system, &sample.key)?;
        let ready = began.elapsed();
        let [mut decoding, mut verifying, mut signatures] = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let opened = verifier.open(black_box(&sample.proof))?;
            let same = opened.public_values() == sample.public_values;
            decoding.push(began.elapsed());
            let began = Instant::now();
            opened.verify()?;
            verifying.push(began.elapsed());
            let began = Instant::now();
            let signed = public.verify(black_box(&message), &signature);
            signatures.push(began.elapsed());
            if !same || !signed {
                return Err(format!("{system}: another outcome").into());
            }
        }
        let dear = dear(system, &sample.proof)?;
        let mut dear_times = Vec::new();
        for _ in 0..ROUNDS / 4 {
            let began = Instant::now();
            let refused = match verifier.open(black_box(&dear)) {
                Ok(opened) => opened.verify().is_err(),
                Err(refusal) => return Err(format!("{system}: not decoded: {refusal}").into()),
            };
            dear_times.push(began.elapsed());
            if !refused {
                return Err(format!("{system}: what is wrong holds").into());
            }
        }
        let (decoding, verifying) = (milliseconds(&mut decoding), milliseconds(&mut verifying));
        let signature = milliseconds(&mut signatures);
        let whole = decoding + verifying;
        writeln!(
            out,
            "  {system:5} {:8} bytes  {whole:7.2} ms ({decoding:.2} decoding)  {:5.1} times a BLS verification ({signature:.2} \
             ms); ready in {:.1} ms",
            sample.proof.len(),
            whole / signature,
            ready.as_secs_f64() * 1e3
        )?;
        writeln!(
            out,
            "        {:8} bytes of the dearest refusal known: {:.2} times the proof",
            dear.len(),
            milliseconds(&mut dear_times) / whole
        )?;
    }
    Ok(())
}
