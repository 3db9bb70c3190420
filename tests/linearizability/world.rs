//! What a manager is given here: ids, connections, a clock and a policy that now and then let other threads go first.
//!
//! All of them are called in the middle of operations, some between a load and the swap that depends on it. Pausing there makes
//! threads meet far more often than they would by chance, and more so with more threads than cores.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::history::Stamps;
use super::pauses::{dawdle, note_closed, pause};
use super::subject::{
    BasicConnManager, Builder, ByValue, Candidate, Census, Clock, CloseReason, Connection, Direction, Rank,
    TrimPolicy,
};

pub type Manager = BasicConnManager<Id, Link>;

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
        note_closed(self.peer, self.serial, self.stamps.next());
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

/// For a manager whose trims leave one connection, and remove temporary records at once.
pub fn builder() -> Builder<Id, Link> {
    BasicConnManager::builder()
        .low_water(1)
        .high_water(2)
        .grace_period(Duration::ZERO)
        .clock(Still)
        .policy(Hesitant)
        .background(false)
}
