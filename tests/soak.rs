//! What has gone is given back, however much of it has come and gone: bytes are counted by the allocator, ids and connections
//! as they are made and dropped.
//!
//! Peers with ids that were never seen before come and go, on threads that come and go, beside snapshots that are held for a while; the
//! table grows and shrinks with them. `CONNMGR_SOAK_PEERS` says how many (`ci/soak.sh` asks for millions).

mod counting;

use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use connmgr::{BasicConnManager, CloseReason, Connection, Direction, ManualClock};
use counting::BYTES;

/// Things made and dropped, and things that were dropped when they were not alive.
struct Tally {
    made: AtomicU64,
    dropped: AtomicU64,
    dead: AtomicU64,
}

static IDS: Tally = Tally::new();
static CONNS: Tally = Tally::new();

impl Tally {
    const fn new() -> Self {
        Self { made: AtomicU64::new(0), dropped: AtomicU64::new(0), dead: AtomicU64::new(0) }
    }

    fn alive(&self) -> i64 {
        let dropped = self.dropped.load(Ordering::Relaxed);
        self.made.load(Ordering::Relaxed) as i64 - dropped as i64
    }
}

/// Something that is counted, and knows whether it is alive.
struct Counted(&'static Tally, u64);

const ALIVE: u64 = 0x616c_6976_6521_2121;

impl Counted {
    fn new(tally: &'static Tally) -> Self {
        tally.made.fetch_add(1, Ordering::Relaxed);
        Self(tally, ALIVE)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if std::mem::replace(&mut self.1, 0) != ALIVE {
            self.0.dead.fetch_add(1, Ordering::Relaxed);
        }
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A peer id, on the heap as ids are.
struct Id(Box<u64>, #[expect(dead_code, reason = "for its drop")] Counted);

impl Id {
    fn new(number: u64) -> Self {
        Self(Box::new(number), Counted::new(&IDS))
    }
}

impl Clone for Id {
    fn clone(&self) -> Self {
        Self::new(*self.0)
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Id {}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

struct Conn(u64, #[expect(dead_code, reason = "for its drop")] Counted);

impl Connection for Conn {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0
    }

    fn remote_addr(&self) -> String {
        String::new()
    }

    fn direction(&self) -> Direction {
        Direction::Inbound
    }

    fn stream_count(&self) -> Option<usize> {
        None
    }

    fn close(&self, _: CloseReason) {}
}

type Manager = BasicConnManager<Id, Conn>;

fn manager(clock: &ManualClock) -> Manager {
    Manager::builder().background(false).clock(clock.clone()).build().expect("a valid configuration")
}

/// Peers that are there at once, at the height of a round.
const CROWD: u64 = 10_000;
/// Threads of a round, each with its share of the crowd.
const THREADS: u64 = 4;
/// What may stay, beyond what an empty manager needs: the least table, and what a collection leaves behind.
const SLACK: i64 = 512 << 10;

/// One thread's share of a round: its peers come, all of them, and go; some only had a tag, and expire later.
fn come_and_go(manager: &Manager, ids: std::ops::Range<u64>) {
    for number in ids.clone() {
        let id = Id::new(number);
        if number % 8 != 0 {
            for conn in 0..1 + number % 3 {
                manager.connected(&id, Conn(conn, Counted::new(&CONNS)));
            }
        }
        manager.upsert_tag(&id, "score", |score| score + 1);
        if number % 16 == 1 {
            let _ = manager.protect(&id, "shield");
        }
    }
    for number in ids {
        let id = Id::new(number);
        manager.upsert_tag(&id, "score", |score| score + 1);
        manager.tag_peer(&id, "seen", 1);
        if number % 16 == 1 {
            assert!(!manager.unprotect(&id, "shield"), "the only protection");
        }
        if number % 8 != 0 {
            for conn in 0..1 + number % 3 {
                manager.disconnected(&id, &conn);
            }
        }
    }
}

/// Rounds of distinct peers under one manager, until `peers` have been there.
fn soak(peers: u64) {
    let clock = ManualClock::new();
    let manager = manager(&clock);
    let empty = BYTES.load(Ordering::Relaxed);
    for round in 0..peers.div_ceil(CROWD) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|worker| {
                    let first = round * CROWD + worker * (CROWD / THREADS);
                    let manager = &manager;
                    scope.spawn(move || come_and_go(manager, first..first + CROWD / THREADS))
                })
                .collect();
            let reader = scope.spawn(|| {
                // Held while others work, one after the other.
                while !over.load(Ordering::Acquire) {
                    let snapshot = manager.snapshot();
                    let first = snapshot.iter().count();
                    assert!(first <= CROWD as usize, "{first} peers of {CROWD} in round {round}");
                    thread::yield_now();
                    assert!(snapshot.iter().count() <= CROWD as usize, "read again");
                }
            });
            for worker in workers {
                worker.join().expect("no panic");
            }
            over.store(true, Ordering::Release);
            // The end of the scope alone does not wait until a thread has unpinned for the last time.
            reader.join().expect("no panic");
        });
        clock.advance(Duration::from_secs(100));
        let report = manager.trim_open_conns();
        assert_eq!(report.expired as u64, CROWD / 8, "who never connected expires, round {round}");
        drop(report);
        let info = manager.info();
        assert_eq!(info.connections, 0, "all have gone, round {round}");
        let left = BYTES.load(Ordering::Relaxed) - empty;
        assert!(left <= SLACK, "{left} bytes are left with no peer, in round {round}");
    }
    drop(manager);
}

#[test]
fn what_has_gone_is_given_back_and_dropped_once() {
    let peers = env::var("CONNMGR_SOAK_PEERS").map_or(200_000, |peers| peers.parse().expect("a number"));
    soak(peers);
    // The end of a snapshot collects what is left, in this process whose threads are all gone.
    for _ in 0..1_000 {
        if (IDS.alive(), CONNS.alive()) == (0, 0) {
            break;
        }
        drop(manager(&ManualClock::new()).snapshot());
    }
    for (what, tally) in [("ids", &IDS), ("connections", &CONNS)] {
        let (made, dropped) = (tally.made.load(Ordering::Relaxed), tally.dropped.load(Ordering::Relaxed));
        assert_eq!(made, dropped, "{what} made and dropped");
        assert_eq!(tally.dead.load(Ordering::Relaxed), 0, "{what} dropped twice");
        assert!(made >= peers, "{what} were made");
        println!("{made} {what} made and dropped");
    }
}
