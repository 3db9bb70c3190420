//! The models, by promise, and how they are run.

mod additions;
mod claims;
mod cut;
mod decaying;
mod growth;
mod links;
mod presence;
mod reclamation;
mod updates;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::index::Held;
use crate::peer::{Identified, NewConn, Peer, PeerTable};
use crate::reclaim;
use crate::snapshot::Cut;
use crate::versioned::{TagId, Upsert};

/// A connection in a model: nothing but its identity.
#[derive(Debug)]
struct Link(u8);

impl Identified for Link {
    type Id = u8;

    fn id(&self) -> &u8 {
        &self.0
    }
}

/// Peers are small numbers, and hashes are the same in every execution.
type Table = PeerTable<u64, Link, ahash::RandomState>;

const TAG: TagId = 1;
const OTHER: TagId = 2;
const SHIELD: TagId = 3;

fn seeded() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

fn table() -> Table {
    PeerTable::new(4, seeded())
}

/// A table of two slots: the second peer makes it grow.
fn tiny_table() -> Table {
    PeerTable::new(2, seeded())
}

trait Short {
    fn add(&self, peer: u64, tag: TagId, delta: i64) -> i64;
    /// As a handle does: in place, or else not. `None` if the record is sealed.
    fn add_held(&self, record: &Held<Peer<u64, Link>>, tag: TagId, delta: i64) -> Option<i64>;
    /// The same without the try in place, which would only make a model of a new tag larger.
    fn add_new_held(&self, record: &Held<Peer<u64, Link>>, tag: TagId, delta: i64) -> Option<i64>;
    fn link(&self, peer: u64, id: u8) -> bool;
    fn unlink(&self, peer: u64, id: u8) -> bool;
    fn link_closed(&self, peer: u64, id: u8);
    fn value_in(cut: &Cut<'_, u64, Link, ahash::RandomState>, peer: u64, tag: TagId) -> i64;
}

impl Short for Table {
    fn add(&self, peer: u64, tag: TagId, delta: i64) -> i64 {
        self.update(&peer, tag, || 0, |value| value + delta)
    }

    fn add_held(&self, record: &Held<Peer<u64, Link>>, tag: TagId, delta: i64) -> Option<i64> {
        let mut upsert = Upsert::new(|value| value + delta);
        match self.update_held_in_place(record, tag, &mut upsert) {
            Some(value) => Some(value),
            None => self.upsert_held(record, tag, || 0, upsert).ok(),
        }
    }

    fn add_new_held(&self, record: &Held<Peer<u64, Link>>, tag: TagId, delta: i64) -> Option<i64> {
        self.upsert_held(record, tag, || 0, Upsert::new(|value| value + delta)).ok()
    }

    fn link(&self, peer: u64, id: u8) -> bool {
        self.connect(&peer, &mut NewConn::new(Link(id)), 0, false, || None)
    }

    fn unlink(&self, peer: u64, id: u8) -> bool {
        self.disconnect(&peer, &id, || None)
    }

    /// Links a new peer whose state takes no tag in place, as it had no connection at first: a new tag replaces it.
    fn link_closed(&self, peer: u64, id: u8) {
        let _ = self.protect(&peer, SHIELD, || 0);
        assert!(self.link(peer, id), "it is new");
        assert!(!self.unprotect(&peer, SHIELD), "no other protection");
    }

    fn value_in(cut: &Cut<'_, u64, Link, ahash::RandomState>, peer: u64, tag: TagId) -> i64 {
        let mut seen = cut.iter().filter(|at| *at.node.key() == peer);
        let value = seen.next().and_then(|at| at.state.value(tag)).unwrap_or(0);
        assert!(seen.next().is_none(), "a snapshot's walk sees a peer once");
        value
    }
}

/// A number that this run is asked to explore with.
fn asked(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// Explores `body` with at most `bound` preemptions, and fails if that took fewer than `floor` executions: a green model that
/// explored next to nothing is a broken model.
///
/// `CONNMGR_LOOM_BOUND` gives another bound, and `CONNMGR_LOOM_SECONDS` an end to each model's exploration; under a lower bound than the
/// model's own, and where time was up, there is no floor.
fn explore(name: &str, bound: usize, floor: usize, body: impl Fn() + Send + Sync + 'static) {
    if ran_in_a_process_of_its_own() {
        return;
    }
    let mut builder = loom::model::Builder::new();
    let own = bound;
    let bound = asked("CONNMGR_LOOM_BOUND").unwrap_or(own);
    builder.preemption_bound = Some(bound);
    builder.max_branches = 20_000;
    let limit = asked("CONNMGR_LOOM_SECONDS").map(|seconds| Duration::from_secs(seconds as u64));
    builder.max_duration = limit;
    // So often loom looks at the time.
    builder.checkpoint_interval = 1_000;
    let begun = Instant::now();
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        reclaim::model(&body);
    });
    let executions = executions.load(Ordering::Relaxed);
    let all = limit.is_none_or(|limit| begun.elapsed() < limit);
    println!("{name}: {executions} executions, {} at bound {bound}", if all { "all" } else { "not all" });
    let held_to = if all && bound >= own { floor } else { 1 };
    assert!(executions >= held_to, "{name} explored {executions} executions only, of at least {held_to}");
}

/// Runs the present test in a process of its own, unless this is one, and fails if that fails. Returns whether it did.
///
/// Each execution maps stacks and unmaps them, for which threads of one process wait: two models at once took longer than one after the other.
fn ran_in_a_process_of_its_own() -> bool {
    const CHILD: &str = "CONNMGR_LOOM_CHILD";
    // The harness names a test's thread after it.
    let thread = std::thread::current();
    let Some(test) = thread.name().filter(|name| name.contains("::")) else { return false };
    if std::env::var_os(CHILD).is_some() {
        return false;
    }
    let mut program = Command::new(std::env::current_exe().expect("the path of this program"));
    let child =
        program.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().expect("it can be run again");
    print!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{test} failed in its process: {}", child.status);
    true
}

/// Runs the closures as threads of a model, the last one on the model's main thread, and joins them.
fn together<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N], here: impl FnOnce()) {
    let threads = threads.map(|thread| loom::thread::spawn(thread));
    here();
    for thread in threads {
        thread.join().expect("a thread of a model does not panic");
    }
}
