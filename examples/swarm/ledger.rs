//! The evidence: what the swarm reported, and what the manager reported of its trims.
//!
//! The two are written down apart, so that the one can be held against the other. Nothing here
//! asks the manager for anything.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use connmgr::{CloseReason, ClosedPeer, TrimOutcome, TrimReport};
use libp2p::{PeerId, swarm::ConnectionId};

/// One connection's life, as the swarm told it.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) peer: PeerId,
    pub(crate) opened: Instant,
    pub(crate) asked: Option<CloseRequest>,
    pub(crate) closed: Option<Instant>,
}

/// The manager asked to close a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloseRequest {
    pub(crate) at: Instant,
    pub(crate) reason: CloseReason,
}

/// All connections the hub ever had. It grows with them: it is the record of one bounded run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lives: HashMap<ConnectionId, Life>,
    open: usize,
    asked: usize,
    closing: usize,
    /// Closes, asked for or reported, that fit no open connection.
    pub(crate) stray_closes: u64,
}

impl Ledger {
    pub(crate) fn opened(&mut self, connection: ConnectionId, peer: PeerId, now: Instant) {
        let life = Life { peer, opened: now, asked: None, closed: None };
        self.lives.insert(connection, life);
        self.open += 1;
    }

    /// The manager's request to close a connection reached the swarm. The connection may have
    /// closed by itself in the meantime.
    pub(crate) fn close_asked(&mut self, connection: ConnectionId, peer: PeerId, request: CloseRequest) {
        match self.lives.get_mut(&connection) {
            Some(life) if life.peer == peer && life.asked.is_none() => {
                self.closing += usize::from(life.closed.is_none());
                self.asked += 1;
                life.asked = Some(request);
            }
            _ => self.stray_closes += 1,
        }
    }

    pub(crate) fn closed(&mut self, connection: ConnectionId, now: Instant) {
        match self.lives.get_mut(&connection) {
            Some(life) if life.closed.is_none() => {
                life.closed = Some(now);
                self.open -= 1;
                self.closing -= usize::from(life.asked.is_some());
            }
            _ => self.stray_closes += 1,
        }
    }

    pub(crate) fn lives(&self) -> impl Iterator<Item = &Life> {
        self.lives.values()
    }

    /// Connections ever opened.
    pub(crate) fn total(&self) -> usize {
        self.lives.len()
    }

    /// Connections open now, the closing ones included.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Connections the manager asked to close and the swarm has not yet reported closed.
    pub(crate) fn closing(&self) -> usize {
        self.closing
    }

    /// Connections the manager ever asked to close.
    pub(crate) fn trimmed(&self) -> usize {
        self.asked
    }
}

/// A peer cut by a trim.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) peer: PeerId,
    /// The value at which the manager let it go.
    pub(crate) value: i64,
}

/// One trim that closed something, as the manager reported it.
#[derive(Debug, Clone)]
pub(crate) struct Trim {
    /// When the report came. It comes on the trimming thread after the last `close`, so the
    /// closes of one trim are the ones asked for since the report before.
    pub(crate) reported: Instant,
    pub(crate) elapsed: Duration,
    pub(crate) cut: Vec<Cut>,
    /// Chosen and let off, because they changed after the snapshot.
    pub(crate) spared: Vec<PeerId>,
    /// Whether the trim says that it closed as many connections as it meant to.
    pub(crate) reached: bool,
    /// The value at or below which peers were cut.
    pub(crate) cutoff: Option<i64>,
    /// The lowest value among the candidates that were not chosen.
    pub(crate) lowest_kept: Option<i64>,
}

/// The trims so far: at most one each silence period.
#[derive(Debug, Default)]
pub(crate) struct TrimLog(Mutex<Vec<Trim>>);

impl TrimLog {
    /// Takes what the checks need from a report. A trim that found nothing to close is left out.
    pub(crate) fn record(&self, report: &TrimReport<PeerId>) {
        if report.closed.is_empty() {
            return;
        }
        let cut = |closed: &ClosedPeer<PeerId>| Cut { peer: closed.peer, value: closed.value };
        let trim = Trim {
            reported: Instant::now(),
            elapsed: report.elapsed,
            cut: report.closed.iter().map(cut).collect(),
            spared: report.spared.iter().map(|spared| spared.peer).collect(),
            reached: report.outcome == TrimOutcome::Reached,
            cutoff: report.cutoff,
            lowest_kept: report.lowest_kept,
        };
        self.trims().push(trim);
    }

    pub(crate) fn count(&self) -> usize {
        self.trims().len()
    }

    pub(crate) fn all(&self) -> Vec<Trim> {
        self.trims().clone()
    }

    fn trims(&self) -> MutexGuard<'_, Vec<Trim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
