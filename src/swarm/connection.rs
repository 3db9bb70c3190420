//! A connection of a swarm, as the manager holds it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures::channel::mpsc::UnboundedSender;
use futures::task::AtomicWaker;
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use super::limits::Place;
use super::mailbox::{Close, Notice};
use super::streams::Streams;
use crate::connection::{CloseReason, Connection as Managed, Direction};

/// A connection of a swarm: what a [`Manager`](super::Manager) holds. Made by the [`Behaviour`](super::Behaviour) alone.
pub struct Connection(pub(super) Arc<Link>);

/// What the behaviour, the connection's handler and the manager share of one connection.
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) id: ConnectionId,
    pub(super) direction: Direction,
    pub(super) remote: ArcSwap<Multiaddr>,
    pub(super) streams: Streams,
    /// What it holds of the hard caps, if there are any.
    pub(super) place: Option<Place>,
    /// The task that runs the connection: woken when it may fall idle.
    task: AtomicWaker,
    /// Set by the first request to close.
    asked: AtomicBool,
    behaviour: UnboundedSender<Notice>,
}

impl Link {
    pub(super) fn new(
        (peer, id, direction): (PeerId, ConnectionId, Direction),
        remote: &Multiaddr,
        place: Option<Place>,
        behaviour: UnboundedSender<Notice>,
    ) -> Self {
        Self {
            peer,
            id,
            direction,
            remote: ArcSwap::from_pointee(remote.clone()),
            streams: Streams::default(),
            place,
            task: AtomicWaker::new(),
            asked: AtomicBool::new(false),
            behaviour,
        }
    }

    /// To be called before the task reads what it wants to hear of.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Has the connection ask anew whether it is to be kept alive.
    pub(super) fn wake(&self) {
        self.task.wake();
    }
}

impl Managed for Connection {
    type Id = ConnectionId;

    fn id(&self) -> ConnectionId {
        self.0.id
    }

    fn remote_addr(&self) -> String {
        self.0.remote.load().to_string()
    }

    fn direction(&self) -> Direction {
        self.0.direction
    }

    fn stream_count(&self) -> Option<usize> {
        self.0.streams.count()
    }

    fn close(&self, reason: CloseReason) {
        self.close_at(reason, 0);
    }

    /// Asks the behaviour, by a message: only the task that polls the swarm can close.
    fn close_at(&self, reason: CloseReason, value: i64) {
        let link = &self.0;
        // At most one message for each connection: that is what bounds the queue. (Relaxed: the queue publishes.)
        if link.asked.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "connmgr", connection = %link.id, "asked to close twice");
            return;
        }
        if let Some(place) = &link.place {
            place.mark_closing();
        }
        let close = Close { peer: link.peer, connection: link.id, reason, value, asked: Instant::now() };
        // An error: the swarm is gone, and the connection with it.
        let _ = link.behaviour.unbounded_send(Notice::Close(close));
    }

    fn protection_lifted(&self) {
        self.0.wake();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.0.peer)
            .field("id", &self.0.id)
            .field("direction", &self.0.direction)
            .finish_non_exhaustive()
    }
}
