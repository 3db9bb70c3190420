//! Random programs on real threads, and the record of what they did.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;

use connmgr::{ConnInfo, PeerHandle, PeerView, SpareReason, TrimReport};

use super::cuts::COUNTERS;
use super::history::{
    CONNS, CutRecord, Event, Held, History, PROTECTIONS, Record, Shape, Stamps, TAGS, protection_name,
    protection_of, tag_name, tag_of,
};
use super::world::{self, Dice, Id, Link, Manager, dawdle, pause, set_dice, take_closed};

/// What a thread may do next.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Upsert,
    /// An upsert whose closure reads another counter.
    Copy,
    Set,
    Untag,
    TagValue,
    TagInfo,
    Protect,
    Unprotect,
    IsProtected,
    Connect,
    Disconnect,
    Snapshot,
    Trim,
    ForceTrim,
}

/// What programs are made of: each kind of operation with its weight.
pub struct Mix {
    pub kinds: &'static [(Kind, u64)],
    /// All tags but the last are counters: raised by one, and never cleared.
    pub counters: bool,
}

/// How many operations a history has, over all threads.
const OPERATIONS: usize = 36;

/// What threads share.
struct World {
    manager: Manager,
    stamps: Arc<Stamps>,
    serials: AtomicU16,
    peers: usize,
    counters: bool,
}

/// Runs the programs of one history.
pub fn run(mix: &Mix, seed: u64, number: u64) -> History {
    let mut dice = Dice::new(seed, number, 0);
    let (threads, peers) = (2 + dice.below(7), 1 + dice.below(3));
    let world = World {
        manager: world::manager(),
        stamps: Arc::default(),
        serials: AtomicU16::new(0),
        peers,
        counters: mix.counters,
    };
    let arrived = AtomicUsize::new(0);
    let mut first = Worker::new(&world, 0, dice);
    first.set_up();
    let (world_of, arrived) = (&world, &arrived);
    let histories: Vec<History> = thread::scope(|scope| {
        let spawn = |thread| {
            scope.spawn(move || {
                let mut worker = Worker::new(world_of, thread, Dice::new(seed, number, thread as u64));
                arrived.fetch_add(1, Ordering::AcqRel);
                while arrived.load(Ordering::Acquire) < threads {
                    thread::yield_now();
                    hint::spin_loop();
                }
                (0..OPERATIONS / threads).for_each(|_| worker.act(mix));
                worker.history
            })
        };
        let workers: Vec<_> = (1..=threads).map(spawn).collect();
        workers.into_iter().map(|worker| worker.join().expect("a program does not panic")).collect()
    });
    for mut history in histories {
        first.history.records.append(&mut history.records);
        first.history.cuts.append(&mut history.cuts);
        first.history.faults.append(&mut history.faults);
    }
    first.finish()
}

struct Worker<'w> {
    world: &'w World,
    thread: usize,
    dice: Dice,
    history: History,
    /// A handle to each peer, kept for as long as the thread runs.
    handles: Vec<PeerHandle<'w, Id, Link>>,
}

impl<'w> Worker<'w> {
    fn new(world: &'w World, thread: usize, mut dice: Dice) -> Self {
        set_dice(&mut dice);
        let handles = (0..world.peers).map(|peer| world.manager.peer(&Id(peer))).collect();
        Self { world, thread, dice, history: History::default(), handles }
    }

    /// What there is before the threads start.
    fn set_up(&mut self) {
        for peer in 0..self.world.peers {
            for id in 0..CONNS {
                if self.dice.roll(2) == 0 {
                    self.connect(peer, id);
                }
            }
            if self.dice.roll(2) == 0 {
                self.set(peer, TAGS - 1);
            }
        }
    }

    /// What there is when they have ended, and what has to be true of it.
    fn finish(mut self) -> History {
        (0..self.world.peers).for_each(|peer| self.tag_info(peer));
        self.snapshot();
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

    fn act(&mut self, mix: &Mix) {
        if self.dice.roll(3) == 0 {
            pause();
        }
        let all = mix.kinds.iter().map(|(_, weight)| weight).sum();
        let mut rolled = self.dice.roll(all);
        let kind = mix.kinds.iter().find(|(_, weight)| match rolled.checked_sub(*weight) {
            Some(rest) => {
                rolled = rest;
                false
            }
            None => true,
        });
        let (kind, _) = kind.expect("the roll is below the sum of the weights");
        let (peer, name, id) =
            (self.dice.below(self.world.peers), self.dice.below(PROTECTIONS), self.dice.below(CONNS));
        // Where there are counters, what is set and removed is the one tag that is none.
        let loose = if self.world.counters { COUNTERS } else { self.dice.below(TAGS) };
        let written = if self.world.counters { self.dice.below(COUNTERS) } else { loose };
        match kind {
            Kind::Upsert => self.upsert(peer, written),
            Kind::Copy => self.copy(peer, written),
            Kind::Set => self.set(peer, loose),
            Kind::Untag => self.untag(peer, loose),
            Kind::TagValue => self.tag_value(peer, written),
            Kind::TagInfo => self.tag_info(peer),
            Kind::Protect => self.protect(peer, name),
            Kind::Unprotect => self.unprotect(peer, name),
            Kind::IsProtected => self.is_protected(peer),
            Kind::Connect => self.connect(peer, id),
            Kind::Disconnect => {
                self.record(
                    peer,
                    |world| world.manager.disconnected(&Id(peer), &id),
                    |()| Event::Disconnected { id },
                );
            }
            Kind::Snapshot => self.snapshot(),
            Kind::Trim => self.trim(false),
            Kind::ForceTrim => self.trim(true),
        }
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

    /// Whether to call the peer's handle instead of the manager.
    fn by_handle(&mut self) -> bool {
        self.dice.roll(3) == 0
    }

    fn upsert(&mut self, peer: usize, tag: usize) {
        let add = if self.world.counters { 1 } else { 1 + self.dice.roll(5) as i64 };
        let more = |value| {
            pause();
            value + add
        };
        let (interval, to) = if self.by_handle() {
            self.timed(|_| self.handles[peer].upsert_tag(tag_name(tag), more))
        } else {
            self.timed(|world| world.manager.upsert_tag(&Id(peer), tag_name(tag), more))
        };
        self.push(peer, interval, Event::Upsert { tag, add, to });
    }

    /// Raises a counter, having read another.
    fn copy(&mut self, peer: usize, tag: usize) {
        let other = (self.dice.below(self.world.peers), self.dice.below(COUNTERS));
        if other == (peer, tag) {
            return self.upsert(peer, tag);
        }
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

    fn set(&mut self, peer: usize, tag: usize) {
        let to = self.dice.roll(100) as i64;
        let call = |world: &World| world.manager.tag_peer(&Id(peer), tag_name(tag), to);
        self.record(peer, call, |()| Event::Set { tag, to });
    }

    fn untag(&mut self, peer: usize, tag: usize) {
        let call = |world: &World| world.manager.untag_peer(&Id(peer), tag_name(tag));
        self.record(peer, call, |()| Event::Untag { tag });
    }

    fn tag_value(&mut self, peer: usize, tag: usize) {
        let (interval, value) = if self.by_handle() {
            self.timed(|_| self.handles[peer].tag_value(tag_name(tag)))
        } else {
            self.timed(|world| world.manager.tag_value(&Id(peer), tag_name(tag)))
        };
        self.push(peer, interval, Event::TagValue { tag, value });
    }

    fn tag_info(&mut self, peer: usize) {
        let (interval, info) = self.timed(|world| world.manager.tag_info(&Id(peer)));
        let conns = info.as_ref().map_or(&[][..], |info| &info.conns);
        let tags = info.iter().flat_map(|info| &info.tags).map(|(name, value)| (tag_of(name), *value));
        let tags: Vec<_> = tags.collect();
        self.history.records.extend(self.found(peer, interval, &tags, conns, None));
        if info.as_ref().is_some_and(|info| info.value != info.tags.values().sum()) {
            self.history.faults.push(format!("a value that is not the sum of its tags: {info:?}"));
        }
    }

    fn protect(&mut self, peer: usize, name: usize) {
        let call = |world: &World| world.manager.protect(&Id(peer), protection_name(name));
        self.record(peer, call, |found| Event::Protect { name, found });
    }

    fn unprotect(&mut self, peer: usize, name: usize) {
        let call = |world: &World| world.manager.unprotect(&Id(peer), protection_name(name));
        self.record(peer, call, |still| Event::Unprotect { name, still });
    }

    fn is_protected(&mut self, peer: usize) {
        let name = Some(self.dice.below(PROTECTIONS + 1)).filter(|&name| name < PROTECTIONS);
        let call = |world: &World| world.manager.is_protected(&Id(peer), name.map(protection_name));
        self.record(peer, call, |is| Event::IsProtected { name, is });
    }

    fn connect(&mut self, peer: usize, id: usize) {
        let serial = self.world.serials.fetch_add(1, Ordering::Relaxed);
        let link = Link { peer, id, serial, stamps: Arc::clone(&self.world.stamps) };
        let call = |world: &World| world.manager.connected(&Id(peer), link);
        self.record(peer, call, |()| Event::Connected { id, serial });
    }

    /// Takes a snapshot and reads every peer of it, in some order, in one of both ways.
    fn snapshot(&mut self) {
        let world = self.world;
        let (first, listed) = (self.dice.below(world.peers), self.dice.roll(2) == 0);
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

    fn trim(&mut self, force: bool) {
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
