//! The kept inputs of a target.

use std::fs;
use std::path::{Path, PathBuf};

/// Replays every file in the corpus of `target`, in the order of their names, and returns how many there are.
///
/// # Panics
///
/// If the target does on one of them, having told which.
pub fn replay(target: &str, run: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).expect("a target has a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    for file in &files {
        replay_file(file, &run);
    }
    files.len()
}

/// Replays one file.
///
/// # Panics
///
/// If the target does.
pub fn replay_file(file: &Path, run: impl Fn(&[u8])) {
    /// Says which file it was, if its replay panics.
    struct Told<'f>(&'f Path);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("by {}", self.0.display());
            }
        }
    }
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let _told = Told(file);
    run(&bytes);
}

/// Replays the files that the program was given.
///
/// # Panics
///
/// If the target does.
pub fn replay_args(run: impl Fn(&[u8])) {
    for file in std::env::args_os().skip(1) {
        println!("{}", Path::new(&file).display());
        replay_file(Path::new(&file), &run);
    }
}
