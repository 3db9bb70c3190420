//! The layers, held against the source: who may import whom, where unsafe code and locks may stand, and that the
//! models are models of the shipped files.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use source::rust_files;

/// Each module with the modules of this crate that it may use. Nothing imports upwards.
const LAYERS: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("reclaim", &["sync"]),
    ("epoch", &["sync"]),
    ("versioned", &["sync", "reclaim", "epoch"]),
    ("index", &["sync", "reclaim"]),
    ("peer", &["sync", "reclaim", "epoch", "versioned", "index"]),
    ("snapshot", &["sync", "reclaim", "index", "peer", "versioned"]),
    ("policy", &[]),
    ("decay", &["peer", "versioned"]),
    ("names", &["peer", "versioned"]),
    ("connection", &["peer"]),
    ("report", &["connection", "policy"]),
    ("decayer", &["decay"]),
    ("interface", &["connection", "decayer", "report"]),
    (
        "manager",
        &[
            "connection",
            "decay",
            "decayer",
            "index",
            "interface",
            "names",
            "peer",
            "policy",
            "report",
            "snapshot",
            "sync",
            "versioned",
        ],
    ),
    ("null", &["interface", "report"]),
    ("memory", &["connection", "decay", "interface", "manager", "report"]),
    ("metrics", &["connection", "manager", "report"]),
    ("swarm", &["connection", "decay", "interface", "manager", "report"]),
    ("testing", &["connection"]),
];

/// Where unsafe code may stand.
const UNSAFE: &[&str] = &["sync", "reclaim", "index", "versioned"];

/// Where a lock may stand: trims and threads are joined there.
const LOCKS: &[&str] = &["manager"];

/// What may stand in one module for all that: hard caps are counted in sharded maps, once for each connection, and the `mpsc` is that of
/// `futures`, whose unbounded sends wait for nobody.
const IN_SWARM: &[&str] = &["dashmap", "mpsc"];

/// What waits, or may.
const WAITERS: &[&str] = &[
    "Mutex",
    "RwLock",
    "Condvar",
    "Once",
    "OnceLock",
    "LazyLock",
    "Barrier",
    "mpsc",
    "parking_lot",
    "dashmap",
];

/// What the models compile: everything below the manager that holds the protocol.
const MODELLED: &[&str] = &["epoch", "index", "peer", "reclaim", "snapshot", "sync", "versioned"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of `src` by module.
fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let below = file.strip_prefix(&src).expect("below src");
        let first = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        modules.entry(first.trim_end_matches(".rs").to_owned()).or_default().push(file);
    }
    modules.remove("lib");
    modules
}

/// A file's text without comments.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("readable");
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The modules that come after `crate::` in `code`, as paths or in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code.match_indices("crate::")
        .flat_map(|(at, path)| {
            let rest = &code[at + path.len()..];
            match rest.strip_prefix('{') {
                Some(list) => {
                    list.split('}').next().unwrap_or("").split(',').map(|item| word(item.trim())).collect()
                }
                None => vec![word(rest)],
            }
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn no_module_imports_upwards() {
    let modules = modules();
    let allowed: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let known: BTreeSet<_> = allowed.keys().map(ToString::to_string).collect();
    assert_eq!(
        modules.keys().cloned().collect::<BTreeSet<_>>(),
        known,
        "the table of layers names every module"
    );
    for (module, files) in &modules {
        for file in files {
            for import in imports(&code_of(file)) {
                let fine = import == *module || allowed[module.as_str()].contains(&import.as_str());
                assert!(fine, "{} imports {import}, which its layer may not", file.display());
            }
        }
    }
    // The table itself goes one way: a module may only use those listed above it.
    for (at, (module, uses)) in LAYERS.iter().enumerate() {
        for used in *uses {
            let below = LAYERS[..at].iter().any(|(name, _)| name == used);
            assert!(below, "{module} may not use {used}");
        }
    }
}

#[test]
fn unsafe_code_stands_where_it_may() {
    for (module, files) in modules() {
        let top = root().join("src").join(&module);
        let top = if top.is_dir() { top.join("mod.rs") } else { top.with_extension("rs") };
        let forbids = fs::read_to_string(&top).expect("readable").contains("#![forbid(unsafe_code)]");
        let may = UNSAFE.contains(&module.as_str());
        assert_ne!(forbids, may, "{module}: forbids unsafe code, or is one of {UNSAFE:?}");
        let uses = files.iter().any(|file| code_of(file).contains("unsafe {"));
        assert!(!uses || may, "{module} has unsafe code");
    }
}

#[test]
fn nothing_below_the_manager_waits() {
    for (module, files) in modules() {
        for file in files {
            let code = code_of(&file);
            let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let allowed = |waiter: &str| module == "swarm" && IN_SWARM.contains(&waiter);
            let found = |waiter: &&&str| words.contains(**waiter) && !allowed(waiter);
            let waits: Vec<_> = WAITERS.iter().filter(found).collect();
            if LOCKS.contains(&module.as_str()) {
                let dense: String = code.split_whitespace().collect();
                let explained = dense.contains("#![expect(clippy::disallowed_types,reason=");
                assert_eq!(explained, !waits.is_empty(), "{}: {waits:?} without a reason", file.display());
            } else {
                assert!(waits.is_empty(), "{} uses {waits:?}", file.display());
            }
        }
    }
}

#[test]
fn models_compile_the_shipped_files_and_nothing_of_their_own() {
    let lib = fs::read_to_string(root().join("loom-tests/src/lib.rs")).expect("readable");
    for module in MODELLED {
        let top = root().join("src").join(module);
        let path = if top.is_dir() { format!("{module}/mod.rs") } else { format!("{module}.rs") };
        let line = format!("#[path = \"../../src/{path}\"]\nmod {module};");
        assert!(lib.contains(&line), "the models compile the shipped {module}");
    }
    let mut files = Vec::new();
    rust_files(&root().join("loom-tests"), &mut files);
    for file in files.iter().filter(|file| !file.components().any(|part| part.as_os_str() == "target")) {
        let code = code_of(file);
        for own in ["Atomic", "fn compare_exchange", "unsafe"] {
            let counter =
                own == "Atomic" && !code.contains("loom::sync::atomic") && !code.contains("AtomicPtr");
            assert!(
                !code.contains(own) || counter,
                "{} defines a protocol of its own: {own}",
                file.display()
            );
        }
        let types = code.matches("struct ").count();
        let allowed = if file.ends_with("models/mod.rs") { 1 } else { 0 };
        assert_eq!(types, allowed, "{} defines a data structure", file.display());
    }
}

#[test]
fn fuzzed_interleavings_are_of_the_shipped_crate() {
    let manifest = fs::read_to_string(root().join("fuzz/shuttle/Cargo.toml")).expect("readable");
    assert!(manifest.contains("path = \"../../src/lib.rs\""), "the crate under shuttle is the shipped file");
    let mut files = Vec::new();
    for dir in ["fuzz/src", "fuzz/tests", "fuzz/fuzz_targets"] {
        rust_files(&root().join(dir), &mut files);
    }
    for file in files {
        let code = code_of(&file);
        for own in ["unsafe", "AtomicPtr", "fn compare_exchange", "shuttle::sync"] {
            assert!(!code.contains(own), "{} defines a protocol of its own: {own}", file.display());
        }
    }
}

#[test]
fn files_are_small_enough_to_read() {
    let mut files = Vec::new();
    for dir in ["src", "loom-tests/src", "fuzz/src", "fuzz/tests", "tests", "benches", "examples"] {
        rust_files(&root().join(dir), &mut files);
    }
    for file in files {
        let lines = fs::read_to_string(&file).expect("readable").lines().count();
        assert!(lines <= 600, "{} has {lines} lines", file.display());
    }
}
