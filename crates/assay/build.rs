//! The version text: package, commit and the EIP's revision. The commit comes from `ASSAY_COMMIT`, else, in optimised
//! builds, from the repository's own files; outside one it is left out, so that equal sources give equal programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Hex digits of a commit that are shown.
const SHOWN: usize = 12;

fn main() {
    println!("cargo:rerun-if-env-changed=ASSAY_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = env::var("ASSAY_COMMIT").ok().filter(|commit| !commit.is_empty());
    // A development build is not made anew for each commit.
    let optimised = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| optimised.then(commit_of_repository).flatten());
    let commit = commit
        .filter(|commit| commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(|commit| format!("commit {}, ", commit.get(..SHOWN).unwrap_or(&commit)))
        .unwrap_or_default();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=ASSAY_VERSION={version} ({commit}EIP-8025 alpha and beta)");
}

/// What HEAD points to, without running git. Only where the repository is this package's own: sources that lie unpacked
/// in another repository are not of its commit.
fn commit_of_repository() -> Option<String> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let git = git_dir(&package.parent()?.parent()?.join(".git"))?;
    let head = read(&git.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else {
        return Some(head);
    };
    // A worktree keeps its HEAD, and shares the rest.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |common| git.join(common));
    read(&common.join(name)).or_else(|| {
        let packed = read(&common.join("packed-refs"))?;
        let line = packed.lines().find(|line| line.ends_with(&format!(" {name}")))?;
        Some(line.split_once(' ')?.0.to_owned())
    })
}

/// The directory itself, or the one that a worktree's file names.
fn git_dir(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let named = read(path)?.strip_prefix("gitdir: ")?.to_owned();
    Some(path.parent()?.join(named))
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo:rerun-if-changed={}", path.display());
    Some(text.trim().to_owned())
}
