//! Settings changed at run time.
#![expect(clippy::disallowed_types, reason = "tests collect what threads and callbacks say")]

mod common;

use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use common::{
    LIMIT, Late, builder, closed, closes, connect, connect_valued, manager, next_check, secs, settle,
    watched, within,
};
use connmgr::testing::Loopback;
use connmgr::{
    ByValue, Candidate, Census, ConfigError, GracePer, Rank, Settings, TrimOutcome, TrimPolicy, TrimTrigger,
};

fn per_second(closes: u32) -> NonZeroU32 {
    NonZeroU32::new(closes).expect("not zero")
}

fn at_most(closes: usize) -> NonZeroUsize {
    NonZeroUsize::new(closes).expect("not zero")
}

#[test]
fn a_lowered_watermark_trims_at_once_in_the_policys_order_and_says_whom() {
    let manager = manager(20, 40);
    let conns = connect_valued(&manager, 0..15);
    manager.protect(&2, "p");
    let report =
        manager.reconfigure(|settings| settings.low_water(10).high_water(30)).unwrap().expect("lowered");
    assert_eq!((report.trigger, report.outcome), (TrimTrigger::Reconfigured, TrimOutcome::Reached));
    assert_eq!(closed(&report), [0, 1, 3, 4], "fourteen candidates less ten, lowest value first");
    assert_eq!(closes(&conns).iter().sum::<usize>(), 4);
    let info = manager.info();
    assert_eq!((info.low_water, info.high_water, info.closing), (10, 30, 4), "told");
    let report = manager.reconfigure(|settings| settings.high_water(25)).unwrap().expect("lowered");
    assert_eq!(report.target, 0, "eleven open, ten candidates: the reference wants nothing more");
    let report = manager.reconfigure(|settings| settings.low_water(9)).unwrap().expect("lowered");
    assert_eq!(closed(&report), [5], "the low one alone");
}

#[test]
fn settings_that_lower_no_watermark_trim_nothing() {
    let manager = manager(5, 40);
    let conns = connect_valued(&manager, 0..15);
    let changes: [&dyn Fn(Settings) -> Settings; 5] = [
        &|settings| settings,
        &|settings| settings.low_water(6).high_water(50),
        &|settings| settings.grace_period(secs(1)).silence_period(secs(1)),
        &|settings| settings.policy(ByValue::exact()),
        &|settings| settings.low_water(0),
    ];
    for change in changes {
        assert_eq!(manager.reconfigure(change).unwrap(), None, "nothing was lowered");
    }
    assert_eq!((closes(&conns), manager.info().last_trim), (vec![0; 15], None), "and there was no trim");
    manager.reconfigure(|settings| settings.grace_period(secs(0))).unwrap();
    let report = manager.reconfigure(|settings| settings.low_water(9)).unwrap().expect("enabled");
    assert_eq!(report.closed_connections, 6, "from disabled to any watermark is lower");
}

#[test]
fn settings_that_contradict_themselves_change_nothing() {
    let manager = manager(20, 40);
    connect(&manager, 0..30);
    let before = manager.info();
    let refused =
        manager.reconfigure(|settings| settings.low_water(1).high_water(30).silence_period(secs(0)));
    assert_eq!(refused, Err(ConfigError::ZeroSilence), "one setting of three is wrong");
    let refused = manager.reconfigure(|settings| settings.high_water(19));
    assert_eq!(refused, Err(ConfigError::LowAboveHigh { low: 20, high: 19 }));
    let panics = catch_unwind(AssertUnwindSafe(|| manager.reconfigure(|_| panic!("fails on purpose"))));
    assert!(panics.is_err(), "its panic is the caller's");
    assert_eq!(manager.info(), before, "no part of it was taken");
}

#[test]
fn every_setting_can_be_changed_and_read() {
    let manager = manager(20, 40);
    let set = |settings: Settings| {
        settings
            .low_water(1)
            .high_water(2)
            .grace_period(secs(3))
            .silence_period(secs(4))
            .grace_per(GracePer::Connection)
            .keep_tags(secs(5))
            .steady(at_most(6))
            .close_rate(per_second(7))
            .policy(ByValue::exact())
    };
    let _ = manager.reconfigure(set).unwrap();
    let (info, settings) = (manager.info(), manager.settings());
    assert_eq!((info.low_water, info.high_water), (1, 2));
    assert_eq!((info.grace_period, info.silence_period, info.keep_tags), (secs(3), secs(4), secs(5)));
    assert_eq!((info.grace_per, info.steady), (GracePer::Connection, Some(at_most(6))));
    assert_eq!(info.close_rate, Some(per_second(7)));
    assert_eq!(
        format!("{settings:?}"),
        format!("{:?}", set(Settings::default())),
        "whatever they were before"
    );
    assert_eq!(settings.policy.target(&Census::new(10, 20, 30, 12)), 20, "the exact policy");
    let built = common::builder(9, 9).settings(settings).build().unwrap().info();
    assert_eq!((built.low_water, built.steady), (1, Some(at_most(6))), "a builder takes them, too");
}

#[test]
fn a_policy_can_be_swapped_and_shared() {
    let manager = manager(5, 40);
    connect_valued(&manager, 0..10);
    for peer in 0..4 {
        manager.protect(&peer, "p");
    }
    assert_eq!(manager.plan_trim().target, 1, "six candidates less five");
    let exact: Arc<dyn TrimPolicy> = Arc::new(ByValue::exact());
    manager.reconfigure(|settings| settings.policy(Arc::clone(&exact))).unwrap();
    assert_eq!(manager.plan_trim().target, 5, "ten open less five");
}

#[test]
fn a_shorter_silence_period_holds_at_once() {
    let (manager, clock, told) = watched(builder(5, 10));
    connect_valued(&manager, 0..15);
    clock.set(secs(5));
    settle(&clock);
    assert!(told.try_recv().is_err(), "ten seconds have not passed");
    manager.reconfigure(|settings| settings.silence_period(secs(4))).unwrap();
    let report = told.recv_timeout(LIMIT).expect("but four have, and the thread is woken to see that");
    assert_eq!((report.trigger, report.closed_connections), (TrimTrigger::Background, 10));
}

/// Calls its hook while the candidates are gathered: when a trim has begun, and before it knows how many to close.
struct WhileGathering<F>(F);

impl<F: Fn() + Send + Sync + 'static> TrimPolicy for WhileGathering<F> {
    fn target(&self, census: &Census) -> usize {
        ByValue::exact().target(census)
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        (self.0)();
        ByValue::exact().rank(candidate)
    }
}

#[test]
fn a_trim_goes_by_the_settings_it_began_with_and_a_change_by_its_policy_is_made_up_for() {
    let late = Late::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let (late, heard) = (late.clone(), Arc::clone(&heard));
        move || {
            let mut heard = heard.lock().unwrap();
            if heard.is_empty() {
                let lower = |settings: Settings| settings.low_water(2).policy(ByValue::exact());
                let report = late.get().reconfigure(lower).unwrap().expect("lowered");
                heard.push((report.trigger, report.outcome));
            }
        }
    };
    let (manager, clock, told) = watched(builder(8, 100).policy(WhileGathering(hook)));
    late.set(&manager);
    connect_valued(&manager, 0..10);
    let report = within("a trim whose policy reconfigures", {
        let manager = Arc::clone(&manager);
        move || manager.trim_open_conns()
    });
    assert_eq!(
        *heard.lock().unwrap(),
        [(TrimTrigger::Reconfigured, TrimOutcome::Reentrant)],
        "it cannot wait"
    );
    assert_eq!((report.target, closed(&report)), (2, vec![0, 1]), "ten less eight, as when it began");
    assert_eq!(manager.info().low_water, 2, "though the settings are changed");
    assert_eq!(told.try_recv().map(|report| report.trigger), Ok(TrimTrigger::Explicit));
    next_check(&clock);
    let report = told.try_recv().expect("owed, though that trim reached its own target");
    assert_eq!(report.trigger, TrimTrigger::Background);
    assert_eq!(closed(&report), [2, 3, 4, 5, 6, 7], "it goes by the new ones");
}

#[test]
fn a_change_from_a_callback_is_made_up_for_by_the_background() {
    let late = Late::default();
    let (manager, clock, told) = watched(builder(8, 100));
    late.set(&manager);
    let (tell, tells) = mpsc::channel();
    let conn = {
        let late = late.clone();
        Loopback::closing_with(0, move |_| {
            let report = late.get().reconfigure(|settings| settings.low_water(4)).unwrap();
            tell.send(report.expect("lowered").outcome).unwrap();
        })
    };
    manager.connected(&0, conn);
    manager.tag_peer(&0, "value", -1);
    connect_valued(&manager, 1..10);
    let trimming = Arc::clone(&manager);
    let report = within("a trim whose callback reconfigures", move || trimming.trim_open_conns());
    assert_eq!(closed(&report), [0, 1], "ten less eight");
    assert_eq!(tells.try_recv(), Ok(TrimOutcome::Reentrant));
    assert_eq!(told.try_recv().map(|report| report.trigger), Ok(TrimTrigger::Explicit));
    next_check(&clock);
    let report = told.try_recv().expect("owed, though far below the high watermark");
    assert_eq!(
        (report.trigger, closed(&report)),
        (TrimTrigger::Background, vec![2, 3, 4, 5]),
        "down to four"
    );
}

#[test]
fn changes_by_several_threads_at_once_are_all_made() {
    let manager = Arc::new(manager(1, 1_000));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let manager = Arc::clone(&manager);
            thread::spawn(move || {
                for _ in 0..250 {
                    let more = |settings: Settings| {
                        let high = settings.high_water + 1;
                        settings.high_water(high)
                    };
                    assert_eq!(manager.reconfigure(more).unwrap(), None, "nothing is lowered");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(manager.info().high_water, 2_000, "each change once");
}
