//! Peers that were trimmed a moment ago and are not to be dialled yet.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;

use crate::decay::LONGEST;

/// How many peers are kept at most; those whose last trim is longest ago are forgotten first.
pub(super) const MOST_PEERS: usize = 4_096;

/// The peers that are cooling down.
#[derive(Debug)]
pub(super) struct CoolDown {
    period: Duration,
    until: HashMap<PeerId, Instant>,
    /// The same in the order of their ends.
    order: BTreeSet<(Instant, PeerId)>,
}

impl CoolDown {
    pub(super) fn new(period: Duration) -> Self {
        // A hundred years are for ever; what is longer, no clock can add to the present.
        Self { period: period.min(LONGEST), until: HashMap::new(), order: BTreeSet::new() }
    }

    /// `peer` is trimmed now.
    pub(super) fn note(&mut self, peer: PeerId, now: Instant) {
        let end = now + self.period;
        if let Some(before) = self.until.insert(peer, end) {
            self.order.remove(&(before, peer));
        }
        self.order.insert((end, peer));
        while let Some(&(first, peer)) = self.order.first()
            && (first <= now || self.order.len() > MOST_PEERS)
        {
            self.order.pop_first();
            self.until.remove(&peer);
        }
    }

    /// How long `peer` is to be left alone.
    pub(super) fn left(&self, peer: &PeerId, now: Instant) -> Option<Duration> {
        self.until.get(peer)?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    #[test]
    fn a_peer_cools_down_from_its_last_trim() {
        let (mut cooling, peer, start) = (CoolDown::new(PERIOD), PeerId::random(), Instant::now());
        assert_eq!(cooling.left(&peer, start), None);
        cooling.note(peer, start);
        cooling.note(peer, start + PERIOD / 2);
        assert_eq!(cooling.left(&peer, start + PERIOD), Some(PERIOD / 2));
        assert_eq!(cooling.left(&peer, start + PERIOD * 3 / 2), None, "over");
        cooling.note(PeerId::random(), start + PERIOD);
        assert_eq!(
            cooling.left(&peer, start + PERIOD),
            Some(PERIOD / 2),
            "the first note's end is not its end"
        );
    }

    #[test]
    fn those_who_have_cooled_are_forgotten() {
        let (mut cooling, start) = (CoolDown::new(PERIOD), Instant::now());
        (0..100).for_each(|_| cooling.note(PeerId::random(), start));
        cooling.note(PeerId::random(), start + PERIOD);
        assert_eq!((cooling.until.len(), cooling.order.len()), (1, 1));
    }

    /// One who is trimmed again and again takes one place.
    #[test]
    fn the_peers_trimmed_last_are_kept_however_often_each_was() {
        let (mut cooling, start) = (CoolDown::new(PERIOD), Instant::now());
        let peers: Vec<PeerId> = (0..2 * MOST_PEERS).map(|_| PeerId::random()).collect();
        let again = peers[0];
        let mut now = start;
        for peer in &peers {
            for noted in [again, *peer, again, again] {
                now += Duration::from_micros(1);
                cooling.note(noted, now);
            }
        }
        assert_eq!((cooling.until.len(), cooling.order.len()), (MOST_PEERS, MOST_PEERS));
        let (forgotten, kept) = peers[1..].split_at(MOST_PEERS);
        assert!(
            kept.iter().chain([&again]).all(|peer| cooling.left(peer, now).is_some()),
            "the last of them"
        );
        assert!(forgotten.iter().all(|peer| cooling.left(peer, now).is_none()), "no more than those");
    }

    /// No clock can add such periods to the present.
    #[test]
    fn a_period_without_end_is_for_ever() {
        let (mut cooling, peer, start) = (CoolDown::new(Duration::MAX), PeerId::random(), Instant::now());
        cooling.note(peer, start);
        let a_lifetime = Duration::from_secs(80 * 365 * 24 * 60 * 60);
        assert!(cooling.left(&peer, start).is_some_and(|left| left > a_lifetime));
        assert!(cooling.left(&peer, start + a_lifetime).is_some());
    }
}
