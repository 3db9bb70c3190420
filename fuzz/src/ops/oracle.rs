//! What a manager is to answer, by one thread: plain collections, every operation a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use connmgr::testing::Loopback;
use connmgr::{ConnInfo, Connection, MAX_WEIGHT, MIN_WEIGHT, Protection, TagInfo, Target};

use crate::reference::{Standing, Task, Why};

/// What a manager is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub low: usize,
    pub high: usize,
    pub grace: Duration,
    pub policy: Target,
}

/// A connection that a peer holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub conn: Loopback,
    pub opened: Duration,
    pub closing: bool,
}

impl Held {
    fn info(&self) -> ConnInfo {
        ConnInfo {
            id: self.conn.id().to_string(),
            remote_addr: self.conn.remote_addr(),
            direction: self.conn.direction(),
            opened: time_of_day(self.opened),
            closing: self.closing,
            streams: self.conn.stream_count(),
        }
    }
}

/// A peer that is tagged, connected or protected.
#[derive(Clone, Default, Debug)]
pub struct Peer {
    pub first_seen: Duration,
    pub tags: BTreeMap<String, i64>,
    pub conns: Vec<Held>,
    pub protections: BTreeSet<String>,
}

impl Peer {
    fn is_nothing(&self) -> bool {
        self.tags.is_empty() && self.conns.is_empty() && self.protections.is_empty()
    }

    /// Tagged, and nothing else.
    fn is_expendable(&self) -> bool {
        !self.tags.is_empty() && self.conns.is_empty() && self.protections.is_empty()
    }

    pub fn value(&self) -> i64 {
        let exact: i128 = self.tags.values().map(|value| i128::from(*value)).sum();
        exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    pub fn conn_infos(&self) -> Vec<ConnInfo> {
        self.conns.iter().map(Held::info).collect()
    }
}

pub fn time_of_day(at: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + at
}

/// A manager as it ought to be.
#[derive(Clone, Debug)]
pub struct Oracle {
    pub settings: Settings,
    pub now: Duration,
    pub peers: BTreeMap<u64, Peer>,
    /// Names that have been written.
    pub names: BTreeSet<String>,
    pub ignored: u64,
    pub last_trim: Option<Duration>,
}

impl Oracle {
    pub fn new(settings: Settings) -> Self {
        let (peers, names) = (BTreeMap::new(), BTreeSet::new());
        Self { settings, now: Duration::ZERO, peers, names, ignored: 0, last_trim: None }
    }

    pub fn upsert(&mut self, peer: u64, tag: &str, upsert: impl Fn(i64) -> i64) -> i64 {
        self.names.insert(tag.to_owned());
        let entry = self.peers.entry(peer).or_default();
        if entry.tags.is_empty() && entry.conns.is_empty() {
            // A temporary record, from now on.
            entry.first_seen = self.now;
        }
        let value = entry.tags.entry(tag.to_owned()).or_insert(0);
        *value = upsert(*value).clamp(MIN_WEIGHT, MAX_WEIGHT);
        *value
    }

    pub fn untag(&mut self, peer: u64, tag: &str) {
        self.change(peer, |entry| entry.tags.remove(tag));
    }

    pub fn tag_value(&self, peer: u64, tag: &str) -> Option<i64> {
        self.peers.get(&peer)?.tags.get(tag).copied()
    }

    pub fn tag_info(&self, peer: u64) -> Option<TagInfo> {
        let known = self.peers.get(&peer).filter(|peer| !peer.tags.is_empty() || !peer.conns.is_empty())?;
        Some(TagInfo {
            first_seen: time_of_day(known.first_seen),
            value: known.value(),
            tags: known.tags.clone(),
            decaying: BTreeMap::new(),
            conns: known.conn_infos(),
        })
    }

    pub fn protect(&mut self, peer: u64, name: &str) -> Protection {
        self.names.insert(name.to_owned());
        let now = self.now;
        let entry = self.peers.entry(peer).or_insert_with(|| Peer { first_seen: now, ..Peer::default() });
        let new = entry.protections.insert(name.to_owned());
        match entry.conns.iter().any(|held| held.closing) {
            true => Protection::TooLate,
            false if new => Protection::Protected,
            false => Protection::AlreadyProtected,
        }
    }

    pub fn unprotect(&mut self, peer: u64, name: &str) -> bool {
        self.change(peer, |entry| entry.protections.remove(name));
        self.is_protected(peer, None)
    }

    pub fn is_protected(&self, peer: u64, name: Option<&str>) -> bool {
        self.peers.get(&peer).is_some_and(|peer| match name {
            Some(name) => peer.protections.contains(name),
            None => !peer.protections.is_empty(),
        })
    }

    pub fn connected(&mut self, peer: u64, conn: Loopback) {
        let entry = self.peers.entry(peer).or_default();
        if entry.conns.iter().any(|held| held.conn.id() == conn.id()) {
            self.ignored += 1;
            return;
        }
        if entry.conns.is_empty() {
            entry.first_seen = self.now;
        }
        entry.conns.push(Held { conn, opened: self.now, closing: false });
    }

    pub fn disconnected(&mut self, peer: u64, id: u64) {
        let found = self.change(peer, |entry| {
            let before = entry.conns.len();
            entry.conns.retain(|held| held.conn.id() != id);
            if before > 0 && entry.conns.is_empty() {
                entry.tags.clear();
            }
            before != entry.conns.len()
        });
        self.ignored += u64::from(found != Some(true));
    }

    /// Changes a peer that is known, which goes if nothing is left of it.
    fn change<T>(&mut self, peer: u64, change: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let entry = self.peers.get_mut(&peer)?;
        let changed = change(entry);
        if entry.is_nothing() {
            self.peers.remove(&peer);
        }
        Some(changed)
    }

    fn in_grace(&self, first_seen: Duration) -> bool {
        first_seen + self.settings.grace > self.now
    }

    /// Removes temporary records past their grace, and returns how many.
    pub fn expire(&mut self) -> usize {
        let before = self.peers.len();
        let (now, grace) = (self.now, self.settings.grace);
        self.peers.retain(|_, peer| !peer.is_expendable() || peer.first_seen + grace > now);
        before - self.peers.len()
    }

    /// What a trim has to do now.
    pub fn task(&self, why: Why) -> Task {
        let standing = |(&peer, entry): (&u64, &Peer)| {
            let open = entry.conns.iter().filter(|held| !held.closing);
            let open: Vec<_> = open.map(|held| (held.conn.direction(), held.conn.stream_count())).collect();
            (!open.is_empty()).then(|| Standing {
                peer,
                value: entry.value(),
                protected: !entry.protections.is_empty(),
                in_grace: self.in_grace(entry.first_seen),
                open,
            })
        };
        let peers = self.peers.iter().filter_map(standing).collect();
        Task::new(peers, self.settings.low, self.settings.policy, why)
    }

    /// Marks every open connection of `peer` as being closed.
    pub fn claim(&mut self, peer: u64) {
        let entry = self.peers.get_mut(&peer).expect("a peer that is closed is known");
        entry.conns.iter_mut().for_each(|held| held.closing = true);
    }

    pub fn connections(&self, which: impl Fn(&Held) -> bool) -> usize {
        self.peers.values().flat_map(|peer| &peer.conns).filter(|held| which(held)).count()
    }
}
