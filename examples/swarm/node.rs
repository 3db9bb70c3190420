//! What the hub and its peers have in common.

use std::time::Duration;

use libp2p::{
    Swarm, SwarmBuilder, identify,
    identity::{Keypair, PublicKey},
    noise, ping,
    swarm::NetworkBehaviour,
    tcp, yamux,
};

/// Longer than any run. Neither ping nor identify counts as use of a connection, so with the
/// default of ten seconds the swarm would close what no trim has chosen.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

/// Builds a swarm with the transport all nodes here speak.
pub(crate) fn swarm<B: NetworkBehaviour>(identity: Keypair, behaviour: B) -> Result<Swarm<B>, noise::Error> {
    let Ok(builder) = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| behaviour);
    Ok(builder.with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT)).build())
}

pub(crate) fn ping() -> ping::Behaviour {
    ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(2)))
}

pub(crate) fn identify(key: PublicKey) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/connmgr-swarm/1".into(), key))
}
