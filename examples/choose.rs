//! One program, two managers: which one is chosen at run time.
//!
//! `cargo run --example choose -- basic` limits connections, `-- null` does not. Both do the same calls through one
//! `Arc<dyn ConnManager<..>>`, and what came of each is printed. A libp2p node does so where limits are a setting:
//! its protocols tag and protect peers without asking whether anybody minds.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use connmgr::testing::Loopback;
use connmgr::{BasicConnManager, ByValue, ConnLimiter, ConnManager, NullConnManager};
use lexopt::prelude::*;

#[path = "common/args.rs"]
mod common;

use common::{ArgsError, BAD_ARGUMENTS, number};

const USAGE: &str = "\
The same calls on a manager that limits connections, or on one that does nothing.

Usage: cargo run --example choose -- [OPTIONS] <basic|null>

Options:
    --low N    connections a trim leaves open, with `basic`   [1 to 1000, default 2]
    --help     print this text

Bad arguments end with exit status 2.
";

/// A peer's id.
type Peer = &'static str;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Basic { low: usize },
    Null,
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let (mut kind, mut low) = (None, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("low") => low = Some(number(&mut parser, "--low", 1..=1000)?),
            Value(value) if kind.is_none() => kind = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let kind = kind.ok_or_else(|| ArgsError("which manager, `basic` or `null`?".into()))?;
    match (kind.to_str(), low) {
        (Some("basic"), low) => Ok(Command::Basic { low: low.unwrap_or(2) }),
        (Some("null"), None) => Ok(Command::Null),
        (Some("null"), Some(_)) => Err(ArgsError("--low: the null manager has no limits".into())),
        _ => Err(ArgsError(format!("{kind:?} is no manager: `basic` or `null`"))),
    }
}

/// What a node keeps of its manager.
struct Chosen {
    /// For its protocols, which need not know which one it is.
    manager: Arc<dyn ConnManager<Peer>>,
    /// Where its swarm tells of connections: the one part that only a manager of connections has.
    connected: Box<dyn Fn(Peer, Loopback)>,
}

impl Chosen {
    fn basic(low: usize) -> Result<Self, connmgr::ConfigError> {
        let manager = BasicConnManager::<Peer, Loopback>::builder()
            .low_water(low)
            .high_water(low * 2)
            .grace_period(Duration::ZERO)
            .policy(ByValue::exact())
            .background(false)
            .build()?;
        let manager = Arc::new(manager);
        let connected = {
            let manager = Arc::clone(&manager);
            Box::new(move |peer, conn| manager.connected(&peer, conn))
        };
        Ok(Self { manager, connected })
    }

    fn null() -> Self {
        Self { manager: Arc::new(NullConnManager), connected: Box::new(|_, _| ()) }
    }
}

/// A system that allows few connections.
struct Three;

impl ConnLimiter for Three {
    fn conn_limit(&self) -> usize {
        3
    }
}

/// Connects some peers, does the same calls whichever manager it is, and tells what came of them.
fn exercise(chosen: &Chosen) -> String {
    let Chosen { manager, connected } = chosen;
    let conns = [("alice", 1), ("bob", 2), ("carol", 3), ("dave", 4)].map(|(peer, id)| {
        let conn = Loopback::inbound(id);
        connected(peer, conn.clone());
        (peer, conn)
    });
    let mut told = String::new();
    let mut tell = |what: &str, came: &dyn fmt::Display| {
        writeln!(told, "{what}: {came}").expect("a string takes it");
    };
    manager.tag_peer(&"alice", "blocks", 10);
    manager.tag_peer(&"dave", "blocks", 5);
    tell("upsert of alice", &manager.upsert_tag(&"alice", "blocks", &mut |value| value + 1));
    manager.untag_peer(&"dave", "blocks");
    tell("protect bob", &manager.protect(&"bob", "bootstrap"));
    tell("bob is protected", &manager.is_protected(&"bob", None));
    match manager.tag_info(&"alice") {
        Some(info) => tell("alice", &format!("value {}, {} connection", info.value, info.conns.len())),
        None => tell("alice", &"unknown"),
    }
    match manager.check_limit(&Three) {
        Ok(()) => tell("limit of 3", &"fits"),
        Err(error) => tell("limit of 3", &error),
    }
    let report = manager.trim_open_conns();
    tell("trim", &report.outcome);
    tell("connections closed", &report.closed_connections);
    let open: Vec<&str> =
        conns.iter().filter(|(_, conn)| conn.closes() == 0).map(|&(peer, _)| peer).collect();
    tell("open", &open.join(", "));
    tell("bob is protected otherwise", &manager.unprotect(&"bob", "bootstrap"));
    match manager.close() {
        Ok(()) => tell("close", &"done"),
        Err(error) => tell("close", &error),
    }
    told
}

fn main() -> ExitCode {
    let chosen = match parse(env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Basic { low }) => Chosen::basic(low),
        Ok(Command::Null) => Ok(Chosen::null()),
        Err(error) => {
            eprintln!("choose: {error}\nTry `--help`.");
            return ExitCode::from(BAD_ARGUMENTS);
        }
    };
    match chosen {
        Ok(chosen) => {
            print!("{}", exercise(&chosen));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("choose: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_basic_manager_limits() {
        let told = exercise(&Chosen::basic(2).expect("a valid configuration"));
        assert_eq!(
            told,
            "\
upsert of alice: 11
protect bob: protected
bob is protected: true
alice: value 11, 1 connection
limit of 3: high watermark 4 is above the connection limit 3
trim: target reached
connections closed: 2
open: alice, bob
bob is protected otherwise: false
close: done
"
        );
    }

    #[test]
    fn the_null_manager_does_nothing() {
        assert_eq!(
            exercise(&Chosen::null()),
            "\
upsert of alice: 0
protect bob: protected
bob is protected: false
alice: unknown
limit of 3: fits
trim: trimming is disabled
connections closed: 0
open: alice, bob, carol, dave
bob is protected otherwise: false
close: done
"
        );
    }

    #[test]
    fn arguments_choose() {
        let parsed = |line: &str| parse(line.split_whitespace().map(OsString::from));
        assert_eq!(parsed("basic"), Ok(Command::Basic { low: 2 }));
        assert_eq!(parsed("--low 7 basic"), Ok(Command::Basic { low: 7 }));
        assert_eq!(parsed("null"), Ok(Command::Null));
        assert_eq!(parsed("null --help"), Ok(Command::Help));
        for (line, expected) in [
            ("", "which manager"),
            ("both", "\"both\" is no manager"),
            ("basic null", "null"),
            ("--frobnicate", "--frobnicate"),
            ("null --low 3", "the null manager has no limits"),
            ("basic --low", "--low"),
            ("basic --low few", "\"few\" is not a whole number"),
            ("basic --low 0", "--low: 0 is out of range (1 to 1000)"),
            ("basic --low 1001", "--low: 1001 is out of range (1 to 1000)"),
        ] {
            let error = parsed(line).expect_err(line).to_string();
            assert!(error.contains(expected), "`{line}` gave `{error}`");
        }
    }
}
