//! Reports as people read them: one line a fact, always the same lines in the same order.

use std::fmt;

use super::{
    ClosedPeer, PlannedPeer, SpareReason, SparedPeer, TrimOutcome, TrimPlan, TrimReport, TrimTrigger,
};

impl fmt::Display for TrimTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "explicit",
            Self::Background => "background",
            Self::Steady => "steady",
            Self::Reconfigured => "reconfiguration",
            Self::Emergency => "emergency",
        })
    }
}

impl fmt::Display for TrimOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "trimming is disabled",
            Self::NothingToDo => "no more connections open than the low watermark",
            Self::TooFewCandidates => "too many connections protected or in their grace period",
            Self::Reached => "target reached",
            Self::Short => "target missed, as too few candidates were left",
            Self::RateLimited => "target missed for now, as the close rate is reached",
            Self::Cancelled => "cancelled between two claims",
            Self::Reentrant => "not run, as a trim is running on the same thread",
            Self::Busy => "not run, as a trim is running on another thread",
        })
    }
}

impl fmt::Display for SpareReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protected => "protected meanwhile",
            Self::ValueRaised => "raised above the cut-off meanwhile",
            Self::InGrace => "first seen anew meanwhile",
        })
    }
}

impl<P: fmt::Display> fmt::Display for ClosedPeer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, value, reason, .. } = self;
        write!(f, "{peer}: value {value}, {}, {reason}", Count(self.connections, "connection"))?;
        if self.protected { f.write_str(", protected") } else { Ok(()) }
    }
}

impl<P: fmt::Display> fmt::Display for SparedPeer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, value, reason } = self;
        write!(f, "{peer}: value {value}, {reason}")
    }
}

impl<P: fmt::Display> fmt::Display for PlannedPeer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, value, connections } = self;
        write!(f, "{peer}: value {value}, {}", Count(*connections, "connection"))
    }
}

/// For people: a line for each fact, always the same lines in the same order, then a line for each peer.
///
/// Peers are written by their own [`Display`](fmt::Display). A precision bounds each list of peers and says what it left out: `{report:.10}` names
/// at most ten that were closed and ten that were spared. Without one every peer is named.
///
/// # Examples
///
/// ```
/// # use connmgr::{BasicConnManager, ManualClock, testing::Loopback};
/// # use std::time::Duration;
/// # let manager = BasicConnManager::<&str, Loopback>::builder()
/// #     .low_water(1).high_water(2).grace_period(Duration::ZERO).background(false).clock(ManualClock::new())
/// #     .build().unwrap();
/// # for (id, peer) in ["alice", "bob", "carol"].into_iter().enumerate() {
/// #     manager.connected(&peer, Loopback::inbound(id as u64));
/// # }
/// # manager.tag_peer(&"alice", "blocks", 10);
/// # manager.protect(&"bob", "bootstrap");
/// assert_eq!(
///     manager.trim_open_conns().to_string(),
///     "\
/// explicit trim: target reached
/// candidates: 2 connections
/// target: 1 connection
/// close rate allows: any number
/// cut-off: 0
/// lowest kept: 10
/// time taken: 0ns
/// gone: 0 connections
/// expired: 0 temporary records
/// panicked: 0 callbacks
/// closed: 1 connection of 1 peer
///   carol: value 0, 1 connection, trim
/// spared: 0 peers"
/// );
/// ```
impl<P: fmt::Display> fmt::Display for TrimReport<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trigger, outcome, elapsed, .. } = self;
        let joined = if self.joined { " (joined one under way)" } else { "" };
        writeln!(f, "{trigger} trim: {outcome}{joined}")?;
        writeln!(f, "candidates: {}", Count(self.candidates, "connection"))?;
        write!(f, "target: {}", Count(self.target, "connection"))?;
        match self.missed() {
            0 => writeln!(f)?,
            missed => writeln!(f, ", missed by {missed}")?,
        }
        writeln!(f, "close rate allows: {}", Allowed(self.allowed))?;
        writeln!(f, "cut-off: {}", OrNone(self.cutoff))?;
        writeln!(f, "lowest kept: {}", OrNone(self.lowest_kept))?;
        writeln!(f, "time taken: {elapsed:?}")?;
        writeln!(f, "gone: {}", Count(self.gone, "connection"))?;
        writeln!(f, "expired: {}", Count(self.expired, "temporary record"))?;
        writeln!(f, "panicked: {}", Count(self.callback_panics, "callback"))?;
        let (connections, peers) = (Count(self.closed_connections, "connection"), self.closed.len());
        write!(f, "closed: {connections} of {}", Count(peers, "peer"))?;
        list(f, &self.closed)?;
        write!(f, "\nspared: {}", Count(self.spared.len(), "peer"))?;
        list(f, &self.spared)
    }
}

/// For people, as [`TrimReport`]'s, and with the same rule for a precision.
impl<P: fmt::Display> fmt::Display for TrimPlan<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.victims.iter().map(|victim| victim.connections).sum();
        writeln!(f, "planned trim: {}", self.outcome)?;
        writeln!(f, "candidates: {}", Count(self.candidates, "connection"))?;
        write!(f, "target: {}", Count(self.target, "connection"))?;
        match self.target.saturating_sub(connections) {
            0 => writeln!(f)?,
            missed => writeln!(f, ", missed by {missed}")?,
        }
        writeln!(f, "close rate allows: {}", Allowed(self.allowed))?;
        writeln!(f, "cut-off: {}", OrNone(self.cutoff))?;
        let peers = Count(self.victims.len(), "peer");
        write!(f, "to close: {} of {peers}", Count(connections, "connection"))?;
        list(f, &self.victims)
    }
}

/// Each on a line of its own, at most as many as the precision says.
fn list(f: &mut fmt::Formatter<'_>, peers: &[impl fmt::Display]) -> fmt::Result {
    let most = f.precision().unwrap_or(usize::MAX);
    for peer in peers.iter().take(most) {
        write!(f, "\n  {peer}")?;
    }
    match peers.len().saturating_sub(most) {
        0 => Ok(()),
        left => write!(f, "\n  and {left} more"),
    }
}

/// How many of what.
pub(super) struct Count(pub(super) usize, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        write!(f, "{count} {what}{}", if *count == 1 { "" } else { "s" })
    }
}

struct Allowed(Option<usize>);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(connections) => Count(connections, "connection").fmt(f),
            None => f.write_str("any number"),
        }
    }
}

struct OrNone(Option<i64>);

impl fmt::Display for OrNone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}
