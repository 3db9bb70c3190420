//! Whom a trim would close: candidates from a snapshot, the policy's target, and the order.

use std::hash::Hash;

use ahash::RandomState;

use super::Inner;
use super::order::{Gathered, Order, Ranked};
use crate::connection::{Connection, Entry};
use crate::index::{Indexed, Node};
use crate::manager::decaying::Appraiser;
use crate::manager::settings::{GracePer, Settings};
use crate::manager::time::nanos;
use crate::peer::{ClaimTerms, ExpiryTerms, Links, Peer};
use crate::policy::{Candidate, Census, InEmergency, TrimPolicy};
use crate::report::{TrimOutcome, TrimTrigger};
use crate::snapshot::{Cut, PeerAt};

pub(super) type TableCut<'t, P, C> = Cut<'t, P, Entry<C>, RandomState>;

/// What one trim goes by from its beginning to its end.
pub(super) struct Basis<'s> {
    pub(super) settings: &'s Settings,
    pub(super) trigger: TrimTrigger,
    /// The time of the snapshot, and what tags are worth then.
    pub(super) appraiser: Appraiser,
    grace: Option<PastGrace>,
    /// The most connections that the close rate lets it close, if there is one.
    pub(super) allowed: Option<usize>,
}

impl<'s> Basis<'s> {
    pub(super) fn emergency(&self) -> bool {
        self.trigger == TrimTrigger::Emergency
    }

    fn policy(&self) -> &'s dyn TrimPolicy {
        if self.emergency() { &InEmergency } else { &*self.settings.policy }
    }

    /// What has outlived its time without a connection.
    pub(super) fn expiry(&self) -> ExpiryTerms {
        let before = |period| self.appraiser.now.checked_sub(nanos(period));
        ExpiryTerms { seen_by: before(self.settings.grace_period), left_by: before(self.settings.keep_tags) }
    }

    /// The terms of a claim at `now`, which a clock that went back may have made stricter; `None` if nobody can be claimed.
    pub(super) fn claim_terms(&self, now: u64, cutoff: i64, protected_too: bool) -> Option<ClaimTerms> {
        let seen_by = grace(self.settings, self.trigger, now)?.seen_by;
        Some(ClaimTerms { cutoff, seen_by, opened_by: self.grace?.opened_by, protected_too })
    }

    /// A peer's value as of the snapshot.
    pub(super) fn value<P, C: Connection>(&self, at: &PeerAt<'_, P, Entry<C>>) -> i64 {
        self.appraiser.worth(at.state)
    }

    /// What of a peer's connections may be closed, by when they were opened; `None` if the peer is exempt.
    fn past_grace<C: Send + Sync + 'static>(&self, links: Links<'_, C>) -> Option<u64> {
        let exempt = links.is_protected() && !self.emergency();
        self.grace.filter(|grace| !exempt && links.first_seen() <= grace.seen_by).map(|grace| grace.opened_by)
    }
}

/// What is past its grace: peers first seen, and of these the connections opened, at these times or before.
#[derive(Clone, Copy)]
struct PastGrace {
    seen_by: u64,
    opened_by: u64,
}

/// What is past its grace at `now`, which in an emergency everything is; `None` if nothing can be.
fn grace(settings: &Settings, trigger: TrimTrigger, now: u64) -> Option<PastGrace> {
    let any = PastGrace { seen_by: u64::MAX, opened_by: u64::MAX };
    if trigger == TrimTrigger::Emergency {
        return Some(any);
    }
    let by = now.checked_sub(nanos(settings.grace_period))?;
    Some(match settings.grace_per {
        GracePer::Peer => PastGrace { seen_by: by, ..any },
        GracePer::Connection => PastGrace { opened_by: by, ..any },
    })
}

/// A peer that may be chosen.
pub(super) struct Facts<'c, P, C: Connection> {
    pub(super) node: &'c Node<Peer<P, Entry<C>>>,
    /// As it was chosen by: an update that straddles the snapshot may since have come into it.
    pub(super) links: Links<'c, Entry<C>>,
    pub(super) value: i64,
    pub(super) connections: usize,
}

impl<P, C: Connection> Clone for Facts<'_, P, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, C: Connection> Copy for Facts<'_, P, C> {}

impl<P: Send + Sync + 'static, C: Connection> Ranked for Facts<'_, P, C> {
    fn tie(&self) -> u64 {
        self.node.hash()
    }
}

/// What was decided from a snapshot.
pub(super) struct Choice<'c, P, C: Connection> {
    pub(super) order: Order<Facts<'c, P, C>>,
    pub(super) census: Census,
    pub(super) target: usize,
    /// How many connections those who are chosen are to hold together, if there are so many.
    goal: usize,
    /// How many those hold who have been chosen.
    connections: usize,
    /// The highest value of those.
    pub(super) cutoff: Option<i64>,
    /// Why nobody is to be chosen, if so.
    nobody: Option<TrimOutcome>,
}

impl<'c, P: Send + Sync + 'static, C: Connection> Choice<'c, P, C> {
    /// The next to go, until those who were chosen hold as many connections as are to be closed.
    #[inline]
    pub(super) fn next_chosen(&mut self) -> Option<Facts<'c, P, C>> {
        if self.connections >= self.goal {
            return None;
        }
        let next = self.order.next()?;
        let peer = *self.order.at(next);
        self.connections += peer.connections;
        self.cutoff = self.cutoff.max(Some(peer.value));
        Some(peer)
    }

    /// Chooses all at once; the order begins again with the first of them. Returns how many they are.
    pub(super) fn choose_all(&mut self) -> usize {
        while self.next_chosen().is_some() {}
        let chosen = self.order.taken();
        self.order.rewind();
        chosen
    }

    /// The most that may be chosen, as each has a connection.
    pub(super) fn expected(&self) -> usize {
        self.goal.min(self.order.len())
    }

    /// How the trim ends if all who were chosen are closed.
    pub(super) fn outcome(&self) -> TrimOutcome {
        match self.nobody {
            Some(outcome) => outcome,
            None if self.connections >= self.target => TrimOutcome::Reached,
            None if self.connections >= self.goal => TrimOutcome::RateLimited,
            None => TrimOutcome::Short,
        }
    }
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// What a trim that begins now, with a snapshot taken, goes by.
    pub(super) fn basis<'s>(&self, settings: &'s Settings, trigger: TrimTrigger) -> Basis<'s> {
        let appraiser = self.appraiser();
        let now = appraiser.now;
        let rate = settings.close_rate.filter(|_| trigger != TrimTrigger::Emergency);
        let allowed = rate.map(|rate| self.bucket.tokens(rate, now));
        Basis { settings, trigger, appraiser, grace: grace(settings, trigger, now), allowed }
    }

    /// Finds from `cut` whom to close. Tells `each` every peer, and whether it is a candidate.
    pub(super) fn choose<'c>(
        &self,
        cut: &'c TableCut<'_, P, C>,
        basis: &Basis<'_>,
        mut each: impl FnMut(PeerAt<'c, P, Entry<C>>, bool),
    ) -> Choice<'c, P, C> {
        let (policy, settings) = (basis.policy(), basis.settings);
        let (mut open, mut candidates) = (0, 0);
        let mut gathered = Gathered::with_capacity(self.table.len());
        for at in cut.iter_states() {
            let (of_peer, candidate) = candidate(&at, basis);
            open += of_peer;
            each(at, candidate.is_some());
            let Some(candidate) = candidate else { continue };
            candidates += candidate.connections;
            let rank = policy.rank(&candidate);
            let Candidate { value, connections, protected, .. } = candidate;
            gathered.push(Facts { node: at.node, links: at.links, value, connections }, rank, protected);
        }
        let (low_water, high_water) = (settings.low_water, settings.high_water);
        let census = Census { low_water, high_water, open, candidates };
        let wanted = if settings.enabled() && open > low_water { policy.target(&census) } else { 0 };
        let most = settings.steady.filter(|_| basis.trigger == TrimTrigger::Steady);
        let target = most.map_or(wanted, |most| wanted.min(most.get()));
        let goal = basis.allowed.map_or(target, |allowed| target.min(allowed));
        let nobody = match target {
            _ if !settings.enabled() => Some(TrimOutcome::Disabled),
            0 if open <= low_water => Some(TrimOutcome::NothingToDo),
            0 => Some(TrimOutcome::TooFewCandidates),
            _ => None,
        };
        let expected = goal.min(gathered.len());
        let order = gathered.into_order(expected);
        Choice { order, census, target, goal, connections: 0, cutoff: None, nobody }
    }
}

/// How many connections a peer has open, and what a policy is shown of it; `None` if it is exempt.
// In line, or what it returns goes through memory, and is read in wider pieces than it was written in: such a read waits until the writes are done.
#[inline(always)]
fn candidate<P, C: Connection>(
    at: &PeerAt<'_, P, Entry<C>>,
    basis: &Basis<'_>,
) -> (usize, Option<Candidate>) {
    let Some(opened_by) = basis.past_grace(at.links) else { return (at.links.open().count(), None) };
    let (mut open, mut connections, mut streams, mut inbound) = (0, 0, Some(0_usize), false);
    for conn in at.links.open() {
        open += 1;
        if conn.opened() <= opened_by {
            connections += 1;
            let more = conn.entry.conn.stream_count();
            streams = streams.zip(more).map(|(sum, more)| sum.saturating_add(more));
            inbound |= conn.is_inbound();
        }
    }
    let protected = at.links.is_protected();
    let candidate = || Candidate { value: basis.value(at), connections, streams, inbound, protected };
    (open, (connections > 0).then(candidate))
}
