//! Decaying tags in the manager, after the tests of go-libp2p's decayer and the faults it has.
#![expect(clippy::disallowed_types, reason = "a helper shared by the tests is filled in late")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Hooked, Late, Manager, builder, closed, connect, connect_valued, peers, secs, within};
use connmgr::testing::Loopback;
use connmgr::{
    BumpFn, ByValue, ConfigError, ConnManager, DecayError, DecayFn, DecayingTag, MAX_WEIGHT, ManualClock,
    NullConnManager,
};

/// A manager that decays every second at most, and its clock.
fn decaying(low: usize, high: usize) -> (Manager, ManualClock) {
    let clock = ManualClock::new();
    let manager = builder(low, high)
        .grace_period(secs(1000))
        .decay_resolution(secs(1))
        .clock(clock.clone())
        .build()
        .expect("a valid configuration");
    (manager, clock)
}

fn register(manager: &Manager, name: &str, decay: DecayFn, bump: BumpFn) -> DecayingTag<u64> {
    manager.register_decaying_tag(name, secs(1), decay, bump).expect("a name that is free")
}

fn value(manager: &Manager, peer: u64) -> Option<i64> {
    manager.tag_info(&peer).map(|info| info.value)
}

/// Go: `TestDecayExpire`.
#[test]
fn a_value_expires_when_it_is_not_bumped() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "pop", DecayFn::expire_when_inactive(secs(3)), BumpFn::sum_unbounded());
    tag.bump(&1, 10).unwrap();
    for second in 1..=2 {
        clock.advance(secs(1));
        assert_eq!(value(&manager, 1), Some(10), "after {second} s: it neither decays nor expires");
    }
    clock.advance(secs(1));
    assert_eq!(value(&manager, 1), None, "after 3 s without a bump it is gone, and nothing else is known");
    tag.bump(&1, 5).unwrap();
    clock.advance(secs(2));
    tag.bump(&1, 1).unwrap();
    clock.advance(secs(2));
    assert_eq!(value(&manager, 1), Some(6), "a bump begins anew");
}

/// Go: `TestMultipleBumps`.
#[test]
fn bumps_apply_to_the_decayed_value() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "pop", DecayFn::fixed(10), BumpFn::sum_bounded(10, 20));
    assert_eq!(tag.bump(&1, 5), Ok(10), "the lower bound");
    assert_eq!(tag.bump(&1, 100), Ok(20), "the upper bound");
    clock.advance(secs(1));
    assert_eq!(tag.value(&1), Some(10), "decayed");
    assert_eq!(tag.bump(&1, 3), Ok(13), "the bump adds to what is left");
    clock.advance(secs(2));
    assert_eq!(tag.value(&1), None, "decayed away");
}

/// Go: `TestMultipleTagsNoDecay`.
#[test]
fn several_tags_of_one_peer_add_up() {
    let (manager, clock) = decaying(1, 2);
    let tags = ["beep", "bop", "foo"]
        .map(|name| register(&manager, name, DecayFn::none(), BumpFn::sum_bounded(0, 100)));
    for (tag, delta) in tags.iter().zip([100, 70, -50]) {
        for _ in 0..3 {
            tag.bump(&1, delta).unwrap();
        }
    }
    clock.advance(secs(1_000_000));
    let info = manager.tag_info(&1).expect("known");
    assert_eq!(info.decaying, [("beep", 100), ("bop", 100), ("foo", 0)].map(|(n, v)| (n.into(), v)).into());
    assert_eq!((info.value, info.tags.len()), (200, 0), "the sum of the decaying tags");
}

/// Go: `TestCustomFunctions`.
#[test]
fn custom_functions_decay_and_bump() {
    let (manager, clock) = decaying(1, 2);
    let halve = DecayFn::custom(|seen| (seen.value > 1).then_some(seen.value / 2));
    let add_and_one = BumpFn::custom(|seen, delta| seen.value + delta + 1);
    let tag = register(&manager, "custom", halve, add_and_one);
    assert_eq!(tag.bump(&1, 99), Ok(100), "99 and 1");
    clock.advance(secs(3));
    assert_eq!(tag.value(&1), Some(12), "100, 50, 25, 12");
    assert_eq!(tag.bump(&1, 0), Ok(13), "on what is left");
    clock.advance(secs(4));
    assert_eq!(tag.value(&1), None, "13, 6, 3, 1, gone");
}

/// Go: `TestMultiplePeers`.
#[test]
fn peers_decay_by_themselves() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "beep", DecayFn::fixed(1), BumpFn::sum_unbounded());
    for peer in 0..3 {
        tag.bump(&peer, 10 * (peer as i64 + 1)).unwrap();
        clock.advance(secs(2));
    }
    assert_eq!([0, 1, 2].map(|peer| tag.value(&peer)), [Some(4), Some(16), Some(28)], "6, 4 and 2 s later");
}

/// Go: `TestLinearDecayOverwrite`.
#[test]
fn a_linear_decay_with_overwriting_bumps() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "beep", DecayFn::linear(0.5), BumpFn::overwrite());
    tag.bump(&1, 1000).unwrap();
    clock.advance(secs(1));
    assert_eq!(tag.value(&1), Some(500), "halved");
    tag.bump(&1, 1000).unwrap();
    clock.advance(secs(1));
    assert_eq!(tag.value(&1), Some(500), "overwritten and halved");
}

/// Go: `TestResolutionMisaligned`.
#[test]
fn decay_comes_at_the_ticks_of_the_resolution() {
    let (manager, clock) = decaying(1, 2);
    let millis = Duration::from_millis;
    let tag = |name, interval| {
        manager.register_decaying_tag(name, interval, DecayFn::fixed(1), BumpFn::overwrite()).unwrap()
    };
    let (beep, bop, short) = (tag("beep", millis(1400)), tag("bop", millis(2400)), tag("short", millis(1)));
    for tag in [&beep, &bop, &short] {
        tag.bump(&1, 1000).unwrap();
    }
    let expected = [(1000, 1000, 999), (999, 1000, 998), (998, 999, 997), (998, 999, 996), (997, 998, 995)];
    for (second, (a, b, c)) in expected.into_iter().enumerate() {
        clock.advance(secs(1));
        let now = [&beep, &bop, &short].map(|tag| tag.value(&1).expect("far from gone"));
        assert_eq!(now, [a, b, c], "after {} s", second + 1);
    }
    assert_eq!(beep.interval(), millis(1400), "as registered");
    assert_eq!(short.interval(), secs(1), "an interval below the resolution is raised to it");
    assert_eq!(short.name(), "short", "the name tells");
}

/// Go: `TestTagRemoval`, and its fault: removing a tag from an unknown peer creates one.
#[test]
fn removing_a_value_leaves_the_others_and_creates_nothing() {
    let (manager, _clock) = decaying(1, 2);
    let [a, b] = ["a", "b"].map(|name| register(&manager, name, DecayFn::fixed(1), BumpFn::overwrite()));
    for peer in [1, 2] {
        a.bump(&peer, 5).unwrap();
        b.bump(&peer, 7).unwrap();
    }
    assert!(a.remove(&1), "it was there");
    assert!(!a.remove(&1), "and is there no more");
    assert_eq!((value(&manager, 1), value(&manager, 2)), (Some(7), Some(12)), "only that value went");
    assert!(b.remove(&1), "its last tag");
    assert_eq!(value(&manager, 1), None, "a peer with nothing left is gone");
    assert!(!a.remove(&9), "nothing to remove");
    assert_eq!(peers(&manager), 1, "nobody was created");
}

/// Go: `TestTagClosure`.
#[test]
fn closing_a_tag_drops_its_values_and_frees_its_name() {
    let (manager, clock) = decaying(1, 2);
    let [a, b] = ["a", "b"].map(|name| register(&manager, name, DecayFn::fixed(1), BumpFn::overwrite()));
    let conn = Loopback::inbound(1);
    manager.connected(&1, conn);
    for peer in [1, 2] {
        a.bump(&peer, 50).unwrap();
    }
    b.bump(&1, 7).unwrap();
    clock.advance(secs(1));
    let before = manager.snapshot();
    a.close();
    assert_eq!(before.get(&1).expect("connected").value(), 49 + 6, "a snapshot taken before still has it");
    drop(before);
    assert_eq!((value(&manager, 1), value(&manager, 2)), (Some(6), None), "its values are gone");
    assert_eq!(a.bump(&1, 1), Err(DecayError::Closed), "and no bump succeeds");
    assert_eq!((a.value(&1), a.remove(&1)), (None, false), "there is nothing to read or to remove");
    a.close();
    let again = register(&manager, "a", DecayFn::none(), BumpFn::overwrite());
    again.bump(&1, 9).unwrap();
    assert_eq!((again.value(&1), a.value(&1)), (Some(9), None), "the name is free for another tag");
}

#[test]
fn a_name_is_registered_once_and_is_not_the_plain_tag_of_that_name() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "both", DecayFn::fixed(1), BumpFn::overwrite());
    let again = manager.register_decaying_tag("both", secs(9), DecayFn::none(), BumpFn::overwrite());
    assert_eq!(again.unwrap_err(), DecayError::Duplicate("both".into()), "a second registration");
    tag.bump(&1, 5).unwrap();
    manager.tag_peer(&1, "both", 100);
    clock.advance(secs(1));
    let info = manager.tag_info(&1).expect("known");
    assert_eq!((info.tags["both"], info.decaying["both"], info.value), (100, 4, 104), "two entries");
    manager.untag_peer(&1, "both");
    assert_eq!(value(&manager, 1), Some(4), "untagging takes the plain one");
}

#[test]
fn bad_registrations_are_typed_errors_and_register_nothing() {
    let (manager, _clock) = decaying(1, 2);
    let refused =
        |decay, bump| manager.register_decaying_tag("bad", secs(1), decay, bump).expect_err("bad input");
    assert_eq!(refused(DecayFn::linear(1.0), BumpFn::overwrite()), DecayError::Factor(1.0));
    assert_eq!(refused(DecayFn::fixed(-1), BumpFn::overwrite()), DecayError::NegativeStep(-1));
    assert_eq!(
        refused(DecayFn::none(), BumpFn::sum_bounded(2, 1)),
        DecayError::Bounds { min: 2, max: 1 },
        "the bump function is checked, too"
    );
    let ages = manager.register_decaying_tag("bad", Duration::MAX, DecayFn::none(), BumpFn::overwrite());
    let too_long = DecayError::PeriodTooLong { period: "interval", asked: Duration::MAX };
    assert_eq!(ages.unwrap_err(), too_long, "and so is the interval");
    register(&manager, "bad", DecayFn::none(), BumpFn::overwrite());
    let zero = builder(1, 2).decay_resolution(Duration::ZERO).build();
    assert_eq!(zero.unwrap_err(), ConfigError::ZeroResolution);
}

/// Go's queue holds 128 bumps and refuses more.
#[test]
fn bumps_of_many_threads_are_all_applied_when_they_return() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "pop", DecayFn::none(), BumpFn::sum_unbounded());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000 {
                    tag.bump(&(round % 3), 1).unwrap();
                    if round % 100 == 0 {
                        clock.advance(Duration::from_millis(300));
                    }
                }
            });
        }
    });
    let total: i64 = (0..3).map(|peer| tag.value(&peer).expect("bumped")).sum();
    assert_eq!(total, 8_000, "no bump is lost or refused");
}

#[test]
fn a_trim_goes_by_what_values_have_decayed_to() {
    let (manager, clock) = decaying(1, 2);
    let conns = connect(&manager, 0..3);
    let fading = register(&manager, "fading", DecayFn::fixed(10), BumpFn::overwrite());
    let lasting = register(&manager, "lasting", DecayFn::none(), BumpFn::overwrite());
    fading.bump(&0, 1000).unwrap();
    lasting.bump(&1, 50).unwrap();
    lasting.bump(&2, 60).unwrap();
    clock.advance(secs(999));
    assert_eq!(manager.plan_trim().victims.len(), 0, "in their grace");
    clock.advance(secs(1));
    let plan: Vec<_> = manager.plan_trim().victims.iter().map(|victim| (victim.peer, victim.value)).collect();
    assert_eq!(plan, [(0, 0), (1, 50)], "what was worth most is worth least by now");
    let report = manager.trim_open_conns();
    assert_eq!((closed(&report), report.closed[1].value), (vec![0, 1], 50), "as planned");
    assert_eq!(common::closes(&conns), [1, 1, 0], "the rest is kept");
}

/// What is raised by a bump above the cut-off after the choice is spared.
#[test]
fn a_bump_after_the_choice_spares_the_peer() {
    let (manager, clock) = decaying(1, 2);
    let manager = Arc::new(manager);
    let conns = connect_valued(&manager, 0..3);
    let tag = register(&manager, "saved", DecayFn::none(), BumpFn::overwrite());
    clock.advance(secs(1000));
    // The decay function is asked while the trim decides: it bumps the next victim, once.
    let (bumper, asked) = (tag.clone(), AtomicUsize::new(0));
    let meddler = DecayFn::custom(move |seen| {
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            bumper.bump(&1, 1000).expect("open");
        }
        Some(seen.value)
    });
    let meddling = register(&manager, "meddling", meddler, BumpFn::overwrite());
    meddling.bump(&0, 0).unwrap();
    clock.advance(secs(1));
    let report = manager.trim_open_conns();
    assert_eq!(closed(&report), [0, 2], "peer 1 was raised after the snapshot, so the next one went");
    assert_eq!(report.spared.len(), 1, "and the report says so");
    assert_eq!(common::closes(&conns), [1, 0, 1], "closed as reported");
}

#[test]
fn a_snapshot_has_values_as_of_its_instant() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "beep", DecayFn::fixed(1), BumpFn::overwrite());
    manager.tag_peer(&1, "plain", 100);
    tag.bump(&1, 10).unwrap();
    clock.advance(secs(1));
    let snapshot = manager.snapshot();
    clock.advance(secs(5));
    tag.bump(&1, 1000).unwrap();
    tag.bump(&2, 1000).unwrap();
    let view = snapshot.get(&1).expect("in the snapshot");
    assert_eq!(view.value(), 109, "9 after one second, whatever came later");
    assert_eq!(
        view.decaying().map(|(name, value)| (name.to_string(), value)).collect::<Vec<_>>(),
        [("beep".into(), 9)]
    );
    assert_eq!(view.tags().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), ["plain"]);
    assert!(snapshot.get(&2).is_none(), "bumped later");
}

#[test]
fn what_has_decayed_away_is_not_listed_and_is_given_back() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "beep", DecayFn::fixed(1), BumpFn::overwrite());
    manager.connected(&1, Loopback::inbound(1));
    for peer in [1, 2] {
        tag.bump(&peer, 3).unwrap();
    }
    clock.advance(secs(3));
    assert_eq!(tag.value(&2), None, "decayed away");
    assert!(manager.tag_info(&2).is_none(), "nothing is left of the temporary record");
    assert_eq!(peers(&manager), 1, "nor is it listed");
    let info = manager.tag_info(&1).expect("connected");
    assert_eq!((info.value, info.decaying.len()), (0, 0), "the connection is left");
    assert_eq!(manager.trim_open_conns().expired, 0, "its grace is not over");
    assert!(!tag.remove(&1), "a trim gives back what has decayed away");
    assert!(!tag.remove(&2), "of temporary records, too");
}

#[test]
fn tags_go_with_the_last_connection_and_temporary_records_with_their_grace() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "beep", DecayFn::none(), BumpFn::sum_unbounded());
    manager.connected(&1, Loopback::inbound(1));
    tag.bump(&1, 5).unwrap();
    manager.disconnected(&1, &1);
    assert_eq!((tag.value(&1), peers(&manager)), (None, 0), "tags go with the last connection");
    tag.bump(&2, 5).unwrap();
    clock.advance(secs(1000));
    assert_eq!(manager.trim_open_conns().expired, 1, "a bump of an unknown peer makes a temporary record");
    assert_eq!(tag.value(&2), None, "which goes with its values");
    tag.bump(&3, 5).unwrap();
    manager.connected(&3, Loopback::inbound(3));
    assert_eq!(value(&manager, 3), Some(5), "a temporary record that connects keeps its values");
}

#[test]
fn functions_may_call_the_manager_and_panic() {
    let (manager, clock) = decaying(1, 2);
    let manager = Arc::new(manager);
    let within = Arc::clone(&manager);
    let curious = DecayFn::custom(move |seen| {
        within.tag_peer(&7, "seen", seen.value);
        Some(seen.value - 1)
    });
    let within = Arc::clone(&manager);
    let bump = BumpFn::custom(move |seen, delta| {
        assert_ne!(delta, 13, "as asked");
        within.upsert_tag(&1, "bumps", |count| count + 1);
        seen.value + delta
    });
    let tag = register(&manager, "curious", curious, bump);
    tag.bump(&1, 10).unwrap();
    clock.advance(secs(2));
    assert_eq!(tag.value(&1), Some(8), "a decay function may call the manager");
    assert_eq!((manager.tag_value(&7, "seen"), manager.tag_value(&1, "bumps")), (Some(9), Some(1)));
    let panicked = catch_unwind(AssertUnwindSafe(|| tag.bump(&1, 13)));
    assert!(panicked.is_err(), "a panic of a bump function is the caller's");
    assert_eq!(tag.value(&1), Some(8), "and changes nothing");

    let broken = DecayFn::custom(|_| panic!("broken"));
    let broken = register(&manager, "broken", broken, BumpFn::overwrite());
    broken.bump(&1, 5).unwrap();
    clock.advance(secs(1));
    assert_eq!(broken.value(&1), Some(5), "a decay function that panics leaves the value");
    assert_eq!(broken.bump(&1, 6), Ok(6), "and the tag goes on");
}

/// The claim met a number it had never heard of, and panicked.
#[test]
fn a_tag_registered_while_a_trim_decides_counts_at_the_claim() {
    let late = Late::default();
    let hook = {
        let late = late.clone();
        move || {
            let tag = register(&late.get(), "late", DecayFn::none(), BumpFn::overwrite());
            tag.bump(&0, 1000).expect("open");
        }
    };
    let manager = builder(1, 2).policy(Hooked(ByValue::reference(), hook)).build().unwrap();
    let manager = Arc::new(manager);
    late.set(&manager);
    let _conns = connect_valued(&manager, 0..3);
    let report = manager.trim_open_conns();
    assert_eq!((closed(&report), report.spared[0].peer), (vec![1, 2], 0), "raised by the new tag");
}

/// Each look at the peer made the next one necessary, so the claim, or the drop of what has decayed away, never ended.
#[test]
fn a_decay_function_that_changes_the_very_peer_holds_up_no_trim() {
    let calls = within("a trim", || {
        let clock = ManualClock::new();
        let builder = builder(1, 2).decay_resolution(secs(1)).clock(clock.clone());
        let (manager, calls) = (Arc::new(builder.build().unwrap()), Arc::new(AtomicUsize::new(0)));
        let _conns = connect(&manager, 0..2);
        for (name, goes) in [("stays", false), ("goes", true)] {
            let (within, calls) = (Arc::downgrade(&manager), Arc::clone(&calls));
            let decay = DecayFn::custom(move |seen| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                assert!(call < 10_000, "asked for ever");
                let manager = within.upgrade().expect("trimmed");
                manager.protect(&0, "a change of structure");
                manager.unprotect(&0, "a change of structure");
                (!goes).then_some(seen.value)
            });
            register(&manager, name, decay, BumpFn::overwrite()).bump(&0, -5).unwrap();
        }
        clock.advance(secs(1));
        assert_eq!(closed(&manager.trim_open_conns()), [0], "the least valuable");
        calls.load(Ordering::Relaxed)
    });
    assert!(calls < 20, "{calls} calls for two values of one peer");
}

/// Its bumps replaced the state each time, and so made garbage without bound while a snapshot was held.
#[test]
fn a_value_that_expires_is_as_if_the_time_of_every_bump_were_kept() {
    let (manager, clock) = decaying(1, 2);
    let tag = manager
        .register_decaying_tag(
            "pop",
            Duration::from_millis(1400),
            DecayFn::expire_when_inactive(Duration::from_millis(2300)),
            BumpFn::sum_unbounded(),
        )
        .unwrap();
    for gap in (0..4_500).step_by(50) {
        tag.remove(&1);
        clock.set(Duration::ZERO);
        for at in [100, 250, 300, 900, 950, 1_650, 1_700 + gap] {
            clock.set(Duration::from_millis(at));
            tag.bump(&1, 1).unwrap();
        }
        let last = 1_700 + gap;
        // Boundaries are at 2, 3, 5, 6, 7, 9, 10 .. s: the first tick at or after k * 1.4 s.
        let boundaries = (1_u64..).map(|k| (k * 1_400).div_ceil(1_000) * 1_000);
        let expires = boundaries.clone().find(|at| *at >= last + 2_300).expect("there is a later one");
        clock.set(Duration::from_millis(expires - 1));
        assert!(tag.value(&1).is_some(), "last bumped at {last} ms: there until {expires} ms");
        clock.set(Duration::from_millis(expires));
        assert_eq!(tag.value(&1), None, "last bumped at {last} ms: gone at {expires} ms");
    }
}

#[test]
fn values_and_sums_saturate() {
    let (manager, _clock) = decaying(1, 2);
    let tag = register(&manager, "big", DecayFn::none(), BumpFn::sum_unbounded());
    let other = register(&manager, "other", DecayFn::none(), BumpFn::custom(|_, _| i64::MAX));
    assert_eq!(tag.bump(&1, i64::MAX), Ok(MAX_WEIGHT), "what is stored");
    assert_eq!(tag.bump(&1, i64::MAX), Ok(MAX_WEIGHT), "and stays");
    assert_eq!(other.bump(&1, 0), Ok(MAX_WEIGHT), "of custom functions, too");
    manager.tag_peer(&1, "plain", i64::MAX);
    assert_eq!(value(&manager, 1), Some(i64::MAX), "the sum is clamped once");
}

/// A decaying value is one of the values that do not grow garbage while a snapshot is held: between two boundaries a bump is one
/// swap in place.
#[test]
fn bumps_between_two_boundaries_leave_the_state_in_place() {
    let (manager, clock) = decaying(1, 2);
    let tag = register(&manager, "beep", DecayFn::fixed(1), BumpFn::sum_unbounded());
    tag.bump(&1, 5).unwrap();
    clock.advance(Duration::from_millis(300));
    tag.bump(&1, 5).unwrap();
    clock.advance(Duration::from_millis(700));
    assert_eq!(tag.value(&1), Some(9), "both before the boundary");
    clock.set(Duration::ZERO);
    assert_eq!(tag.value(&1), Some(10), "a clock that goes back undoes no more than the decay");
    assert_eq!(tag.bump(&1, 1), Ok(11), "and loses nothing");
}

#[test]
fn decay_is_asked_for_behind_the_interface() {
    let (manager, _clock) = decaying(1, 2);
    let managers: [Box<dyn ConnManager<u64>>; 2] = [Box::new(manager), Box::new(NullConnManager)];
    assert!(managers[1].decayer().is_none(), "the null manager decays nothing");
    let decayer = managers[0].decayer().expect("supported");
    let tag = decayer.register_decaying_tag("beep", secs(1), DecayFn::none(), BumpFn::overwrite()).unwrap();
    tag.bump(&1, 4).unwrap();
    assert_eq!(managers[0].tag_info(&1).expect("known").decaying["beep"], 4);
}
