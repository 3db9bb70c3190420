//! Each failure can be found, and a good run passes.

use std::time::Instant;

use libp2p::swarm::ConnectionId;

use super::*;
use crate::{
    args::{self, Command},
    ledger::Cut,
};

/// A run of one trim, at second 10: peers of standing 0, 1, 2 and 3 and a protected one of
/// standing 0 came at second 0, and those of standing 0 and 1 were cut.
struct Case {
    config: Config,
    start: Instant,
    protected: HashSet<PeerId>,
    peers: Vec<PeerId>,
    ledger: Ledger,
    trims: Vec<Trim>,
    manager_count: usize,
    swarm_count: usize,
}

fn peer(wanted: i64) -> PeerId {
    loop {
        let peer = PeerId::random();
        if standing(&peer) == wanted {
            return peer;
        }
    }
}

impl Case {
    fn good() -> Self {
        Self::cutting(&[0, 1])
    }

    fn cutting(cut: &[usize]) -> Self {
        let args = "--peers 6 --high 5 --low 2".split(' ').map(Into::into);
        let Ok(Command::Run(config)) = args::parse(args) else {
            panic!("the arguments are good");
        };
        let peers: Vec<PeerId> = [0, 1, 2, 3, 0].into_iter().map(peer).collect();
        let mut case = Self {
            config,
            start: Instant::now(),
            protected: HashSet::from([peers[4]]),
            ledger: Ledger::default(),
            trims: Vec::new(),
            manager_count: 3,
            swarm_count: 3,
            peers,
        };
        for (number, &peer) in case.peers.iter().enumerate() {
            case.ledger.opened(id(number), peer, case.start);
        }
        for &number in cut {
            case.ask_to_close(number);
            case.ledger.closed(id(number), case.at(11));
        }
        case.trims.push(Trim {
            reported: case.at(10),
            elapsed: Duration::from_secs(1),
            cut: vec![Cut { peer: case.peers[0], value: 100 }],
            spared: Vec::new(),
            reached: true,
            cutoff: Some(10_100),
            lowest_kept: Some(20_000),
        });
        case
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn ask_to_close(&mut self, number: usize) {
        let request = CloseRequest { at: self.at(9), reason: CloseReason::Trim };
        self.ledger.close_asked(id(number), self.peers[number], request);
    }

    fn verdict(&self) -> Vec<Failure> {
        verify(&Evidence {
            config: &self.config,
            protected: &self.protected,
            ledger: &self.ledger,
            trims: &self.trims,
            manager_count: self.manager_count,
            swarm_count: self.swarm_count,
        })
    }
}

fn id(number: usize) -> ConnectionId {
    ConnectionId::new_unchecked(number)
}

#[test]
fn a_good_run_passes() {
    assert_eq!(Case::good().verdict(), []);
}

#[test]
fn a_run_without_a_trim_fails() {
    let mut case = Case::good();
    case.trims.clear();
    assert_eq!(case.verdict(), [Failure::NoTrim]);
}

#[test]
fn closing_a_protected_peer_fails() {
    let case = Case::cutting(&[0, 4]);
    assert!(case.verdict().contains(&Failure::ProtectedClosed(1)));
}

#[test]
fn counts_that_differ_fail() {
    let mut case = Case::good();
    case.manager_count = 4;
    let failure = Failure::CountsDiffer { manager: 4, swarm: 3, ledger: 3 };
    assert_eq!(case.verdict(), [failure]);
}

#[test]
fn staying_above_high_fails() {
    let mut case = Case::good();
    for number in 10..13 {
        case.ledger.opened(id(number), peer(0), case.at(12));
    }
    (case.manager_count, case.swarm_count) = (6, 6);
    let failure = Failure::StillAboveHigh { open: 6, high: 5 };
    assert_eq!(case.verdict(), [failure]);
}

#[test]
fn never_coming_down_to_low_fails() {
    let mut case = Case::cutting(&[0]);
    (case.manager_count, case.swarm_count) = (4, 4);
    let never_down = Failure::NeverDownToLow { best: 3, low: 2 };
    let left_too_many = Failure::LeftTooMany { trim: 1, left: 3, low: 2 };
    assert_eq!(case.verdict(), [never_down.clone(), left_too_many]);

    case.trims[0].reached = false;
    assert_eq!(case.verdict(), [never_down]);
}

#[test]
fn a_trim_that_leaves_too_many_fails_even_if_another_does_not() {
    let mut case = Case::good();
    let mut early = case.trims[0].clone();
    early.reported = case.at(8);
    case.trims.insert(0, early);
    let failure = Failure::LeftTooMany { trim: 1, left: 4, low: 2 };
    assert_eq!(case.verdict(), [failure]);
}

#[test]
fn newcomers_need_not_be_cut() {
    let mut case = Case::good();
    case.ledger.opened(id(10), peer(0), case.at(8));
    (case.manager_count, case.swarm_count) = (4, 4);
    assert_eq!(case.verdict(), []);
}

#[test]
fn a_close_that_is_not_done_fails() {
    let mut case = Case::good();
    case.ask_to_close(2);
    assert!(case.verdict().contains(&Failure::StillClosing(1)));
}

#[test]
fn a_report_out_of_order_fails() {
    let mut case = Case::good();
    case.trims[0].lowest_kept = Some(10_099);
    let failure = Failure::WrongOrder { trim: 1, cut: 10_100, kept: 10_099 };
    assert_eq!(case.verdict(), [failure]);

    let mut case = Case::good();
    case.trims[0].cut[0].value = 10_101;
    let failure = Failure::AboveCutoff { trim: 1, cut: 10_101, cutoff: 10_100 };
    assert_eq!(case.verdict(), [failure]);
}

#[test]
fn equal_values_may_be_cut_and_kept() {
    let mut case = Case::good();
    case.trims[0].lowest_kept = Some(10_100);
    assert_eq!(case.verdict(), []);
}

#[test]
fn cutting_high_standing_before_low_fails() {
    let case = Case::cutting(&[0, 2]);
    let failure = Failure::WrongStanding { trim: 1, cut: case.peers[2], kept: case.peers[1] };
    assert_eq!(case.verdict(), [failure]);
}

#[test]
fn a_spared_peer_is_not_held_against_the_order() {
    let mut case = Case::cutting(&[0, 2]);
    case.trims[0].spared.push(case.peers[1]);
    assert_eq!(case.verdict(), []);
}

#[test]
fn closing_twice_fails() {
    let mut case = Case::good();
    case.ask_to_close(0);
    case.ledger.closed(id(0), case.at(12));
    assert_eq!(case.verdict(), [Failure::ClosedTwice(2)]);
}
