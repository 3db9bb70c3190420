//! A libp2p hub kept within its connection limits, while more peers than it wants keep arriving.
//!
//! Everything here is real: one hub and many peers, each a swarm with its own identity, speak
//! TCP, Noise and Yamux over the loopback interface and run ping and identify. OS threads tag
//! the hub's peers without pause through the shared manager. The manager cuts the peers of least
//! value whenever the high mark is reached, and the run ends by checking what it did against
//! what the swarm saw.
//!
//! To put a connection manager into your own node, read `hub.rs` first: it shows how the behaviour
//! of `connmgr::swarm` is composed with other protocols, and `taggers.rs` how protocols tag. The other files make the crowd and judge the outcome:
//! `peers.rs` the peers, `session.rs` the course of a run, `ledger.rs` the evidence, `checks.rs`
//! the verdict, `report.rs` what is printed.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_types, reason = "the bookkeeping here may wait; the manager does not")]

mod args;
mod checks;
#[path = "../common/args.rs"]
mod common;
mod hub;
mod ledger;
mod node;
mod peers;
mod report;
mod rng;
mod session;
mod taggers;

use std::{
    env,
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::{
    args::{Command, Config},
    checks::Failure,
    session::Summary,
};

/// The most a run takes beyond the time in which peers arrive.
const OVERTIME: Duration = Duration::from_secs(32);

fn main() -> ExitCode {
    let config = match args::parse(env::args_os().skip(1)) {
        Ok(Command::Run(config)) => config,
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("swarm: {error}\nTry `--help`.");
            return ExitCode::from(common::BAD_ARGUMENTS);
        }
    };
    match supervise(config) {
        Ok(summary) => {
            println!("swarm: OK {summary}");
            ExitCode::SUCCESS
        }
        Err(failures) => {
            let why: Vec<String> = failures.iter().map(Failure::to_string).collect();
            println!("swarm: FAILED {}", why.join("; "));
            ExitCode::FAILURE
        }
    }
}

/// Runs the session on a thread of its own and waits no longer than it may take.
///
/// Every wait inside the session has a deadline too, but a deadline is of no use to a thread
/// that is stuck in a call. This one holds whatever happens.
fn supervise(config: Config) -> Result<Summary, Vec<Failure>> {
    let limit = config.arrivals + OVERTIME;
    let (sender, outcome) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("session".into())
        // A send fails only when this thread has stopped waiting, and the process is ending.
        .spawn(move || drop(sender.send(session::run(config))))
        .map_err(|error| vec![Failure::Setup(error.to_string())])?;
    match outcome.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(vec![Failure::Stuck("the session", limit)]),
        Err(RecvTimeoutError::Disconnected) => Err(vec![Failure::Panicked("the session")]),
    }
}
