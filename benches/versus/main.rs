//! The manager against what one would write with locks: `cargo bench --bench versus`, and `-- --help` for more.
//!
//! Subjects run in one process, round by round in turn, so that whatever else the machine does falls on all of them; what
//! counts are the ratios within rounds. Each race has tables of its own, filled and aged alike: one connection and two tags
//! a peer, then a snapshot taken and dropped, then every peer written in random order.

#![expect(clippy::disallowed_types, reason = "rivals are made of locks, and threads start at a barrier")]

mod race;
mod report;
mod rivals;
mod subject;
mod world;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use race::{Effort, Entrant, Workload, enter, race};
use rivals::{Dash, ShardedMutex};
use subject::{ByHandle, ById};
use world::World;

const HELP: &str = "\
usage: cargo bench --bench versus -- [options]

  --json            one JSON object a line instead of a table
  --quick           fewer and shorter rounds: under a minute
  --workload NAME   only upsert, read or connect_disconnect
  --peers N         only with that many peers (1000, 10000 and 100000 otherwise)
  --threads N       only with that many threads (1 and 2 otherwise)
  --help            this text";

/// What the command line asks for.
struct Options {
    json: bool,
    effort: Effort,
    workloads: Vec<Workload>,
    peers: Vec<usize>,
    threads: Vec<usize>,
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        json: false,
        effort: Effort { rounds: 31, slot: Duration::from_millis(40) },
        workloads: Workload::ALL.to_vec(),
        peers: vec![1_000, 10_000, 100_000],
        threads: vec![1, 2],
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--json" => options.json = true,
            "--quick" => options.effort = Effort { rounds: 17, slot: Duration::from_millis(20) },
            "--workload" => {
                let name = value()?;
                let known = Workload::ALL.into_iter().find(|workload| workload.name() == name);
                options.workloads = vec![known.ok_or(format!("there is no workload {name:?}"))?];
            }
            "--peers" => options.peers = vec![number(&arg, &value()?, 10_000_000)?],
            "--threads" => options.threads = vec![number(&arg, &value()?, 256)?],
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    Ok(Some(options))
}

fn number(arg: &str, value: &str, most: usize) -> Result<usize, String> {
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{arg} takes a number from 1 to {most}, not {value:?}")),
    }
}

/// The subjects of a workload; the one that the others are measured by comes last.
fn entrants(workload: Workload, world: &World, threads: usize) -> Vec<Box<dyn Entrant>> {
    let mut entrants = vec![enter::<ById>(world, threads)];
    if workload != Workload::ConnectDisconnect {
        // A handle has no connecting and disconnecting of its own.
        entrants.push(enter::<ByHandle>(world, threads));
    }
    entrants.push(enter::<Dash>(world, threads));
    entrants.push(enter::<ShardedMutex>(world, threads));
    entrants
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("versus: {why} (--help lists what there is)");
            return ExitCode::from(2);
        }
    };
    if !options.json {
        report::head();
    }
    for &workload in &options.workloads {
        for &peers in &options.peers {
            for &threads in &options.threads {
                let world = World::new(peers, threads);
                let mut entrants = entrants(workload, &world, threads);
                let lines = race(&mut entrants, &world, workload, threads, options.effort);
                if options.json { report::json(&lines) } else { report::rows(&lines) }
            }
        }
    }
    ExitCode::SUCCESS
}
