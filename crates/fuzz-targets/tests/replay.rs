//! The corpora that are kept, through every target, on stable Rust: what was found once is not lost again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use assay_fuzz_targets::{Seen, TARGETS};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, panic,
    path::{Path, PathBuf},
};

/// All corpora together stay below this.
const MAX_CORPUS_BYTES: u64 = 500_000;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_kept_input_passes_and_every_target_takes_and_refuses_some() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for path in entries(&fuzz_folder().join("corpus-ci").join(target.name)) {
            let data = fs::read(&path).unwrap();
            match panic::catch_unwind(|| (target.run)(&data)) {
                Ok(Seen::Accepted) => *seen.entry("accepted").or_default() += 1,
                Ok(Seen::Refused) => *seen.entry("refused").or_default() += 1,
                Err(_) => failed.push(format!("{}: {}", target.name, name(&path))),
            }
        }
        println!("{}: {seen:?}", target.name);
        for outcome in ["accepted", "refused"] {
            if !seen.contains_key(outcome) {
                failed.push(format!("{}: no input is {outcome}", target.name));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Seeds cut short, with a byte changed, or with something behind them: what a fuzzer tries first.
#[test]
fn inputs_close_to_the_kept_ones_pass() {
    for target in TARGETS {
        for path in entries(&fuzz_folder().join("corpus-ci").join(target.name)) {
            let data = fs::read(&path).unwrap();
            let step = (data.len() / 12).max(1);
            for at in (0..data.len()).step_by(step) {
                (target.run)(&data[..at]);
                let mut changed = data.clone();
                changed[at] = changed[at].wrapping_add(1);
                (target.run)(&changed);
            }
            let mut longer = data;
            longer.push(0);
            (target.run)(&longer);
        }
    }
}

#[test]
fn targets_corpora_and_fuzz_binaries_are_the_same() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "two targets of one name");

    let corpora = entries(&fuzz_folder().join("corpus-ci"));
    assert_eq!(
        corpora.iter().map(|path| name(path)).collect::<BTreeSet<_>>(),
        targets
    );
    let bytes: u64 = corpora
        .iter()
        .flat_map(|corpus| entries(corpus))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(
        bytes <= MAX_CORPUS_BYTES,
        "{bytes} bytes of corpora, at most {MAX_CORPUS_BYTES}"
    );

    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target} has no binary"
        );
        let main = fs::read_to_string(fuzz_folder().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(
            main.contains(&format!("run(\"{target}\"")),
            "{target}'s binary runs another"
        );
    }
    assert_eq!(entries(&fuzz_folder().join("fuzz_targets")).len(), targets.len());
}
