//! Findings, one line each.

use crate::commands::files;
use serde_json::json;
use std::fmt::Display;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    /// The node runs, less well than it could.
    Warn,
    /// The node does not run so, or is of no use.
    Fail,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

#[derive(Debug)]
struct Finding {
    level: Level,
    check: String,
    found: String,
    /// What to do; empty where there is nothing to do.
    advice: String,
}

/// All of them, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    pub(super) fn ok(&mut self, check: impl Display, found: impl Display) {
        self.add(Level::Ok, check, found, "");
    }

    pub(super) fn warn(&mut self, check: impl Display, found: impl Display, advice: impl Display) {
        self.add(Level::Warn, check, found, advice);
    }

    pub(super) fn fail(&mut self, check: impl Display, found: impl Display, advice: impl Display) {
        self.add(Level::Fail, check, found, advice);
    }

    pub(super) fn add(
        &mut self,
        level: Level,
        check: impl Display,
        found: impl Display,
        advice: impl Display,
    ) {
        // One line each, whatever an answer or an error had in it, and nothing that a terminal would obey.
        let line = |text: String| {
            let words = text.split(|c: char| c.is_whitespace() || c.is_control());
            words
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        self.0.push(Finding {
            level,
            check: line(check.to_string()),
            found: line(found.to_string()),
            advice: line(advice.to_string()),
        });
    }

    pub(super) fn failed(&self) -> usize {
        self.0.iter().filter(|f| f.level == Level::Fail).count()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let checks: Vec<_> = self
                .0
                .iter()
                .map(|f| json!({ "check": f.check, "status": f.level.as_str(), "found": f.found, "advice": f.advice }))
                .collect();
            let all = json!({ "ok": self.failed() == 0, "checks": checks });
            return files::print_line(format_args!("{all:#}"));
        }
        for f in &self.0 {
            let advice = match f.advice.as_str() {
                "" => String::new(),
                advice => format!(" -> {advice}"),
            };
            files::print_line(format_args!(
                "{:<4} {}: {}{advice}",
                f.level.as_str(),
                f.check,
                f.found
            ))?;
        }
        Ok(())
    }
}
