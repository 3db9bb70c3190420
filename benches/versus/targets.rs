//! The races with their targets.

use crate::common::race::Work;

/// A row of the table: a race, who is raced, and what is aimed at.
pub struct Row {
    pub name: &'static str,
    pub work: Work,
    pub lineup: Lineup,
    pub peers: usize,
    /// Numbers of threads, each with the target of [`Lineup::contender`] if it has one.
    pub threads: &'static [(usize, Option<f64>)],
}

/// Who is raced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lineup {
    /// By peer id.
    Keyed,
    /// By peer id, where there is nothing that an atomic word could do.
    Structural,
    /// By handles, against keyed calls.
    Handles,
    /// By a tag's name, against the resolved tag.
    Names,
}

impl Lineup {
    /// Whose figure is held against the target.
    pub fn contender(self) -> &'static str {
        match self {
            Self::Keyed | Self::Structural => "connmgr",
            Self::Handles => "connmgr_handle",
            Self::Names => "connmgr_str",
        }
    }
}

const fn row(
    name: &'static str,
    work: Work,
    lineup: Lineup,
    peers: usize,
    threads: &'static [(usize, Option<f64>)],
) -> Row {
    Row { name, work, lineup, peers, threads }
}

/// Every row. Targets are ratios to the sharded mutex; that of [`Lineup::Names`] is ns of processor time.
pub const ROWS: &[Row] = &[
    row("upsert", Work::Upsert, Lineup::Keyed, 1_000, &[(1, Some(1.10)), (2, Some(1.05))]),
    row("upsert", Work::Upsert, Lineup::Keyed, 10_000, &[(1, Some(1.10)), (2, Some(1.05))]),
    row("upsert", Work::Upsert, Lineup::Keyed, 100_000, &[(1, Some(1.25)), (2, Some(1.15)), (8, Some(1.1))]),
    row("upsert", Work::Upsert, Lineup::Keyed, 1_000_000, &[(1, Some(1.05)), (2, Some(1.0))]),
    row("hot", Work::Hot, Lineup::Keyed, 10_000, &[(1, Some(1.0)), (2, Some(0.80))]),
    row("handle", Work::Upsert, Lineup::Handles, 10_000, &[(1, Some(0.60)), (2, Some(0.60))]),
    row("read", Work::Read, Lineup::Keyed, 10_000, &[(1, Some(1.4)), (2, Some(1.3))]),
    row("read", Work::Read, Lineup::Keyed, 100_000, &[(1, Some(1.4)), (2, Some(1.3))]),
    row(
        "connect_disconnect",
        Work::ConnectDisconnect,
        Lineup::Structural,
        10_000,
        &[(1, Some(2.0)), (2, Some(2.0))],
    ),
    row("leave_return", Work::LeaveReturn, Lineup::Structural, 100_000, &[(1, Some(2.0)), (2, Some(2.0))]),
    row("leave_return_tagged", Work::LeaveReturnTagged, Lineup::Structural, 100_000, &[(1, None), (2, None)]),
    row("name", Work::Upsert, Lineup::Names, 1_000, &[(1, Some(20.0)), (2, Some(20.0)), (8, Some(20.0))]),
];
