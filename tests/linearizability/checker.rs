//! Linearizability after Wing and Gong, with Lowe's memo: is there an order of the operations on one peer that keeps
//! to their intervals and in which each returns what the specification says?
//!
//! The search takes an operation that no other has to precede, if its result is right, and goes on with the rest; where it
//! gets stuck, it goes back. A pair of operations taken and state reached that was left before is not entered again.

use std::collections::HashSet;

use super::history::{Event, Record};
use super::model::Peer;

/// The most operations that are searched at once: a bit for each.
pub const MOST: usize = 128;

/// An operation as the search sees it.
#[derive(Clone, Copy)]
pub struct Step<'h> {
    pub record: &'h Record,
    /// It was under way when the history was cut off: it may have taken effect, or not.
    pub pending: bool,
}

/// The operations on `peer`, in the order they were called.
pub fn of_peer(records: &[Record], peer: usize) -> Vec<Record> {
    let mut found: Vec<Record> = records.iter().filter(|record| record.peer == peer).cloned().collect();
    for record in records {
        // What a closure read is a read of its own.
        if let Some((seen, tag, value)) = record.saw.filter(|saw| saw.0 == peer) {
            let event = Event::TagValue { tag, value: Some(value).filter(|&value| value != 0) };
            found.push(Record::new(record.thread, seen, (record.from, record.to), event));
        }
    }
    found.sort_by_key(|record| record.from);
    // A good history without a read is good.
    while let (true, Some(read)) =
        (found.len() > MOST, found.iter().rposition(|record| record.event.is_read()))
    {
        found.remove(read);
    }
    found
}

/// Whether the operations, all on one peer, can be put in an order; `first` is what the peer was before them.
pub fn linearizable(steps: &[Step<'_>], first: Peer) -> bool {
    let mut search = Search::new(steps);
    search.run(0, first);
    !search.ends.is_empty()
}

/// All that the peer may be after the operations.
pub fn outcomes(steps: &[Step<'_>], first: Peer) -> HashSet<Peer> {
    let mut search = Search::new(steps);
    search.exhaustive = true;
    search.run(0, first);
    search.ends
}

struct Search<'s, 'h> {
    steps: &'s [Step<'h>],
    /// The operations that have to be taken.
    required: u128,
    left: HashSet<(u128, Peer)>,
    ends: HashSet<Peer>,
    exhaustive: bool,
}

impl<'s, 'h> Search<'s, 'h> {
    fn new(steps: &'s [Step<'h>]) -> Self {
        assert!(steps.len() <= MOST, "{} operations are too many", steps.len());
        let bits = steps.iter().enumerate().filter(|(_, step)| !step.pending).map(|(at, _)| 1 << at);
        let required = bits.fold(0, |all, bit: u128| all | bit);
        Self { steps, required, left: HashSet::new(), ends: HashSet::new(), exhaustive: false }
    }

    /// Goes on from `peer`, which is what the operations in `taken` made. Returns whether the search is over.
    fn run(&mut self, mut taken: u128, peer: Peer) -> bool {
        self.take_reads(&mut taken, peer);
        if taken & self.required == self.required {
            self.ends.insert(peer);
            if !self.exhaustive {
                return true;
            }
        }
        if !self.left.insert((taken, peer)) {
            return false;
        }
        let limits = self.limits(taken);
        for at in self.enabled(taken, limits) {
            for next in peer.after(&self.steps[at].record.event).into_iter().flatten() {
                let may = self.steps[at].record.from < limits[usize::from(next != peer)];
                if may && self.run(taken | 1 << at, next) {
                    return true;
                }
            }
        }
        false
    }

    /// Takes every read that may come next and finds what it found: to put it off would gain nothing, as it changes nothing.
    fn take_reads(&self, taken: &mut u128, peer: Peer) {
        loop {
            let before = *taken;
            let limits = self.limits(*taken);
            for at in self.enabled(*taken, limits) {
                let event = &self.steps[at].record.event;
                if event.is_read() && peer.after(event)[0].is_some() {
                    *taken |= 1 << at;
                }
            }
            if *taken == before {
                return;
            }
        }
    }

    /// Before which instants an operation must have been called to come next: one that changes nothing, and one that does.
    fn limits(&self, taken: u128) -> [u64; 2] {
        let rest =
            || self.steps.iter().enumerate().filter(move |(at, step)| taken >> at & 1 == 0 && !step.pending);
        [false, true]
            .map(|changing| rest().map(|(_, step)| step.record.deadline(changing)).min().unwrap_or(u64::MAX))
    }

    /// The operations that may come next.
    fn enabled(&self, taken: u128, limits: [u64; 2]) -> impl Iterator<Item = usize> + use<'s, 'h> {
        let steps = self.steps;
        let called = steps.partition_point(|step| step.record.from < limits[0]);
        (0..called).filter(move |at| taken >> at & 1 == 0)
    }
}
