//! `docs/ORDERINGS.md` against the source: every label has its row, and every row its label.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use source::rust_files;

#[test]
fn every_label_has_a_row_and_every_row_a_label() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let mut labels = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("readable");
        let found = text.lines().filter_map(|line| line.trim().strip_prefix("// ORDER: "));
        labels.extend(found.map(str::to_owned));
    }
    let table = fs::read_to_string(root.join("docs/ORDERINGS.md")).expect("readable");
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(rows.is_sorted(), "rows are in order of their labels, for readers to find");
    let distinct: BTreeSet<String> = rows.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), rows.len(), "one row a label");
    assert_eq!(distinct, labels, "rows on the left, labels of the source on the right");
    assert!(labels.len() > 20, "the labels were found");
}

#[test]
fn models_that_rows_name_exist() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("loom-tests/src/models"), &mut files);
    let models: String = files.iter().map(|file| fs::read_to_string(file).expect("readable")).collect();
    let table = fs::read_to_string(root.join("docs/ORDERINGS.md")).expect("readable");
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let last = row.rsplit('|').nth(1).expect("a last column");
        for name in last.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
            assert!(models.contains(&format!("fn {name}()")), "there is a model {name}");
        }
    }
}
