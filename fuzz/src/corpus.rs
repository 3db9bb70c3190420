//! The kept inputs of a target.

use std::fs;
use std::path::{Path, PathBuf};

/// Replays every file in the corpus of `target`, in the order of their names, and returns how many there are.
///
/// # Panics
///
/// If the target does on one of them, having told which.
pub fn replay(target: &str, run: impl Fn(&[u8])) -> usize {
    let files = files(target);
    files.iter().for_each(|file| replay_file(file, &run));
    files.len()
}

/// Runs `target` on inputs that are like those kept, the same ones every time: each file with a few changes, as often as is said. So what the targets hold the
/// crate against is held against it, also where no fuzzer is.
///
/// # Panics
///
/// If the target does on one of them, having told in which file that is now.
pub fn run_changed(target: &str, run: impl Fn(&[u8]), times: usize) {
    let kept: Vec<Vec<u8>> = files(target).iter().map(|file| read(file)).collect();
    let mut random = Random(0);
    for _ in 0..times {
        for input in &kept {
            let mut input = input.clone();
            for _ in 0..=random.below(4) {
                change(&mut input, &kept[random.below(kept.len())], &mut random);
            }
            let _told = OnPanic(|| {
                let file = std::env::temp_dir().join(format!("connmgr-fuzz-{target}"));
                match fs::write(&file, &input) {
                    Ok(()) => eprintln!("by {}", file.display()),
                    Err(_) => eprintln!("by {input:?}"),
                }
            });
            run(&input);
        }
    }
}

/// Tells something when it goes, if that is by a panic.
struct OnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

/// Changes a byte, takes some out, repeats some at the end, or puts in some of another input.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(32)).min(input.len());
    match random.below(4) {
        0 if at < input.len() => input[at] = random.below(256) as u8,
        1 => drop(input.drain(at..end)),
        2 => input.extend_from_within(at..end),
        _ => {
            let from = random.below(other.len() + 1);
            let some = &other[from..(from + random.below(64)).min(other.len())];
            input.splice(at..end, some.iter().copied());
        }
    }
}

/// Numbers that look random: splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }
}

fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).expect("a target has a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Replays one file.
///
/// # Panics
///
/// If the target does.
pub fn replay_file(file: &Path, run: impl Fn(&[u8])) {
    let bytes = read(file);
    let _told = OnPanic(|| eprintln!("by {}", file.display()));
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
