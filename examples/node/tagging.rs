//! What peers are worth, by what Kademlia and Gossipsub tell of them.

use std::{collections::HashSet, sync::Arc};

use connmgr::{Tag, swarm::Manager};
use libp2p::{PeerId, gossipsub, kad};

/// A peer in the routing table helps to find others.
const ROUTING: i64 = 20;
/// A peer that wants to hear the same news.
const TOPIC: i64 = 10;
/// A peer in the mesh is one that news come from and go to at once.
const MESH: i64 = 30;
/// Each message that a peer was the first to bring, up to as many.
const NEWS: i64 = 1;
const NEWS_MOST: i64 = 100;

/// Tags peers. The names are looked up once.
pub(crate) struct Tagging {
    manager: Arc<Manager>,
    /// What this node gossips about.
    about: gossipsub::TopicHash,
    routing: Tag,
    topic: Tag,
    mesh: Tag,
    news: Tag,
    /// Who has the mesh's tag.
    in_mesh: HashSet<PeerId>,
}

impl Tagging {
    pub(crate) fn new(manager: &Arc<Manager>, about: gossipsub::TopicHash) -> Self {
        Self {
            manager: Arc::clone(manager),
            about,
            routing: manager.tag("kad/routing"),
            topic: manager.tag("gossip/topic"),
            mesh: manager.tag("gossip/mesh"),
            news: manager.tag("gossip/news"),
            in_mesh: HashSet::new(),
        }
    }

    pub(crate) fn on_kad(&self, event: &kad::Event) {
        if let kad::Event::RoutingUpdated { peer, old_peer, .. } = event {
            self.manager.tag_peer(peer, &self.routing, ROUTING);
            if let Some(evicted) = old_peer {
                self.manager.untag_peer(evicted, &self.routing);
            }
        }
    }

    pub(crate) fn on_gossip(&self, event: &gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, .. } => {
                self.manager.upsert_tag(propagation_source, &self.news, |news| (news + NEWS).min(NEWS_MOST));
            }
            gossipsub::Event::Subscribed { peer_id, topic } if *topic == self.about => {
                self.manager.tag_peer(peer_id, &self.topic, TOPIC);
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } if *topic == self.about => {
                self.manager.untag_peer(peer_id, &self.topic);
            }
            _ => {}
        }
    }

    /// Gossipsub does not tell who enters and leaves its mesh, so that it is asked now and then.
    pub(crate) fn on_mesh<'p>(&mut self, peers: impl Iterator<Item = &'p PeerId>) {
        let now: HashSet<PeerId> = peers.copied().collect();
        for left in self.in_mesh.difference(&now) {
            self.manager.untag_peer(left, &self.mesh);
        }
        for peer in &now {
            self.manager.tag_peer(peer, &self.mesh, MESH);
        }
        self.in_mesh = now;
    }
}
