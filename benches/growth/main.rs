//! How cost grows: `cargo bench --bench growth`, JSON lines, which `examples/plot.rs` makes figures of.
//!
//! Updates against peers and against threads, and plans of trims against peers; 80-byte ids, aged tables.

#[path = "../common/mod.rs"]
mod common;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use common::args;
use common::cpu::timed;
use common::ours::{ByHandle, ById};
use common::race::{Effort, Entrant, Field, Work, aged, enter};
use common::report::{json, median};
use common::rivals::{Dash, Floor, ShardedMutex};
use common::subject::Trimmed;
use common::world::{PeerId, World};

const HELP: &str = "\
usage: cargo bench --bench growth -- [options]

  --quick   up to 100,000 peers and 8 threads, with fewer and shorter rounds
  --help    this text";

/// A point of a figure.
#[derive(Serialize)]
struct Point<'a> {
    bench: &'a str,
    /// Which figure.
    figure: &'a str,
    subject: &'a str,
    /// Peers or threads.
    x: usize,
    /// ns by update of all threads, or ms by plan.
    y: f64,
}

fn point(figure: &str, subject: &str, x: usize, y: f64) {
    json(&Point { bench: "growth", figure, subject, x, y });
}

/// Those that are asked by id. (A handle to each peer for each of 64 threads is more than a program would keep.)
fn keyed(world: &World<PeerId>, threads: usize) -> Vec<Box<dyn Entrant<PeerId>>> {
    vec![
        enter::<ById<_>, _>(world, threads),
        enter::<Dash<_>, _>(world, threads),
        enter::<Floor, _>(world, threads),
        enter::<ShardedMutex<_>, _>(world, threads),
    ]
}

fn keyed_and_by_handle(world: &World<PeerId>, threads: usize) -> Vec<Box<dyn Entrant<PeerId>>> {
    let mut entrants = keyed(world, threads);
    entrants.insert(0, enter::<ByHandle<_>, _>(world, threads));
    entrants
}

/// Updates by one thread of tables of these sizes.
fn by_peers(sizes: &[usize], effort: Effort) {
    for &peers in sizes {
        for line in Field::<PeerId>::new(peers, 1, keyed_and_by_handle).race(Work::Upsert, 1, effort) {
            point("upsert_by_peers", &line.subject, peers, line.ns_per_op);
        }
    }
}

/// Updates by so many threads, at 100,000 peers.
fn by_threads(threads: &[usize], effort: Effort) {
    let most = threads.iter().copied().max().expect("a number of threads");
    let mut field = Field::<PeerId>::new(100_000, most, keyed);
    for &threads in threads {
        for line in field.race(Work::Upsert, threads, effort) {
            point("upsert_by_threads", &line.subject, threads, line.ns_per_op);
        }
    }
}

/// The median of the ms that a plan takes.
fn plan<S: Trimmed<PeerId>>(subject: &S, rounds: usize) -> f64 {
    let times: Vec<f64> =
        (0..rounds).map(|_| timed(|| black_box(subject.plan())).0.as_secs_f64() * 1e3).collect();
    median(&times)
}

/// Plans of trims of tables of these sizes.
fn plans_by_peers(sizes: &[usize], rounds: usize) {
    for &peers in sizes {
        let world = &World::<PeerId>::new(peers, 0);
        let (ours, dash, sharded): (ById<_>, Dash<_>, ShardedMutex<_>) =
            (aged(world), aged(world), aged(world));
        point("plan_by_peers", "connmgr", peers, plan(&ours, rounds));
        point("plan_by_peers", "dashmap", peers, plan(&dash, rounds));
        point("plan_by_peers", "sharded_mutex", peers, plan(&sharded, rounds));
    }
}

fn run(quick: bool) {
    let sizes = [1_000, 4_000, 16_000, 64_000, 250_000, 1_000_000, 4_000_000];
    let threads = [1, 2, 4, 8, 16, 32, 64];
    let (sizes, threads) = if quick { (&sizes[..4], &threads[..4]) } else { (&sizes[..], &threads[..]) };
    let (rounds, slot) = if quick { (7, 12) } else { (21, 20) };
    let effort = Effort { rounds, slot: Duration::from_millis(slot) };
    by_peers(sizes, effort);
    by_threads(threads, effort);
    plans_by_peers(sizes, if quick { 3 } else { 7 });
}

fn main() -> ExitCode {
    args::start("growth", HELP, args::quick_only, run)
}
