//! What a trim of a population that changes is to report.

use std::collections::VecDeque;

use connmgr::{CloseReason, ClosedPeer, Connection, Direction, SpareReason, SparedPeer, TrimOutcome};

use super::population::Member;
use crate::reference::{Standing, Task, Why};

/// What a report is to say.
#[derive(Debug)]
pub struct Expected {
    pub closed: Vec<ClosedPeer<u64>>,
    pub spared: Vec<SparedPeer<u64>>,
    pub gone: usize,
    pub outcome: TrimOutcome,
    pub cutoff: Option<i64>,
    pub lowest_kept: Option<i64>,
}

/// Goes down `order` until the target of `task` is met, and does to each what is right by `after`, what has become of the population
/// since it was ordered.
pub fn expect(
    task: &Task,
    order: &[&Standing],
    after: &[Member],
    in_grace: impl Fn(&Member) -> bool,
    why: Why,
) -> Expected {
    let first_chosen = {
        let mut connections = 0;
        order.iter().take_while(move |standing| {
            let more = connections < task.target;
            connections += standing.open.len();
            more
        })
    };
    let mut expected = Expected {
        closed: Vec::new(),
        spared: Vec::new(),
        gone: 0,
        outcome: TrimOutcome::Reached,
        // Nobody worth more than this is closed, from the first claim on, unless an emergency comes back to it.
        cutoff: first_chosen.map(|standing| standing.value).max(),
        lowest_kept: None,
    };
    let mut left: VecDeque<&Standing> = order.iter().copied().collect();
    // In an emergency those who are spared have another turn, whatever they are worth by then: who was raised, before any who is protected,
    let mut raised: VecDeque<&Standing> = VecDeque::new();
    // and who was protected since, or raised and protected, after all others.
    let mut last: VecDeque<(&Standing, SpareReason)> = VecDeque::new();
    let mut done = 0;
    while done < task.target {
        let only_protected = left.front().is_none_or(|standing| standing.protected);
        let (standing, again, protected_too) = if only_protected && let Some(standing) = raised.pop_front() {
            (standing, true, false)
        } else if let Some(standing) = left.pop_front() {
            (standing, false, standing.protected)
        } else if let Some((standing, _)) = last.pop_front() {
            (standing, true, true)
        } else {
            break;
        };
        let member = &after[standing.peer as usize];
        expected.cutoff = expected.cutoff.max(Some(standing.value));
        let kept = member.kept(standing.open.len());
        if kept.is_empty() {
            done += standing.open.len();
            expected.gone += standing.open.len();
            continue;
        }
        let spared = if member.protected && !protected_too {
            Some(SpareReason::Protected)
        } else if why == Why::Asked && in_grace(member) {
            Some(SpareReason::InGrace)
        } else if Some(member.value) > expected.cutoff && !again {
            Some(SpareReason::ValueRaised)
        } else {
            None
        };
        match (why, spared) {
            (Why::Asked, Some(reason)) => expected.spared.push(spare(standing, reason)),
            (Why::Emergency, Some(SpareReason::ValueRaised)) if !member.protected => {
                raised.push_back(standing)
            }
            (Why::Emergency, Some(reason)) => last.push_back((standing, reason)),
            (_, None) => {
                done += standing.open.len();
                expected.gone += standing.open.len() - kept.len();
                expected.cutoff = expected.cutoff.max(Some(member.value));
                let reason = if why == Why::Asked { CloseReason::Trim } else { CloseReason::Emergency };
                let (peer, value, protected) = (standing.peer, member.value, member.protected);
                let inbound = kept.iter().filter(|line| line.direction() == Direction::Inbound).count();
                let connections = kept.len();
                expected.closed.push(ClosedPeer { peer, value, connections, inbound, reason, protected });
            }
        }
    }
    expected.spared.extend(raised.iter().map(|standing| spare(standing, SpareReason::ValueRaised)));
    expected.spared.extend(last.iter().map(|(standing, reason)| spare(standing, *reason)));
    expected.lowest_kept = left.iter().map(|standing| standing.value).min();
    expected.outcome = task.outcome(done);
    expected
}

fn spare(standing: &Standing, reason: SpareReason) -> SparedPeer<u64> {
    SparedPeer { peer: standing.peer, value: standing.value, reason }
}
