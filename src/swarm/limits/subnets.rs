//! How many connections each peer and each subnet has, for many threads.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::{Admission, Denied, Limits, LimitsError};

/// A count for each key. A key with nothing counted is not there: the table is as large as what is held.
#[derive(Debug)]
pub(super) struct Tally<K: Eq + Hash>(DashMap<K, u32, RandomState>);

impl<K: Eq + Hash> Default for Tally<K> {
    fn default() -> Self {
        Self(DashMap::default())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// Counts one more, if there are fewer than `limit`.
    pub(super) fn take(&self, key: K, limit: u32) -> bool {
        match self.0.entry(key) {
            Entry::Occupied(mut held) if *held.get() < limit => {
                *held.get_mut() += 1;
                true
            }
            Entry::Vacant(none) if limit > 0 => {
                none.insert(1);
                true
            }
            _ => false,
        }
    }

    /// Counts one less.
    pub(super) fn give_back(&self, key: &K) {
        let emptied = self.0.get_mut(key).is_some_and(|mut held| {
            *held = held.saturating_sub(1);
            *held == 0
        });
        if emptied {
            // Unless somebody took one meanwhile.
            self.0.remove_if(key, |_, held| *held == 0);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The subnets an address belongs to, as far as they have caps.
type Capped = SmallVec<[(IpNet, u32); 2]>;

/// The caps on subnets and what counts against them.
#[derive(Debug)]
pub(super) struct Subnets {
    ipv4: BTreeMap<u8, u32>,
    ipv6: BTreeMap<u8, u32>,
    /// The smallest subnets first.
    overrides: Vec<(IpNet, Option<u32>)>,
    held: Tally<IpNet>,
}

impl Subnets {
    pub(super) fn new(limits: &Limits) -> Result<Self, LimitsError> {
        let (ipv4, ipv6) = (limits.ipv4_subnets.clone(), limits.ipv6_subnets.clone());
        for (rules, address) in [(&ipv4, 32), (&ipv6, 128)] {
            if let Some(prefix) = rules.keys().copied().find(|prefix| *prefix > address) {
                return Err(LimitsError::PrefixTooLong { prefix, address });
            }
        }
        let mut overrides: Vec<_> =
            limits.overrides.iter().map(|(subnet, limit)| (*subnet, *limit)).collect();
        overrides.sort_by_key(|(subnet, _)| std::cmp::Reverse(subnet.prefix_len()));
        Ok(Self { ipv4, ipv6, overrides, held: Tally::default() })
    }

    fn capped(&self, address: IpAddr) -> Capped {
        if let Some((subnet, limit)) = self.overrides.iter().find(|(subnet, _)| subnet.contains(&address)) {
            return limit.map(|limit| (*subnet, limit)).into_iter().collect();
        }
        let rules = if address.is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        let subnet = |(&prefix, &limit)| Some((IpNet::new(address, prefix).ok()?.trunc(), limit));
        rules.iter().filter_map(subnet).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

/// A connection's place in its subnets, given back when it is dropped.
#[derive(Debug)]
pub(in crate::swarm) struct Subnet {
    admission: Arc<Admission>,
    held: Capped,
}

impl Subnet {
    /// Counts a connection in each subnet of `address`; beyond their caps unless `strictly`.
    pub(super) fn enter(admission: &Arc<Admission>, address: IpAddr, strictly: bool) -> Result<Self, Denied> {
        // What was entered is left again when this is dropped, also after a failure halfway.
        let mut place = Self { admission: Arc::clone(admission), held: Capped::new() };
        for (subnet, limit) in admission.subnets.capped(address) {
            if !admission.subnets.held.take(subnet, if strictly { limit } else { u32::MAX }) {
                return Err(Denied::Subnet { subnet, limit });
            }
            place.held.push((subnet, limit));
        }
        Ok(place)
    }
}

impl Drop for Subnet {
    fn drop(&mut self) {
        for (subnet, _) in &self.held {
            self.admission.subnets.held.give_back(subnet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(admission: &Arc<Admission>, address: &str) -> Result<Subnet, Denied> {
        Subnet::enter(admission, address.parse().expect("an address"), true)
    }

    fn admission(limits: Limits) -> Arc<Admission> {
        Admission::new(limits).expect("valid limits")
    }

    #[test]
    fn a_subnet_holds_as_many_as_it_may_and_no_other_pays() {
        let admission =
            admission(Limits::default().with_max_per_ipv4_subnet(24, 2).with_max_per_ipv6_subnet(56, 1));
        let first = enter(&admission, "192.0.2.1").expect("room");
        let _second = enter(&admission, "192.0.2.255").expect("room");
        let full = Denied::Subnet { subnet: "192.0.2.0/24".parse().expect("a subnet"), limit: 2 };
        assert_eq!(enter(&admission, "192.0.2.7").err(), Some(full));
        let _elsewhere = enter(&admission, "192.0.3.1").expect("another subnet");
        let _six = enter(&admission, "2001:db8::1").expect("room");
        assert!(enter(&admission, "2001:db8:0:ff::1").is_err(), "the same /56");
        drop(first);
        let _again = enter(&admission, "192.0.2.7").expect("room was given back");
    }

    #[test]
    fn every_prefix_holds_and_a_refusal_gives_back_what_it_took() {
        let admission =
            admission(Limits::default().with_max_per_ipv4_subnet(16, 3).with_max_per_ipv4_subnet(24, 1));
        let held: Vec<_> =
            (0..3).map(|net| enter(&admission, &format!("192.0.{net}.1")).expect("room")).collect();
        assert_eq!(admission.usage().subnets, 4, "three of 24 bits in one of 16");
        assert!(enter(&admission, "192.0.9.1").is_err(), "the /16 is full");
        assert_eq!(admission.usage().subnets, 4, "nothing is left of the refused");
        drop(held);
        assert_eq!(admission.usage().subnets, 0);
    }

    #[test]
    fn the_smallest_override_counts_instead_of_the_prefixes() {
        let net = |text: &str| text.parse::<IpNet>().expect("a subnet");
        let admission = admission(
            Limits::default()
                .with_max_per_ipv4_subnet(8, 1)
                .with_subnet_override(net("10.0.0.0/8"), Some(2))
                .with_subnet_override(net("10.1.0.0/16"), None),
        );
        let _free: Vec<_> = (0..9).map(|_| enter(&admission, "10.1.2.3").expect("no cap")).collect();
        let _two: Vec<_> = (0..2).map(|_| enter(&admission, "10.2.3.4").expect("room")).collect();
        assert!(enter(&admission, "10.2.3.4").is_err(), "the override's cap");
        let _other = enter(&admission, "11.0.0.1").expect("room");
        assert!(enter(&admission, "11.0.0.2").is_err(), "the prefix's cap");
    }

    /// A connection counts once for each prefix, and the last cap that is set holds.
    #[test]
    fn what_is_set_twice_is_replaced() {
        let net = |text: &str| text.parse::<IpNet>().expect("a subnet");
        let admission = admission(
            Limits::default()
                .with_max_per_ipv4_subnet(24, 1)
                .with_max_per_ipv4_subnet(24, 2)
                .with_max_per_ipv6_subnet(56, 4)
                .with_max_per_ipv6_subnet(56, 2)
                .with_subnet_override(net("10.0.0.0/8"), None)
                .with_subnet_override(net("10.9.9.9/8"), Some(2)),
        );
        for address in ["192.0.2.1", "2001:db8::1", "10.1.2.3"] {
            let held = [(); 2].map(|()| enter(&admission, address).expect("room for two"));
            assert!(enter(&admission, address).is_err(), "{address}: no room for three");
            assert_eq!(admission.usage().subnets, 1, "{address}");
            drop(held);
        }
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_refused() {
        let refused = |limits| Admission::new(limits).expect_err("too long");
        let four = Limits::default().with_max_per_ipv4_subnet(33, 1);
        assert_eq!(refused(four), LimitsError::PrefixTooLong { prefix: 33, address: 32 });
        let six = Limits::default().with_max_per_ipv6_subnet(129, 1);
        assert_eq!(refused(six), LimitsError::PrefixTooLong { prefix: 129, address: 128 });
    }

    #[test]
    fn a_cap_of_zero_lets_nobody_in_and_leaves_no_trace() {
        let admission = admission(Limits::default().with_max_per_ipv4_subnet(32, 0));
        assert!(enter(&admission, "192.0.2.1").is_err());
        assert_eq!(admission.usage().subnets, 0);
    }

    #[test]
    fn many_threads_never_hold_more_than_the_cap() {
        let tally = Tally::default();
        let high = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if tally.take(1, 2) {
                            let held = tally.0.get(&1).map_or(0, |held| *held);
                            high.fetch_max(held, std::sync::atomic::Ordering::Relaxed);
                            tally.give_back(&1);
                        }
                    }
                });
            }
        });
        assert!((1..=2).contains(&high.into_inner()), "between one and the cap");
        assert_eq!(tally.len(), 0, "all was given back");
    }
}
