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
        // Nobody worth more than this is closed, from the first claim on.
        cutoff: first_chosen.map(|standing| standing.value).max(),
        lowest_kept: None,
    };
    let mut left: VecDeque<&Standing> = order.iter().copied().collect();
    // In an emergency, those protected since wait for their turn with the protected.
    let mut protected_since: VecDeque<&Standing> = VecDeque::new();
    let mut done = 0;
    while done < task.target {
        let late = left.is_empty();
        let Some(standing) = left.pop_front().or_else(|| protected_since.pop_front()) else {
            break;
        };
        let member = &after[standing.peer as usize];
        expected.cutoff = expected.cutoff.max(Some(standing.value));
        let kept = member.kept(standing.open.len());
        let spare = |reason| SparedPeer { peer: standing.peer, value: standing.value, reason };
        if kept.is_empty() {
            done += standing.open.len();
            expected.gone += standing.open.len();
        } else if why == Why::Emergency && member.protected && !standing.protected && !late {
            protected_since.push_back(standing);
        } else if why == Why::Asked && member.protected {
            expected.spared.push(spare(SpareReason::Protected));
        } else if why == Why::Asked && in_grace(member) {
            expected.spared.push(spare(SpareReason::InGrace));
        } else if Some(member.value) > expected.cutoff {
            expected.spared.push(spare(SpareReason::ValueRaised));
        } else {
            done += standing.open.len();
            expected.gone += standing.open.len() - kept.len();
            let reason = if why == Why::Asked { CloseReason::Trim } else { CloseReason::Emergency };
            let (peer, value, protected) = (standing.peer, member.value, member.protected);
            let inbound = kept.iter().filter(|line| line.direction() == Direction::Inbound).count();
            let connections = kept.len();
            expected.closed.push(ClosedPeer { peer, value, connections, inbound, reason, protected });
        }
    }
    for standing in protected_since {
        let (peer, value) = (standing.peer, standing.value);
        expected.spared.push(SparedPeer { peer, value, reason: SpareReason::Protected });
    }
    expected.lowest_kept = left.iter().map(|standing| standing.value).min();
    expected.outcome = task.outcome(done);
    expected
}
