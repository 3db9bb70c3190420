//! What is live bounds what is kept: ids are counted as they are made and dropped, and bytes by the allocator.
//!
//! One test at a time, as all count the same ids: they are cases of one test.

mod counting;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use connmgr::testing::Loopback;
use connmgr::{BasicConnManager, BumpFn, DecayFn, ManualClock};
use counting::BYTES;

static ALIVE: AtomicI64 = AtomicI64::new(0);

/// A peer id that is counted while it lives.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Counted(u64);

impl Counted {
    fn new(id: u64) -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self(id)
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

type Manager = BasicConnManager<Counted, Loopback>;

fn alive() -> i64 {
    ALIVE.load(Ordering::Relaxed)
}

fn manager(clock: &ManualClock) -> Manager {
    Manager::builder().background(false).clock(clock.clone()).build().expect("a valid configuration")
}

/// Expiries all run under one pin, which the collector's own pace did not keep up with: garbage grew for ever.
fn temporary_records_that_come_and_go_for_ever_are_bounded() {
    const ROUND: u64 = 5_000;
    let clock = ManualClock::new();
    let manager = manager(&clock);
    let tag = manager.tag("seen");
    for round in 0..40 {
        for id in 0..ROUND {
            manager.tag_peer(&Counted::new(round * ROUND + id), &tag, 1);
        }
        clock.advance(Duration::from_secs(100));
        let report = manager.trim_open_conns();
        assert_eq!(report.expired, ROUND as usize, "all are past their grace");
        assert!(
            alive() <= 2 * ROUND as i64,
            "{} ids alive in round {round}, {ROUND} at most are needed",
            alive()
        );
    }
}

/// A burst followed by quiet was never collected; one trim is to give it back.
fn a_burst_is_given_back_without_further_calls_that_retire() {
    let clock = ManualClock::new();
    let manager = manager(&clock);
    for id in 0..50_000 {
        manager.tag_peer(&Counted::new(id), "seen", 1);
    }
    clock.advance(Duration::from_secs(100));
    let report = manager.trim_open_conns();
    assert_eq!(report.expired, 50_000, "all are past their grace");
    drop(report);
    assert!(alive() <= 1_000, "{} ids alive with no peer left", alive());
    assert!(manager.info().peers <= 1_000, "{} records with no peer left", manager.info().peers);
}

/// What a snapshot held back was not collected after it was gone; its end is to do that.
fn what_a_snapshot_held_back_is_given_back_after_it() {
    let manager = manager(&ManualClock::new());
    let snapshot = manager.snapshot();
    for id in 0..50_000 {
        manager.connected(&Counted::new(id), Loopback::inbound(1));
        manager.disconnected(&Counted::new(id), &1);
    }
    assert_eq!(snapshot.iter().count(), 0, "nobody was there when it was taken");
    drop(snapshot);
    assert!(alive() <= 1_000, "{} ids alive with no peer left", alive());
}

/// Of what a snapshot had held back the collector's own bags were kept, 33 bytes for each object.
fn nothing_is_kept_of_what_a_snapshot_held_back() {
    let manager = manager(&ManualClock::new());
    manager.connected(&Counted::new(7), Loopback::inbound(1));
    let before = BYTES.load(Ordering::Relaxed);
    let snapshot = manager.snapshot();
    for id in 2..300_000 {
        manager.connected(&Counted::new(7), Loopback::inbound(id));
        manager.disconnected(&Counted::new(7), &id);
    }
    drop(snapshot);
    let kept = BYTES.load(Ordering::Relaxed) - before;
    assert!(kept < 500_000, "{kept} bytes kept of 300,000 connections");
}

/// A peer that kept reconnecting under a snapshot left a record each time, all on one path, which every look-up had to follow.
fn a_peer_that_returns_under_a_snapshot_is_one_record() {
    let manager = manager(&ManualClock::new());
    let snapshot = manager.snapshot();
    for _ in 0..10_000 {
        manager.connected(&Counted::new(7), Loopback::inbound(1));
        manager.disconnected(&Counted::new(7), &1);
    }
    assert!(manager.info().peers <= 1, "{} records of one peer", manager.info().peers);
    drop(snapshot);
}

/// A snapshot holds back what it needs once, however often values change.
fn repeated_updates_under_a_snapshot_make_no_garbage() {
    let manager = manager(&ManualClock::new());
    for id in 0..1_000 {
        manager.tag_peer(&Counted::new(id), "score", 0);
    }
    let minute = Duration::from_secs(60);
    let fading = [DecayFn::fixed(1), DecayFn::expire_when_inactive(minute)].map(|decay| {
        let name = format!("{decay:?}");
        manager
            .register_decaying_tag(&name, minute, decay, BumpFn::sum_unbounded())
            .expect("a name that is free")
    });
    let score = manager.tag("score");
    let update = |round| {
        for id in 0..1_000 {
            let stored = manager.upsert_tag(&Counted::new(id), &score, |value| value + 1);
            assert_eq!(stored, round, "no update is lost");
            for tag in &fading {
                assert_eq!(tag.bump(&Counted::new(id), 1), Ok(round), "no bump is lost");
            }
        }
    };
    let snapshot = manager.snapshot();
    update(1);
    let (ids, bytes) = (alive(), BYTES.load(Ordering::Relaxed));
    (2..=100).for_each(update);
    let grown = BYTES.load(Ordering::Relaxed) - bytes;
    assert!(alive() <= ids, "an update of a value makes no record");
    assert!(grown < 100_000, "300,000 updates beyond the first writes made {grown} bytes of garbage");
    assert!(snapshot.iter().all(|peer| peer.value() == 0), "the snapshot is of before");
}

/// The report of the last trim, with the ids in it, was kept until the next one.
fn a_report_that_nobody_waits_for_is_not_kept() {
    let manager = Manager::builder()
        .low_water(1)
        .high_water(2)
        .grace_period(Duration::ZERO)
        .background(false)
        .build()
        .expect("a valid configuration");
    for id in 0..2_000 {
        manager.connected(&Counted::new(id), Loopback::inbound(1));
    }
    let report = manager.trim_open_conns();
    assert_eq!(report.closed_connections, 1_999, "down to the low watermark");
    drop(report);
    for id in 0..2_000 {
        manager.disconnected(&Counted::new(id), &1);
    }
    drop(manager.snapshot());
    assert!(alive() <= 500, "{} ids alive with no peer left", alive());
}

#[test]
fn memory_follows_what_is_live() {
    for case in [
        temporary_records_that_come_and_go_for_ever_are_bounded,
        a_burst_is_given_back_without_further_calls_that_retire,
        what_a_snapshot_held_back_is_given_back_after_it,
        nothing_is_kept_of_what_a_snapshot_held_back,
        a_peer_that_returns_under_a_snapshot_is_one_record,
        repeated_updates_under_a_snapshot_make_no_garbage,
        a_report_that_nobody_waits_for_is_not_kept,
    ] {
        case();
    }
}
