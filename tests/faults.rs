//! Regression tests, each named after the fault it was written for.

#![expect(clippy::disallowed_types, reason = "tests wait for their threads")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use connmgr::testing::Loopback;
use connmgr::{BasicConnManager, CloseReason, Connection, Direction, ManualClock, TrimOutcome};

const LIMIT: Duration = Duration::from_secs(30);

/// The background thread waited for the turn to trim while the trim that had it waited, in a callback, for the background thread.
#[test]
fn close_in_a_callback_of_an_explicit_trim_does_not_deadlock_with_a_background_trim_that_is_due() {
    type Manager = BasicConnManager<u64, Loopback>;
    let clock = ManualClock::new();
    let (trimmed, trims) = mpsc::channel();
    let manager = Arc::new(
        Manager::builder()
            .low_water(1)
            .high_water(2)
            .grace_period(Duration::ZERO)
            .silence_period(Duration::from_secs(1))
            .clock(clock.clone())
            .build()
            .expect("valid"),
    );
    assert!(clock.settle(1, LIMIT), "the background thread waits");
    let itself: Arc<OnceLock<Weak<Manager>>> = Arc::default();
    let first = Arc::new(AtomicBool::new(true));
    for peer in 0..10 {
        let (itself, first, clock) = (Arc::clone(&itself), Arc::clone(&first), clock.clone());
        let conn = Loopback::closing_with(1, move |_| {
            let manager = itself.get().and_then(Weak::upgrade);
            if let (Some(manager), true) = (manager, first.swap(false, Ordering::AcqRel)) {
                // More arrive, and the background thread comes to trim them and is done with it before this returns.
                (100..110).for_each(|peer| manager.connected(&peer, Loopback::inbound(1)));
                clock.advance(Duration::from_secs(2));
                assert!(clock.settle(1, LIMIT), "the background thread does not wait for this trim");
                assert_eq!(manager.close(), Ok(()), "closed from a callback");
            }
        });
        manager.connected(&peer, conn);
    }
    itself.set(Arc::downgrade(&manager)).expect("set once");
    thread::spawn(move || trimmed.send(manager.trim_open_conns().callback_panics));
    assert_eq!(trims.recv_timeout(LIMIT), Ok(0), "the trim ends, and no callback failed");
}

/// A peer id that panics when it is cloned, if it is armed.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Fragile(u64);

static ARMED: AtomicBool = AtomicBool::new(false);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!(self.0 == 5 && ARMED.load(Ordering::Acquire)), "not cloned");
        Self(self.0)
    }
}

/// A panic between a claim and its close left what had been claimed open, and closing, for ever.
#[test]
fn what_a_trim_has_claimed_is_closed_even_if_it_panics_afterwards() {
    let manager = BasicConnManager::<Fragile, Loopback>::builder()
        .low_water(1)
        .high_water(2)
        .grace_period(Duration::ZERO)
        .background(false)
        .build()
        .expect("valid");
    let conns: Vec<Loopback> = (0..10).map(Loopback::inbound).collect();
    for (peer, conn) in (0..).zip(&conns) {
        manager.connected(&Fragile(peer), conn.clone());
        manager.tag_peer(&Fragile(peer), "value", peer as i64);
    }
    ARMED.store(true, Ordering::Release);
    let trimmed = catch_unwind(AssertUnwindSafe(|| manager.trim_open_conns()));
    ARMED.store(false, Ordering::Release);
    assert!(trimmed.is_err(), "the panic reaches the caller");
    let closed = conns.iter().filter(|conn| conn.closes() == 1).count();
    assert_eq!((closed, manager.info().closing), (5, 5), "the five claimed before it are closed");
    let report = manager.trim_open_conns();
    assert_eq!(
        (report.outcome, report.closed_connections),
        (TrimOutcome::Reached, 4),
        "and the rest next time"
    );
}

/// A peer id whose destructor panics.
#[derive(PartialEq, Eq, Hash, Clone, Debug)]
struct Explosive(u64);

static LIT: AtomicBool = AtomicBool::new(false);

impl Drop for Explosive {
    fn drop(&mut self) {
        // Of the ids in the table only: those of the test itself are far larger.
        assert!(!(LIT.load(Ordering::Acquire) && self.0 % 100 == 7 && !thread::panicking()), "dropped");
    }
}

/// A destructor that panicked in the collector took the rest of its batch with it, and hit a bystander.
#[test]
fn an_id_whose_destructor_panics_harms_nobody_else() {
    let manager =
        BasicConnManager::<Explosive, Loopback>::builder().background(false).build().expect("valid");
    let ids: Vec<Explosive> = (0..5_000).map(Explosive).collect();
    LIT.store(true, Ordering::Release);
    for id in &ids {
        manager.connected(id, Loopback::inbound(1));
        manager.disconnected(id, &1);
    }
    // Another test's thread may hold garbage back for a moment, as the collector is one for the process.
    let began = Instant::now();
    while manager.info().peers > 1_000 && began.elapsed() < LIMIT {
        let _ = manager.trim_open_conns();
        thread::yield_now();
    }
    LIT.store(false, Ordering::Release);
    assert_eq!(manager.info().connections, 0, "all are gone");
    assert!(manager.info().peers <= 1_000, "{} records are left of none", manager.info().peers);
}

/// A connection whose peer protects itself while the trim looks at it.
struct Evasive {
    peer: u64,
    manager: Weak<BasicConnManager<u64, Evasive>>,
    closes: Arc<AtomicUsize>,
}

impl Connection for Evasive {
    type Id = u64;

    fn id(&self) -> u64 {
        self.peer
    }

    fn remote_addr(&self) -> String {
        String::new()
    }

    fn direction(&self) -> Direction {
        Direction::Inbound
    }

    fn stream_count(&self) -> Option<usize> {
        if let Some(manager) = self.manager.upgrade() {
            let _ = manager.protect(&self.peer, "late");
        }
        None
    }

    fn close(&self, _reason: CloseReason) {
        self.closes.fetch_add(1, Ordering::AcqRel);
    }
}

/// An emergency that could do with peers protected since its snapshot fell short of its target.
#[test]
fn an_emergency_takes_peers_protected_meanwhile_if_it_must() {
    let manager = Arc::new(
        BasicConnManager::builder().low_water(1).high_water(2).background(false).build().expect("valid"),
    );
    let closes = Arc::new(AtomicUsize::new(0));
    for peer in 1..=4 {
        let (manager_of, closes) = (Arc::downgrade(&manager), Arc::clone(&closes));
        manager.connected(&peer, Evasive { peer, manager: manager_of, closes });
    }
    let report = manager.force_trim();
    assert_eq!((report.outcome, report.closed_connections), (TrimOutcome::Reached, 3), "the target is met");
    assert!(report.closed.iter().all(|closed| closed.protected), "and each is marked");
    assert_eq!(closes.load(Ordering::Acquire), 3, "closed once each");
}

/// One destructor that panicked kept the links of all older connections of its peer, and at the end of a manager all peers after its own.
#[test]
fn a_connection_whose_destructor_panics_keeps_no_other() {
    all_are_dropped_with(|_| 1);
    all_are_dropped_with(|id| id);
}

/// Adds ten connections, the destructor of one of which panics, each to the peer that `peer_of` says, and drops the manager.
fn all_are_dropped_with(peer_of: impl Fn(u64) -> u64) {
    struct Bomb(u64, Arc<AtomicUsize>);

    impl Drop for Bomb {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(self.0 != 7, "a destructor that panics");
        }
    }

    let dropped = Arc::new(AtomicUsize::new(0));
    let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().expect("valid");
    for id in 0..10 {
        let bomb = Bomb(id, Arc::clone(&dropped));
        let goes_with_the_connection = move |_| {
            let _ = &bomb;
        };
        manager.connected(&peer_of(id), Loopback::closing_with(id, goes_with_the_connection));
    }
    // Whether the panic comes to this thread is not promised.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(manager)));
    assert_eq!(dropped.load(Ordering::Relaxed), 10, "each is dropped");
}
