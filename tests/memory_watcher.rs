//! The memory watcher: stages, hysteresis, its thread, and what it does when things fail.
#![expect(clippy::disallowed_types, reason = "tests wait for threads and collect what they say")]

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{LIMIT, Late, Manager, builder, closed, connect, manager, secs, within};
use connmgr::memory::{
    MemoryAction, MemoryCheck, MemorySource, MemoryUse, MemoryWatch, MemoryWatcher, MemoryWatcherBuilder,
    SystemMemory, Threshold, WatchError,
};
use connmgr::testing::Loopback;
use connmgr::{BasicConnManager, BumpFn, CloseReason, DecayFn, ManualClock, TrimOutcome};

use MemoryAction::{ForceTrim, TrimOpenConns};
use Threshold::{Bytes, Fraction};

/// Memory as a test sets it. Clones are the same memory.
#[derive(Clone)]
struct Gauge(Arc<Inner>);

struct Inner {
    used: AtomicU64,
    /// Zero for none.
    limit: AtomicU64,
    fails: AtomicBool,
    panics: AtomicBool,
}

impl Gauge {
    /// A thousand bytes, none of them in use.
    fn new() -> Self {
        let (used, limit) = (AtomicU64::new(0), AtomicU64::new(1000));
        Self(Arc::new(Inner { used, limit, fails: AtomicBool::new(false), panics: AtomicBool::new(false) }))
    }

    fn set(&self, used: u64) {
        self.0.used.store(used, Ordering::Release);
    }

    fn limit(&self, limit: u64) {
        self.0.limit.store(limit, Ordering::Release);
    }

    fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::Release);
    }

    fn panic(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::Release);
    }

    fn watch(&self) -> MemoryWatcherBuilder {
        MemoryWatcher::builder(self.clone())
    }
}

impl MemorySource for Gauge {
    fn read(&mut self) -> io::Result<MemoryUse> {
        assert!(!self.0.panics.load(Ordering::Acquire), "a source that panics");
        if self.0.fails.load(Ordering::Acquire) {
            return Err(io::Error::other("no figures today"));
        }
        let limit = Some(self.0.limit.load(Ordering::Acquire)).filter(|&limit| limit > 0);
        Ok(MemoryUse { used: self.0.used.load(Ordering::Acquire), limit })
    }
}

/// Which stages fire at each of these usages, one check each.
fn fired(
    watcher: &mut MemoryWatcher,
    manager: &Manager,
    gauge: &Gauge,
    used: impl IntoIterator<Item = u64>,
) -> Vec<Vec<usize>> {
    let mut check = |used| {
        gauge.set(used);
        let check = watcher.check(manager).expect("figures");
        assert_eq!((check.usage.used, check.deferred), (used, 0));
        check.fired.iter().map(|fired| fired.stage).collect()
    };
    used.into_iter().map(&mut check).collect()
}

#[test]
fn each_stage_fires_once_when_usage_rises_to_it() {
    let (manager, gauge) = (manager(1, 2), Gauge::new());
    let mut watcher = gauge
        .watch()
        .stage(Fraction(0.5), TrimOpenConns)
        .stage(Bytes(700), TrimOpenConns)
        .stage(Fraction(0.9), ForceTrim)
        .build()
        .unwrap();
    let fired = fired(&mut watcher, &manager, &gauge, [0, 499, 500, 501, 699, 700, 899, 900, 1000, 2000]);
    let none = Vec::new;
    let expected = [none(), none(), vec![0], none(), none(), vec![1], none(), vec![2], none(), none()];
    assert_eq!(fired, expected);
    let info = watcher.info();
    assert_eq!((info.checks, info.fired, info.failures, info.deferred, info.panics), (10, 3, 0, 0, 0));
}

#[test]
fn a_jump_past_several_fires_each_lowest_first() {
    let (manager, gauge) = (manager(1, 2), Gauge::new());
    let stages = [(0.2, TrimOpenConns), (0.4, ForceTrim), (0.6, TrimOpenConns)];
    let mut watcher = stages
        .iter()
        .fold(gauge.watch(), |builder, &(at, action)| builder.stage(Fraction(at), action))
        .build()
        .unwrap();
    assert_eq!(
        fired(&mut watcher, &manager, &gauge, [599, 600, 600]),
        [vec![0, 1], vec![2], vec![]],
        "and nothing that it did not reach"
    );
}

#[test]
fn a_stage_is_armed_again_below_its_threshold_less_the_hysteresis() {
    let (manager, gauge) = (manager(1, 2), Gauge::new());
    let mut watcher = gauge
        .watch()
        .stage(Fraction(0.4), TrimOpenConns)
        .stage(Fraction(0.8), ForceTrim)
        .hysteresis(0.25)
        .build()
        .unwrap();
    assert_eq!(fired(&mut watcher, &manager, &gauge, [800]), [vec![0, 1]]);
    assert_eq!(
        fired(&mut watcher, &manager, &gauge, [799, 800, 600, 800]),
        [const { Vec::new() }; 4],
        "not below 800 less a quarter"
    );
    assert_eq!(
        fired(&mut watcher, &manager, &gauge, [599, 799, 800, 801]),
        [vec![], vec![], vec![1], vec![]],
        "the upper alone: usage has not fallen below the lower"
    );
    assert_eq!(
        fired(&mut watcher, &manager, &gauge, [300, 400, 299, 400, 800]),
        [vec![], vec![], vec![], vec![0], vec![1]],
        "each by its own threshold"
    );

    let mut strict = gauge.watch().stage(Bytes(800), ForceTrim).hysteresis(0.0).build().unwrap();
    assert_eq!(
        fired(&mut strict, &manager, &gauge, [800, 800, 799, 800]),
        [vec![0], vec![], vec![], vec![0]],
        "without hysteresis, as soon as it is below"
    );
}

#[test]
fn fractions_follow_a_limit_that_changes_and_bytes_need_none() {
    let (manager, gauge) = (manager(1, 2), Gauge::new());
    let mut watcher = gauge.watch().stage(Fraction(0.5), ForceTrim).build().unwrap();
    gauge.limit(2000);
    assert_eq!(fired(&mut watcher, &manager, &gauge, [500, 999, 1000]), [vec![], vec![], vec![0]]);
    gauge.limit(u64::MAX);
    let all_but = u64::MAX - (1 << 60);
    assert_eq!(fired(&mut watcher, &manager, &gauge, [0, 1 << 62, all_but]), [vec![], vec![], vec![0]]);

    // More digits than a float has: it would round up.
    let odd = (1 << 54) + 3;
    gauge.limit(odd);
    let mut whole = gauge.watch().stage(Fraction(1.0), ForceTrim).build().unwrap();
    assert_eq!(
        fired(&mut whole, &manager, &gauge, [odd - 4, odd]),
        [vec![], vec![0]],
        "the whole limit, not more"
    );

    gauge.limit(0);
    let mut bytes =
        gauge.watch().stage(Bytes(5), ForceTrim).stage(Bytes(u64::MAX), ForceTrim).build().unwrap();
    assert_eq!(fired(&mut bytes, &manager, &gauge, [4, 5, u64::MAX]), [vec![], vec![0], vec![1]]);
}

#[test]
fn a_trim_stage_spares_whom_a_trim_spares() {
    let (manager, gauge) = (manager(1, 100), Gauge::new());
    connect(&manager, 0..4);
    let _ = manager.protect(&0, "friend");
    let _ = manager.protect(&1, "friend");
    let mut watcher = gauge.watch().stage(Fraction(0.5), TrimOpenConns).build().unwrap();
    gauge.set(900);
    let check = watcher.check(&manager).unwrap();
    let report = &check.fired[0].report;
    assert_eq!(
        (report.closed_connections, report.candidates),
        (1, 2),
        "candidates less low, as in the reference"
    );
    assert!(report.closed.iter().all(|peer| peer.peer >= 2 && peer.reason == CloseReason::Trim));
    assert!(!report.joined);
}

#[test]
fn the_force_stage_closes_protected_peers_only_if_it_must() {
    for (low, protected_closed) in [(3, 0), (2, 0), (1, 1)] {
        let gauge = Gauge::new();
        let manager = builder(low, 100).grace_period(secs(60)).build().unwrap();
        connect(&manager, 0..4);
        let _ = manager.protect(&0, "friend");
        let _ = manager.protect(&1, "friend");
        let mut watcher = gauge.watch().stage(Fraction(0.5), ForceTrim).build().unwrap();
        gauge.set(900);
        let check: MemoryCheck<u64> = watcher.check(&manager).unwrap();
        let report = &check.fired[0].report;
        assert_eq!(
            report.closed_connections,
            4 - low,
            "low {low}: exactly down to it, within the grace period too"
        );
        assert_eq!(report.closed.iter().filter(|peer| peer.protected).count(), protected_closed, "low {low}");
        assert!(closed(report)[..(4 - low).min(2)].iter().all(|&peer| peer >= 2), "low {low}: those last");
    }
}

#[test]
fn a_manager_that_does_not_trim_says_so() {
    let (manager, gauge) = (manager(0, 0), Gauge::new());
    connect(&manager, 0..4);
    let mut watcher = gauge.watch().stage(Fraction(0.5), ForceTrim).build().unwrap();
    gauge.set(900);
    let check = watcher.check(&manager).unwrap();
    assert_eq!(check.fired[0].report.outcome, TrimOutcome::Disabled);
    assert_eq!(manager.info().closing, 0);
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |watch: MemoryWatcherBuilder| watch.build().expect_err("refused");
    let stage = |at| Gauge::new().watch().stage(at, ForceTrim);
    assert_eq!(refused(Gauge::new().watch()), WatchError::NoStages);
    for asked in [0.0, -0.1, 1.001, f64::INFINITY] {
        assert_eq!(refused(stage(Fraction(asked))), WatchError::BadFraction { stage: 0, asked });
    }
    assert!(
        matches!(refused(stage(Fraction(f64::NAN))), WatchError::BadFraction { stage: 0, asked } if asked.is_nan())
    );
    let second = refused(stage(Fraction(0.5)).stage(Fraction(2.0), ForceTrim));
    assert_eq!(second, WatchError::BadFraction { stage: 1, asked: 2.0 });
    assert_eq!(refused(stage(Bytes(0))), WatchError::ZeroBytes { stage: 0 });
    assert_eq!(refused(stage(Bytes(1001))), WatchError::AboveLimit { stage: 0, asked: 1001, limit: 1000 });
    for next in [Fraction(0.5), Fraction(0.4), Bytes(500), Bytes(1)] {
        let refused = refused(stage(Fraction(0.5)).stage(next, ForceTrim));
        assert_eq!(refused, WatchError::NotAscending { stage: 1 }, "{next:?}");
    }
    for asked in [-0.01, 1.0, 2.0] {
        assert_eq!(refused(stage(Fraction(1.0)).hysteresis(asked)), WatchError::BadHysteresis { asked });
    }
    assert!(matches!(refused(stage(Bytes(1)).hysteresis(f64::NAN)), WatchError::BadHysteresis { .. }));
    assert_eq!(refused(stage(Bytes(1)).interval(Duration::ZERO)), WatchError::ZeroInterval);
    let asked = Duration::MAX;
    assert_eq!(refused(stage(Bytes(1)).interval(asked)), WatchError::IntervalTooLong { asked });

    let unlimited = Gauge::new();
    unlimited.limit(0);
    assert_eq!(refused(unlimited.watch().stage(Fraction(0.5), ForceTrim)), WatchError::NoLimit);
    let failing = Gauge::new();
    failing.fail(true);
    let error = refused(failing.watch().stage(Bytes(1), ForceTrim));
    assert_eq!(error, WatchError::Source("no figures today".into()));
    assert_eq!(error.to_string(), "memory in use is unknown: no figures today");
    assert!(stage(Fraction(1.0)).hysteresis(0.0).build().is_ok(), "what is at the edge is not beyond it");
}

#[test]
fn a_source_that_fails_is_asked_again_and_changes_nothing() {
    let (manager, gauge) = (manager(1, 2), Gauge::new());
    let mut watcher = gauge.watch().stage(Fraction(0.5), TrimOpenConns).build().unwrap();
    assert_eq!(fired(&mut watcher, &manager, &gauge, [600]), [vec![0]]);
    gauge.set(0);
    gauge.fail(true);
    assert_eq!(watcher.check(&manager).unwrap_err().to_string(), "no figures today");
    gauge.fail(false);
    assert_eq!(fired(&mut watcher, &manager, &gauge, [600]), [vec![]], "it was not armed meanwhile");
    gauge.limit(0);
    let lost = watcher.check(&manager).unwrap_err();
    assert_eq!(lost.to_string(), WatchError::NoLimit.to_string(), "a limit that is lost is a failure too");
    gauge.limit(1000);
    assert_eq!(fired(&mut watcher, &manager, &gauge, [0, 600]), [vec![], vec![0]]);
    assert_eq!((watcher.info().checks, watcher.info().failures), (6, 2));
}

/// A watcher on a thread, every ten seconds of the clock, with one stage at half. Returns when its first check is over.
fn watch(manager: &Manager, gauge: &Gauge, clock: &ManualClock) -> MemoryWatch {
    watch_source(manager, gauge.clone(), clock)
}

fn watch_source(manager: &Manager, source: impl MemorySource, clock: &ManualClock) -> MemoryWatch {
    let watcher = MemoryWatcher::builder(source)
        .stage(Fraction(0.5), ForceTrim)
        .interval(secs(10))
        .clock(clock.clone())
        .build()
        .unwrap();
    let watch = watcher.start(manager).unwrap();
    settle(clock);
    watch
}

fn settle(clock: &ManualClock) {
    assert!(clock.settle(1, LIMIT), "the watcher's thread comes to rest");
}

#[test]
fn the_thread_checks_at_once_and_every_interval_and_not_before() {
    let (clock, gauge, manager) = (ManualClock::new(), Gauge::new(), manager(2, 100));
    connect(&manager, 0..5);
    let watch = watch(&manager, &gauge, &clock);
    assert_eq!((watch.info().checks, manager.info().closing), (1, 0), "off until usage is high");
    gauge.set(500);
    clock.set(secs(10) - Duration::from_nanos(1));
    settle(&clock);
    assert_eq!((watch.info().checks, manager.info().closing), (1, 0), "not before the interval is over");
    clock.set(secs(10));
    settle(&clock);
    assert_eq!((watch.info().checks, watch.info().fired), (2, 1));
    assert_eq!(manager.info().closing, 3, "down to low");
    connect(&manager, 10..20);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!((watch.info().checks, watch.info().fired), (3, 1), "once for a rise");
    assert_eq!(watch.stop(), Ok(()));
    assert_eq!(watch.stop(), Ok(()), "idempotent");
    clock.advance(secs(100));
    assert_eq!(watch.info().checks, 3, "stopped");
}

#[test]
fn failures_and_panics_on_the_thread_are_counted_and_do_not_end_it() {
    let (clock, gauge) = (ManualClock::new(), Gauge::new());
    let manager = builder(2, 100).on_trim(|_| panic!("a listener that panics")).build().unwrap();
    connect(&manager, 0..5);
    let watch = watch(&manager, &gauge, &clock);
    let step = |what: &str| {
        clock.advance(secs(10));
        settle(&clock);
        let info = watch.info();
        (what.to_owned(), info.checks, info.failures, info.panics)
    };
    gauge.fail(true);
    assert_eq!(step("fails"), ("fails".to_owned(), 2, 1, 0));
    gauge.fail(false);
    gauge.panic(true);
    assert_eq!(step("panics"), ("panics".to_owned(), 3, 1, 1));
    gauge.panic(false);
    gauge.set(900);
    assert_eq!(step("the listener panics"), ("the listener panics".to_owned(), 4, 1, 2));
    assert_eq!(manager.info().closing, 3, "after the trim");
    assert_eq!(
        step("again"),
        ("again".to_owned(), 5, 1, 2),
        "that stage has fired: it does not panic for ever"
    );
    assert_eq!(watch.stop(), Ok(()));
}

/// Says when it is dropped, which its watcher's thread does when it ends.
struct Mourned(Gauge, mpsc::Sender<()>);

impl MemorySource for Mourned {
    fn read(&mut self) -> io::Result<MemoryUse> {
        self.0.read()
    }
}

impl Drop for Mourned {
    fn drop(&mut self) {
        let _ = self.1.send(());
    }
}

#[test]
fn a_callback_on_its_own_thread_may_stop_it_or_drop_it() {
    for drop_it in [false, true] {
        let (clock, gauge) = (ManualClock::new(), Gauge::new());
        let held: Arc<Mutex<Option<MemoryWatch>>> = Arc::default();
        let (ended, ends) = mpsc::channel();
        let (return_, returns) = mpsc::channel();
        let manager: Manager = builder(1, 100).build().unwrap();
        let callback = {
            let held = Arc::clone(&held);
            move |_| {
                let watch = held.lock().unwrap().take().expect("one close");
                if drop_it {
                    drop(watch);
                } else {
                    assert_eq!(watch.stop(), Ok(()));
                    *held.lock().unwrap() = Some(watch);
                }
                return_.send(()).unwrap();
            }
        };
        manager.connected(&0, Loopback::closing_with(0, callback));
        connect(&manager, 1..2);
        manager.tag_peer(&1, "value", 1);
        let watch = watch_source(&manager, Mourned(gauge.clone(), ended), &clock);
        *held.lock().unwrap() = Some(watch);
        gauge.set(900);
        clock.advance(secs(10));
        returns.recv_timeout(LIMIT).expect("the callback returns, without a panic");
        ends.recv_timeout(LIMIT).expect("its thread ends by itself");
        assert_eq!(manager.info().closing, 1);
        within("stop from outside, afterwards", move || {
            if let Some(watch) = held.lock().unwrap().take() {
                assert_eq!((watch.stop(), watch.info().fired), (Ok(()), 1));
            }
        });
    }
}

#[test]
fn it_waits_for_nobodys_trim_and_what_was_due_comes_with_the_next_check() {
    let (clock, gauge, late) = (ManualClock::new(), Gauge::new(), Late::default());
    let held: Arc<Mutex<Option<MemoryWatch>>> = Arc::default();
    let manager = Arc::new(builder(2, 100).build().unwrap());
    late.set(&manager);
    let callback = {
        let (clock, gauge, held, late) = (clock.clone(), gauge.clone(), Arc::clone(&held), late.clone());
        move |_| {
            // The turn to trim is taken, and the watcher finds memory short.
            gauge.set(900);
            clock.advance(secs(10));
            settle(&clock);
            let watch = held.lock().unwrap().take().expect("one close");
            assert_eq!((watch.info().deferred, watch.info().fired), (1, 0), "put off, not waited for");
            connect(&late.get(), 10..15);
            *held.lock().unwrap() = Some(watch);
        }
    };
    manager.connected(&0, Loopback::closing_with(0, callback));
    connect(&manager, 1..3);
    for peer in 1..3 {
        manager.tag_peer(&peer, "value", 1);
    }
    *held.lock().unwrap() = Some(watch(&manager, &gauge, &clock));
    let trim = {
        let manager = Arc::clone(&manager);
        move || manager.trim_open_conns()
    };
    assert_eq!(closed(&within("a trim beside the watcher", trim)), [0]);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(held.lock().unwrap().as_ref().expect("kept").info().fired, 1, "at the next check");
    assert_eq!(manager.info().closing, 1 + 5, "the five that came, and none below low");
}

/// A trim that waits for the watcher, in whose callback the watcher is joined, would wait for ever.
#[test]
fn a_callback_of_somebody_elses_trim_may_join_it() {
    let (clock, gauge) = (ManualClock::new(), Gauge::new());
    let held: Arc<Mutex<Option<MemoryWatch>>> = Arc::default();
    let manager: Arc<Manager> = Arc::new(builder(1, 100).build().unwrap());
    let callback = {
        let (clock, gauge, held) = (clock.clone(), gauge.clone(), Arc::clone(&held));
        move |_| {
            gauge.set(900);
            clock.advance(secs(10));
            drop(held.lock().unwrap().take());
        }
    };
    manager.connected(&0, Loopback::closing_with(0, callback));
    connect(&manager, 1..2);
    manager.tag_peer(&1, "value", 1);
    *held.lock().unwrap() = Some(watch(&manager, &gauge, &clock));
    let trim = {
        let manager = Arc::clone(&manager);
        move || manager.trim_open_conns()
    };
    assert_eq!(closed(&within("a trim whose callback joins the watcher", trim)), [0]);
}

#[test]
fn a_check_from_within_a_trim_is_put_off() {
    let (gauge, late) = (Gauge::new(), Late::default());
    let found: Arc<Mutex<Option<MemoryCheck<u64>>>> = Arc::default();
    let manager = Arc::new(builder(1, 100).build().unwrap());
    late.set(&manager);
    let watcher = gauge.watch().stage(Fraction(0.5), ForceTrim).build().unwrap();
    let watcher = Arc::new(Mutex::new(watcher));
    let callback = {
        let (found, watcher) = (Arc::clone(&found), Arc::clone(&watcher));
        move |_| *found.lock().unwrap() = Some(watcher.lock().unwrap().check(&late.get()).unwrap())
    };
    manager.connected(&0, Loopback::closing_with(0, callback));
    connect(&manager, 1..2);
    manager.tag_peer(&1, "value", 1);
    gauge.set(900);
    assert_eq!(closed(&manager.trim_open_conns()), [0]);
    let found = found.lock().unwrap().take().expect("the callback checked");
    assert_eq!((found.fired.len(), found.deferred), (0, 1));
    assert_eq!(watcher.lock().unwrap().check(&manager).unwrap().fired.len(), 1, "and comes afterwards");
}

#[test]
fn the_thread_ends_with_its_manager() {
    let (clock, gauge) = (ManualClock::new(), Gauge::new());
    let (ended, ends) = mpsc::channel();
    let manager = manager(1, 100);
    let watch = watch_source(&manager, Mourned(gauge, ended), &clock);
    assert_eq!(manager.close(), Ok(()));
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(watch.info().checks, 2, "closing the manager does not stop it");
    // The handle of a decaying tag keeps the manager's table, and used to keep the watcher.
    let _tag = manager
        .register_decaying_tag("kept", secs(1), DecayFn::none(), BumpFn::overwrite())
        .expect("the first of its name");
    drop(manager);
    clock.advance(secs(10));
    ends.recv_timeout(LIMIT).expect("its thread ends");
    assert_eq!(watch.info().checks, 2);
}

#[test]
fn the_systems_figures_are_those_of_this_process() {
    const MIB: u64 = 1 << 20;
    let mut memory = SystemMemory::new().expect("a supported system");
    let held = vec![1_u8; 64 * MIB as usize];
    let held = std::hint::black_box(held);
    let read = memory.read().expect("figures");
    assert!(read.used >= 64 * MIB, "{} bytes in use, 64 MiB of them here", read.used);
    assert!(held.iter().all(|&byte| byte == 1));
    let limit = read.limit.expect("the machine's memory is known, so a limit is");
    assert!(limit > read.used, "or this process would have been killed");
    if let Ok(meminfo) = std::fs::read_to_string("/proc/meminfo") {
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("Linux tells it");
        let kib: u64 = total.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(limit <= kib * 1024, "{limit} is no more than the machine has");
    }
}

#[test]
fn the_system_is_watched_end_to_end() {
    let clock = ManualClock::new();
    let manager =
        BasicConnManager::<u64, Loopback>::builder().low_water(1).background(false).build().unwrap();
    connect(&manager, 0..3);
    let watch = MemoryWatcher::builder(SystemMemory::new().unwrap())
        // Any process has reached that.
        .stage(Bytes(1), ForceTrim)
        .clock(clock.clone())
        .build()
        .unwrap()
        .start(&manager)
        .unwrap();
    settle(&clock);
    assert_eq!((watch.info().fired, manager.info().closing), (1, 2));
}
