//! Where the vectors are; running the files of a test; the guard over all of them.

use crate::{
    Failure,
    case::Case,
    file::{Outcome, VectorFile, arrays_of},
    map::{Entry, Map, matches},
};
use serde_json::Value;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// Names the folder of vectors.
const VARIABLE: &str = "ASSAY_VECTORS";
/// Where it is else, seen from a crate's folder: beside the repository's root.
const DEFAULT: &str = "../../../shared/vectors";
/// The map, seen from a crate's folder.
const MAP: &str = "../../specs/conformance.toml";
/// The repository's own vectors, seen from a crate's folder.
const OWN: &str = "../../specs/vectors";
/// Failures that are told one by one.
const MOST_TOLD: usize = 30;

/// A crate's conformance target.
pub struct Target {
    name: String,
    /// Where the workspace's crates are.
    crates: PathBuf,
    /// `None`: there are no vectors, and none were asked for.
    dir: Option<PathBuf>,
    map: Map,
}

impl Target {
    /// For the crate in `manifest_dir` (`CARGO_MANIFEST_DIR`) called `name` (`CARGO_PKG_NAME`). A folder that
    /// `ASSAY_VECTORS` names must be there.
    pub fn open(manifest_dir: &str, name: &str) -> Result<Self, Failure> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        Self::open_in(Path::new(manifest_dir), name, named)
    }

    fn open_in(manifest_dir: &Path, name: &str, named: Option<PathBuf>) -> Result<Self, Failure> {
        let map = Map::read(&manifest_dir.join(MAP))?;
        let default = manifest_dir.join(DEFAULT);
        let dir = match named {
            Some(dir) if !dir.is_dir() => {
                return Err(Failure(format!(
                    "{VARIABLE} names {}, which is no folder",
                    dir.display()
                )));
            }
            Some(dir) => Some(dir),
            None => default.is_dir().then_some(default),
        };
        Ok(Self {
            name: name.to_owned(),
            crates: manifest_dir.join(".."),
            dir,
            map,
        })
    }

    /// The folder of recorded real blocks beside the vectors, if it is there.
    pub fn capture_dir(&self) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?.join("../realnet/capture");
        dir.is_dir().then_some(dir)
    }

    /// Runs `check` on every file that the map gives to `test` of this crate. Absent files are fine; a folder without
    /// any vectors is not.
    pub fn run(
        &self,
        test: &str,
        mut check: impl FnMut(&mut VectorFile<'_>) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let rows = self.map.file.iter().filter(|row| row.runs(&self.name, test));
        if rows.clone().next().is_none() {
            return Err(Failure(format!(
                "specs/conformance.toml gives {} {test} no files",
                self.name
            )));
        }
        let Some(dir) = &self.dir else {
            self.say(&format!(
                "{test}: skipped, there are no vectors ({VARIABLE} is not set)"
            ));
            return Ok(());
        };
        let files = json_files(dir)?;
        let mut failures = Vec::new();
        let mut ran = false;
        for row in rows {
            for name in files.iter().filter(|name| matches(&row.path, name)) {
                let json = read_json(dir, name)?;
                let mut file = VectorFile::new(name.clone(), dir, &json, row);
                if let Err(why) = check(&mut file) {
                    failures.push(format!("{name}: {why}"));
                }
                let (line, failed) = file.finish();
                self.say(&line);
                failures.extend(failed);
                ran = true;
            }
        }
        if !ran {
            self.say(&format!("{test}: none of its files is in this folder"));
        }
        told(failures)
    }

    /// Runs `check` on every case of a file of the repository's own vectors, `specs/vectors/<name>`: these are always
    /// there.
    pub fn run_own(
        manifest_dir: &str,
        name: &str,
        check: impl FnMut(Case<'_>) -> Result<Outcome, String>,
    ) -> Result<(), Failure> {
        let dir = Path::new(manifest_dir).join(OWN);
        let json = read_json(&dir, name)?;
        let row = Entry {
            path: name.to_owned(),
            in_crate: String::new(),
            test: String::new(),
            arrays: vec!["cases".to_owned()],
        };
        let mut file = VectorFile::new(name.to_owned(), &dir, &json, &row);
        file.cases("cases", check)?;
        let (line, failures) = file.finish();
        say("specs/vectors", &line);
        told(failures)
    }

    /// That every JSON file of the folder is some test's, every array in it too, and that `kind`, `expected` and `type`
    /// say nothing that no test understands.
    pub fn guard(&self, is_type: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let Some(dir) = &self.dir else {
            self.say(&format!(
                "guard: skipped, there are no vectors ({VARIABLE} is not set)"
            ));
            return Ok(());
        };
        let mut failures = Vec::new();
        for row in &self.map.file {
            if !self.has_test(row) {
                failures.push(format!(
                    "specs/conformance.toml: {} has no conformance test that runs {:?}",
                    row.in_crate, row.test
                ));
            }
        }
        let files = json_files(dir)?;
        for name in &files {
            let rows: Vec<_> = self
                .map
                .file
                .iter()
                .filter(|row| matches(&row.path, name))
                .collect();
            if rows.is_empty() {
                failures.push(format!("{name}: no row of specs/conformance.toml names it"));
                continue;
            }
            let json = read_json(dir, name)?;
            for array in arrays_of(&json).keys() {
                if !self.map.is_ignored(array) && !rows.iter().any(|row| row.has_array(array)) {
                    failures.push(format!("{name}: no test runs the array {array:?}"));
                }
            }
            self.check_words(name, &json, "", &is_type, &mut failures);
        }
        self.say(&format!("guard: {} files looked through", files.len()));
        told(failures)
    }

    /// Whether a row's crate has a conformance target in which the test's name stands.
    fn has_test(&self, row: &Entry) -> bool {
        let folder = row.in_crate.strip_prefix("assay-").unwrap_or(&row.in_crate);
        let target = self.crates.join(folder).join("tests/conformance");
        let mut sources = vec![target.with_extension("rs")];
        if let Ok(entries) = std::fs::read_dir(&target) {
            sources.extend(entries.flatten().map(|entry| entry.path()));
        }
        let call = format!(".run({:?}", row.test);
        sources
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .any(|source| source.contains(&call))
    }

    fn check_words(
        &self,
        name: &str,
        json: &Value,
        path: &str,
        is_type: &impl Fn(&str) -> bool,
        failures: &mut Vec<String>,
    ) {
        match json {
            Value::Object(members) => {
                for (key, member) in members {
                    let path = format!("{path}.{key}");
                    if self.map.is_ignored(&path) {
                        continue;
                    }
                    let word = match member {
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    let known = match key.as_str() {
                        "kind" => self.map.known.kind.contains(&word),
                        "expected" => self.map.known.expected.contains(&word),
                        "type" => is_type(&word),
                        _ => {
                            self.check_words(name, member, &path, is_type, failures);
                            continue;
                        }
                    };
                    if !known {
                        failures.push(format!("{name}: {key} {word:?} is nothing that a test knows"));
                    }
                }
            }
            Value::Array(elements) => {
                for element in elements {
                    self.check_words(name, element, &format!("{path}[]"), is_type, failures);
                }
            }
            _ => {}
        }
    }

    fn say(&self, line: &str) {
        say(&self.name, line);
    }
}

/// Past the test harness's capture: what was run is said whether a test fails or not.
fn say(name: &str, line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listening is no failure of a test.
    let _ = writeln!(out, "conformance {name} {line}");
}

fn told(mut failures: Vec<String>) -> Result<(), Failure> {
    if failures.is_empty() {
        return Ok(());
    }
    let total = failures.len();
    failures.truncate(MOST_TOLD);
    if total > MOST_TOLD {
        failures.push(format!("and {} more", total - MOST_TOLD));
    }
    Err(Failure(format!("{total} failed:\n{}", failures.join("\n"))))
}

/// Paths of all JSON files, relative to the folder, sorted. None at all is a failure: the folder holds no vectors.
fn json_files(dir: &Path) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "json") {
                let relative = path.strip_prefix(dir).unwrap_or(&path);
                files.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    if files.is_empty() {
        return Err(Failure(format!("{} holds no vectors", dir.display())));
    }
    files.sort();
    Ok(files)
}

fn read_json(dir: &Path, name: &str) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(dir.join(name)).map_err(|e| format!("{name}: {e}"))?;
    Ok(serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAP_TEXT: &str = r#"
        ignored = ["presets_agreeing", "*.value*"]
        [known]
        kind = ["request"]
        expected = ["reject", "true"]
        [[file]]
        path = "a/*.json"
        crate = "one"
        test = "first"
        arrays = ["cases", "cases[].invalid"]
    "#;

    /// A repository with a map and a folder of vectors with one file.
    fn house(vectors: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("repo/crates/one");
        let vectors_dir = dir.path().join("vectors");
        for path in [&manifest, &dir.path().join("repo/specs"), &vectors_dir.join("a")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(dir.path().join("repo/specs/conformance.toml"), MAP_TEXT).unwrap();
        std::fs::create_dir_all(manifest.join("tests")).unwrap();
        std::fs::write(
            manifest.join("tests/conformance.rs"),
            "target()?.run(\"first\", |file| {})",
        )
        .unwrap();
        if !vectors.is_empty() {
            std::fs::write(vectors_dir.join("a/x.json"), vectors).unwrap();
        }
        (dir, manifest, vectors_dir)
    }

    fn run(vectors: &str, nested: bool) -> Result<(), Failure> {
        let (_dir, manifest, vectors_dir) = house(vectors);
        Target::open_in(&manifest, "one", Some(vectors_dir))?.run("first", |file| {
            file.cases("cases", |case| {
                if case.has("bad") {
                    return Err("is bad".to_owned());
                }
                Ok(Outcome::Run)
            })?;
            if nested {
                file.nested_cases("cases", "invalid", |_, _| Ok(Outcome::Partial("half")))?;
            }
            Ok(())
        })
    }

    fn guard(vectors: &str) -> Result<(), Failure> {
        let (_dir, manifest, vectors_dir) = house(vectors);
        Target::open_in(&manifest, "one", Some(vectors_dir))?.guard(|name| name == "Known")
    }

    fn why(result: Result<(), Failure>) -> String {
        result.err().map(|f| f.0).unwrap_or_default()
    }

    #[test]
    fn cases_fail_by_name_and_arrays_must_all_be_run() {
        let vectors = r#"{"cases": [{"name": "n", "invalid": [{}, {}]}, {"name": "m"}]}"#;
        assert_eq!(why(run(vectors, true)), "");
        assert!(why(run(vectors, false)).contains("the 2 elements of \"cases[].invalid\""));
        let bad = r#"{"cases": [{"name": "n", "bad": 1}]}"#;
        assert!(why(run(bad, true)).contains("a/x.json: cases[0] n: is bad"));
    }

    #[test]
    fn no_cases_no_vectors_no_folder_are_failures() {
        assert!(why(run(r#"{"cases": []}"#, true)).contains("no cases"));
        assert!(why(run("", true)).contains("holds no vectors"));
        let (_dir, manifest, vectors_dir) = house("{}");
        let missing = Target::open_in(&manifest, "one", Some(vectors_dir.join("missing")));
        assert!(missing.is_err());
    }

    #[test]
    fn without_vectors_tests_are_skipped_and_without_a_row_they_fail() {
        let (_dir, manifest, vectors_dir) = house(r#"{"cases": [{}]}"#);
        let target = Target::open_in(&manifest, "one", None).unwrap();
        assert_eq!(why(target.run("first", |_| Err("never run".to_owned()))), "");
        assert_eq!(why(target.guard(|_| false)), "");
        let target = Target::open_in(&manifest, "two", Some(vectors_dir)).unwrap();
        assert!(why(target.run("first", |_| Ok(()))).contains("no files"));
    }

    #[test]
    fn the_guard_knows_every_array_and_word() {
        let fine = r#"{"type": "Known", "presets_agreeing": ["a"],
            "cases": [{"kind": "request", "expected": true, "tags": [1], "value": {"type": "x", "list": [{}]}}]}"#;
        assert_eq!(why(guard(fine)), "");
        for (vectors, reason) in [
            (r#"{"cases": [{}], "more": [{}]}"#, "the array \"more\""),
            (r#"{"cases": [{}], "plain": [1]}"#, "the array \"plain\""),
            (r#"{"cases": [{"extra": [{}]}]}"#, "the array \"cases[].extra\""),
            (r#"{"cases": [{"kind": "answer"}]}"#, "kind \"answer\""),
            (r#"{"cases": [{"expected": false}]}"#, "expected \"false\""),
            (r#"{"cases": [{"type": "Other"}]}"#, "type \"Other\""),
        ] {
            assert!(why(guard(vectors)).contains(reason), "{vectors}");
        }
        let (_dir, manifest, vectors_dir) = house(fine);
        std::fs::write(manifest.join("tests/conformance.rs"), "run(\"second\"").unwrap();
        let target = Target::open_in(&manifest, "one", Some(vectors_dir)).unwrap();
        assert!(why(target.guard(|_| true)).contains("no conformance test that runs \"first\""));

        let (_dir, manifest, vectors_dir) = house("");
        std::fs::write(vectors_dir.join("y.json"), "{}").unwrap();
        let target = Target::open_in(&manifest, "one", Some(vectors_dir)).unwrap();
        assert!(why(target.guard(|_| true)).contains("y.json: no row"));
    }
}
