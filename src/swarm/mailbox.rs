//! What comes to a behaviour from other threads: closes to carry out, and reports of trims.
//!
//! Bounded: a connection sends one close in its life at most, and no more than [`MOST_REPORTS`] reports wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use super::Manager;
use crate::connection::CloseReason;
use crate::manager::TrimObserver;
use crate::report::TrimReport;

/// How many reports may wait for a swarm that is not polled.
pub(super) const MOST_REPORTS: usize = 64;

pub(super) enum Notice {
    Close(Close),
    Trimmed(Box<TrimReport<PeerId>>),
}

/// The manager claimed a connection.
pub(super) struct Close {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) reason: CloseReason,
    pub(super) value: i64,
    pub(super) asked: Instant,
}

pub(super) struct Mailbox {
    sender: UnboundedSender<Notice>,
    receiver: UnboundedReceiver<Notice>,
    reports: Arc<Reports>,
    /// Kept, as the manager forgets it otherwise.
    _observer: Arc<TrimObserver<PeerId>>,
}

#[derive(Default)]
struct Reports {
    waiting: AtomicUsize,
    missed: AtomicU64,
}

impl Mailbox {
    pub(super) fn new(manager: &Manager) -> Self {
        let (sender, receiver) = unbounded();
        let reports = Arc::<Reports>::default();
        let observer = observer(sender.clone(), Arc::clone(&reports));
        manager.observe_trims(&observer);
        Self { sender, receiver, reports, _observer: observer }
    }

    pub(super) fn sender(&self) -> UnboundedSender<Notice> {
        self.sender.clone()
    }

    /// The next notice. Registers the waker before it looks.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Notice> {
        // Never ends: this holds a sender.
        self.receiver.poll_next_unpin(cx).map(|notice| {
            let notice = notice.expect("a sender is left");
            if matches!(notice, Notice::Trimmed(_)) {
                self.reports.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            notice
        })
    }

    /// Reports that were dropped because too many waited.
    pub(super) fn missed(&self) -> u64 {
        self.reports.missed.load(Ordering::Relaxed)
    }
}

fn observer(sender: UnboundedSender<Notice>, reports: Arc<Reports>) -> Arc<TrimObserver<PeerId>> {
    Arc::new(move |report| {
        // Trims take turns, so that nobody else adds between the look and the addition.
        if reports.waiting.load(Ordering::Relaxed) >= MOST_REPORTS {
            reports.missed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(target: "connmgr", "the swarm is not polled: a trim's report was dropped");
            return;
        }
        reports.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = sender.unbounded_send(Notice::Trimmed(Box::new(report.clone())));
    })
}
