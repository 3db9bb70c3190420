//! The tables of faults against the source: every fault that can be injected has its row, and every row its fault, its model and, where
//! it names one, its test of histories. `ci/mutants.sh` runs what the rows say.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use source::rust_files;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of all Rust files below `dir`.
fn text_below(dir: &str) -> String {
    let mut files = Vec::new();
    rust_files(&root().join(dir), &mut files);
    files.iter().map(|file| fs::read_to_string(file).expect("readable")).collect()
}

/// The names that `marker` is given in `text`.
fn names(text: &str, marker: &str) -> BTreeSet<String> {
    let opening = format!("{marker}!(\"");
    let found = text.match_indices(&opening).map(|(at, _)| &text[at + opening.len()..]);
    found.map(|rest| rest.split('"').next().expect("a first part").to_owned()).collect()
}

/// The rows of a table by their names, each with its other columns.
fn rows(file: &str) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join(file)).expect("readable");
    // Other tables start with a command.
    let commands = ["| `ci/", "| `cargo "];
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `") && !commands.iter().any(|command| line.starts_with(command)));
    rows.map(|row| {
        let mut columns = row.trim_matches('|').split('|').map(|column| column.trim().to_owned());
        let name = columns.next().expect("a first column").trim_matches('`').to_owned();
        (name, columns.collect())
    })
    .collect()
}

/// The first name in backticks that is a function's.
fn function(column: &str) -> Option<&str> {
    column.split('`').skip(1).step_by(2).find(|name| name.contains('_'))
}

#[test]
fn every_fault_has_a_row_and_every_row_a_fault() {
    let (source, models) = (text_below("src"), text_below("loom-tests/src/models"));
    let histories = fs::read_to_string(root().join("tests/linearizability.rs")).expect("readable");
    let (faults, table) = (names(&source, "mutant"), rows("docs/VERIFYING.md"));
    let named: BTreeSet<String> = table.keys().cloned().collect();
    assert_eq!(named, faults, "rows on the left, faults of the source on the right");
    assert!(faults.len() >= 25, "the faults were found");
    let mut with_histories = 0;
    for (name, columns) in &table {
        let model = function(&columns[1]).unwrap_or_else(|| panic!("{name} has a model"));
        assert!(models.contains(&format!("fn {model}()")), "there is a model {model}");
        if let Some(test) = function(&columns[2]) {
            assert!(histories.contains(&format!("fn {test}()")), "there is a test {test}");
            with_histories += 1;
        }
    }
    assert!(with_histories >= 3, "three faults at least are found by histories");
}

#[test]
fn every_ordering_that_can_be_weakened_has_a_model() {
    let orderings = names(&text_below("src"), "ordering");
    let table = rows("docs/ORDERINGS.md");
    for name in &orderings {
        let columns = table.get(name).unwrap_or_else(|| panic!("{name} has a row"));
        assert!(function(columns.last().expect("a last column")).is_some(), "{name} has a model");
    }
    // A fence is dropped, not weakened.
    for (name, columns) in &table {
        let strong = columns[1] != "Relaxed" && !columns[1].contains("fence");
        assert_eq!(strong, orderings.contains(name), "{name} is {}: can it be weakened?", columns[1]);
    }
}

/// They take a private cfg, which no feature sets.
#[test]
fn no_feature_injects_faults() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    let features =
        manifest.split("\n[features]").nth(1).map_or("", |rest| rest.split("\n[").next().unwrap_or(""));
    assert!(!features.contains("mutant"), "no feature is about faults");
    assert!(!text_below("src").contains("feature = \"mutant"), "nor is any code under one");
}
