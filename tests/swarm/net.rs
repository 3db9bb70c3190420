//! Swarms for the tests: over memory or loopback, in plain text, with keep-alive as each test wants it.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use connmgr::swarm::{Behaviour, Config, Event, Manager};
use connmgr::{Builder, ManualClock};
use libp2p::core::transport::{Boxed, MemoryTransport, Transport, upgrade::Version};
use libp2p::core::{ConnectedPoint, muxing::StreamMuxerBox};
use libp2p::futures::{AsyncRead, AsyncWrite, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent, dummy};
use libp2p::{Multiaddr, PeerId, Swarm, plaintext, tcp, yamux};
use libp2p_swarm_test::SwarmExt;
use tokio::task::JoinHandle;

/// How long a test may take. Nothing waits for it to pass.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Longer than any test.
pub const FOR_EVER: Duration = Duration::from_secs(3_600);

/// Runs `test` on a runtime of its own and fails if it hangs.
pub fn within<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test ends in time") })
}

/// Memory and loopback.
pub fn transport(key: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    upgraded(tcp::tokio::Transport::default(), key)
}

/// Memory and `tcp`, in plain text.
pub fn upgraded<T>(tcp: T, key: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport<Output: AsyncRead + AsyncWrite + Send + Unpin, Error: Send + Sync> + Send + Unpin + 'static,
    T::Output: 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    MemoryTransport::default()
        .or_transport(tcp)
        .upgrade(Version::V1)
        .authenticate(plaintext::Config::new(key))
        .multiplex(yamux::Config::default())
        .timeout(LIMIT)
        .boxed()
}

/// A swarm with those settings.
pub fn swarm_with<B: NetworkBehaviour>(
    transport: impl FnOnce(&Keypair) -> Boxed<(PeerId, StreamMuxerBox)>,
    behaviour: impl FnOnce(&Keypair) -> B,
    config: libp2p::swarm::Config,
) -> Swarm<B> {
    let key = Keypair::generate_ed25519();
    Swarm::new(transport(&key), behaviour(&key), key.public().to_peer_id(), config)
}

/// A swarm that closes what has been idle for `idle`.
pub fn swarm<B: NetworkBehaviour>(behaviour: B, idle: Duration) -> Swarm<B> {
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(idle);
    swarm_with(transport, |_| behaviour, config)
}

/// A peer that keeps any connection and speaks nothing.
pub fn peer() -> Swarm<dummy::Behaviour> {
    swarm(dummy::Behaviour, FOR_EVER)
}

/// No grace, no background trims, a clock that stands still.
pub fn builder(low: usize, high: usize) -> Builder<PeerId, connmgr::swarm::Connection> {
    Manager::builder()
        .low_water(low)
        .high_water(high)
        .grace_period(Duration::ZERO)
        .clock(ManualClock::new())
        .policy(connmgr::ByValue::exact())
        .background(false)
}

pub fn manager(low: usize, high: usize) -> Arc<Manager> {
    Arc::new(builder(low, high).build().expect("a valid configuration"))
}

/// A swarm with a manager, which listens.
pub struct Hub {
    pub swarm: Swarm<Behaviour>,
    pub manager: Arc<Manager>,
    /// In memory, and over TCP.
    pub memory: Multiaddr,
    pub tcp: Multiaddr,
}

impl Hub {
    pub async fn new(manager: &Arc<Manager>, config: Config) -> Self {
        Self::with_idle_timeout(manager, config, FOR_EVER).await
    }

    pub async fn with_idle_timeout(manager: &Arc<Manager>, config: Config, idle: Duration) -> Self {
        Self::build(transport, manager, config, idle).await
    }

    pub async fn over(
        transport: impl FnOnce(&Keypair) -> Boxed<(PeerId, StreamMuxerBox)>,
        manager: &Arc<Manager>,
        config: Config,
    ) -> Self {
        Self::build(transport, manager, config, FOR_EVER).await
    }

    async fn build(
        transport: impl FnOnce(&Keypair) -> Boxed<(PeerId, StreamMuxerBox)>,
        manager: &Arc<Manager>,
        config: Config,
        idle: Duration,
    ) -> Self {
        let behaviour =
            Behaviour::with_config(Arc::clone(manager), config).expect("caps that fit the manager");
        let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(idle);
        let mut swarm = swarm_with(transport, |_| behaviour, config);
        let (memory, tcp) = swarm.listen().with_memory_addr_external().await;
        Self { swarm, manager: Arc::clone(manager), memory, tcp }
    }

    pub async fn next(&mut self) -> SwarmEvent<Event> {
        self.swarm.select_next_some().await
    }

    /// Runs the swarm until an event is what is wanted.
    pub async fn wait<T>(&mut self, wanted: impl Fn(&SwarmEvent<Event>) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.next().await) {
                return found;
            }
        }
    }

    /// Runs the swarm until `done`, which is looked at after every event, and returns the events.
    pub async fn until(&mut self, done: impl Fn(&Self) -> bool) -> Vec<SwarmEvent<Event>> {
        let mut events = Vec::new();
        while !done(self) {
            events.push(self.next().await);
        }
        events
    }

    pub fn established(&self) -> usize {
        self.swarm.network_info().connection_counters().num_established() as usize
    }

    /// Connects `count` peers, which stay until the hub lets them go.
    pub async fn crowd(&mut self, count: usize) -> Vec<PeerId> {
        let target = self.established() + count;
        let peers = (0..count).map(|_| visit(self.memory.clone())).collect();
        self.until(|hub| hub.established() == target).await;
        peers
    }

    /// Nothing is left of any connection.
    pub fn assert_empty(&self) {
        assert_eq!(self.established(), 0, "the swarm has no connection");
        assert_manager_empty(&self.manager);
        let behaviour = format!("{:?}", self.swarm.behaviour());
        assert!(behaviour.contains("connections: 0, pending: 0"), "{behaviour}");
    }
}

pub fn assert_manager_empty(manager: &Manager) {
    let info = manager.info();
    assert_eq!(
        (info.connections, info.closing, info.ignored_events),
        (0, 0, 0),
        "the manager holds no connection"
    );
    assert_eq!(manager.snapshot().iter().map(|peer| peer.connections()).sum::<usize>(), 0);
}

/// A peer on a task of its own that dials `address` once and stays. Returns who it is.
pub fn visit(address: Multiaddr) -> PeerId {
    let mut peer = peer();
    let id = *peer.local_peer_id();
    peer.dial(address).expect("dialled");
    tokio::spawn(peer.loop_on_next());
    id
}

/// A peer on a task of its own that listens. Returns who it is and where.
pub async fn listener() -> (PeerId, Multiaddr) {
    let mut peer = peer();
    let (memory, _) = peer.listen().await;
    let id = *peer.local_peer_id();
    tokio::spawn(peer.loop_on_next());
    (id, memory)
}

/// Runs a swarm on a task of its own.
pub fn run<B>(swarm: Swarm<B>) -> JoinHandle<()>
where
    B: NetworkBehaviour + Send,
    B::ToSwarm: Debug,
{
    tokio::spawn(swarm.loop_on_next())
}

/// Dials a known peer, connected or not.
pub fn dial_opts(peer: PeerId, address: &Multiaddr) -> DialOpts {
    DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address.clone()]).build()
}

/// Which connection was closed, and whose.
pub fn closed<E>(event: &SwarmEvent<E>) -> Option<(PeerId, ConnectionId)> {
    match event {
        SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => Some((*peer_id, *connection_id)),
        _ => None,
    }
}

/// Which connection was trimmed, and whose.
pub fn trimmed(event: &SwarmEvent<Event>) -> Option<(PeerId, ConnectionId)> {
    match event {
        SwarmEvent::Behaviour(Event::Trimmed { peer, connection, .. }) => Some((*peer, *connection)),
        _ => None,
    }
}

/// Whose connection was established.
pub fn established<E>(event: &SwarmEvent<E>) -> Option<(PeerId, ConnectionId, ConnectedPoint)> {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
            Some((*peer_id, *connection_id, endpoint.clone()))
        }
        _ => None,
    }
}
