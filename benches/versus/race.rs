//! One cell of the results: every subject does the same work, round by round in turn, and is found to have done it.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Line;
use crate::subject::Subject;
use crate::world::{Conn, HOT, TAGS, World};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// One more for a tag that exists.
    Upsert,
    /// The value of one tag.
    Read,
    /// A second connection added and removed.
    ConnectDisconnect,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Upsert, Self::Read, Self::ConnectDisconnect];

    /// What it is called in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Read => "read",
            Self::ConnectDisconnect => "connect_disconnect",
        }
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, an odd number.
    pub rounds: usize,
    /// What a round of the slowest subject takes.
    pub slot: Duration,
}

/// A subject entered for a race.
pub trait Entrant {
    /// What it is called in the results.
    fn name(&self) -> &'static str;

    /// `ops` operations on each thread, the first of them visit number `from`. Returns the wall time from the first
    /// thread's start to the last one's end, and the sum of what the operations returned.
    fn round(&mut self, world: &World, workload: Workload, from: usize, ops: usize) -> (Duration, i64);

    /// Both tags of every peer.
    fn values(&self, world: &World) -> Vec<Option<i64>>;

    /// Connections held, and events that were refused.
    fn tally(&self) -> (usize, u64);
}

/// A subject, filled and aged, with a lane for each thread.
struct Entered<S: Subject> {
    subject: S,
    lanes: Vec<S::Lane>,
}

/// Enters a subject: fills its table with the world's peers, one connection and two tags each, and ages it.
pub fn enter<S: Subject + 'static>(world: &World, threads: usize) -> Box<dyn Entrant> {
    let subject = S::empty(world.ids.len());
    for (peer, id) in world.ids.iter().enumerate() {
        subject.connect(id, Conn::new(peer as u64));
        for tag in 0..TAGS.len() {
            subject.set(id, tag, start(peer, tag));
        }
    }
    subject.age();
    for &peer in &world.shuffled {
        subject.set(&world.ids[peer as usize], HOT, start(peer as usize, HOT));
    }
    let lanes = (0..threads).map(|_| subject.lane(world)).collect();
    Box::new(Entered { subject, lanes })
}

/// The value that a tag of a peer starts with.
fn start(peer: usize, tag: usize) -> i64 {
    (peer % 100 + tag) as i64
}

impl<S: Subject> Entrant for Entered<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn round(&mut self, world: &World, workload: Workload, from: usize, ops: usize) -> (Duration, i64) {
        let barrier = Barrier::new(self.lanes.len());
        let (subject, barrier) = (&self.subject, &barrier);
        let spans: Vec<(Instant, Instant, i64)> = thread::scope(|scope| {
            let runs: Vec<_> = self
                .lanes
                .iter_mut()
                .enumerate()
                .map(|(thread, lane)| {
                    scope.spawn(move || {
                        barrier.wait();
                        let start = Instant::now();
                        let sum = run(subject, lane, world, workload, thread, from, ops);
                        (start, Instant::now(), sum)
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a round that does not panic")).collect()
        });
        let start = spans.iter().map(|span| span.0).min().expect("a thread");
        let end = spans.iter().map(|span| span.1).max().expect("a thread");
        (end - start, spans.iter().fold(0, |sum, span| sum.wrapping_add(span.2)))
    }

    fn values(&self, world: &World) -> Vec<Option<i64>> {
        let tags = world.ids.iter().flat_map(|id| (0..TAGS.len()).map(move |tag| (id, tag)));
        tags.map(|(id, tag)| self.subject.value(id, tag)).collect()
    }

    fn tally(&self) -> (usize, u64) {
        self.subject.tally()
    }
}

/// One thread's share of a round.
#[inline(never)]
fn run<S: Subject>(
    subject: &S,
    lane: &S::Lane,
    world: &World,
    workload: Workload,
    thread: usize,
    from: usize,
    ops: usize,
) -> i64 {
    let mut sum = 0_i64;
    match workload {
        Workload::Upsert => world.visit(thread, from, ops, |_, peer| {
            black_box(subject.upsert(lane, peer, &world.ids[peer]));
        }),
        Workload::Read => world.visit(thread, from, ops, |_, peer| {
            sum = sum.wrapping_add(black_box(subject.read(lane, peer, &world.ids[peer])));
        }),
        Workload::ConnectDisconnect => world.visit(thread, from, ops, |at, peer| {
            let conn = ((thread as u64 + 1) << 48) + at as u64;
            subject.connect(&world.ids[peer], black_box(Conn::new(conn)));
            subject.disconnect(&world.ids[peer], black_box(conn));
        }),
    }
    sum
}

/// Runs a race and returns a line for each entrant; the last entrant is the one that the others are measured by.
///
/// # Panics
///
/// If the entrants have not all done the same work.
pub fn race(
    entrants: &mut [Box<dyn Entrant>],
    world: &World,
    workload: Workload,
    threads: usize,
    effort: Effort,
) -> Vec<Line> {
    let mut from = 0;
    let mut ops = 512;
    loop {
        let slowest = once(entrants, world, workload, from, ops, 0).into_iter().max().expect("an entrant");
        from += ops;
        if slowest * 4 > effort.slot {
            ops = (ops as f64 * effort.slot.as_secs_f64() / slowest.as_secs_f64()).ceil() as usize;
            break;
        }
        ops *= 2;
    }
    let mut times = vec![Vec::with_capacity(effort.rounds); entrants.len()];
    for round in 0..effort.rounds {
        for (times, took) in times.iter_mut().zip(once(entrants, world, workload, from, ops, round)) {
            times.push(took.as_secs_f64() * 1e9 / (ops * threads) as f64);
        }
        from += ops;
    }
    check(entrants, world, workload, from * threads);
    let base = times.last().expect("an entrant").clone();
    let lines = entrants.iter().zip(&times).map(|(entrant, times)| {
        let ratios: Vec<f64> = times.iter().zip(&base).map(|(time, base)| time / base).collect();
        Line {
            workload: workload.name(),
            peers: world.ids.len(),
            threads,
            subject: entrant.name(),
            ns_per_op: median(times),
            ratio: median(&ratios),
            min_ns: least(times),
            min_ratio: least(&ratios),
            best_ratio: least(times) / least(&base),
            rounds: effort.rounds,
            ops: ops * threads,
        }
    });
    lines.collect()
}

/// Every entrant's round once, beginning with another one each time; returns their times in their own order.
fn once(
    entrants: &mut [Box<dyn Entrant>],
    world: &World,
    workload: Workload,
    from: usize,
    ops: usize,
    turn: usize,
) -> Vec<Duration> {
    let count = entrants.len();
    let mut results = vec![(Duration::ZERO, 0); count];
    for step in 0..count {
        let at = (turn + step) % count;
        results[at] = entrants[at].round(world, workload, from, ops);
    }
    assert!(results.iter().all(|result| result.1 == results[0].1), "all entrants read the same values");
    results.into_iter().map(|result| result.0).collect()
}

/// Asserts that every entrant has done all of the work.
fn check(entrants: &[Box<dyn Entrant>], world: &World, workload: Workload, ops: usize) {
    let peers = world.ids.len();
    let before: i64 = (0..peers).flat_map(|peer| (0..TAGS.len()).map(move |tag| start(peer, tag))).sum();
    let upserts = if workload == Workload::Upsert { ops as i64 } else { 0 };
    let expected = entrants[0].values(world);
    for entrant in entrants {
        let name = entrant.name();
        let values = entrant.values(world);
        let sum: i64 = values.iter().flatten().sum();
        assert_eq!(sum, before + upserts, "{name}: the tags add up to the upserts");
        assert_eq!(values, expected, "{name}: every peer has the tags it has elsewhere");
        assert_eq!(entrant.tally(), (peers, 0), "{name}: each peer has one connection, no event was refused");
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}
