//! Peers that a trim is about, and what becomes of them meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use connmgr::{CloseReason, Connection, Direction};

use super::{MEANWHILE, Manager};
use crate::reference::Standing;

const VALUE: &str = "value";
const SHIELD: &str = "shield";

/// A connection. Clones are the same.
#[derive(Clone, Debug)]
pub struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    direction: Direction,
    streams: Option<usize>,
    closes: AtomicUsize,
}

impl Line {
    pub fn new(id: u64, direction: Direction, streams: Option<usize>) -> Self {
        Self(Arc::new(Inner { id, direction, streams, closes: AtomicUsize::new(0) }))
    }

    fn decode(u: &mut Unstructured<'_>, id: u64) -> Result<Self> {
        let direction = if u.arbitrary()? { Direction::Inbound } else { Direction::Outbound };
        let streams = *u.choose(&[None, Some(0), Some(1), Some(2), Some(usize::MAX)])?;
        Ok(Self::new(id, direction, streams))
    }

    pub fn closes(&self) -> usize {
        self.0.closes.load(Ordering::Relaxed)
    }
}

impl Connection for Line {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0.id
    }

    fn remote_addr(&self) -> String {
        String::new()
    }

    fn direction(&self) -> Direction {
        self.0.direction
    }

    fn stream_count(&self) -> Option<usize> {
        if let Some(meanwhile) = MEANWHILE.take() {
            meanwhile();
        }
        self.0.streams
    }

    fn close(&self, _: CloseReason) {
        self.0.closes.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connected peer.
#[derive(Clone, Debug)]
pub struct Member {
    pub peer: u64,
    pub value: i64,
    pub protected: bool,
    /// Whether it came at 2 s, and not at 1 s.
    late: bool,
    /// Its connections.
    pub lines: Vec<Line>,
    /// Those it ever had.
    pub every: Vec<Line>,
}

impl Member {
    pub fn decode(u: &mut Unstructured<'_>, peer: u64) -> Result<Self> {
        let value = match u.arbitrary::<u8>()? {
            // Many ties.
            byte @ 0..200 => i64::from(byte % 5),
            200..220 => connmgr::MIN_WEIGHT,
            220..240 => connmgr::MAX_WEIGHT,
            byte => -i64::from(byte),
        };
        let (protected, late) = (u.ratio(1_u8, 4)?, u.ratio(1_u8, 4)?);
        let lines: Vec<_> =
            (0..u.int_in_range(1..=3)?).map(|id| Line::decode(u, id)).collect::<Result<_>>()?;
        let every = lines.clone();
        Ok(Self { peer, value, protected, late, lines, every })
    }

    /// Tells the manager of it.
    pub fn enter(&self, manager: &Manager) {
        self.lines.iter().for_each(|line| manager.connected(&self.peer, line.clone()));
        manager.tag_peer(&self.peer, VALUE, self.value);
        if self.protected {
            let _ = manager.protect(&self.peer, SHIELD);
        }
    }

    /// When it came.
    pub fn came(&self) -> Duration {
        Duration::from_secs(if self.late { 2 } else { 1 })
    }

    pub fn standing(&self, in_grace: bool) -> Standing {
        Standing {
            peer: self.peer,
            value: self.value,
            protected: self.protected,
            in_grace,
            open: self.lines.iter().map(|line| (line.0.direction, line.0.streams)).collect(),
        }
    }

    /// Those of the connections it had at first that it has still.
    pub fn kept(&self, at_first: usize) -> Vec<&Line> {
        let had = &self.every[..at_first];
        self.lines.iter().filter(|line| had.iter().any(|other| Arc::ptr_eq(&line.0, &other.0))).collect()
    }
}

/// What happens to a peer while it may be chosen.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Protect,
    Unprotect,
    Value(i64),
    /// Its oldest connection goes, if it has others.
    Lose,
    /// All its connections go, and one comes.
    Return,
    /// One more comes.
    Gain,
}

/// What a manager is told of a change.
#[derive(Clone, Debug)]
pub enum Event {
    Protect,
    Unprotect,
    Value(i64),
    Disconnected(u64),
    Connected(Line),
}

impl Change {
    pub fn decode(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.int_in_range(0..=5_u8)? {
            0 => Self::Protect,
            1 => Self::Unprotect,
            2 => Self::Value(i64::from(u.arbitrary::<i8>()? % 10)),
            3 => Self::Lose,
            4 => Self::Return,
            _ => Self::Gain,
        })
    }

    /// What it makes of `member`, and what the manager is to be told.
    pub fn note(self, member: &mut Member) -> Vec<Event> {
        let gain = |member: &mut Member| {
            let line = Line::new(member.every.len() as u64, Direction::Inbound, None);
            member.lines.push(line.clone());
            member.every.push(line.clone());
            Event::Connected(line)
        };
        match self {
            Self::Protect => {
                member.protected = true;
                vec![Event::Protect]
            }
            Self::Unprotect => {
                member.protected = false;
                vec![Event::Unprotect]
            }
            Self::Value(value) => {
                member.value = value;
                vec![Event::Value(value)]
            }
            Self::Lose if member.lines.len() > 1 => vec![Event::Disconnected(member.lines.remove(0).0.id)],
            Self::Lose => Vec::new(),
            Self::Return => {
                let mut events: Vec<_> =
                    member.lines.drain(..).map(|line| Event::Disconnected(line.0.id)).collect();
                // With the last one went the tags.
                member.value = 0;
                events.push(gain(member));
                events
            }
            Self::Gain => vec![gain(member)],
        }
    }
}

impl Event {
    pub fn tell(&self, manager: &Manager, peer: u64) {
        match self {
            Self::Protect => {
                let _ = manager.protect(&peer, SHIELD);
            }
            Self::Unprotect => {
                manager.unprotect(&peer, SHIELD);
            }
            Self::Value(value) => manager.tag_peer(&peer, VALUE, *value),
            Self::Disconnected(id) => manager.disconnected(&peer, id),
            Self::Connected(line) => manager.connected(&peer, line.clone()),
        }
    }
}
