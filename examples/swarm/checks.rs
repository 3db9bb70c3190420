//! The verdict: what the manager did, held against what the swarm saw.

use std::{collections::HashSet, fmt, time::Duration};

use connmgr::CloseReason;
use libp2p::PeerId;

use crate::{
    args::Config,
    hub::{short, standing},
    ledger::{CloseRequest, Ledger, Life, Trim},
};

/// The clocks of the manager and of the ledger are read at different moments. A connection is
/// called a candidate only if it is past the grace period by this much more.
const SLACK: Duration = Duration::from_millis(250);

/// All that the verdict rests on.
pub(crate) struct Evidence<'a> {
    pub(crate) config: &'a Config,
    pub(crate) protected: &'a HashSet<PeerId>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) trims: &'a [Trim],
    /// The connections the manager counts at the end.
    pub(crate) manager_count: usize,
    /// The connections the swarm itself counts at the end.
    pub(crate) swarm_count: usize,
}

/// Why a run is not OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The run could not be set up or ended.
    Setup(String),
    /// Something did not end in the time it was given.
    Stuck(&'static str, Duration),
    Panicked(&'static str),
    NoTrim,
    ProtectedClosed(usize),
    CountsDiffer {
        manager: usize,
        swarm: usize,
        ledger: usize,
    },
    /// Connections are left open above the high mark.
    StillAboveHigh {
        open: usize,
        high: usize,
    },
    /// A trim said that it reached its target, but left more candidates than it should.
    LeftTooMany {
        trim: usize,
        left: usize,
        low: usize,
    },
    /// No trim left as few candidates as it should.
    NeverDownToLow {
        best: usize,
        low: usize,
    },
    /// Connections the manager asked to close are still open.
    StillClosing(usize),
    /// By the manager's own report, a peer was cut that was worth more than one it kept.
    WrongOrder {
        trim: usize,
        cut: i64,
        kept: i64,
    },
    /// By the manager's own report, a peer was cut that it should have spared.
    AboveCutoff {
        trim: usize,
        cut: i64,
        cutoff: i64,
    },
    /// Cut before a candidate that was worth less, by what the hub knows of its peers.
    WrongStanding {
        trim: usize,
        cut: PeerId,
        kept: PeerId,
    },
    ClosedTwice(u64),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => f.write_str(error),
            Self::Stuck(what, limit) => {
                write!(f, "{what} did not end within {} s", limit.as_secs())
            }
            Self::Panicked(what) => write!(f, "{what} panicked"),
            Self::NoTrim => f.write_str("no connection was ever trimmed"),
            Self::ProtectedClosed(count) => {
                write!(f, "{count} connections of protected peers closed by a trim")
            }
            Self::CountsDiffer { manager, swarm, ledger } => {
                write!(f, "the manager counts {manager} connections, the swarm {swarm}, its events {ledger}")
            }
            Self::StillAboveHigh { open, high } => {
                write!(f, "{open} connections open at the end, above high {high}")
            }
            Self::LeftTooMany { trim, left, low } => {
                write!(f, "trim {trim} left {left} candidates, more than low {low}")
            }
            Self::NeverDownToLow { best, low } => {
                write!(f, "no trim left {low} candidates or fewer, the best left {best}")
            }
            Self::StillClosing(count) => {
                write!(f, "{count} connections asked to close are still open")
            }
            Self::WrongOrder { trim, cut, kept } => {
                write!(f, "trim {trim} cut a peer of value {cut} and kept a candidate of value {kept}")
            }
            Self::AboveCutoff { trim, cut, cutoff } => {
                write!(f, "trim {trim} cut a peer of value {cut}, above its cut-off {cutoff}")
            }
            Self::WrongStanding { trim, cut, kept } => write!(
                f,
                "trim {trim} cut {} of standing {} and kept candidate {} of standing {}",
                short(cut),
                standing(cut),
                short(kept),
                standing(kept)
            ),
            Self::ClosedTwice(count) => write!(f, "{count} closes of closed connections"),
        }
    }
}

/// Looks for every failure the evidence shows.
pub(crate) fn verify(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    if evidence.trims.is_empty() {
        failures.push(Failure::NoTrim);
    }
    match protected_closed(evidence) {
        0 => {}
        count => failures.push(Failure::ProtectedClosed(count)),
    }
    check_counts(evidence, &mut failures);
    check_came_down(evidence, &mut failures);
    failures.extend(first(evidence, check_reported_order));
    failures.extend(first(evidence, |number, trim| check_order_by_standing(evidence, number, trim)));
    match evidence.ledger.stray_closes {
        0 => {}
        count => failures.push(Failure::ClosedTwice(count)),
    }
    failures
}

/// Connections of protected peers that a trim asked to close.
pub(crate) fn protected_closed(evidence: &Evidence<'_>) -> usize {
    let trimmed = |life: &Life| life.asked.is_some_and(|asked| asked.reason == CloseReason::Trim);
    evidence.ledger.lives().filter(|life| trimmed(life) && evidence.protected.contains(&life.peer)).count()
}

fn check_counts(evidence: &Evidence<'_>, failures: &mut Vec<Failure>) {
    let (manager, swarm) = (evidence.manager_count, evidence.swarm_count);
    let ledger = evidence.ledger.open();
    if manager != swarm || swarm != ledger {
        failures.push(Failure::CountsDiffer { manager, swarm, ledger });
    }
}

fn check_came_down(evidence: &Evidence<'_>, failures: &mut Vec<Failure>) {
    let Config { low, high, .. } = *evidence.config;
    let open = evidence.swarm_count;
    if open > high {
        failures.push(Failure::StillAboveHigh { open, high });
    }
    let closing = evidence.ledger.closing();
    if closing > 0 {
        failures.push(Failure::StillClosing(closing));
    }
    let left = |trim: &Trim| kept_candidates(evidence, trim).count();
    if let Some(best) = evidence.trims.iter().map(&left).min().filter(|&n| n > low) {
        failures.push(Failure::NeverDownToLow { best, low });
    }
    failures.extend(first(evidence, |number, trim| {
        let left = left(trim);
        // Peers that were spared had a reason to stay.
        (trim.reached && left > low + trim.spared.len()).then_some(Failure::LeftTooMany {
            trim: number,
            left,
            low,
        })
    }));
}

/// The first failure that `check` finds among the trims, which it is given with their numbers
/// counted from one. The first is enough to tell why a run is not OK.
fn first(evidence: &Evidence<'_>, check: impl Fn(usize, &Trim) -> Option<Failure>) -> Option<Failure> {
    let mut numbered = evidence.trims.iter().zip(1..);
    numbered.find_map(|(trim, number)| check(number, trim))
}

/// Cut are those with a value up to the cut-off; no candidate that was never chosen may have
/// been below it. Equal values are for the manager to break.
fn check_reported_order(number: usize, trim: &Trim) -> Option<Failure> {
    let highest_cut = trim.cut.iter().map(|cut| cut.value).max()?;
    // Without a cut-off in the report, the values of those cut are all there is to go by.
    let cutoff = trim.cutoff.unwrap_or(highest_cut);
    if highest_cut > cutoff {
        return Some(Failure::AboveCutoff { trim: number, cut: highest_cut, cutoff });
    }
    let kept = trim.lowest_kept.filter(|&kept| cutoff > kept)?;
    Some(Failure::WrongOrder { trim: number, cut: cutoff, kept })
}

/// Holds the order of a trim against the peers' standing, which outweighs every other tag and
/// which the hub set when they connected. No value that the manager reports is used.
fn check_order_by_standing(evidence: &Evidence<'_>, number: usize, trim: &Trim) -> Option<Failure> {
    let reports = evidence.trims.iter().map(|trim| trim.reported);
    let before = reports.filter(|&reported| reported < trim.reported).max();
    let by_this_trim =
        |asked: CloseRequest| asked.at <= trim.reported && before.is_none_or(|before| before < asked.at);
    let cut = evidence
        .ledger
        .lives()
        .filter(|life| life.asked.is_some_and(by_this_trim))
        .map(|life| life.peer)
        .max_by_key(standing)?;
    let kept = kept_candidates(evidence, trim)
        .map(|life| life.peer)
        .filter(|peer| !trim.spared.contains(peer))
        .min_by_key(standing)?;
    (standing(&cut) > standing(&kept)).then_some(Failure::WrongStanding { trim: number, cut, kept })
}

/// The connections that `trim` could have closed and left open.
fn kept_candidates<'a>(evidence: &'a Evidence<'_>, trim: &'a Trim) -> impl Iterator<Item = &'a Life> {
    let settled_in = evidence.config.grace + trim.elapsed + SLACK;
    evidence.ledger.lives().filter(move |life| {
        let candidate = !evidence.protected.contains(&life.peer)
            && trim.reported.saturating_duration_since(life.opened) >= settled_in;
        // One that is asked to close later was kept by this trim, whenever it closed.
        let kept = match (life.asked, life.closed) {
            (Some(asked), _) => asked.at > trim.reported,
            (None, closed) => closed.is_none(),
        };
        candidate && kept
    })
}

#[cfg(test)]
mod tests;
