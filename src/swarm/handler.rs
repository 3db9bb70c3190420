//! A connection's handler: speaks no protocol, and keeps the connection of a protected peer from falling idle.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p_core::upgrade::DeniedUpgrade;
use libp2p_swarm::handler::ConnectionEvent;
use libp2p_swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};

use super::Manager;
use super::connection::Link;
use super::streams;

/// The handler of each connection: see [`Behaviour`](super::Behaviour).
pub struct Handler {
    link: Arc<Link>,
    /// Asked whether the peer is protected; `None` where that keeps no connection alive.
    keeper: Option<Arc<Manager>>,
}

impl Handler {
    pub(super) fn new(link: Arc<Link>, keeper: Option<Arc<Manager>>) -> Self {
        Self { link, keeper }
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("peer", &self.link.peer)
            .field("id", &self.link.id)
            .finish_non_exhaustive()
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    /// The swarm asks when nothing else keeps the connection, each time its task runs. Protecting needs no wake-up: the
    /// idle timeout, which runs then, makes the task ask. Lifting the protection does: nothing else would ever
    /// make an idle connection ask again.
    fn connection_keep_alive(&self) -> bool {
        self.keeper.as_ref().is_some_and(|manager| manager.is_protected(&self.link.peer, None))
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if self.keeper.is_some() {
            // Before `connection_keep_alive` looks: the swarm polls the handler first.
            self.link.register(cx.waker());
        }
        streams::offer(&self.link.streams, cx.waker());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(stream) => match stream.protocol {},
            ConnectionEvent::FullyNegotiatedOutbound(stream) => match stream.protocol {},
            // No protocol is asked for, so that nothing can fail; the rest does not matter here.
            _ => {}
        }
    }
}
