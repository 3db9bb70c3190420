//! The command line: what may be set, what it defaults to, and what is refused.

use std::{ffi::OsString, ops::RangeInclusive, time::Duration};

use lexopt::prelude::*;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::common::{ArgsError, number};

/// Printed by `--help`.
pub(crate) const USAGE: &str = "\
A libp2p node that manages its connections, and shows what it does on a page of its own.

Usage: cargo run --release --example node -- [OPTIONS]

Options:
    --listen ADDR      where to listen, may be repeated  [default: TCP and QUIC on 127.0.0.1]
    --bootstrap ADDR   a peer to start from, which is protected, may be repeated;
                       ends with /p2p/ and its id
    --high N           connections at which the node trims          [1 to 10000, default 12]
    --low N            connections a trim leaves open               [default: half of high]
    --grace SECONDS    how long a new peer is safe                  [0 to 3600, default 10]
    --topic NAME       what to gossip about                         [default connmgr]
    --publish SECONDS  how often to gossip; 0 for never             [0 to 3600, default 5]
    --agent NAME       what to call itself                          [default connmgr-node]
    --http PORT        port of the page on 127.0.0.1; 0 for any     [default 8080]
    --seconds N        how long to run; 0 for until it is stopped   [0 to 86400, default 0]
    --help             print this text

The page is at http://127.0.0.1:8080/, what Prometheus reads at /metrics. Bad arguments end with exit status 2.
";

const CONNECTIONS: RangeInclusive<u64> = 1..=10_000;
const PERIOD: RangeInclusive<u64> = 0..=3_600;
const DAY: RangeInclusive<u64> = 0..=86_400;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Run(Config),
}

/// The settings of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) listen: Vec<Multiaddr>,
    /// Peers to start from, and where they are.
    pub(crate) bootstrap: Vec<(PeerId, Multiaddr)>,
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) grace: Duration,
    pub(crate) topic: String,
    /// How often to gossip, if at all.
    pub(crate) publish: Option<Duration>,
    pub(crate) agent: String,
    pub(crate) http: u16,
    /// When to stop, if by itself.
    pub(crate) run_for: Option<Duration>,
}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// Unknown options, values that are no number or out of range, addresses that are none, and limits that contradict each other.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let (mut listen, mut bootstrap) = (Vec::new(), Vec::new());
    let (mut low, mut high, mut grace, mut publish, mut http, mut seconds) = (None, 12, 10, 5, 8080, 0);
    let (mut topic, mut agent) = ("connmgr".to_owned(), "connmgr-node".to_owned());

    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("listen") => listen.push(address(&mut parser, "--listen")?),
            Long("bootstrap") => bootstrap.push(peer(address(&mut parser, "--bootstrap")?)?),
            Long("low") => low = Some(number(&mut parser, "--low", CONNECTIONS)?),
            Long("high") => high = number(&mut parser, "--high", CONNECTIONS)?,
            Long("grace") => grace = number(&mut parser, "--grace", PERIOD)?,
            Long("publish") => publish = number(&mut parser, "--publish", PERIOD)?,
            Long("http") => http = number(&mut parser, "--http", 0..=u64::from(u16::MAX))? as u16,
            Long("seconds") => seconds = number(&mut parser, "--seconds", DAY)?,
            Long("topic") => topic = text(&mut parser, "--topic")?,
            Long("agent") => agent = text(&mut parser, "--agent")?,
            other => return Err(other.unexpected().into()),
        }
    }

    let low = low.unwrap_or((high / 2).max(1));
    if low > high {
        return Err(ArgsError(format!(
            "--low {low} is above --high {high}: a trim must leave fewer connections than start it"
        )));
    }
    if listen.is_empty() {
        let default = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
        listen.extend(default.iter().filter_map(|address| address.parse().ok()));
    }
    let some_seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    Ok(Command::Run(Config {
        listen,
        bootstrap,
        low: low as usize,
        high: high as usize,
        grace: Duration::from_secs(grace),
        topic,
        publish: some_seconds(publish),
        agent,
        http,
        run_for: some_seconds(seconds),
    }))
}

fn text(parser: &mut lexopt::Parser, option: &str) -> Result<String, ArgsError> {
    let value = parser.value()?;
    value.into_string().map_err(|value| ArgsError(format!("{option}: {value:?} is not text")))
}

fn address(parser: &mut lexopt::Parser, option: &str) -> Result<Multiaddr, ArgsError> {
    let value = text(parser, option)?;
    value.parse().map_err(|error| ArgsError(format!("{option}: {value:?} is not a multiaddress: {error}")))
}

/// Takes the peer's id off the end of its address.
fn peer(mut address: Multiaddr) -> Result<(PeerId, Multiaddr), ArgsError> {
    match address.pop() {
        Some(Protocol::P2p(peer)) if !address.is_empty() => Ok((peer, address)),
        _ => Err(ArgsError("--bootstrap: the address does not end with /p2p/ and a peer's id".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWSTEFtQovv9jWL1ar4X7DQ7vjcnaitZ91zYQaaTX75vGg";

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
        assert_eq!((config.low, config.high, config.http), (6, 12, 8080));
        assert_eq!((config.grace, config.publish), (Duration::from_secs(10), Some(Duration::from_secs(5))));
        assert_eq!((config.topic.as_str(), config.agent.as_str()), ("connmgr", "connmgr-node"));
        assert_eq!((config.listen.len(), config.run_for), (2, None));
    }

    #[test]
    fn addresses_may_be_repeated() {
        let line = format!(
            "--listen /ip4/127.0.0.1/tcp/1 --listen /ip6/::1/tcp/1 --bootstrap /ip4/127.0.0.1/tcp/2/p2p/{PEER}"
        );
        let config = config(&line);
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.bootstrap.len(), 1);
        assert_eq!(config.bootstrap[0].0.to_string(), PEER);
        assert_eq!(config.bootstrap[0].1.to_string(), "/ip4/127.0.0.1/tcp/2");
    }

    #[test]
    fn help_wins_over_a_run() {
        assert_eq!(parsed("--high 9 --help"), Ok(Command::Help));
    }

    #[test]
    fn bad_arguments_are_named() {
        for (line, expected) in [
            ("--frobnicate", "--frobnicate"),
            ("stray", "stray"),
            ("--high", "--high"),
            ("--high many", "--high: \"many\" is not a whole number"),
            ("--high 0", "--high: 0 is out of range (1 to 10000)"),
            ("--low 30 --high 20", "--low 30 is above --high 20"),
            ("--http 65536", "--http: 65536 is out of range"),
            ("--listen nowhere", "--listen: \"nowhere\" is not a multiaddress"),
            ("--bootstrap /ip4/127.0.0.1/tcp/1", "does not end with /p2p/"),
        ] {
            let error = parsed(line).expect_err(line).to_string();
            assert!(error.contains(expected), "`{line}` gave `{error}`");
        }
    }
}
