//! Trims: who is closed, how many, in which order, and what the report says.
#![expect(clippy::disallowed_types, reason = "tests collect what threads and callbacks say")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use common::{
    Hooked, LIMIT, Late, Manager, Probe, at, builder, closed, closes, connect, connect_valued, manager,
    peers, secs, with_meanwhile, within,
};
use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, ByValue, CancelToken, CloseReason, ManualClock, Protection, SpareReason, TrimOutcome,
    TrimTrigger,
};

/// Go: `TestConnTrimming`.
#[test]
fn the_least_valuable_are_closed_down_to_the_low_watermark() {
    let manager = manager(200, 300);
    let conns = connect_valued(&manager, 0..299);
    let report = manager.trim_open_conns();
    assert_eq!((report.trigger, report.outcome), (TrimTrigger::Explicit, TrimOutcome::Reached));
    assert_eq!(
        (report.candidates, report.target, report.closed_connections),
        (299, 99, 99),
        "candidates less low"
    );
    assert_eq!(closed(&report), (0..99).collect::<Vec<_>>(), "lowest value first");
    assert_eq!((report.cutoff, report.lowest_kept), (Some(98), Some(99)), "nobody kept is worth less");
    assert!(
        report.closed.iter().all(|peer| peer.reason == CloseReason::Trim && !peer.protected),
        "by a trim"
    );
    assert!(report.closed.iter().all(|peer| peer.value == peer.peer as i64), "at the value it had");
    assert!(closes(&conns[..99]).iter().all(|&times| times == 1), "each of them was closed, once");
    assert!(closes(&conns[99..]).iter().all(|&times| times == 0), "and nobody else");
}

/// Go: `TestPeerInfoSorting`.
#[test]
fn the_order_is_value_then_streams_then_direction_then_fewer_streams() {
    let manager = manager(1, 100);
    let order = [
        (-5, Loopback::outbound(0).with_streams(9)),
        (0, Loopback::inbound(1).with_streams(0)),
        (0, Loopback::outbound(2).with_streams(0)),
        (0, Loopback::inbound(3).with_streams(1)),
        (0, Loopback::inbound(4).with_streams(7)),
        (0, Loopback::outbound(5).with_streams(2)),
        (0, Loopback::outbound(6).with_streams(3)),
        (1, Loopback::inbound(7).with_streams(0)),
        (2, Loopback::inbound(8).with_streams(0)),
    ];
    for (peer, (value, conn)) in order.into_iter().enumerate().rev() {
        manager.connected(&(peer as u64), conn);
        manager.tag_peer(&(peer as u64), "value", value);
    }
    let planned: Vec<_> = manager.plan_trim().victims.iter().map(|victim| victim.peer).collect();
    assert_eq!(planned, (0..8).collect::<Vec<_>>(), "a plan has the order");
    assert_eq!(closed(&manager.trim_open_conns()), planned, "and so has the trim");
}

#[test]
fn an_unknown_stream_count_is_not_taken_for_zero() {
    let manager = manager(1, 100);
    manager.connected(&1, Loopback::inbound(1));
    manager.connected(&2, Loopback::outbound(2).with_streams(0));
    assert_eq!(closed(&manager.trim_open_conns()), [2], "the one that is known to be idle goes first");
}

#[test]
fn one_inbound_connection_makes_a_peer_inbound_and_streams_add_up() {
    let manager = manager(1, 100);
    for (peer, streams) in [(1, 2), (2, 1)] {
        manager.connected(&peer, Loopback::outbound(10 * peer).with_streams(streams));
        manager.connected(&peer, Loopback::inbound(10 * peer + 1).with_streams(streams));
    }
    manager.connected(&3, Loopback::outbound(30).with_streams(1));
    let order: Vec<_> = manager.plan_trim().victims.iter().map(|victim| victim.peer).collect();
    assert_eq!(order, [2, 1], "inbound first, of these the one with two streams before that with four");
}

#[test]
fn ties_fall_by_a_hash_keyed_per_manager() {
    let victims = |seed: Option<u64>| {
        let mut builder = BasicConnManager::builder().low_water(32).high_water(100).background(false);
        if let Some(seed) = seed {
            builder = builder.seed(seed);
        }
        let manager: Manager = builder.grace_period(secs(0)).build().unwrap();
        connect(&manager, 0..64);
        manager.plan_trim().victims.iter().map(|victim| victim.peer).collect::<Vec<_>>()
    };
    assert_eq!(victims(Some(7)), victims(Some(7)), "one seed, one order");
    assert_ne!(victims(Some(7)), victims(Some(8)), "another seed, another order");
    assert_ne!(victims(None), victims(None), "without a seed nobody can know the order");
}

/// Go: `TestConnsToClose`.
#[test]
fn nothing_is_closed_where_trimming_is_disabled_or_there_is_no_need() {
    for (low, high, outcome) in [
        (0, 10, TrimOutcome::Disabled),
        (0, 0, TrimOutcome::Disabled),
        (10, 0, TrimOutcome::Disabled),
        (5, 10, TrimOutcome::NothingToDo),
        (6, 10, TrimOutcome::NothingToDo),
    ] {
        let manager = manager(low, high);
        let conns = connect(&manager, 0..5);
        assert_eq!(manager.plan_trim().outcome, outcome, "planned, low {low} high {high}");
        for report in [manager.trim_open_conns(), manager.force_trim()] {
            assert_eq!((report.outcome, report.closed_connections), (outcome, 0), "low {low}, high {high}");
        }
        assert_eq!(closes(&conns), [0; 5], "low {low}, high {high}: all stay open");
    }
}

#[test]
fn an_explicit_trim_ignores_the_high_watermark() {
    let manager = manager(3, 1_000);
    connect(&manager, 0..4);
    assert_eq!(manager.trim_open_conns().closed_connections, 1, "one above low is enough");
}

#[test]
fn connected_never_trims_by_itself() {
    let manager = manager(1, 2);
    let conns = connect(&manager, 0..50);
    assert_eq!((manager.info().closing, manager.info().last_trim), (0, None), "far above high, no trim");
    assert_eq!(closes(&conns), [0; 50], "and no close");
}

/// Go: `TestConnsToClose`, its part about grace.
#[test]
fn the_reference_closes_nothing_when_too_many_are_in_grace_or_protected_and_the_exact_policy_does() {
    let build = |policy| {
        let clock = ManualClock::new();
        let manager =
            builder(5, 100).grace_period(secs(10)).policy(policy).clock(clock.clone()).build().unwrap();
        connect(&manager, 0..4);
        clock.advance(secs(10));
        connect(&manager, 4..20);
        manager
    };
    let manager = build(ByValue::reference());
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.outcome, report.candidates, report.closed_connections),
        (TrimOutcome::TooFewCandidates, 4, 0),
        "four candidates are fewer than five"
    );
    let report = build(ByValue::exact()).trim_open_conns();
    assert_eq!(
        (report.outcome, report.candidates, report.target, report.closed_connections),
        (TrimOutcome::Short, 4, 15, 4),
        "an exact target takes what there is, and says that it falls short"
    );
}

#[test]
fn the_reference_counts_candidates_and_the_exact_policy_counts_all_that_are_open() {
    for (policy, closes) in [(ByValue::reference(), 5), (ByValue::exact(), 10)] {
        let manager = builder(10, 100).policy(policy).build().unwrap();
        connect(&manager, 0..20);
        for peer in 0..5 {
            let _ = manager.protect(&peer, "p");
        }
        let report = manager.trim_open_conns();
        assert_eq!((report.candidates, report.target), (15, closes), "{policy:?}: the target");
        assert_eq!(report.closed_connections, closes, "{policy:?}: is met");
        assert_eq!(
            manager.info().connections - manager.info().closing,
            20 - closes,
            "{policy:?}: the rest is open"
        );
    }
}

/// Go: `TestGracePeriod`.
#[test]
fn peers_are_exempt_until_their_grace_period_is_over_and_not_longer() {
    let clock = ManualClock::new();
    let manager = builder(1, 10).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    clock.set(secs(100));
    let conns = connect(&manager, 0..3);
    clock.set(secs(110) - std::time::Duration::from_nanos(1));
    let report = manager.trim_open_conns();
    assert_eq!((report.candidates, report.closed_connections), (0, 0), "a nanosecond before its end");
    clock.set(secs(110));
    let report = manager.trim_open_conns();
    assert_eq!((report.candidates, report.closed_connections), (3, 2), "at its end");
    assert_eq!(closes(&conns).iter().sum::<usize>(), 2, "the closes were issued");
}

#[test]
fn a_grace_period_of_zero_exempts_nobody() {
    let manager = manager(1, 10);
    connect(&manager, 0..3);
    assert_eq!(manager.trim_open_conns().closed_connections, 2, "in the very instant they connected");
}

#[test]
fn peers_are_closed_whole() {
    let manager = manager(3, 100);
    for peer in 0..4 {
        manager.connected(&peer, Loopback::inbound(10 * peer));
        manager.connected(&peer, Loopback::outbound(10 * peer + 1));
        manager.tag_peer(&peer, "value", peer as i64);
    }
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.target, report.closed_connections),
        (5, 6),
        "eight less three, and the last peer's other one"
    );
    let closed: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.connections)).collect();
    assert_eq!(closed, [(0, 2), (1, 2), (2, 2)], "each with all its connections");
}

#[test]
fn two_trims_never_choose_one_connection() {
    let manager = manager(5, 100);
    let conns = connect_valued(&manager, 0..10);
    assert_eq!(closed(&manager.trim_open_conns()), [0, 1, 2, 3, 4], "down to low");
    for again in [manager.trim_open_conns(), manager.force_trim()] {
        assert_eq!(
            (again.outcome, again.closed_connections),
            (TrimOutcome::NothingToDo, 0),
            "closing is not open"
        );
    }
    manager.connected(&4, Loopback::inbound(99));
    let report = manager.trim_open_conns();
    assert_eq!((report.candidates, report.target), (6, 1), "only what is open counts");
    assert_eq!(
        report.closed.iter().map(|peer| (peer.peer, peer.connections)).collect::<Vec<_>>(),
        [(4, 1)],
        "of a peer with one connection closing and one open, the open one"
    );
    assert_eq!(closes(&conns), [1, 1, 1, 1, 1, 0, 0, 0, 0, 0], "nothing is closed twice");
}

#[test]
fn what_a_trim_took_of_a_peer_is_closing_and_nothing_that_comes_later() {
    let manager = manager(1, 100);
    connect_valued(&manager, 9..10);
    let conns = [1, 2, 3, 4].map(Loopback::inbound);
    let connect = |conn: usize| manager.connected(&0, conns[conn - 1].clone());
    // What it holds: each connection, and whether it is being closed.
    let held = || {
        let held = manager.tag_info(&0).expect("connected").conns.into_iter();
        let held = held.map(|conn| (conn.id.parse().expect("a number"), conn.closing));
        (held.collect::<Vec<(u64, bool)>>(), manager.info().closing)
    };
    connect(1);
    connect(2);
    let before = manager.snapshot();
    assert_eq!(closed(&manager.trim_open_conns()), [0], "with both its connections");
    let both = (vec![(1, true), (2, true)], 2);
    assert_eq!(held(), both, "both are being closed");
    assert!(before.iter().flat_map(|peer| peer.conns()).all(|conn| !conn.closing), "but were not before");
    assert_eq!(manager.protect(&0, "p"), Protection::TooLate, "it is told");
    assert_eq!(held(), both, "a protection changes nothing of that");
    assert!(!manager.unprotect(&0, "p"), "no other protection");
    assert_eq!(held(), both, "nor does lifting it");
    assert_eq!(manager.trim_open_conns().outcome, TrimOutcome::NothingToDo, "none is open");
    manager.disconnected(&0, &2);
    assert_eq!(held(), (vec![(1, true)], 1), "the other one still is");
    connect(3);
    assert_eq!(held(), (vec![(1, true), (3, false)], 1), "the new one is not");
    let report = manager.trim_open_conns();
    assert_eq!((closed(&report), report.closed_connections), (vec![0], 1), "it alone is taken");
    let all = (vec![(1, true), (3, true)], 2);
    assert_eq!(held(), all, "now all are being closed");
    // The snapshot kept this state out of the record: now it moves there.
    drop(before);
    (0..64).for_each(|_| drop(manager.snapshot()));
    assert_eq!(held(), all, "wherever that is stored");
    manager.disconnected(&0, &1);
    assert_eq!(manager.protect(&0, "p"), Protection::TooLate, "as one still is");
    assert_eq!(held(), (vec![(3, true)], 1), "the newer one");
    manager.disconnected(&0, &3);
    connect(4);
    assert_eq!(held(), (vec![(4, false)], 0), "what comes to a peer without connections is open");
    assert_eq!(closes(&conns), [1, 1, 1, 0], "nothing is closed twice");
}

#[test]
fn a_plan_is_what_the_trim_then_does_and_changes_nothing() {
    let manager = manager(3, 100);
    let conns = connect_valued(&manager, 0..9);
    let _ = manager.protect(&0, "p");
    let plan = manager.plan_trim();
    assert_eq!(
        (plan.outcome, plan.candidates, plan.target, plan.cutoff),
        (TrimOutcome::Reached, 8, 5, Some(5))
    );
    assert_eq!(closes(&conns), [0; 9], "a plan closes nothing");
    assert_eq!((manager.info().closing, manager.info().last_trim), (0, None), "and is no trim");
    let planned: Vec<_> =
        plan.victims.iter().map(|victim| (victim.peer, victim.value, victim.connections)).collect();
    let report = manager.trim_open_conns();
    let done: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.value, peer.connections)).collect();
    assert_eq!(done, planned, "the same peers in the same order");
    assert_eq!((report.cutoff, report.target), (plan.cutoff, plan.target), "by the same figures");
}

#[test]
fn an_emergency_ignores_grace_and_takes_unprotected_peers_first() {
    let manager = builder(10, 100).grace_period(secs(1_000)).build().unwrap();
    let conns = connect_valued(&manager, 0..30);
    for peer in 0..5 {
        let _ = manager.protect(&peer, "p");
    }
    assert_eq!(manager.trim_open_conns().closed_connections, 0, "all are in grace");
    let report = manager.force_trim();
    assert_eq!((report.trigger, report.outcome), (TrimTrigger::Emergency, TrimOutcome::Reached));
    assert_eq!((report.target, report.closed_connections), (20, 20), "exactly down to low");
    assert_eq!(
        closed(&report),
        (5..25).collect::<Vec<_>>(),
        "lowest value first, the protected ones passed over"
    );
    assert!(
        report.closed.iter().all(|peer| peer.reason == CloseReason::Emergency && !peer.protected),
        "as said"
    );
    assert_eq!(closes(&conns[..5]), [0; 5], "no protected one was needed");
}

#[test]
fn an_emergency_closes_protected_peers_only_as_far_as_needed_and_marks_them() {
    let manager = builder(10, 100).grace_period(secs(1_000)).build().unwrap();
    let conns = connect_valued(&manager, 0..20);
    for peer in 0..15 {
        let _ = manager.protect(&peer, "p");
    }
    let report = manager.force_trim();
    assert_eq!(report.closed_connections, 10, "exactly down to low: the target is not counted twice");
    let closed: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.protected)).collect();
    let unprotected = (15..20).map(|peer| (peer, false));
    assert_eq!(
        closed,
        unprotected.chain((0..5).map(|peer| (peer, true))).collect::<Vec<_>>(),
        "protected ones last"
    );
    assert!(closes(&conns).iter().all(|&times| times <= 1), "nothing is closed twice");
    assert_eq!(manager.force_trim().outcome, TrimOutcome::NothingToDo, "closing ones count no longer");
    assert!((0..15).all(|peer| manager.is_protected(&peer, Some("p"))), "the protections themselves stay");
}

#[test]
fn an_emergency_takes_peers_with_more_streams_first() {
    let manager = manager(1, 100);
    for (peer, streams) in [(0, 2), (1, 9), (2, 5)] {
        manager.connected(&peer, Loopback::inbound(peer).with_streams(streams));
    }
    manager.connected(&3, Loopback::outbound(3).with_streams(100));
    assert_eq!(closed(&manager.force_trim()), [1, 2, 0], "inbound before outbound, then more streams first");
}

/// In Go too: "more streams first" is the last of the criteria and leaves those before it as they are.
#[test]
fn an_emergency_still_takes_peers_without_streams_before_peers_with() {
    let manager = manager(1, 100);
    manager.connected(&0, Loopback::inbound(0).with_streams(9));
    manager.connected(&1, Loopback::outbound(1).with_streams(0));
    assert_eq!(closed(&manager.force_trim()), [1], "the idle one goes first");
}

/// Go: `TestTemporaryEntriesClearedFirst`.
#[test]
fn temporary_records_go_first_and_do_not_count_towards_the_target() {
    let clock = ManualClock::new();
    let manager = builder(10, 100).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    for peer in 100..150 {
        manager.tag_peer(&peer, "early", 1_000);
    }
    let conns = connect(&manager, 0..20);
    clock.advance(secs(10));
    manager.tag_peer(&200, "late", -1);
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.expired, report.closed_connections),
        (50, 10),
        "all that are due, and as many connections"
    );
    assert_eq!(closes(&conns).iter().sum::<usize>(), 10, "twenty less ten");
    assert_eq!(manager.tag_info(&100), None, "a temporary record past its grace is gone");
    assert_eq!(manager.tag_value(&200, "late"), Some(-1), "one in its grace is not");
    assert_eq!(peers(&manager), 21, "nothing else went");
}

#[test]
fn every_kind_of_trim_drops_temporary_records_past_their_grace_disabled_or_not() {
    for (low, high) in [(0, 0), (0, 5), (5, 5), (1, 5)] {
        let clock = ManualClock::new();
        let manager = builder(low, high).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
        let trims: [&dyn Fn() -> usize; 2] =
            [&|| manager.trim_open_conns().expired, &|| manager.force_trim().expired];
        for trim in trims {
            manager.tag_peer(&1, "early", 1);
            assert_eq!(
                (trim(), peers(&manager)),
                (0, 1),
                "low {low} high {high}: not before its grace is over"
            );
            clock.advance(secs(10));
            assert_eq!((trim(), peers(&manager)), (1, 0), "low {low} high {high}: but then");
        }
    }
}

#[test]
fn a_protection_outlives_the_temporary_records_grace() {
    let clock = ManualClock::new();
    let manager = builder(1, 5).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    manager.tag_peer(&1, "early", 1);
    let _ = manager.protect(&1, "p");
    clock.advance(secs(10));
    let _ = manager.trim_open_conns();
    assert!(manager.is_protected(&1, Some("p")), "a protection is not temporary");
    assert!(!manager.unprotect(&1, "p"), "it goes when it is lifted");
    let _ = manager.trim_open_conns();
    assert_eq!(peers(&manager), 0, "and then nothing is left");
}

#[test]
fn every_kind_of_trim_sets_the_time_of_the_last_trim_and_is_heard_of() {
    let clock = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let manager = builder(5, 10)
        .clock(clock.clone())
        .on_trim(move |report| hear.lock().unwrap().push((report.trigger, report.closed_connections)))
        .build()
        .unwrap();
    clock.set(secs(1));
    assert_eq!(manager.trim_open_conns().outcome, TrimOutcome::NothingToDo);
    assert_eq!(manager.info().last_trim, Some(at(1)), "one that found nothing to do");
    connect(&manager, 0..7);
    clock.set(secs(2));
    let _ = manager.trim_open_conns();
    assert_eq!(manager.info().last_trim, Some(at(2)), "an explicit one");
    clock.set(secs(3));
    let _ = manager.force_trim();
    assert_eq!(manager.info().last_trim, Some(at(3)), "an emergency");
    let expected = [(TrimTrigger::Explicit, 0), (TrimTrigger::Explicit, 2), (TrimTrigger::Emergency, 0)];
    assert_eq!(*heard.lock().unwrap(), expected, "each was heard of, with its report");
}

#[test]
fn connections_that_end_meanwhile_count_as_gone() {
    let manager = with_meanwhile(2, |manager| {
        manager.disconnected(&0, &0);
        manager.disconnected(&1, &1);
    });
    let conns = connect_valued(&manager, 0..6);
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.target, report.gone, report.closed_connections),
        (4, 2, 2),
        "gone is as good as closed"
    );
    assert_eq!(
        (report.outcome, closed(&report)),
        (TrimOutcome::Reached, vec![2, 3]),
        "no other is taken for them"
    );
    assert_eq!(closes(&conns), [0, 0, 1, 1, 0, 0], "what is gone is not closed");
}

#[test]
fn values_that_change_while_victims_are_ranked_confuse_no_trim() {
    let manager = Arc::new(manager(40, 100));
    let stop = Arc::new(AtomicBool::new(false));
    let taggers: Vec<_> = (0..2_u64)
        .map(|thread| {
            let (manager, stop) = (Arc::clone(&manager), Arc::clone(&stop));
            thread::spawn(move || {
                for round in 0_u64.. {
                    let peer = (round * 7 + thread) % 40;
                    manager.tag_peer(&peer, "value", (round * 31 % 1_000) as i64);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            })
        })
        .collect();
    let _ = connect(&manager, 0..40);
    for first in (100..5_100).step_by(20) {
        let conns = connect(&manager, first..first + 20);
        let report = manager.trim_open_conns();
        let cutoff = report.cutoff.expect("there was something to choose");
        assert!(report.closed.iter().all(|peer| peer.value <= cutoff), "nobody above the cut-off is closed");
        assert!(report.lowest_kept.is_none_or(|kept| kept >= cutoff), "nobody kept ranks before it");
        let raised = report.spared.iter().all(|peer| peer.reason == SpareReason::ValueRaised);
        assert!(raised, "whoever was spared was raised: {:?}", report.spared);
        assert_eq!((report.target, report.closed_connections), (20, 20), "as many as it should");
        for closed in &report.closed {
            manager.disconnected(&closed.peer, &closed.peer);
            if closed.peer < 40 {
                connect(&manager, closed.peer..closed.peer + 1);
            }
        }
        let late: Vec<_> = (0_u64..).zip(&conns).filter(|(_, conn)| conn.closes() == 0).collect();
        for (peer, _) in late {
            manager.disconnected(&(first + peer), &(first + peer));
        }
    }
    stop.store(true, Ordering::Relaxed);
    taggers.into_iter().for_each(|tagger| tagger.join().unwrap());
    assert_eq!((manager.info().connections, manager.info().closing), (40, 0), "the counts are exact");
}

#[test]
fn streams_are_asked_of_candidates_only() {
    let manager = BasicConnManager::<u64, Probe>::builder()
        .low_water(1)
        .high_water(100)
        .grace_period(secs(0))
        .background(false)
        .build()
        .unwrap();
    let asked: [Arc<AtomicUsize>; 4] = Default::default();
    for (peer, asked) in (0..).zip(&asked) {
        let asked = Arc::clone(asked);
        manager.connected(&peer, Probe::new(peer, move || Some(asked.fetch_add(1, Ordering::Relaxed))));
    }
    let _ = manager.protect(&0, "p");
    assert_eq!(manager.trim_open_conns().closed_connections, 2, "three candidates less one");
    let asked = asked.map(|asked| asked.load(Ordering::Relaxed) > 0);
    assert_eq!(asked, [false, true, true, true], "each candidate, and the protected peer not at all");
}

/// A caller that had not cancelled anything was told that its trim was cancelled.
#[test]
fn a_call_that_meets_a_cancelled_trim_runs_its_own() {
    // Whether the second call comes in time is up to the scheduler: either way it goes down to low.
    for round in 0..12 {
        let cancel = CancelToken::new();
        let (token, (send, other)) = (cancel.clone(), mpsc::channel());
        let first = AtomicBool::new(true);
        let late = Late::default();
        let (of_hook, send) = (late.clone(), Mutex::new(send));
        let hook = move || {
            if first.swap(false, Ordering::Relaxed) {
                let (manager, (coming, comes)) = (of_hook.get(), mpsc::channel());
                let second = thread::spawn(move || {
                    coming.send(()).unwrap();
                    manager.trim_open_conns()
                });
                comes.recv_timeout(LIMIT).expect("the second call is about to be made");
                (0..1 << round).for_each(|_| thread::yield_now());
                send.lock().unwrap().send(second).unwrap();
                token.cancel();
            }
        };
        let manager = Arc::new(builder(1, 100).policy(Hooked(ByValue::exact(), hook)).build().unwrap());
        late.set(&manager);
        connect_valued(&manager, 0..4);
        let cancelled = manager.trim_open_conns_with(&cancel);
        assert_eq!((cancelled.outcome, cancelled.closed_connections), (TrimOutcome::Cancelled, 0));
        let second = other.recv_timeout(LIMIT).expect("the second call was made");
        let report = within("the second call", move || second.join().unwrap());
        assert_eq!((report.outcome, report.joined), (TrimOutcome::Reached, false), "in round {round}");
        assert_eq!(closed(&report), [0, 1, 2], "it goes down to low");
    }
}
