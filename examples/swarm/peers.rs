//! The crowd: peers that dial the hub, come back when they are cut, and make way for others.

use std::time::Duration;

use libp2p::{
    Multiaddr, PeerId, Swarm,
    futures::StreamExt,
    identify,
    identity::Keypair,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{args::Config, node, rng::Rng};

/// How often a peer that was cut comes back before another takes its place.
const REDIALS: u32 = 2;

/// The shortest and the longest time a peer stays away after it was cut, in milliseconds.
const BACK_OFF: (usize, usize) = (1_000, 4_000);

/// The time over which the first peers arrive, at most.
const RAMP: Duration = Duration::from_secs(8);

/// What the peers may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Dial, and dial again after being cut.
    Arriving,
    /// Keep the connection, but make no new one.
    Staying,
    /// Leave.
    Leaving,
}

/// Where the hub is.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) hub: PeerId,
    pub(crate) address: Multiaddr,
}

/// Starts one task for each peer. The first ones are those with the `lasting` identities, which
/// never give up their place to another.
pub(crate) fn start(
    config: &Config,
    lasting: Vec<Keypair>,
    destination: &Destination,
    phase: &watch::Receiver<Phase>,
) -> JoinSet<Result<(), noise::Error>> {
    let ramp = RAMP.min(config.arrivals.mul_f64(0.4));
    let now = Instant::now();
    let mut lasting = lasting.into_iter();
    (0..config.peers)
        .map(|number| {
            let visitor = Visitor {
                identity: lasting.next(),
                arrival: now + ramp.mul_f64(number as f64 / config.peers as f64),
                rng: Rng::new(number as u64),
                destination: destination.clone(),
            };
            visitor.run(phase.clone())
        })
        .collect()
}

#[derive(NetworkBehaviour)]
struct PeerBehaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

/// One place in the crowd.
struct Visitor {
    /// `None`: whoever comes.
    identity: Option<Keypair>,
    arrival: Instant,
    rng: Rng,
    destination: Destination,
}

impl Visitor {
    async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Result<(), noise::Error> {
        let mut swarm = self.new_swarm()?;
        let mut dials = 0;
        // `None` while a dial is under way or a connection is open.
        let mut dial_at = Some(self.arrival);
        loop {
            // Looked at in one place: what is seen here no longer counts as a change below.
            let now = *phase.borrow_and_update();
            if now == Phase::Leaving {
                return Ok(());
            }
            let may_dial = now == Phase::Arriving && dial_at.is_some();
            tokio::select! {
                changed = phase.changed() => {
                    // An error means that the session is gone.
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = sleep_until(dial_at.unwrap_or(self.arrival)), if may_dial => {
                    if dials > REDIALS && self.identity.is_none() {
                        swarm = self.new_swarm()?;
                        dials = 0;
                    }
                    dials += 1;
                    let dialing = swarm.dial(self.dial_opts()).is_ok();
                    dial_at = (!dialing).then(|| self.after_back_off());
                }
                event = swarm.select_next_some() => match event {
                    SwarmEvent::ConnectionClosed { num_established: 0, .. }
                    | SwarmEvent::OutgoingConnectionError { .. } => {
                        dial_at = Some(self.after_back_off());
                    }
                    _ => {}
                },
            }
        }
    }

    fn new_swarm(&self) -> Result<Swarm<PeerBehaviour>, noise::Error> {
        let identity = self.identity.clone().unwrap_or_else(Keypair::generate_ed25519);
        let behaviour = PeerBehaviour { ping: node::ping(), identify: node::identify(identity.public()) };
        node::swarm(identity, behaviour)
    }

    fn dial_opts(&self) -> DialOpts {
        DialOpts::peer_id(self.destination.hub).addresses(vec![self.destination.address.clone()]).build()
    }

    fn after_back_off(&mut self) -> Instant {
        let (least, most) = BACK_OFF;
        let millis = least + self.rng.below(most - least);
        Instant::now() + Duration::from_millis(millis as u64)
    }
}
