//! The course of a run: the swarm's events, one by one, and what is to be done from time to time.

use std::{error::Error, io, sync::Arc, time::Duration};

use connmgr::swarm::Event;
use libp2p::{
    Swarm,
    futures::StreamExt,
    gossipsub, identify, kad,
    multiaddr::Protocol,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use tokio::{net::TcpListener, signal, time};

use crate::{
    args::Config,
    status::{self, Status},
    swarm::{self, Node, NodeEvent},
    tagging::Tagging,
};

/// How often the mesh is looked at, and the peers to start from are dialled if they are away.
const TICK: Duration = Duration::from_secs(2);

/// Runs a node until it is stopped, or its time is over.
pub(crate) async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let http = TcpListener::bind(("127.0.0.1", config.http)).await?;
    let (mut node, status) = Runner::new(config)?;
    println!("page    http://{}/", http.local_addr()?);
    tokio::select! {
        ended = status::serve(http, status) => Ok(ended?),
        ended = node.run() => ended,
        stopped = signal::ctrl_c() => Ok(stopped?),
    }
}

/// A node that runs.
pub(crate) struct Runner {
    swarm: Swarm<Node>,
    config: Config,
    topic: gossipsub::IdentTopic,
    tagging: Tagging,
    status: Arc<Status>,
    /// Messages published so far.
    published: u64,
}

impl Runner {
    pub(crate) fn new(config: Config) -> Result<(Self, Arc<Status>), Box<dyn Error>> {
        let manager = swarm::manager(&config)?;
        let mut swarm = swarm::build(&config, &manager)?;
        let topic = gossipsub::IdentTopic::new(&config.topic);
        swarm.behaviour_mut().gossipsub.subscribe(&topic)?;
        for (peer, address) in &config.bootstrap {
            swarm.behaviour_mut().kad.add_address(peer, address.clone());
        }
        for address in &config.listen {
            swarm.listen_on(address.clone())?;
        }
        let status = Arc::new(Status::new(*swarm.local_peer_id(), Arc::clone(&manager)));
        let node = Self {
            swarm,
            config,
            tagging: Tagging::new(&manager, topic.hash()),
            topic,
            status: Arc::clone(&status),
            published: 0,
        };
        Ok((node, status))
    }

    /// Runs until its time is over, if it has one.
    pub(crate) async fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let mut tick = time::interval(TICK);
        let mut publish = time::interval(self.config.publish.unwrap_or(TICK));
        let over = time::sleep(self.config.run_for.unwrap_or(Duration::MAX));
        tokio::pin!(over);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event)?,
                _ = tick.tick() => self.on_tick(),
                _ = publish.tick(), if self.config.publish.is_some() => self.publish(),
                () = &mut over, if self.config.run_for.is_some() => return Ok(()),
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<NodeEvent>) -> Result<(), io::Error> {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                println!("listens {}", address.clone().with(Protocol::P2p(*self.swarm.local_peer_id())));
                self.status.listens(address);
            }
            // Without a listener left nobody could be reached.
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => return Err(error),
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.status.left(&peer_id),
            SwarmEvent::Behaviour(NodeEvent::Kad(event)) => self.tagging.on_kad(&event),
            SwarmEvent::Behaviour(NodeEvent::Gossipsub(event)) => self.tagging.on_gossip(&event),
            SwarmEvent::Behaviour(NodeEvent::Identify(identify::Event::Received {
                peer_id, info, ..
            })) => {
                if info.protocols.contains(&kad::PROTOCOL_NAME) {
                    for address in info.listen_addrs {
                        self.swarm.behaviour_mut().kad.add_address(&peer_id, address);
                    }
                }
                self.status.identified(peer_id, &info.agent_version);
            }
            SwarmEvent::Behaviour(NodeEvent::Connmgr(Event::TrimFinished(report))) => {
                if report.target > 0 {
                    let (closed, wanted, outcome) =
                        (report.closed_connections, report.target, report.outcome);
                    println!("trimmed {closed} of {wanted} wanted: {outcome}");
                }
                self.status.trimmed(report);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_tick(&mut self) {
        let mesh =
            self.swarm.behaviour().gossipsub.mesh_peers(&self.topic.hash()).copied().collect::<Vec<_>>();
        self.tagging.on_mesh(mesh.iter());
        for (peer, address) in &self.config.bootstrap {
            if !self.swarm.is_connected(peer) {
                // Refused while another dial is under way; what fails is dialled again.
                let _ = self.swarm.dial(DialOpts::peer_id(*peer).addresses(vec![address.clone()]).build());
            }
        }
    }

    fn publish(&mut self) {
        self.published += 1;
        let message = format!("{} from {}", self.published, self.config.agent);
        // An error: nobody listens yet.
        let _ = self.swarm.behaviour_mut().gossipsub.publish(self.topic.clone(), message);
    }
}
