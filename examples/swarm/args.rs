//! The command line: what may be set, what it defaults to, and what is refused.

use std::{ffi::OsString, ops::RangeInclusive, time::Duration};

use lexopt::prelude::*;

use crate::common::{ArgsError, number};

/// Printed by `--help`.
pub(crate) const USAGE: &str = "\
A libp2p hub that keeps its connections within limits, and the peers that crowd it.

Usage: cargo run --release --example swarm -- [OPTIONS]

Options:
    --peers N     peers that want a connection to the hub      [2 to 400, default 60]
    --high N      connections at which the hub trims           [default: two thirds of the peers]
    --low N       connections a trim leaves open               [default: half of high]
    --seconds N   how long peers arrive and are tagged         [1 to 3600, default 20]
    --threads N   OS threads that tag peers without pause      [1 to 64, default 4]
    --help        print this text

Up to ten peers are protected: as many as leave room between low and high. They and the
peers that arrived less than a second before are not candidates and do not count towards low.

The last line is `swarm: OK ...` (exit status 0) or `swarm: FAILED <why>` (exit status 1).
Bad arguments end with exit status 2.
";

const PEERS: RangeInclusive<usize> = 2..=400; // Each takes two sockets of this process.
const SECONDS: RangeInclusive<usize> = 1..=3600;
const THREADS: RangeInclusive<usize> = 1..=64;
const PROTECTED: usize = 10;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Run(Config),
}

/// The settings of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// How many peers want a connection at any time.
    pub(crate) peers: usize,
    pub(crate) low: usize,
    pub(crate) high: usize,
    /// How long peers arrive and are tagged.
    pub(crate) arrivals: Duration,
    pub(crate) threads: usize,
    /// How many of the peers are protected.
    pub(crate) protected: usize,
    /// How long a new peer is not a candidate.
    pub(crate) grace: Duration,
    /// How often the manager looks whether it must trim.
    pub(crate) silence: Duration,
}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// Unknown options, values that are no number or out of range, and limits that could never
/// make the hub trim.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let (mut peers, mut seconds, mut threads) = (60, 20, 4);
    let (mut low, mut high) = (None, None);

    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("peers") => peers = number(&mut parser, "--peers", PEERS)?,
            Long("low") => low = Some(number(&mut parser, "--low", 1..=*PEERS.end())?),
            Long("high") => high = Some(number(&mut parser, "--high", 1..=*PEERS.end())?),
            Long("seconds") => seconds = number(&mut parser, "--seconds", SECONDS)?,
            Long("threads") => threads = number(&mut parser, "--threads", THREADS)?,
            other => return Err(other.unexpected().into()),
        }
    }

    let high = high.unwrap_or_else(|| (peers * 2 / 3).max(low.unwrap_or(1)));
    let low = low.unwrap_or_else(|| (high / 2).max(1));
    if low > high {
        return Err(ArgsError(format!(
            "--low {low} is above --high {high}: a trim must leave fewer connections than start it"
        )));
    }
    if high >= peers {
        return Err(ArgsError(format!(
            "high {high} needs more than {peers} peers: nothing would ever be trimmed"
        )));
    }

    Ok(Command::Run(Config {
        peers,
        low,
        high,
        arrivals: Duration::from_secs(seconds as u64),
        threads,
        // Protected peers stay open on top of `low`. Half of the room up to `high` is left to
        // the others, or the count would hang at `high` whatever a trim does.
        protected: PROTECTED.min(low - 1).min((high - low) / 2),
        grace: Duration::from_secs(1),
        silence: Duration::from_secs(1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, ArgsError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn config(line: &str) -> Config {
        match parsed(line) {
            Ok(Command::Run(config)) => config,
            other => panic!("`{line}` gave {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = config("");
        assert_eq!((config.peers, config.high, config.low), (60, 40, 20));
        assert_eq!((config.threads, config.protected), (4, 10));
        assert_eq!(config.arrivals, Duration::from_secs(20));
    }

    #[test]
    fn limits_follow_the_number_of_peers() {
        let few = config("--peers 25");
        assert_eq!((few.high, few.low, few.protected), (16, 8, 4));
        let least = config("--peers 2");
        assert_eq!((least.high, least.low, least.protected), (1, 1, 0));
        assert_eq!(config("--low 50").high, 50);
        assert_eq!(config("--high 10").low, 5);
    }

    #[test]
    fn help_wins_over_a_run() {
        assert_eq!(parsed("--peers 9 --help"), Ok(Command::Help));
    }

    #[test]
    fn bad_arguments_are_named() {
        for (line, expected) in [
            ("--frobnicate", "--frobnicate"),
            ("stray", "stray"),
            ("--peers", "--peers"),
            ("--peers many", "--peers: \"many\" is not a whole number"),
            ("--peers -5", "--peers: \"-5\" is not a whole number"),
            ("--peers 1", "--peers: 1 is out of range"),
            ("--threads 0", "--threads: 0 is out of range"),
            ("--seconds 0", "--seconds: 0 is out of range"),
            ("--low 0", "--low: 0 is out of range"),
            ("--low 30 --high 20", "--low 30 is above --high 20"),
            ("--peers 30 --high 30", "needs more than 30 peers"),
        ] {
            let error = parsed(line).expect_err(line).to_string();
            assert!(error.contains(expected), "`{line}` gave `{error}`");
        }
    }
}
