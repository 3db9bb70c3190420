//! The hub: the node whose connections are managed.

use std::{collections::HashSet, net::Ipv4Addr, sync::Arc, time::Instant};

use connmgr::Tag;
use connmgr::swarm::{Behaviour, Event, Manager};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::ListenerId,
    futures::StreamExt,
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use tokio::time::timeout_at;

use crate::{
    ledger::{CloseRequest, Ledger},
    node,
    taggers::{self, Roster},
};

/// What one step of [`standing`] is worth: more than all other tags of a peer together, so that
/// a peer of higher standing always has the higher value.
const STANDING: i64 = 10_000;
const IDENTIFIED: i64 = 10;
const LATENCY_MOST: i64 = 100;
const _: () = assert!(taggers::MOST + IDENTIFIED + LATENCY_MOST < STANDING);

/// How much the hub thinks of a peer before it has seen any of its traffic, from 0 to 3. It
/// stands for what an application knows (a validator, a payer, a friend) and lets the checks
/// tell who is worth more without asking the manager.
pub(crate) fn standing(peer: &PeerId) -> i64 {
    peer.to_bytes().last().map_or(0, |byte| i64::from(byte % 4))
}

/// A short name for a peer. All ids begin alike, so it is known by its end.
pub(crate) fn short(peer: &PeerId) -> String {
    let mut name = peer.to_base58();
    name.split_off(name.len().saturating_sub(8))
}

/// The order of the fields is the order in which they learn of a connection: the manager first.
#[derive(NetworkBehaviour)]
struct HubBehaviour {
    connmgr: Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

struct Tags {
    standing: Tag,
    latency: Tag,
    identified: Tag,
}

/// The hub's swarm, and the record of what it reports.
pub(crate) struct Hub {
    swarm: Swarm<HubBehaviour>,
    manager: Arc<Manager>,
    tags: Tags,
    roster: Arc<Roster>,
    ledger: Ledger,
    listener: Option<ListenerId>,
    address: Option<Multiaddr>,
    failed_handshakes: usize,
}

impl Hub {
    pub(crate) fn new(manager: Arc<Manager>) -> Result<Self, noise::Error> {
        let identity = Keypair::generate_ed25519();
        let behaviour = HubBehaviour {
            connmgr: Behaviour::new(Arc::clone(&manager)),
            ping: node::ping(),
            identify: node::identify(identity.public()),
        };
        Ok(Self {
            swarm: node::swarm(identity, behaviour)?,
            tags: Tags {
                standing: manager.tag("hub/standing"),
                latency: manager.tag("ping/latency"),
                identified: manager.tag("identify/received"),
            },
            manager,
            roster: Arc::default(),
            ledger: Ledger::default(),
            listener: None,
            address: None,
            failed_handshakes: 0,
        })
    }

    /// Starts to listen on a free port; [`address`](Self::address) tells which, once known.
    pub(crate) fn listen(&mut self) -> Result<(), String> {
        let any_port = Multiaddr::from(Ipv4Addr::LOCALHOST).with(Protocol::Tcp(0));
        let listener = self.swarm.listen_on(any_port).map_err(|error| error.to_string())?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Runs the swarm until its next event or until `deadline`.
    pub(crate) async fn step(&mut self, deadline: Instant) {
        if let Ok(event) = timeout_at(deadline.into(), self.swarm.select_next_some()).await {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: SwarmEvent<HubBehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                let worth = STANDING * standing(&peer_id);
                self.manager.tag_peer(&peer_id, &self.tags.standing, worth);
                self.ledger.opened(connection_id, peer_id, now);
                self.publish_roster();
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.ledger.closed(connection_id, now);
                self.publish_roster();
            }
            SwarmEvent::Behaviour(HubBehaviourEvent::Connmgr(Event::Trimmed {
                peer,
                connection,
                reason,
                asked,
                ..
            })) => {
                let request = CloseRequest { at: asked, reason };
                self.ledger.close_asked(connection, peer, request);
            }
            SwarmEvent::Behaviour(HubBehaviourEvent::Ping(ping::Event {
                peer,
                result: Ok(round_trip),
                ..
            })) => {
                let millis = i64::try_from(round_trip.as_millis()).unwrap_or(LATENCY_MOST);
                let value = (LATENCY_MOST - millis).max(0);
                self.manager.tag_peer(&peer, &self.tags.latency, value);
            }
            SwarmEvent::Behaviour(HubBehaviourEvent::Identify(identify::Event::Received {
                peer_id, ..
            })) => self.manager.tag_peer(&peer_id, &self.tags.identified, IDENTIFIED),
            SwarmEvent::NewListenAddr { listener_id, address } if self.listener == Some(listener_id) => {
                self.address = Some(address)
            }
            SwarmEvent::IncomingConnectionError { .. } => self.failed_handshakes += 1,
            _ => {}
        }
    }

    fn publish_roster(&self) {
        self.roster.replace(self.swarm.connected_peers().copied().collect());
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub(crate) fn address(&self) -> Option<&Multiaddr> {
        self.address.as_ref()
    }

    /// The connected peers, as the taggers read them.
    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    pub(crate) fn connected_peers(&self) -> HashSet<PeerId> {
        self.swarm.connected_peers().copied().collect()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Established connections by the swarm's own count.
    pub(crate) fn established(&self) -> usize {
        let info = self.swarm.network_info();
        info.connection_counters().num_established() as usize
    }

    /// Connections that have arrived and are still shaking hands.
    pub(crate) fn pending(&self) -> usize {
        let info = self.swarm.network_info();
        info.connection_counters().num_pending() as usize
    }

    /// Whether every close the manager asked for has been made and reported.
    pub(crate) fn is_drained(&self) -> bool {
        self.manager.info().closing == 0 && self.ledger.closing() == 0
    }

    pub(crate) fn failed_handshakes(&self) -> usize {
        self.failed_handshakes
    }
}
