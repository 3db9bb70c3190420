//! What a thread does to a manager, and the record of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::history::{
    CutRecord, Event, Held, History, Record, Shape, Stamps, TAGS, protection_name, protection_of, tag_name,
    tag_of,
};
use super::pauses::{dawdle, pause, take_closed};
use super::subject::{ConnInfo, PeerHandle, PeerView, SpareReason, TrimReport};
use super::world::{Id, Link, Manager};

/// What threads share.
pub struct World {
    pub manager: Manager,
    stamps: Arc<Stamps>,
    serials: AtomicU16,
    pub peers: usize,
    counters: bool,
}

impl World {
    /// A manager and `peers` peers that histories are about. With `counters`, all tags but the last are counters: raised by one,
    /// and never cleared.
    pub fn new(manager: Manager, peers: usize, counters: bool) -> Self {
        Self { manager, stamps: Arc::default(), serials: AtomicU16::new(0), peers, counters }
    }
}

/// One thread.
pub struct Recorder<'w> {
    world: &'w World,
    thread: usize,
    pub history: History,
    /// A handle to each peer, kept for as long as the thread runs.
    handles: Vec<PeerHandle<'w, Id, Link>>,
}

impl<'w> Recorder<'w> {
    pub fn new(world: &'w World, thread: usize) -> Self {
        let handles = (0..world.peers).map(|peer| world.manager.peer(&Id(peer))).collect();
        Self { world, thread, history: History::default(), handles }
    }

    /// What there is when they have ended, and what has to be true of it.
    pub fn finish(mut self) -> History {
        (0..self.world.peers).for_each(|peer| self.tag_info(peer));
        self.snapshot(0, true);
        let snapshot = self.world.manager.snapshot();
        let held: usize = snapshot.iter().map(|view| view.connections()).sum();
        let closing = snapshot.iter().flat_map(|view| view.conns()).filter(|conn| conn.closing).count();
        let info = self.world.manager.info();
        if (info.connections, info.closing) != (held, closing) {
            let counted = format!("{} connections, {} closing", info.connections, info.closing);
            self.history.faults.push(format!("counted {counted}; there are {held}, {closing} closing"));
        }
        self.history
    }

    fn timed<T>(&self, call: impl FnOnce(&'w World) -> T) -> ((u64, u64), T) {
        let from = self.world.stamps.next();
        let result = call(self.world);
        ((from, self.world.stamps.next()), result)
    }

    /// Records an operation on one peer.
    fn record<T>(&mut self, peer: usize, call: impl FnOnce(&'w World) -> T, event: impl FnOnce(T) -> Event) {
        let (interval, result) = self.timed(call);
        self.push(peer, interval, event(result));
    }

    fn push(&mut self, peer: usize, interval: (u64, u64), event: Event) -> &mut Record {
        self.history.records.push(Record::new(self.thread, peer, interval, event));
        self.history.records.last_mut().expect("just put there")
    }

    pub fn upsert(&mut self, peer: usize, tag: usize, add: i64, by_handle: bool) {
        let more = |value| {
            pause();
            value + add
        };
        let (interval, to) = if by_handle {
            self.timed(|_| self.handles[peer].upsert_tag(tag_name(tag), more))
        } else {
            self.timed(|world| world.manager.upsert_tag(&Id(peer), tag_name(tag), more))
        };
        self.push(peer, interval, Event::Upsert { tag, add, to });
    }

    /// Raises a counter, having read another.
    pub fn copy(&mut self, peer: usize, tag: usize, other: (usize, usize)) {
        let mut saw = 0;
        let (interval, to) = self.timed(|world| {
            world.manager.upsert_tag(&Id(peer), tag_name(tag), |value| {
                dawdle();
                saw = world.manager.tag_value(&Id(other.0), tag_name(other.1)).unwrap_or(0);
                value + 1
            })
        });
        self.push(peer, interval, Event::Upsert { tag, add: 1, to }).saw = Some((other.0, other.1, saw));
    }

    pub fn set(&mut self, peer: usize, tag: usize, to: i64) {
        let call = |world: &World| world.manager.tag_peer(&Id(peer), tag_name(tag), to);
        self.record(peer, call, |()| Event::Set { tag, to });
    }

    pub fn untag(&mut self, peer: usize, tag: usize) {
        let call = |world: &World| world.manager.untag_peer(&Id(peer), tag_name(tag));
        self.record(peer, call, |()| Event::Untag { tag });
    }

    pub fn tag_value(&mut self, peer: usize, tag: usize, by_handle: bool) {
        let (interval, value) = if by_handle {
            self.timed(|_| self.handles[peer].tag_value(tag_name(tag)))
        } else {
            self.timed(|world| world.manager.tag_value(&Id(peer), tag_name(tag)))
        };
        self.push(peer, interval, Event::TagValue { tag, value });
    }

    pub fn tag_info(&mut self, peer: usize) {
        let (interval, info) = self.timed(|world| world.manager.tag_info(&Id(peer)));
        let conns = info.as_ref().map_or(&[][..], |info| &info.conns);
        let tags = info.iter().flat_map(|info| &info.tags).map(|(name, value)| (tag_of(name), *value));
        let tags: Vec<_> = tags.collect();
        self.history.records.extend(self.found(peer, interval, &tags, conns, None));
        if info.as_ref().is_some_and(|info| info.value != info.tags.values().sum()) {
            self.history.faults.push(format!("a value that is not the sum of its tags: {info:?}"));
        }
    }

    pub fn protect(&mut self, peer: usize, name: usize) {
        let call = |world: &World| world.manager.protect(&Id(peer), protection_name(name));
        self.record(peer, call, |found| Event::Protect { name, found });
    }

    pub fn unprotect(&mut self, peer: usize, name: usize) {
        let call = |world: &World| world.manager.unprotect(&Id(peer), protection_name(name));
        self.record(peer, call, |still| Event::Unprotect { name, still });
    }

    pub fn is_protected(&mut self, peer: usize, name: Option<usize>) {
        let call = |world: &World| world.manager.is_protected(&Id(peer), name.map(protection_name));
        self.record(peer, call, |is| Event::IsProtected { name, is });
    }

    pub fn connect(&mut self, peer: usize, id: usize) {
        let serial = self.world.serials.fetch_add(1, Ordering::Relaxed);
        let link = Link { peer, id, serial, stamps: Arc::clone(&self.world.stamps) };
        let call = |world: &World| world.manager.connected(&Id(peer), link);
        self.record(peer, call, |()| Event::Connected { id, serial });
    }

    pub fn disconnect(&mut self, peer: usize, id: usize) {
        let call = |world: &World| world.manager.disconnected(&Id(peer), &id);
        self.record(peer, call, |()| Event::Disconnected { id });
    }

    /// Takes a snapshot and reads every peer of it: listed as they come, or each looked up, from `first` on.
    pub fn snapshot(&mut self, first: usize, listed: bool) {
        let world = self.world;
        let mut records = Vec::new();
        let mut seen = Vec::new();
        let from = world.stamps.next();
        let snapshot = world.manager.snapshot();
        let taken = world.stamps.next();
        dawdle();
        let mut read = |peer: usize, view: Option<PeerView<'_, Id, Link>>| {
            let tags = view.iter().flat_map(PeerView::tags).inspect(|_| pause());
            let tags: Vec<_> = tags.map(|(name, value)| (tag_of(&name), value)).collect();
            let conns: Vec<_> = view.iter().flat_map(PeerView::conns).collect();
            let protections = view.iter().flat_map(PeerView::protections);
            let protections = protections.fold(0, |bits, name| bits | 1 << protection_of(&name));
            let interval = (from, world.stamps.next());
            let found = self.found(peer, interval, &tags, &conns, Some(protections));
            records.extend(found.into_iter().map(|record| Record { taken: Some(taken), ..record }));
            let mut values = [None; TAGS];
            tags.iter().for_each(|(tag, value)| values[*tag] = Some(*value));
            seen.push((peer, values));
        };
        if !listed {
            for peer in (0..world.peers).map(|peer| (first + peer) % world.peers) {
                pause();
                read(peer, snapshot.get(&Id(peer)));
            }
        } else {
            let mut missing: Vec<usize> = (0..world.peers).collect();
            for view in snapshot.iter() {
                pause();
                missing.retain(|peer| *peer != view.peer().0);
                read(view.peer().0, Some(view));
            }
            missing.into_iter().for_each(|peer| read(peer, None));
        }
        if seen.len() != world.peers {
            self.history.faults.push(format!("a snapshot lists a peer twice: {seen:?}"));
        }
        let to = world.stamps.next();
        self.history.records.append(&mut records);
        // Which updates a snapshot holds is told by counters alone.
        if world.counters {
            self.history.cuts.push(CutRecord { thread: self.thread, from, taken, to, seen });
        }
    }

    /// What a reader found: one structure, and in it each value at an instant of its own.
    fn found(
        &self,
        peer: usize,
        interval: (u64, u64),
        tags: &[(usize, i64)],
        conns: &[ConnInfo],
        protections: Option<u8>,
    ) -> Vec<Record> {
        let mut shape = Shape { protections, ..Shape::default() };
        shape.tags = tags.iter().fold(0, |bits, (tag, _)| bits | 1 << tag);
        for conn in conns {
            let (id, serial) = (conn.id.parse::<usize>(), conn.remote_addr.parse());
            let held = Held { serial: serial.expect("a serial"), closing: conn.closing };
            shape.conns[id.expect("an id")] = Some(held);
        }
        let values = tags.iter().map(|&(tag, value)| Event::ValueIn { shape, tag, value });
        let events = [Event::Structure { shape }].into_iter().chain(values);
        events.map(|event| Record::new(self.thread, peer, interval, event)).collect()
    }

    pub fn trim(&mut self, force: bool) {
        let (interval, report) = self.timed(|world| match force {
            true => world.manager.force_trim(),
            false => world.manager.trim_open_conns(),
        });
        let closed = take_closed();
        if report.joined {
            // Whoever ran it records it.
            return;
        }
        self.check_report(&report, &closed);
        for peer in &report.closed {
            let of_peer = || closed.iter().filter(|(owner, ..)| *owner == peer.peer.0);
            let serials: Vec<u16> = of_peer().map(|(_, serial, _)| *serial).collect();
            // It was claimed before it was closed.
            let until = of_peer().map(|(.., at)| *at).min().unwrap_or(interval.1);
            // Only in an emergency may it have been protected, whatever the report says.
            let event = Event::Claim { serials, value: peer.value, protected: force && peer.protected };
            self.push(peer.peer.0, (interval.0, until), event);
        }
        for spared in report.spared.iter().filter(|spared| spared.reason == SpareReason::Protected) {
            self.push(spared.peer.0, interval, Event::Spared);
        }
        if report.expired > 0 {
            for peer in 0..self.world.peers {
                self.push(peer, interval, Event::MayExpire);
            }
        }
    }

    /// What can be said of a trim without its history.
    fn check_report(&mut self, report: &TrimReport<Id>, closed: &[(usize, u16, u64)]) {
        let mut fault = |what: &str| {
            let (reported, cutoff) = (&report.closed, report.cutoff);
            self.history.faults.push(format!("{what}: {closed:?}, reported {reported:?} up to {cutoff:?}"));
        };
        if closed.len() != report.closed_connections || report.callback_panics != 0 {
            fault("as many connections were not closed as reported");
        }
        for peer in &report.closed {
            if closed.iter().filter(|(owner, ..)| *owner == peer.peer.0).count() != peer.connections {
                fault("as many connections of a peer were not closed as reported");
            }
            if Some(peer.value) > report.cutoff {
                fault("a peer was closed that was worth more than the cut-off");
            }
        }
    }
}
