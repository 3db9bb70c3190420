//! The behaviour: tells the manager of connections, and carries out what the manager decides.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p_core::transport::PortUse;
use libp2p_core::{ConnectedPoint, Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{ConnectionEstablished, DialFailure, ListenFailure};
use libp2p_swarm::{
    AddressChange, CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm,
    NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};

use super::connection::Link;
use super::cool_down::CoolDown;
use super::handler::Handler;
use super::limits::{Admission, Denied, LimitsError, Pending, Subnet, ip_of};
use super::mailbox::{Close, Mailbox, Notice};
use super::{Connection, Manager};
use crate::connection::{CloseReason, Direction};
use crate::report::TrimReport;

/// How many notices (closes and reports of trims) are dealt with in one turn: between two times that a poll finds nothing to do or says so. The swarm
/// polls its behaviours until they say so, and only then its connections and listeners: a behaviour that always has more to do would hold up
/// all of them.
const NOTICES_PER_TURN: usize = 64;

/// What the behaviour does besides feeding the manager and closing for it.
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until a `Behaviour` is made with it"]
pub struct Config {
    keep_protected_alive: bool,
    admission: Option<Arc<Admission>>,
    cool_down: Option<Duration>,
}

impl Default for Config {
    /// Protected peers are kept alive; no hard caps, no cool-down.
    fn default() -> Self {
        Self { keep_protected_alive: true, admission: None, cool_down: None }
    }
}

impl Config {
    /// Whether the connections of protected peers are kept from the swarm's idle timeout. Yes by default.
    pub fn with_protected_kept_alive(self, kept: bool) -> Self {
        Self { keep_protected_alive: kept, ..self }
    }

    /// Holds connections to hard caps. Swarms that share a manager are given clones of one [`Arc`].
    pub fn with_admission(self, admission: Arc<Admission>) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// Denies dials of a peer for that long after it was trimmed, unless it is protected by then. Kademlia and Gossipsub, for two,
    /// would dial it again at once.
    ///
    /// The 4,096 peers that this swarm trimmed last are remembered. More than a hundred years, as [`Duration::MAX`], is for ever. Inbound
    /// connections are not denied.
    pub fn with_cool_down(self, period: Duration) -> Self {
        Self { cool_down: Some(period), ..self }
    }
}

/// What the behaviour tells the program.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection that the manager chose is being closed.
    ///
    /// The swarm's own `ConnectionClosed` follows, which cannot tell a trim from anything else: its `cause` is `None` where the connection ended in good
    /// order, as after any close on this side, and an error where the close failed or [took too long](super::close_within), or where the other side or
    /// an error was faster.
    #[non_exhaustive]
    Trimmed {
        /// Whose.
        peer: PeerId,
        /// Which.
        connection: ConnectionId,
        /// What the peer was worth when the manager claimed it.
        value: i64,
        /// Why.
        reason: CloseReason,
        /// When the manager asked for the close.
        asked: Instant,
    },
    /// A trim has ended. Its closes are told before it. It may have closed connections of other swarms that share the manager.
    TrimFinished(TrimReport<PeerId>),
}

/// A [`NetworkBehaviour`] that tells a [`Manager`] of a swarm's connections and closes those that the manager chooses.
///
/// See the [module](super) for how it is composed.
pub struct Behaviour {
    manager: Arc<Manager>,
    config: Config,
    mailbox: Mailbox,
    cooling: Option<CoolDown>,
    /// What connections hold that have not been authenticated yet. Empty without hard caps.
    pending: HashMap<ConnectionId, Pending>,
    /// The connections that are established, or about to be.
    connections: HashMap<ConnectionId, Held>,
    /// Follows the close that was handed to the swarm last.
    event: Option<Event>,
    notices_this_turn: usize,
}

/// A connection of this swarm.
struct Held {
    link: Arc<Link>,
    subnet: Option<Subnet>,
    /// Whether the manager knows it: not before every behaviour has let it in.
    established: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The manager may keep the link for a while.
        if let Some(place) = &self.link.place {
            place.give_back();
        }
    }
}

impl Behaviour {
    /// A behaviour with the default [`Config`].
    #[must_use]
    pub fn new(manager: Arc<Manager>) -> Self {
        Self::build(manager, Config::default())
    }

    /// A behaviour with hard caps, or otherwise to taste.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] if the cap on established connections is below the manager's high watermark, so that nothing
    /// would ever be trimmed; with [trim to admit](super::Limits::with_trim_to_admit), if it is not above the low one.
    pub fn with_config(manager: Arc<Manager>, config: Config) -> Result<Self, LimitsError> {
        if let Some(admission) = &config.admission {
            admission.check(&manager)?;
        }
        Ok(Self::build(manager, config))
    }

    fn build(manager: Arc<Manager>, config: Config) -> Self {
        Self {
            mailbox: Mailbox::new(&manager),
            manager,
            cooling: config.cool_down.map(CoolDown::new),
            config,
            pending: HashMap::new(),
            connections: HashMap::new(),
            event: None,
            notices_this_turn: 0,
        }
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    /// Reports of trims that were dropped because 64 were waiting for the swarm to be polled.
    #[must_use]
    pub fn missed_reports(&self) -> u64 {
        self.mailbox.missed()
    }

    /// Whether `peer` may be dialled.
    fn check_cool_down(&self, peer: PeerId) -> Result<(), Denied> {
        let left = self.cooling.as_ref().and_then(|cooling| cooling.left(&peer, Instant::now()));
        match left {
            Some(left) if !self.manager.is_protected(&peer, None) => Err(Denied::CoolingDown { peer, left }),
            _ => Ok(()),
        }
    }

    /// Lets in a connection that has been authenticated, as far as this behaviour is concerned.
    fn admit(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        direction: Direction,
        remote: &Multiaddr,
    ) -> Result<Handler, Denied> {
        let pending = self.pending.remove(&connection);
        let (mut place, mut subnet) = (None, None);
        if let Some(admission) = &self.config.admission {
            subnet = match direction {
                Direction::Inbound => pending.and_then(Pending::settle),
                Direction::Outbound => admission.enter_subnet(ip_of(remote))?,
            };
            place = Some(admission.admit(peer, direction, &self.manager)?);
        }
        let link = Link::new((peer, connection, direction), remote, place, self.mailbox.sender());
        let link = Arc::new(link);
        let keeper = self.config.keep_protected_alive.then(|| Arc::clone(&self.manager));
        self.connections.insert(connection, Held { link: Arc::clone(&link), subnet, established: false });
        Ok(Handler::new(link, keeper))
    }

    fn established(&mut self, connection: ConnectionId) {
        if let Some(held) = self.connections.get_mut(&connection) {
            held.established = true;
            self.manager.connected(&held.link.peer, Connection(Arc::clone(&held.link)));
            // A protection lifted before the manager knew the connection did not reach it.
            held.link.wake();
        }
    }

    fn closed(&mut self, connection: ConnectionId) {
        if let Some(held) = self.connections.remove(&connection)
            && held.established
        {
            self.manager.disconnected(&held.link.peer, &connection);
        }
    }

    fn moved(&mut self, connection: ConnectionId, remote: &Multiaddr) {
        if let Some(held) = self.connections.get_mut(&connection) {
            held.link.remote.store(Arc::new(remote.clone()));
            // It is here already, so it counts where it has gone to, whatever the caps there.
            held.subnet = self.config.admission.as_ref().and_then(|admission| admission.move_subnet(remote));
        }
    }

    /// Whether the connection is still there to be closed.
    fn closing(&mut self, close: &Close) -> bool {
        let there = self.connections.contains_key(&close.connection);
        if there {
            tracing::debug!(
                target: "connmgr",
                peer = %close.peer,
                connection = %close.connection,
                value = close.value,
                reason = %close.reason,
                waited = ?close.asked.elapsed(),
                "closing"
            );
            if let Some(cooling) = &mut self.cooling {
                cooling.note(close.peer, Instant::now());
            }
        }
        there
    }
}

/// Refuses a connection, and says so.
fn deny(connection: ConnectionId, denied: Denied) -> ConnectionDenied {
    tracing::debug!(target: "connmgr", %connection, why = %denied, "connection denied");
    ConnectionDenied::new(denied)
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if let Some(admission) = &self.config.admission {
            let pending = admission.begin(Direction::Inbound, Some(remote));
            self.pending.insert(connection, pending.map_err(|denied| deny(connection, denied))?);
        }
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(connection, peer, Direction::Inbound, remote).map_err(|denied| deny(connection, denied))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        peer.map_or(Ok(()), |peer| self.check_cool_down(peer)).map_err(|denied| deny(connection, denied))?;
        if let Some(admission) = &self.config.admission {
            let pending = admission.begin(Direction::Outbound, None);
            self.pending.insert(connection, pending.map_err(|denied| deny(connection, denied))?);
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Asked anew: who was dialled may only be known by now.
        self.check_cool_down(peer)
            .and_then(|()| self.admit(connection, peer, Direction::Outbound, remote))
            .map_err(|denied| deny(connection, denied))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                self.established(connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => self.closed(connection_id),
            FromSwarm::AddressChange(AddressChange { connection_id, new, .. }) => {
                let remote = match new {
                    ConnectedPoint::Dialer { address, .. } => address,
                    ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
                };
                self.moved(connection_id, remote);
            }
            // Failed, or denied by another behaviour: what was reserved for it is free again.
            FromSwarm::DialFailure(DialFailure { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.pending.remove(&connection_id);
                self.closed(connection_id);
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
        while self.notices_this_turn < NOTICES_PER_TURN {
            let Poll::Ready(notice) = self.mailbox.poll(cx) else {
                self.notices_this_turn = 0;
                return Poll::Pending;
            };
            self.notices_this_turn += 1;
            match notice {
                Notice::Trimmed(report) => {
                    return Poll::Ready(ToSwarm::GenerateEvent(Event::TrimFinished(*report)));
                }
                Notice::Close(close) if self.closing(&close) => {
                    let Close { peer, connection, reason, value, asked } = close;
                    self.event = Some(Event::Trimmed { peer, connection, value, reason, asked });
                    // This one, not `All`: the peer may have opened another since, which nobody has decided about.
                    let connection = CloseConnection::One(connection);
                    return Poll::Ready(ToSwarm::CloseConnection { peer_id: peer, connection });
                }
                // It closed by itself meanwhile.
                Notice::Close(_) => {}
            }
        }
        self.notices_this_turn = 0;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Behaviour {
    fn drop(&mut self) {
        // A swarm that is dropped tells nobody that its connections are gone.
        for (connection, held) in self.connections.drain() {
            if held.established {
                self.manager.disconnected(&held.link.peer, &connection);
            }
        }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("manager", &self.manager)
            .field("config", &self.config)
            .field("connections", &self.connections.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
