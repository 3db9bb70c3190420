//! Trims of whole populations that change while they are trimmed, against a brute-force reference.
//!
//! The population changes when the manager first asks a connection for its streams: after the trim's snapshot, before its first
//! claim. So the snapshot decides who is chosen, and what has changed since decides who is closed, spared or found gone.

mod expected;
mod population;
mod scenario;

use std::cell::RefCell;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use connmgr::{BasicConnManager, ByValue, Candidate, Census, Direction, ManualClock, TrimPolicy, TrimReport};

use crate::reference::{Standing, Task, Why, before};
use expected::expect;
use population::{Line, Member};
use scenario::Scenario;

type Manager = BasicConnManager<u64, Line>;

thread_local! {
    /// What happens when a connection is next asked for its streams.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Trims the population that `bytes` encode, and checks whom it closed, whom it spared and what it reported.
///
/// # Panics
///
/// If the reference has it otherwise.
pub fn policy(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    check_ranks(&mut u).expect("any bytes will do");
    trim(Scenario::decode(&mut u).expect("any bytes will do"));
}

fn trim(scenario: Scenario) {
    let clock = ManualClock::new();
    let manager = Arc::new(scenario.manager(&clock));
    let why = scenario.why;
    let task = scenario.task();
    let order = scenario.order(&task);
    if why == Why::Asked {
        check_plan(&manager, &task, &order);
    }
    let expected = expect(&task, &order, &scenario.after, |member| scenario.in_grace_at_claims(member), why);
    let Scenario { after, events, claimed_at, .. } = scenario;
    let changing = Arc::clone(&manager);
    MEANWHILE.set(Some(Box::new(move || {
        events.iter().for_each(|(peer, event)| event.tell(&changing, *peer));
        clock.set(claimed_at);
    })));
    let report = match why {
        Why::Asked => manager.trim_open_conns(),
        Why::Emergency => manager.force_trim(),
    };
    if MEANWHILE.take().is_some() {
        assert!(task.candidates.is_empty(), "whoever may be chosen is asked for its streams");
        assert_eq!((report.candidates, report.closed_connections), (0, 0), "{report:?}");
        return;
    }
    assert_eq!(report.closed, expected.closed, "closed, of {task:?}");
    assert_eq!(report.spared, expected.spared, "spared, of {task:?}");
    assert_eq!((report.gone, report.outcome), (expected.gone, expected.outcome), "{report:?} of {task:?}");
    let bounds = (report.cutoff, report.lowest_kept);
    assert_eq!(bounds, (expected.cutoff, expected.lowest_kept), "{report:?} of {task:?}");
    assert_eq!((report.candidates, report.target), (task.of_candidates, task.target), "{report:?}");
    check_counts(&manager, &after, &report);
}

/// A plan is what the reference has of a trim that is asked for, when nothing changes meanwhile.
fn check_plan(manager: &Manager, task: &Task, order: &[&Standing]) {
    let plan = manager.plan_trim();
    let mut connections = 0;
    let needed = order.iter().take_while(|standing| {
        let more = connections < task.target;
        connections += standing.open.len();
        more
    });
    let expected: Vec<u64> = needed.map(|standing| standing.peer).collect();
    let planned: Vec<u64> = plan.victims.iter().map(|victim| victim.peer).collect();
    assert_eq!((planned, plan.target), (expected, task.target), "the plan of {task:?}");
}

/// Each connection was closed once at most, as many as were reported, and the counts do not drift.
fn check_counts(manager: &Manager, after: &[Member], report: &TrimReport<u64>) {
    let closes: Vec<usize> = after.iter().flat_map(|member| &member.every).map(Line::closes).collect();
    assert!(closes.iter().all(|closes| *closes <= 1), "closed twice: {report:?}");
    assert_eq!(closes.iter().sum::<usize>(), report.closed_connections, "as many as reported");
    let held: usize = after.iter().map(|member| member.lines.len()).sum();
    let info = manager.info();
    assert_eq!((info.connections, info.closing), (held, report.closed_connections), "counts do not drift");
}

/// Two candidates of any facts rank as the reference has it, and targets are what they are said to be.
fn check_ranks(u: &mut Unstructured<'_>) -> Result<()> {
    let mut standing = |peer| -> Result<Standing> {
        let value = *u.choose(&[0, 0, 1, -1, i64::MIN, i64::MAX])?;
        let direction = if u.arbitrary()? { Direction::Inbound } else { Direction::Outbound };
        let streams = *u.choose(&[None, Some(0), Some(1), Some(2), Some(1 << 61), Some(usize::MAX)])?;
        Ok(Standing { peer, value, protected: false, in_grace: false, open: vec![(direction, streams)] })
    };
    let (a, b) = (standing(0)?, standing(1)?);
    let rank = |standing: &Standing| {
        let (direction, streams) = standing.open[0];
        let inbound = direction == Direction::Inbound;
        ByValue::reference().rank(&Candidate::new(standing.value, 1, streams, inbound))
    };
    assert_eq!(rank(&a) < rank(&b), before(&a, &b, Why::Asked), "{a:?} and {b:?}");
    assert_eq!(rank(&b) < rank(&a), before(&b, &a, Why::Asked), "{a:?} and {b:?}");
    let [low, open, candidates] = [u.arbitrary::<u8>()?, u.arbitrary()?, u.arbitrary()?].map(usize::from);
    let census = Census::new(low, low, open, candidates);
    assert_eq!(ByValue::reference().target(&census), candidates.max(low) - low, "{census:?}");
    assert_eq!(ByValue::exact().target(&census), open.max(low) - low, "{census:?}");
    Ok(())
}
