//! How a peer stands with the next trim, and why.

use std::fmt;
use std::time::Duration;

use super::text::Count;
use crate::policy::Rank;

/// How a peer stands with the next trim: see [`explain`](crate::BasicConnManager::explain).
///
/// Its text form is one line, and the peer is written by its own `Display`:
///
/// ```text
/// 7: value 5, 1 connection; candidate 3 of 10, rank (5, 1), would be closed
/// 8: value 9, 2 connections; exempt: protected under "bootstrap", in grace for 1.5s
/// ```
#[must_use = "an explanation changes nothing by itself"]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Explanation<P> {
    /// The peer.
    pub peer: P,
    /// Its value.
    pub value: i64,
    /// Its open connections, those being closed not counted.
    pub connections: usize,
    /// How it stands.
    pub standing: Standing,
}

/// A peer's place among the candidates, or what exempts it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Standing {
    /// It may be closed.
    Candidate {
        /// How many candidates go before it.
        place: usize,
        /// How many candidates there are.
        of: usize,
        /// What the policy ranks it by. Ties are broken by a hash.
        rank: Rank,
        /// Its connections that may be closed: fewer than are open if some are in a grace of their own.
        connections: usize,
        /// Whether the next trim would close it, if it ran now.
        closes: bool,
    },
    /// It may not be closed, for each of these reasons.
    Exempt(Vec<Exemption>),
}

/// What keeps a peer from being closed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Exemption {
    /// It is protected.
    Protected {
        /// The names under which it is.
        under: Vec<String>,
    },
    /// It is in its grace period, or each of its connections is.
    InGrace {
        /// For how long still.
        left: Duration,
    },
    /// Each of its connections is being closed already.
    Closing,
    /// It has tags and never had a connection since its record was made.
    Temporary {
        /// When that goes; `None` if it does not, as the peer is protected.
        left: Option<Duration>,
    },
    /// Its last connection is gone, and its tags are [kept](crate::Settings#structfield.keep_tags).
    Left {
        /// For how long still.
        left: Duration,
    },
    /// It has neither connections nor tags: it is only protected.
    NoConnection,
}

impl fmt::Display for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { under } => {
                f.write_str("protected under ")?;
                under
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, name)| write!(f, "{}{name:?}", if at == 0 { "" } else { " and " }))
            }
            Self::InGrace { left } => write!(f, "in grace for {left:?}"),
            Self::Closing => f.write_str("being closed"),
            Self::Temporary { left: Some(left) } => write!(f, "temporary for {left:?}"),
            Self::Temporary { left: None } => f.write_str("temporary"),
            Self::Left { left } => write!(f, "left, tags kept for {left:?}"),
            Self::NoConnection => f.write_str("no connection"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate { place, of, rank, connections: _, closes } => {
                let end = if *closes { "would be closed" } else { "would be kept" };
                write!(f, "candidate {} of {of}, rank ({}, {}), {end}", place + 1, rank.0, rank.1)
            }
            Self::Exempt(by) => {
                f.write_str("exempt")?;
                by.iter()
                    .enumerate()
                    .try_for_each(|(at, reason)| write!(f, "{} {reason}", if at == 0 { ":" } else { "," }))
            }
        }
    }
}

impl<P: fmt::Display> fmt::Display for Explanation<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, value, connections, standing } = self;
        write!(f, "{peer}: value {value}, {}; {standing}", Count(*connections, "connection"))
    }
}
