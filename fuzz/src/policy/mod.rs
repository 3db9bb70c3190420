//! Trims of whole populations that change while they are trimmed, against a brute-force reference.
//!
//! The population changes when the manager first asks a connection for its streams: after the trim's snapshot, before its first
//! claim. So the snapshot decides who is chosen, and what has changed since decides who is closed, spared or found gone.

mod expected;
mod population;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use connmgr::{
    BasicConnManager, ByValue, Candidate, Census, Direction, ManualClock, Rank, Target, TrimPolicy,
    TrimReport,
};

use crate::reference::{Standing, Task, Why, before};
use expected::expect;
use population::{Change, Event, Line, Member};

/// Peers are numbers below this.
const MOST_PEERS: usize = 40;

type Manager = BasicConnManager<u64, Line>;

thread_local! {
    /// What happens when a connection is next asked for its streams.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A policy of some program's: nothing like the crate's own.
#[derive(Clone, Copy, Debug)]
struct Odd {
    target: usize,
}

impl TrimPolicy for Odd {
    fn target(&self, _: &Census) -> usize {
        self.target
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        odd_rank(candidate.value, candidate.connections)
    }
}

fn odd_rank(value: i64, connections: usize) -> Rank {
    Rank((value % 11).saturating_mul(-7) % 5, connections as u64)
}

/// How victims are chosen.
#[derive(Clone, Copy, Debug)]
enum Choice {
    ByValue(Target),
    Odd(Odd),
}

/// Trims the population that `bytes` encode, and checks whom it closed, whom it spared and what it reported.
///
/// # Panics
///
/// If the reference has it otherwise.
pub fn policy(bytes: &[u8]) {
    run(&mut Unstructured::new(bytes)).expect("any bytes will do");
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    check_ranks(u)?;
    let low = u.int_in_range(1..=12)?;
    let grace = Duration::from_secs(u.int_in_range(0..=2)?);
    let why = if u.ratio(1_u8, 3)? { Why::Emergency } else { Why::Asked };
    let choice = match u.int_in_range(0..=2_u8)? {
        0 => Choice::ByValue(Target::Candidates),
        1 => Choice::ByValue(Target::Exact),
        _ => Choice::Odd(Odd { target: u.int_in_range(0..=60)? }),
    };
    let members: Vec<Member> = (0..u.int_in_range(1..=MOST_PEERS)?)
        .map(|peer| Member::decode(u, peer as u64))
        .collect::<Result<_>>()?;
    let mut after = members.clone();
    let mut events: Vec<(u64, Event)> = Vec::new();
    for _ in 0..u.int_in_range(0..=12)? {
        let peer = u.choose_index(members.len())?;
        let told = Change::decode(u)?.note(&mut after[peer]);
        events.extend(told.into_iter().map(|event| (peer as u64, event)));
    }
    // When the claims are made: at 3 s, or a second earlier by a clock that is set back, so that some are in their grace again.
    let claimed_at = if u.ratio(1_u8, 4)? { 2 } else { 3 };

    let clock = ManualClock::new();
    let builder = BasicConnManager::builder().low_water(low).high_water(1000).grace_period(grace).seed(1);
    let builder = builder.background(false).clock(clock.clone());
    let builder = match choice {
        Choice::ByValue(target) => builder.policy(ByValue { target }),
        Choice::Odd(odd) => builder.policy(odd),
    };
    let manager: Arc<Manager> = Arc::new(builder.build().expect("a valid configuration"));
    // Whoever comes at 2 s is in its grace period at 3 s, if that is 2 s long.
    for (now, late) in [(1, false), (2, true)] {
        clock.set(Duration::from_secs(now));
        members.iter().filter(|member| member.late == late).for_each(|member| member.enter(&manager));
    }
    clock.set(Duration::from_secs(3));

    let in_grace = |seen: u64, now: u64| Duration::from_secs(seen) + grace > Duration::from_secs(now);
    let standing = |member: &Member| member.standing(|came| in_grace(came, 3));
    let standings: Vec<Standing> = members.iter().map(standing).collect();
    let mut task = match choice {
        Choice::ByValue(target) => Task::new(standings, low, target, why),
        Choice::Odd(_) => Task::new(standings, low, Target::Exact, why),
    };
    if let (Choice::Odd(odd), Why::Asked) = (choice, why) {
        task.target = if task.open > low { odd.target } else { 0 };
    }
    // An order of the whole: brute force, with ties as they fall for that seed.
    let ties = ties(members.len());
    let goes_first = |a: &Standing, b: &Standing| match (choice, why) {
        (Choice::Odd(_), Why::Asked) => odd_rank(a.value, a.open.len()) < odd_rank(b.value, b.open.len()),
        _ => before(a, b, why),
    };
    let mut order: Vec<&Standing> = Vec::new();
    let mut left: Vec<&Standing> = task.candidates.iter().collect();
    left.sort_by_key(|standing| ties.iter().position(|peer| *peer == standing.peer));
    while !left.is_empty() {
        // The first before which nobody goes; of those, the first by tie.
        let first = (0..left.len()).find(|&at| left.iter().all(|other| !goes_first(other, left[at])));
        order.push(left.remove(first.expect("an order has a first")));
    }
    check_plan(&manager, &task, &order, why);

    let expected = expect(&task, &order, &after, |member| in_grace(member.came(), claimed_at), why);
    let (changing, clock) = (Arc::clone(&manager), clock.clone());
    MEANWHILE.set(Some(Box::new(move || {
        events.iter().for_each(|(peer, event)| event.tell(&changing, *peer));
        clock.set(Duration::from_secs(claimed_at));
    })));
    let report = match why {
        Why::Asked => manager.trim_open_conns(),
        Why::Emergency => manager.force_trim(),
    };
    if MEANWHILE.take().is_some() {
        assert!(task.candidates.is_empty(), "whoever may be chosen is asked for its streams");
        assert_eq!((report.candidates, report.closed_connections), (0, 0), "{report:?}");
        return Ok(());
    }
    assert_eq!(report.closed, expected.closed, "closed, of {task:?}");
    assert_eq!(report.spared, expected.spared, "spared, of {task:?}");
    assert_eq!((report.gone, report.outcome), (expected.gone, expected.outcome), "{report:?} of {task:?}");
    assert_eq!(
        (report.cutoff, report.lowest_kept),
        (expected.cutoff, expected.lowest_kept),
        "{report:?} of {task:?}"
    );
    assert_eq!((report.candidates, report.target), (task.of_candidates, task.target), "{report:?}");
    for line in after.iter().flat_map(|member| &member.every) {
        assert!(line.closes() <= 1, "closed twice: {line:?}");
    }
    let closes: usize = after.iter().flat_map(|member| &member.every).map(Line::closes).sum();
    assert_eq!(closes, report.closed_connections, "as many closes as reported");
    check_counts(&manager, &after, &report);
    Ok(())
}

/// A plan is what the reference has, when nothing changes meanwhile.
fn check_plan(manager: &Manager, task: &Task, order: &[&Standing], why: Why) {
    // Plans are of trims that are asked for.
    if why == Why::Emergency {
        return;
    }
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

fn check_counts(manager: &Manager, after: &[Member], report: &TrimReport<u64>) {
    let held: usize = after.iter().map(|member| member.lines.len()).sum();
    let info = manager.info();
    assert_eq!((info.connections, info.closing), (held, report.closed_connections), "counts do not drift");
}

/// How ties fall among that many peers, by the seed that every manager here has.
fn ties(peers: usize) -> Vec<u64> {
    let manager: Manager = BasicConnManager::builder()
        .low_water(1)
        .high_water(1000)
        .grace_period(Duration::ZERO)
        .background(false)
        .seed(1)
        .build()
        .expect("a valid configuration");
    for peer in 0..peers as u64 {
        manager.connected(&peer, Line::new(0, Direction::Inbound, None));
    }
    let mut order: Vec<u64> = manager.plan_trim().victims.iter().map(|victim| victim.peer).collect();
    // One is left.
    order.extend((0..peers as u64).find(|peer| !order.contains(peer)));
    order
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
