//! Several swarms, one manager: at a time, and one after the other; and connections that cross.

use std::collections::HashSet;
use std::sync::Arc;

use connmgr::swarm::{Admission, Config, Event, Limits, Usage};
use libp2p::futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId};

use crate::net::{self, Hub, dial_opts, manager, trimmed, within};

#[test]
fn two_swarms_share_a_manager_and_each_closes_its_own() {
    within(async {
        let manager = manager(6, 20);
        let admission = Admission::new(Limits::default().with_max_established(20)).expect("valid limits");
        let config = Config::default().with_admission(Arc::clone(&admission));
        let mut one = Hub::new(&manager, config.clone()).await;
        let mut two = Hub::new(&manager, config).await;
        let ones: HashSet<PeerId> = one.crowd(12).await.into_iter().collect();
        let twos: HashSet<PeerId> = two.crowd(8).await.into_iter().collect();
        assert_eq!((manager.info().connections, admission.usage().established_inbound), (20, 20));

        // The account is full for both.
        let late = net::visit(two.memory.clone());
        two.wait(|event| matches!(event, SwarmEvent::IncomingConnectionError { .. }).then_some(())).await;
        assert!(!two.swarm.is_connected(&late));

        let report = manager.trim_open_conns();
        assert_eq!(report.closed_connections, 14);
        let cut: HashSet<PeerId> = report.closed.iter().map(|closed| closed.peer).collect();
        for (hub, own) in [(&mut one, &ones), (&mut two, &twos)] {
            let left = own.difference(&cut).count();
            let finished =
                |event: &SwarmEvent<Event>| matches!(event, SwarmEvent::Behaviour(Event::TrimFinished(_)));
            let mut events = hub.until(|hub| hub.established() == left).await;
            while !events.iter().any(finished) {
                events.push(hub.next().await);
            }
            let told: HashSet<PeerId> = events.iter().filter_map(trimmed).map(|(peer, _)| peer).collect();
            assert_eq!(told, own & &cut, "its own, all of them, and no others");
        }
        assert_eq!((manager.info().connections, manager.info().closing), (6, 0));
        assert_eq!(admission.usage().established_inbound, 6);
    });
}

/// A swarm is dropped with its connections, and another takes its place with the same manager: nothing of the first is left, but what is known of
/// who is protected.
#[test]
fn a_hub_that_restarts_finds_its_manager_empty() {
    within(async {
        let manager = manager(5, 50);
        let admission = Admission::new(
            Limits::default()
                .with_max_established(50)
                .with_max_per_ipv4_subnet(8, 50)
                .with_max_established_per_peer(1),
        );
        let admission = admission.expect("valid limits");
        for _ in 0..3 {
            let mut hub = Hub::new(&manager, Config::default().with_admission(Arc::clone(&admission))).await;
            let peers = hub.crowd(40).await;
            net::visit(hub.tcp.clone());
            hub.until(|hub| hub.established() == 41).await;
            assert_eq!(admission.usage().subnets, 1);
            manager.protect(&peers[0], "kept");
            // Claims that were never carried out go with the swarm, too.
            assert_eq!(manager.trim_open_conns().closed_connections, 36);
            drop(hub);
            net::assert_manager_empty(&manager);
            assert_eq!(admission.usage(), Usage::default());
            assert!(manager.is_protected(&peers[0], Some("kept")), "protections belong to peers");
            manager.unprotect(&peers[0], "kept");
        }
        assert_eq!(manager.snapshot().iter().count(), 0);
    });
}

/// Each dials the other at the same moment: whatever comes of it, one connection or two, both managers count what their swarms have.
#[test]
fn dials_that_cross_are_counted_as_the_swarms_count_them() {
    within(async {
        for _ in 0..10 {
            let (ours, theirs) = (manager(1, 10), manager(1, 10));
            let mut one = Hub::new(&ours, Config::default()).await;
            let mut two = Hub::new(&theirs, Config::default()).await;
            let (first, second) = (*one.swarm.local_peer_id(), *two.swarm.local_peer_id());
            one.swarm.dial(dial_opts(second, &two.tcp)).expect("dialled");
            two.swarm.dial(dial_opts(first, &one.tcp)).expect("dialled");
            let made = |hub: &Hub| {
                let info = hub.swarm.network_info();
                hub.established() > 0 && info.connection_counters().num_pending() == 0
            };
            let agreed =
                |one: &Hub, two: &Hub| made(one) && made(two) && one.established() == two.established();
            drive(&mut one, &mut two, agreed).await;
            let connections = one.established();
            assert!((1..=2).contains(&connections), "{connections} connections");
            assert_eq!((ours.info().connections, theirs.info().connections), (connections, connections));
            assert_eq!(ours.snapshot().iter().count(), 1, "they are one peer's");

            // Both close at once, too.
            assert_eq!(ours.force_trim().closed_connections, if connections > 1 { 2 } else { 0 });
            assert_eq!(theirs.force_trim().closed_connections, if connections > 1 { 2 } else { 0 });
            let _ = one.swarm.disconnect_peer_id(second);
            let _ = two.swarm.disconnect_peer_id(first);
            drive(&mut one, &mut two, |one, two| one.established() + two.established() == 0).await;
            one.assert_empty();
            two.assert_empty();
        }
    });
}

/// Runs both until `done`.
async fn drive(one: &mut Hub, two: &mut Hub, done: impl Fn(&Hub, &Hub) -> bool) {
    while !done(one, two) {
        tokio::select! {
            _ = one.swarm.select_next_some() => {}
            _ = two.swarm.select_next_some() => {}
        }
    }
}

/// The same address twice at once, by one peer: two connections, told apart.
#[test]
fn connections_of_one_peer_to_one_address_are_told_apart() {
    within(async {
        let manager = manager(1, 10);
        let mut hub = Hub::new(&manager, Config::default()).await;
        let (peer, address): (PeerId, Multiaddr) = net::listener().await;
        for _ in 0..3 {
            hub.swarm.dial(dial_opts(peer, &address)).expect("dialled");
        }
        hub.until(|hub| hub.established() == 3).await;
        let info = manager.tag_info(&peer).expect("known");
        let ids: HashSet<&String> = info.conns.iter().map(|conn| &conn.id).collect();
        assert_eq!(ids.len(), 3, "three connections");
        assert!(info.conns.iter().all(|conn| conn.remote_addr.starts_with(&address.to_string())));
        let report = manager.trim_open_conns();
        assert_eq!(report.closed_connections, 3, "whole peers go");
        assert_eq!(report.closed[0].inbound, 0, "we dialled");
        hub.until(|hub| hub.established() == 0).await;
        hub.assert_empty();
    });
}
