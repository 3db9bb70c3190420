//! Protection and the swarm's idle timeout, with real timeouts: they are short, and nothing waits for them but for the events they cause.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use connmgr::swarm::{Config, Manager};
use libp2p::PeerId;
use libp2p::swarm::{ConnectionError, SwarmEvent};

use crate::net::{self, Hub, visit, within};

const IDLE: Duration = Duration::from_millis(150);

/// For what has to be done within the timeout, on a busy machine, too.
const LONGER: Duration = Duration::from_millis(1_500);

async fn hub(manager: &Arc<Manager>, config: Config) -> Hub {
    Hub::with_idle_timeout(manager, config, IDLE).await
}

/// Runs the hub until somebody's connection has timed out, and tells whose.
async fn timed_out(hub: &mut Hub) -> PeerId {
    hub.wait(|event| match event {
        SwarmEvent::ConnectionClosed { peer_id, cause: Some(ConnectionError::KeepAliveTimeout), .. } => {
            Some(*peer_id)
        }
        SwarmEvent::ConnectionClosed { cause, .. } => panic!("closed otherwise: {cause:?}"),
        _ => None,
    })
    .await
}

/// Lets whole idle timeouts pass: others arrive and time out one after the other.
async fn outlast(hub: &mut Hub, timeouts: usize) {
    for _ in 0..timeouts {
        let other = visit(hub.memory.clone());
        assert_eq!(timed_out(hub).await, other, "who is not protected times out");
    }
}

#[test]
fn a_protected_peer_stays_until_its_last_protection_is_lifted() {
    within(async {
        let manager = net::manager(10, 20);
        let mut hub = hub(&manager, Config::default()).await;
        let kept = visit(hub.memory.clone());
        manager.protect(&kept, "one");
        manager.protect(&kept, "two");
        outlast(&mut hub, 3).await;

        manager.unprotect(&kept, "one");
        outlast(&mut hub, 2).await;
        assert!(hub.swarm.is_connected(&kept), "still protected under another name");

        let elsewhere = Arc::clone(&manager);
        let lifted = thread::spawn(move || elsewhere.unprotect(&kept, "two"));
        assert!(!lifted.join().expect("no panic"), "nothing protects it now");
        assert_eq!(timed_out(&mut hub).await, kept, "nothing but the timeout ends it");
        hub.assert_empty();
    });
}

#[test]
fn a_protection_in_the_middle_of_a_timeout_holds() {
    within(async {
        let manager = net::manager(10, 20);
        let mut hub = Hub::with_idle_timeout(&manager, Config::default(), LONGER).await;
        let kept = visit(hub.memory.clone());
        hub.until(|hub| hub.established() == 1).await;
        // Its timeout is running now.
        manager.protect(&kept, "kept");
        outlast(&mut hub, 2).await;
        assert!(hub.swarm.is_connected(&kept));
        manager.unprotect(&kept, "kept");
        assert_eq!(timed_out(&mut hub).await, kept);
    });
}

/// Lifted and set again at once: the notice of the lifting must not end what is protected.
#[test]
fn who_is_protected_anew_stays() {
    within(async {
        let manager = net::manager(10, 20);
        let mut hub = Hub::with_idle_timeout(&manager, Config::default(), LONGER).await;
        let kept = visit(hub.memory.clone());
        manager.protect(&kept, "kept");
        hub.until(|hub| hub.established() == 1).await;
        for _ in 0..1_000 {
            manager.unprotect(&kept, "kept");
            manager.protect(&kept, "kept");
        }
        outlast(&mut hub, 2).await;
        assert!(hub.swarm.is_connected(&kept));
    });
}

/// Protected only until about when the connection is made: whenever that falls, the connection does not stay for ever.
#[test]
fn a_protection_lifted_while_the_connection_is_made_is_not_missed() {
    within(async {
        let manager = net::manager(10, 20);
        let mut hub = hub(&manager, Config::default()).await;
        for _ in 0..20 {
            let peer = net::peer();
            let id = *peer.local_peer_id();
            manager.protect(&id, "for a while");
            let mut peer = peer;
            peer.dial(hub.memory.clone()).expect("dialled");
            net::run(peer);
            let elsewhere = Arc::clone(&manager);
            let lifting = thread::spawn(move || {
                while elsewhere.tag_info(&id).is_none() {
                    thread::yield_now();
                }
                elsewhere.unprotect(&id, "for a while");
            });
            assert_eq!(timed_out(&mut hub).await, id);
            lifting.join().expect("no panic");
        }
        hub.assert_empty();
    });
}

#[test]
fn a_behaviour_may_leave_protected_peers_to_the_timeout() {
    within(async {
        let manager = net::manager(10, 20);
        let mut hub = hub(&manager, Config::default().with_protected_kept_alive(false)).await;
        let peer = visit(hub.memory.clone());
        manager.protect(&peer, "kept from trims only");
        assert_eq!(timed_out(&mut hub).await, peer);
    });
}
