//! Times of calls, and how much of them is the scheduler's or the hypervisor's doing.
//!
//! Calls are timed back to back: the end of one is the beginning of the next, so that nothing falls between but the looking into calls that took long, and the beginning of
//! accounts. How long the thread was off a processor is wall time less CPU time, and the kernel counts how often it left by itself, to wait for something: a lock perhaps, be it a
//! table's, the allocator's or the kernel's. If it waited, all of the call's time is its *own*. If not, the time off was taken from it, by another thread or, where it was not even
//! preempted, by the hypervisor, and its own time is the rest. Own stalls in which the thread waited, and was on a processor for no stall's time, are counted apart.
//!
//! All this is read at the beginning of an account, of [`ACCOUNT`] calls at most, and after each long call, which begins a new one. So it is of the short calls before a long one, too: what was taken from
//! them, less than [`LONG`] each, makes that one look shorter (some µs were seen, of accounts in which nothing else was taken), and their time on a processor, should it wait, may make it one that did not.
//!
//! Linux does not count as CPU time what a hypervisor takes, where it knows of it (steal time, `CONFIG_PARAVIRT_TIME_ACCOUNTING`); where not, that counts as own. So does what the kernel does in interrupts,
//! unless it accounts for that (`CONFIG_IRQ_TIME_ACCOUNTING`). The floor, which does nothing that could take long, shows how much of that there is. A lock that yields the processor while it waits, as
//! `parking_lot`'s do at first, looks preempted, in its favour.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::common::cpu::{Usage, usage};

/// A call that takes longer is looked into.
const LONG: Duration = Duration::from_micros(5);
/// After so many calls a new account is begun, so that time off that nobody noticed does not add up.
const ACCOUNT: u32 = 1024;
/// How often updates arrive where that is assumed.
const ARRIVAL: Duration = Duration::from_micros(1);
const STALL: Duration = Duration::from_millis(1);

/// Distributions of times.
pub struct Times {
    wall: Histogram<u64>,
    own: Histogram<u64>,
    /// Own stalls in which the thread waited, and did nothing else for so long.
    waited: u64,
}

/// Of one distribution, in ns.
#[derive(Clone, Copy, Serialize, Debug)]
pub struct Percentiles {
    pub calls: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub p9999: u64,
    pub max: u64,
}

impl Default for Times {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("valid bounds");
        Self { wall: histogram(), own: histogram(), waited: 0 }
    }
}

impl Times {
    fn record(&mut self, wall: Duration, own: Duration) {
        self.wall.saturating_record(wall.as_nanos() as u64);
        self.own.saturating_record(own.as_nanos() as u64);
    }

    /// Adds those of another thread or turn.
    pub fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.own += other.own;
        self.waited += other.waited;
    }

    /// Wall times.
    pub fn wall(&self) -> Percentiles {
        percentiles(&self.wall)
    }

    /// Own times.
    pub fn own(&self) -> Percentiles {
        percentiles(&self.own)
    }

    /// Own times as updates that arrive every [`ARRIVAL`] would have them: those that would have come while a call took long waited, too.
    /// A writer that calls when it has returned does not see them, and least of all where everybody waits.
    pub fn arriving(&self) -> Percentiles {
        percentiles(&self.own.clone_correct(ARRIVAL.as_nanos() as u64))
    }

    /// How many took longer than a millisecond.
    pub fn wall_stalls(&self) -> u64 {
        stalls(&self.wall)
    }

    /// How many took longer than a millisecond of their own.
    pub fn own_stalls(&self) -> u64 {
        stalls(&self.own)
    }

    /// In how many of those the thread gave its processor up, to wait for something, and did nothing else for so long.
    pub fn waited_stalls(&self) -> u64 {
        self.waited
    }
}

fn percentiles(times: &Histogram<u64>) -> Percentiles {
    let at = |quantile| times.value_at_quantile(quantile);
    Percentiles {
        calls: times.len(),
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: times.max(),
    }
}

fn stalls(times: &Histogram<u64>) -> u64 {
    let stall = STALL.as_nanos() as u64;
    times
        .iter_recorded()
        .filter(|step| step.value_iterated_to() > stall)
        .map(|step| step.count_at_value())
        .sum()
}

/// An account that begins now: the time comes last, as the call that is timed begins with it.
fn begun() -> (Instant, Usage) {
    let used = usage();
    (Instant::now(), used)
}

/// Times a thread's calls.
pub struct Meter {
    times: Times,
    last: Instant,
    /// When the account was begun, and the thread's usage then.
    since: (Instant, Usage),
    left: u32,
}

impl Meter {
    /// The first call begins now.
    pub fn start() -> Self {
        let since = begun();
        Self { times: Times::default(), last: since.0, since, left: ACCOUNT }
    }

    /// A call ends and the next one begins.
    #[inline]
    pub fn lap(&mut self) {
        let now = Instant::now();
        let took = now - self.last;
        self.left -= 1;
        if took > LONG || self.left == 0 {
            self.look_into(now, took);
        } else {
            self.times.record(took, took);
            self.last = now;
        }
    }

    #[cold]
    fn look_into(&mut self, now: Instant, took: Duration) {
        let used = usage();
        let (began, before) = self.since;
        let on = used.on.saturating_sub(before.on);
        let waited = used.waits > before.waits;
        let off = (now - began).saturating_sub(on);
        let own = if !waited && took > LONG { took.saturating_sub(off) } else { took };
        self.times.record(took, own);
        self.times.waited += u64::from(waited && own > STALL && on <= STALL);
        self.since = begun();
        self.last = self.since.0;
        self.left = ACCOUNT;
    }

    /// The times so far.
    pub fn finish(self) -> Times {
        self.times
    }
}
