//! What a trim did, or would do, and why.

#![forbid(unsafe_code)]

mod explain;
mod text;

pub use explain::{Exemption, Explanation, Standing};

use std::time::Duration;

use crate::connection::CloseReason;

/// What set off a trim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TrimTrigger {
    /// A call.
    Explicit,
    /// The background thread, at the high watermark.
    Background,
    /// The background thread, in [steady mode](crate::Settings#structfield.steady), below the high watermark.
    Steady,
    /// [`reconfigure`](crate::BasicConnManager::reconfigure), which lowered a watermark.
    Reconfigured,
    /// [`force_trim`](crate::BasicConnManager::force_trim).
    Emergency,
}

/// How a trim ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TrimOutcome {
    /// A watermark is zero: trimming is disabled.
    Disabled,
    /// No more connections are open than the low watermark.
    NothingToDo,
    /// The policy asked for nothing: too many connections are protected or in their grace period.
    TooFewCandidates,
    /// As many connections as the policy asked for were closed or found gone.
    Reached,
    /// There were not enough candidates, or too many were spared.
    Short,
    /// The [close rate](crate::Settings#structfield.close_rate) let it close no more for now: the background thread goes on at its next check.
    RateLimited,
    /// The token was cancelled between two claims.
    Cancelled,
    /// A trim is running on this very thread: the call came from one of its callbacks, and did nothing.
    Reentrant,
    /// A trim was running on another thread, and a thread of the manager's own left it to that one. No call returns this.
    Busy,
}

/// Why a chosen peer was not closed after all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum SpareReason {
    /// It was protected meanwhile.
    Protected,
    /// Its value was raised above the cut-off meanwhile.
    ValueRaised,
    /// It was seen first anew meanwhile, and is in its grace period.
    InGrace,
}

/// A peer that was closed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClosedPeer<P> {
    /// The peer.
    pub peer: P,
    /// Its value at the claim: never above the cut-off.
    pub value: i64,
    /// How many of its connections were closed.
    pub connections: usize,
    /// How many of those it had opened.
    pub inbound: usize,
    /// Why.
    pub reason: CloseReason,
    /// Whether it was protected: only [`force_trim`](crate::BasicConnManager::force_trim) closes such, and only if it must.
    pub protected: bool,
}

/// A peer that was chosen and not closed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SparedPeer<P> {
    /// The peer.
    pub peer: P,
    /// Its value in the snapshot.
    pub value: i64,
    /// Why it was spared.
    pub reason: SpareReason,
}

/// What a trim did.
#[must_use = "a trim that falls short says so here and nowhere else"]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrimReport<P> {
    /// What set it off.
    pub trigger: TrimTrigger,
    /// How it ended.
    pub outcome: TrimOutcome,
    /// Whether this is the report of a trim that was running already, which the call waited for.
    pub joined: bool,
    /// The peers it closed, in the order they were claimed: lowest rank first, and after them whom an emergency came back to.
    pub closed: Vec<ClosedPeer<P>>,
    /// The connections it closed.
    pub closed_connections: usize,
    /// The peers it chose and spared.
    pub spared: Vec<SparedPeer<P>>,
    /// Open connections of peers that could be chosen.
    pub candidates: usize,
    /// Connections that the policy wanted closed, in steady mode no more than a check closes.
    pub target: usize,
    /// How many connections the [close rate](crate::Settings#structfield.close_rate), if there is one, let it close when it began. The last peer may
    /// have had more.
    pub allowed: Option<usize>,
    /// Chosen connections that were found gone, which counts towards the target.
    pub gone: usize,
    /// The highest value, in the snapshot, of the peers it chose: none worth more was closed. (An emergency that comes back to peers
    /// raised meanwhile raises it to what they were worth at the claim.)
    pub cutoff: Option<i64>,
    /// The lowest value, in the snapshot, of the candidates it never chose.
    pub lowest_kept: Option<i64>,
    /// Temporary records removed because their grace was over, and peers whose [kept](crate::Settings#structfield.keep_tags) tags went.
    pub expired: usize,
    /// Close callbacks that panicked.
    pub callback_panics: usize,
    /// The time it took by the manager's clock, callbacks included.
    pub elapsed: Duration,
}

impl<P> TrimReport<P> {
    pub(crate) fn new(trigger: TrimTrigger, outcome: TrimOutcome) -> Self {
        Self {
            trigger,
            outcome,
            joined: false,
            closed: Vec::new(),
            closed_connections: 0,
            spared: Vec::new(),
            candidates: 0,
            target: 0,
            allowed: None,
            gone: 0,
            cutoff: None,
            lowest_kept: None,
            expired: 0,
            callback_panics: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// By how many connections it missed its target: [`outcome`](Self::outcome) says why.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, ByValue, TrimOutcome, testing::Loopback};
    /// let manager = BasicConnManager::<u64, Loopback>::builder()
    ///     .low_water(1).high_water(9).grace_period(std::time::Duration::ZERO).background(false).policy(ByValue::exact())
    ///     .build()?;
    /// (0..4).for_each(|peer| manager.connected(&peer, Loopback::inbound(peer)));
    /// manager.protect(&0, "p");
    /// manager.protect(&1, "p");
    /// let report = manager.trim_open_conns();
    /// assert_eq!((report.target, report.missed(), report.outcome), (3, 1, TrimOutcome::Short));
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    #[must_use]
    pub fn missed(&self) -> usize {
        self.target.saturating_sub(self.closed_connections).saturating_sub(self.gone)
    }
}

/// A peer that a trim would close.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PlannedPeer<P> {
    /// The peer.
    pub peer: P,
    /// Its value.
    pub value: i64,
    /// Its open connections.
    pub connections: usize,
}

/// What [`trim_open_conns`](crate::BasicConnManager::trim_open_conns) would do now.
#[must_use = "a plan changes nothing by itself"]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrimPlan<P> {
    /// How the trim would end, if nothing changed meanwhile.
    pub outcome: TrimOutcome,
    /// Whom it would close, first to go first.
    pub victims: Vec<PlannedPeer<P>>,
    /// Open connections of peers that could be chosen.
    pub candidates: usize,
    /// Connections that the policy wants closed.
    pub target: usize,
    /// How many connections the close rate, if there is one, lets it close.
    pub allowed: Option<usize>,
    /// The highest value among the victims.
    pub cutoff: Option<i64>,
}
