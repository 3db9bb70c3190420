//! Which connections to close: pure decisions over plain data, with no atomics and no clock.
//!
//! The manager gathers [`Candidate`]s from a snapshot, asks a [`TrimPolicy`] how many connections to close and how the
//! candidates rank, and keeps the order here. A dry run and the real trim run the same code.

#![forbid(unsafe_code)]

/// A peer that a trim may choose: it has open connections and nothing exempts it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// The sum of its tags, as of the snapshot.
    pub value: i64,
    /// Its open connections, those being closed not counted, nor, where each connection has a grace of its own, those in it. At least one.
    pub connections: usize,
    /// Open streams over all its open connections, or `None` if any of them does not know.
    pub streams: Option<usize>,
    /// Whether any of its open connections is inbound.
    pub inbound: bool,
    /// Whether it is protected: seen in an emergency only.
    pub protected: bool,
}

impl Candidate {
    /// A candidate with those facts, for tests of policies and for replays.
    #[must_use]
    pub fn new(value: i64, connections: usize, streams: Option<usize>, inbound: bool) -> Self {
        Self { value, connections, streams, inbound, protected: false }
    }
}

/// The whole picture, as of the snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Census {
    /// The low watermark.
    pub low_water: usize,
    /// The high watermark.
    pub high_water: usize,
    /// Open connections of all peers, those being closed not counted.
    pub open: usize,
    /// Open connections of the candidates.
    pub candidates: usize,
}

impl Census {
    /// A picture with those facts, for tests of policies and for replays.
    #[must_use]
    pub fn new(low_water: usize, high_water: usize, open: usize, candidates: usize) -> Self {
        Self { low_water, high_water, open, candidates }
    }
}

/// A candidate's place in the order: the lowest goes first. Ties are broken by a hash keyed per manager.
///
/// Any ranks will do. They are sorted fastest if what they differ by, in the first word and in each half of the second, takes no more bits together than 60 less those of the
/// number of peers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rank(pub i64, pub u64);

/// How to choose what a trim closes.
///
/// Both methods are called while the trim's snapshot is held: they should compute, not block.
///
/// # Examples
///
/// ```
/// use connmgr::{Candidate, Census, Rank, TrimPolicy};
///
/// /// Closes ten at most, peers with the most connections first.
/// #[derive(Debug)]
/// struct Gently;
///
/// impl TrimPolicy for Gently {
///     fn target(&self, census: &Census) -> usize {
///         census.open.saturating_sub(census.low_water).min(10)
///     }
///     fn rank(&self, candidate: &Candidate) -> Rank {
///         Rank(-(candidate.connections as i64), 0)
///     }
/// }
/// assert_eq!(Gently.target(&Census::new(20, 40, 25, 25)), 5);
/// ```
pub trait TrimPolicy: Send + Sync + 'static {
    /// The number of connections to close. Whole peers are closed, so the last one may exceed it.
    fn target(&self, census: &Census) -> usize;

    /// Where the candidate stands.
    fn rank(&self, candidate: &Candidate) -> Rank;
}

// A policy may be shared, and kept by whoever set it.
impl<T: TrimPolicy + ?Sized> TrimPolicy for std::sync::Arc<T> {
    fn target(&self, census: &Census) -> usize {
        T::target(self, census)
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        T::rank(self, candidate)
    }
}

/// How [`ByValue`] sets its target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Target {
    /// As go-libp2p's `BasicConnMgr`: the candidates' connections less the low watermark, and nothing if the candidates
    /// have fewer than that ("too many in grace").
    #[default]
    Candidates,
    /// All open connections less the low watermark.
    Exact,
}

/// The reference's order: lower value first; then peers without streams before peers with; then peers with an inbound
/// connection before outbound-only ones; then fewer streams.
///
/// An unknown stream count ranks as one stream: it is never taken for zero. Counts beyond 2^32 - 1 rank alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ByValue {
    /// How many to close.
    pub target: Target,
}

impl ByValue {
    /// go-libp2p's policy.
    #[must_use]
    pub const fn reference() -> Self {
        Self { target: Target::Candidates }
    }

    /// The same order, down to the low watermark exactly (but for the last peer's further connections).
    #[must_use]
    pub const fn exact() -> Self {
        Self { target: Target::Exact }
    }
}

/// Bits of a rank's second word that hold the stream count: its lower half, as halves are looked at by themselves when keys are made of ranks.
const STREAM_BITS: u32 = 32;
const MOST_STREAMS: u64 = (1 << STREAM_BITS) - 1;

fn streams(candidate: &Candidate) -> u64 {
    candidate.streams.map_or(1, |count| (count as u64).min(MOST_STREAMS))
}

impl TrimPolicy for ByValue {
    fn target(&self, census: &Census) -> usize {
        match self.target {
            Target::Candidates => census.candidates.saturating_sub(census.low_water),
            Target::Exact => census.open.saturating_sub(census.low_water),
        }
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        rank(candidate, streams(candidate))
    }
}

/// The rank by value, then idle before busy, then inbound before outbound-only, then by `last`.
fn rank(candidate: &Candidate, last: u64) -> Rank {
    let busy = u64::from(streams(candidate) > 0) << (STREAM_BITS + 1);
    // Not `u64::from(!inbound)`, which compilers read with `protected` in one load: that waits for the two stores that made them.
    let outbound_only = if candidate.inbound { 0 } else { 1 << STREAM_BITS };
    Rank(candidate.value, busy | outbound_only | last)
}

/// The order of an emergency: unprotected before protected, then as [`ByValue`], but for more streams first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct InEmergency;

impl TrimPolicy for InEmergency {
    fn target(&self, census: &Census) -> usize {
        census.open.saturating_sub(census.low_water)
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        rank(candidate, MOST_STREAMS - streams(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_rank_as_in_the_reference() {
        let rank =
            |value, streams, inbound| ByValue::reference().rank(&Candidate::new(value, 1, streams, inbound));
        let order = [
            rank(-1, Some(9), false),
            rank(0, Some(0), true),
            rank(0, Some(0), false),
            rank(0, Some(1), true),
            rank(0, Some(5), true),
            rank(0, Some(1), false),
            rank(0, Some(usize::MAX), false),
            rank(1, Some(0), true),
        ];
        assert!(order.is_sorted(), "first to go first: {order:?}");
        assert_eq!(rank(0, None, true), rank(0, Some(1), true), "unknown is not zero");
    }

    #[test]
    fn an_emergency_takes_more_streams_first() {
        let rank = |streams| InEmergency.rank(&Candidate::new(0, 1, streams, true));
        assert!(rank(Some(9)) < rank(Some(2)), "more streams first");
        assert!(rank(Some(0)) < rank(Some(9)), "but those without streams before all");
        assert!(rank(Some(2)) < rank(None) && rank(Some(0)) < rank(None), "unknown is one, not zero");
    }

    #[test]
    fn targets_differ_in_what_they_count() {
        let census = Census::new(10, 20, 30, 12);
        assert_eq!(ByValue::reference().target(&census), 2, "candidates less low");
        assert_eq!(ByValue::exact().target(&census), 20, "open less low");
        assert_eq!(ByValue::reference().target(&Census::new(10, 20, 30, 9)), 0, "too many in grace");
    }
}
