//! What a trim takes: `cargo bench --bench trim`, JSON lines.
//!
//! Snapshot and choice of half the peers against copying every shard under its lock and selecting, by turns on aged tables; then whole trims, with
//! closes that only record, each on a fresh aged table.

#[path = "../common/mod.rs"]
mod common;

use std::hint::black_box;
use std::process::ExitCode;

use serde::Serialize;

use common::args;
use common::cpu::timed;
use common::ours::ById;
use common::race::aged;
use common::report::{Verdict, json, least, median};
use common::rivals::{Dash, ShardedMutex};
use common::subject::Trimmed;
use common::world::{Id, Key, PeerId, World};

const HELP: &str = "\
usage: cargo bench --bench trim -- [options]

  --quick   fewer rounds, 80-byte ids only: under a minute
  --help    this text";

#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    operation: &'a str,
    subject: &'a str,
    id_bytes: usize,
    peers: usize,
    ms: f64,
    min_ms: f64,
    /// To the sharded mutex in the same round: the median and the least of the rounds.
    ratio: f64,
    min_ratio: f64,
    rounds: usize,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// Prints each subject's line, given the ms of its rounds; the last is the sharded mutex. `target` tells by a line's median time and ratio.
fn print(
    operation: &str,
    id_bytes: usize,
    peers: usize,
    subjects: &[(&str, Vec<f64>)],
    target: impl Fn(f64, f64) -> Option<Verdict>,
) {
    let base = &subjects.last().expect("a subject").1;
    for (subject, times) in subjects {
        let ratios: Vec<f64> = times.iter().zip(base).map(|(time, base)| time / base).collect();
        let [ms, min_ms, ratio, min_ratio] =
            [median(times), least(times), median(&ratios), least(&ratios)].map(|x| (x * 1e3).round() / 1e3);
        let verdict = if *subject == "connmgr" { target(ms, ratio) } else { None };
        let (bench, rounds) = ("trim", times.len());
        json(&Line {
            bench,
            operation,
            subject,
            id_bytes,
            peers,
            ms,
            min_ms,
            ratio,
            min_ratio,
            rounds,
            verdict,
        });
    }
}

/// The ms of processor time that `work` takes, and what it gives.
fn ms<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let (took, result) = timed(|| black_box(work()));
    (took.as_secs_f64() * 1e3, result)
}

/// Snapshot and choice.
fn plans<I: Id>(peers: usize, rounds: usize) {
    let world = &World::<I>::new(peers, 0);
    let ours: ById<I> = aged(world);
    let dash: Dash<I> = aged(world);
    let sharded: ShardedMutex<I> = aged(world);
    let mut subjects = [("connmgr", Vec::new()), ("dashmap", Vec::new()), ("sharded_mutex", Vec::new())];
    for round in 0..=rounds {
        let plans = [ms(|| ours.plan()), ms(|| dash.plan()), ms(|| sharded.plan())];
        assert!(plans.iter().all(|plan| plan.1 == plans[0].1), "all choose the same values: {plans:?}");
        assert_eq!(plans[0].1.0, peers - peers / 2, "half of the peers");
        // The first round is to warm up.
        if round > 0 {
            subjects.iter_mut().zip(plans).for_each(|(subject, plan)| subject.1.push(plan.0));
        }
    }
    print("plan", size_of::<I>(), peers, &subjects, |_, ratio| Some(Verdict::of(ratio, 1.3)));
}

/// A whole trim of a fresh table.
fn whole<S: Trimmed<I>, I: Id>(world: &World<I>) -> f64 {
    let subject: S = aged(world);
    let (took, closed) = ms(|| subject.trim());
    assert_eq!(closed, world.ids.len() - world.ids.len() / 2, "half of the peers");
    took
}

fn wholes<I: Id>(peers: usize, rounds: usize) {
    let world = &World::<I>::new(peers, 0);
    let mut subjects = [("connmgr", Vec::new()), ("dashmap", Vec::new()), ("sharded_mutex", Vec::new())];
    for _ in 0..rounds {
        subjects[0].1.push(whole::<ById<I>, I>(world));
        subjects[1].1.push(whole::<Dash<I>, I>(world));
        subjects[2].1.push(whole::<ShardedMutex<I>, I>(world));
    }
    let at_most = |ms, _| (peers == 1_000_000).then(|| Verdict::of(ms, 400.0));
    print("trim", size_of::<I>(), peers, &subjects, at_most);
}

fn sizes<I: Id>(quick: bool) {
    plans::<I>(100_000, if quick { 9 } else { 51 });
    plans::<I>(1_000_000, if quick { 3 } else { 15 });
    wholes::<I>(100_000, if quick { 3 } else { 11 });
    wholes::<I>(1_000_000, if quick { 1 } else { 5 });
}

fn run(quick: bool) {
    sizes::<PeerId>(quick);
    if !quick {
        sizes::<Key>(quick);
    }
}

fn main() -> ExitCode {
    args::start("trim", HELP, args::quick_only, run)
}
