//! Bad input: contradictory configurations, extreme values and names, clocks that go backwards, callbacks that panic or call back.
#![expect(clippy::disallowed_types, reason = "tests collect what threads and callbacks say")]

mod common;

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{
    Hooked, Late, Manager, Probe, at, builder, closed, closes, connect, connect_valued, manager, peers, secs,
    within,
};
use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, ByValue, Candidate, Census, ConfigError, MAX_WEIGHT, MIN_WEIGHT, ManualClock,
    Protection, Rank, SpareReason, TrimOutcome, TrimPolicy,
};

#[test]
fn a_low_watermark_above_the_high_one_is_refused() {
    let refused = builder(11, 10).build().expect_err("a contradiction");
    assert_eq!(refused, ConfigError::LowAboveHigh { low: 11, high: 10 }, "it says which");
    assert!(
        refused.to_string().contains("11") && refused.to_string().contains("10"),
        "in words too: {refused}"
    );
    assert!(builder(10, 10).build().is_ok(), "equal watermarks are none");
}

#[test]
fn a_silence_period_of_zero_is_refused_and_a_grace_period_of_zero_is_not() {
    let refused = builder(1, 2).silence_period(Duration::ZERO).build().expect_err("it would never rest");
    assert_eq!(refused, ConfigError::ZeroSilence);
    assert!(builder(1, 2).grace_period(Duration::ZERO).build().is_ok(), "no grace is fine");
}

#[test]
fn absurdly_long_periods_are_refused() {
    for periods in [(Duration::MAX, secs(1)), (secs(1), Duration::MAX)] {
        let refused = builder(1, 2).grace_period(periods.0).silence_period(periods.1).build();
        let refused = refused.expect_err("longer than anything lives");
        assert!(
            matches!(refused, ConfigError::PeriodTooLong { asked: Duration::MAX, .. }),
            "by name: {refused:?}"
        );
    }
    let century = secs(100 * 365 * 24 * 60 * 60);
    let manager =
        builder(1, 2).grace_period(century).silence_period(century).build().expect("a century is allowed");
    connect(&manager, 0..5);
    assert_eq!(manager.trim_open_conns().closed_connections, 0, "everybody is in grace for a century");
    assert_eq!(manager.force_trim().closed_connections, 4, "an emergency does not wait for it");
}

#[test]
fn an_absurdly_long_time_to_keep_tags_is_refused_by_name_when_built_and_when_changed() {
    let asked = Duration::MAX;
    let period = "time to keep tags";
    let refused = builder(1, 2).keep_tags(asked).build().expect_err("longer than anything lives");
    assert_eq!(refused, ConfigError::PeriodTooLong { period, asked });
    assert!(refused.to_string().contains(period), "in words: {refused}");
    let manager = manager(1, 2);
    let refused = manager.reconfigure(|settings| settings.keep_tags(asked));
    assert_eq!(refused, Err(ConfigError::PeriodTooLong { period, asked }), "the same at run time");
    let century = secs(100 * 365 * 24 * 60 * 60);
    manager.reconfigure(|settings| settings.keep_tags(century)).expect("a century is allowed");
    manager.connected(&1, Loopback::inbound(1));
    manager.tag_peer(&1, "tag", 1);
    manager.disconnected(&1, &1);
    assert_eq!((manager.trim_open_conns().expired, manager.tag_value(&1, "tag")), (0, Some(1)), "and kept");
}

#[test]
fn the_largest_watermarks_are_watermarks() {
    let manager = manager(usize::MAX, usize::MAX);
    let conns = connect(&manager, 0..9);
    for report in [manager.trim_open_conns(), manager.force_trim()] {
        assert_eq!((report.outcome, report.target), (TrimOutcome::NothingToDo, 0), "nobody has that many");
    }
    assert_eq!(closes(&conns), [0; 9], "all stay open");
    let manager = common::manager(1, usize::MAX);
    connect(&manager, 0..9);
    assert_eq!(
        manager.trim_open_conns().closed_connections,
        8,
        "a high mark out of reach leaves explicit trims alone"
    );
}

/// Asks for everything there could be.
struct Greedy;

impl TrimPolicy for Greedy {
    fn target(&self, _: &Census) -> usize {
        usize::MAX
    }
    fn rank(&self, candidate: &Candidate) -> Rank {
        Rank(i64::MIN, candidate.connections as u64)
    }
}

#[test]
fn a_policy_that_asks_for_more_than_there_is_gets_what_there_is() {
    let manager = builder(1, 2).policy(Greedy).build().unwrap();
    let conns = connect(&manager, 0..9);
    assert_eq!(manager.plan_trim().outcome, TrimOutcome::Short, "planned");
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.outcome, report.target, report.closed_connections),
        (TrimOutcome::Short, usize::MAX, 9)
    );
    assert_eq!(closes(&conns), [1; 9], "each once");
}

#[test]
fn weights_saturate_and_sums_are_exact_and_clamped() {
    let manager = manager(1, 9);
    connect(&manager, 1..2);
    for (value, stored) in [
        (i64::MAX, MAX_WEIGHT),
        (i64::MIN, MIN_WEIGHT),
        (MAX_WEIGHT, MAX_WEIGHT),
        (MIN_WEIGHT, MIN_WEIGHT),
        (MAX_WEIGHT + 1, MAX_WEIGHT),
        (MIN_WEIGHT - 1, MIN_WEIGHT),
        (-1, -1),
        (0, 0),
    ] {
        for peer in [1, 2] {
            manager.tag_peer(&peer, "tag", value);
            assert_eq!(manager.tag_value(&peer, "tag"), Some(stored), "{value} set");
            assert_eq!(
                manager.upsert_tag(&peer, "up", |_| value),
                stored,
                "{value} upserted: what is stored is returned"
            );
            manager.untag_peer(&peer, "up");
        }
        assert_eq!(
            manager.upsert_tag(&3, "new", |_| value),
            stored,
            "{value} as the first tag of an unknown peer"
        );
        manager.untag_peer(&3, "new");
    }
    for (tag, value) in [("a", i64::MAX), ("b", i64::MIN), ("c", i64::MAX), ("d", i64::MAX), ("e", i64::MIN)]
    {
        manager.tag_peer(&1, tag, value);
    }
    let exact = 3 * i128::from(MAX_WEIGHT) + 2 * i128::from(MIN_WEIGHT);
    let info = manager.tag_info(&1).unwrap();
    assert_eq!(i128::from(info.value), exact, "no order of summing overflows on the way");
    manager.tag_peer(&1, "b", i64::MAX);
    manager.tag_peer(&1, "e", i64::MAX);
    assert_eq!(manager.tag_info(&1).unwrap().value, i64::MAX, "a sum above every i64 is the highest");
    for tag in ["a", "b", "c", "d", "e"] {
        manager.tag_peer(&1, tag, i64::MIN);
    }
    assert_eq!(manager.tag_info(&1).unwrap().value, i64::MIN, "and one below the lowest");
}

#[test]
fn peers_of_extreme_value_keep_their_order() {
    let manager = manager(1, 99);
    connect(&manager, 0..5);
    for tag in ["a", "b", "c"] {
        manager.tag_peer(&0, tag, i64::MIN);
        manager.tag_peer(&4, tag, i64::MAX);
    }
    manager.tag_peer(&1, "a", -1);
    manager.tag_peer(&3, "a", i64::MAX);
    manager.connected(&2, Loopback::outbound(20).with_streams(usize::MAX));
    manager.connected(&2, Loopback::inbound(21).with_streams(usize::MAX));
    let report = manager.trim_open_conns();
    assert_eq!(closed(&report), [0, 1, 2, 3], "lowest first, sums and stream counts that overflow included");
    assert_eq!((report.cutoff, report.lowest_kept), (Some(MAX_WEIGHT), Some(i64::MAX)), "up to here");
}

#[test]
fn any_string_names_a_tag() {
    let long = "t".repeat(1 << 20);
    let longer = format!("{long}t");
    let names = ["", " ", "\0", "é", long.as_str(), longer.as_str()];
    let manager = manager(1, 9);
    for (value, name) in (1..).zip(names) {
        manager.tag_peer(&1, name, value);
        assert_eq!(manager.protect(&1, name), Protection::Protected, "each is a protection of its own");
    }
    for (value, name) in (1..).zip(names) {
        assert_eq!(manager.upsert_tag(&1, name, |found| found * 10), value * 10, "and a tag of its own");
        assert!(manager.is_protected(&1, Some(name)), "by every name");
    }
    let info = manager.tag_info(&1).unwrap();
    assert_eq!((info.tags.len(), info.value, info.tags[&longer]), (6, 210, 60), "all are listed");
    for name in names {
        manager.untag_peer(&1, name);
        manager.unprotect(&1, name);
    }
    assert_eq!((peers(&manager), manager.info().tag_names), (0, 6), "removed, but for the names");
}

#[test]
fn an_empty_peer_id_is_an_id() {
    let manager = BasicConnManager::<String, Loopback>::builder()
        .low_water(1)
        .high_water(2)
        .background(false)
        .build()
        .unwrap();
    let (empty, other) = (String::new(), "other".to_owned());
    manager.connected(&empty, Loopback::inbound(1));
    manager.connected(&other, Loopback::inbound(2));
    manager.tag_peer(&other, "value", 1);
    assert_eq!(manager.upsert_tag(&empty, "value", |value| value - 1), -1, "it has tags");
    let _ = manager.protect(&empty, "p");
    assert!(manager.is_protected(&empty, None) && !manager.is_protected(&other, None), "and protections");
    assert!(!manager.unprotect(&empty, "p"), "of its own");
    assert_eq!(closed(&manager.force_trim()), [String::new()], "it is closed like any other");
    manager.disconnected(&empty, &1);
    assert_eq!(manager.tag_info(&empty), None, "and goes");
}

/// A peer id that hashes like every other.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Colliding(u32);

impl Hash for Colliding {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[test]
fn peer_ids_of_one_hash_are_told_apart() {
    const PEERS: u32 = 300;
    let manager = BasicConnManager::<Colliding, Loopback>::builder()
        .low_water(100)
        .high_water(200)
        .grace_period(secs(0))
        .background(false)
        .build()
        .unwrap();
    for peer in 0..PEERS {
        manager.connected(&Colliding(peer), Loopback::inbound(peer.into()));
        manager.tag_peer(&Colliding(peer), "value", peer.into());
    }
    assert!(
        (0..PEERS).all(|peer| manager.tag_value(&Colliding(peer), "value") == Some(peer.into())),
        "each its own"
    );
    assert_eq!(
        closed(&manager.trim_open_conns()),
        (0..200).map(Colliding).collect::<Vec<_>>(),
        "in order of value"
    );
    (0..200).for_each(|peer| manager.disconnected(&Colliding(peer), &peer.into()));
    assert_eq!(manager.snapshot().iter().count(), 100, "those that went are gone");
    assert!((200..PEERS).all(|peer| manager.tag_info(&Colliding(peer)).is_some()), "the others are found");
}

#[test]
fn a_clock_that_goes_backwards_leaves_those_from_the_future_in_grace() {
    let clock = ManualClock::new();
    let manager = builder(1, 9).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    clock.set(secs(100));
    connect_valued(&manager, 0..3);
    manager.tag_peer(&7, "early", 1);
    let _ = manager.trim_open_conns();
    for back in [50, 5, 0, 109] {
        clock.set(secs(back));
        let report = manager.trim_open_conns();
        assert_eq!(
            (report.candidates, report.expired),
            (0, 0),
            "at {back} s nobody is past the grace period"
        );
        assert_eq!(report.elapsed, Duration::ZERO, "and no time has passed");
        assert_eq!(manager.info().last_trim, Some(at(back)), "the clock is believed");
    }
    clock.set(secs(110));
    let report = manager.trim_open_conns();
    assert_eq!((closed(&report), report.expired), (vec![0, 1], 1), "until it has caught up");
}

#[test]
fn a_clock_that_goes_backwards_during_a_trim_spares_or_closes_but_never_panics() {
    let clock = ManualClock::new();
    let back = clock.clone();
    let policy = Hooked(ByValue::exact(), move || back.set(secs(3)));
    let manager = builder(1, 9).grace_period(secs(1)).policy(policy).clock(clock.clone()).build().unwrap();
    connect_valued(&manager, 0..2);
    clock.set(secs(5));
    connect_valued(&manager, 2..4);
    clock.set(secs(6));
    let report = manager.trim_open_conns();
    assert_eq!(closed(&report), [0, 1], "those past their grace at both times");
    let spared: Vec<_> = report.spared.iter().map(|peer| (peer.peer, peer.reason)).collect();
    assert!(
        spared.iter().all(|spared| spared.1 == SpareReason::InGrace),
        "the others are in grace now: {spared:?}"
    );
    assert_eq!((report.outcome, report.elapsed), (TrimOutcome::Short, Duration::ZERO), "short, in no time");
}

#[test]
fn a_clock_at_the_end_of_time_is_a_clock() {
    let clock = ManualClock::new();
    let manager = builder(1, 9).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    connect(&manager, 0..2);
    clock.set(Duration::MAX);
    connect(&manager, 2..4);
    manager.tag_peer(&9, "early", 1);
    assert_eq!(manager.trim_open_conns().candidates, 2, "the late ones are in grace, the early ones are not");
    assert!(manager.info().last_trim.is_some() && manager.tag_info(&2).is_some(), "times of day can be told");
}

#[test]
fn a_close_callback_that_panics_keeps_no_other_connection_open() {
    let manager = manager(1, 9);
    let bad = Loopback::closing_with(0, |_| panic!("a close callback fails on purpose"));
    manager.connected(&0, bad.clone());
    manager.tag_peer(&0, "value", -1);
    let conns = connect_valued(&manager, 1..5);
    let report = manager.trim_open_conns();
    assert_eq!((report.outcome, report.callback_panics), (TrimOutcome::Reached, 1), "caught, and counted");
    assert_eq!(
        (report.closed_connections, bad.closes(), closes(&conns)),
        (4, 1, vec![1, 1, 1, 0]),
        "the others went on"
    );
    manager.disconnected(&0, &0);
    connect_valued(&manager, 6..8);
    assert_eq!(manager.trim_open_conns().closed_connections, 2, "and the next trim runs");
}

/// What a panic carries, and panics itself when it is dropped.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the payload fails on purpose");
    }
}

#[test]
fn a_panic_that_carries_another_keeps_no_other_connection_open() {
    let manager = manager(1, 9);
    manager.connected(&0, Loopback::closing_with(0, |_| std::panic::panic_any(Payload)));
    manager.tag_peer(&0, "value", -1);
    let conns = connect_valued(&manager, 1..5);
    let trim = catch_unwind(AssertUnwindSafe(|| manager.trim_open_conns()));
    assert_eq!(closes(&conns), [1, 1, 1, 0], "the others were claimed, so they are closed");
    assert!(trim.is_ok_and(|report| report.callback_panics == 1), "and the panic is caught, and counted");
}

#[test]
fn a_close_callback_may_call_the_manager() {
    let late = Late::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let conn = {
        let (late, heard) = (late.clone(), Arc::clone(&heard));
        Loopback::closing_with(0, move |_| {
            let manager = late.get();
            manager.tag_peer(&0, "closing", 1);
            manager.upsert_tag(&8, "new", |value| value + 1);
            let late = manager.protect(&0, "p");
            manager.disconnected(&0, &0);
            manager.connected(&0, Loopback::inbound(100));
            let (trim, force) = (manager.trim_open_conns(), manager.force_trim());
            let _ = manager.plan_trim();
            heard.lock().unwrap().push((late, trim.outcome, force.outcome, trim.joined, manager.close()));
        })
    };
    let manager = Arc::new(manager(1, 9));
    late.set(&manager);
    manager.connected(&0, conn.clone());
    manager.tag_peer(&0, "value", -1);
    connect_valued(&manager, 1..3);
    let report = within("a trim whose close callback calls the manager", {
        let manager = Arc::clone(&manager);
        move || manager.trim_open_conns()
    });
    assert_eq!((closed(&report), report.callback_panics), (vec![0, 1], 0), "the trim went on");
    let expected = (Protection::TooLate, TrimOutcome::Reentrant, TrimOutcome::Reentrant, false, Ok(()));
    assert_eq!(*heard.lock().unwrap(), [expected], "every call came back: a trim within a trim does nothing");
    let info = manager.info();
    assert_eq!((info.connections, info.closing, info.ignored_events), (3, 1, 0), "each event counts once");
    assert!(manager.is_protected(&0, Some("p")) && manager.tag_value(&8, "new") == Some(1), "and each call");
    assert_eq!(manager.tag_value(&0, "value"), None, "the tags went with the last connection");
}

#[test]
fn an_upsert_that_panics_changes_nothing() {
    let manager = manager(1, 9);
    connect(&manager, 1..2);
    manager.tag_peer(&1, "a", 5);
    for (peer, tag) in [(1, "a"), (1, "new"), (2, "a"), (2, "new")] {
        let upsert = || manager.upsert_tag(&peer, tag, |_| panic!("an upsert fails on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(upsert)).is_err(), "the panic reaches the caller");
    }
    let info = manager.tag_info(&1).unwrap();
    assert_eq!((info.value, info.tags.len()), (5, 1), "the peer's tags are as they were");
    assert_eq!((manager.tag_info(&2), peers(&manager)), (None, 1), "and no record was made");
    let handle = manager.peer(&1);
    handle.tag_peer("a", 6);
    assert!(catch_unwind(AssertUnwindSafe(|| handle.upsert_tag("a", |_| panic!("on purpose")))).is_err());
    assert_eq!(
        (handle.tag_value("a"), handle.upsert_tag("a", |value| value + 1)),
        (Some(6), 7),
        "handles go on working"
    );
}

/// What an upsert may do to the manager that runs it.
type Call = fn(&Manager);

/// Go deadlocks: it runs the function under a lock.
#[test]
fn an_upsert_may_call_the_manager() {
    let calls: [(&str, Call); 10] = [
        ("another tag of the peer", |manager| manager.tag_peer(&1, "other tag", 3)),
        ("the same tag of another peer", |manager| manager.tag_peer(&2, "tag", 3)),
        ("reading", |manager| assert_eq!(manager.tag_info(&9), None)),
        ("protecting", |manager| assert_ne!(manager.protect(&1, "p"), Protection::TooLate)),
        ("unprotecting", |manager| assert!(!manager.unprotect(&1, "p"))),
        ("connecting", |manager| manager.connected(&1, Loopback::inbound(9))),
        ("an unknown end", |manager| manager.disconnected(&1, &10)),
        ("a trim", |manager| assert!(manager.trim_open_conns().callback_panics == 0)),
        ("an emergency", |manager| assert!(manager.force_trim().callback_panics == 0)),
        ("closing the manager", |manager| assert_eq!(manager.close(), Ok(()))),
    ];
    for (what, call) in calls {
        for known in [true, false] {
            let manager = Arc::new(builder(1, 9).grace_period(secs(1)).build().unwrap());
            connect_valued(&manager, 5..7);
            if known {
                manager.connected(&1, Loopback::inbound(1));
                manager.tag_peer(&1, "tag", 0);
            }
            let value = within(what, {
                let manager = Arc::clone(&manager);
                move || {
                    manager.upsert_tag(&1, "tag", |value| {
                        call(&manager);
                        value + 1
                    })
                }
            });
            assert_eq!(
                (value, manager.tag_value(&1, "tag")),
                (1, Some(1)),
                "{what}, known {known}: counted once"
            );
        }
    }
}

#[test]
fn an_upsert_that_changes_its_own_tag_once_runs_again_on_that_value() {
    for known in [true, false] {
        let manager = Arc::new(manager(1, 9));
        if known {
            manager.tag_peer(&1, "tag", 0);
        }
        let (value, seen) = within("an upsert that changes its own tag", move || {
            let mut seen = Vec::new();
            let value = manager.upsert_tag(&1, "tag", |value| {
                seen.push(value);
                if seen.len() == 1 {
                    manager.upsert_tag(&1, "tag", |value| value + 10);
                }
                value + 1
            });
            (value, seen)
        });
        assert_eq!(
            (value, seen.first(), seen.last()),
            (11, Some(&0), Some(&10)),
            "known {known}: no update is lost"
        );
    }
}

/// An upsert runs again when its tag's value has changed; nothing else that it does may make it run for ever.
#[test]
fn an_upsert_may_tag_its_peer_otherwise_and_trim_every_time_it_runs() {
    let calls: [(&str, Call); 3] = [
        ("another tag, and a trim", |manager| {
            manager.tag_peer(&1, "other tag", 3);
            let _ = manager.trim_open_conns();
        }),
        ("a tag that comes and goes", |manager| {
            manager.tag_peer(&1, "other tag", 3);
            manager.untag_peer(&1, "other tag");
        }),
        ("a protection that comes and goes", |manager| {
            let _ = manager.protect(&1, "p");
            manager.unprotect(&1, "p");
        }),
    ];
    for (what, call) in calls {
        let manager = manager(1, 9);
        connect_valued(&manager, 1..2);
        let mut runs = 0;
        let value = manager.upsert_tag(&1, "tag", |value| {
            runs += 1;
            assert!(runs <= 1_000, "{what}: nobody has changed the tag, and still it runs again and again");
            call(&manager);
            value + 1
        });
        assert_eq!(value, 1, "{what}: counted once");
    }
}

#[test]
fn an_upsert_through_a_handle_may_use_that_handle() {
    let manager = Arc::new(manager(1, 9));
    let value = within("an upsert that uses its own handle", move || {
        let handle = manager.peer_owned(&1);
        handle.tag_peer("tag", 1);
        let mut first = true;
        handle.upsert_tag("tag", |value| {
            if std::mem::take(&mut first) {
                handle.upsert_tag("tag", |value| value * 10);
            }
            value + 1
        })
    });
    assert_eq!(value, 11, "the inner update came first, and counts");
}

#[test]
fn a_policy_or_listener_that_panics_gives_the_turn_to_trim_back() {
    let armed = Arc::new(AtomicBool::new(true));
    let fail = |armed: &Arc<AtomicBool>| {
        let armed = Arc::clone(armed);
        move || assert!(!armed.load(Ordering::Relaxed), "it fails on purpose")
    };
    let (policy, heard) = (fail(&armed), fail(&armed));
    let failing_policy = builder(1, 9).policy(Hooked(ByValue::reference(), policy)).build().unwrap();
    let failing_listener = builder(1, 9).on_trim(move |_| heard()).build().unwrap();
    for (manager, closed) in [(Arc::new(failing_policy), 0), (Arc::new(failing_listener), 2)] {
        armed.store(true, Ordering::Relaxed);
        let conns = connect(&manager, 0..3);
        let trim = {
            let manager = Arc::clone(&manager);
            move || catch_unwind(AssertUnwindSafe(|| manager.trim_open_conns()))
        };
        assert!(within("a trim that panics", trim.clone()).is_err(), "the panic reaches the caller");
        assert_eq!(closes(&conns).iter().sum::<usize>(), closed, "what was claimed was closed");
        assert_eq!(manager.info().closing, closed, "and nothing else is marked");
        armed.store(false, Ordering::Relaxed);
        assert!(within("the next trim", trim).is_ok(), "the next trim runs");
        assert_eq!(closes(&conns).iter().sum::<usize>(), 2, "as usual");
    }
}

#[test]
fn a_stream_count_that_panics_closes_nothing_and_calls_back_freely() {
    let manager = Arc::new(
        BasicConnManager::<u64, Probe>::builder()
            .low_water(1)
            .high_water(9)
            .background(false)
            .build()
            .unwrap(),
    );
    let (weak, calls) = (Arc::downgrade(&manager), Arc::new(AtomicUsize::new(0)));
    let conns: Vec<_> = (0..3)
        .map(|peer| {
            let (weak, calls) = (weak.clone(), Arc::clone(&calls));
            Probe::new(peer, move || {
                weak.upgrade().expect("the manager lives").tag_peer(&peer, "asked", 1);
                assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "the first call fails on purpose");
                Some(1)
            })
        })
        .collect();
    for (peer, conn) in (0..).zip(&conns) {
        manager.connected(&peer, conn.clone());
    }
    let trim = || catch_unwind(AssertUnwindSafe(|| manager.force_trim()));
    assert!(trim().is_err(), "the panic reaches the caller");
    assert_eq!((manager.info().closing, conns[0].closes()), (0, 0), "nothing was claimed");
    let report = trim().expect("the next call answers");
    assert_eq!(
        (report.outcome, report.cutoff),
        (TrimOutcome::Reached, Some(1)),
        "an emergency comes back to whoever was raised above the cut-off meanwhile"
    );
    assert!((0..3).all(|peer| manager.tag_value(&peer, "asked") == Some(1)), "calls from within count");
}
