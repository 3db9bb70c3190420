//! Jobs that run late: each test is a schedule that once broke a promise, with no stalled thread in it, but one whose retired objects reach the
//! collector only when it ends.

#![expect(clippy::disallowed_types, reason = "threads that are stopped wait to be let go on")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use connmgr::BasicConnManager;
use connmgr::testing::Loopback;

type Manager = BasicConnManager<u64, Loopback>;

/// The one peer.
const PEER: u64 = 7;

/// Lets the collector do its work, which it does once in 128 pins of a thread.
fn collect(manager: &Manager, times: usize) {
    for _ in 0..times * 128 {
        let _ = manager.tag_value(&PEER, "b");
    }
}

/// A thread that acts, says so, and waits to be told to go on.
struct Stopped<T> {
    thread: JoinHandle<T>,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

impl<T: Send + 'static> Stopped<T> {
    fn spawn(
        manager: &Arc<Manager>,
        act: impl FnOnce(&Manager, &dyn Fn()) -> T + Send + 'static,
    ) -> Stopped<T> {
        let (manager, (reach, reached), (go_on, gone_on)) = (Arc::clone(manager), channel(), channel());
        let thread = thread::spawn(move || {
            act(&manager, &|| {
                reach.send(()).expect("the test waits for this");
                gone_on.recv().expect("the test lets it go on");
            })
        });
        Stopped { thread, reached, go_on }
    }

    fn wait(&self) {
        self.reached.recv().expect("it gets there");
    }

    fn go_on(&self) {
        self.go_on.send(()).expect("it waits for this");
    }

    fn end(self) -> T {
        self.go_on();
        self.thread.join().expect("it does not panic")
    }
}

/// Brings about a job that is late: left for a state on the heap whose memory is given to a later one, `reader` having been told to go on when
/// the job's guards are nearly gone.
fn a_late_job<T: Send + 'static>(manager: &Arc<Manager>, reader: &Stopped<T>) {
    reader.wait();
    manager.tag_peer(&PEER, "b", 1);
    let late = Stopped::spawn(manager, |manager, stop| {
        manager.tag_peer(&PEER, "c", 1);
        stop();
    });
    late.wait();
    let other = Arc::clone(manager);
    thread::spawn(move || other.untag_peer(&PEER, "c")).join().expect("it does not panic");
    collect(manager, 6);
    late.end();
    collect(manager, 1);
    reader.go_on();
    reader.wait();
    manager.untag_peer(&PEER, "a");
    collect(manager, 1);
}

fn manager() -> Arc<Manager> {
    let manager = Manager::builder().background(false).build().expect("a valid configuration");
    manager.tag_peer(&PEER, "a", 1);
    Arc::new(manager)
}

/// A slot that was used twice within a period had the same cookie again: the job wrote over a state that an update was looking at, which
/// then went to another tag.
fn a_slot_that_was_used_twice_in_a_period_is_not_written_under_a_reader() {
    let manager = manager();
    let reader = Stopped::spawn(&manager, |manager, stop| {
        let _ = manager.tag_value(&PEER, "a");
        stop();
        manager.upsert_tag(&PEER, "a", |value| {
            // Not when it runs again, for a value that has changed.
            if value == 1 {
                stop();
            }
            100
        })
    });
    a_late_job(&manager, &reader);
    let stored = reader.end();
    assert_eq!(manager.tag_value(&PEER, "b"), Some(1), "nobody wrote this one");
    assert_eq!(manager.tag_value(&PEER, "a"), Some(stored), "what the update says that it stored");
}

/// A job that found a later state at the address that it was told brought that home without its past: a snapshot that needed this lost the peer.
fn a_snapshot_keeps_a_peer_whose_state_comes_home_late() {
    let manager = manager();
    let reader = Stopped::spawn(&manager, |manager, stop| {
        let _ = manager.tag_value(&PEER, "a");
        stop();
        let snapshot = manager.snapshot();
        let before = snapshot.iter().count();
        stop();
        (before, snapshot.iter().count())
    });
    a_late_job(&manager, &reader);
    assert_eq!(reader.end(), (1, 1), "the peer was there before the snapshot, and is there still");
}

/// One after the other: the collector is one for the process, and what one leaves to it must not come into the other's schedule.
#[test]
fn jobs_that_run_late_break_nothing() {
    a_slot_that_was_used_twice_in_a_period_is_not_written_under_a_reader();
    a_snapshot_keeps_a_peer_whose_state_comes_home_late();
}
