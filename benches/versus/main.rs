//! The manager against what one would write with locks: `cargo bench --bench versus`, and `-- --help` for more.
//!
//! Subjects run in one process, round by round in turn, so that whatever else the machine does falls on all of them; what
//! counts are the ratios within rounds. Each row has tables of its own, filled and aged alike: one connection and two tags
//! a peer, then a snapshot taken and dropped, then every peer written in random order.

#[path = "../common/mod.rs"]
mod common;
mod table;
mod targets;

use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;

use common::ours::{ByHandle, ById, ByName};
use common::race::{Effort, Entrant, Field, enter};
use common::rivals::{Dash, Floor, ShardedHandles, ShardedMutex};
use common::world::{Id, Key, PeerId, World};
use common::{args, report};
use table::Outcome;
use targets::{Lineup, ROWS, Row};

const HELP: &str = "\
usage: cargo bench --bench versus -- [options]

  --json        one JSON object a line instead of a table
  --markdown    the README's table, when all is done
  --quick       fewer and shorter rounds, 80-byte ids only: under a minute
  --row NAME    only upsert, hot, handle, read, connect_disconnect, leave_return, leave_return_tagged or name
  --peers N     with that many peers, instead of what the rows say
  --threads N   with that many threads, instead of what the rows say
  --ids BYTES   only with ids of 80 bytes (as libp2p's) or 32
  --rounds N    rounds of a race, an odd number: 75, or 11 if quick
  --help        this text";

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Print {
    Table,
    Json,
    Markdown,
}

/// What the command line asks for.
struct Options {
    print: Print,
    quick: bool,
    row: Option<&'static str>,
    peers: Option<usize>,
    threads: Option<usize>,
    ids: Option<usize>,
    rounds: Option<usize>,
}

fn options(parser: &mut lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        print: Print::Table,
        quick: false,
        row: None,
        peers: None,
        threads: None,
        ids: None,
        rounds: None,
    };
    let mut names: Vec<_> = ROWS.iter().map(|row| (row.name, row.name)).collect();
    names.dedup();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => options.print = Print::Json,
            Long("markdown") => options.print = Print::Markdown,
            Long("quick") => options.quick = true,
            Long("row") => options.row = Some(args::choice(parser, &names)?),
            Long("peers") => options.peers = Some(args::number(parser, 1..=10_000_000)?),
            Long("threads") => options.threads = Some(args::number(parser, 1..=256)?),
            Long("ids") => options.ids = Some(args::choice(parser, &[("80", 80), ("32", 32)])?),
            Long("rounds") => options.rounds = Some(args::number(parser, 1..=10_001)?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if options.quick && options.ids.is_none() {
        options.ids = Some(80);
    }
    Ok(Some(options))
}

impl Options {
    /// Whether a row is to be run: where the number of peers is given, rows that differ in nothing else are one.
    fn asks_for(&self, row: &Row) -> bool {
        let mut namesakes = ROWS.iter().filter(|other| other.name == row.name).map(|other| other.peers);
        let one_of_many = self.peers.map(|peers| {
            let first = namesakes.clone().next();
            if namesakes.any(|known| known == peers) { Some(peers) } else { first }
        });
        self.row.is_none_or(|name| name == row.name)
            && one_of_many.is_none_or(|chosen| chosen == Some(row.peers))
    }

    fn effort(&self) -> Effort {
        let (rounds, slot) = if self.quick { (11, 12) } else { (75, 20) };
        Effort { rounds: self.rounds.unwrap_or(rounds), slot: Duration::from_millis(slot) }
    }
}

/// The subjects of a row; the one that the others are measured by comes last.
fn entrants<I: Id>(lineup: Lineup, world: &World<I>, threads: usize) -> Vec<Box<dyn Entrant<I>>> {
    let mut entrants = match lineup {
        Lineup::Keyed => {
            vec![
                enter::<ById<I>, I>(world, threads),
                enter::<Dash<I>, I>(world, threads),
                enter::<Floor, I>(world, threads),
            ]
        }
        Lineup::Structural => vec![enter::<ById<I>, I>(world, threads), enter::<Dash<I>, I>(world, threads)],
        Lineup::Handles => vec![
            enter::<ByHandle<I>, I>(world, threads),
            enter::<ShardedHandles<I>, I>(world, threads),
            enter::<Dash<I>, I>(world, threads),
            enter::<Floor, I>(world, threads),
        ],
        // What a name costs is the difference from the first.
        Lineup::Names => vec![enter::<ById<I>, I>(world, threads), enter::<ByName<I>, I>(world, threads)],
    };
    entrants.push(enter::<ShardedMutex<I>, I>(world, threads));
    entrants
}

/// Runs a row's races on tables of its own.
fn run<I: Id>(row: &Row, options: &Options) -> Vec<Outcome> {
    let given = options.threads.map(|threads| {
        let target = row.threads.iter().find(|known| known.0 == threads);
        [(threads, target.and_then(|known| known.1))]
    });
    let races = given.as_ref().map_or(row.threads, |given| given);
    let most = races.iter().map(|race| race.0).max().expect("a number of threads");
    let peers = options.peers.unwrap_or(row.peers);
    let mut field = Field::<I>::new(peers, most, |world, threads| entrants(row.lineup, world, threads));
    let mut outcomes = Vec::new();
    for &(threads, target) in races {
        let target = if peers == row.peers { target } else { None };
        let lines = field.race(row.work, threads, options.effort());
        let race: Vec<_> =
            lines.into_iter().map(|line| Outcome::new(row, size_of::<I>(), target, line)).collect();
        match options.print {
            Print::Table => table::rows(&race),
            Print::Json => race.iter().for_each(report::json),
            Print::Markdown => {}
        }
        outcomes.extend(race);
    }
    outcomes
}

fn main() -> ExitCode {
    args::start("versus", HELP, options, |options| {
        if options.print == Print::Table {
            table::head();
        }
        let mut outcomes = Vec::new();
        for row in ROWS.iter().filter(|row| options.asks_for(row)) {
            if options.ids != Some(32) {
                outcomes.extend(run::<PeerId>(row, &options));
            }
            if options.ids != Some(80) {
                outcomes.extend(run::<Key>(row, &options));
            }
        }
        match options.print {
            Print::Table => table::summary(&outcomes),
            Print::Json => {}
            Print::Markdown => table::markdown(&outcomes),
        }
    })
}
