//! The built binary as a user runs it: one command, its output, its exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod about;
mod db;
mod enr;
mod guide;
mod metrics;
mod settings;
mod sign_and_verify;
mod ssz;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

/// What a run printed, and whether it went well.
struct Ran {
    ok: bool,
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output of a run that went well, without the last line's end.
    fn text(self) -> String {
        assert!(self.ok, "exit code {:?}: {}", self.code, self.err);
        String::from_utf8(self.out).unwrap().trim_end().to_owned()
    }

    /// Standard error of a run that failed with exit code 1 and printed nothing.
    fn error(self) -> String {
        assert_eq!(
            self.code,
            Some(1),
            "{}{}",
            String::from_utf8_lossy(&self.out),
            self.err
        );
        assert!(self.out.is_empty(), "{}", String::from_utf8_lossy(&self.out));
        self.err
    }
}

/// Runs the binary in `dir` with `input` on standard input.
fn assay(dir: &Path, args: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends without reading closes the pipe, which is its right.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran::of(child.wait_with_output().unwrap())
}

/// The binary under test, without settings of the caller's environment.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("ASSAY_")) {
            command.env_remove(name);
        }
    }
    command
}
