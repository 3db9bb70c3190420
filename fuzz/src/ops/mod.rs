//! Programs of one thread, each answer compared with an oracle's.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, ByValue, CancelToken, CloseReason, MAX_WEIGHT, MIN_WEIGHT, ManualClock, PeerHandle,
    Snapshot, Target, TrimOutcome, TrimReport, TrimTrigger,
};

use crate::reference::{Task, Ties, Why};
use oracle::{Oracle, Peer, Settings, time_of_day};

/// Peers that most operations are about.
const PEERS: u64 = 6;
/// The first of the peers that come and go by the hundred, to have tables grow and shrink.
const CROWD: u64 = 1000;
/// Connection ids of a peer.
const IDS: u64 = 3;
const NAMES: [&str; 4] = ["a", "b", "", "a longer name"];
/// Snapshots that are held at most, each with what it has to show.
const MOST_SNAPSHOTS: usize = 3;

type Manager = BasicConnManager<u64, Loopback>;

/// Runs the program that `bytes` encode on a manager and on the oracle, and compares whatever they answer.
///
/// # Panics
///
/// If an answer differs.
pub fn ops(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let settings = settings(&mut u).expect("any bytes will do");
    let clock = ManualClock::new();
    let policy = ByValue { target: settings.policy };
    let manager = BasicConnManager::builder()
        .low_water(settings.low)
        .high_water(settings.high)
        .grace_period(settings.grace)
        .policy(policy)
        .clock(clock.clone())
        .background(false)
        .seed(1)
        .build()
        .expect("a valid configuration");
    let mut player = Player {
        manager: &manager,
        clock,
        oracle: Oracle::new(settings),
        ties: Ties::default(),
        handles: (0..PEERS).map(|peer| manager.peer(&peer)).collect(),
        snapshots: Vec::new(),
        opened: Vec::new(),
        closes: 0,
    };
    while !u.is_empty() {
        player.step(&mut u).expect("any bytes will do");
        player.check_info();
    }
    player.finish();
}

fn settings(u: &mut Unstructured<'_>) -> Result<Settings> {
    let low = u.int_in_range(0..=7)?;
    let high = if u.ratio(1_u8, 8)? { 0 } else { low + u.int_in_range(0..=3)? };
    let grace = Duration::from_secs(u.int_in_range(0..=3)?);
    let policy = if u.arbitrary()? { Target::Exact } else { Target::Candidates };
    Ok(Settings { low, high, grace, policy })
}

struct Player<'m> {
    manager: &'m Manager,
    clock: ManualClock,
    oracle: Oracle,
    ties: Ties,
    handles: Vec<PeerHandle<'m, u64, Loopback>>,
    /// Each with what there was when it was taken.
    snapshots: Vec<(Snapshot<'m, u64, Loopback>, BTreeMap<u64, Peer>)>,
    /// Every connection there was.
    opened: Vec<Loopback>,
    /// How many of them trims have closed.
    closes: usize,
}

impl Player<'_> {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let kind = u.int_in_range(0..=23_u8)?;
        let peer = u.int_in_range(0..=PEERS - 1)?;
        let name = *u.choose(&NAMES)?;
        match kind {
            0..4 => self.upsert(u, peer, name)?,
            4 => self.untag(u, peer, name)?,
            5 => self.tag_value(u, peer, name)?,
            6 => assert_eq!(self.manager.tag_info(&peer), self.oracle.tag_info(peer), "tag_info({peer})"),
            7 => {
                let (found, expected) = (self.manager.protect(&peer, name), self.oracle.protect(peer, name));
                assert_eq!(found, expected, "protect({peer}, {name})");
            }
            8 => {
                let (found, expected) =
                    (self.manager.unprotect(&peer, name), self.oracle.unprotect(peer, name));
                assert_eq!(found, expected, "unprotect({peer}, {name})");
            }
            9 => {
                let name = u.arbitrary::<bool>()?.then_some(name);
                let found = self.manager.is_protected(&peer, name);
                assert_eq!(found, self.oracle.is_protected(peer, name), "is_protected({peer}, {name:?})");
            }
            10..13 => self.connected(u, peer)?,
            13 => {
                let id = u.int_in_range(0..=IDS - 1)?;
                self.manager.disconnected(&peer, &id);
                self.oracle.disconnected(peer, id);
            }
            14 => self.set_streams(u, peer)?,
            15 => self.trim(Why::Asked),
            16 => self.trim(Why::Emergency),
            17 => self.plan(),
            18 => self.cancelled_trim(),
            19 => {
                let by = Duration::from_secs(u.int_in_range(0..=3)?);
                self.clock.advance(by);
                self.oracle.now += by;
            }
            20 if u.ratio(1_u8, 4)? => {
                // Backwards, most of the time.
                let now = Duration::from_secs(u.int_in_range(0..=7)?);
                self.clock.set(now);
                self.oracle.now = now;
            }
            20 | 21 => self.take_or_release_snapshot(),
            22 => {
                let crowd = CROWD..CROWD + u.int_in_range(0..=100)?;
                crowd.for_each(|peer| self.set(peer, NAMES[0], 1));
            }
            _ => {
                let crowd = CROWD..CROWD + u.int_in_range(0..=100)?;
                for peer in crowd {
                    self.manager.untag_peer(&peer, NAMES[0]);
                    self.oracle.untag(peer, NAMES[0]);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, peer: u64, name: &str, value: i64) {
        self.manager.tag_peer(&peer, name, value);
        self.oracle.upsert(peer, name, |_| value);
    }

    fn upsert(&mut self, u: &mut Unstructured<'_>, peer: u64, name: &str) -> Result<()> {
        let near = i64::from(u.arbitrary::<i8>()?);
        let by = *u.choose(&[near, near, near, MAX_WEIGHT, MIN_WEIGHT, i64::MAX, i64::MIN])?;
        let how = u.int_in_range(0..=3_u8)?;
        let upsert = |value: i64| match how {
            0 => by,
            1 => value.saturating_mul(2),
            _ => value.saturating_add(by),
        };
        let found = match u.int_in_range(0..=2_u8)? {
            0 => self.manager.upsert_tag(&peer, name, upsert),
            1 => self.handles[peer as usize].upsert_tag(name, upsert),
            _ => {
                let tag = self.manager.tag(name);
                assert_eq!(tag.name(), name, "a tag has its name");
                self.manager.upsert_tag(&peer, &tag, upsert)
            }
        };
        assert_eq!(found, self.oracle.upsert(peer, name, upsert), "upsert_tag({peer}, {name})");
        Ok(())
    }

    fn untag(&mut self, u: &mut Unstructured<'_>, peer: u64, name: &str) -> Result<()> {
        match u.arbitrary()? {
            true => self.manager.untag_peer(&peer, name),
            false => self.handles[peer as usize].untag_peer(name),
        }
        self.oracle.untag(peer, name);
        Ok(())
    }

    fn tag_value(&mut self, u: &mut Unstructured<'_>, peer: u64, name: &str) -> Result<()> {
        let found = match u.arbitrary()? {
            true => self.manager.tag_value(&peer, name),
            false => self.handles[peer as usize].tag_value(name),
        };
        assert_eq!(found, self.oracle.tag_value(peer, name), "tag_value({peer}, {name})");
        Ok(())
    }

    fn connected(&mut self, u: &mut Unstructured<'_>, peer: u64) -> Result<()> {
        let id = u.int_in_range(0..=IDS - 1)?;
        let conn = if u.arbitrary()? { Loopback::inbound(id) } else { Loopback::outbound(id) };
        let conn = match u.int_in_range(0..=3_usize)? {
            0 => conn,
            known => conn.with_streams(known - 1),
        };
        self.manager.connected(&peer, conn.clone());
        self.opened.push(conn.clone());
        self.oracle.connected(peer, conn);
        Ok(())
    }

    fn set_streams(&mut self, u: &mut Unstructured<'_>, peer: u64) -> Result<()> {
        let streams = *u.choose(&[0, 1, 2, 9, usize::MAX - 1])?;
        let held = self.oracle.peers.get(&peer).and_then(|peer| peer.conns.first());
        if let Some(held) = held {
            // What the manager holds is the same connection.
            let _ = held.conn.clone().with_streams(streams);
        }
        Ok(())
    }

    fn enabled(&self) -> bool {
        self.oracle.settings.low > 0 && self.oracle.settings.high > 0
    }

    fn trim(&mut self, why: Why) {
        let (report, trigger, reason) = match why {
            Why::Asked => (self.manager.trim_open_conns(), TrimTrigger::Explicit, CloseReason::Trim),
            Why::Emergency => (self.manager.force_trim(), TrimTrigger::Emergency, CloseReason::Emergency),
        };
        assert_eq!(report.trigger, trigger, "whatever set it off");
        let Some(task) = self.begin_trim(&report, why) else { return };
        let chosen: Vec<u64> = report.closed.iter().map(|closed| closed.peer).collect();
        self.ties.check(&task, &chosen, why);
        assert_eq!(
            (report.candidates, report.target),
            (task.of_candidates, task.target),
            "what it had to do"
        );
        let mut connections = 0;
        for closed in &report.closed {
            let standing = task.candidates.iter().find(|candidate| candidate.peer == closed.peer);
            let standing = standing.expect("checked to be a candidate");
            let expected = (standing.value, standing.open.len(), standing.protected, reason);
            assert_eq!(
                (closed.value, closed.connections, closed.protected, closed.reason),
                expected,
                "{closed:?}"
            );
            connections += standing.open.len();
            self.oracle.claim(closed.peer);
        }
        assert_eq!(report.closed_connections, connections, "the sum");
        self.closes += connections;
        assert_eq!(report.outcome, task.outcome(connections), "{report:?}");
        self.check_bounds(&report, &task, &chosen);
    }

    /// What every trim does, whether or not it is to close anything; what it is to close, if it may.
    fn begin_trim(&mut self, report: &TrimReport<u64>, why: Why) -> Option<Task> {
        // A peer that is expendable has no connection, so it makes no difference to what is left to do.
        assert_eq!(report.expired, self.oracle.expire(), "temporary records past their grace");
        self.oracle.last_trim = Some(self.oracle.now);
        assert!(!report.joined && report.spared.is_empty(), "nobody else is there: {report:?}");
        assert_eq!((report.gone, report.callback_panics, report.elapsed), (0, 0, Duration::ZERO));
        if self.enabled() {
            return Some(self.oracle.task(why));
        }
        assert_eq!((report.outcome, report.closed.len()), (TrimOutcome::Disabled, 0), "a watermark is zero");
        None
    }

    /// The highest value chosen and the lowest value left.
    fn check_bounds(&self, report: &TrimReport<u64>, task: &Task, chosen: &[u64]) {
        let (gone, left): (Vec<_>, Vec<_>) =
            task.candidates.iter().partition(|candidate| chosen.contains(&candidate.peer));
        assert_eq!(report.cutoff, gone.iter().map(|candidate| candidate.value).max(), "the cut-off");
        assert_eq!(report.lowest_kept, left.iter().map(|candidate| candidate.value).min(), "the lowest kept");
    }

    fn cancelled_trim(&mut self) {
        let cancelled = CancelToken::new();
        cancelled.cancel();
        let report = self.manager.trim_open_conns_with(&cancelled);
        let Some(task) = self.begin_trim(&report, Why::Asked) else { return };
        assert!(report.closed.is_empty(), "cancelled before the first claim: {report:?}");
        let expected = match task.target {
            0 => task.outcome(0),
            _ => TrimOutcome::Cancelled,
        };
        assert_eq!(report.outcome, expected, "{report:?}");
    }

    fn plan(&mut self) {
        let plan = self.manager.plan_trim();
        if !self.enabled() {
            assert_eq!((plan.outcome, plan.victims.len()), (TrimOutcome::Disabled, 0), "a watermark is zero");
            return;
        }
        let task = self.oracle.task(Why::Asked);
        let chosen: Vec<u64> = plan.victims.iter().map(|victim| victim.peer).collect();
        self.ties.check(&task, &chosen, Why::Asked);
        let connections = plan.victims.iter().map(|victim| victim.connections).sum();
        assert_eq!(plan.outcome, task.outcome(connections), "{plan:?}");
        assert_eq!((plan.candidates, plan.target), (task.of_candidates, task.target), "{plan:?}");
        assert_eq!(plan.cutoff, plan.victims.iter().map(|victim| victim.value).max(), "the cut-off");
        for victim in &plan.victims {
            let standing = task.candidates.iter().find(|candidate| candidate.peer == victim.peer);
            let standing = standing.expect("checked to be a candidate");
            assert_eq!(
                (victim.value, victim.connections),
                (standing.value, standing.open.len()),
                "{victim:?}"
            );
        }
    }

    /// Takes a snapshot, or gives up the oldest if enough are held. Whatever happens meanwhile, it shows what there was.
    fn take_or_release_snapshot(&mut self) {
        if self.snapshots.len() < MOST_SNAPSHOTS {
            self.snapshots.push((self.manager.snapshot(), self.oracle.peers.clone()));
        } else {
            let (snapshot, peers) = self.snapshots.remove(0);
            check_snapshot(&snapshot, &peers);
        }
    }

    fn check_info(&self) {
        let (info, oracle) = (self.manager.info(), &self.oracle);
        let counts = (info.connections, info.closing, info.tag_names, info.ignored_events);
        let (held, closing) = (oracle.connections(|_| true), oracle.connections(|held| held.closing));
        assert_eq!(counts, (held, closing, oracle.names.len(), oracle.ignored), "{info:?}");
        assert_eq!(info.last_trim, oracle.last_trim.map(time_of_day), "the last trim's end");
        assert!(info.peers >= oracle.peers.len(), "those on their way out are counted, too");
    }

    fn finish(mut self) {
        self.snapshots.push((self.manager.snapshot(), self.oracle.peers.clone()));
        for (snapshot, peers) in &self.snapshots {
            check_snapshot(snapshot, peers);
        }
        for held in self.oracle.peers.values().flat_map(|peer| &peer.conns) {
            assert_eq!(held.conn.closes(), usize::from(held.closing), "closed if claimed, and once");
        }
        let closes: usize = self.opened.iter().map(Loopback::closes).sum();
        assert_eq!(closes, self.closes, "no other connection was closed");
    }
}

/// Compares a snapshot, listed and looked up, with what there was when it was taken.
fn check_snapshot(snapshot: &Snapshot<'_, u64, Loopback>, peers: &BTreeMap<u64, Peer>) {
    let listed: Vec<u64> = snapshot.iter().map(|view| *view.peer()).collect();
    let distinct: BTreeSet<u64> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "each peer once: {listed:?}");
    assert!(distinct.iter().eq(peers.keys()), "listed {distinct:?}, of {:?}", peers.keys());
    for (peer, expected) in peers {
        let view = snapshot.get(peer).unwrap_or_else(|| panic!("{peer} is in the snapshot"));
        let tags: BTreeMap<String, i64> =
            view.tags().map(|(name, value)| (name.to_string(), value)).collect();
        assert_eq!((view.value(), &tags), (expected.value(), &expected.tags), "tags of {peer}");
        let protections: BTreeSet<String> = view.protections().map(|name| name.to_string()).collect();
        assert_eq!(protections, expected.protections, "protections of {peer}");
        assert_eq!(view.is_protected(), !protections.is_empty());
        assert_eq!(view.connections(), expected.conns.len(), "connections of {peer}");
        assert_eq!(view.conns().collect::<Vec<_>>(), expected.conn_infos(), "connections of {peer}");
        assert_eq!(view.first_seen(), time_of_day(expected.first_seen), "first-seen time of {peer}");
    }
    for stranger in (0..PEERS).filter(|peer| !peers.contains_key(peer)) {
        assert!(snapshot.get(&stranger).is_none(), "{stranger} is not in the snapshot");
    }
}
