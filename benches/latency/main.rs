//! How long a tagger may have to wait: `cargo bench --bench latency`, JSON lines.
//!
//! Two threads update tags of peers at random without pause, each call timed, while a third does nothing, computes, or takes
//! snapshots and plans trims; then tables grow from 1,000 to a million peers under one thread that adds and one that updates.
//! Subjects take turns, and what a subject has in all its turns is one distribution.

#[path = "../common/mod.rs"]
mod common;
mod meter;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use common::args;
use common::ours::ById;
use common::race::aged;
use common::report::{json, verdict};
use common::rivals::{Dash, Floor, ShardedMutex};
use common::subject::{Subject, Trimmed};
use common::world::{Conn, HOT, PeerId, Random, TAGS, World, start};
use meter::{Meter, Times};

const HELP: &str = "\
usage: cargo bench --bench latency -- [options]

  --quick   fewer and shorter turns: under a minute
  --help    this text";

const PEERS: usize = 100_000;
const WRITERS: usize = 2;
const CONSISTENT: &str = "sharded_mutex_consistent";
/// Peers of a table before it grows, and after.
const GROWTH: (usize, usize) = (1_000, 1_000_000);

/// What goes on beside the writers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Beside {
    Nothing,
    /// A thread that takes its share of the processors and does not touch the table.
    Computation,
    /// A thread that takes snapshots and plans trims without pause.
    Trims,
}

impl Beside {
    const ALL: [Self; 3] = [Self::Nothing, Self::Computation, Self::Trims];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Computation => "computation",
            Self::Trims => "trims",
        }
    }
}

/// What one subject had in one situation, over all its turns.
struct Result {
    subject: &'static str,
    beside: &'static str,
    operation: &'static str,
    times: Times,
    plans: usize,
    lasted: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    subject: &'a str,
    beside: &'a str,
    operation: &'a str,
    peers: usize,
    calls_per_ms: f64,
    plans_per_s: f64,
    /// ns, wall time.
    wall: meter::Percentiles,
    /// ns, without the time for which a processor was taken away.
    own: meter::Percentiles,
    /// The same, as updates that arrive every microsecond would have it.
    arriving: meter::Percentiles,
    stalls_over_1ms_wall: u64,
    stalls_over_1ms_own: u64,
    /// Of the own ones, those in which the thread waited for something, and did nothing else for so long.
    stalls_over_1ms_waited: u64,
}

impl Result {
    fn print(&self, peers: usize) {
        let seconds = self.lasted.as_secs_f64();
        let (wall, own) = (self.times.wall(), self.times.own());
        json(&Line {
            bench: "latency",
            subject: self.subject,
            beside: self.beside,
            operation: self.operation,
            peers,
            calls_per_ms: (wall.calls as f64 / seconds / 1e3).round(),
            plans_per_s: (self.plans as f64 / seconds * 10.0).round() / 10.0,
            stalls_over_1ms_wall: self.times.wall_stalls(),
            stalls_over_1ms_own: self.times.own_stalls(),
            stalls_over_1ms_waited: self.times.waited_stalls(),
            wall,
            own,
            arriving: self.times.arriving(),
        });
    }
}

/// A subject's turn.
type Turn<'a> = Box<dyn Fn(Beside, Duration) -> (Times, usize) + 'a>;

/// A turn: writers write for that long. Returns their times and how many trims were planned meanwhile.
fn turn<S: Subject<PeerId>>(
    subject: &S,
    world: &World<PeerId>,
    plan: &(impl Fn(&S) + Sync),
    beside: Beside,
    lasts: Duration,
) -> (Times, usize) {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|thread| {
                scope.spawn(move || {
                    let lane = subject.lane(world);
                    let (mut meter, mut from) = (Meter::start(), 0);
                    while !stop.load(Ordering::Relaxed) {
                        world.visit(thread, from, 64, |_, peer| {
                            black_box(subject.upsert(&lane, peer, &world.ids[peer]));
                            meter.lap();
                        });
                        from += 64;
                    }
                    meter.finish()
                })
            })
            .collect();
        let other = scope.spawn(move || {
            let mut plans = 0;
            let mut random = Random(1);
            while !stop.load(Ordering::Relaxed) {
                match beside {
                    Beside::Nothing => thread::park_timeout(lasts),
                    Beside::Computation => {
                        black_box((0..1_000).fold(0, |sum: u64, _| sum ^ random.next()));
                    }
                    Beside::Trims => {
                        plan(subject);
                        plans += 1;
                    }
                }
            }
            plans
        });
        thread::sleep(lasts);
        stop.store(true, Ordering::Relaxed);
        other.thread().unpark();
        let mut times = Times::default();
        for writer in writers {
            times.add(writer.join().expect("a writer that does not panic"));
        }
        (times, other.join().expect("a thread that does not panic"))
    })
}

/// Every subject in every situation, by turns.
fn beside_trims(turns: usize, lasts: Duration) -> Vec<Result> {
    let world = &World::<PeerId>::new(PEERS, WRITERS);
    let (ours, dash): (ById<_>, Dash<_>) = (aged(world), aged(world));
    let (sharded, floor): (ShardedMutex<_>, Floor) = (aged(world), aged(world));
    fn plan<S: Trimmed<PeerId>>(subject: &S) {
        black_box(subject.plan());
    }
    // The same table, whose trims hold all locks while they copy: what a cut as consistent as a snapshot takes there.
    let consistent = |table: &ShardedMutex<_>| {
        black_box(table.plan_consistent());
    };
    let subjects: Vec<(&'static str, Turn<'_>)> = vec![
        ("connmgr", Box::new(|beside, lasts| turn(&ours, world, &plan, beside, lasts))),
        ("sharded_mutex", Box::new(|beside, lasts| turn(&sharded, world, &plan, beside, lasts))),
        (CONSISTENT, Box::new(|beside, lasts| turn(&sharded, world, &consistent, beside, lasts))),
        ("dashmap", Box::new(|beside, lasts| turn(&dash, world, &plan, beside, lasts))),
        // What it shows is the machine's: it has no trims.
        ("floor", Box::new(|beside, lasts| turn(&floor, world, &|_| (), beside, lasts))),
    ];
    let mut results: Vec<Result> = Vec::new();
    for (subject, _) in &subjects {
        for beside in Beside::ALL {
            let is_trims = beside == Beside::Trims;
            if (is_trims && *subject == "floor") || (!is_trims && *subject == CONSISTENT) {
                continue;
            }
            let (times, operation) = (Times::default(), "upsert");
            let beside = beside.name();
            results.push(Result { subject, beside, operation, times, plans: 0, lasted: Duration::ZERO });
        }
    }
    for _ in 0..turns {
        for beside in Beside::ALL {
            for (subject, turn) in &subjects {
                let find =
                    |result: &&mut Result| result.subject == *subject && result.beside == beside.name();
                let Some(result) = results.iter_mut().find(find) else { continue };
                let (times, plans) = turn(beside, lasts);
                result.times.add(times);
                result.plans += plans;
                result.lasted += lasts;
            }
        }
    }
    results
}

/// Has the allocator merge what has been freed, and give back what it can, so that all begin alike. That of glibc leaves small blocks as they are until
/// a large one is wanted in their arena, or freed: whoever does that would stand still for half a second, for the million peers of the subject before.
fn tidy_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A table grows under one thread that adds peers and one that updates those added; what either saw.
fn growth<S: Subject<PeerId>>(world: &World<PeerId>) -> [Result; 2] {
    tidy_allocator();
    let (first, last) = GROWTH;
    let subject = &S::empty(if S::NAME == "floor" { last } else { 0 });
    let add = |peer: usize, lap: &mut dyn FnMut()| {
        let id = &world.ids[peer];
        subject.connect(id, Conn::new(peer as u64));
        lap();
        for tag in 0..TAGS.len() {
            subject.set(peer, id, tag, start(peer, tag));
            lap();
        }
    };
    (0..first).for_each(|peer| add(peer, &mut || ()));
    let added = &AtomicUsize::new(first);
    let began = Instant::now();
    let (inserts, upserts) = thread::scope(|scope| {
        let inserter = scope.spawn(|| {
            let mut meter = Meter::start();
            for peer in first..last {
                add(peer, &mut || meter.lap());
                added.store(peer + 1, Ordering::Release);
            }
            meter.finish()
        });
        let updater = scope.spawn(|| {
            let lane = subject.lane(&World::new(0, 0));
            let (mut meter, mut random) = (Meter::start(), Random(2));
            loop {
                let there = added.load(Ordering::Acquire);
                if there == last {
                    return meter.finish();
                }
                for _ in 0..64 {
                    let peer = random.below(there);
                    black_box(subject.upsert(&lane, peer, &world.ids[peer]));
                    meter.lap();
                }
            }
        });
        let inserts = inserter.join().expect("an inserter that does not panic");
        (inserts, updater.join().expect("an updater that does not panic"))
    });
    let lasted = began.elapsed();
    assert_eq!(subject.tally(), (last, 0), "all were added");
    let sum: i64 = (0..last).filter_map(|peer| subject.value(peer, &world.ids[peer], HOT)).sum();
    let before: i64 = (0..last).map(|peer| start(peer, HOT)).sum();
    assert_eq!((sum - before) as u64, upserts.wall().calls, "{}: no update is lost", S::NAME);
    [("insert", inserts), ("upsert", upserts)].map(|(operation, times)| Result {
        subject: S::NAME,
        beside: "growth",
        operation,
        times,
        plans: 0,
        lasted,
    })
}

/// Every subject grows, by turns.
fn while_growing(turns: usize) -> Vec<Result> {
    let world = &World::<PeerId>::new(GROWTH.1, 0);
    let mut results: Vec<Result> = Vec::new();
    for _ in 0..turns {
        let grown = [
            growth::<ById<_>>(world),
            growth::<ShardedMutex<_>>(world),
            growth::<Dash<_>>(world),
            growth::<Floor>(world),
        ];
        for new in grown.into_iter().flatten() {
            let same = |known: &&mut Result| known.subject == new.subject && known.operation == new.operation;
            match results.iter_mut().find(same) {
                Some(known) => {
                    known.times.add(new.times);
                    known.lasted += new.lasted;
                }
                None => results.push(new),
            }
        }
    }
    results
}

fn run(quick: bool) {
    let (turns, lasts) = if quick { (3, Duration::from_millis(500)) } else { (15, Duration::from_secs(1)) };
    let results = beside_trims(turns, lasts);
    results.iter().for_each(|result| result.print(PEERS));
    let ratio = |of: fn(&Times) -> u64, subject, beside| {
        let p999 = |subject, beside| {
            let found = results.iter().find(|result| result.subject == subject && result.beside == beside);
            found.map_or(f64::NAN, |result| of(&result.times) as f64)
        };
        p999("connmgr", "trims") / p999(subject, beside)
    };
    let (wall, arriving) = (|times: &Times| times.wall().p999, |times: &Times| times.arriving().p999);
    verdict("latency", "p99.9 beside trims, to beside nothing", ratio(wall, "connmgr", "nothing"), 3.0);
    verdict(
        "latency",
        "p99.9 beside trims, to the sharded mutex's",
        ratio(wall, "sharded_mutex", "trims"),
        0.1,
    );
    let text = "p99.9 of updates that arrive every microsecond beside trims, to the sharded mutex's";
    verdict("latency", text, ratio(arriving, "sharded_mutex", "trims"), 0.1);
    let text = "the same, to the sharded mutex's with consistent trims";
    verdict("latency", text, ratio(arriving, CONSISTENT, "trims"), 0.1);

    let grown = while_growing(if quick { 1 } else { 5 });
    grown.iter().for_each(|result| result.print(GROWTH.1));
    let ours = grown.iter().filter(|result| result.subject == "connmgr");
    let (stalls, waited) = ours.fold((0, 0), |(stalls, waited), result| {
        (stalls + result.times.own_stalls(), waited + result.times.waited_stalls())
    });
    verdict("latency", "own stalls over 1 ms while growing", stalls as f64, 0.0);
    verdict("latency", "those of them in which the thread did not just wait", (stalls - waited) as f64, 0.0);
}

fn main() -> ExitCode {
    args::start("latency", HELP, args::quick_only, run)
}
