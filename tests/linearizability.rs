//! Histories of real threads, checked: operations on one peer are linearizable (P2), snapshots are consistent cuts (P3), and
//! a trim closes nobody who is protected, nothing twice (P4).
//!
//! Two to eight threads run short random programs over one to three peers. Each operation is recorded with what it
//! returned and the interval in which it ran. For each peer a Wing–Gong search looks for an order of its operations that keeps
//! to the intervals and explains every result; a trim's claims are operations of the peer they close. `tag_info` and the
//! readings of a snapshot count as one reading of the structure and one of each value, each at its own instant within that structure.
//!
//! Programs follow from the seed, how threads meet does not: a failure is told by its history, which is cut down
//! and printed, one line an operation. `CONNMGR_HISTORIES` is how many histories of each seed a test runs,
//! `CONNMGR_SEED` the one seed to run.

#[path = "linearizability/bad_histories.rs"]
mod bad_histories;
#[path = "linearizability/checker.rs"]
mod checker;
#[path = "linearizability/cuts.rs"]
mod cuts;
#[path = "linearizability/history.rs"]
mod history;
#[path = "linearizability/judge.rs"]
mod judge;
#[path = "linearizability/minimise.rs"]
mod minimise;
#[path = "linearizability/model.rs"]
mod model;
#[path = "linearizability/pauses.rs"]
mod pauses;
#[path = "linearizability/programs.rs"]
mod programs;
#[path = "linearizability/recorder.rs"]
mod recorder;
#[path = "linearizability/world.rs"]
mod world;

use std::env;

// Which build of the crate the histories are of: the fuzz target that compiles these files, too, has another.
use connmgr as subject;
use judge::judge;
use programs::{Kind, Mix};

/// The seeds of every run.
const SEEDS: [u64; 3] = [0x6c69_6e65_6172, 1, 0xdead_beef];

/// How many histories of each seed a test runs, unless it is told.
const HISTORIES: u64 = 300;

fn from_env(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} is {value}, which is no number")))
}

/// Runs histories of `mix` and checks each.
fn check(mix: &Mix) {
    let seeds = from_env("CONNMGR_SEED").map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let histories = from_env("CONNMGR_HISTORIES").unwrap_or(HISTORIES);
    for seed in seeds {
        println!("{histories} histories of CONNMGR_SEED={seed:#x}");
        for number in 0..histories {
            if let Some(fault) = judge(&programs::run(mix, seed, number)) {
                panic!("history {number} of CONNMGR_SEED={seed:#x}: {fault}");
            }
        }
    }
}

#[test]
fn operations_on_one_peer_are_linearizable() {
    check(&Mix {
        kinds: &[
            (Kind::Upsert, 24),
            (Kind::Set, 6),
            (Kind::Untag, 6),
            (Kind::TagValue, 10),
            (Kind::TagInfo, 6),
            (Kind::Protect, 5),
            (Kind::Unprotect, 5),
            (Kind::IsProtected, 4),
            (Kind::Connect, 8),
            (Kind::Disconnect, 5),
            (Kind::Snapshot, 10),
            (Kind::Trim, 4),
            (Kind::ForceTrim, 1),
        ],
        counters: false,
    });
}

#[test]
fn peers_that_come_and_go_are_linearizable() {
    check(&Mix {
        kinds: &[
            (Kind::Upsert, 12),
            (Kind::Set, 10),
            (Kind::Untag, 20),
            (Kind::TagValue, 5),
            (Kind::TagInfo, 5),
            (Kind::Protect, 8),
            (Kind::Unprotect, 14),
            (Kind::Connect, 12),
            (Kind::Disconnect, 18),
            (Kind::Snapshot, 10),
        ],
        counters: false,
    });
}

#[test]
fn trims_close_nobody_who_is_protected_and_nothing_twice() {
    check(&Mix {
        kinds: &[
            (Kind::Upsert, 10),
            (Kind::Protect, 20),
            (Kind::Unprotect, 16),
            (Kind::IsProtected, 4),
            (Kind::Connect, 20),
            (Kind::Disconnect, 8),
            (Kind::Snapshot, 3),
            (Kind::Trim, 20),
            (Kind::ForceTrim, 2),
        ],
        counters: false,
    });
}

#[test]
fn snapshots_are_consistent_cuts() {
    check(&Mix {
        kinds: &[
            (Kind::Upsert, 24),
            (Kind::Copy, 20),
            (Kind::Set, 4),
            (Kind::Untag, 4),
            (Kind::TagValue, 10),
            (Kind::TagInfo, 4),
            (Kind::Protect, 3),
            (Kind::Unprotect, 3),
            (Kind::Connect, 4),
            (Kind::Snapshot, 14),
        ],
        counters: true,
    });
}
