//! The adapter: a [`NetworkBehaviour`] that reports connections to the manager and closes the
//! ones the manager chooses.
//!
//! The manager calls [`Connection::close`] on whichever thread trims. Only the task that polls
//! the swarm may close a connection, so the two sides meet in a [`CloseQueue`]: `close` appends
//! and wakes, [`NetworkBehaviour::poll`] takes and closes.
//!
//! The manager is shared by `Arc` rather than by messages because tagging is what protocols do
//! all the time, from any thread, and the manager is made to be shared. The way back, closing,
//! *is* a message.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use connmgr::{BasicConnManager, CloseReason, Connection, Direction};
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    futures::task::AtomicWaker,
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, dummy,
    },
};

/// The manager of a libp2p node's connections.
pub(crate) type Manager = BasicConnManager<PeerId, HubConn>;

/// How many connections one turn of the swarm closes. The swarm polls its behaviours before its
/// connections and listeners, so a behaviour that always has more to do holds up all of them.
const CLOSES_PER_TURN: usize = 64;

/// What the behaviour tells the application.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection is being closed because the manager chose it.
    ///
    /// The swarm's own `ConnectionClosed { cause: None, .. }` follows, which cannot tell a trim
    /// from any other close on this side.
    Closing {
        peer: PeerId,
        connection: ConnectionId,
        reason: CloseReason,
        /// When the manager asked for it.
        asked: Instant,
    },
}

/// One connection, as the manager holds it.
pub(crate) struct HubConn {
    peer: PeerId,
    id: ConnectionId,
    remote: Multiaddr,
    direction: Direction,
    asked: AtomicBool,
    queue: Arc<CloseQueue>,
}

impl Connection for HubConn {
    type Id = ConnectionId;

    fn id(&self) -> ConnectionId {
        self.id
    }

    fn remote_addr(&self) -> String {
        self.remote.to_string()
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    /// Unknown: libp2p does not tell, and ping and identify open streams on every connection, so
    /// a guess of zero would be wrong as well.
    fn stream_count(&self) -> Option<usize> {
        None
    }

    fn close(&self, reason: CloseReason) {
        // Relaxed: the flag only picks the first caller, the queue's lock publishes the request.
        if self.asked.swap(true, Ordering::Relaxed) {
            self.queue.repeated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.queue.push(Request { peer: self.peer, connection: self.id, reason, asked: Instant::now() });
    }
}

struct Request {
    peer: PeerId,
    connection: ConnectionId,
    reason: CloseReason,
    asked: Instant,
}

/// The closes asked for and not yet handed to the swarm.
///
/// It needs no capacity: a connection enters at most once in its life, so there are never more
/// entries than connections.
#[derive(Default)]
struct CloseQueue {
    requests: Mutex<VecDeque<Request>>,
    waker: AtomicWaker,
    /// How many times `close` was called on a connection that had been asked to close before.
    repeated: AtomicU64,
}

impl CloseQueue {
    fn push(&self, request: Request) {
        self.requests().push_back(request);
        self.waker.wake();
    }

    fn pop(&self) -> Option<Request> {
        self.requests().pop_front()
    }

    /// No code that can panic runs under the lock, so a poisoned queue is still a good queue.
    fn requests(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The behaviour. Put it first in a composed behaviour: behaviours learn of a new connection in
/// field order, so the manager then knows the peer before any other behaviour tags it.
pub(crate) struct Behaviour {
    manager: Arc<Manager>,
    queue: Arc<CloseQueue>,
    /// The event for the connection closed by the last poll.
    event: Option<Event>,
    closes_this_turn: usize,
}

impl Behaviour {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { manager, queue: Arc::default(), event: None, closes_this_turn: 0 }
    }

    /// Whether every close the manager asked for has been handed to the swarm.
    pub(crate) fn is_drained(&self) -> bool {
        self.event.is_none() && self.queue.requests().is_empty()
    }

    /// How often the manager asked for a close that it had asked for before.
    pub(crate) fn repeated_closes(&self) -> u64 {
        self.queue.repeated.load(Ordering::Relaxed)
    }

    fn connection(&self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) -> HubConn {
        HubConn {
            peer,
            id,
            remote: endpoint.get_remote_address().clone(),
            direction: if endpoint.is_dialer() { Direction::Outbound } else { Direction::Inbound },
            asked: AtomicBool::new(false),
            queue: Arc::clone(&self.queue),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    /// There is no protocol to speak. A protected connection is kept open by its use or by the
    /// swarm's idle timeout, not by this handler: protection means "do not trim".
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Too early to count: another behaviour may still deny this connection.
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => self.manager.connected(&peer_id, self.connection(peer_id, connection_id, endpoint)),
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.manager.disconnected(&peer_id, &connection_id)
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        let never: Infallible = event;
        match never {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.event.take() {
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        // Registered before the queue is looked at: a request pushed after the look finds the
        // waker, one pushed before it is found.
        self.queue.waker.register(cx.waker());
        if self.closes_this_turn == CLOSES_PER_TURN {
            self.closes_this_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(request) = self.queue.pop() else {
            self.closes_this_turn = 0;
            return Poll::Pending;
        };
        self.closes_this_turn += 1;
        self.event = Some(Event::Closing {
            peer: request.peer,
            connection: request.connection,
            reason: request.reason,
            asked: request.asked,
        });
        // This one connection, not `All`: the peer may have opened another since, which nobody
        // has decided about. If the connection is gone by now, the swarm ignores the request.
        Poll::Ready(ToSwarm::CloseConnection {
            peer_id: request.peer,
            connection: CloseConnection::One(request.connection),
        })
    }
}
