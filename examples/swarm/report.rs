//! What is printed: a line each second, and a table at the end.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use connmgr::swarm::Manager;
use libp2p::PeerId;

use crate::{
    checks::Evidence,
    hub::{Hub, short, standing},
    ledger::{Ledger, TrimLog},
    taggers::Taggers,
};

/// How many of the peers that were cut the table shows, the latest first.
const CUTS_SHOWN: usize = 20;

const SECOND: Duration = Duration::from_secs(1);

/// The line that is printed each second.
pub(crate) struct Progress {
    start: Instant,
    last: Instant,
    next: Instant,
    last_updates: u64,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, next: now + SECOND, last_updates: 0 }
    }

    pub(crate) fn print_if_due(&mut self, ledger: &Ledger, trims: &TrimLog, taggers: &Taggers) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let updates = taggers.updates();
        let rate = (updates - self.last_updates) as f64 / (now - self.last).as_secs_f64();
        println!(
            "{:>4} s  open {:>3}  closing {:>3}  opened {:>4}  trims {:>3}  trimmed {:>4}  \
             {:>7.3} M updates/s",
            (now - self.start).as_secs(),
            ledger.open(),
            ledger.closing(),
            ledger.total(),
            trims.count(),
            ledger.trimmed(),
            rate / 1e6,
        );
        self.last = now;
        self.last_updates = updates;
        // By the schedule and not by this line, which may be late.
        while self.next <= now {
            self.next += SECOND;
        }
    }
}

/// Prints who was kept and who was cut, with value and reason.
pub(crate) fn print_table(evidence: &Evidence<'_>, hub: &Hub, manager: &Manager) {
    let mut cuts = HashMap::<PeerId, usize>::new();
    for cut in evidence.trims.iter().flat_map(|trim| &trim.cut) {
        *cuts.entry(cut.peer).or_default() += 1;
    }
    println!("\n  peer      fate  standing   value  cuts  reason");
    print_kept(evidence, hub, manager, &cuts);
    print_cut(evidence, hub, &cuts);
    if hub.failed_handshakes() > 0 {
        println!("  {} handshakes failed", hub.failed_handshakes());
    }
    println!();
}

fn print_kept(evidence: &Evidence<'_>, hub: &Hub, manager: &Manager, cuts: &HashMap<PeerId, usize>) {
    let mut kept: Vec<(i64, PeerId)> = hub
        .connected_peers()
        .into_iter()
        .map(|peer| (manager.tag_info(&peer).map_or(0, |info| info.value), peer))
        .collect();
    kept.sort_unstable_by(|a, b| b.cmp(a));
    for (value, peer) in kept {
        let reason = reason_kept(evidence, &peer);
        print_row("kept", &peer, value, cuts, &reason);
    }
}

fn reason_kept(evidence: &Evidence<'_>, peer: &PeerId) -> String {
    if evidence.protected.contains(peer) {
        return "protected".into();
    }
    let opened = evidence
        .ledger
        .lives()
        .filter(|life| life.peer == *peer && life.closed.is_none())
        .map(|life| life.opened)
        .min();
    match (evidence.trims.last(), opened) {
        (None, _) => "nothing was trimmed".into(),
        (Some(trim), Some(opened)) if opened + evidence.config.grace > trim.reported => {
            "in grace at the last trim, or newer".into()
        }
        (Some(trim), _) => match trim.cutoff {
            Some(cutoff) => format!("passed the last trim, which cut up to {cutoff}"),
            None => "passed the last trim".into(),
        },
    }
}

fn print_cut(evidence: &Evidence<'_>, hub: &Hub, cuts: &HashMap<PeerId, usize>) {
    let connected = hub.connected_peers();
    let mut seen = connected.clone();
    let latest_first = evidence.trims.iter().enumerate().rev();
    let gone: Vec<_> = latest_first
        .flat_map(|(number, trim)| trim.cut.iter().map(move |cut| (number + 1, trim, cut)))
        .filter(|(_, _, cut)| seen.insert(cut.peer))
        .collect();
    for (number, trim, cut) in gone.iter().take(CUTS_SHOWN) {
        let reason = match trim.cutoff {
            Some(cutoff) => format!("trim {number}, which cut up to {cutoff}"),
            None => format!("trim {number}"),
        };
        print_row("cut", &cut.peer, cut.value, cuts, &reason);
    }
    if let Some(more) = gone.len().checked_sub(CUTS_SHOWN).filter(|&more| more > 0) {
        println!("  ... and {more} peers cut earlier that are not connected");
    }
}

fn print_row(fate: &str, peer: &PeerId, value: i64, cuts: &HashMap<PeerId, usize>, reason: &str) {
    let cuts = cuts.get(peer).copied().unwrap_or(0);
    println!("  {:<8}  {fate:<4}  {:>8}  {value:>6}  {cuts:>4}  {reason}", short(peer), standing(peer));
}
