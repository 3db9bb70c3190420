//! The collector is the whole process's: a job that other code left with it runs on any thread that pins or collects, and may panic there.
//! In a process of its own, as such a panic would fail other tests.

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use connmgr::BasicConnManager;
use connmgr::testing::Loopback;

const FOREIGN: &str = "a job of other code";
const PEERS: u64 = 10_000;

/// A collection that such a panic ended was thought to go on for ever, so that its thread never collected again.
#[test]
fn a_foreign_job_that_panics_stops_no_later_collection() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref() != Some(&FOREIGN) {
            hook(info);
        }
    }));
    let manager = BasicConnManager::builder().background(false).build().expect("a valid configuration");
    let alive = Arc::new(());
    let churn = |peers| {
        for peer in 0..peers {
            let counted = Arc::clone(&alive);
            let hold = move |_| drop(Arc::clone(&counted));
            manager.connected(&peer, Loopback::closing_with(peer, hold));
            manager.disconnected(&peer, &peer);
        }
    };
    for _ in 0..200 {
        // (Its own pin may run the one before.)
        let _ = thread::spawn(|| crossbeam_epoch::pin().defer(|| panic::panic_any(FOREIGN))).join();
        // It comes up in a collection of ours, which tells nobody, or in a pin, which does.
        let _ = catch_unwind(AssertUnwindSafe(|| churn(64)));
    }
    let snapshot = manager.snapshot();
    churn(PEERS);
    assert!(Arc::strong_count(&alive) as u64 > PEERS, "a snapshot holds back what goes under it");
    drop(snapshot);
    let kept = Arc::strong_count(&alive) - 1;
    assert!(kept < 500, "of {PEERS} connections that went, {kept} were kept after the snapshot");
}
