//! What a peer takes: `cargo bench --bench memory`, JSON lines.
//!
//! Each subject is measured in a process of its own, by what the allocator was asked for and by what the kernel says is resident.

#[path = "../common/mod.rs"]
mod common;
mod counting;

use std::env;
use std::process::{Command, ExitCode};

use lexopt::prelude::*;
use serde::Serialize;

use common::args;
use common::ours::ById;
use common::race::aged;
use common::report::{Verdict, json, verdict};
use common::rivals::{Dash, ShardedMutex};
use common::subject::Subject;
use common::world::{Conn, HOT, Id, Key, PeerId, World};
use counting::{Counting, counted, resident};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HELP: &str = "\
usage: cargo bench --bench memory -- [options]

  --quick   only 100,000 peers: some seconds
  --one SUBJECT,BYTES,PEERS
            only that one, in this process: connmgr, sharded_mutex or dashmap; ids of 80 or 32 bytes
  --help    this text";

/// All that are measured.
const SUBJECTS: [&str; 3] = ["connmgr", "sharded_mutex", "dashmap"];

/// What is asked for.
enum Options {
    All { quick: bool },
    One { subject: &'static str, id_bytes: usize, peers: usize },
}

fn options(parser: &mut lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options::All { quick: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => {}
            Long("quick") => options = Options::All { quick: true },
            Long("one") => {
                let text = parser.value()?.string()?;
                let parts: Vec<_> = text.split(',').collect();
                let &[subject, id_bytes, peers] = &parts[..] else {
                    return Err(format!("SUBJECT,BYTES,PEERS is needed, not {text:?}").into());
                };
                let known = SUBJECTS.into_iter().find(|known| *known == subject);
                let (Some(subject), Ok(id_bytes @ (80 | 32)), Ok(peers @ 1..=10_000_000)) =
                    (known, id_bytes.parse(), peers.parse())
                else {
                    return Err(
                        format!("a subject, 80 or 32, and 1 to 10000000 are needed, not {text:?}").into()
                    );
                };
                options = Options::One { subject, id_bytes, peers };
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

/// A step of what is done to a table, and what it takes afterwards, by peer and beyond what the empty process took.
#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    subject: &'a str,
    id_bytes: usize,
    peers: usize,
    after: &'a str,
    counted_bytes_per_peer: f64,
    resident_bytes_per_peer: f64,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// What there was to begin with, and whose table it is that takes the rest.
struct Account {
    subject: &'static str,
    id_bytes: usize,
    peers: usize,
    counted: i64,
    resident: i64,
}

impl Account {
    fn open<S: Subject<I>, I: Id>(world: &World<I>) -> Self {
        let (id_bytes, peers) = (size_of::<I>(), world.ids.len());
        Self { subject: S::NAME, id_bytes, peers, counted: counted(), resident: resident() }
    }

    /// Prints a line, held against what a peer may take; returns the bytes counted by peer.
    fn line(&self, after: &str, target: Option<f64>) -> f64 {
        let by_peer = |bytes: i64| (bytes as f64 / self.peers as f64 * 10.0).round() / 10.0;
        let (counted, resident) = (by_peer(counted() - self.counted), by_peer(resident() - self.resident));
        json(&Line {
            bench: "memory",
            subject: self.subject,
            id_bytes: self.id_bytes,
            peers: self.peers,
            after,
            counted_bytes_per_peer: counted,
            resident_bytes_per_peer: resident,
            verdict: target.map(|most| Verdict::of(counted.max(resident), most)),
        });
        counted
    }
}

/// Enough snapshots for what nobody needs any more to be given back.
fn settle<S: Subject<I>, I: Id>(subject: &S) {
    (0..8).for_each(|_| subject.snap());
}

/// Connects and disconnects each peer once more.
fn change<S: Subject<I>, I: Id>(subject: &S, world: &World<I>) {
    for &peer in &world.shuffled {
        let (id, conn) = (&world.ids[peer as usize], u64::from(peer) + (1 << 40));
        subject.connect(id, Conn::new(conn));
        subject.disconnect(id, conn);
    }
}

/// Updates a tag of each peer.
fn update<I: Id>(subject: &ById<I>, world: &World<I>) {
    for &peer in &world.shuffled {
        subject.upsert(&(), peer as usize, &world.ids[peer as usize]);
    }
}

/// Makes every peer leave.
fn leave<S: Subject<I>, I: Id>(subject: &S, world: &World<I>) {
    for &peer in &world.shuffled {
        subject.disconnect(&world.ids[peer as usize], u64::from(peer));
    }
    settle::<S, I>(subject);
    assert_eq!(subject.tally(), (0, 0), "all have left");
    assert!(world.ids.iter().all(|id| subject.value(0, id, HOT).is_none()), "with their tags");
}

/// A rival: filled, then left by all.
fn rival<S: Subject<I>, I: Id>(peers: usize) {
    let world = World::<I>::new(peers, 0);
    let account = Account::open::<S, I>(&world);
    let subject: S = aged(&world);
    account.line("filled", None);
    leave(&subject, &world);
    account.line("all left", None);
}

/// The manager: filled, changed while a snapshot is open and when it is closed, then left by all.
fn ours<I: Id>(peers: usize) {
    let world = World::<I>::new(peers, 0);
    let account = Account::open::<ById<I>, I>(&world);
    let subject: ById<I> = aged(&world);
    settle::<_, I>(&subject);
    let target = if account.id_bytes == 80 { 400.0 } else { 340.0 };
    let filled = account.line("filled", Some(target));

    let snapshot = subject.manager.snapshot();
    update(&subject, &world);
    let first = account.line("snapshot open, every peer updated once", None);
    for _ in 0..10 {
        update(&subject, &world);
    }
    let repeated = account.line("snapshot open, every peer updated ten times more", None);
    change(&subject, &world);
    let changed = account.line("snapshot open, every peer connected and disconnected once more", None);
    drop(snapshot);
    settle::<_, I>(&subject);
    let closed = account.line("snapshot closed", None);

    leave(&subject, &world);
    let left = account.line("all left", None);

    let about = |what| format!("{what}, {} peers, {}-byte ids", account.peers, account.id_bytes);
    verdict("memory", about("bytes a peer for ten repeated updates under a snapshot"), repeated - first, 0.0);
    verdict("memory", about("bytes a peer kept after the snapshot"), closed - filled, 1.0);
    verdict("memory", about("bytes a peer kept after all have left"), left, filled * 0.05);
    assert!(first >= filled && changed >= repeated, "what a snapshot needs is kept");
}

fn one<I: Id>(subject: &str, peers: usize) {
    match subject {
        "connmgr" => ours::<I>(peers),
        "sharded_mutex" => rival::<ShardedMutex<I>, I>(peers),
        _ => rival::<Dash<I>, I>(peers),
    }
}

/// Runs each combination in a process of its own.
fn all(quick: bool) {
    let program = env::current_exe().expect("the path of this program");
    let sizes: &[usize] = if quick { &[100_000] } else { &[100_000, 1_000_000] };
    for peers in sizes {
        for id_bytes in [80, 32] {
            for subject in SUBJECTS {
                let what = format!("{subject},{id_bytes},{peers}");
                let status = Command::new(&program).args(["--bench", "--one", &what]).status();
                assert!(status.is_ok_and(|status| status.success()), "{what} is measured");
            }
        }
    }
}

fn main() -> ExitCode {
    args::start("memory", HELP, options, |options| match options {
        Options::All { quick } => all(quick),
        Options::One { subject, id_bytes: 80, peers } => one::<PeerId>(subject, peers),
        Options::One { subject, peers, .. } => one::<Key>(subject, peers),
    })
}
