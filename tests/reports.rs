//! Reports as people read them, to the letter.
#![expect(clippy::disallowed_types, reason = "a helper shared by the tests is filled in late")]

mod common;

use std::time::Duration;

use common::{builder, connect, connect_valued, manager, secs, with_meanwhile};
use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, ByValue, CancelToken, CloseReason, Direction, ManualClock, Protection, SpareReason,
    TrimOutcome, TrimTrigger,
};

#[test]
fn a_trim_that_reaches_its_target() {
    let clock = ManualClock::new();
    let manager = BasicConnManager::<&str, Loopback>::builder()
        .low_water(2)
        .high_water(4)
        .grace_period(secs(60))
        .policy(ByValue::exact())
        .clock(clock.clone())
        .background(false)
        .build()
        .unwrap();
    manager.tag_peer(&"ghost", "seen", 1);
    let slow = {
        let clock = clock.clone();
        Loopback::closing_with(1, move |_| clock.advance(Duration::from_micros(1500)))
    };
    manager.connected(&"carol", slow);
    manager.connected(&"carol", Loopback::closing_with(2, |_| panic!("a close that panics")));
    manager.connected(&"dave", Loopback::inbound(3));
    manager.connected(&"alice", Loopback::inbound(4));
    manager.connected(&"bob", Loopback::inbound(5));
    for (peer, value) in [("carol", -3), ("dave", 5), ("alice", 10)] {
        manager.tag_peer(&peer, "blocks", value);
    }
    let _ = manager.protect(&"bob", "bootstrap");
    clock.advance(secs(60));
    assert_eq!(
        manager.plan_trim().to_string(),
        "\
planned trim: target reached
candidates: 4 connections
target: 3 connections
close rate allows: any number
cut-off: 5
to close: 3 connections of 2 peers
  carol: value -3, 2 connections
  dave: value 5, 1 connection"
    );
    assert_eq!(
        manager.trim_open_conns().to_string(),
        "\
explicit trim: target reached
candidates: 4 connections
target: 3 connections
close rate allows: any number
cut-off: 5
lowest kept: 10
time taken: 1.5ms
gone: 0 connections
expired: 1 temporary record
panicked: 1 callback
closed: 3 connections of 2 peers
  carol: value -3, 2 connections, trim
  dave: value 5, 1 connection, trim
spared: 0 peers"
    );
}

#[test]
fn a_trim_that_misses_it_says_by_how_much_and_whom_it_spared() {
    let manager = with_meanwhile(1, |manager| {
        let _ = manager.protect(&1, "friend");
        manager.tag_peer(&2, "value", 100);
        manager.disconnected(&3, &3);
    });
    connect_valued(&manager, 1..5);
    assert_eq!(
        manager.trim_open_conns().to_string(),
        "\
explicit trim: target missed, as too few candidates were left
candidates: 4 connections
target: 3 connections, missed by 1
close rate allows: any number
cut-off: 4
lowest kept: none
time taken: 0ns
gone: 1 connection
expired: 0 temporary records
panicked: 0 callbacks
closed: 1 connection of 1 peer
  4: value 4, 1 connection, trim
spared: 2 peers
  1: value 1, protected meanwhile
  2: value 2, raised above the cut-off meanwhile"
    );
}

#[test]
fn an_emergency_marks_whom_it_closed_though_protected() {
    let manager = manager(1, 10);
    connect_valued(&manager, 1..4);
    let _ = manager.protect(&1, "friend");
    let _ = manager.protect(&2, "friend");
    let report = manager.force_trim();
    let closed: String = report.to_string().lines().skip_while(|line| !line.starts_with("closed")).collect();
    assert_eq!(
        closed,
        "closed: 2 connections of 2 peers  3: value 3, 1 connection, emergency  \
         1: value 1, 1 connection, emergency, protectedspared: 0 peers"
    );
}

#[test]
fn a_precision_bounds_each_list_and_says_what_it_left_out() {
    let manager = manager(1, 100);
    connect_valued(&manager, 1..13);
    let tail = |text: String, from: &str| {
        let lines: Vec<_> =
            text.lines().skip_while(|line| !line.starts_with(from)).map(str::to_owned).collect();
        lines.join("|")
    };
    let plan = manager.plan_trim();
    assert_eq!(
        tail(format!("{plan:.2}"), "to close"),
        "to close: 11 connections of 11 peers|  1: value 1, 1 connection|  2: value 2, 1 connection|  and 9 more"
    );
    let report = manager.trim_open_conns();
    assert_eq!(
        tail(format!("{report:.1}"), "closed"),
        "closed: 11 connections of 11 peers|  1: value 1, 1 connection, trim|  and 10 more|spared: 0 peers"
    );
    assert_eq!(
        tail(format!("{report:.0}"), "closed"),
        "closed: 11 connections of 11 peers|  and 11 more|spared: 0 peers"
    );
    assert_eq!(format!("{report:.11}"), report.to_string(), "no line for none left out");
    assert_eq!(report.to_string().lines().count(), 12 + 11, "without one, every peer");
}

#[test]
fn reports_of_trims_that_closed_nothing_have_the_same_lines() {
    let disabled = manager(0, 0);
    let idle = manager(5, 10);
    let protected = builder(1, 10).grace_period(secs(60)).build().unwrap();
    connect(&protected, 0..4);
    let cancelled = manager(1, 10);
    connect(&cancelled, 0..4);
    let token = CancelToken::new();
    token.cancel();
    for (report, first, target) in [
        (disabled.trim_open_conns(), "explicit trim: trimming is disabled", "target: 0 connections"),
        (
            idle.force_trim(),
            "emergency trim: no more connections open than the low watermark",
            "target: 0 connections",
        ),
        (
            protected.trim_open_conns(),
            "explicit trim: too many connections protected or in their grace period",
            "target: 0 connections",
        ),
        (
            cancelled.trim_open_conns_with(&token),
            "explicit trim: cancelled between two claims",
            "target: 3 connections, missed by 3",
        ),
    ] {
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), (first, target), "{text}");
        assert_eq!(lines[10..], ["closed: 0 connections of 0 peers", "spared: 0 peers"], "{text}");
    }
}

#[test]
fn a_report_that_was_shared_says_so() {
    let mut report = manager(0, 0).trim_open_conns();
    report.joined = true;
    assert_eq!(
        report.to_string().lines().next(),
        Some("explicit trim: trimming is disabled (joined one under way)")
    );
}

#[test]
fn small_words_are_clauses() {
    let all = [
        TrimTrigger::Background.to_string(),
        TrimOutcome::Reentrant.to_string(),
        TrimOutcome::Busy.to_string(),
        SpareReason::InGrace.to_string(),
        CloseReason::Emergency.to_string(),
        Direction::Inbound.to_string(),
        Direction::Outbound.to_string(),
        Protection::Protected.to_string(),
        Protection::AlreadyProtected.to_string(),
        Protection::TooLate.to_string(),
    ];
    assert_eq!(
        all,
        [
            "background",
            "not run, as a trim is running on the same thread",
            "not run, as a trim is running on another thread",
            "first seen anew meanwhile",
            "emergency",
            "inbound",
            "outbound",
            "protected",
            "protected before",
            "protected too late for a close that had been issued",
        ]
    );
}
