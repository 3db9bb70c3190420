//! What a trim must not close, whatever other threads do meanwhile, and what stays exact when everything happens at once.
#![expect(clippy::disallowed_types, reason = "tests wait for threads and collect what they say")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use common::{
    LIMIT, Manager, Probe, builder, closed, closes, connect, connect_valued, manager, peers, secs,
    with_meanwhile, within,
};
use connmgr::testing::Loopback;
use connmgr::{BasicConnManager, ManualClock, Protection, SpareReason, TrimOutcome};

/// Go: `TestPeerProtectionSingleTag`.
#[test]
fn a_protected_peer_is_not_closed_until_it_is_unprotected() {
    let manager = manager(10, 12);
    let conns = connect_valued(&manager, 0..20);
    for peer in 0..5 {
        assert_eq!(manager.protect(&peer, "global"), Protection::Protected);
        assert!(
            manager.is_protected(&peer, Some("global")) && manager.is_protected(&peer, None),
            "by it, and by any"
        );
        assert!(!manager.is_protected(&peer, Some("other")), "not by another");
    }
    assert_eq!(closed(&manager.trim_open_conns()), (5..10).collect::<Vec<_>>(), "the lowest of the others");
    assert_eq!(closes(&conns[..5]), [0; 5], "no protected peer");
    for peer in 0..5 {
        assert!(!manager.unprotect(&peer, "global"), "no protection is left");
        assert!(!manager.is_protected(&peer, None), "it is protected no longer");
    }
    assert_eq!(closed(&manager.trim_open_conns()), (0..5).collect::<Vec<_>>(), "now it is their turn");
}

/// Go: `TestPeerProtectionMultipleTags`.
#[test]
fn a_peer_is_protected_as_long_as_any_tag_protects_it() {
    let manager = manager(1, 2);
    let conns = connect_valued(&manager, 0..3);
    let _ = (manager.protect(&0, "one"), manager.protect(&0, "two"));
    assert!(manager.unprotect(&0, "one"), "the other protects it still");
    assert!(manager.unprotect(&0, "one"), "lifting it again changes nothing");
    assert!(manager.unprotect(&0, "never used"), "nor does lifting what never was");
    assert_eq!((manager.is_protected(&0, Some("one")), manager.is_protected(&0, Some("two"))), (false, true));
    let _ = manager.trim_open_conns();
    assert_eq!(conns[0].closes(), 0, "it is not closed");
    assert!(!manager.unprotect(&0, "two"), "that was the last");
    manager.connected(&9, Loopback::inbound(9));
    manager.tag_peer(&9, "value", 100);
    let _ = manager.trim_open_conns();
    assert_eq!(conns[0].closes(), 1, "now it is");
}

/// Go: `TestPeerProtectionIdempotent`.
#[test]
fn protecting_twice_is_protecting_once() {
    let manager = manager(1, 2);
    assert_eq!(manager.protect(&1, "p"), Protection::Protected);
    for _ in 0..3 {
        assert_eq!(manager.protect(&1, "p"), Protection::AlreadyProtected, "it is told");
    }
    assert_eq!(manager.protect(&1, "q"), Protection::Protected, "another tag is another protection");
    assert!(manager.unprotect(&1, "p"), "q is left");
    assert!(!manager.unprotect(&1, "q"), "protections are not counted");
    assert!(
        !manager.unprotect(&1, "q") && !manager.unprotect(&2, "q"),
        "lifting what is not there is a no-op"
    );
    assert_eq!(peers(&manager), 0, "and leaves nothing behind");
}

#[test]
fn protection_works_for_an_unknown_peer_and_outlives_connections() {
    let manager = manager(1, 2);
    let _ = manager.protect(&1, "p");
    assert_eq!(manager.tag_info(&1), None, "a peer that is only protected is not known otherwise");
    assert!(manager.is_protected(&1, Some("p")), "but it is protected");
    let conns = connect(&manager, 1..4);
    manager.tag_peer(&1, "value", -1);
    manager.tag_peer(&2, "value", 7);
    assert_eq!(closed(&manager.trim_open_conns()), [3], "two candidates less one");
    manager.disconnected(&1, &1);
    assert_eq!(manager.tag_info(&1), None, "its tags went with its last connection");
    assert!(manager.is_protected(&1, Some("p")), "its protection stays");
    manager.connected(&1, Loopback::inbound(11));
    let info = manager.tag_info(&1).unwrap();
    assert_eq!((info.tags.len(), info.conns.len()), (0, 1), "it comes back without tags");
    assert!(manager.is_protected(&1, None), "and protected");
    assert_eq!(closes(&conns), [0, 0, 1], "it was never closed");
}

#[test]
fn protecting_too_late_is_told_and_holds_for_connections_to_come() {
    let manager = manager(1, 2);
    let conns = connect_valued(&manager, 0..2);
    assert_eq!(closed(&manager.trim_open_conns()), [0]);
    assert_eq!(manager.protect(&0, "p"), Protection::TooLate, "its close had been issued");
    assert!(manager.is_protected(&0, Some("p")), "it is protected all the same");
    manager.connected(&0, Loopback::inbound(10));
    connect_valued(&manager, 5..7);
    assert_eq!(closed(&manager.trim_open_conns()), [1, 5], "the new connection is safe");
    manager.disconnected(&0, &0);
    assert_eq!(
        manager.protect(&0, "p"),
        Protection::AlreadyProtected,
        "with the old one gone nothing is too late"
    );
    assert_eq!(closes(&conns), [1, 1], "and nothing is closed twice");
}

/// Go cuts it: it looks at protections once, when it chooses.
#[test]
fn a_peer_protected_after_it_was_chosen_is_spared() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let saying = Arc::clone(&said);
    let manager = with_meanwhile(2, move |manager| saying.lock().unwrap().push(manager.protect(&0, "p")));
    let conns = connect_valued(&manager, 0..6);
    let report = manager.trim_open_conns();
    assert_eq!(*said.lock().unwrap(), [Protection::Protected], "protect says that it came in time");
    let spared: Vec<_> = report.spared.iter().map(|peer| (peer.peer, peer.value, peer.reason)).collect();
    assert_eq!(spared, [(0, 0, SpareReason::Protected)], "and the trim that it spared the peer");
    assert_eq!(closed(&report), [1, 2, 3, 4], "the next takes its place");
    assert_eq!((report.outcome, report.cutoff), (TrimOutcome::Reached, Some(4)), "so the target is met");
    assert_eq!(closes(&conns), [0, 1, 1, 1, 1, 0], "its connection stays open");
}

/// Go cuts it by the value it once had.
#[test]
fn a_peer_raised_above_the_cut_off_after_it_was_chosen_is_spared() {
    let manager = with_meanwhile(3, |manager| {
        manager.tag_peer(&0, "raised", 100);
        // Raised, but not above the cut-off, which is 2.
        manager.tag_peer(&1, "raised", 1);
    });
    let conns = connect_valued(&manager, 0..6);
    let report = manager.trim_open_conns();
    let spared: Vec<_> = report.spared.iter().map(|peer| (peer.peer, peer.value, peer.reason)).collect();
    assert_eq!(spared, [(0, 0, SpareReason::ValueRaised)], "spared, with the value it had been chosen by");
    let values: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.value)).collect();
    assert_eq!(
        values,
        [(1, 2), (2, 2), (3, 3)],
        "the others with the value at the claim, the next for the one spared"
    );
    assert_eq!(closes(&conns), [0, 1, 1, 1, 0, 0], "as reported");
}

/// A manager whose emergencies run `meanwhile` between snapshot and claims, as it asks connections for their streams: they have a policy of their own. Its
/// peers are worth their numbers.
fn with_meanwhile_in_emergencies(
    low: usize,
    peers: u64,
    meanwhile: impl Fn(&BasicConnManager<u64, Probe>) + Clone + Send + Sync + 'static,
) -> (Arc<BasicConnManager<u64, Probe>>, Vec<Probe>) {
    let manager = BasicConnManager::<u64, Probe>::builder().low_water(low).high_water(9).background(false);
    let manager = Arc::new(manager.build().unwrap());
    let conns: Vec<_> = (0..peers)
        .map(|peer| {
            let (weak, meanwhile) = (Arc::downgrade(&manager), meanwhile.clone());
            Probe::new(peer, move || {
                meanwhile(&weak.upgrade().expect("the manager lives"));
                Some(1)
            })
        })
        .collect();
    for (peer, conn) in (0..).zip(&conns) {
        manager.connected(&peer, conn.clone());
        manager.tag_peer(&peer, "value", peer as i64);
    }
    (manager, conns)
}

#[test]
fn an_emergency_spares_a_peer_protected_after_it_was_chosen_as_unprotected() {
    let (manager, conns) = with_meanwhile_in_emergencies(1, 4, |manager| {
        let _ = manager.protect(&0, "p");
    });
    let report = manager.force_trim();
    assert_eq!(conns[0].closes(), 0, "protect had returned before the claim");
    assert_eq!(closed(&report), [1, 2, 3], "the others made up for it");
    assert_eq!(report.spared.len(), 1, "and the trim says so");
}

/// It spared unprotected peers that had been raised, closed a protected one in their place, and missed its target.
#[test]
fn an_emergency_closes_peers_raised_after_they_were_chosen_before_any_protected_one() {
    let (manager, _) = with_meanwhile_in_emergencies(2, 5, |manager| {
        (0..2).for_each(|peer| manager.tag_peer(&peer, "value", 100 - peer as i64));
    });
    for peer in 3..5 {
        let _ = manager.protect(&peer, "p");
    }
    let report = manager.force_trim();
    let values: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.value, peer.protected)).collect();
    assert_eq!(values, [(2, 2, false), (0, 100, false), (1, 99, false)], "no protected one was needed");
    assert_eq!(
        (report.outcome, report.cutoff),
        (TrimOutcome::Reached, Some(100)),
        "none worth more was closed"
    );
    assert_eq!(
        (report.spared.len(), report.lowest_kept),
        (0, Some(3)),
        "the protected ones were not touched"
    );
}

/// It was put off until after protected ones, as it had been one when it was chosen.
#[test]
fn an_emergency_closes_a_peer_unprotected_and_raised_after_it_was_chosen_before_other_protected_ones() {
    let (manager, _) = with_meanwhile_in_emergencies(1, 2, |manager| {
        manager.unprotect(&0, "p");
        manager.tag_peer(&0, "value", 9);
    });
    for peer in 0..2 {
        manager.tag_peer(&peer, "value", 1 + peer as i64);
        let _ = manager.protect(&peer, "p");
    }
    let report = manager.force_trim();
    let values: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.value, peer.protected)).collect();
    assert_eq!(values, [(0, 9, false)], "the one that nothing protects any more");
    assert_eq!((report.outcome, report.cutoff), (TrimOutcome::Reached, Some(9)), "as low as was asked");
    assert_eq!((report.spared.len(), report.lowest_kept), (0, Some(2)), "the protected one was not touched");
}

#[test]
fn a_connection_id_used_again_is_a_new_connection() {
    let manager = manager(1, 9);
    let conns = connect_valued(&manager, 0..2);
    assert_eq!(closed(&manager.trim_open_conns()), [0]);
    manager.connected(&0, Loopback::inbound(0));
    assert_eq!(manager.info().ignored_events, 1, "while the old one is closing its id is taken");
    manager.disconnected(&0, &0);
    let again = Loopback::inbound(0);
    manager.connected(&0, again.clone());
    let info = manager.info();
    assert_eq!((info.connections, info.closing), (2, 0), "after that it is free, and the new one is open");
    assert_eq!(closed(&manager.trim_open_conns()), [0], "and closed in its turn");
    assert_eq!((conns[0].closes(), again.closes()), (1, 1), "each once");
}

#[test]
fn a_connection_id_used_again_during_a_trim_is_not_closed_in_the_place_of_the_old_one() {
    for stays in [false, true] {
        let (again, other) = (Loopback::inbound(0), Loopback::inbound(10));
        let new = again.clone();
        let manager = with_meanwhile(1, move |manager| {
            manager.disconnected(&0, &0);
            manager.connected(&0, new.clone());
        });
        let conns = connect_valued(&manager, 0..2);
        if stays {
            // Then the peer's record is the same one throughout.
            manager.connected(&0, other.clone());
        }
        let report = manager.trim_open_conns();
        let closed = usize::from(stays);
        assert_eq!(
            (report.closed_connections, report.gone),
            (closed, 1),
            "the connection that was chosen is gone"
        );
        assert_eq!(other.closes(), closed, "another one of the peer, chosen with it, is closed");
        assert_eq!((again.closes(), conns[0].closes()), (0, 0), "the new one was never chosen");
    }
}

#[test]
fn one_connection_id_may_be_used_by_two_peers() {
    let manager = manager(1, 9);
    manager.connected(&1, Loopback::inbound(5));
    manager.connected(&2, Loopback::inbound(5));
    assert_eq!(manager.info().connections, 2, "ids tell the connections of one peer apart");
    manager.disconnected(&1, &5);
    assert_eq!((manager.tag_info(&1), manager.tag_info(&2).map(|info| info.conns.len())), (None, Some(1)));
}

/// A second thread's tagging, protection look-ups and protecting get through while everything that could hold them up stands still.
#[test]
fn nothing_waits_for_a_stalled_trim_snapshot_or_upsert() {
    let (stalled, is_stalled) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let stall = stalled.clone();
    let manager = Arc::new(manager(1, 9));
    manager.connected(
        &1,
        Loopback::closing_with(1, move |_| {
            stall.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        }),
    );
    manager.connected(&2, Loopback::inbound(2));
    manager.tag_peer(&2, "value", 9);
    let trimming = thread::spawn({
        let manager = Arc::clone(&manager);
        move || manager.trim_open_conns()
    });
    is_stalled.recv_timeout(LIMIT).expect("the trim stalls in a close callback");
    let (let_go, held) = mpsc::channel::<()>();
    let upserting = thread::spawn({
        let manager = Arc::clone(&manager);
        move || {
            let mut first = true;
            manager.upsert_tag(&2, "value", |value| {
                if std::mem::take(&mut first) {
                    stalled.send(()).unwrap();
                    let _ = held.recv();
                }
                value + 1
            })
        }
    });
    is_stalled.recv_timeout(LIMIT).expect("the upsert stalls in its closure");
    within("a call while others stand still", {
        let manager = Arc::clone(&manager);
        move || {
            let snapshot = manager.snapshot();
            assert!(!manager.is_protected(&2, None), "a look-up goes through");
            manager.tag_peer(&2, "value", 20);
            manager.tag_peer(&2, "other", 1);
            assert_eq!(manager.upsert_tag(&1, "value", |value| value + 1), 1, "tagging goes through");
            assert_eq!(manager.protect(&2, "p"), Protection::Protected, "protecting goes through");
            assert_eq!(manager.tag_info(&2).unwrap().value, 21, "reading goes through");
            manager.connected(&3, Loopback::inbound(3));
            manager.disconnected(&3, &3);
            assert_eq!(snapshot.iter().count(), 2, "and the snapshot stands still");
        }
    });
    drop(let_go);
    assert_eq!(
        upserting.join().unwrap(),
        21,
        "the upsert that stalled starts over from the value set meanwhile"
    );
    drop(release);
    assert_eq!(closed(&trimming.join().unwrap()), [1], "and the trim ends as it began");
}

/// From several threads: after `protect` has returned anything but "too late", nobody ever closes that peer.
#[test]
fn exactly_one_of_protected_in_time_and_closed_holds_of_every_peer() {
    const PEERS: u64 = 64;
    for round in 0..100 {
        let manager = builder(1, 2).seed(round).build().unwrap();
        let conns = connect(&manager, 0..PEERS);
        let start = Barrier::new(4);
        let said: Vec<Mutex<Vec<Protection>>> = (0..PEERS).map(|_| Mutex::default()).collect();
        let trimmed = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (manager, start, said, trimmed) = (&manager, &start, &said, &trimmed);
            for protector in 0..2 {
                scope.spawn(move || {
                    start.wait();
                    for peer in 0..PEERS {
                        let peer = if protector == 0 { peer } else { PEERS - 1 - peer };
                        said[peer as usize].lock().unwrap().push(manager.protect(&peer, "p"));
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..3 {
                        let report = manager.trim_open_conns();
                        if !report.joined {
                            trimmed.fetch_add(report.closed_connections, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        for (conn, said) in conns.iter().zip(&said) {
            let mut said = said.lock().unwrap().clone();
            said.sort_by_key(|said| *said as u8);
            match conn.closes() {
                0 => assert_eq!(
                    said,
                    [Protection::Protected, Protection::AlreadyProtected],
                    "round {round}: whoever is open was protected, by exactly one of two"
                ),
                1 => assert_eq!(
                    said,
                    [Protection::TooLate; 2],
                    "round {round}: whoever is closed was protected too late, and both were told"
                ),
                times => panic!("round {round}: closed {times} times"),
            }
        }
        let closed: usize = closes(&conns).iter().sum();
        assert_eq!(trimmed.into_inner(), closed, "round {round}: each close is in the report of one trim");
        assert_eq!(manager.info().closing, closed, "round {round}: and counted");
    }
}

/// Go: `TestSafeConcurrency`.
#[test]
fn everything_at_once_leaves_exact_counts_and_closes_nothing_twice_or_protected() {
    const ROUNDS: u64 = 300;
    const THREADS: u64 = 3;
    let manager = builder(30, 60).build().unwrap();
    let guarded = connect(&manager, 0..10);
    for peer in 0..10 {
        let _ = manager.protect(&peer, "guard");
    }
    let conns = Mutex::new(Vec::new());
    let (ended, upserts, closed, working) =
        (AtomicUsize::new(0), AtomicI64::new(0), AtomicUsize::new(0), AtomicU64::new(THREADS));
    thread::scope(|scope| {
        let (manager, conns, ended, upserts, closed, working) =
            (&manager, &conns, &ended, &upserts, &closed, &working);
        for thread in 0..THREADS {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let (peer, id) = (10 + round % 50, 1_000 + thread * ROUNDS + round);
                    let conn = Loopback::inbound(id);
                    manager.connected(&peer, conn.clone());
                    conns.lock().unwrap().push((peer, conn));
                    manager.tag_peer(&peer, "round", round as i64);
                    manager.upsert_tag(&(round % 10), "count", |value| value + 1);
                    upserts.fetch_add(1, Ordering::Relaxed);
                    let _ = manager.protect(&peer, "short");
                    let _ = manager.tag_info(&peer);
                    manager.unprotect(&peer, "short");
                    if round % 3 == 0 {
                        manager.untag_peer(&peer, "round");
                        manager.disconnected(&peer, &id);
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                }
                working.fetch_sub(1, Ordering::Release);
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                while working.load(Ordering::Acquire) > 0 {
                    let report = manager.trim_open_conns();
                    if !report.joined {
                        closed.fetch_add(report.closed_connections, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let conns = conns.into_inner().unwrap();
    let (opened, ended) = (conns.len() + guarded.len(), ended.into_inner());
    let info = manager.info();
    assert_eq!(info.connections, opened - ended, "opened less ended");
    assert_eq!(info.ignored_events, 0, "every event was told once");
    assert!(conns.iter().all(|(_, conn)| conn.closes() <= 1), "nothing is closed twice");
    let closes: usize = conns.iter().map(|(_, conn)| conn.closes()).sum();
    assert_eq!(closed.into_inner(), closes, "each close is in the report of one trim");
    assert!(guarded.iter().all(|conn| conn.closes() == 0), "no protected peer is closed");
    let counted: i64 = (0..10).map(|peer| manager.tag_value(&peer, "count").unwrap()).sum();
    assert_eq!(counted, upserts.into_inner(), "no upsert is lost");
    let held: Vec<_> = manager.snapshot().iter().flat_map(|peer| peer.conns().collect::<Vec<_>>()).collect();
    assert_eq!(held.len(), info.connections, "the count is that of the connections held");
    let closing = held.iter().filter(|conn| conn.closing).count();
    assert_eq!(closing, info.closing, "and so is that of those being closed");
    let left: Vec<_> =
        conns.into_iter().filter(|(_, conn)| held.iter().any(|held| held.id == id(conn))).collect();
    left.iter().for_each(|(peer, conn)| manager.disconnected(peer, &connmgr::Connection::id(conn)));
    assert_eq!((manager.info().connections, manager.info().closing), (10, 0), "the guarded ones are left");
}

fn id(conn: &Loopback) -> String {
    connmgr::Connection::id(conn).to_string()
}

/// Go: `BenchmarkLockContention`, as a test: taggers against connect, tag, untag and disconnect.
#[test]
fn taggers_and_connections_that_come_and_go_leave_exact_counts() {
    const PEERS: u64 = 16;
    const ROUNDS: u64 = 500;
    let manager = manager(1, 9);
    connect(&manager, 0..PEERS);
    thread::scope(|scope| {
        let manager = &manager;
        for _ in 0..2 {
            scope.spawn(move || {
                for round in 0..ROUNDS * 4 {
                    manager.upsert_tag(&(round % PEERS), "count", |value| value + 1);
                }
            });
        }
        for thread in 0..2 {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let (peer, conn) = (1_000 + round % PEERS, thread * ROUNDS + round);
                    manager.connected(&peer, Loopback::inbound(conn));
                    manager.tag_peer(&peer, "short", 1);
                    manager.untag_peer(&peer, "short");
                    manager.disconnected(&peer, &conn);
                }
            });
        }
    });
    let total: i64 = (0..PEERS).map(|peer| manager.tag_value(&peer, "count").unwrap()).sum();
    assert_eq!(total, (2 * 4 * ROUNDS) as i64, "every tag update counts");
    let info = manager.info();
    assert_eq!((info.connections, info.ignored_events), (PEERS as usize, 0), "every event was told once");
    assert_eq!(peers(&manager), PEERS as usize, "nothing is left of those who went");
}

/// Go: `TestConcurrentCleanupAndTagging`.
#[test]
fn tagging_while_temporary_records_expire_loses_nothing_of_connected_peers_and_leaves_none_behind() {
    const ROUNDS: i64 = 1_000;
    let clock = ManualClock::new();
    let manager: Manager = builder(1, 1_000).grace_period(secs(1)).clock(clock.clone()).build().unwrap();
    let conns = connect(&manager, 0..1);
    let (expired, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let taggers: Vec<_> = (0..3)
            .map(|thread| {
                let manager = &manager;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let peer = 1 + (round as u64 * 7 + thread) % 100;
                        let counted = manager.upsert_tag(&peer, "temporary", |value| value + 1);
                        assert!(
                            (1..=3 * ROUNDS).contains(&counted),
                            "a count starts from nothing or goes on"
                        );
                        manager.upsert_tag(&0, "lasting", |value| value + 1);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                clock.advance(secs(1));
                expired.fetch_add(manager.trim_open_conns().expired, Ordering::Relaxed);
            }
        });
        let panics: Vec<_> = taggers.into_iter().filter_map(|tagger| tagger.join().err()).collect();
        done.store(true, Ordering::Release);
        assert!(panics.is_empty(), "no tagger failed");
    });
    clock.advance(secs(1));
    let last = manager.trim_open_conns().expired;
    assert!(expired.into_inner() + last >= 100, "each of a hundred peers had to expire at least once");
    assert_eq!(peers(&manager), 1, "no temporary record is left");
    assert_eq!(manager.tag_value(&0, "lasting"), Some(3 * ROUNDS), "the connected peer's tag lost nothing");
    assert_eq!(closes(&conns), [0], "and nobody was closed");
}
