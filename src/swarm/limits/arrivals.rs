//! How fast inbound connections may come from one address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::{Denied, LimitsError};

/// How many addresses are told apart.
const MOST_ADDRESSES: usize = 65_536;

/// How often the addresses are gone through for those that can be forgotten, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// The longest period of a rate.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept of each address that is told apart, and of all others together.
struct Addresses {
    known: DashMapStateStore<IpAddr, RandomState>,
    rest: InMemoryState,
    most: usize,
}

impl Addresses {
    fn full(&self) -> bool {
        self.known.len() >= self.most
    }
}

impl StateStore for Addresses {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, address: &IpAddr, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Who is known keeps a rate of his own, however many others come.
        if let Some(state) = self.known.get(address) {
            return state.measure_and_replace(&NotKeyed::NonKey, measure);
        }
        if self.full() {
            return self.rest.measure_and_replace(&NotKeyed::NonKey, measure);
        }
        self.known.measure_and_replace(address, measure)
    }
}

impl ShrinkableKeyedStateStore<IpAddr> for Addresses {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.known.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known.len()
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

type Limiter<C> = RateLimiter<IpAddr, Addresses, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A rate for each address.
pub(super) struct Arrivals<C: Clock = DefaultClock> {
    limiter: Limiter<C>,
    started: C::Instant,
    most: usize,
    /// When the addresses may be gone through again, in nanoseconds since the start.
    next_sweep: AtomicU64,
}

impl Arrivals {
    pub(super) fn new(connections: NonZeroU32, per: Duration) -> Result<Self, LimitsError> {
        Self::with(connections, per, DefaultClock::default(), MOST_ADDRESSES)
    }
}

impl<C: Clock> Arrivals<C> {
    fn with(connections: NonZeroU32, per: Duration, clock: C, most: usize) -> Result<Self, LimitsError> {
        let each = Some(per).filter(|per| *per <= LONGEST).and_then(|per| per.checked_div(connections.get()));
        let quota = each.and_then(Quota::with_period).ok_or(LimitsError::ArrivalPeriod(per))?;
        let addresses =
            Addresses { known: DashMapStateStore::default(), rest: InMemoryState::default(), most };
        let started = clock.now();
        let limiter = RateLimiter::new(quota.allow_burst(connections), addresses, clock);
        Ok(Self { limiter, started, most, next_sweep: AtomicU64::new(0) })
    }

    /// Counts an arrival.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Denied> {
        let from = host(address);
        if self.limiter.len() >= self.most {
            self.sweep();
        }
        self.limiter.check_key(&from).map_err(|refused| {
            let retry_after = refused.wait_time_from(self.limiter.clock().now());
            Denied::TooFast { from, retry_after }
        })
    }

    /// Forgets those who may come as often as if they had never come, unless that was done just now.
    #[cold]
    fn sweep(&self) {
        let now = self.limiter.clock().now().duration_since(self.started).as_u64();
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.saturating_add(u64::try_from(SWEEP.as_nanos()).unwrap_or(u64::MAX));
        // One thread goes through them.
        let swap = self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if now < due || swap.is_err() {
            return;
        }
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

impl<C: Clock> fmt::Debug for Arrivals<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("addresses", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// What a host can be told by: an IPv4 address, or the /64 that it can choose its IPv6 addresses from.
fn host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn arrivals(connections: u32, per: u64, most: usize) -> (Arrivals<FakeRelativeClock>, FakeRelativeClock) {
        let (clock, connections) =
            (FakeRelativeClock::default(), NonZeroU32::new(connections).expect("some"));
        let arrivals = Arrivals::with(connections, Duration::from_secs(per), clock.clone(), most);
        (arrivals.expect("a rate"), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_comes_as_often_as_it_may_and_is_told_when_to_come_again() {
        let (arrivals, clock) = arrivals(3, 30, 100);
        for _ in 0..3 {
            arrivals.check(ip("192.0.2.1")).expect("within the burst");
        }
        let refused = arrivals.check(ip("192.0.2.1")).expect_err("too fast");
        assert_eq!(refused, Denied::TooFast { from: ip("192.0.2.1"), retry_after: Duration::from_secs(10) });
        arrivals.check(ip("192.0.2.2")).expect("another address");
        clock.advance(Duration::from_secs(10));
        arrivals.check(ip("192.0.2.1")).expect("one more, a third of the time later");
        assert!(arrivals.check(ip("192.0.2.1")).is_err(), "and no more than that");
    }

    #[test]
    fn the_addresses_of_one_host_share_a_rate() {
        let (arrivals, _) = arrivals(1, 60, 100);
        arrivals.check(ip("2001:db8::1")).expect("the first");
        assert!(arrivals.check(ip("2001:db8::2")).is_err(), "the same /64");
        arrivals.check(ip("2001:db8:0:1::1")).expect("another /64");
    }

    #[test]
    fn no_more_addresses_are_kept_than_may_be_and_the_rest_share_a_rate() {
        let (arrivals, clock) = arrivals(1, 60, 4);
        for host in 1..=4 {
            arrivals.check(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host))).expect("told apart");
        }
        clock.advance(Duration::from_secs(1));
        arrivals.check(ip("198.51.100.1")).expect("the first of the rest");
        assert!(arrivals.check(ip("198.51.100.2")).is_err(), "shares its rate");
        assert_eq!(arrivals.limiter.len(), 4, "and takes no place");
        clock.advance(Duration::from_secs(120));
        arrivals.check(ip("198.51.100.2")).expect("room, now that the others are forgotten");
        assert_eq!(arrivals.limiter.len(), 1, "the others are forgotten");
    }

    /// However many come of whom nothing is known, they use up the rate of the rest and of nobody else.
    #[test]
    fn those_who_are_known_keep_their_rates_while_others_flood() {
        let (arrivals, _) = arrivals(3, 60, 2);
        for known in ["192.0.2.1", "192.0.2.2"] {
            arrivals.check(ip(known)).expect("told apart");
        }
        let flood = (0..=255).map(|host| arrivals.check(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host))));
        assert_eq!(flood.filter(Result::is_ok).count(), 3, "one burst for all of them");
        for known in ["192.0.2.1", "192.0.2.2"] {
            (0..2).for_each(|_| arrivals.check(ip(known)).expect("the rest of its burst"));
            let refused = arrivals.check(ip(known)).expect_err("no more than its burst");
            assert!(matches!(refused, Denied::TooFast { from, .. } if from == ip(known)), "{refused}");
        }
    }

    #[test]
    fn a_rate_that_cannot_be_kept_is_refused() {
        let new = |connections, per| Arrivals::new(NonZeroU32::new(connections).expect("some"), per).err();
        assert_eq!(new(1, Duration::ZERO), Some(LimitsError::ArrivalPeriod(Duration::ZERO)));
        let short = Duration::from_nanos(3);
        assert_eq!(new(4, short), Some(LimitsError::ArrivalPeriod(short)));
        assert_eq!(new(1, Duration::MAX), Some(LimitsError::ArrivalPeriod(Duration::MAX)));
    }
}
