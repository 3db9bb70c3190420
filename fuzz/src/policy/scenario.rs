//! What the bytes of an input stand for, and whom a trim has to choose.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use connmgr::{
    BasicConnManager, ByValue, Candidate, Census, Direction, ManualClock, Rank, Target, TrimPolicy,
};

use super::Manager;
use super::population::{Change, Event, Line, Member};
use crate::reference::{Standing, Task, Why, before};

/// Peers are numbers below this.
const MOST_PEERS: usize = 40;
/// The most changes to the population while it is trimmed.
const MOST_CHANGES: usize = 12;
/// When the trim begins.
const BEGUN_AT: Duration = Duration::from_secs(3);
/// Keys the hash, by which ties fall.
const SEED: u64 = 1;

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

/// A population, its trim, and what happens meanwhile.
#[derive(Debug)]
pub struct Scenario {
    low: usize,
    grace: Duration,
    choice: Choice,
    pub why: Why,
    members: Vec<Member>,
    /// What happens after the snapshot and before the first claim,
    pub events: Vec<(u64, Event)>,
    /// and what it makes of the members.
    pub after: Vec<Member>,
    /// When the claims are made: as the trim begins, or earlier by a clock that is set back, so that some are in their grace again.
    pub claimed_at: Duration,
}

impl Scenario {
    pub fn decode(u: &mut Unstructured<'_>) -> Result<Self> {
        let low = u.int_in_range(1..=12)?;
        let grace = Duration::from_secs(u.int_in_range(0..=2)?);
        let why = if u.ratio(1_u8, 3)? { Why::Emergency } else { Why::Asked };
        let choice = match u.int_in_range(0..=2_u8)? {
            0 => Choice::ByValue(Target::Candidates),
            1 => Choice::ByValue(Target::Exact),
            _ => Choice::Odd(Odd { target: u.int_in_range(0..=60)? }),
        };
        let claimed_at = if u.ratio(1_u8, 4)? { BEGUN_AT - Duration::from_secs(1) } else { BEGUN_AT };
        let peers = u.int_in_range(1..=MOST_PEERS)?;
        let members = (0..peers).map(|peer| Member::decode(u, peer as u64)).collect::<Result<Vec<_>>>()?;
        let mut after = members.clone();
        let mut events = Vec::new();
        for _ in 0..u.int_in_range(0..=MOST_CHANGES)? {
            let peer = u.choose_index(peers)?;
            let told = Change::decode(u)?.note(&mut after[peer]);
            events.extend(told.into_iter().map(|event| (peer as u64, event)));
        }
        Ok(Self { low, grace, choice, why, members, events, after, claimed_at })
    }

    /// A manager of the population, at the time of the trim.
    pub fn manager(&self, clock: &ManualClock) -> Manager {
        let builder =
            BasicConnManager::builder().low_water(self.low).high_water(1000).grace_period(self.grace);
        let builder = builder.seed(SEED).background(false).clock(clock.clone());
        let builder = match self.choice {
            Choice::ByValue(target) => builder.policy(ByValue { target }),
            Choice::Odd(odd) => builder.policy(odd),
        };
        let manager = builder.build().expect("a valid configuration");
        let mut members: Vec<&Member> = self.members.iter().collect();
        members.sort_by_key(|member| member.came());
        for member in members {
            clock.set(member.came());
            member.enter(&manager);
        }
        clock.set(BEGUN_AT);
        manager
    }

    pub fn in_grace_at_claims(&self, member: &Member) -> bool {
        member.came() + self.grace > self.claimed_at
    }

    /// What the trim has to do.
    pub fn task(&self) -> Task {
        let standing = |member: &Member| member.standing(member.came() + self.grace > BEGUN_AT);
        let standings = self.members.iter().map(standing).collect();
        match (self.choice, self.why) {
            (Choice::ByValue(target), _) => Task::new(standings, self.low, target, self.why),
            (Choice::Odd(_), Why::Emergency) => Task::new(standings, self.low, Target::Exact, self.why),
            (Choice::Odd(odd), Why::Asked) => {
                let mut task = Task::new(standings, self.low, Target::Exact, self.why);
                task.target = if task.open > self.low { odd.target } else { 0 };
                task
            }
        }
    }

    /// The order in which the candidates go, by brute force, with ties as they fall for the seed.
    pub fn order<'t>(&self, task: &'t Task) -> Vec<&'t Standing> {
        let goes_first = |a: &Standing, b: &Standing| match (self.choice, self.why) {
            (Choice::Odd(_), Why::Asked) => odd_rank(a.value, a.open.len()) < odd_rank(b.value, b.open.len()),
            _ => before(a, b, self.why),
        };
        let ties = ties(self.members.len());
        let mut left: Vec<&Standing> = task.candidates.iter().collect();
        left.sort_by_key(|standing| ties.iter().position(|peer| *peer == standing.peer));
        let mut order = Vec::new();
        while !left.is_empty() {
            // The first before which nobody goes; of those, the first by tie.
            let first = (0..left.len()).find(|&at| left.iter().all(|other| !goes_first(other, left[at])));
            order.push(left.remove(first.expect("an order has a first")));
        }
        order
    }
}

/// How ties fall among that many peers, by the seed that every manager here has: all are tied, and a plan lists all but one.
fn ties(peers: usize) -> Vec<u64> {
    let manager: Manager = BasicConnManager::builder()
        .low_water(1)
        .high_water(1000)
        .grace_period(Duration::ZERO)
        .background(false)
        .seed(SEED)
        .build()
        .expect("a valid configuration");
    for peer in 0..peers as u64 {
        manager.connected(&peer, Line::new(0, Direction::Inbound, None));
    }
    let mut order: Vec<u64> = manager.plan_trim().victims.iter().map(|victim| victim.peer).collect();
    order.extend((0..peers as u64).find(|peer| !order.contains(peer)));
    order
}
