//! A libp2p node with its connections managed: TCP and QUIC, identify, ping, Kademlia and Gossipsub, and a page that shows whom it would
//! close next, and why.
//!
//! `swarm.rs` builds the node: read it first. `tagging.rs` says what peers are worth, by what Kademlia and Gossipsub tell of
//! them. `status.rs` serves the page, which `page.rs` writes, and the metrics, on the loopback interface only.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_types, reason = "what the page shows may wait for a lock; the manager does not")]

mod args;
#[path = "../common/args.rs"]
mod common;
mod page;
mod run;
mod status;
mod swarm;
mod tagging;
#[cfg(test)]
mod tests;

use std::{env, process::ExitCode};

use crate::args::Command;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match args::parse(env::args_os().skip(1)) {
        Ok(Command::Run(config)) => config,
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("node: {error}\nTry `--help`.");
            return ExitCode::from(common::BAD_ARGUMENTS);
        }
    };
    match run::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}
