//! Random programs on real threads.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::cuts::COUNTERS;
use super::history::{CONNS, History, PROTECTIONS, TAGS};
use super::pauses::{Dice, pause, set_dice};
use super::recorder::{Recorder, World};
use super::world;

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

/// Runs the programs of one history.
pub fn run(mix: &Mix, seed: u64, number: u64) -> History {
    let mut dice = Dice::new(seed, number, 0);
    let (threads, peers) = (2 + dice.below(7), 1 + dice.below(3));
    let manager = world::builder().build().expect("a valid configuration");
    let world = World::new(manager, peers, mix.counters);
    let arrived = AtomicUsize::new(0);
    let mut first = Worker::new(&world, 0, mix, dice);
    first.set_up();
    let (world_of, arrived) = (&world, &arrived);
    let histories: Vec<History> = thread::scope(|scope| {
        let spawn = |thread| {
            scope.spawn(move || {
                let mut worker = Worker::new(world_of, thread, mix, Dice::new(seed, number, thread as u64));
                arrived.fetch_add(1, Ordering::AcqRel);
                while arrived.load(Ordering::Acquire) < threads {
                    thread::yield_now();
                    hint::spin_loop();
                }
                (0..OPERATIONS / threads).for_each(|_| worker.act());
                worker.recorder.history
            })
        };
        let workers: Vec<_> = (1..=threads).map(spawn).collect();
        workers.into_iter().map(|worker| worker.join().expect("a program does not panic")).collect()
    });
    first.recorder.history.extend(histories);
    first.recorder.finish()
}

/// A thread that rolls dice for what it does.
struct Worker<'w> {
    recorder: Recorder<'w>,
    peers: usize,
    mix: &'w Mix,
    dice: Dice,
}

impl<'w> Worker<'w> {
    fn new(world: &'w World, thread: usize, mix: &'w Mix, mut dice: Dice) -> Self {
        set_dice(&mut dice);
        Self { recorder: Recorder::new(world, thread), peers: world.peers, mix, dice }
    }

    /// What there is before the threads start.
    fn set_up(&mut self) {
        for peer in 0..self.peers {
            for id in 0..CONNS {
                if self.dice.roll(2) == 0 {
                    self.recorder.connect(peer, id);
                }
            }
            if self.dice.roll(2) == 0 {
                self.set(peer, TAGS - 1);
            }
        }
    }

    fn act(&mut self) {
        if self.dice.roll(3) == 0 {
            pause();
        }
        let all = self.mix.kinds.iter().map(|(_, weight)| weight).sum();
        let mut rolled = self.dice.roll(all);
        let kind = self.mix.kinds.iter().find(|(_, weight)| match rolled.checked_sub(*weight) {
            Some(rest) => {
                rolled = rest;
                false
            }
            None => true,
        });
        let (kind, _) = kind.expect("the roll is below the sum of the weights");
        let (peer, name, id) =
            (self.dice.below(self.peers), self.dice.below(PROTECTIONS), self.dice.below(CONNS));
        // Where there are counters, what is set and removed is the one tag that is none.
        let loose = if self.mix.counters { COUNTERS } else { self.dice.below(TAGS) };
        let written = if self.mix.counters { self.dice.below(COUNTERS) } else { loose };
        // Whether to call the peer's handle instead of the manager.
        let by_handle = self.dice.roll(3) == 0;
        match kind {
            Kind::Upsert => self.upsert(peer, written, by_handle),
            Kind::Copy => {
                let other = (self.dice.below(self.peers), self.dice.below(COUNTERS));
                if other == (peer, written) {
                    self.upsert(peer, written, by_handle);
                } else {
                    self.recorder.copy(peer, written, other);
                }
            }
            Kind::Set => self.set(peer, loose),
            Kind::Untag => self.recorder.untag(peer, loose),
            Kind::TagValue => self.recorder.tag_value(peer, written, by_handle),
            Kind::TagInfo => self.recorder.tag_info(peer),
            Kind::Protect => self.recorder.protect(peer, name),
            Kind::Unprotect => self.recorder.unprotect(peer, name),
            Kind::IsProtected => {
                let name = Some(self.dice.below(PROTECTIONS + 1)).filter(|&name| name < PROTECTIONS);
                self.recorder.is_protected(peer, name);
            }
            Kind::Connect => self.recorder.connect(peer, id),
            Kind::Disconnect => self.recorder.disconnect(peer, id),
            Kind::Snapshot => self.recorder.snapshot(peer, self.dice.roll(2) == 0),
            Kind::Trim => self.recorder.trim(false),
            Kind::ForceTrim => self.recorder.trim(true),
        }
    }

    fn upsert(&mut self, peer: usize, tag: usize, by_handle: bool) {
        let add = if self.mix.counters { 1 } else { 1 + self.dice.roll(5) as i64 };
        self.recorder.upsert(peer, tag, add, by_handle);
    }

    fn set(&mut self, peer: usize, tag: usize) {
        let to = self.dice.roll(100) as i64;
        self.recorder.set(peer, tag, to);
    }
}
