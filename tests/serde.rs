//! The shape of reports and facts for machines, pinned as JSON, and back.
#![expect(clippy::disallowed_types, reason = "a helper shared by the tests is filled in late")]

mod common;

use std::fmt::Debug;
use std::time::Duration;

use common::{Manager, builder, connect, connect_valued, secs, with_meanwhile};
use connmgr::testing::Loopback;
use connmgr::{
    CloseReason, ConnInfo, Direction, Explanation, LimitError, ManagerInfo, ManualClock, Protection,
    SpareReason, TagInfo, TrimOutcome, TrimPlan, TrimReport, TrimTrigger,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// That `value` is written as `expected` and read again as it was.
fn pinned<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: serde_json::Value) {
    assert_eq!(serde_json::to_value(value).expect("it serialises"), expected);
    let text = serde_json::to_string(value).expect("it serialises");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("it reads back"), value, "{text}");
}

#[test]
fn a_report() {
    let manager = with_meanwhile(1, |manager| {
        let _ = manager.protect(&1, "friend");
    });
    connect_valued(&manager, 1..4);
    let mut report: TrimReport<u64> = manager.trim_open_conns();
    report.elapsed = Duration::from_millis(1500);
    pinned(
        &report,
        json!({
            "trigger": "explicit",
            "outcome": "reached",
            "joined": false,
            "closed": [
                {"peer": 2, "value": 2, "connections": 1, "inbound": 1, "reason": "trim", "protected": false},
                {"peer": 3, "value": 3, "connections": 1, "inbound": 1, "reason": "trim", "protected": false},
            ],
            "closed_connections": 2,
            "spared": [{"peer": 1, "value": 1, "reason": "protected"}],
            "candidates": 3,
            "target": 2,
            "allowed": null,
            "gone": 0,
            "cutoff": 3,
            "lowest_kept": null,
            "expired": 0,
            "callback_panics": 0,
            "elapsed": {"secs": 1, "nanos": 500_000_000},
        }),
    );
}

#[test]
fn a_plan() {
    let manager = common::manager(1, 10);
    connect_valued(&manager, 1..3);
    let plan: TrimPlan<u64> = manager.plan_trim();
    pinned(
        &plan,
        json!({
            "outcome": "reached",
            "victims": [{"peer": 1, "value": 1, "connections": 1}],
            "candidates": 2,
            "target": 1,
            "allowed": null,
            "cutoff": 1,
        }),
    );
}

#[test]
fn how_peers_stand() {
    let manager = builder(1, 10).grace_period(secs(60)).build().unwrap();
    connect_valued(&manager, 1..2);
    let _ = manager.protect(&1, "friend");
    let exempt: Explanation<u64> = manager.explain(&1).expect("known");
    let left = json!({"in_grace": {"left": {"secs": 60, "nanos": 0}}});
    let reasons = json!([{"protected": {"under": ["friend"]}}, left]);
    let standing = json!({"exempt": reasons});
    pinned(&exempt, json!({"peer": 1, "value": 1, "connections": 1, "standing": standing}));

    let manager = common::manager(1, 10);
    connect_valued(&manager, 1..3);
    let candidate: Explanation<u64> = manager.explain(&1).expect("known");
    let standing = serde_json::to_value(&candidate).unwrap()["standing"]["candidate"].clone();
    assert_eq!(standing["rank"][0], json!(1), "by value");
    assert_eq!(
        (&standing["place"], &standing["of"], &standing["closes"]),
        (&json!(0), &json!(2), &json!(true))
    );
}

#[test]
fn what_is_known_of_a_peer() {
    let clock = ManualClock::new();
    clock.advance(secs(7));
    let manager: Manager = builder(1, 10).clock(clock).build().unwrap();
    manager.connected(&1, Loopback::outbound(5).with_streams(2));
    manager.tag_peer(&1, "blocks", -4);
    let info: TagInfo = manager.tag_info(&1).expect("known");
    let at = json!({"secs_since_epoch": 7, "nanos_since_epoch": 0});
    let conn = json!({
        "id": "5",
        "remote_addr": "loopback/5",
        "direction": "outbound",
        "opened": at,
        "closing": false,
        "streams": 2,
    });
    let conn_info: ConnInfo = info.conns[0].clone();
    pinned(&conn_info, conn.clone());
    pinned(
        &info,
        json!({
            "first_seen": at,
            "value": -4,
            "tags": {"blocks": -4},
            "decaying": {},
            "conns": [conn],
        }),
    );
}

#[test]
fn what_is_known_of_a_manager() {
    let manager = builder(1, 10).grace_period(secs(60)).build().unwrap();
    connect(&manager, 0..2);
    manager.tag_peer(&0, "a", i64::MAX);
    let _ = manager.force_trim();
    let info: ManagerInfo = manager.info();
    pinned(
        &info,
        json!({
            "low_water": 1,
            "high_water": 10,
            "grace_period": {"secs": 60, "nanos": 0},
            "silence_period": {"secs": 10, "nanos": 0},
            "grace_per": "peer",
            "keep_tags": {"secs": 0, "nanos": 0},
            "steady": null,
            "close_rate": null,
            "connections": 2,
            "closing": 1,
            "peers": 2,
            "tag_names": 1,
            "last_trim": {"secs_since_epoch": 0, "nanos_since_epoch": 0},
            "ignored_events": 0,
        }),
    );
}

#[test]
fn small_words_are_in_snake_case() {
    fn words<T: Serialize + DeserializeOwned + PartialEq + Debug>(all: &[(T, &str)]) {
        for (value, word) in all {
            pinned(value, json!(word));
        }
    }
    words(&[
        (TrimTrigger::Explicit, "explicit"),
        (TrimTrigger::Background, "background"),
        (TrimTrigger::Emergency, "emergency"),
    ]);
    words(&[
        (TrimOutcome::Disabled, "disabled"),
        (TrimOutcome::NothingToDo, "nothing_to_do"),
        (TrimOutcome::TooFewCandidates, "too_few_candidates"),
        (TrimOutcome::Reached, "reached"),
        (TrimOutcome::Short, "short"),
        (TrimOutcome::Cancelled, "cancelled"),
        (TrimOutcome::Reentrant, "reentrant"),
        (TrimOutcome::Busy, "busy"),
    ]);
    words(&[
        (SpareReason::Protected, "protected"),
        (SpareReason::ValueRaised, "value_raised"),
        (SpareReason::InGrace, "in_grace"),
    ]);
    words(&[(CloseReason::Trim, "trim"), (CloseReason::Emergency, "emergency")]);
    words(&[(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")]);
    words(&[
        (Protection::Protected, "protected"),
        (Protection::AlreadyProtected, "already_protected"),
        (Protection::TooLate, "too_late"),
    ]);
    pinned(&LimitError { high_water: 9, limit: 4 }, json!({"high_water": 9, "limit": 4}));
    assert!(serde_json::from_str::<TrimOutcome>("\"Reached\"").is_err(), "no other spelling is read");
}
