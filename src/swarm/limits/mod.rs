//! Hard caps, in one account with the manager's watermarks: who may come in, and what is held by whom who did.
//!
//! What is admitted holds a reservation, released when it is dropped: a [`Pending`] from the first sign of a connection, a [`Place`] from the
//! moment it is authenticated. The behaviour keeps both by connection id and drops them when the swarm says that the connection failed
//! or closed. All counts are shared by the swarms that share the [`Admission`].

mod account;
mod arrivals;
mod denied;
mod place;
mod subnets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;

use super::Manager;
use crate::connection::Direction;
use crate::interface::ConnLimiter;

use account::{Account, Count};
use arrivals::Arrivals;
use subnets::{Subnets, Tally};

pub use denied::{Cap, Denied, LimitsError};
pub(super) use place::Place;
pub(super) use subnets::Subnet;

/// How long admission waits after a trim that did not let the newcomer in before it trims again.
const TRIM_PAUSE: Duration = Duration::from_secs(1);

/// Hard caps. Each is off unless it is set; one that is set again is replaced.
///
/// # Examples
///
/// ```
/// use connmgr::swarm::{Admission, Limits};
/// use std::{num::NonZeroU32, time::Duration};
///
/// let admission = Admission::new(
///     Limits::default()
///         .with_max_established(1_000)
///         .with_trim_to_admit(50)
///         .with_max_established_per_peer(2)
///         .with_max_per_ipv4_subnet(24, 20)
///         .with_max_per_ipv6_subnet(56, 8)
///         .with_subnet_override("127.0.0.0/8".parse()?, None)
///         .with_arrival_rate(NonZeroU32::new(20).unwrap(), Duration::from_secs(60)),
/// )?;
/// assert_eq!(admission.usage().established_inbound, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, Debug)]
#[must_use = "limits do nothing until an `Admission` is made of them"]
pub struct Limits {
    pending_inbound: Option<u32>,
    pending_outbound: Option<u32>,
    established_inbound: Option<u32>,
    established_outbound: Option<u32>,
    per_peer: Option<u32>,
    established: Option<u32>,
    trim_to_admit: Option<u32>,
    spare_protected: bool,
    ipv4_subnets: BTreeMap<u8, u32>,
    ipv6_subnets: BTreeMap<u8, u32>,
    overrides: BTreeMap<IpNet, Option<u32>>,
    arrivals: Option<(NonZeroU32, Duration)>,
}

impl Limits {
    /// At most that many inbound connections that have not been authenticated yet.
    pub fn with_max_pending_inbound(self, connections: u32) -> Self {
        Self { pending_inbound: Some(connections), ..self }
    }

    /// At most that many dials under way.
    pub fn with_max_pending_outbound(self, connections: u32) -> Self {
        Self { pending_outbound: Some(connections), ..self }
    }

    /// At most that many established inbound connections.
    pub fn with_max_established_inbound(self, connections: u32) -> Self {
        Self { established_inbound: Some(connections), ..self }
    }

    /// At most that many established outbound connections.
    pub fn with_max_established_outbound(self, connections: u32) -> Self {
        Self { established_outbound: Some(connections), ..self }
    }

    /// At most that many established connections, of both directions together.
    ///
    /// The cap is not to be below the manager's high watermark, or nothing would ever be trimmed: a [`Behaviour`](super::Behaviour) is not made then. Should
    /// [`reconfigure`](crate::BasicConnManager::reconfigure) raise the watermark above the cap later, the cap stands for it: whoever finds it reached
    /// is denied, but sets off a trim, as [`with_trim_to_admit`](Self::with_trim_to_admit) says, so that there is room when what it closes has gone. Where
    /// the low watermark is not below the cap nothing can be trimmed: the cap denies, and a warning is logged, once a second at most.
    pub fn with_max_established(self, connections: u32) -> Self {
        Self { established: Some(connections), ..self }
    }

    /// At most that many established connections with one peer.
    pub fn with_max_established_per_peer(self, connections: u32) -> Self {
        Self { per_peer: Some(connections), ..self }
    }

    /// Where the cap on [all established connections](Self::with_max_established) is reached, trims first, and lets the newcomer in on the room that
    /// makes.
    ///
    /// What a trim closes goes on holding its socket for a moment. Until it is gone, up to `overshoot` connections above a
    /// cap are admitted. Who finds these taken, too, while fewer than the cap are open, is denied without a trim: room is on its way. After a trim
    /// that did not let its newcomer in, none is set off for a second.
    ///
    /// A cap of one direction sets off no trim: a trim closes down to the low watermark by value, in whichever direction, so that much might be
    /// closed and nothing gained. What any trim is closing makes room under it as well, up to the overshoot.
    ///
    /// The trim runs on the task that polls the swarm, and with it what hears of trims ([`on_trim`](crate::Builder::on_trim)): nothing of that should block. A trim
    /// that another thread is running is not waited for: who finds no room meanwhile is denied.
    pub fn with_trim_to_admit(self, overshoot: u32) -> Self {
        Self { trim_to_admit: Some(overshoot), ..self }
    }

    /// Whether protected peers are admitted beyond the caps on established connections (they count, though). No by default.
    pub fn with_protected_admitted(self, admitted: bool) -> Self {
        Self { spare_protected: admitted, ..self }
    }

    /// At most that many connections, pending inbound ones included, with the addresses of one IPv4 subnet, which is what has the first `prefix`
    /// bits in common. May be called for several lengths: each holds. The last call for a length counts.
    pub fn with_max_per_ipv4_subnet(mut self, prefix: u8, connections: u32) -> Self {
        self.ipv4_subnets.insert(prefix, connections);
        self
    }

    /// The same for IPv6 subnets. A host often has a whole /64 or more to itself, so longer prefixes bound nothing.
    pub fn with_max_per_ipv6_subnet(mut self, prefix: u8, connections: u32) -> Self {
        self.ipv6_subnets.insert(prefix, connections);
        self
    }

    /// For addresses of `subnet` this cap holds instead of those by prefix; `None`: no cap. Where several subnets match, the smallest counts;
    /// of several calls for one subnet, whichever of its addresses they name, the last. An IPv4 address that is written as an IPv6 one is in its IPv4 subnets.
    pub fn with_subnet_override(mut self, subnet: IpNet, connections: Option<u32>) -> Self {
        self.overrides.insert(subnet.trunc(), connections);
        self
    }

    /// At most `connections` inbound connections from one address (of IPv6: one /64) in a row, and as many `per` that time in the long run.
    ///
    /// 65,536 addresses are told apart at a time, each until it may come in a row as often as at first. While so many are known, all others share one
    /// rate.
    pub fn with_arrival_rate(self, connections: NonZeroU32, per: Duration) -> Self {
        Self { arrivals: Some((connections, per)), ..self }
    }
}

/// How much of an [`Admission`] is in use. The established connections are read at one instant, each other number at its own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Usage {
    /// Inbound connections that have not been authenticated yet.
    pub pending_inbound: u32,
    /// Dials under way.
    pub pending_outbound: u32,
    /// Established inbound connections, those being closed included.
    pub established_inbound: u32,
    /// Established outbound connections, those being closed included.
    pub established_outbound: u32,
    /// Established connections that the manager is closing.
    pub closing: u32,
    /// Peers that hold a place.
    pub peers: usize,
    /// Subnets that hold a place.
    pub subnets: usize,
}

/// The account of hard caps. Swarms that share a manager share it, too, by its [`Arc`].
///
/// # Progress
///
/// Nobody waits, but for the shards of the tables of peers, subnets and addresses, which are locked for the length of a count.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    pending_inbound: AtomicU32,
    pending_outbound: AtomicU32,
    /// Established connections.
    account: Account,
    peers: Tally<PeerId>,
    subnets: Subnets,
    arrivals: Option<Arrivals>,
    born: Instant,
    /// When admission may trim again, in nanoseconds since `born`.
    next_trim: AtomicU64,
}

/// A cap on established connections that is reached.
struct Full {
    cap: Cap,
    limit: u32,
    helped_by_a_trim: bool,
}

impl Admission {
    /// An account with nothing in it.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] if a prefix is longer than an address, or an arrival rate is for no time or too long a time.
    pub fn new(limits: Limits) -> Result<Arc<Self>, LimitsError> {
        let subnets = Subnets::new(&limits)?;
        let arrivals =
            limits.arrivals.map(|(connections, per)| Arrivals::new(connections, per)).transpose()?;
        Ok(Arc::new(Self {
            limits,
            pending_inbound: AtomicU32::new(0),
            pending_outbound: AtomicU32::new(0),
            account: Account::default(),
            peers: Tally::default(),
            subnets,
            arrivals,
            born: Instant::now(),
            next_trim: AtomicU64::new(0),
        }))
    }

    /// How much is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let counts = self.account.counts();
        Usage {
            pending_inbound: self.pending_inbound.load(Ordering::Acquire),
            pending_outbound: self.pending_outbound.load(Ordering::Acquire),
            established_inbound: counts.inbound.held,
            established_outbound: counts.outbound.held,
            closing: counts.total().closing,
            peers: self.peers.len(),
            subnets: self.subnets.len(),
        }
    }

    /// Whether these caps leave the manager room to do its work.
    pub(super) fn check(&self, manager: &Manager) -> Result<(), LimitsError> {
        match (self.limits.trim_to_admit, self.limits.established) {
            (Some(_), Some(cap)) => {
                let (cap, low_water) = (cap as usize, manager.info().low_water);
                if cap > low_water { Ok(()) } else { Err(LimitsError::NotAboveLow { cap, low_water }) }
            }
            _ => manager
                .check_limit(self)
                .map_err(|error| LimitsError::BelowHigh { cap: error.limit, high_water: error.high_water }),
        }
    }

    /// Takes in a connection that has not been authenticated yet; an outbound one has no address yet.
    pub(super) fn begin(
        self: &Arc<Self>,
        direction: Direction,
        remote: Option<&Multiaddr>,
    ) -> Result<Pending, Denied> {
        let (count, cap, limit) = match direction {
            Direction::Inbound => (&self.pending_inbound, Cap::PendingInbound, self.limits.pending_inbound),
            Direction::Outbound => {
                (&self.pending_outbound, Cap::PendingOutbound, self.limits.pending_outbound)
            }
        };
        let address = remote.and_then(ip_of);
        if let (Some(arrivals), Some(address), Direction::Inbound) = (&self.arrivals, address, direction) {
            arrivals.check(address)?;
        }
        let subnet = self.enter_subnet(address)?;
        let limit = limit.unwrap_or(u32::MAX);
        let counted = count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| (held < limit).then_some(held + 1));
        match counted {
            Ok(_) => Ok(Pending { admission: Arc::clone(self), direction, subnet }),
            Err(_) => Err(Denied::Full { cap, limit }),
        }
    }

    /// Takes in an address's subnets, or nothing for what has no address.
    pub(super) fn enter_subnet(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Option<Subnet>, Denied> {
        address.map(|address| Subnet::enter(self, address, true)).transpose()
    }

    /// The same without regard to caps: for an established connection that has moved.
    pub(super) fn move_subnet(self: &Arc<Self>, remote: &Multiaddr) -> Option<Subnet> {
        ip_of(remote).and_then(|address| Subnet::enter(self, address, false).ok())
    }

    /// Takes in an authenticated connection, after a trim if that is what it needs and may have.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: PeerId,
        direction: Direction,
        manager: &Manager,
    ) -> Result<Place, Denied> {
        let exempt = self.limits.spare_protected && manager.is_protected(&peer, None);
        let per_peer = if exempt { None } else { self.limits.per_peer };
        let limit = per_peer.unwrap_or(u32::MAX);
        if !self.peers.take(peer, limit) {
            return Err(Denied::Full { cap: Cap::EstablishedPerPeer, limit });
        }
        let mut counted = self.count(direction, exempt);
        if counted.as_ref().is_err_and(|full| full.helped_by_a_trim) && self.make_room(manager) {
            counted = self.count(direction, exempt);
            if counted.is_err() {
                self.pause_trims(manager);
            }
        }
        match counted {
            Ok(()) => Ok(Place::new(Arc::clone(self), peer, direction)),
            Err(Full { cap, limit, .. }) => {
                self.peers.give_back(&peer);
                Err(Denied::Full { cap, limit })
            }
        }
    }

    /// Counts one more established connection if the caps allow.
    fn count(&self, direction: Direction, exempt: bool) -> Result<(), Full> {
        let limits = &self.limits;
        let own = match direction {
            Direction::Inbound => (Cap::EstablishedInbound, limits.established_inbound),
            Direction::Outbound => (Cap::EstablishedOutbound, limits.established_outbound),
        };
        let total = (Cap::Established, limits.established);
        self.account.change(|counts| {
            let found = [(own, *counts.of(direction)), (total, counts.total())];
            let full = found.into_iter().find_map(|((cap, limit), count)| self.full(cap, limit?, count));
            counts.of(direction).held += 1;
            full.filter(|_| !exempt).map_or(Ok(()), Err)
        })
    }

    /// Whether a cap is reached.
    fn full(&self, cap: Cap, limit: u32, count: Count) -> Option<Full> {
        // What is being closed counts only against the overshoot.
        let (counted, overshoot) = match self.limits.trim_to_admit {
            Some(overshoot) => (count.open(), overshoot),
            None => (count.held, 0),
        };
        let full = counted >= limit || count.held >= limit.saturating_add(overshoot);
        // A trim closes what is open, of either direction.
        let helped_by_a_trim = cap == Cap::Established && count.open() >= limit;
        full.then_some(Full { cap, limit, helped_by_a_trim })
    }

    /// Trims, unless that is not wanted, was in vain just now, or another thread does: the swarm's task must not wait. Returns whether it did.
    fn make_room(&self, manager: &Manager) -> bool {
        // A high watermark above the cap is never reached: then the cap is what trims start at.
        let wanted = self.limits.trim_to_admit.is_some() || manager.settings().high_water > self.conn_limit();
        wanted && self.now() >= self.next_trim.load(Ordering::Relaxed) && manager.try_trim().is_some()
    }

    /// The last trim let nobody in: the next has to wait.
    fn pause_trims(&self, manager: &Manager) {
        let pause = u64::try_from(TRIM_PAUSE.as_nanos()).unwrap_or(u64::MAX);
        self.next_trim.store(self.now().saturating_add(pause), Ordering::Relaxed);
        let (cap, low_water) = (self.conn_limit(), manager.settings().low_water);
        if cap <= low_water {
            tracing::warn!(target: "connmgr", cap, low_water, "the low watermark is not below the cap: no trim makes room");
        }
    }

    /// Nanoseconds since the account was made.
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl ConnLimiter for Admission {
    /// The cap on established connections, or the largest number there is.
    fn conn_limit(&self) -> usize {
        self.limits.established.map_or(usize::MAX, |limit| limit as usize)
    }
}

/// The address that subnets and arrivals go by: that of the remote itself, not that of a relay.
pub(super) fn ip_of(remote: &Multiaddr) -> Option<IpAddr> {
    if remote.iter().any(|part| part == Protocol::P2pCircuit) {
        return None;
    }
    match remote.iter().next()? {
        Protocol::Ip4(address) => Some(address.into()),
        // An IPv4 address in the guise of an IPv6 one is the same host.
        Protocol::Ip6(address) => Some(IpAddr::V6(address).to_canonical()),
        _ => None,
    }
}

/// The reservation of a connection that has not been authenticated yet.
#[derive(Debug)]
pub(super) struct Pending {
    admission: Arc<Admission>,
    direction: Direction,
    /// Kept when the rest is given back: see [`Pending::settle`].
    subnet: Option<Subnet>,
}

impl Pending {
    /// The connection is authenticated: gives back what was pending, and keeps the place in its subnets.
    pub(super) fn settle(mut self) -> Option<Subnet> {
        self.subnet.take()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let count = match self.direction {
            Direction::Inbound => &self.admission.pending_inbound,
            Direction::Outbound => &self.admission.pending_outbound,
        };
        count.fetch_sub(1, Ordering::AcqRel);
    }
}
