//! Hard caps on real swarms: what is denied is said, by type; what ends or fails makes room again.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connmgr::TrimObserver;
use connmgr::swarm::{Admission, Behaviour, Cap, Config, Denied, Event, Limits, LimitsError, Manager, Usage};
use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::{ConnectionDenied, DialError, ListenError, SwarmEvent};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use tokio::net::TcpStream;

use crate::net::{self, Hub, dial_opts, manager, within};

/// A small limit.
#[derive(Clone, Copy, Debug)]
struct Limit(u32);

impl Arbitrary for Limit {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(u32::arbitrary(g) % 6 + 1)
    }
}

/// Tries a property with a few limits: each takes real swarms.
fn check(property: fn(Limit)) {
    QuickCheck::new().tests(6).quickcheck(property);
}

async fn hub(limits: Limits) -> (Hub, Arc<Admission>) {
    let admission = Admission::new(limits).expect("valid limits");
    // Nothing here is to be trimmed: the high watermark is low enough for any cap.
    let manager = manager(1, 1);
    let hub = Hub::new(&manager, Config::default().with_admission(Arc::clone(&admission))).await;
    (hub, admission)
}

fn denied(cause: ConnectionDenied) -> Denied {
    cause.downcast::<Denied>().expect("denied by our behaviour")
}

/// Runs the hub until an inbound connection is denied.
async fn inbound_denied(hub: &mut Hub) -> Denied {
    loop {
        if let SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. } =
            hub.next().await
        {
            return denied(cause);
        }
    }
}

/// Runs the hub until a dial is denied.
async fn outbound_denied(hub: &mut Hub) -> Denied {
    loop {
        if let SwarmEvent::OutgoingConnectionError { error: DialError::Denied { cause }, .. } =
            hub.next().await
        {
            return denied(cause);
        }
    }
}

/// Dials and expects to be denied on the spot.
fn refused(hub: &mut Hub, peer: PeerId, address: &Multiaddr) -> Denied {
    match hub.swarm.dial(dial_opts(peer, address)) {
        Err(DialError::Denied { cause }) => denied(cause),
        other => panic!("{other:?}"),
    }
}

fn full(cap: Cap, limit: u32) -> Denied {
    Denied::Full { cap, limit }
}

/// Ends one of `peer`'s connections and waits for it.
async fn let_go(hub: &mut Hub, peer: PeerId) {
    let before = hub.established();
    let _ = hub.swarm.disconnect_peer_id(peer);
    hub.until(|hub| hub.established() < before).await;
}

#[test]
fn inbound_connections() {
    check(|Limit(limit)| {
        within(async {
            let (mut hub, admission) = hub(Limits::default().with_max_established_inbound(limit)).await;
            let peers = hub.crowd(limit as usize).await;
            net::visit(hub.memory.clone());
            assert_eq!(inbound_denied(&mut hub).await, full(Cap::EstablishedInbound, limit));
            assert_eq!(admission.usage().established_inbound, limit, "the denied one is not counted");
            let (out, address) = net::listener().await;
            hub.swarm.dial(dial_opts(out, &address)).expect("the other direction is free");
            hub.until(|hub| hub.swarm.is_connected(&out)).await;
            let_go(&mut hub, peers[0]).await;
            hub.crowd(1).await;
        });
    });
}

#[test]
fn outbound_connections() {
    check(|Limit(limit)| {
        within(async {
            let (mut hub, admission) = hub(Limits::default().with_max_established_outbound(limit)).await;
            let mut listeners = Vec::new();
            for _ in 0..=limit {
                listeners.push(net::listener().await);
            }
            let ((spare, spare_address), rest) = listeners.split_last().expect("at least one");
            for (peer, address) in rest {
                hub.swarm.dial(dial_opts(*peer, address)).expect("dialled");
            }
            hub.until(|hub| hub.established() == limit as usize).await;
            hub.swarm.dial(dial_opts(*spare, spare_address)).expect("dialled");
            assert_eq!(outbound_denied(&mut hub).await, full(Cap::EstablishedOutbound, limit));
            assert_eq!(admission.usage().established_outbound, limit);
            hub.crowd(1).await;
            let_go(&mut hub, rest[0].0).await;
            hub.swarm.dial(dial_opts(*spare, spare_address)).expect("dialled");
            hub.until(|hub| hub.swarm.is_connected(spare)).await;
        });
    });
}

#[test]
fn connections_in_total() {
    check(|Limit(limit)| {
        within(async {
            let (mut hub, admission) = hub(Limits::default().with_max_established(limit)).await;
            let (out, address) = net::listener().await;
            hub.swarm.dial(dial_opts(out, &address)).expect("dialled");
            hub.until(|hub| hub.established() == 1).await;
            hub.crowd(limit as usize - 1).await;
            net::visit(hub.memory.clone());
            assert_eq!(inbound_denied(&mut hub).await, full(Cap::Established, limit));
            hub.swarm.dial(dial_opts(out, &address)).expect("dialled");
            assert_eq!(outbound_denied(&mut hub).await, full(Cap::Established, limit));
            let_go(&mut hub, out).await;
            hub.crowd(1).await;
            let usage = admission.usage();
            assert_eq!((usage.established_inbound, usage.established_outbound), (limit, 0));
        });
    });
}

#[test]
fn connections_with_one_peer() {
    check(|Limit(limit)| {
        within(async {
            let (mut hub, admission) = hub(Limits::default().with_max_established_per_peer(limit)).await;
            let (peer, address) = net::listener().await;
            for _ in 0..=limit {
                hub.swarm.dial(dial_opts(peer, &address)).expect("dialled");
            }
            assert_eq!(outbound_denied(&mut hub).await, full(Cap::EstablishedPerPeer, limit));
            hub.until(|hub| hub.established() == limit as usize).await;
            hub.crowd(1).await;
            assert_eq!(admission.usage().peers, 2);
            let_go(&mut hub, peer).await;
            hub.until(|hub| hub.established() == 1).await;
            assert_eq!(admission.usage().peers, 1, "a peer without connections is forgotten");
        });
    });
}

#[test]
fn dials_under_way() {
    check(|Limit(limit)| {
        within(async {
            let (mut hub, admission) = hub(Limits::default().with_max_pending_outbound(limit)).await;
            let nowhere: Multiaddr = "/memory/1234".parse().expect("an address");
            for _ in 0..limit {
                hub.swarm.dial(dial_opts(PeerId::random(), &nowhere)).expect("dialled");
            }
            let one_more = refused(&mut hub, PeerId::random(), &nowhere);
            assert_eq!(one_more, full(Cap::PendingOutbound, limit));
            assert_eq!(admission.usage().pending_outbound, limit);
            let failed =
                |event: &SwarmEvent<Event>| matches!(event, SwarmEvent::OutgoingConnectionError { .. });
            for _ in 0..limit {
                hub.wait(|event| failed(event).then_some(())).await;
            }
            assert_eq!(admission.usage(), Usage::default(), "dials that failed hold nothing");
            hub.swarm.dial(dial_opts(PeerId::random(), &nowhere)).expect("room again");
        });
    });
}

/// A TCP connection that says nothing.
async fn silent(address: &Multiaddr) -> TcpStream {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    TcpStream::connect(("127.0.0.1", port.expect("a TCP address"))).await.expect("connected")
}

#[test]
fn inbound_connections_that_have_not_said_who_they_are() {
    check(|Limit(limit)| {
        within(async {
            let (mut hub, admission) = hub(Limits::default().with_max_pending_inbound(limit)).await;
            let address = hub.tcp.clone();
            let mut silents = Vec::new();
            for _ in 0..=limit {
                silents.push(silent(&address).await);
            }
            assert_eq!(inbound_denied(&mut hub).await, full(Cap::PendingInbound, limit));
            assert_eq!(admission.usage().pending_inbound, limit);
            drop(silents);
            hub.until(|_| admission.usage() == Usage::default()).await;
            net::visit(address);
            hub.until(|hub| hub.established() == 1).await;
        });
    });
}

#[test]
fn connections_of_one_subnet() {
    within(async {
        let (mut hub, admission) = hub(Limits::default().with_max_per_ipv4_subnet(24, 2)).await;
        let first = net::visit(hub.tcp.clone());
        hub.until(|hub| hub.swarm.is_connected(&first)).await;
        net::visit(hub.tcp.clone());
        hub.until(|hub| hub.established() == 2).await;
        net::visit(hub.tcp.clone());
        let subnet = "127.0.0.0/24".parse().expect("a subnet");
        assert_eq!(inbound_denied(&mut hub).await, Denied::Subnet { subnet, limit: 2 });

        // What we dial counts, too, once it is known which address it was.
        let mut listening = net::peer();
        let (_, address) = libp2p_swarm_test::SwarmExt::listen(&mut listening).await;
        let out = *listening.local_peer_id();
        net::run(listening);
        hub.swarm.dial(dial_opts(out, &address)).expect("dialled");
        assert_eq!(outbound_denied(&mut hub).await, Denied::Subnet { subnet, limit: 2 });
        // What has no address is in no subnet.
        hub.crowd(1).await;
        let_go(&mut hub, first).await;
        hub.swarm.dial(dial_opts(out, &address)).expect("dialled");
        hub.until(|hub| hub.swarm.is_connected(&out)).await;
        assert_eq!(admission.usage().subnets, 1);
    });
}

#[test]
fn arrivals_from_one_address() {
    within(async {
        let rate = NonZeroU32::new(2).expect("two");
        let (mut hub, _) = hub(Limits::default().with_arrival_rate(rate, Duration::from_secs(3_600))).await;
        for connections in 1..=2 {
            net::visit(hub.tcp.clone());
            hub.until(|hub| hub.established() == connections).await;
        }
        net::visit(hub.tcp.clone());
        match inbound_denied(&mut hub).await {
            Denied::TooFast { from, retry_after } => {
                assert_eq!(from, std::net::Ipv4Addr::LOCALHOST);
                assert!(retry_after > Duration::from_secs(1_000), "half an hour or so: {retry_after:?}");
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_trim_makes_room_for_a_newcomer() {
    within(async {
        let admission = Admission::new(Limits::default().with_max_established(10).with_trim_to_admit(3));
        let admission = admission.expect("valid limits");
        let manager = manager(5, 100);
        let config = Config::default().with_admission(Arc::clone(&admission));
        let mut hub = Hub::new(&manager, config).await;
        let old = hub.crowd(10).await;
        for peer in &old {
            manager.tag_peer(peer, "value", 1);
        }
        let newcomer = net::visit(hub.memory.clone());
        hub.until(|hub| {
            let usage = admission.usage();
            assert!(usage.established_inbound <= 13, "never above the cap and its overshoot");
            hub.swarm.is_connected(&newcomer) && hub.manager.info().closing == 0
        })
        .await;
        assert_eq!(hub.established(), 6, "five of ten went, and one came");
        assert_eq!(admission.usage().closing, 0);
    });
}

#[test]
fn without_overshoot_room_is_made_for_the_next_one() {
    within(async {
        let limits = Limits::default().with_max_established(4).with_trim_to_admit(0);
        let admission = Admission::new(limits).expect("valid limits");
        let mut hub = Hub::new(&manager(2, 100), Config::default().with_admission(admission)).await;
        hub.crowd(4).await;
        net::visit(hub.memory.clone());
        assert_eq!(inbound_denied(&mut hub).await, full(Cap::Established, 4));
        hub.until(|hub| hub.established() == 2).await;
        hub.crowd(1).await;
    });
}

/// Counts a manager's trims for as long as what it returns is kept.
fn count_trims(manager: &Manager) -> (Arc<AtomicUsize>, Arc<TrimObserver<PeerId>>) {
    let trims = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&trims);
    let observer: Arc<TrimObserver<PeerId>> = Arc::new(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    manager.observe_trims(&observer);
    (trims, observer)
}

/// A trim goes by value, not by direction: for a full direction it might close the whole other one for nothing.
#[test]
fn a_full_direction_closes_nobody() {
    within(async {
        let limits =
            Limits::default().with_max_established(10).with_max_established_inbound(2).with_trim_to_admit(4);
        let admission = Admission::new(limits).expect("valid limits");
        let manager = manager(1, 100);
        let (trims, _observer) = count_trims(&manager);
        let mut hub = Hub::new(&manager, Config::default().with_admission(admission)).await;
        for _ in 0..3 {
            let (out, address) = net::listener().await;
            hub.swarm.dial(dial_opts(out, &address)).expect("dialled");
        }
        hub.until(|hub| hub.established() == 3).await;
        let inbound = hub.crowd(2).await;
        net::visit(hub.memory.clone());
        assert_eq!(inbound_denied(&mut hub).await, full(Cap::EstablishedInbound, 2));
        assert_eq!((hub.established(), trims.load(Ordering::Relaxed)), (5, 0), "nobody was closed for it");

        // What any trim is closing makes room in its direction before it has gone.
        manager.protect(&inbound[0], "kept");
        assert_eq!(manager.trim_open_conns().closed_connections, 4);
        let newcomer = net::visit(hub.memory.clone());
        hub.until(|hub| hub.swarm.is_connected(&newcomer)).await;
    });
}

/// Where nothing may be trimmed the cap holds, and newcomers do not cause a trim each.
#[test]
fn a_trim_in_vain_is_not_repeated_at_once() {
    within(async {
        let limits =
            Limits::default().with_max_established(3).with_trim_to_admit(3).with_protected_admitted(true);
        let admission = Admission::new(limits).expect("valid limits");
        let manager = manager(1, 100);
        let (trims, _observer) = count_trims(&manager);
        let mut hub = Hub::new(&manager, Config::default().with_admission(admission)).await;
        for peer in hub.crowd(3).await {
            manager.protect(&peer, "kept");
        }
        let start = std::time::Instant::now();
        const NEWCOMERS: usize = 20;
        for _ in 0..NEWCOMERS {
            net::visit(hub.memory.clone());
            assert_eq!(inbound_denied(&mut hub).await, full(Cap::Established, 3));
        }
        let at_most = start.elapsed().as_secs() as usize + 1;
        let trims = trims.load(Ordering::Relaxed);
        assert!((1..=at_most).contains(&trims), "{trims} trims for {NEWCOMERS} newcomers");

        // A protected one comes in all the same.
        let peer = net::peer();
        let id = *peer.local_peer_id();
        manager.protect(&id, "kept");
        let mut peer = peer;
        peer.dial(hub.memory.clone()).expect("dialled");
        net::run(peer);
        hub.until(|hub| hub.swarm.is_connected(&id)).await;
        assert_eq!(hub.established(), 4);
    });
}

/// The watermark may be raised above the cap when the behaviour has been made, and would never be reached then: the cap stands for it.
#[test]
fn a_watermark_raised_above_the_cap_is_the_cap() {
    within(async {
        let admission = Admission::new(Limits::default().with_max_established(4)).expect("valid limits");
        let manager = manager(2, 4);
        let (trims, _observer) = count_trims(&manager);
        let mut hub = Hub::new(&manager, Config::default().with_admission(admission)).await;
        hub.crowd(4).await;
        net::visit(hub.memory.clone());
        assert_eq!(inbound_denied(&mut hub).await, full(Cap::Established, 4));
        assert_eq!(trims.load(Ordering::Relaxed), 0, "trims at the watermark are the manager's business");

        manager.reconfigure(|settings| settings.high_water(100)).expect("valid settings");
        net::visit(hub.memory.clone());
        assert_eq!(inbound_denied(&mut hub).await, full(Cap::Established, 4));
        hub.until(|hub| hub.established() == 2).await;
        hub.crowd(2).await;
        assert_eq!(trims.load(Ordering::Relaxed), 1);

        // Nothing can be trimmed: the cap holds.
        manager.reconfigure(|settings| settings.low_water(50)).expect("valid settings");
        net::visit(hub.memory.clone());
        assert_eq!(inbound_denied(&mut hub).await, full(Cap::Established, 4));
        assert_eq!(hub.established(), 4);
    });
}

#[test]
fn who_was_trimmed_is_not_dialled_at_once() {
    within(async {
        let manager = manager(1, 10);
        let period = Duration::from_secs(3_600);
        let mut hub = Hub::new(&manager, Config::default().with_cool_down(period)).await;
        let ((kept, kept_address), (cut, cut_address)) = (net::listener().await, net::listener().await);
        hub.swarm.dial(dial_opts(kept, &kept_address)).expect("dialled");
        hub.swarm.dial(dial_opts(cut, &cut_address)).expect("dialled");
        hub.until(|hub| hub.established() == 2).await;
        manager.tag_peer(&kept, "value", 1);
        assert_eq!(manager.trim_open_conns().closed[0].peer, cut);
        hub.until(|hub| hub.established() == 1).await;

        match refused(&mut hub, cut, &cut_address) {
            Denied::CoolingDown { peer, left } => assert!(peer == cut && left <= period),
            other => panic!("{other}"),
        }
        // By its address alone it is found out a little later.
        hub.swarm.dial(cut_address.clone()).expect("dialled");
        assert!(matches!(outbound_denied(&mut hub).await, Denied::CoolingDown { peer, .. } if peer == cut));
        // Others may be dialled, and so may he who is protected.
        hub.swarm.dial(dial_opts(kept, &kept_address)).expect("not trimmed");
        manager.protect(&cut, "needed");
        hub.swarm.dial(dial_opts(cut, &cut_address)).expect("protected");
        hub.until(|hub| hub.swarm.is_connected(&cut)).await;
    });
}

#[test]
fn caps_that_leave_the_manager_nothing_to_do_are_refused() {
    let behaviour = |low, high, limits| {
        let admission = Admission::new(limits).expect("valid limits");
        Behaviour::with_config(manager(low, high), Config::default().with_admission(admission)).err()
    };
    let cap = |connections| Limits::default().with_max_established(connections);
    assert_eq!(behaviour(5, 20, cap(19)), Some(LimitsError::BelowHigh { cap: 19, high_water: 20 }));
    assert_eq!(behaviour(5, 20, cap(20)), None);
    assert_eq!(
        behaviour(5, 20, cap(5).with_trim_to_admit(1)),
        Some(LimitsError::NotAboveLow { cap: 5, low_water: 5 })
    );
    assert_eq!(behaviour(5, 20, cap(6).with_trim_to_admit(1)), None);
    assert_eq!(behaviour(5, 20, Limits::default()), None);
}
