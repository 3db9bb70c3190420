//! Lock-freedom, tested: a thread that stops for ever, wherever it does, stops no other.
//!
//! One thread runs an operation and is stopped at its k-th scheduling point, that is before its k-th access to what threads
//! share; for every operation and every k. Two other threads then run every operation, taking turns at each point. None of them
//! may take more than [`BOUND`] points of its own. Trims wait for trims, as is documented, and for nothing else: while a trim is stopped,
//! the others run all but trims.
//!
//! At last the stopped thread goes on, late as it is, and everything has to add up.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use connmgr_fuzz::execution;
use connmgr_shuttle::testing::Loopback;
use connmgr_shuttle::{BasicConnManager, BumpFn, ByValue, DecayFn, DecayingTag};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::thread;

/// The most scheduling points that an operation may take beside a thread that is stopped and one that is not: twice as many as the
/// longest was seen to take, a trim that finds the table growing.
const BOUND: usize = 1_000;

/// What operations are about: a manager, and a tag of it that decays.
struct World {
    manager: BasicConnManager<u64, Loopback>,
    decaying: DecayingTag<u64>,
}

impl Deref for World {
    type Target = BasicConnManager<u64, Loopback>;

    fn deref(&self) -> &Self::Target {
        &self.manager
    }
}

/// An operation, by a name that failures tell.
type Operation = (&'static str, fn(&World, u64));

/// Every operation; the number is the thread's, so that each has connections of its own.
const OPERATIONS: &[Operation] = &[
    ("set a tag", |manager, _| manager.tag_peer(&1, "a", 3)),
    ("raise a tag", |manager, _| {
        manager.upsert_tag(&1, "a", |value| value + 1);
    }),
    ("raise a tag by a handle", |manager, _| {
        let handle = manager.peer(&1);
        (0..2).for_each(|_| _ = handle.upsert_tag("a", |value| value + 1));
    }),
    ("add a tag", |manager, thread| manager.tag_peer(&1, &format!("new {thread}"), 1)),
    ("remove a tag", |manager, _| manager.untag_peer(&1, "b")),
    ("tag unknown peers", |manager, thread| {
        (0..4).for_each(|peer| manager.tag_peer(&(100 * thread + peer), "a", 1));
    }),
    ("remove the last tag of peers", |manager, thread| {
        (0..4).for_each(|peer| manager.untag_peer(&(100 * thread + peer), "a"));
        manager.untag_peer(&2, "a");
    }),
    ("connect a peer", |manager, thread| manager.connected(&1, Loopback::inbound(20 + thread))),
    ("connect an unknown peer", |manager, thread| manager.connected(&(50 + thread), Loopback::inbound(0))),
    ("disconnect a peer", |manager, thread| manager.disconnected(&1, &(10 + thread))),
    ("disconnect the last of a peer", |manager, thread| {
        manager.disconnected(&(50 + thread), &0);
        manager.disconnected(&4, &0);
    }),
    ("protect a peer", |manager, thread| _ = manager.protect(&1, &format!("p{thread}"))),
    ("protect an unknown peer", |manager, _| _ = manager.protect(&60, "p")),
    ("unprotect peers", |manager, thread| {
        manager.unprotect(&1, &format!("p{thread}"));
        manager.unprotect(&60, "p");
        manager.unprotect(&3, "p");
    }),
    ("ask for protection", |manager, _| _ = manager.is_protected(&3, None)),
    ("read a tag", |manager, _| _ = manager.tag_value(&1, "a")),
    ("read all about a peer", |manager, _| drop(manager.tag_info(&1))),
    ("read a snapshot", |manager, _| {
        let snapshot = manager.snapshot();
        assert!(snapshot.get(&3).is_some() || !manager.is_protected(&3, None), "3 is protected at first");
        snapshot.iter().for_each(|peer| _ = peer.value());
    }),
    ("bump a decaying tag", |world, _| _ = world.decaying.bump(&1, 1)),
    ("bump a decaying tag of unknown peers", |world, thread| {
        (0..2).for_each(|peer| _ = world.decaying.bump(&(200 * thread + peer), 1));
    }),
    ("read a decaying tag", |world, _| _ = world.decaying.value(&1)),
    ("drop decaying values", |world, thread| {
        world.decaying.remove(&1);
        (0..2).for_each(|peer| _ = world.decaying.remove(&(200 * thread + peer)));
    }),
    ("register, bump and close a decaying tag", |manager, thread| {
        let (name, decay, bump) = (format!("{thread}"), DecayFn::none(), BumpFn::overwrite());
        // In vain if the stopped thread has registered it.
        if let Ok(tag) = manager.register_decaying_tag(&name, Duration::ZERO, decay, bump) {
            let _ = tag.bump(&1, 1);
            tag.close();
        }
    }),
    ("explain a peer", |manager, _| drop(manager.explain(&1))),
    ("change the settings", |manager, _| {
        let _ = manager.reconfigure(|settings| settings.steady(None)).expect("valid settings");
    }),
    ("plan a trim", |manager, _| drop(manager.plan_trim())),
    ("ask for the counts", |manager, _| drop(manager.info())),
    ("trim", |manager, _| drop(manager.trim_open_conns())),
    ("trim by force", |manager, _| drop(manager.force_trim())),
];

fn is_trim((name, _): &Operation) -> bool {
    name.starts_with("trim")
}

/// What the schedule and the threads tell each other.
#[derive(Default)]
struct Track {
    /// The stopped thread ended before it was to stop.
    ended: AtomicBool,
    /// What each of the others does, as a place in [`OPERATIONS`], and the points it has taken for that.
    doing: [AtomicUsize; 2],
    points: [AtomicUsize; 2],
    /// The most points of any operation.
    most: AtomicUsize,
    /// All the others have ended.
    done: AtomicBool,
    /// One of them does not get on.
    stuck: AtomicBool,
}

/// Tasks by number, in the order they are spawned.
const MAIN: usize = 0;
const STOPPED: usize = 1;
const OTHERS: [usize; 2] = [2, 3];

/// Runs one thread up to a point, then all others, and that one again when they have ended.
struct StopAt {
    points: usize,
    track: Arc<Track>,
    turn: usize,
    begun: bool,
}

impl Scheduler for StopAt {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.begun, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        let can = |number| runnable.iter().any(|task| usize::from(task.id()) == number);
        let next = self.next(can);
        // Nothing ends an execution but this: to panic here would unwind the threads of the model.
        self.track.stuck.store(next.is_none(), Ordering::Relaxed);
        next.map(TaskId::from)
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("no model asks for random numbers")
    }
}

impl StopAt {
    /// Who goes on; nobody if one of the others has gone on for too long, or none can.
    fn next(&mut self, can: impl Fn(usize) -> bool) -> Option<usize> {
        // It starts the others, and then waits for them.
        if can(MAIN) {
            return Some(MAIN);
        }
        if self.points > 0 && can(STOPPED) {
            self.points -= 1;
            return Some(STOPPED);
        }
        if self.points > 0 {
            self.track.ended.store(true, Ordering::Relaxed);
        }
        if self.track.done.load(Ordering::Relaxed) {
            return Some(STOPPED);
        }
        self.turn = 1 - self.turn;
        let other = [self.turn, 1 - self.turn].into_iter().find(|other| can(OTHERS[*other]))?;
        let points = self.track.points[other].fetch_add(1, Ordering::Relaxed) + 1;
        self.track.most.fetch_max(points, Ordering::Relaxed);
        (points <= BOUND).then_some(OTHERS[other])
    }
}

/// What there is when the threads start.
#[derive(Clone, Copy, Debug)]
struct Situation {
    /// Further peers: with each more the table is at another stage of its growth.
    peers: u64,
    /// Somebody holds a snapshot, so that first writes freeze the states they replace.
    snapshot: bool,
}

const SITUATIONS: [Situation; 4] = [
    Situation { peers: 0, snapshot: false },
    Situation { peers: 1, snapshot: true },
    Situation { peers: 2, snapshot: false },
    Situation { peers: 3, snapshot: true },
];

impl Situation {
    fn world(self) -> World {
        let manager = BasicConnManager::builder()
            .low_water(1)
            .high_water(2)
            .grace_period(Duration::ZERO)
            .policy(ByValue::exact())
            .background(false)
            .seed(1)
            .build()
            .expect("a valid configuration");
        manager.connected(&1, Loopback::inbound(1));
        (1..=3).for_each(|thread| manager.connected(&1, Loopback::inbound(10 + thread)));
        manager.tag_peer(&1, "a", 1);
        manager.tag_peer(&1, "b", 1);
        manager.tag_peer(&2, "a", 1);
        let _ = manager.protect(&3, "p");
        manager.connected(&4, Loopback::inbound(0));
        (0..self.peers).for_each(|peer| manager.tag_peer(&(70 + peer), "a", 1));
        let decaying = manager
            .register_decaying_tag("decaying", Duration::ZERO, DecayFn::fixed(1), BumpFn::sum_unbounded())
            .expect("the first of its name");
        decaying.bump(&1, 5).expect("open");
        World { manager, decaying }
    }
}

/// Runs `stopped` up to that many of its points, and all operations beside it. Returns what was found.
fn run(stopped: &'static Operation, situation: Situation, points: usize) -> Arc<Track> {
    let track = Arc::new(Track::default());
    let schedule = StopAt { points, track: Arc::clone(&track), turn: 0, begun: false };
    let shared = Arc::clone(&track);
    execution::run(schedule, move || {
        let world = situation.world();
        let snapshot = situation.snapshot.then(|| world.snapshot());
        thread::scope(|scope| {
            let (world, track) = (&world, &*shared);
            let late = scope.spawn(move || (stopped.1)(world, STOPPED as u64));
            let others = [0, 1].map(|other| {
                scope.spawn(move || {
                    for (place, operation) in OPERATIONS.iter().enumerate() {
                        if is_trim(stopped) && is_trim(operation) {
                            continue;
                        }
                        track.doing[other].store(place, Ordering::Relaxed);
                        track.points[other].store(0, Ordering::Relaxed);
                        (operation.1)(world, OTHERS[other] as u64);
                    }
                })
            });
            for other in others {
                other.join().expect("no operation panics");
            }
            track.done.store(true, Ordering::Relaxed);
            late.join().expect("no operation panics");
        });
        drop(snapshot);
        adds_up(&world);
    });
    track
}

/// The counts are those of what is there, and each connection was closed as often as it ought to be.
fn adds_up(manager: &World) {
    let (snapshot, info) = (manager.snapshot(), manager.info());
    let conns: Vec<_> = snapshot.iter().flat_map(|peer| peer.conns()).collect();
    let closing = conns.iter().filter(|conn| conn.closing).count();
    assert_eq!((info.connections, info.closing), (conns.len(), closing), "counts do not drift");
}

/// Stops each operation of `which` at each of its points, of which there are `least`: fewer would mean that they are not where they
/// ought to be.
fn check(which: impl Fn(&Operation) -> bool, least: usize) {
    let (mut most, mut all) = (0, 0);
    for stopped in OPERATIONS.iter().filter(|operation| which(operation)) {
        for situation in SITUATIONS {
            let mut points = 0;
            loop {
                let told = Told { operation: stopped.0, situation, points };
                let track = run(stopped, situation, points);
                let doing = track.doing.each_ref().map(|place| OPERATIONS[place.load(Ordering::Relaxed)].0);
                assert!(!track.stuck.load(Ordering::Relaxed), "one of {doing:?} does not get on");
                drop(told);
                most = most.max(track.most.load(Ordering::Relaxed));
                if track.ended.load(Ordering::Relaxed) {
                    break;
                }
                points += 1;
            }
            println!("\"{}\", {situation:?}: stopped at each of {points} points", stopped.0);
            all += points;
        }
    }
    println!("stopped at {all} points; no other operation took more than {most}");
    assert!(all >= least, "{all} points, of at least {least}");
}

/// Says what was stopped where, if that makes the test panic.
struct Told {
    operation: &'static str,
    situation: Situation,
    points: usize,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { operation, situation, points } = self;
            eprintln!("while \"{operation}\" was stopped at point {points}, in {situation:?}");
        }
    }
}

#[test]
fn nobody_waits_for_a_stopped_operation() {
    check(|operation| !is_trim(operation), 2_500);
}

#[test]
fn only_trims_wait_for_a_stopped_trim() {
    check(is_trim, 1_000);
}
