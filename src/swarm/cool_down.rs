//! Peers that were trimmed a moment ago and are not to be dialled yet.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;

/// How many peers are kept at most; those trimmed first are forgotten first.
pub(super) const MOST_PEERS: usize = 4_096;

/// The peers that are cooling down.
#[derive(Debug)]
pub(super) struct CoolDown {
    period: Duration,
    until: HashMap<PeerId, Instant>,
    /// In the order of their ends, one entry for each note: an entry that does not match `until` has been superseded.
    order: VecDeque<(Instant, PeerId)>,
}

impl CoolDown {
    pub(super) fn new(period: Duration) -> Self {
        Self { period, until: HashMap::new(), order: VecDeque::new() }
    }

    /// `peer` is trimmed now.
    pub(super) fn note(&mut self, peer: PeerId, now: Instant) {
        let Some(end) = now.checked_add(self.period) else { return };
        if self.until.insert(peer, end) == Some(end) {
            // Several connections at one instant: the entry that is there says it.
            return;
        }
        self.order.push_back((end, peer));
        while let Some(&(first, _)) = self.order.front()
            && (first <= now || self.order.len() > MOST_PEERS)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((end, peer)) = self.order.pop_front()
            && self.until.get(&peer) == Some(&end)
        {
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

    #[test]
    fn no_more_are_kept_than_may_be() {
        let (mut cooling, start) = (CoolDown::new(PERIOD), Instant::now());
        let again = PeerId::random();
        for micros in 0..3 * MOST_PEERS as u64 {
            let now = start + Duration::from_micros(micros);
            cooling.note(PeerId::random(), now);
            cooling.note(again, now);
            cooling.note(again, now);
            assert_eq!(cooling.left(&again, now), Some(PERIOD), "the latest are kept");
        }
        assert!(cooling.order.len() <= MOST_PEERS && cooling.until.len() <= MOST_PEERS);
    }
}
