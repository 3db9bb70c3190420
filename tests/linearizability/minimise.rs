//! From a history that fails to the few operations that show it, by steps that cannot make a good one fail.

use super::checker::{self, Step, linearizable};
use super::history::Record;
use super::model::Peer;

/// Operations on one peer that no order explains.
#[derive(Debug)]
pub struct Witness {
    /// What the peer was before them.
    pub first: Peer,
    /// In the order they were called. Those with no end were under way when the last of the others returned: they may have taken effect.
    pub records: Vec<Record>,
}

impl Witness {
    fn fails(&self) -> bool {
        !linearizable(&steps(&self.records), self.first)
    }
}

fn steps(records: &[Record]) -> Vec<Step<'_>> {
    records.iter().map(|record| Step { record, pending: record.to == u64::MAX }).collect()
}

/// The operations on `peer`, if no order explains them, and fewer of them if fewer will do.
pub fn failing(history: &[Record], peer: usize) -> Option<Witness> {
    let witness = Witness { first: Peer::default(), records: checker::of_peer(history, peer) };
    if !witness.fails() {
        return None;
    }
    Some(without_reads(without_past(shortest_prefix(witness))))
}

/// Cuts the history off as early as it fails: whatever begins later is dropped, whatever ends later may have taken effect or not.
/// A good history's prefixes are good.
fn shortest_prefix(witness: Witness) -> Witness {
    let until = |end: u64| {
        let begun = witness.records.iter().filter(|record| record.from < end);
        let cut = |record: &Record| {
            let mut record = record.clone();
            if record.to > end {
                (record.to, record.taken) = (u64::MAX, None);
            }
            record
        };
        Witness { first: witness.first, records: begun.map(cut).collect() }
    };
    let mut ends: Vec<u64> = witness.records.iter().map(|record| record.to).collect();
    ends.sort_unstable();
    // Every prefix longer than one that fails does, too.
    let shortest = ends.partition_point(|&end| !until(end).fails());
    let shorter = until(ends.get(shortest).copied().unwrap_or(u64::MAX));
    if shorter.fails() { shorter } else { witness }
}

/// Drops what had ended before everything else began, if it leaves no doubt of what it made of the peer.
fn without_past(witness: Witness) -> Witness {
    for at in (1..witness.records.len()).rev() {
        let (past, rest) = witness.records.split_at(at);
        if past.iter().any(|record| record.to > rest[0].from) {
            continue;
        }
        let outcomes = checker::outcomes(&steps(past), witness.first);
        if let (Some(&first), 1) = (outcomes.iter().next(), outcomes.len()) {
            return Witness { first, records: rest.to_vec() };
        }
    }
    witness
}

/// Drops the reads that it fails without: a good history without a read is good.
fn without_reads(mut witness: Witness) -> Witness {
    for at in (0..witness.records.len()).rev() {
        if witness.records[at].event.is_read() {
            let read = witness.records.remove(at);
            if !witness.fails() {
                witness.records.insert(at, read);
            }
        }
    }
    witness
}
