//! A manager's life: its background thread, trims that meet or are cancelled, closing, and being dropped while others hold on to it.
#![expect(clippy::disallowed_types, reason = "tests wait for threads and collect what they say")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use common::{
    Hooked, LIMIT, Late, Manager, at, builder, closed, closes, connect, connect_valued, manager, peers, secs,
    with_meanwhile, within,
};
use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, Builder, ByValue, CancelToken, Clock, CloseError, ManualClock, TrimOutcome, TrimReport,
    TrimTrigger,
};

/// A manager with background trims, every ten seconds of the clock.
fn running(low: usize, high: usize, clock: &ManualClock) -> Builder<u64, Loopback> {
    builder(low, high).clock(clock.clone()).silence_period(secs(10)).background(true)
}

/// Waits until the background thread waits.
fn settle(clock: &ManualClock) {
    assert!(clock.settle(1, LIMIT), "the background thread comes to rest");
}

/// Go: `TestQuickBurstRespectsSilencePeriod`.
#[test]
fn a_burst_is_trimmed_when_the_silence_period_is_over_and_not_before() {
    let clock = ManualClock::new();
    let manager = running(10, 20, &clock).build().unwrap();
    settle(&clock);
    let mut end = secs(0);
    for burst in [0..30, 100..120, 200..210] {
        let before = manager.info();
        let open = before.connections - before.closing;
        let conns = connect(&manager, burst.clone());
        end += secs(10);
        clock.set(end - Duration::from_nanos(1));
        settle(&clock);
        assert_eq!(
            manager.info().closing,
            before.closing,
            "{burst:?}: nothing is closed within the silence period"
        );
        clock.set(end);
        settle(&clock);
        let info = manager.info();
        assert_eq!(
            info.closing - before.closing,
            open + conns.len() - 10,
            "{burst:?}: at its end, down to low"
        );
        assert_eq!(
            info.last_trim,
            Some(SystemTime::UNIX_EPOCH + end),
            "{burst:?}: and the trim has its time"
        );
    }
}

#[test]
fn the_background_trims_at_the_high_watermark_and_not_below() {
    let clock = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let listen = move |report: &TrimReport<u64>| {
        let thread = thread::current().name().map(str::to_owned);
        hear.lock().unwrap().push((report.trigger, report.closed_connections, thread));
    };
    let manager = running(5, 10, &clock).on_trim(listen).build().unwrap();
    settle(&clock);
    connect(&manager, 0..9);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!((manager.info().closing, manager.info().last_trim), (0, None), "one short of high, no trim");
    connect(&manager, 9..10);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!((manager.info().closing, manager.info().last_trim), (5, Some(at(20))), "at high, down to low");
    connect(&manager, 20..24);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(manager.info().closing, 5, "what is closing no longer counts as open");
    let expected = [(TrimTrigger::Background, 5, Some("connmgr-trim".to_owned()))];
    assert_eq!(*heard.lock().unwrap(), expected, "one trim, by the thread of that name");
}

#[test]
fn temporary_records_expire_every_silence_period_even_where_trimming_is_disabled() {
    for (low, high) in [(5, 10), (0, 10), (0, 0)] {
        let clock = ManualClock::new();
        let manager = running(low, high, &clock).grace_period(secs(15)).build().unwrap();
        settle(&clock);
        manager.tag_peer(&1, "early", 1);
        connect(&manager, 2..3);
        clock.advance(secs(10));
        settle(&clock);
        assert_eq!(peers(&manager), 2, "low {low} high {high}: not within its grace");
        clock.advance(secs(10));
        settle(&clock);
        assert_eq!(manager.tag_info(&1), None, "low {low} high {high}: at the first check after it");
        assert_eq!(peers(&manager), 1, "low {low} high {high}: and nobody else goes");
    }
}

#[test]
fn a_disabled_manager_never_trims_in_the_background() {
    let clock = ManualClock::new();
    let manager = running(0, 10, &clock).build().unwrap();
    settle(&clock);
    let conns = connect(&manager, 0..50);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!((closes(&conns), manager.info().last_trim), (vec![0; 50], None), "far above high");
}

#[test]
fn a_manual_clock_moved_on_by_several_threads_goes_back_for_none_and_loses_nothing() {
    const EACH: u64 = 200_000;
    let clock = ManualClock::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let before = clock.now();
                    clock.advance(Duration::from_nanos(1));
                    assert!(clock.now() > before, "it moves on");
                }
            });
        }
    });
    assert_eq!(clock.now(), Duration::from_nanos(3 * EACH), "by what it was moved altogether");
}

#[test]
fn a_clock_set_back_stops_no_background_trim_for_good() {
    let clock = ManualClock::new();
    clock.set(secs(1_000));
    let manager = running(1, 2, &clock).build().unwrap();
    settle(&clock);
    clock.set(secs(1));
    connect(&manager, 0..5);
    settle(&clock);
    clock.set(secs(1_010));
    settle(&clock);
    assert_eq!(manager.info().closing, 4, "when the clock has caught up it trims");
}

#[test]
fn callbacks_that_panic_stop_no_background_trim_for_good() {
    let clock = ManualClock::new();
    let policy = Hooked(ByValue::reference(), {
        let calls = AtomicUsize::new(0);
        move || assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "the first call fails on purpose")
    });
    let heard = AtomicUsize::new(0);
    let fail_first = move |_: &TrimReport<u64>| {
        assert!(heard.fetch_add(1, Ordering::Relaxed) > 0, "so does the first here")
    };
    let manager = running(1, 2, &clock).policy(policy).on_trim(fail_first).build().unwrap();
    settle(&clock);
    let bad = Loopback::closing_with(7, |_| panic!("and every close of this"));
    manager.connected(&7, bad.clone());
    manager.tag_peer(&7, "value", -1);
    let first = connect(&manager, 0..3);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(manager.info().closing, 0, "the policy failed, and nothing was closed");
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(
        (manager.info().closing, bad.closes()),
        (3, 1),
        "the next period went well, but for its listener"
    );
    assert_eq!(closes(&first).iter().sum::<usize>(), 2, "and a failed close kept no other open");
    connect(&manager, 10..12);
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(manager.info().closing, 5, "and the next");
    assert_eq!(manager.close(), Ok(()), "the thread itself never failed");
}

/// Go: `TestTrimClosed`.
#[test]
fn a_closed_manager_works_on_without_its_background() {
    for background in [true, false] {
        let clock = ManualClock::new();
        let manager = Arc::new(running(2, 4, &clock).background(background).build().unwrap());
        for _ in 0..3 {
            let closing = Arc::clone(&manager);
            assert_eq!(within("close", move || closing.close()), Ok(()), "as often as you like");
        }
        let conns = connect_valued(&manager, 0..9);
        clock.advance(secs(100));
        assert!(!clock.settle(1, Duration::ZERO), "no thread waits any longer");
        assert_eq!((closes(&conns), manager.info().last_trim), (vec![0; 9], None), "nothing trims by itself");
        assert_eq!(manager.upsert_tag(&0, "value", |value| value + 100), 100, "tags work");
        let _ = manager.protect(&1, "p");
        let trimming = Arc::clone(&manager);
        let report = within("a trim of a closed manager", move || trimming.trim_open_conns());
        assert_eq!(closed(&report), [2, 3, 4, 5, 6, 7], "so do trims");
        manager.disconnected(&2, &2);
        assert_eq!(manager.force_trim().closed_connections, 1, "of every kind");
    }
}

/// A clock that counts who waits on it.
#[derive(Clone, Default)]
struct Counting(ManualClock, Arc<AtomicUsize>);

impl Clock for Counting {
    fn now(&self) -> Duration {
        self.0.now()
    }
    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
    fn wait(&self, until: Duration) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.wait(until);
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn every_close_returns_after_the_background_thread_has_ended() {
    for _ in 0..20 {
        let clock = Counting::default();
        let manager = Arc::new(running(1, 2, &clock.0).clock(clock.clone()).build().unwrap());
        settle(&clock.0);
        let closing: Vec<_> = (0..4)
            .map(|_| {
                let (manager, clock) = (Arc::clone(&manager), clock.clone());
                move || (manager.close(), clock.1.load(Ordering::SeqCst))
            })
            .collect();
        let ends = within("closing from several threads", || {
            let threads: Vec<_> = closing.into_iter().map(thread::spawn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(ends, [(Ok(()), 0); 4], "each of them finds the thread gone");
    }
}

/// A clock whose wait fails, and tells so.
struct Failing(Mutex<mpsc::Sender<()>>);

impl Clock for Failing {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn wait(&self, _: Duration) {
        self.0.lock().unwrap().send(()).unwrap();
        panic!("the clock fails on purpose");
    }
}

#[test]
fn close_tells_that_the_background_thread_had_failed() {
    let (waits, is_waiting) = mpsc::channel();
    let manager = Arc::new(builder(1, 2).clock(Failing(Mutex::new(waits))).background(true).build().unwrap());
    is_waiting.recv_timeout(LIMIT).expect("the thread waits for its time");
    let closing = Arc::clone(&manager);
    assert_eq!(within("close", move || closing.close()), Err(CloseError::Panicked), "it is told");
    connect(&manager, 0..3);
    assert_eq!(manager.trim_open_conns().closed_connections, 2, "and the manager works on");
    within("drop", move || drop(manager));
}

/// What a close callback on the background thread does must not make that thread wait for itself.
#[test]
fn a_background_callback_may_close_the_manager_and_trim() {
    let clock = ManualClock::new();
    let (late, (said, hear)) = (Late::default(), mpsc::channel());
    let listen = {
        let late = late.clone();
        move |_: &TrimReport<u64>| {
            let manager = late.get();
            said.send((manager.close(), manager.trim_open_conns().outcome, manager.force_trim().outcome))
                .unwrap();
        }
    };
    let manager = Arc::new(running(1, 2, &clock).on_trim(listen).build().unwrap());
    late.set(&manager);
    settle(&clock);
    connect(&manager, 0..3);
    clock.advance(secs(10));
    let said = hear.recv_timeout(LIMIT).expect("the callback comes to its end");
    assert_eq!(
        said,
        (Ok(()), TrimOutcome::Reentrant, TrimOutcome::Reentrant),
        "neither waits for its own thread"
    );
    let closing = Arc::clone(&manager);
    assert_eq!(within("close from outside", move || closing.close()), Ok(()), "which then has ended");
    assert_eq!(manager.info().closing, 2, "after its trim");
}

/// A sender that tells, by being dropped, that a manager's insides are freed.
fn telltale(builder: Builder<u64, Loopback>) -> (Builder<u64, Loopback>, mpsc::Receiver<()>) {
    let (alive, freed) = mpsc::channel::<()>();
    // `Sender` is not `Sync` in every supported release.
    let alive = Mutex::new(alive);
    (builder.on_trim(move |_| assert!(alive.lock().is_ok())), freed)
}

#[test]
fn the_last_reference_may_be_dropped_on_the_background_thread() {
    let clock = ManualClock::new();
    let (builder, freed) = telltale(running(1, 2, &clock));
    let manager = Arc::new(builder.build().unwrap());
    let slot = Arc::new(Mutex::new(None::<Arc<Manager>>));
    let conn = {
        let slot = Arc::clone(&slot);
        Loopback::closing_with(0, move |_| drop(slot.lock().unwrap().take()))
    };
    settle(&clock);
    manager.connected(&0, conn.clone());
    manager.tag_peer(&0, "value", -1);
    connect(&manager, 1..3);
    *slot.lock().unwrap() = Some(manager);
    clock.advance(secs(10));
    let ended = freed.recv_timeout(LIMIT);
    assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected), "the thread ends and what it held is freed");
    assert_eq!((conn.closes(), slot.lock().unwrap().is_none()), (1, true), "from within the callback");
}

#[test]
fn dropping_a_manager_stops_its_thread_and_frees_it() {
    let clock = ManualClock::new();
    let (builder, freed) = telltale(running(1, 2, &clock));
    let manager = builder.build().unwrap();
    settle(&clock);
    connect(&manager, 0..3);
    within("drop", move || drop(manager));
    assert_eq!(freed.try_recv(), Err(mpsc::TryRecvError::Disconnected), "nothing of it is left");
    assert!(!clock.settle(1, Duration::ZERO), "its thread is gone");
}

#[test]
fn an_owned_handle_keeps_its_manager_alive_and_running() {
    let clock = ManualClock::new();
    let (builder, freed) = telltale(running(1, 2, &clock));
    let manager = Arc::new(builder.build().unwrap());
    settle(&clock);
    let conns = connect(&manager, 0..3);
    let handle = manager.peer_owned(&0);
    drop(manager);
    assert_eq!(handle.upsert_tag("value", |value| value + 5), 5, "it works without the other reference");
    assert!(handle.protect("p") == connmgr::Protection::Protected && handle.is_protected(None));
    clock.advance(secs(10));
    settle(&clock);
    assert_eq!(
        (conns[0].closes(), closes(&conns).iter().sum::<usize>()),
        (0, 1),
        "and the background trims on"
    );
    let clone = handle.clone();
    drop(handle);
    assert_eq!(freed.try_recv(), Err(mpsc::TryRecvError::Empty), "a clone keeps it too");
    within("dropping the last handle elsewhere", move || {
        assert_eq!(clone.tag_info().map(|info| info.value), Some(5), "from another thread");
        drop(clone);
    });
    assert_eq!(
        freed.try_recv(),
        Err(mpsc::TryRecvError::Disconnected),
        "with the last handle the manager goes"
    );
}

/// A trim stalled in its first close callback, another call made meanwhile, and what both returned.
fn meet(
    yields: u32,
    other: impl FnOnce(&Manager) -> TrimReport<u64> + Send + 'static,
) -> (TrimReport<u64>, TrimReport<u64>, Vec<Loopback>) {
    let ((stalled, is_stalled), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let released = Mutex::new(released);
    let manager = Arc::new(manager(4, 9));
    let stalls = Loopback::closing_with(100, move |_| {
        stalled.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    });
    manager.connected(&100, stalls.clone());
    manager.tag_peer(&100, "value", -1);
    let mut conns = connect_valued(&manager, 0..9);
    conns.push(stalls);
    let trimming = Arc::clone(&manager);
    let first = thread::spawn(move || trimming.trim_open_conns());
    is_stalled.recv_timeout(LIMIT).expect("the first trim stalls");
    let ((coming, comes), (done, is_done)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        coming.send(()).unwrap();
        done.send(other(&manager)).unwrap();
    });
    comes.recv_timeout(LIMIT).expect("the second call is about to be made");
    (0..yields).for_each(|_| thread::yield_now());
    assert!(is_done.try_recv().is_err(), "no trim returns while another is running");
    drop(release);
    let second = is_done.recv_timeout(LIMIT).expect("the second call returns when the first trim is over");
    (first.join().unwrap(), second, conns)
}

/// Go: `TestTrimBlocks` and `TestTrimJoin`.
#[test]
fn a_trim_called_during_another_waits_for_it_and_shares_its_report() {
    // Whether the second call comes in time is up to the scheduler: it is given more and more of it.
    let joined = (0..20).any(|round| {
        let (first, second, conns) = meet(1 << round, Manager::trim_open_conns);
        assert_eq!(
            (first.joined, first.closed_connections),
            (false, 6),
            "the first closes what is to be closed"
        );
        assert!(closes(&conns).iter().all(|&times| times <= 1), "together they close nothing twice");
        if second.joined {
            let mut shared = first;
            shared.joined = true;
            assert_eq!(second, shared, "the report is that of the trim it waited for");
        } else {
            assert_eq!(second.outcome, TrimOutcome::NothingToDo, "come too late, it finds nothing to do");
        }
        second.joined
    });
    assert!(joined, "a call made in time joins");
}

#[test]
fn an_emergency_called_during_a_trim_waits_for_it_and_then_runs_its_own() {
    for round in [1, 100, 10_000] {
        let (first, second, conns) = meet(round, Manager::force_trim);
        assert_eq!((second.trigger, second.joined), (TrimTrigger::Emergency, false), "never joined");
        assert_eq!(
            (first.closed_connections, second.outcome),
            (6, TrimOutcome::NothingToDo),
            "there is no need"
        );
        assert_eq!(closes(&conns).iter().sum::<usize>(), 6, "nothing is closed twice");
    }
}

#[test]
fn a_changed_watermarks_trim_waits_for_one_that_runs_and_then_runs_its_own() {
    let lower = |manager: &Manager| manager.reconfigure(|settings| settings.low_water(2)).unwrap();
    let (first, second, conns) = meet(100, move |manager| lower(manager).expect("it was lowered"));
    assert_eq!((first.closed_connections, first.target), (6, 6), "down to the mark it began with");
    assert_eq!((second.trigger, second.joined), (TrimTrigger::Reconfigured, false), "never joined");
    assert_eq!(
        (second.closed_connections, closes(&conns).iter().sum::<usize>()),
        (2, 8),
        "down to the new one"
    );
}

#[test]
fn a_trim_whose_token_was_cancelled_before_closes_nothing() {
    let manager = manager(1, 100);
    let conns = connect(&manager, 0..9);
    let cancel = CancelToken::new();
    cancel.clone().cancel();
    assert!(cancel.is_cancelled(), "a clone is the same token");
    let report = manager.trim_open_conns_with(&cancel);
    assert_eq!((report.outcome, report.closed_connections), (TrimOutcome::Cancelled, 0), "it stops at once");
    assert_eq!((closes(&conns), manager.info().closing), (vec![0; 9], 0), "and claims nothing");
    assert_eq!(manager.trim_open_conns().closed_connections, 8, "other trims are not cancelled");
}

#[test]
fn a_trim_can_be_cancelled_after_it_has_chosen() {
    let cancel = CancelToken::new();
    let manager = {
        let cancel = cancel.clone();
        with_meanwhile(1, move |_| cancel.cancel())
    };
    let conns = connect(&manager, 0..9);
    let report = manager.trim_open_conns_with(&cancel);
    assert_eq!((report.outcome, report.target), (TrimOutcome::Cancelled, 8), "it knew what to close");
    assert_eq!((report.closed_connections, closes(&conns)), (0, vec![0; 9]), "and closed nothing");
}

/// A peer id that cancels a token when it has been cloned often enough.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Cancels(u64, Arc<Countdown>);

#[derive(Default, Debug)]
struct Countdown(AtomicUsize, CancelToken);

impl PartialEq for Countdown {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Countdown {}

impl std::hash::Hash for Countdown {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Clone for Cancels {
    fn clone(&self) -> Self {
        if self.1.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.1.cancel();
        }
        Self(self.0, Arc::clone(&self.1))
    }
}

#[test]
fn what_a_cancelled_trim_had_claimed_is_closed_and_reported() {
    let countdown = Arc::new(Countdown::default());
    countdown.0.store(usize::MAX, Ordering::Relaxed);
    let manager = BasicConnManager::<Cancels, Loopback>::builder()
        .low_water(1)
        .high_water(100)
        .grace_period(secs(0))
        .background(false)
        .build()
        .unwrap();
    let conns: Vec<_> = (0..20).map(Loopback::inbound).collect();
    for (peer, conn) in (0..).zip(&conns) {
        manager.connected(&Cancels(peer, Arc::clone(&countdown)), conn.clone());
    }
    countdown.0.store(4, Ordering::Relaxed);
    let report = manager.trim_open_conns_with(&countdown.1);
    assert_eq!(report.outcome, TrimOutcome::Cancelled, "it was cancelled between two claims");
    let closed: usize = closes(&conns).iter().sum();
    assert!(0 < closed && closed < report.target, "some were claimed by then and some not: {closed}");
    assert_eq!(
        (report.closed.len(), report.closed_connections),
        (closed, closed),
        "those claimed are reported"
    );
    assert_eq!(manager.info().closing, closed, "and no other is marked");
}

#[test]
fn trims_of_every_kind_never_overlap() {
    let clock = ManualClock::new();
    let within_trim = Arc::new(AtomicUsize::new(0));
    let (choosing, listening) = (Arc::clone(&within_trim), Arc::clone(&within_trim));
    let policy = Hooked(ByValue::reference(), move || {
        assert_eq!(choosing.fetch_add(1, Ordering::SeqCst), 0, "another trim has chosen and is not over");
    });
    // Every trim that has something to do asks the policy and is then heard of.
    let listener = move |report: &TrimReport<u64>| {
        if report.outcome != TrimOutcome::NothingToDo && report.trigger != TrimTrigger::Emergency {
            assert_eq!(listening.fetch_sub(1, Ordering::SeqCst), 1, "another trim has begun meanwhile");
        }
    };
    let manager = running(10, 20, &clock).policy(policy).on_trim(listener).build().unwrap();
    let conns: Vec<_> = (0..900).map(Loopback::inbound).collect();
    thread::scope(|scope| {
        let (manager, clock, conns) = (&manager, &clock, &conns);
        for thread in 0..3 {
            scope.spawn(move || {
                for (peer, conn) in (0..).zip(conns).skip(thread).step_by(3) {
                    manager.connected(&peer, conn.clone());
                    clock.advance(secs(5));
                    let report = if thread == 2 { manager.force_trim() } else { manager.trim_open_conns() };
                    assert_eq!(report.callback_panics, 0);
                }
            });
        }
    });
    assert_eq!(manager.close(), Ok(()), "the background trims, too");
    // The last connections may have come after the snapshot of the trim that their callers joined.
    clock.advance(secs(1_000_000));
    let _ = manager.trim_open_conns();
    let closes: Vec<_> = closes(&conns);
    assert!(closes.iter().all(|&times| times <= 1), "nothing is closed twice");
    assert_eq!(closes.iter().sum::<usize>(), conns.len() - 10, "down to low and no further");
    assert_eq!(within_trim.load(Ordering::SeqCst), 0, "every trim that began has ended");
}
