//! Whom a trim would close: candidates from a snapshot, the policy's target, and the order.

use std::hash::Hash;

use ahash::RandomState;

use super::Inner;
use crate::connection::{Connection, Direction, Entry};
use crate::manager::decaying::Appraiser;
use crate::manager::settings::{GracePer, Settings};
use crate::manager::time::nanos;
use crate::peer::{ClaimTerms, Conn, ExpiryTerms};
use crate::policy::{Candidate, Census, InEmergency, Order, Ranked, TrimPolicy};
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
        self.appraiser.worth(at.state.tags())
    }

    /// The connections of a peer that may be closed: none if it is exempt.
    fn candidates<'c, P, C: Connection>(
        &self,
        at: &PeerAt<'c, P, Entry<C>>,
    ) -> impl Iterator<Item = &'c Conn<Entry<C>>> + use<'c, P, C> {
        let links = at.links;
        let exempt = links.is_protected() && !self.emergency();
        let grace = self.grace.filter(|grace| !exempt && links.first_seen() <= grace.seen_by);
        grace.into_iter().flat_map(|grace| links.open_since(grace.opened_by))
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
    pub(super) at: PeerAt<'c, P, Entry<C>>,
    pub(super) value: i64,
    pub(super) connections: usize,
}

/// What was decided from a snapshot.
pub(super) struct Choice<'c, P, C: Connection> {
    pub(super) peers: Vec<Facts<'c, P, C>>,
    pub(super) order: Order,
    /// The first to go: together they hold as many connections as are to be closed, or they are all there are.
    pub(super) chosen: Vec<Ranked>,
    pub(super) census: Census,
    pub(super) target: usize,
    pub(super) cutoff: Option<i64>,
    /// How the trim ends if all who were chosen are closed.
    pub(super) outcome: TrimOutcome,
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

    /// Decides from `cut` whom to close. Peers that are exempt are told to `exempt`.
    pub(super) fn choose<'c>(
        &self,
        cut: &'c TableCut<'_, P, C>,
        basis: &Basis<'_>,
        mut exempt: impl FnMut(PeerAt<'c, P, Entry<C>>),
    ) -> Choice<'c, P, C> {
        let (policy, settings) = (basis.policy(), basis.settings);
        let (mut open, mut candidates) = (0, 0);
        let (mut peers, mut entries) = (Vec::new(), Vec::new());
        for at in cut.iter() {
            open += at.links.open().count();
            let Some(candidate) = candidate(&at, basis) else {
                exempt(at);
                continue;
            };
            candidates += candidate.connections;
            let (protected, index) = (candidate.protected, peers.len());
            entries.push(Ranked { protected, rank: policy.rank(&candidate), tie: at.node.hash(), index });
            peers.push(Facts { at, value: candidate.value, connections: candidate.connections });
        }
        let (low_water, high_water) = (settings.low_water, settings.high_water);
        let census = Census { low_water, high_water, open, candidates };
        let wanted = if settings.enabled() && open > low_water { policy.target(&census) } else { 0 };
        let most = settings.steady.filter(|_| basis.trigger == TrimTrigger::Steady);
        let target = most.map_or(wanted, |most| wanted.min(most.get()));
        let goal = basis.allowed.map_or(target, |allowed| target.min(allowed));
        let mut order = Order::new(entries, goal.min(peers.len()));
        let (mut chosen, mut cutoff, mut connections) = (Vec::new(), None, 0);
        while connections < goal {
            let Some(next) = order.next() else { break };
            connections += peers[next.index].connections;
            cutoff = cutoff.max(Some(peers[next.index].value));
            chosen.push(next);
        }
        let outcome = match target {
            _ if !settings.enabled() => TrimOutcome::Disabled,
            0 if open <= low_water => TrimOutcome::NothingToDo,
            0 => TrimOutcome::TooFewCandidates,
            _ if connections >= target => TrimOutcome::Reached,
            _ if connections >= goal => TrimOutcome::RateLimited,
            _ => TrimOutcome::Short,
        };
        Choice { peers, order, chosen, census, target, cutoff, outcome }
    }
}

/// What a policy is shown of a peer; `None` if it is exempt.
fn candidate<P, C: Connection>(at: &PeerAt<'_, P, Entry<C>>, basis: &Basis<'_>) -> Option<Candidate> {
    let mut connections = 0;
    let mut streams = Some(0_usize);
    let mut inbound = false;
    for conn in basis.candidates(at) {
        connections += 1;
        let more = conn.entry.conn.stream_count();
        streams = streams.zip(more).map(|(sum, more)| sum.saturating_add(more));
        inbound |= conn.entry.direction == Direction::Inbound;
    }
    let protected = at.links.is_protected();
    (connections > 0).then(|| Candidate { value: basis.value(at), connections, streams, inbound, protected })
}
