//! The OS threads that tag peers without pause, as protocols do for every message they see.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use connmgr::swarm::Manager;
use libp2p::PeerId;

use crate::rng::Rng;

/// The most that all the tags written here can add to a peer's value, with as many threads as
/// the command line allows.
pub(crate) const MOST: i64 = 64 * SCORE_MOST + FRESHNESS_MOST;

const SCORE_MOST: i64 = 100;
const FRESHNESS_MOST: i64 = 50;

/// Updates between two looks at the roster and the stop flag.
const BATCH: u64 = 256;

/// The hub's connected peers. The hub replaces the list, the taggers read it once per batch.
#[derive(Default)]
pub(crate) struct Roster(Mutex<Arc<[PeerId]>>);

impl Roster {
    pub(crate) fn replace(&self, peers: Arc<[PeerId]>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    fn current(&self) -> Arc<[PeerId]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running threads. Dropping it tells them to stop.
pub(crate) struct Taggers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    updates: Arc<AtomicU64>,
}

impl Taggers {
    /// Starts `count` threads.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread; the ones already running are told to stop.
    pub(crate) fn start(count: usize, manager: &Arc<Manager>, roster: &Arc<Roster>) -> io::Result<Self> {
        let mut taggers =
            Self { threads: Vec::with_capacity(count), stop: Arc::default(), updates: Arc::default() };
        for number in 0..count {
            let work = Work {
                number,
                manager: Arc::clone(manager),
                roster: Arc::clone(roster),
                stop: Arc::clone(&taggers.stop),
                updates: Arc::clone(&taggers.updates),
            };
            let thread = thread::Builder::new().name(format!("tagger-{number}")).spawn(move || work.run())?;
            taggers.threads.push(thread);
        }
        Ok(taggers)
    }

    /// Updates made so far, by all threads.
    pub(crate) fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    /// Tells the threads to stop, without waiting for them.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn are_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Takes the threads' results, once [`are_finished`](Self::are_finished): whether all of
    /// them ended without a panic.
    pub(crate) fn join(&mut self) -> bool {
        // Every thread is joined, also those after one that panicked.
        let results: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        results.iter().all(Result::is_ok)
    }
}

impl Drop for Taggers {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Work {
    number: usize,
    manager: Arc<Manager>,
    roster: Arc<Roster>,
    stop: Arc<AtomicBool>,
    updates: Arc<AtomicU64>,
}

impl Work {
    fn run(self) {
        // A tag that is written often is resolved once: no look-up by name on the hot path.
        let score = self.manager.tag(&format!("protocol-{}/score", self.number));
        let freshness = self.manager.tag("freshness");
        let mut rng = Rng::new(self.number as u64);

        while !self.stop.load(Ordering::Relaxed) {
            let peers = self.roster.current();
            if peers.is_empty() {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            for update in 0..BATCH {
                let peer = &peers[rng.below(peers.len())];
                if update % 16 == 0 {
                    let value = rng.below(FRESHNESS_MOST as usize + 1) as i64;
                    self.manager.tag_peer(peer, &freshness, value);
                } else {
                    let step = rng.below(5) as i64 - 2;
                    self.manager.upsert_tag(peer, &score, |old| (old + step).clamp(0, SCORE_MOST));
                }
            }
            self.updates.fetch_add(BATCH, Ordering::Relaxed);
        }
    }
}
