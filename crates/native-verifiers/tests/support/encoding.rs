//! Where a proof's encoding has lengths and other small numbers.

/// Places of small numbers of 64 bits: the lengths are among them, beside some elements of fields that look like one. At
/// most `most`, spread over the proof.
pub(crate) fn small_numbers(proof: &[u8], most: usize) -> Vec<usize> {
    let is_small = |bytes: &[u8]| bytes[0] != 0 && bytes[3..].iter().all(|byte| *byte == 0);
    let all: Vec<usize> = proof
        .windows(8)
        .enumerate()
        .filter(|(_, bytes)| is_small(bytes))
        .map(|(at, _)| at)
        .collect();
    // Of places next to each other the first: the others are parts of it.
    let firsts: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(n, at)| *n == 0 || all[n - 1] + 1 != **at)
        .map(|(_, at)| *at)
        .collect();
    let step = firsts.len().div_ceil(most).max(1);
    firsts.into_iter().step_by(step).collect()
}
