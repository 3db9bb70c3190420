//! The options: whose grace it is, tags that are kept, steady trims, closes per second.
#![expect(clippy::disallowed_types, reason = "tests collect what threads and callbacks say")]

mod common;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{
    Hooked, LIMIT, Late, Manager, at, builder, closed, closes, connect, connect_valued, next_check, peers,
    secs, settle, watched, within,
};
use connmgr::testing::Loopback;
use connmgr::{
    ByValue, Candidate, Census, GracePer, ManualClock, Rank, TrimOutcome, TrimPolicy, TrimTrigger,
};

fn per_second(closes: u32) -> NonZeroU32 {
    NonZeroU32::new(closes).expect("not zero")
}

fn at_most(closes: usize) -> NonZeroUsize {
    NonZeroUsize::new(closes).expect("not zero")
}

// Grace.

/// Peer 1 has an old connection and a new one, peer 2 a new one, peer 3 an old one.
fn old_and_new(whose: GracePer) -> (Manager, ManualClock, [Loopback; 4]) {
    let clock = ManualClock::new();
    let manager = builder(1, 100)
        .grace_period(secs(10))
        .grace_per(whose)
        .policy(ByValue::exact())
        .clock(clock.clone())
        .build()
        .unwrap();
    let conns = [10, 11, 20, 30].map(Loopback::inbound);
    manager.connected(&1, conns[0].clone());
    manager.connected(&3, conns[3].clone());
    clock.set(secs(1));
    manager.connected(&1, conns[1].clone());
    manager.connected(&2, conns[2].clone());
    manager.tag_peer(&3, "value", 1);
    clock.set(secs(10));
    (manager, clock, conns)
}

#[test]
fn by_default_grace_is_the_peers_and_its_new_connections_share_its_fate() {
    let (manager, _, conns) = old_and_new(GracePer::default());
    let report = manager.trim_open_conns();
    assert_eq!((report.candidates, report.target), (3, 3), "both of peer 1, and peer 3's");
    assert_eq!(closes(&conns), [1, 1, 0, 1], "only peer 2 is in its grace");
}

#[test]
fn a_connections_grace_exempts_that_connection_and_no_other_of_its_peer() {
    let (manager, clock, conns) = old_and_new(GracePer::Connection);
    assert_eq!(manager.info().grace_per, GracePer::Connection, "told");
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.candidates, report.target),
        (2, 3),
        "the old connections of peers 1 and 3; four less one"
    );
    assert_eq!(report.outcome, TrimOutcome::Short, "fewer than wanted");
    let closed: Vec<_> = report.closed.iter().map(|peer| (peer.peer, peer.connections)).collect();
    assert_eq!(closed, [(1, 1), (3, 1)], "one connection each");
    assert_eq!(closes(&conns), [1, 0, 0, 1], "the old ones");
    clock.set(secs(11) - Duration::from_nanos(1));
    assert_eq!(manager.trim_open_conns().candidates, 0, "a nanosecond before the others' grace is over");
    clock.set(secs(11));
    let report = manager.trim_open_conns();
    assert_eq!((report.candidates, report.closed_connections), (2, 1), "they become candidates then");
}

#[test]
fn with_grace_per_connection_the_reference_counts_only_what_is_past_it() {
    let (manager, _, conns) = old_and_new(GracePer::Connection);
    let _ = manager.reconfigure(|settings| settings.policy(ByValue::reference())).unwrap();
    assert_eq!(manager.trim_open_conns().target, 1, "two candidates less one");
    assert_eq!(closes(&conns), [1, 0, 0, 0], "the peer of lower value");
}

#[test]
fn an_emergency_ignores_a_connections_grace_too() {
    let (manager, _, conns) = old_and_new(GracePer::Connection);
    assert_eq!(manager.force_trim().closed_connections, 3, "four less one");
    assert_eq!(closes(&conns), [1, 1, 1, 0], "whole peers, by value");
}

/// Keeps what it is shown.
struct Shown(Arc<Mutex<Vec<Candidate>>>);

impl TrimPolicy for Shown {
    fn target(&self, _: &Census) -> usize {
        0
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        self.0.lock().unwrap().push(candidate.clone());
        Rank(0, 0)
    }
}

#[test]
fn a_policy_is_shown_the_connections_past_their_grace_and_no_others() {
    let (shown, clock) = (Arc::default(), ManualClock::new());
    let build = |whose| {
        let policy = Shown(Arc::clone(&shown));
        let manager = builder(1, 9).grace_period(secs(10)).grace_per(whose).policy(policy);
        let manager = manager.clock(clock.clone()).build().unwrap();
        clock.set(secs(0));
        manager.connected(&1, Loopback::outbound(1).with_streams(2));
        clock.set(secs(10));
        manager.connected(&1, Loopback::inbound(2).with_streams(5));
        let _ = manager.plan_trim();
        shown.lock().unwrap().pop().expect("peer 1 is a candidate")
    };
    assert_eq!(build(GracePer::Peer), Candidate::new(0, 2, Some(7), true), "both");
    assert_eq!(build(GracePer::Connection), Candidate::new(0, 1, Some(2), false), "the old one");
}

#[test]
fn a_candidate_connection_that_ends_before_the_claim_counts_as_gone_and_a_new_one_is_not_taken_for_it() {
    let (late, clock) = (Late::default(), ManualClock::new());
    let hook = {
        let late = late.clone();
        move || {
            late.get().disconnected(&1, &10);
            late.get().connected(&1, Loopback::inbound(12));
        }
    };
    let manager = builder(2, 100).grace_period(secs(10)).grace_per(GracePer::Connection);
    let manager = manager.policy(Hooked(ByValue::exact(), hook)).clock(clock.clone()).build().unwrap();
    let manager = Arc::new(manager);
    late.set(&manager);
    let (old, new) = (Loopback::inbound(10), Loopback::inbound(11));
    manager.connected(&1, old.clone());
    clock.set(secs(10));
    manager.connected(&1, new.clone());
    manager.connected(&2, Loopback::inbound(20));
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.candidates, report.target, report.gone),
        (1, 1, 1),
        "the one candidate went by itself"
    );
    assert_eq!((report.outcome, report.missed()), (TrimOutcome::Reached, 0), "which is as good as closed");
    assert_eq!((old.closes(), new.closes(), manager.info().closing), (0, 0, 0), "nothing else is closed");
}

// Tags that are kept.

fn keeping(time: Duration) -> (Manager, ManualClock) {
    let clock = ManualClock::new();
    (builder(1, 100).keep_tags(time).clock(clock.clone()).build().unwrap(), clock)
}

/// Connects peer 1, tags it, and lets it leave `at`.
fn leave(manager: &Manager, clock: &ManualClock, at: Duration) {
    manager.connected(&1, Loopback::inbound(1));
    manager.tag_peer(&1, "a", 5);
    manager.tag_peer(&1, "b", 7);
    clock.set(at);
    manager.disconnected(&1, &1);
}

#[test]
fn a_peer_that_returns_in_time_finds_its_tags_and_one_that_is_late_does_not() {
    let nano = Duration::from_nanos(1);
    for (back, found) in [(secs(3), Some(5)), (secs(23) - nano, Some(5)), (secs(23), None), (secs(99), None)]
    {
        let (manager, clock) = keeping(secs(20));
        leave(&manager, &clock, secs(3));
        clock.set(back);
        assert_eq!(manager.tag_value(&1, "a"), Some(5), "nothing has swept it by {back:?}");
        manager.connected(&1, Loopback::inbound(2));
        assert_eq!(manager.tag_value(&1, "a"), found, "back after {back:?}");
        assert_eq!(manager.tag_value(&1, "b").is_some(), found.is_some(), "all tags or none");
        let info = manager.tag_info(&1).unwrap();
        assert_eq!((info.first_seen, info.conns.len()), (at(0) + back, 1), "seen first now");
    }
}

#[test]
fn meanwhile_its_tags_are_shown_without_connections() {
    let (manager, clock) = keeping(secs(20));
    leave(&manager, &clock, secs(3));
    let info = manager.tag_info(&1).expect("known by its tags");
    assert_eq!((info.first_seen, info.value, info.conns.len()), (at(3), 12, 0), "since it left");
    let snapshot = manager.snapshot();
    let seen = snapshot.get(&1).expect("in a snapshot, too");
    assert_eq!((seen.first_seen(), seen.value(), seen.connections()), (at(3), 12, 0));
    assert_eq!(manager.info().connections, 0, "no connection is counted");
    let report = manager.trim_open_conns();
    assert_eq!((report.candidates, report.expired), (0, 0), "it is nothing to trim, whatever the grace");
}

#[test]
fn what_a_peer_left_goes_when_its_time_is_over_and_not_before() {
    let (manager, clock) = keeping(secs(20));
    leave(&manager, &clock, secs(3));
    clock.set(secs(23) - Duration::from_nanos(1));
    assert_eq!((manager.trim_open_conns().expired, peers(&manager)), (0, 1), "a nanosecond before");
    clock.set(secs(23));
    assert_eq!((manager.trim_open_conns().expired, peers(&manager)), (1, 0), "then");
    assert_eq!(manager.tag_info(&1), None);
}

#[test]
fn the_background_sweeps_what_peers_left_even_where_trimming_is_disabled() {
    let (manager, clock, _) = watched(builder(0, 0).keep_tags(secs(15)));
    leave(&manager, &clock, secs(1));
    clock.set(secs(10));
    settle(&clock);
    assert_eq!(peers(&manager), 1, "nine seconds are not fifteen");
    clock.set(secs(20));
    settle(&clock);
    assert_eq!(peers(&manager), 0, "nineteen are more");
}

#[test]
fn protections_outlive_tags_that_were_kept() {
    let (manager, clock) = keeping(secs(20));
    manager.protect(&1, "p");
    leave(&manager, &clock, secs(3));
    clock.set(secs(23));
    assert_eq!(manager.trim_open_conns().expired, 1, "its tags go");
    assert_eq!(
        (manager.tag_info(&1), manager.is_protected(&1, Some("p"))),
        (None, true),
        "its protection stays"
    );
    assert_eq!(manager.trim_open_conns().expired, 0, "once");
    manager.tag_peer(&1, "c", 1);
    assert_eq!(manager.tag_info(&1).unwrap().first_seen, at(23), "tagged again it is a temporary record");
    clock.set(secs(99));
    let _ = manager.trim_open_conns();
    assert_eq!(manager.tag_value(&1, "c"), Some(1), "and a protected one stays");
    assert!(!manager.unprotect(&1, "p"));
    assert_eq!((manager.trim_open_conns().expired, peers(&manager)), (1, 0), "until it is unprotected");
}

#[test]
fn writing_to_a_peer_that_left_does_not_prolong_its_time_and_untagging_it_ends_it() {
    let (manager, clock) = keeping(secs(20));
    leave(&manager, &clock, secs(3));
    clock.set(secs(22));
    assert_eq!(manager.upsert_tag(&1, "a", |value| value + 1), 6, "as on any peer");
    manager.tag_peer(&1, "new", 1);
    assert_eq!(manager.tag_info(&1).unwrap().first_seen, at(3), "it left when it left");
    clock.set(secs(23));
    assert_eq!((manager.trim_open_conns().expired, peers(&manager)), (1, 0), "and goes when it goes");
    leave(&manager, &clock, secs(30));
    manager.untag_peer(&1, "a");
    assert_eq!(peers(&manager), 1, "a tag is left");
    manager.untag_peer(&1, "b");
    assert_eq!(peers(&manager), 0, "with the last one it goes");
    manager.connected(&2, Loopback::inbound(2));
    manager.disconnected(&2, &2);
    assert_eq!(peers(&manager), 0, "a peer without tags leaves nothing");
}

#[test]
fn tags_are_kept_from_the_last_connection_on_each_time() {
    let (manager, clock) = keeping(secs(20));
    leave(&manager, &clock, secs(3));
    for round in 1..5 {
        clock.advance(secs(19));
        manager.connected(&1, Loopback::inbound(1));
        manager.connected(&1, Loopback::inbound(2));
        manager.disconnected(&1, &1);
        assert!(manager.tag_info(&1).unwrap().conns.len() == 1, "one of two is not the last");
        manager.disconnected(&1, &2);
        let left = at(3 + 19 * round);
        assert_eq!(manager.tag_info(&1).unwrap().first_seen, left, "left anew, {round} times");
        assert_eq!((manager.trim_open_conns().expired, manager.tag_value(&1, "a")), (0, Some(5)), "and kept");
    }
}

#[test]
fn a_new_time_to_keep_tags_holds_for_peers_that_left_before() {
    let (manager, clock) = keeping(secs(20));
    leave(&manager, &clock, secs(3));
    clock.set(secs(30));
    manager.reconfigure(|settings| settings.keep_tags(secs(100))).unwrap();
    assert_eq!(manager.trim_open_conns().expired, 0, "longer now");
    manager.reconfigure(|settings| settings.keep_tags(secs(0))).unwrap();
    manager.connected(&1, Loopback::inbound(2));
    assert_eq!(manager.tag_value(&1, "a"), None, "and now not at all");
    manager.tag_peer(&1, "a", 5);
    manager.disconnected(&1, &2);
    assert_eq!(peers(&manager), 0, "with the last connection, as in Go");
}

// Steady mode.

#[test]
fn a_steady_manager_closes_a_few_at_each_check_and_all_that_is_too_much_at_the_high_watermark() {
    let (manager, clock, told) = watched(builder(10, 100).steady(at_most(3)));
    connect_valued(&manager, 0..18);
    for expected in [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]] {
        next_check(&clock);
        let report = told.try_recv().expect("it trims at each check");
        assert_eq!((report.trigger, report.outcome), (TrimTrigger::Steady, TrimOutcome::Reached));
        assert_eq!((closed(&report), report.target), (expected.clone(), expected.len()), "in order of value");
    }
    next_check(&clock);
    assert!(told.try_recv().is_err(), "at the low watermark it rests");
    connect_valued(&manager, 100..190);
    next_check(&clock);
    let report = told.try_recv().expect("at the high watermark it trims");
    assert_eq!((report.trigger, report.closed_connections), (TrimTrigger::Background, 90), "in full");
}

#[test]
fn without_steady_mode_nothing_is_closed_between_the_watermarks() {
    let (manager, clock, told) = watched(builder(10, 100));
    connect_valued(&manager, 0..99);
    next_check(&clock);
    assert!(told.try_recv().is_err(), "no trim");
    manager.reconfigure(|settings| settings.steady(at_most(1))).unwrap();
    next_check(&clock);
    assert_eq!(told.try_recv().map(|report| closed(&report)), Ok(vec![0]), "turned on");
    manager.reconfigure(|settings| settings.steady(None)).unwrap();
    next_check(&clock);
    assert!(told.try_recv().is_err(), "and off");
}

#[test]
fn steady_mode_is_for_the_background_alone_and_keeps_to_the_policys_target() {
    let manager = builder(10, 100).steady(at_most(3)).build().unwrap();
    connect_valued(&manager, 0..30);
    assert_eq!(manager.trim_open_conns().closed_connections, 20, "an explicit trim is in full");
    let (manager, clock, told) = watched(builder(10, 100).steady(at_most(3)));
    connect_valued(&manager, 0..12);
    manager.protect(&11, "p");
    next_check(&clock);
    let report = told.try_recv().expect("twelve are more than ten");
    assert_eq!((report.target, report.closed_connections), (1, 1), "eleven candidates less ten");
}

#[test]
fn an_explicit_trim_during_a_steady_one_runs_its_own() {
    let (stalled, is_stalled) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (manager, clock, _told) = watched(builder(2, 100).steady(at_most(1)));
    manager.connected(
        &0,
        Loopback::closing_with(0, move |_| {
            stalled.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        }),
    );
    connect_valued(&manager, 1..9);
    manager.tag_peer(&0, "value", -1);
    clock.advance(secs(10));
    is_stalled.recv_timeout(LIMIT).expect("the steady trim stalls in its only close");
    let (coming, comes) = mpsc::channel();
    let other = {
        let manager = Arc::clone(&manager);
        thread::spawn(move || {
            coming.send(()).unwrap();
            manager.trim_open_conns()
        })
    };
    comes.recv_timeout(LIMIT).expect("the call is about to be made");
    (0..10_000).for_each(|_| thread::yield_now());
    drop(release);
    let report = within("the explicit trim", move || other.join().unwrap());
    assert_eq!(
        (report.trigger, report.joined),
        (TrimTrigger::Explicit, false),
        "it shares no steady trim's report"
    );
    assert_eq!(closed(&report), [1, 2, 3, 4, 5, 6], "but goes down to low");
}

// Closes per second.

#[test]
fn a_trim_closes_what_the_rate_allows_and_says_so() {
    let clock = ManualClock::new();
    let manager = builder(2, 100).close_rate(per_second(4)).clock(clock.clone()).build().unwrap();
    let conns = connect_valued(&manager, 0..30);
    let plan = manager.plan_trim();
    assert_eq!((plan.outcome, plan.target, plan.allowed), (TrimOutcome::RateLimited, 28, Some(4)), "planned");
    assert_eq!((plan.victims.len(), plan.cutoff), (4, Some(3)), "four of them");
    let report = manager.trim_open_conns();
    assert_eq!((report.outcome, report.target, report.allowed), (TrimOutcome::RateLimited, 28, Some(4)));
    assert_eq!((closed(&report), report.missed()), (vec![0, 1, 2, 3], 24), "a second's worth, in order");
    assert_eq!((report.cutoff, report.lowest_kept), (Some(3), Some(4)), "and no further");
    for (wait, closes) in [(0, 0), (249, 0), (1, 1), (500, 2), (100_000, 4), (0, 0)] {
        clock.advance(Duration::from_millis(wait));
        let report = manager.trim_open_conns();
        assert_eq!((report.allowed, report.closed_connections), (Some(closes), closes), "after {wait} ms");
        assert_eq!(report.outcome, TrimOutcome::RateLimited, "after {wait} ms: short of the target still");
    }
    assert_eq!(closes(&conns).iter().sum::<usize>(), 11, "as many as were allowed, in all");
}

#[test]
fn a_trim_within_its_rate_is_not_limited() {
    let manager = builder(5, 100).close_rate(per_second(4)).build().unwrap();
    connect_valued(&manager, 0..9);
    assert_eq!(manager.plan_trim().outcome, TrimOutcome::Reached);
    let report = manager.trim_open_conns();
    assert_eq!((report.outcome, report.closed_connections), (TrimOutcome::Reached, 4), "just enough");
    assert_eq!(
        manager.trim_open_conns().outcome,
        TrimOutcome::NothingToDo,
        "an empty bucket closes nothing less"
    );
}

#[test]
fn a_peer_is_closed_whole_and_its_further_connections_are_a_debt() {
    let clock = ManualClock::new();
    let manager = builder(1, 100).close_rate(per_second(2)).clock(clock.clone()).build().unwrap();
    for peer in 0..4 {
        (0..5).for_each(|conn| manager.connected(&peer, Loopback::inbound(10 * peer + conn)));
        manager.tag_peer(&peer, "value", peer as i64);
    }
    let report = manager.trim_open_conns();
    assert_eq!((report.allowed, report.closed_connections), (Some(2), 5), "one peer, with all it has");
    assert_eq!((report.outcome, closed(&report)), (TrimOutcome::RateLimited, vec![0]));
    for millis in [500, 1_000, 1_500, 1_999] {
        clock.set(Duration::from_millis(millis));
        assert_eq!(manager.trim_open_conns().closed_connections, 0, "three are owed at {millis} ms");
    }
    clock.set(Duration::from_millis(2_000));
    assert_eq!(manager.trim_open_conns().closed_connections, 5, "the debt is paid, and one token there");
}

#[test]
fn an_emergency_asks_for_no_tokens_and_takes_none() {
    let manager = builder(2, 100).close_rate(per_second(4)).build().unwrap();
    connect_valued(&manager, 0..30);
    let report = manager.force_trim();
    assert_eq!((report.outcome, report.allowed, report.closed_connections), (TrimOutcome::Reached, None, 28));
    connect_valued(&manager, 100..110);
    assert_eq!(manager.trim_open_conns().closed_connections, 4, "the bucket is as full as before");
}

#[test]
fn what_went_by_itself_costs_no_token() {
    let late = Late::default();
    let hook = {
        let late = late.clone();
        move || (0..3).for_each(|peer| late.get().disconnected(&peer, &peer))
    };
    let policy = Hooked(ByValue::exact(), hook);
    let manager = Arc::new(builder(2, 100).close_rate(per_second(2)).policy(policy).build().unwrap());
    late.set(&manager);
    connect_valued(&manager, 0..10);
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.gone, report.closed_connections),
        (3, 2),
        "three were gone when their turn came, two more were closed"
    );
    assert_eq!((report.outcome, report.missed()), (TrimOutcome::RateLimited, 3), "of eight");
}

#[test]
fn the_background_makes_up_at_its_next_checks_for_what_the_rate_cut_short() {
    let (manager, clock, told) = watched(builder(10, 20).close_rate(per_second(4)));
    connect_valued(&manager, 0..20);
    for expected in [(4, TrimOutcome::RateLimited), (4, TrimOutcome::RateLimited), (2, TrimOutcome::Reached)]
    {
        next_check(&clock);
        let report = told.try_recv().expect("below the high watermark, too");
        assert_eq!((report.closed_connections, report.outcome), expected);
        assert_eq!(report.trigger, TrimTrigger::Background);
    }
    connect_valued(&manager, 100..109);
    next_check(&clock);
    assert!(told.try_recv().is_err(), "nothing is owed any more: nineteen are below the high watermark");
}

#[test]
fn the_rate_can_be_changed_and_lifted() {
    let clock = ManualClock::new();
    let manager = builder(2, 1_000).close_rate(per_second(100)).clock(clock.clone()).build().unwrap();
    connect_valued(&manager, 0..500);
    assert_eq!(manager.trim_open_conns().closed_connections, 100, "a bucket of a hundred");
    manager.reconfigure(|settings| settings.close_rate(per_second(2))).unwrap();
    assert_eq!(manager.trim_open_conns().closed_connections, 0, "empty it stays");
    clock.advance(Duration::from_millis(500));
    assert_eq!(manager.trim_open_conns().closed_connections, 1, "and fills at the new rate, without a debt");
    manager.reconfigure(|settings| settings.close_rate(None)).unwrap();
    let report = manager.trim_open_conns();
    assert_eq!((report.outcome, report.allowed), (TrimOutcome::Reached, None), "no bound");
}

#[test]
fn a_clock_that_goes_backwards_gives_no_tokens_and_stops_none() {
    let clock = ManualClock::new();
    let manager = builder(2, 1_000).close_rate(per_second(4)).clock(clock.clone()).build().unwrap();
    clock.set(secs(1_000));
    connect_valued(&manager, 0..50);
    assert_eq!(manager.trim_open_conns().closed_connections, 4);
    clock.set(secs(500));
    connect_valued(&manager, 100..150);
    let _ = manager.trim_open_conns();
    assert_eq!(manager.info().closing, 4, "nothing for a time that has not come");
    clock.set(Duration::from_millis(500_500));
    let _ = manager.trim_open_conns();
    assert!(manager.info().closing <= 6, "half a second's worth at most");
    clock.set(secs(502));
    let _ = manager.trim_open_conns();
    assert!(manager.info().closing >= 8, "and it goes on from there");
}

#[test]
fn the_largest_and_smallest_bounds_on_closes_are_bounds() {
    for (rate, steady, closes) in [(1, usize::MAX, 1), (u32::MAX, 1, 8)] {
        let (rate, steady) = (NonZeroU32::new(rate), NonZeroUsize::new(steady));
        let clock = ManualClock::new();
        let manager = builder(1, 9).close_rate(rate).steady(steady).clock(clock.clone()).build().unwrap();
        connect(&manager, 0..9);
        assert_eq!(manager.trim_open_conns().closed_connections, closes, "at {rate:?}");
        clock.set(Duration::MAX);
        assert!(manager.plan_trim().allowed.is_some_and(|allowed| allowed > 0), "to the end of time");
    }
}
