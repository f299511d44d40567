//! How far long work is: a line on standard error that is written over, where that is a terminal.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Between two changes of the line.
const PACE: Duration = Duration::from_millis(100);
/// Characters of the bar.
const WIDTH: u64 = 30;

/// One line.
pub(super) struct Progress {
    what: &'static str,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: None,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// `done` of `all`; nothing where nobody looks.
    pub(super) fn at(&mut self, done: u64, all: u64) {
        if !self.is_terminal || self.shown.is_some_and(|at| at.elapsed() < PACE && done < all) {
            return;
        }
        self.shown = Some(Instant::now());
        // Nobody is told where standard error cannot be written to.
        let _ = write!(std::io::stderr(), "\r{}", line(self.what, done, all));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn line(what: &str, done: u64, all: u64) -> String {
    let full = match all {
        0 => WIDTH,
        all => (done.min(all) as u128 * u128::from(WIDTH) / u128::from(all)) as u64,
    };
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    format!("{what} [{bar}] {done}/{all}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        for (done, all, full) in [
            (0, 10, 0),
            (5, 10, 15),
            (10, 10, 30),
            (12, 10, 30),
            (0, 0, 30),
            (1, u64::MAX, 0),
        ] {
            let line = line("x", done, all);
            assert_eq!(line.matches('#').count(), full, "{line}");
            assert!(line.ends_with(&format!("] {done}/{all}")), "{line}");
        }
    }
}
