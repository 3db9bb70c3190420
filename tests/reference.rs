//! The interface, row by row, after libp2p's `ConnManager` and the tests of its reference implementation.
#![expect(clippy::disallowed_types, reason = "a test collects what is logged")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Probe, at, builder, connect, manager, peers, secs};
use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, ConnLimiter, ConnManager, Direction, LimitError, ManualClock, NullConnManager,
    Protection, TrimOutcome,
};

/// Go: `TestTagPeerNonExistant`.
#[test]
fn a_tag_on_an_unknown_peer_makes_a_temporary_record() {
    let clock = ManualClock::new();
    let manager = builder(1, 2).clock(clock.clone()).build().unwrap();
    clock.advance(secs(3));
    manager.tag_peer(&1, "score", 5);
    let info = manager.tag_info(&1).expect("a tagged peer is known");
    assert_eq!(
        (info.value, info.first_seen),
        (5, at(3)),
        "it has its value, and was first seen when it was tagged"
    );
    assert!(info.conns.is_empty(), "a temporary record has no connection");
    assert_eq!(manager.info().connections, 0, "a temporary record counts no connection");
    clock.advance(secs(3));
    manager.tag_peer(&1, "other", 2);
    assert_eq!(manager.tag_info(&1).unwrap().first_seen, at(3), "a second tag leaves first-seen alone");
}

#[test]
fn a_peer_that_was_only_protected_is_first_seen_with_its_first_tag_or_connection() {
    let clock = ManualClock::new();
    let manager = builder(1, 2).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    for peer in [1, 2] {
        let _ = manager.protect(&peer, "p");
    }
    clock.set(secs(100));
    manager.tag_peer(&1, "score", 5);
    manager.connected(&2, Loopback::inbound(2));
    for peer in [1, 2] {
        assert_eq!(
            manager.tag_info(&peer).unwrap().first_seen,
            at(100),
            "peer {peer}: not when it was protected"
        );
        manager.unprotect(&peer, "p");
    }
    assert_eq!(manager.trim_open_conns().expired, 0, "so its grace has just begun");
}

#[test]
fn setting_a_tag_again_replaces_its_value() {
    let manager = manager(1, 2);
    manager.tag_peer(&1, "score", 5);
    manager.tag_peer(&1, "score", -7);
    assert_eq!(manager.tag_value(&1, "score"), Some(-7), "the last value stands");
    assert_eq!(manager.tag_info(&1).unwrap().value, -7, "and it alone counts");
}

/// Go: `TestUntagPeer`.
#[test]
fn untag_removes_that_tag_and_no_other() {
    let manager = manager(1, 2);
    connect(&manager, 1..2);
    manager.tag_peer(&1, "a", 3);
    manager.tag_peer(&1, "b", 4);
    manager.untag_peer(&1, "a");
    manager.untag_peer(&1, "a");
    let info = manager.tag_info(&1).unwrap();
    assert_eq!(info.tags.into_iter().collect::<Vec<_>>(), [("b".to_owned(), 4)], "the other tag stays");
    assert_eq!(info.value, 4, "the value is that of the tags left");
    assert_eq!(manager.tag_value(&1, "a"), None, "an untagged tag has no value");
}

#[test]
fn untagging_an_unknown_peer_or_tag_creates_nothing() {
    let manager = manager(1, 2);
    connect(&manager, 1..2);
    manager.untag_peer(&1, "never");
    manager.untag_peer(&2, "never");
    manager.tag_peer(&1, "known", 1);
    manager.untag_peer(&2, "known");
    assert_eq!(manager.tag_info(&2), None, "no record was made for the unknown peer");
    assert_eq!((peers(&manager), manager.info().tag_names), (1, 1), "nor for the unknown tag");
    assert_eq!(manager.tag_info(&1).unwrap().value, 1, "and the peer's own tags are as they were");
}

#[test]
fn a_zero_valued_tag_stays_listed_until_it_is_untagged() {
    let manager = manager(1, 2);
    manager.tag_peer(&1, "zero", 3);
    manager.tag_peer(&1, "zero", 0);
    assert_eq!(manager.tag_info(&1).unwrap().tags.get("zero"), Some(&0), "zero is a value like any other");
    manager.untag_peer(&1, "zero");
    assert_eq!(manager.tag_value(&1, "zero"), None, "untagging removes it");
    assert_eq!(peers(&manager), 0, "and a temporary record without a tag is nothing that could leak");
}

/// Go: `TestUpsertTag`.
#[test]
fn upsert_stores_a_function_of_the_present_value_or_of_zero() {
    let manager = manager(1, 2);
    let mut seen = Vec::new();
    let first = manager.upsert_tag(&1, "n", |value| {
        seen.push(value);
        value + 1
    });
    let second = manager.upsert_tag(&1, "n", |value| {
        seen.push(value);
        value * 10
    });
    assert_eq!(seen, [0, 1], "an absent tag counts as zero, a present one as its value");
    assert_eq!((first, second), (1, 10), "the value stored is returned");
    assert_eq!(manager.tag_value(&1, "n"), Some(10), "and was stored");
}

#[test]
fn no_upsert_of_several_threads_is_lost() {
    const THREADS: usize = 4;
    const EACH: i64 = 2_000;
    let manager = manager(1, 2);
    connect(&manager, 1..2);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let manager = &manager;
            scope.spawn(move || {
                for round in 0..EACH {
                    manager.upsert_tag(&1, "shared", |value| value + 1);
                    manager.upsert_tag(&2, "shared", |value| value + 1);
                    if round % 50 == 0 {
                        // Changes of structure and snapshots, which make updates start over.
                        manager.tag_peer(&1, &format!("own {thread} {}", round % 4), 0);
                        assert!(
                            manager.snapshot().get(&1).is_some(),
                            "a connected peer is in every snapshot"
                        );
                    }
                }
            });
        }
    });
    for peer in [1, 2] {
        let value = manager.tag_value(&peer, "shared");
        assert_eq!(value, Some(THREADS as i64 * EACH), "peer {peer}: every upsert counts once");
    }
}

/// Go: `TestGetTagInfo`.
#[test]
fn tag_info_tells_first_seen_value_tags_and_connections() {
    let clock = ManualClock::new();
    let manager = builder(1, 9).clock(clock.clone()).build().unwrap();
    assert_eq!(manager.tag_info(&1), None, "an unknown peer has none");
    clock.set(secs(10));
    manager.connected(&1, Loopback::inbound(11).with_streams(2));
    clock.set(secs(20));
    manager.connected(&1, Loopback::outbound(12));
    manager.tag_peer(&1, "a", 4);
    manager.tag_peer(&1, "b", -1);
    let info = manager.tag_info(&1).expect("a connected peer has one");
    assert_eq!(info.first_seen, at(10), "first seen with the first connection");
    assert_eq!(info.value, 3, "the value is the sum of the tags");
    assert_eq!((info.tags["a"], info.tags["b"], info.tags.len()), (4, -1, 2), "the tags are these");
    assert!(info.decaying.is_empty(), "no tag decays");
    let conns: Vec<_> =
        info.conns.iter().map(|c| (c.id.as_str(), c.direction, c.opened, c.closing, c.streams)).collect();
    assert_eq!(
        conns,
        [
            ("11", Direction::Inbound, at(10), false, Some(2)),
            ("12", Direction::Outbound, at(20), false, None)
        ],
        "each connection with its direction, its own opening time and its streams"
    );
    assert_eq!(info.conns[0].remote_addr, "loopback/11", "and its address");
}

/// Go merges them, as it lists connections by address.
#[test]
fn two_connections_with_one_address_are_both_listed() {
    let manager = BasicConnManager::<u64, Probe>::builder().background(false).build().unwrap();
    manager.connected(&1, Probe::new(1, || Some(1)));
    manager.connected(&1, Probe::new(2, || Some(2)));
    let info = manager.tag_info(&1).unwrap();
    assert_eq!(info.conns[0].remote_addr, info.conns[1].remote_addr, "they share an address");
    let ids: Vec<_> = info.conns.iter().map(|conn| (conn.id.as_str(), conn.streams)).collect();
    assert_eq!(ids, [("1", Some(1)), ("2", Some(2))], "and both are there");
}

#[test]
fn further_connections_leave_first_seen_alone() {
    let clock = ManualClock::new();
    let manager = builder(1, 9).clock(clock.clone()).build().unwrap();
    clock.set(secs(1));
    manager.connected(&1, Loopback::inbound(1));
    clock.set(secs(2));
    manager.connected(&1, Loopback::inbound(2));
    manager.disconnected(&1, &1);
    assert_eq!(manager.tag_info(&1).unwrap().first_seen, at(1), "the peer never was away");
    manager.disconnected(&1, &2);
    clock.set(secs(3));
    manager.connected(&1, Loopback::inbound(3));
    assert_eq!(manager.tag_info(&1).unwrap().first_seen, at(3), "a peer that comes back is seen first anew");
}

#[test]
fn the_value_is_the_sum_of_exactly_the_tags_returned() {
    let manager = Arc::new(manager(1, 9));
    connect(&manager, 1..2);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (manager, stop) = (Arc::clone(&manager), Arc::clone(&stop));
        thread::spawn(move || {
            for round in 1.. {
                manager.tag_peer(&1, "a", round);
                manager.upsert_tag(&1, "b", |value| value - 3);
                if round % 3 == 0 {
                    manager.untag_peer(&1, "b");
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    };
    for _ in 0..5_000 {
        let info = manager.tag_info(&1).expect("a connected peer is known");
        assert_eq!(info.value, info.tags.values().sum::<i64>(), "value and tags belong together");
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

/// Go: `TestGetInfo`.
#[test]
fn info_tells_watermarks_periods_and_counts() {
    let manager =
        builder(5, 10).grace_period(secs(7)).silence_period(secs(9)).build().expect("a valid configuration");
    let info = manager.info();
    assert_eq!((info.low_water, info.high_water), (5, 10), "the watermarks");
    assert_eq!((info.grace_period, info.silence_period), (secs(7), secs(9)), "the periods");
    assert_eq!((info.connections, info.closing, info.last_trim), (0, 0, None), "nothing has happened yet");
    connect(&manager, 0..3);
    manager.tag_peer(&9, "a", 1);
    assert!(!manager.unprotect(&9, "b"), "never protected");
    let info = manager.info();
    assert_eq!(
        (info.connections, info.peers, info.tag_names),
        (3, 4, 1),
        "connections, peers, names written"
    );
}

#[test]
fn a_builder_starts_with_the_defaults_of_the_reference() {
    let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
    let info = manager.info();
    assert_eq!((info.low_water, info.high_water), (160, 192), "watermarks");
    assert_eq!((info.grace_period, info.silence_period), (secs(60), secs(10)), "periods");
}

#[test]
fn info_counts_open_and_closing_connections_together_and_closing_ones_apart() {
    let manager = manager(2, 9);
    connect(&manager, 0..5);
    assert_eq!(manager.trim_open_conns().closed_connections, 3, "down to low");
    let info = manager.info();
    assert_eq!((info.connections, info.closing), (5, 3), "a connection counts until its end was told");
    for closed in manager.snapshot().iter().filter(|peer| peer.conns().any(|conn| conn.closing)) {
        manager.disconnected(closed.peer(), closed.peer());
    }
    let info = manager.info();
    assert_eq!((info.connections, info.closing), (2, 0), "then it counts no longer");
}

/// Go: `TestDoubleConnection`.
#[test]
fn a_connection_told_twice_is_one_connection() {
    let clock = ManualClock::new();
    let manager = builder(1, 9).clock(clock.clone()).build().unwrap();
    let conns = connect(&manager, 1..2);
    manager.tag_peer(&1, "a", 10);
    clock.advance(secs(5));
    manager.connected(&1, conns[0].clone());
    let info = manager.info();
    assert_eq!((info.connections, info.ignored_events), (1, 1), "counted once, and the second time noted");
    let known = manager.tag_info(&1).unwrap();
    assert_eq!(
        (known.conns.len(), known.value, known.first_seen),
        (1, 10, at(0)),
        "nothing else has changed"
    );
    manager.disconnected(&1, &1);
    assert_eq!((manager.info().connections, manager.tag_info(&1)), (0, None), "one end ends it");
}

/// Go: `TestDisconnected`.
#[test]
fn the_end_of_an_unknown_connection_changes_no_count() {
    let manager = manager(1, 9);
    manager.disconnected(&1, &1);
    connect(&manager, 1..3);
    manager.tag_peer(&1, "a", 10);
    manager.disconnected(&1, &7);
    manager.disconnected(&1, &2);
    manager.disconnected(&3, &1);
    let info = manager.info();
    assert_eq!((info.connections, info.ignored_events), (2, 4), "ignored and counted");
    assert_eq!(peers(&manager), 2, "and no record was made");
    assert_eq!(manager.tag_info(&1).unwrap().value, 10, "the peer is as it was");
    manager.disconnected(&1, &1);
    manager.disconnected(&1, &1);
    let info = manager.info();
    assert_eq!((info.connections, info.ignored_events), (1, 5), "the second end of a connection is ignored");
}

#[test]
fn the_last_disconnect_takes_the_tags_and_no_earlier_one() {
    let manager = manager(1, 9);
    manager.connected(&1, Loopback::inbound(1));
    manager.connected(&1, Loopback::inbound(2));
    manager.tag_peer(&1, "a", 10);
    manager.disconnected(&1, &1);
    assert_eq!(manager.tag_value(&1, "a"), Some(10), "one connection is left");
    manager.disconnected(&1, &2);
    assert_eq!((manager.tag_info(&1), peers(&manager)), (None, 0), "none is left, and so is nothing else");
    manager.connected(&1, Loopback::inbound(3));
    assert!(manager.tag_info(&1).unwrap().tags.is_empty(), "a peer that comes back starts without tags");
}

#[test]
fn a_disconnected_that_overtakes_its_connected_is_ignored() {
    let manager = manager(1, 9);
    manager.disconnected(&1, &1);
    manager.connected(&1, Loopback::inbound(1));
    let info = manager.info();
    assert_eq!(
        (info.connections, info.ignored_events),
        (1, 1),
        "the connection is held: order is the caller's part"
    );
}

/// Go: `TestTemporaryEntryConvertedOnConnection`.
#[test]
fn a_connection_makes_a_temporary_record_lasting_and_keeps_its_tags() {
    let clock = ManualClock::new();
    let manager = builder(1, 9).grace_period(secs(10)).clock(clock.clone()).build().unwrap();
    manager.tag_peer(&1, "a", 10);
    clock.set(secs(9));
    manager.connected(&1, Loopback::inbound(1));
    let info = manager.tag_info(&1).unwrap();
    assert_eq!((info.first_seen, info.value), (at(9), 10), "seen first now, with the tags it had");
    clock.set(secs(1000));
    assert_eq!(manager.trim_open_conns().expired, 0, "it is temporary no longer");
    assert_eq!(manager.tag_value(&1, "a"), Some(10), "and keeps its tags");
}

#[test]
fn the_notifee_is_where_connections_are_told() {
    let manager = manager(1, 9);
    let notifee = manager.notifee();
    let copy = notifee;
    notifee.connected(&1, Loopback::inbound(1));
    assert_eq!(manager.info().connections, 1, "opened");
    copy.disconnected(&1, &1);
    assert_eq!(manager.info().connections, 0, "closed");
}

struct Limit(usize);

impl ConnLimiter for Limit {
    fn conn_limit(&self) -> usize {
        self.0
    }
}

/// Go: `TestCheckLimit`.
#[test]
fn a_high_watermark_above_the_systems_limit_is_an_error() {
    let manager = manager(5, 10);
    assert_eq!(manager.check_limit(&Limit(11)), Ok(()), "below");
    assert_eq!(manager.check_limit(&Limit(10)), Ok(()), "at the limit");
    let error = manager.check_limit(&Limit(9)).expect_err("above the limit");
    assert_eq!(error, LimitError { high_water: 10, limit: 9 }, "it says by how much");
    assert!(error.to_string().contains("10") && error.to_string().contains('9'), "in words too: {error}");
}

#[test]
fn the_null_manager_accepts_everything_and_does_nothing() {
    let null: &dyn ConnManager<u64> = &NullConnManager;
    null.tag_peer(&1, "a", 5);
    null.untag_peer(&1, "a");
    let stored = null.upsert_tag(&1, "a", &mut |_| unreachable!("it does not call the function"));
    assert_eq!(stored, 0, "upsert stores nothing");
    assert_eq!(null.tag_info(&1), None, "it knows nobody, and says so");
    let _ = null.protect(&1, "a");
    assert!(!null.is_protected(&1, None) && !null.is_protected(&1, Some("a")), "it protects nobody");
    assert!(!null.unprotect(&1, "a"), "not even by another tag");
    let report = null.trim_open_conns();
    assert_eq!((report.outcome, report.closed_connections), (TrimOutcome::Disabled, 0), "it closes nothing");
    assert_eq!(null.check_limit(&Limit(0)), Ok(()), "any limit does");
    assert_eq!((null.close(), null.close()), (Ok(()), Ok(())), "closed as often as you like");
}

#[test]
fn either_manager_serves_as_an_object() {
    let basic = Arc::new(manager(2, 4));
    let conns = connect(&basic, 1..5);
    let managers: [(Arc<dyn ConnManager<u64>>, bool); 2] =
        [(basic, true), (Arc::new(NullConnManager), false)];
    for (manager, works) in managers {
        manager.tag_peer(&1, "a", 5);
        assert_eq!(manager.upsert_tag(&1, "a", &mut |value| value + 1), if works { 6 } else { 0 });
        assert_eq!(
            manager.tag_info(&1).map(|info| info.value),
            works.then_some(6),
            "its tags, if it keeps any"
        );
        assert_eq!(manager.protect(&2, "p"), Protection::Protected, "safe from trims, if there are any");
        assert_eq!(manager.is_protected(&2, Some("p")), works);
        assert_eq!(manager.check_limit(&Limit(3)).is_err(), works, "a limit below the high watermark");
        let report = manager.trim_open_conns();
        assert_eq!(report.closed_connections, if works { 1 } else { 0 }, "three candidates less two");
        assert!(!manager.unprotect(&2, "p"), "no other protection is left");
        manager.untag_peer(&1, "a");
        assert_eq!(manager.tag_info(&1).map(|info| info.value), works.then_some(0), "untagged");
        assert_eq!(manager.close(), Ok(()), "closed");
    }
    let closed: usize = conns.iter().map(Loopback::closes).sum();
    assert_eq!(
        (closed, conns[0].closes(), conns[1].closes()),
        (1, 0, 0),
        "neither the valued nor the protected"
    );
}

#[test]
fn a_resolved_tag_means_its_name_with_every_manager() {
    let (one, other) = (manager(1, 2), manager(1, 2));
    let _ = other.tag("something else first");
    let tag = one.tag("score");
    assert_eq!((tag.name(), tag.to_string()), ("score", "score".to_owned()), "it tells its name");
    one.tag_peer(&1, &tag, 1);
    other.tag_peer(&1, &tag, 2);
    other.upsert_tag(&1, &"score".to_owned(), |value| value + 1);
    assert_eq!(one.tag_value(&1, "score"), Some(1), "the manager that resolved it");
    assert_eq!(other.tag_value(&1, "score"), Some(3), "another goes by the name");
    assert_eq!(other.tag_value(&1, "something else first"), None, "and not by a number of the first");
    other.untag_peer(&1, &tag);
    assert_eq!((one.tag_value(&1, &tag), other.tag_value(&1, &tag)), (Some(1), None), "each its own");
}

#[test]
fn a_handle_creates_nothing_until_its_first_write_and_outlives_its_record() {
    let manager = manager(1, 2);
    let peer = manager.peer(&1);
    assert_eq!(
        (peer.peer(), peer.tag_value("a"), peer.tag_info()),
        (&1, None, None),
        "there is nothing to read"
    );
    peer.untag_peer("a");
    assert_eq!(peers(&manager), 0, "and reading made nothing");
    assert_eq!(peer.upsert_tag("a", |value| value + 2), 2, "the first write makes the record");
    manager.connected(&1, Loopback::inbound(1));
    assert_eq!((manager.tag_value(&1, "a"), peer.tag_value("a")), (Some(2), Some(2)), "both see one record");
    manager.disconnected(&1, &1);
    assert_eq!(peer.tag_value("a"), None, "with the record the tags are gone");
    assert_eq!(peers(&manager), 0, "and reading through the handle makes no new one");
    peer.tag_peer("a", 7);
    assert_eq!(manager.tag_value(&1, "a"), Some(7), "a write makes a new record, which everybody sees");
    assert_eq!(peer.protect("p"), Protection::Protected);
    assert!(
        peer.is_protected(Some("p")) && manager.is_protected(&1, Some("p")),
        "protections are the peer's"
    );
    assert!(!peer.unprotect("p") && !manager.is_protected(&1, None), "and lifted for all");
}

#[test]
fn a_snapshot_stands_still() {
    let manager = manager(1, 9);
    connect(&manager, 1..3);
    manager.tag_peer(&1, "a", 3);
    let _ = manager.protect(&2, "p");
    let snapshot = manager.snapshot();
    manager.tag_peer(&1, "a", 4);
    manager.tag_peer(&1, "b", 4);
    manager.unprotect(&2, "p");
    manager.disconnected(&2, &2);
    connect(&manager, 3..4);
    let mut seen: Vec<_> =
        snapshot.iter().map(|p| (*p.peer(), p.value(), p.connections(), p.is_protected())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(1, 3, 1, false), (2, 0, 1, true)], "every peer once, as it was");
    assert!(snapshot.get(&3).is_none(), "nothing that came later");
    let mut now: Vec<_> = manager.snapshot().iter().map(|peer| (*peer.peer(), peer.value())).collect();
    now.sort_unstable();
    assert_eq!(now, [(1, 8), (3, 0)], "a new one holds what is");
}

/// Collects the `connmgr` events of the threads it is set for.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "connmgr"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            line.push_str(&format!("{field}={value:?} "));
        });
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn ignored_events_are_logged() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let manager = manager(1, 9);
        manager.disconnected(&1, &77);
        connect(&manager, 88..89);
        manager.connected(&88, Loopback::inbound(88));
    });
    let lines = log.0.lock().unwrap();
    assert_eq!(lines.len(), 2, "one line for each ignored event, and none for the other: {lines:?}");
    assert!(lines[0].contains("77") && lines[1].contains("88"), "they name the connection: {lines:?}");
}
