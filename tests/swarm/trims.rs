//! Trims of real swarms: under churn, racing with protections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use connmgr::swarm::{Config, Event, Manager};
use connmgr::{CloseReason, Protection, TrimOutcome, TrimTrigger};
use libp2p::futures::StreamExt;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use libp2p_swarm_test::SwarmExt;

use crate::net::{self, Hub, closed, manager, trimmed, within};

#[test]
fn a_trim_closes_the_peers_of_least_value_and_says_so() {
    within(async {
        let manager = manager(4, 10);
        let mut hub = Hub::new(&manager, Config::default()).await;
        let peers = hub.crowd(10).await;
        for (value, peer) in peers.iter().enumerate() {
            manager.tag_peer(peer, "value", value as i64);
        }
        let report = manager.trim_open_conns();
        assert_eq!((report.closed_connections, report.outcome), (6, TrimOutcome::Reached));
        assert!(report.closed.iter().all(|closed| closed.inbound == 1), "the peers dialled");

        let events = hub.until(|hub| hub.established() == 4 && hub.manager.info().closing == 0).await;
        let told: Vec<(PeerId, i64)> = events
            .iter()
            .filter_map(|event| match event {
                SwarmEvent::Behaviour(Event::Trimmed { peer, value, reason: CloseReason::Trim, .. }) => {
                    Some((*peer, *value))
                }
                _ => None,
            })
            .collect();
        let expected: Vec<_> = peers.iter().copied().zip(0..6).collect();
        assert_eq!(told, expected, "each that was cut, at its value, lowest first");
        let finished = events.iter().find_map(|event| match event {
            SwarmEvent::Behaviour(Event::TrimFinished(report)) => Some(report.clone()),
            _ => None,
        });
        assert_eq!(finished, Some(report), "the report follows");
        let kept: HashSet<_> = hub.swarm.connected_peers().copied().collect();
        assert_eq!(kept, peers[6..].iter().copied().collect());
        assert_eq!(manager.info().connections, 4, "both count the same");
    });
}

#[test]
fn a_forced_trim_is_told_as_an_emergency() {
    within(async {
        let manager = manager(1, 5);
        let mut hub = Hub::new(&manager, Config::default()).await;
        let peers = hub.crowd(3).await;
        for peer in &peers {
            manager.protect(peer, "all");
        }
        let report = manager.force_trim();
        assert_eq!((report.trigger, report.closed_connections), (TrimTrigger::Emergency, 2));
        let emergency = |event: &SwarmEvent<Event>| match event {
            SwarmEvent::Behaviour(Event::Trimmed { reason, .. }) => Some(*reason),
            _ => None,
        };
        assert_eq!(hub.wait(emergency).await, CloseReason::Emergency);
        hub.until(|hub| hub.established() == 1).await;
    });
}

/// Dials, and dials again when it is cut, `dials` times in all; keeps what it has at last.
async fn churn(address: Multiaddr, dials: usize) {
    let mut peer = net::peer();
    for _ in 1..dials {
        peer.dial(address.clone()).expect("dialled");
        loop {
            let event = peer.select_next_some().await;
            if closed(&event).is_some() || matches!(event, SwarmEvent::OutgoingConnectionError { .. }) {
                break;
            }
        }
    }
    peer.dial(address).expect("dialled");
    peer.loop_on_next().await;
}

/// What a hub's events tell.
#[derive(Default)]
struct Told {
    opened: usize,
    ended: HashMap<ConnectionId, PeerId>,
    cut: Vec<(PeerId, ConnectionId)>,
}

impl Told {
    fn observe(&mut self, event: &SwarmEvent<Event>) {
        self.opened += usize::from(net::established(event).is_some());
        self.cut.extend(trimmed(event));
        if let Some((peer, connection)) = closed(event) {
            assert!(self.ended.insert(connection, peer).is_none(), "a connection ends once");
        }
    }
}

/// Hundreds of connections come, are cut and come again, while threads tag and another trims: what the manager, the swarm and the behaviour
/// say agrees to the last connection.
#[test]
fn counts_agree_under_churn_to_the_last_connection() {
    const PEERS: usize = 150;
    const DIALS: usize = 3;
    const LOW: usize = 40;
    /// Whoever is not among those who stay uses up his dials.
    const OPENED_AT_LEAST: usize = (PEERS - LOW) * DIALS + LOW;
    within(async {
        let manager = manager(LOW, 2 * LOW);
        let mut hub = Hub::new(&manager, Config::default()).await;
        for _ in 0..PEERS {
            tokio::spawn(churn(hub.memory.clone(), DIALS));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |work: fn(&Manager) -> usize| {
            let (manager, stop) = (Arc::clone(&manager), Arc::clone(&stop));
            thread::spawn(move || {
                let mut sum = 0;
                while !stop.load(Ordering::Relaxed) {
                    sum += work(&manager);
                    thread::yield_now();
                }
                sum
            })
        };
        let trimmer = worker(|manager| manager.trim_open_conns().closed_connections);
        let tagger = worker(|manager| {
            let peers: Vec<PeerId> = manager.snapshot().iter().map(|peer| *peer.peer()).collect();
            peers.iter().for_each(|peer| _ = manager.upsert_tag(peer, "seen", |seen| seen + 1));
            peers.len()
        });

        let mut told = Told::default();
        while told.opened < OPENED_AT_LEAST {
            told.observe(&hub.next().await);
        }
        stop.store(true, Ordering::Relaxed);
        let mut claimed = trimmer.join().expect("trims do not panic");
        assert!(tagger.join().expect("tags do not panic") > 0, "peers were tagged");
        loop {
            claimed += hub.manager.trim_open_conns().closed_connections;
            if hub.manager.info().closing == 0 && hub.established() == LOW {
                break;
            }
            told.observe(&hub.next().await);
        }

        let Told { opened, mut ended, cut } = told;
        assert_eq!(hub.established(), opened - ended.len(), "the events account for all");
        assert_eq!(hub.manager.info().connections, LOW);
        assert_eq!(hub.manager.info().ignored_events, 0, "each opened and closed once for the manager, too");
        assert_eq!(cut.len(), claimed, "each claim was carried out, as no peer closed by itself");
        for (peer, connection) in cut {
            assert_eq!(ended.remove(&connection), Some(peer), "what was cut has ended, once");
        }
        assert!(ended.is_empty(), "nothing else ended");
    });
}

/// A thread protects peers one by one while others trim: who was protected in time is never closed, and who is told that it was too late is.
#[test]
fn who_is_protected_in_time_stays() {
    const PEERS: usize = 60;
    within(async {
        for round in 0..4_u64 {
            let manager = Arc::new(net::builder(1, 10).seed(round).build().expect("a valid configuration"));
            let mut hub = Hub::new(&manager, Config::default()).await;
            let peers = hub.crowd(PEERS).await;
            let (protector, trimmer) = (Arc::clone(&manager), Arc::clone(&manager));
            let all = peers.clone();
            let protections = thread::spawn(move || {
                all.into_iter().map(|peer| (peer, protector.protect(&peer, "late"))).collect::<Vec<_>>()
            });
            let report = thread::spawn(move || trimmer.trim_open_conns());
            let protections = protections.join().expect("no panic");
            let report = report.join().expect("no panic");
            let cut: HashSet<PeerId> = report.closed.iter().map(|closed| closed.peer).collect();

            hub.until(|hub| hub.manager.info().closing == 0 && hub.established() == PEERS - cut.len()).await;
            let left: HashSet<PeerId> = hub.swarm.connected_peers().copied().collect();
            for (peer, protection) in protections {
                let too_late = protection == Protection::TooLate;
                assert!(protection != Protection::AlreadyProtected, "it was protected once");
                assert!(!too_late || cut.contains(&peer), "too late only for one that was cut");
                assert_eq!(left.contains(&peer), !cut.contains(&peer), "cut, or there");
                // One that was cut and gone before it was protected is protected for the future.
                assert!(too_late || !cut.contains(&peer), "in time: not cut");
            }
        }
    });
}

#[test]
fn nothing_is_left_when_all_have_gone() {
    within(async {
        let manager = manager(1, 10);
        let mut hub = Hub::new(&manager, Config::default()).await;
        for _ in 0..3 {
            let peers = hub.crowd(30).await;
            let _ = manager.trim_open_conns();
            hub.until(|hub| hub.established() == 1 && hub.manager.info().closing == 0).await;
            for peer in peers {
                let _ = hub.swarm.disconnect_peer_id(peer);
            }
            hub.until(|hub| hub.established() == 0).await;
            hub.assert_empty();
        }
        assert_eq!(manager.snapshot().iter().count(), 0, "no record of any peer");
    });
}
