//! Other behaviours that deny beside ours: what was reserved is free again, and nothing was counted.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use connmgr::swarm::{Admission, Behaviour, Config, Limits, Usage};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::futures::StreamExt;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, FromSwarm, ListenError, NetworkBehaviour, SwarmEvent,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use libp2p_swarm_test::SwarmExt;

use crate::net::{self, FOR_EVER, dial_opts, within};

/// Denies every connection, early or late.
struct Denier {
    early: bool,
}

impl Denier {
    fn answer(&self, early: bool) -> Result<(), ConnectionDenied> {
        if self.early == early { Err(ConnectionDenied::new(io::Error::other("denied"))) } else { Ok(()) }
    }
}

impl NetworkBehaviour for Denier {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.answer(true)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.answer(false).map(|()| dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.answer(true).map(|()| Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.answer(false).map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[derive(NetworkBehaviour)]
struct Siblings {
    before: Toggle<Denier>,
    connmgr: Behaviour,
    after: Toggle<Denier>,
}

/// Dials out, is dialled, and each time looks what is left.
fn denied_by(before: Option<Denier>, after: Option<Denier>) {
    within(async {
        let manager = net::manager(5, 10);
        let admission = Admission::new(
            Limits::default()
                .with_max_established(10)
                .with_max_pending_inbound(1)
                .with_max_per_ipv4_subnet(32, 1),
        );
        let admission = admission.expect("valid limits");
        let config = Config::default().with_admission(Arc::clone(&admission));
        let connmgr = Behaviour::with_config(Arc::clone(&manager), config).expect("caps that fit");
        let siblings = Siblings { before: before.into(), connmgr, after: after.into() };
        let mut hub = net::swarm(siblings, FOR_EVER);
        let (_, tcp) = hub.listen().await;
        let (other, other_address) = net::listener().await;
        // More often than there is room: each finds what the one before gave back.
        for _ in 0..3 {
            net::visit(tcp.clone());
            loop {
                if let SwarmEvent::IncomingConnectionError { error, .. } = hub.select_next_some().await {
                    let ListenError::Denied { cause } = error else { panic!("{error}") };
                    cause.downcast::<io::Error>().expect("denied by the other behaviour, not by ours");
                    break;
                }
            }
            assert_eq!(admission.usage(), Usage::default(), "nothing of the inbound connection is left");

            let denied = match hub.dial(dial_opts(other, &other_address)) {
                Err(error) => error,
                Ok(()) => loop {
                    if let SwarmEvent::OutgoingConnectionError { error, .. } = hub.select_next_some().await {
                        break error;
                    }
                },
            };
            let DialError::Denied { cause } = denied else { panic!("{denied}") };
            cause.downcast::<io::Error>().expect("denied by the other behaviour, not by ours");
            assert_eq!(admission.usage(), Usage::default(), "nothing of the dial is left");
        }
        net::assert_manager_empty(&manager);
        let behaviour = format!("{:?}", hub.behaviour().connmgr);
        assert!(behaviour.contains("connections: 0, pending: 0"), "{behaviour}");
    });
}

#[test]
fn before_ours_and_early() {
    denied_by(Some(Denier { early: true }), None);
}

#[test]
fn before_ours_and_late() {
    denied_by(Some(Denier { early: false }), None);
}

#[test]
fn after_ours_and_early() {
    denied_by(None, Some(Denier { early: true }));
}

#[test]
fn after_ours_and_late() {
    denied_by(None, Some(Denier { early: false }));
}
