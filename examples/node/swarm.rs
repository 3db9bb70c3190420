//! The node: its transports, its protocols, its manager.

use std::{error::Error, sync::Arc, time::Duration};

use connmgr::swarm::{
    Admission, Behaviour, Config as ManagerConfig, Limits, Manager, StreamCounter, close_within,
};
use libp2p::{
    PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    gossipsub, identify,
    identity::Keypair,
    kad, noise, ping, quic,
    swarm::{Config as SwarmConfig, NetworkBehaviour},
    tcp, yamux,
};

use crate::args::Config;

/// How long a connection that nothing uses stays, unless its peer is protected.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a peer that was trimmed is left alone: Kademlia would dial it again at once.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// How long a connection has to close; a remote that reads nothing could hold it for ever.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of these say nothing about the use of a connection.
const AUXILIARY: [&str; 3] = ["/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"];

/// The order of the fields is the order in which they learn of a connection: the manager first.
#[derive(NetworkBehaviour)]
pub(crate) struct Node {
    pub(crate) connmgr: Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) kad: kad::Behaviour<kad::store::MemoryStore>,
    pub(crate) gossipsub: gossipsub::Behaviour,
}

/// The manager, with the peers to start from protected before they are dialled.
pub(crate) fn manager(config: &Config) -> Result<Arc<Manager>, connmgr::ConfigError> {
    let manager = Manager::builder()
        .low_water(config.low)
        .high_water(config.high)
        .grace_period(config.grace)
        .silence_period(Duration::from_secs(2))
        .build()?;
    for (peer, _) in &config.bootstrap {
        manager.protect(peer, "bootstrap");
    }
    Ok(Arc::new(manager))
}

/// Builds the swarm, listening and dialling nobody yet.
pub(crate) fn build(config: &Config, manager: &Arc<Manager>) -> Result<Swarm<Node>, Box<dyn Error>> {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    // The hard cap is above the soft one, so that trims come first; what still reaches it is let in on the room a trim makes.
    let cap = u32::try_from(config.high)?.saturating_mul(2);
    let limits = Limits::default()
        .with_max_established(cap)
        .with_trim_to_admit(cap / 4)
        .with_max_pending_inbound(cap)
        .with_max_established_per_peer(4);
    let managed = ManagerConfig::default().with_admission(Admission::new(limits)?).with_cool_down(COOL_DOWN);
    let node = Node {
        connmgr: Behaviour::with_config(Arc::clone(manager), managed)?,
        ping: ping::Behaviour::default(),
        identify: identify::Behaviour::new(
            identify::Config::new("/connmgr-node/1".into(), key.public())
                .with_agent_version(config.agent.clone()),
        ),
        kad: kad::Behaviour::new(peer, kad::store::MemoryStore::new(peer)),
        gossipsub: gossipsub::Behaviour::new(
            gossipsub::MessageAuthenticity::Signed(key.clone()),
            gossipsub::Config::default(),
        )?,
    };
    let swarm_config = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
    let mut swarm = Swarm::new(transport(&key)?, node, peer, swarm_config);
    // Also on addresses that are not known to be reachable from everywhere: this node is for trying out.
    swarm.behaviour_mut().kad.set_mode(Some(kad::Mode::Server));
    Ok(swarm)
}

/// TCP and QUIC, with the streams of their connections counted and their closes bounded.
fn transport(key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let counter = StreamCounter::default().leave_out(AUXILIARY);
    let tcp = tcp::tokio::Transport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default());
    let quic = quic::tokio::Transport::new(quic::Config::new(key));
    let either = counter.transport(quic).or_transport(counter.transport(tcp));
    Ok(close_within(CLOSE_TIMEOUT, either.map(|either, _| either.into_inner())))
}
