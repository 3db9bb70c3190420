//! Races: every subject does the same work, round by round in turn, and is found to have done it.
//!
//! One thread is timed by the processor time that it takes, which other programs do not add to. Several are timed by the wall, from the
//! first one's start to the last one's end, as they may have to wait for each other.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cpu::timed;
use super::report::{least, median};
use super::subject::Subject;
use super::world::{Conn, HOT, Id, TAGS, World, start};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// One more for a tag that exists, of a peer drawn at random.
    Upsert,
    /// The same, always of one peer.
    Hot,
    /// The value of one tag.
    Read,
    /// A second connection added and removed.
    ConnectDisconnect,
    /// The last connection removed, and the peer with it, and one added. Threads have peers of their own.
    LeaveReturn,
    /// The same, and then both tags set.
    LeaveReturnTagged,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, an odd number.
    pub rounds: usize,
    /// What a round of the slowest subject takes.
    pub slot: Duration,
}

/// A subject's result in one race.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Line {
    /// Peers in the table.
    pub peers: usize,
    /// Threads at work.
    pub threads: usize,
    /// Who was measured.
    pub subject: String,
    /// Time by operations of all threads: the median of the rounds.
    pub ns_per_op: f64,
    /// By how much it is slower than the base: the median of the rounds' ratios.
    pub ratio: f64,
    /// The time of the best round.
    pub min_ns: f64,
    /// The least of the rounds' ratios.
    pub min_ratio: f64,
    /// The ratio of the two best rounds, its own and the base's: what other load disturbs least.
    pub best_ratio: f64,
    /// Processor time by operation: the median of the rounds.
    pub cpu_ns_per_op: f64,
    /// By how many ns of processor time an operation takes longer than the first subject's: the median of the rounds.
    pub extra_cpu_ns: f64,
    /// Rounds measured.
    pub rounds: usize,
    /// Operations in a round, of all threads.
    pub ops_per_round: usize,
}

/// What a round of one subject took.
#[derive(Clone, Copy, Default, Debug)]
pub struct Round {
    /// From the first thread's start to the last one's end; of one thread, its processor time.
    took: Duration,
    /// Processor time of all threads.
    on: Duration,
    /// The sum of what was read.
    sum: i64,
}

/// A subject entered for races.
pub trait Entrant<I> {
    /// What it is called in the results.
    fn name(&self) -> &'static str;

    /// `ops` operations on each of `threads` threads, the first of them visit number `from`.
    fn round(&mut self, world: &World<I>, work: Work, threads: usize, from: usize, ops: usize) -> Round;

    /// Both tags of every peer.
    fn values(&self, world: &World<I>) -> Vec<Option<i64>>;

    /// Connections held, and events that were refused.
    fn tally(&self) -> (usize, u64);
}

/// A subject, filled and aged, with a lane for each thread.
struct Entered<S: Subject<I>, I> {
    subject: S,
    lanes: Vec<S::Lane>,
}

/// A filled and aged table: one connection and two tags a peer, then a snapshot taken and dropped, then every peer written in random
/// order.
pub fn aged<S: Subject<I>, I: Id>(world: &World<I>) -> S {
    let subject = S::empty(world.ids.len());
    for (peer, id) in world.ids.iter().enumerate() {
        subject.connect(id, Conn::new(peer as u64));
        for tag in 0..TAGS.len() {
            subject.set(peer, id, tag, start(peer, tag));
        }
    }
    subject.snap();
    for &peer in &world.shuffled {
        let peer = peer as usize;
        subject.set(peer, &world.ids[peer], HOT, start(peer, HOT));
    }
    subject
}

/// Enters an aged subject for races of up to `threads` threads.
pub fn enter<S: Subject<I> + 'static, I: Id>(world: &World<I>, threads: usize) -> Box<dyn Entrant<I>> {
    let subject: S = aged(world);
    let lanes = (0..threads).map(|_| subject.lane(world)).collect();
    Box::new(Entered { subject, lanes })
}

impl<S: Subject<I>, I: Id> Entrant<I> for Entered<S, I> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn round(&mut self, world: &World<I>, work: Work, threads: usize, from: usize, ops: usize) -> Round {
        let subject = &self.subject;
        if let (1, [lane, ..]) = (threads, &mut self.lanes[..]) {
            let (on, sum) = timed(|| run(subject, lane, world, work, (0, 1), from, ops));
            return Round { took: on, on, sum };
        }
        let barrier = &Barrier::new(threads);
        let spans: Vec<(Instant, Instant, Duration, i64)> = thread::scope(|scope| {
            let runs: Vec<_> = self.lanes[..threads]
                .iter_mut()
                .enumerate()
                .map(|(thread, lane)| {
                    scope.spawn(move || {
                        barrier.wait();
                        let start = Instant::now();
                        let (on, sum) =
                            timed(|| run(subject, lane, world, work, (thread, threads), from, ops));
                        (start, Instant::now(), on, sum)
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a round that does not panic")).collect()
        });
        let start = spans.iter().map(|span| span.0).min().expect("a thread");
        let end = spans.iter().map(|span| span.1).max().expect("a thread");
        Round {
            took: end - start,
            on: spans.iter().map(|span| span.2).sum(),
            sum: spans.iter().fold(0, |sum, span| sum.wrapping_add(span.3)),
        }
    }

    fn values(&self, world: &World<I>) -> Vec<Option<i64>> {
        let places = world.ids.iter().enumerate();
        places
            .flat_map(|(peer, id)| (0..TAGS.len()).map(move |tag| self.subject.value(peer, id, tag)))
            .collect()
    }

    fn tally(&self) -> (usize, u64) {
        self.subject.tally()
    }
}

/// One thread's share of a round.
#[inline(never)]
fn run<S: Subject<I>, I: Id>(
    subject: &S,
    lane: &S::Lane,
    world: &World<I>,
    work: Work,
    (thread, threads): (usize, usize),
    from: usize,
    ops: usize,
) -> i64 {
    let mut sum = 0_i64;
    match work {
        Work::Upsert => world.visit(thread, from, ops, |_, peer| {
            black_box(subject.upsert(lane, peer, &world.ids[peer]));
        }),
        Work::Hot => {
            for _ in 0..ops {
                black_box(subject.upsert(lane, 0, black_box(&world.ids[0])));
            }
        }
        Work::Read => world.visit(thread, from, ops, |_, peer| {
            sum = sum.wrapping_add(black_box(subject.read(lane, peer, &world.ids[peer])));
        }),
        Work::ConnectDisconnect => world.visit(thread, from, ops, |at, peer| {
            let conn = ((thread as u64 + 1) << 48) + at as u64;
            subject.connect(&world.ids[peer], black_box(Conn::new(conn)));
            subject.disconnect(&world.ids[peer], black_box(conn));
        }),
        Work::LeaveReturn | Work::LeaveReturnTagged => world.visit(thread, from, ops, |_, peer| {
            // A peer of this thread's own, near the one drawn.
            let peer = (peer / threads * threads + thread) % (world.ids.len() / threads * threads);
            let id = &world.ids[peer];
            subject.disconnect(id, black_box(peer as u64));
            subject.connect(id, black_box(Conn::new(peer as u64)));
            if work == Work::LeaveReturnTagged {
                for tag in 0..TAGS.len() {
                    subject.set(peer, id, tag, black_box(start(peer, tag)));
                }
            }
        }),
    }
    sum
}

/// Subjects over one world; the last of them is the base that the others are measured by.
pub struct Field<I> {
    world: World<I>,
    entrants: Vec<Box<dyn Entrant<I>>>,
    /// The next visit's number.
    from: usize,
    /// What all tags must add up to, while no peer leaves.
    sum: Option<i64>,
}

impl<I: Id> Field<I> {
    /// A world of `peers` peers with the subjects that `entrants` enters, for races of up to `threads` threads.
    pub fn new(
        peers: usize,
        threads: usize,
        entrants: impl FnOnce(&World<I>, usize) -> Vec<Box<dyn Entrant<I>>>,
    ) -> Self {
        let world = World::new(peers, threads);
        let entrants = entrants(&world, threads);
        let sum = (0..peers).flat_map(|peer| (0..TAGS.len()).map(move |tag| start(peer, tag))).sum();
        Self { world, entrants, from: 0, sum: Some(sum) }
    }

    /// Runs a race and returns a line for each entrant.
    ///
    /// # Panics
    ///
    /// If the entrants have not all done the same work.
    pub fn race(&mut self, work: Work, threads: usize, effort: Effort) -> Vec<Line> {
        let began = self.from;
        let mut ops = 512;
        loop {
            let rounds = self.once(work, threads, ops, 0);
            let slowest = rounds.iter().map(|round| round.took).max().expect("an entrant");
            if slowest * 4 > effort.slot {
                ops = (ops as f64 * effort.slot.as_secs_f64() / slowest.as_secs_f64()).ceil() as usize;
                break;
            }
            ops *= 2;
        }
        let rounds: Vec<Vec<Round>> =
            (0..effort.rounds).map(|turn| self.once(work, threads, ops, turn)).collect();
        self.check(work, ((self.from - began) * threads) as i64);
        // An entrant's ns by operation, round by round.
        let ns = |entrant: usize, of: fn(&Round) -> Duration| -> Vec<f64> {
            let by_op = |took: Duration| took.as_secs_f64() * 1e9 / (ops * threads) as f64;
            rounds.iter().map(|round| by_op(of(&round[entrant]))).collect()
        };
        let (first_on, base) = (ns(0, |round| round.on), ns(self.entrants.len() - 1, |round| round.took));
        let lines = self.entrants.iter().enumerate().map(|(at, entrant)| {
            let (times, on) = (ns(at, |round| round.took), ns(at, |round| round.on));
            let ratios: Vec<f64> = times.iter().zip(&base).map(|(time, base)| time / base).collect();
            let extra: Vec<f64> = on.iter().zip(&first_on).map(|(on, first)| on - first).collect();
            Line {
                peers: self.world.ids.len(),
                threads,
                subject: entrant.name().to_owned(),
                ns_per_op: rounded(median(&times)),
                ratio: rounded(median(&ratios)),
                min_ns: rounded(least(&times)),
                min_ratio: rounded(least(&ratios)),
                best_ratio: rounded(least(&times) / least(&base)),
                cpu_ns_per_op: rounded(median(&on)),
                extra_cpu_ns: rounded(median(&extra)),
                rounds: effort.rounds,
                ops_per_round: ops * threads,
            }
        });
        lines.collect()
    }

    /// Every entrant's round once, beginning with another one each time; returns them in their own order.
    fn once(&mut self, work: Work, threads: usize, ops: usize, turn: usize) -> Vec<Round> {
        let count = self.entrants.len();
        let mut rounds = vec![Round::default(); count];
        for step in 0..count {
            let at = (turn + step) % count;
            rounds[at] = self.entrants[at].round(&self.world, work, threads, self.from, ops);
        }
        self.from += ops;
        assert!(rounds.iter().all(|round| round.sum == rounds[0].sum), "all entrants read the same values");
        rounds
    }

    /// Asserts that every entrant has done all of the work.
    fn check(&mut self, work: Work, ops: i64) {
        match (work, &mut self.sum) {
            (Work::Upsert | Work::Hot, Some(sum)) => *sum += ops,
            // Tags go with the peers that leave.
            (Work::LeaveReturn | Work::LeaveReturnTagged, sum) => *sum = None,
            _ => {}
        }
        let expected = self.entrants[0].values(&self.world);
        for entrant in &self.entrants {
            let name = entrant.name();
            let values = entrant.values(&self.world);
            if let Some(sum) = self.sum {
                let found: i64 = values.iter().flatten().sum();
                assert_eq!(found, sum, "{name}: the tags add up to the upserts");
            }
            assert_eq!(values, expected, "{name}: every peer has the tags it has elsewhere");
            let tally = (self.world.ids.len(), 0);
            assert_eq!(entrant.tally(), tally, "{name}: each peer has one connection, no event was refused");
        }
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
