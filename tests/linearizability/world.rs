//! What a manager is given here: ids, connections, a clock and a policy that now and then let other threads go first.
//!
//! All of them are called in the middle of operations, some between a load and the swap that depends on it. Pausing there makes
//! threads meet far more often than they would by chance, and more so with more threads than cores.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::hint;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use connmgr::{
    BasicConnManager, ByValue, Candidate, Census, Clock, CloseReason, Connection, Direction, Rank, TrimPolicy,
};

use super::history::Stamps;

pub type Manager = BasicConnManager<Id, Link>;

/// Small, fast, and the same everywhere: splitmix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one thread of one history.
    pub fn new(seed: u64, number: u64, thread: u64) -> Self {
        let mut dice = Self(seed ^ number.rotate_left(20) ^ thread.rotate_left(50));
        dice.roll(1);
        dice
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % sides
    }

    pub fn below(&mut self, sides: usize) -> usize {
        self.roll(sides as u64) as usize
    }
}

thread_local! {
    /// What decides on this thread's pauses.
    static DICE: Cell<u64> = const { Cell::new(0) };
    /// The connections that this thread closed: peer, serial and when.
    static CLOSED: RefCell<Vec<(usize, u16, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Lets another thread go first, or catch up, or neither.
pub fn pause() {
    let mut dice = Dice(DICE.get());
    match dice.roll(12) {
        0 => thread::yield_now(),
        1 | 2 => (0..dice.roll(200)).for_each(|_| hint::spin_loop()),
        _ => {}
    }
    DICE.set(dice.0);
}

/// Lets others go first for as long as several of their operations take.
pub fn dawdle() {
    let mut dice = Dice(DICE.get());
    (0..dice.roll(4)).for_each(|_| thread::yield_now());
    DICE.set(dice.0);
}

/// Has the pauses of this thread follow from the seed.
pub fn set_dice(dice: &mut Dice) {
    DICE.set(dice.roll(u64::MAX));
}

/// What this thread has closed since it was asked last.
pub fn take_closed() -> Vec<(usize, u16, u64)> {
    CLOSED.take()
}

/// A peer id.
#[derive(Debug)]
pub struct Id(pub usize);

impl Clone for Id {
    fn clone(&self) -> Self {
        pause();
        Self(self.0)
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        pause();
        self.0 == other.0
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A connection that says when it is closed.
pub struct Link {
    pub peer: usize,
    pub id: usize,
    pub serial: u16,
    pub stamps: Arc<Stamps>,
}

impl Connection for Link {
    type Id = usize;

    fn id(&self) -> usize {
        self.id
    }

    /// The serial, by which a reader knows which connection it found.
    fn remote_addr(&self) -> String {
        self.serial.to_string()
    }

    fn direction(&self) -> Direction {
        Direction::Inbound
    }

    fn stream_count(&self) -> Option<usize> {
        pause();
        None
    }

    fn close(&self, _: CloseReason) {
        CLOSED.with_borrow_mut(|closed| closed.push((self.peer, self.serial, self.stamps.next())));
    }
}

/// A clock that stands still. It is read between the load of a peer's state and the swap of it.
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        pause();
        Duration::ZERO
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// A policy that lets others act between a trim's snapshot and its claims.
struct Hesitant;

impl TrimPolicy for Hesitant {
    fn target(&self, census: &Census) -> usize {
        dawdle();
        ByValue::exact().target(census)
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        ByValue::exact().rank(candidate)
    }
}

/// A manager whose trims leave one connection, and remove temporary records at once.
pub fn manager() -> Manager {
    BasicConnManager::builder()
        .low_water(1)
        .high_water(2)
        .grace_period(Duration::ZERO)
        .clock(Still)
        .policy(Hesitant)
        .background(false)
        .build()
        .expect("a valid configuration")
}
