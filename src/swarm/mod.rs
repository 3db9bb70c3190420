//! The manager in a rust-libp2p swarm: a [`Behaviour`] around a shared [`Manager`].
//!
//! Put the [`Behaviour`] into your own, give it an [`Arc`](std::sync::Arc) of a manager, and keep another to tag and protect peers through, from any thread:
//!
//! ```
//! use std::sync::Arc;
//!
//! use connmgr::swarm::{self, Manager};
//! use libp2p::{
//!     connection_limits, gossipsub, identify, identity::Keypair, kad, noise, ping, swarm::{NetworkBehaviour, SwarmEvent}, tcp, yamux,
//! };
//!
//! #[derive(NetworkBehaviour)]
//! struct Node {
//!     connmgr: swarm::Behaviour, // first: it hears of a connection before the others tag its peer
//!     limits: connection_limits::Behaviour,
//!     identify: identify::Behaviour,
//!     ping: ping::Behaviour,
//!     kad: kad::Behaviour<kad::store::MemoryStore>,
//!     gossipsub: gossipsub::Behaviour,
//! }
//!
//! # fn node() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = Arc::new(Manager::builder().low_water(160).high_water(192).build()?);
//! let swarm = libp2p::SwarmBuilder::with_new_identity()
//!     .with_tokio()
//!     .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
//!     .with_behaviour(|key: &Keypair| {
//!         let peer = key.public().to_peer_id();
//!         Ok(Node {
//!             connmgr: swarm::Behaviour::new(Arc::clone(&manager)),
//!             // Denies before a trim can make room: leave it space above the high watermark, or use `swarm::Limits`.
//!             limits: connection_limits::Behaviour::new(
//!                 connection_limits::ConnectionLimits::default().with_max_established(Some(256)),
//!             ),
//!             identify: identify::Behaviour::new(identify::Config::new("/my-node/1".into(), key.public())),
//!             ping: ping::Behaviour::default(),
//!             kad: kad::Behaviour::new(peer, kad::store::MemoryStore::new(peer)),
//!             gossipsub: gossipsub::Behaviour::new(
//!                 gossipsub::MessageAuthenticity::Signed(key.clone()),
//!                 gossipsub::Config::default(),
//!             )?,
//!         })
//!     })?
//!     .build();
//!
//! // Where the swarm's events are handled:
//! let (routing, mesh) = (manager.tag("kad/routing"), manager.tag("gossipsub/mesh"));
//! let on_event = move |event: SwarmEvent<NodeEvent>| match event {
//!     SwarmEvent::Behaviour(NodeEvent::Kad(kad::Event::RoutingUpdated { peer, .. })) => {
//!         manager.tag_peer(&peer, &routing, 5);
//!     }
//!     SwarmEvent::Behaviour(NodeEvent::Gossipsub(gossipsub::Event::Message { propagation_source, .. })) => {
//!         manager.upsert_tag(&propagation_source, &mesh, |value| (value + 1).min(100));
//!     }
//!     SwarmEvent::Behaviour(NodeEvent::Connmgr(swarm::Event::Trimmed { peer, value, reason, .. })) => {
//!         println!("{peer}, worth {value}, was closed: {reason}");
//!     }
//!     _ => {}
//! };
//! # drop((swarm, on_event));
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new()?.block_on(async { node() })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does
//!
//! - It tells the manager of each connection when every behaviour has let it in, when it moves, and when it is gone; also when the whole swarm is dropped.
//! - It closes what a trim claims, one connection at a time and never a peer's others, as [`Event::Trimmed`] says. After 64 closes and reports of trims together it
//!   says that it has nothing to do, though it wakes the swarm's task at once: the swarm polls its behaviours until they say so, and its connections and listeners then. So of
//!   many closes up to 64 are begun each time between two events of connections or listeners; there is no bound by time.
//! - It keeps the connections of protected peers from the swarm's idle timeout, unless it is [told not to](Config::with_protected_kept_alive).
//!   Protecting works from wherever it is called, before the timeout has run out; with the last protection lifted, the idle timeout starts anew at once.
//! - With an [`Admission`], it holds connections to hard [`Limits`]: in total, by direction, by peer, pending, by subnet, by arrival rate. What is denied is a [`Denied`],
//!   reached by [`ConnectionDenied::downcast`](libp2p_swarm::ConnectionDenied::downcast).
//! - With a [cool-down](Config::with_cool_down), a peer that was trimmed is not dialled again at once.
//! - With a [`StreamCounter`] around the transport, the manager knows how many streams a connection has.
//! - With [`close_within`] around it, no remote can hold a connection that is being closed.
//!
//! Several swarms may share a manager, and an [`Admission`] with it.
//!
//! # Why a shared manager, and not messages
//!
//! rust-libp2p's rule is to share by communicating. Tagging, though, is what protocols do for every message they see, from
//! any thread, and the manager is made for that: nobody waits for anybody. The way back *is* a message: a trim, on whatever thread, sends a close to the one task that may
//! carry it out. A connection sends one at most, and 64 reports of trims wait at most (further ones are dropped, logged and [counted](Behaviour::missed_reports)); both are
//! the whole queue. Connections that closed by themselves in between are passed over.
//!
//! # What it cannot do
//!
//! - *Tell the remote why.* A connection is closed without a code: neither the swarm nor the muxers offer one, so that to the other side a trim looks as any
//!   other close.
//! - *Count streams by itself.* The swarm tells nobody; wrap the transport. Without that the count is unknown, which a trim never takes
//!   for zero. With it, streams of libp2p's own protocols count, too, unless they are [left out](StreamCounter::leave_out).
//! - *Undo a close.* A claim is final. Who protects a peer after its connection was claimed is told [`TooLate`](crate::Protection::TooLate), and the close goes on:
//!   before it is handed to the swarm the behaviour asks only whether the connection is still there. If it asked for protection as well, some who were told that they
//!   came too late would not have, and what the trim's report says was closed would not all be.
//! - *End a close by itself.* A connection counts as closing, and holds its place under hard caps, until the swarm says that it has closed. The swarm waits for the
//!   handlers of all behaviours, then for the muxer, and bounds neither. Over TCP a remote that reads nothing can put off the second for ever:
//!   put [`close_within`] around the transport. (TCP has no such time of its own: while the remote's system acknowledges, neither its
//!   retransmissions nor a swarm's idle timeout end the connection.) A handler whose `poll_close` never ends is beyond its reach.
//! - *Decide before other behaviours.* `libp2p-connection-limits` denies without asking whether a trim could make room: set its
//!   `max_established` no lower than the high watermark, or use [`Limits`] instead.
//! - *Keep a protected connection from other ends.* The other side, an error, or [`disconnect_peer_id`](libp2p_swarm::Swarm::disconnect_peer_id) close it as ever.
//! - *Know every remote by its address.* Caps and rates by address trust the address that the transport states, and what has none is in no subnet and comes at no rate:
//!   a relayed connection, inbound or outbound (the address would be the relay's); a connection that was dialled by a name (`/dns`, `/dns4`, `/dns6`,
//!   `/dnsaddr`), as the swarm goes on calling it by that name. All that comes through one proxy or NAT has one address. The caps in total, by direction
//!   and by peer hold for all of these. A QUIC connection's first packet may lie about its sender, and one that migrates counts where it was unless its
//!   transport says where it went: libp2p-quic 0.14 refuses migration of connections it accepts, and reports none.

#![forbid(unsafe_code)]

mod behaviour;
mod closing;
mod connection;
mod cool_down;
mod handler;
mod limits;
mod mailbox;
mod streams;

use libp2p_identity::PeerId;

use crate::manager::BasicConnManager;

pub use behaviour::{Behaviour, Config, Event};
pub use closing::close_within;
pub use connection::Connection;
pub use handler::Handler;
pub use limits::{Admission, Cap, Denied, Limits, LimitsError, Usage};
pub use streams::StreamCounter;

/// A manager of swarms' connections.
pub type Manager = BasicConnManager<PeerId, Connection>;
