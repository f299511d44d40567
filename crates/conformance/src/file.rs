//! One file of vectors: its arrays, what was visited, the account.

use crate::{case::Case, map::Entry};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// What became of a case that did not fail.
pub enum Outcome {
    /// All it says was checked.
    Run,
    /// Checked as far as its data goes; why not further.
    Partial(&'static str),
    /// Nothing could be checked; why.
    Skipped(&'static str),
}

/// A file of vectors while its test runs it.
pub struct VectorFile<'a> {
    pub(crate) name: String,
    dir: &'a Path,
    json: &'a Value,
    entry: &'a Entry,
    account: Account,
}

#[derive(Default)]
struct Account {
    /// Elements visited, by the array's path.
    visited: BTreeMap<String, usize>,
    run: usize,
    partial: BTreeMap<&'static str, usize>,
    skipped: BTreeMap<&'static str, usize>,
    failures: Vec<String>,
}

impl<'a> VectorFile<'a> {
    pub(crate) fn new(name: String, dir: &'a Path, json: &'a Value, entry: &'a Entry) -> Self {
        Self {
            name,
            dir,
            json,
            entry,
            account: Account::default(),
        }
    }

    /// The file's path in the folder of vectors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's own values, those beside its arrays.
    pub fn head(&self) -> Case<'a> {
        Case::new(self.json, self.dir)
    }

    /// Names of the file's arrays that its row of the map names, at the top.
    pub fn arrays(&self) -> Vec<String> {
        let members = self.json.as_object().into_iter().flatten();
        members
            .filter(|(key, value)| value.is_array() && self.entry.has_array(key))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Runs every element of an array at the top. An array that is absent has none.
    pub fn cases(
        &mut self,
        array: &str,
        mut check: impl FnMut(Case<'a>) -> Result<Outcome, String>,
    ) -> Result<(), String> {
        for element in elements(self.json, array)? {
            let case = Case::new(element, self.dir);
            let outcome = check(case);
            self.account.record(array, &case.name(), outcome);
        }
        Ok(())
    }

    /// Runs every element of the array `inner` of every element of `outer`, given both.
    pub fn nested_cases(
        &mut self,
        outer: &str,
        inner: &str,
        mut check: impl FnMut(Case<'a>, Case<'a>) -> Result<Outcome, String>,
    ) -> Result<(), String> {
        let path = format!("{outer}[].{inner}");
        for parent in elements(self.json, outer)? {
            let parent_case = Case::new(parent, self.dir);
            for element in elements(parent, inner)? {
                let case = Case::new(element, self.dir);
                let outcome = check(parent_case, case);
                let name = format!("{} {}", parent_case.name(), case.name());
                self.account.record(&path, &name, outcome);
            }
        }
        Ok(())
    }

    /// Runs a file that is one case; `arrays` of plain values in it count as read.
    pub fn whole(
        &mut self,
        arrays: &[&str],
        check: impl FnOnce(Case<'a>) -> Result<Outcome, String>,
    ) -> Result<(), String> {
        for array in arrays {
            let len = elements(self.json, array)?.len();
            self.account.visited.insert((*array).to_owned(), len);
        }
        let outcome = check(self.head());
        self.account.add("the file", outcome);
        Ok(())
    }

    /// An array that is no list of cases but what its cases are judged by (a registry, a schedule): counts as read.
    pub fn context(&mut self, array: &str) -> Result<&'a [Value], String> {
        let found = elements(self.json, array)?;
        self.account.visited.insert(array.to_owned(), found.len());
        Ok(found)
    }

    /// The line of the account, and what failed.
    pub(crate) fn finish(self) -> (String, Vec<String>) {
        let Account {
            visited,
            run,
            partial,
            skipped,
            mut failures,
        } = self.account;
        for (array, len) in arrays_of(self.json) {
            if self.entry.has_array(&array) && visited.get(&array).copied().unwrap_or_default() != len {
                failures.push(format!(
                    "not every one of the {len} elements of {array:?} was run"
                ));
            }
        }
        let (partly, left) = (partial.values().sum::<usize>(), skipped.values().sum::<usize>());
        let total = run + partly + left + failures.len();
        if total == 0 {
            failures.push("the file has no cases".to_owned());
        }
        let mut line = format!(
            "{}: run {run}, partial {partly}, skipped {left}, total {total}",
            self.name
        );
        for (kind, reasons) in [("partial", partial), ("skipped", skipped)] {
            for (why, n) in reasons {
                line.push_str(&format!("; {kind} {n}: {why}"));
            }
        }
        let failures = failures
            .into_iter()
            .map(|why| format!("{}: {why}", self.name))
            .collect();
        (line, failures)
    }
}

impl Account {
    fn record(&mut self, array: &str, name: &str, outcome: Result<Outcome, String>) {
        *self.visited.entry(array.to_owned()).or_default() += 1;
        let n = self.visited[array] - 1;
        self.add(&format!("{array}[{n}] {name}"), outcome);
    }

    fn add(&mut self, name: &str, outcome: Result<Outcome, String>) {
        match outcome {
            Ok(Outcome::Run) => self.run += 1,
            Ok(Outcome::Partial(why)) => *self.partial.entry(why).or_default() += 1,
            Ok(Outcome::Skipped(why)) => *self.skipped.entry(why).or_default() += 1,
            Err(why) => self.failures.push(format!("{name}: {why}")),
        }
    }
}

fn elements<'v>(json: &'v Value, array: &str) -> Result<&'v [Value], String> {
    match json.get(array) {
        None => Ok(&[]),
        Some(Value::Array(elements)) => Ok(elements),
        Some(other) => Err(format!("{array:?} is no array: {other}")),
    }
}

/// Paths of the arrays of a file that may hold cases, with the number of their elements over all parents: every array
/// at the top, and every array of objects or arrays below. Empty ones are left out.
pub(crate) fn arrays_of(json: &Value) -> BTreeMap<String, usize> {
    fn walk(value: &Value, path: &str, depth: usize, found: &mut BTreeMap<String, usize>) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    walk(member, &path, depth + 1, found);
                }
            }
            Value::Array(elements) => {
                if depth <= 1 || elements.iter().any(|e| e.is_object() || e.is_array()) {
                    *found.entry(path.to_owned()).or_default() += elements.len();
                }
                for element in elements {
                    walk(element, &format!("{path}[]"), depth + 1, found);
                }
            }
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    walk(json, "", 0, &mut found);
    found.retain(|_, len| *len > 0);
    found
}
