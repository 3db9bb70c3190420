//! Streams, counted by the transport's wrapper and joined to connections.

use std::sync::Arc;
use std::time::Duration;

use connmgr::swarm::{Behaviour, Manager, StreamCounter};
use libp2p::core::transport::{MemoryTransport, Transport, upgrade::Version};
use libp2p::futures::StreamExt;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub, identify, identity::Keypair, ping, plaintext, yamux};

use crate::net::{self, FOR_EVER, within};

/// Ping and identify say nothing about the use of a connection; gossipsub, if both sides speak it, keeps a stream open in each direction.
#[derive(NetworkBehaviour)]
struct Node {
    connmgr: Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    gossipsub: Toggle<gossipsub::Behaviour>,
}

fn node(manager: &Arc<Manager>, counter: Option<StreamCounter>, gossips: bool) -> Swarm<Node> {
    let transport = |key: &Keypair| {
        let plain = MemoryTransport::default()
            .upgrade(Version::V1)
            .authenticate(plaintext::Config::new(key))
            .multiplex(yamux::Config::default());
        match &counter {
            Some(counter) => counter.transport(plain),
            None => plain.boxed(),
        }
    };
    let behaviour = |key: &Keypair| Node {
        connmgr: Behaviour::new(Arc::clone(manager)),
        // Often, so that the swarm has events to look at the count by.
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(20))),
        identify: identify::Behaviour::new(identify::Config::new("/test/1".into(), key.public())),
        gossipsub: Toggle::from(gossips.then(|| {
            let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
            gossipsub::Behaviour::new(signed, gossipsub::Config::default()).expect("a valid configuration")
        })),
    };
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(FOR_EVER);
    net::swarm_with(transport, behaviour, config)
}

/// A node with a manager that counts as `counter` does, listening.
async fn hub(counter: Option<StreamCounter>) -> (Swarm<Node>, Arc<Manager>, Multiaddr) {
    let manager = net::manager(1, 10);
    let mut hub = node(&manager, counter, true);
    hub.listen_on("/memory/0".parse().expect("an address")).expect("listening");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = hub.select_next_some().await {
            break address;
        }
    };
    (hub, manager, address)
}

/// A peer on a task of its own that dials so many times.
fn visitor(address: &Multiaddr, dials: usize, gossips: bool) -> PeerId {
    let mut peer = node(&net::manager(1, 10), None, gossips);
    let id = *peer.local_peer_id();
    (0..dials).for_each(|_| peer.dial(address.clone()).expect("dialled"));
    net::run(peer);
    id
}

/// The streams of each connection of `peer`.
fn streams(manager: &Manager, peer: &PeerId) -> Vec<Option<usize>> {
    manager.tag_info(peer).map_or_else(Vec::new, |info| info.conns.iter().map(|conn| conn.streams).collect())
}

async fn until(hub: &mut Swarm<Node>, done: impl Fn() -> bool) {
    while !done() {
        hub.select_next_some().await;
    }
}

/// Every so many pings and whatever else happens meanwhile.
async fn a_while(hub: &mut Swarm<Node>) {
    let mut pings = 0;
    while pings < 20 {
        let event = hub.select_next_some().await;
        pings += usize::from(matches!(event, SwarmEvent::Behaviour(NodeEvent::Ping(_))));
    }
}

const AUXILIARY: [&str; 3] = ["/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"];

#[test]
fn streams_count_but_for_those_left_out() {
    within(async {
        let counter = StreamCounter::default().leave_out(AUXILIARY);
        let (mut hub, manager, address) = hub(Some(counter)).await;
        let busy = visitor(&address, 1, true);
        until(&mut hub, || streams(&manager, &busy) == [Some(2)]).await;
        let idle = visitor(&address, 1, false);
        until(&mut hub, || streams(&manager, &idle) == [Some(0)]).await;
        a_while(&mut hub).await;
        assert_eq!(streams(&manager, &busy), [Some(2)], "one each way, and no ping");
        assert_eq!(streams(&manager, &idle), [Some(0)], "known to be none, which is not unknown");
    });
}

#[test]
fn without_exceptions_every_stream_counts() {
    within(async {
        let (mut hub, manager, address) = hub(Some(StreamCounter::default())).await;
        let peer = visitor(&address, 1, true);
        // Ping keeps one open in each direction, too.
        until(&mut hub, || streams(&manager, &peer) == [Some(4)]).await;
        a_while(&mut hub).await;
        assert_eq!(streams(&manager, &peer), [Some(4)], "what identify opened has been closed");
    });
}

#[test]
fn without_the_wrapper_the_count_is_unknown_and_not_zero() {
    within(async {
        let (mut hub, manager, address) = hub(None).await;
        let peer = visitor(&address, 1, true);
        until(&mut hub, || streams(&manager, &peer).len() == 1).await;
        a_while(&mut hub).await;
        assert_eq!(streams(&manager, &peer), [None]);
    });
}

/// A counted and an uncounted swarm on the same threads: no count strays.
#[test]
fn each_connection_has_its_own_count() {
    within(async {
        let counter = StreamCounter::default().leave_out(AUXILIARY);
        let (mut counted, manager, address) = hub(Some(counter)).await;
        let (mut uncounted, other, elsewhere) = hub(None).await;
        let several = visitor(&address, 4, false);
        let gossips = visitor(&address, 1, true);
        let outside = visitor(&elsewhere, 4, true);
        let running = tokio::spawn(async move { until(&mut uncounted, || false).await });
        until(&mut counted, || {
            streams(&manager, &several) == [Some(0); 4] && streams(&manager, &gossips) == [Some(2)]
        })
        .await;
        a_while(&mut counted).await;
        assert_eq!(streams(&manager, &several), [Some(0); 4]);
        assert_eq!(streams(&manager, &gossips), [Some(2)]);
        assert_eq!(streams(&other, &outside), [None; 4], "nobody counts there");
        running.abort();
    });
}

#[test]
fn of_equal_peers_the_idle_one_goes_first() {
    within(async {
        let counter = StreamCounter::default().leave_out(AUXILIARY);
        let (mut hub, manager, address) = hub(Some(counter)).await;
        let idle = visitor(&address, 1, false);
        let busy = visitor(&address, 1, true);
        until(&mut hub, || streams(&manager, &idle) == [Some(0)] && streams(&manager, &busy) == [Some(2)])
            .await;
        let plan = manager.plan_trim();
        assert_eq!(plan.victims.len(), 1);
        assert_eq!(plan.victims[0].peer, idle);
    });
}
