//! Whom a trim closes, said as plainly as can be: every candidate is compared with every other.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use connmgr::{Direction, Target, TrimOutcome};

/// A peer with open connections, as a trim finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub peer: u64,
    pub value: i64,
    pub protected: bool,
    pub in_grace: bool,
    /// Its open connections: who opened each, and how many streams it has, if that is known.
    pub open: Vec<(Direction, Option<usize>)>,
}

/// Why a trim is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    Asked,
    Emergency,
}

/// What a trim is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// Those that may be chosen.
    pub candidates: Vec<Standing>,
    /// Open connections of all peers.
    pub open: usize,
    /// Open connections of the candidates.
    pub of_candidates: usize,
    /// Connections to close.
    pub target: usize,
    low: usize,
}

impl Task {
    /// What a trim down to `low` has to do about these peers, all of which have open connections.
    pub fn new(peers: Vec<Standing>, low: usize, policy: Target, why: Why) -> Self {
        let connections = |peers: &[Standing]| peers.iter().map(|peer| peer.open.len()).sum::<usize>();
        let open = connections(&peers);
        let exempt = |peer: &Standing| why == Why::Asked && (peer.protected || peer.in_grace);
        let candidates: Vec<_> = peers.into_iter().filter(|peer| !exempt(peer)).collect();
        let of_candidates = connections(&candidates);
        let counted = match (why, policy) {
            (Why::Emergency, _) | (_, Target::Exact) => open,
            (Why::Asked, Target::Candidates) => of_candidates,
        };
        let target = if open > low { counted.saturating_sub(low) } else { 0 };
        Self { candidates, open, of_candidates, target, low }
    }

    /// How a trim ends that closes `connections`, or finds them gone.
    pub fn outcome(&self, connections: usize) -> TrimOutcome {
        match self.target {
            0 if self.open <= self.low => TrimOutcome::NothingToDo,
            0 => TrimOutcome::TooFewCandidates,
            target if connections >= target => TrimOutcome::Reached,
            _ => TrimOutcome::Short,
        }
    }
}

/// Whether `a` goes before `b`; neither before the other if they are tied.
pub fn before(a: &Standing, b: &Standing, why: Why) -> bool {
    let place = |peer: &Standing| {
        let emergency = why == Why::Emergency;
        let known: Option<Vec<usize>> = peer.open.iter().map(|(_, streams)| *streams).collect();
        // An unknown number is not zero.
        let streams =
            known.map_or(1, |known| known.iter().fold(0, |sum: usize, more| sum.saturating_add(*more)));
        let outbound_only = peer.open.iter().all(|(direction, _)| *direction == Direction::Outbound);
        // From 2^32 - 1 streams on all are alike.
        let streams = streams.min(u32::MAX as usize);
        let (fewer, more) = if emergency { (0, streams) } else { (streams, 0) };
        (emergency && peer.protected, peer.value, streams > 0, outbound_only, fewer, Reverse(more))
    };
    place(a) < place(b)
}

/// How ties fell: for one manager always the same way.
#[derive(Clone, Default, Debug)]
pub struct Ties(BTreeSet<(u64, u64)>);

impl Ties {
    /// Notes that `first` went before `second`, with which it was tied.
    ///
    /// # Panics
    ///
    /// If it was the other way round before.
    fn note(&mut self, first: u64, second: u64) {
        assert!(!self.0.contains(&(second, first)), "{second} went before {first}, and was tied with it");
        self.0.insert((first, second));
    }

    /// Checks that `chosen` are the first to go of `task`, and just as many as are needed.
    ///
    /// # Panics
    ///
    /// If they are not.
    pub fn check(&mut self, task: &Task, chosen: &[u64], why: Why) {
        let find = |peer| task.candidates.iter().find(|candidate| candidate.peer == peer);
        let chosen: Vec<&Standing> = chosen
            .iter()
            .map(|peer| find(*peer).unwrap_or_else(|| panic!("{peer} is no candidate")))
            .collect();
        let left = task.candidates.iter().filter(|candidate| !chosen.contains(candidate));
        let order: Vec<&Standing> = chosen.iter().copied().chain(left).collect();
        for (at, first) in chosen.iter().enumerate() {
            for second in &order[at + 1..] {
                assert_ne!(first.peer, second.peer, "chosen twice");
                assert!(!before(second, first, why), "{second:?} goes before {first:?}");
                if !before(first, second, why) {
                    self.note(first.peer, second.peer);
                }
            }
        }
        let connections = |peers: &[&Standing]| peers.iter().map(|peer| peer.open.len()).sum::<usize>();
        let enough = connections(&chosen) >= task.target || chosen.len() == task.candidates.len();
        assert!(enough, "{} of {} connections", connections(&chosen), task.target);
        if let [but_last @ .., _] = &chosen[..] {
            assert!(connections(but_last) < task.target, "one peer too many");
        }
    }
}
