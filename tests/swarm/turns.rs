//! The behaviour by itself, polled by hand: what it does in one turn, and what it does with claims that come too late.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use connmgr::swarm::{Admission, Behaviour, Config, Event, Handler, Limits, Manager};
use libp2p::core::ConnectedPoint;
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    AddressChange, CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionId,
    FromSwarm, NetworkBehaviour, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::net::{self, manager};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A behaviour that is told of connections and polled by the test.
struct Alone {
    behaviour: Behaviour,
    manager: Arc<Manager>,
    wakes: Arc<Wakes>,
    waker: Waker,
    endpoint: ConnectedPoint,
}

impl Alone {
    fn new(manager: Arc<Manager>) -> Self {
        Self::with(manager, Config::default())
    }

    fn with(manager: Arc<Manager>, config: Config) -> Self {
        let wakes = Arc::<Wakes>::default();
        let here: Multiaddr = "/memory/1".parse().expect("an address");
        Self {
            behaviour: Behaviour::with_config(Arc::clone(&manager), config).expect("caps that fit"),
            manager,
            waker: Waker::from(Arc::clone(&wakes)),
            wakes,
            endpoint: ConnectedPoint::Listener { local_addr: here.clone(), send_back_addr: here },
        }
    }

    fn open(&mut self, id: usize) -> (PeerId, ConnectionId) {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(id));
        drop(self.admit(peer, connection));
        self.established(peer, connection);
        (peer, connection)
    }

    fn admit(&mut self, peer: PeerId, connection: ConnectionId) -> Handler {
        self.try_admit(peer, connection).expect("there is room")
    }

    fn try_admit(&mut self, peer: PeerId, connection: ConnectionId) -> Result<Handler, ConnectionDenied> {
        let address = self.endpoint.get_remote_address().clone();
        self.behaviour.handle_established_inbound_connection(connection, peer, &address, &address)
    }

    /// Whether somebody new is let in.
    fn newcomer(&mut self, id: usize) -> bool {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(id));
        let admitted = self.try_admit(peer, connection);
        if admitted.is_ok() {
            self.established(peer, connection);
        }
        admitted.is_ok()
    }

    fn established(&mut self, peer_id: PeerId, connection_id: ConnectionId) {
        let endpoint = self.endpoint.clone();
        self.behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
    }

    fn ended(&mut self, (peer_id, connection_id): (PeerId, ConnectionId)) {
        let endpoint = self.endpoint.clone();
        self.behaviour.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            endpoint: &endpoint,
            cause: None,
            remaining_established: 0,
        }));
    }

    /// Polls until there is nothing, as the swarm does: how many closes, and the events.
    fn turn(&mut self) -> (usize, Vec<Event>) {
        let (mut closes, mut events) = (0, Vec::new());
        let mut cx = Context::from_waker(&self.waker);
        while let Poll::Ready(next) = self.behaviour.poll(&mut cx) {
            match next {
                ToSwarm::CloseConnection { connection: CloseConnection::One(_), .. } => closes += 1,
                ToSwarm::GenerateEvent(event) => events.push(event),
                other => panic!("{other:?}"),
            }
        }
        (closes, events)
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

#[test]
fn one_turn_closes_so_many_and_asks_for_another() {
    let mut alone = Alone::new(manager(1, 10));
    (0..201).for_each(|id| _ = alone.open(id));
    assert_eq!(alone.turn(), (0, Vec::new()), "nothing to do");
    let before = alone.wakes();
    let report = alone.manager.trim_open_conns();
    assert_eq!(report.closed_connections, 200);
    assert!(alone.wakes() > before, "the swarm is woken");

    let mut turns = Vec::new();
    let mut finished = None;
    while finished.is_none() {
        let before = alone.wakes();
        let (closes, mut events) = alone.turn();
        turns.push(closes);
        if let Some(Event::TrimFinished(_)) = events.last() {
            finished = events.pop();
        } else {
            assert!(alone.wakes() > before, "there is more: the swarm is to come back");
        }
        assert_eq!(events.len(), closes, "each close is told");
    }
    assert_eq!(turns, [64, 64, 64, 8]);
    assert!(matches!(finished, Some(Event::TrimFinished(told)) if told == report));
}

#[test]
fn a_claim_on_a_connection_that_has_gone_is_passed_over() {
    let mut alone = Alone::new(manager(1, 10));
    let connections: Vec<_> = (0..3).map(|id| alone.open(id)).collect();
    alone.manager.protect(&connections[0].0, "kept");
    let report = alone.manager.trim_open_conns();
    assert_eq!(report.closed_connections, 2, "both are claimed");
    alone.ended(connections[1]);
    let (closes, events) = alone.turn();
    assert_eq!(closes, 1, "the one that is still there");
    let [Event::Trimmed { connection, .. }, Event::TrimFinished(_)] = &events[..] else {
        panic!("the close, then the report: {events:?}");
    };
    assert_eq!(*connection, connections[2].1);
    alone.ended(connections[2]);
    assert_eq!((alone.manager.info().connections, alone.manager.info().closing), (1, 0));
}

fn reports(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::TrimFinished(_))).count()
}

/// Newcomers who find the overshoot taken are denied without a trim while fewer than the cap are open; and a trim that did not let its newcomer
/// in is not repeated at once, though it closed some.
#[test]
fn a_trim_that_cannot_let_a_newcomer_in_is_left_out() {
    let limits = Limits::default().with_max_established(10).with_trim_to_admit(2);
    let admission = Admission::new(limits).expect("valid limits");
    let manager = manager(4, 100);
    let mut alone =
        Alone::with(Arc::clone(&manager), Config::default().with_admission(Arc::clone(&admission)));
    let first: Vec<_> = (0..10).map(|id| alone.open(id)).collect();
    first[6..].iter().for_each(|(peer, _)| manager.tag_peer(peer, "value", 1));
    assert!(alone.newcomer(10), "a trim closes six, and lets it in");
    assert!(alone.newcomer(11), "there is room under the cap, and under the overshoot");
    for id in 12..20 {
        assert!(!alone.newcomer(id), "twelve are held, though six of them are going");
    }
    let (closes, events) = alone.turn();
    assert_eq!((closes, reports(&events)), (6, 1), "one trim for all of them");

    // Those who are going are slow, and others take their room.
    for gone in &first[..2] {
        alone.ended(*gone);
    }
    assert_eq!(manager.info().connections, 10, "four stayed, two came, four are going");
    (20..22).for_each(|id| assert!(alone.newcomer(id)));
    let trimmed = manager.trim_open_conns().closed_connections;
    assert_eq!((trimmed, alone.newcomer(22)), (4, false), "twelve are held");
    assert_eq!(reports(&alone.turn().1), 1, "only the trim that was asked for");
}

/// A trim that closed some, and too few, is not repeated at once either.
#[test]
fn a_trim_that_closes_too_few_is_not_repeated_at_once() {
    let limits =
        Limits::default().with_max_established(3).with_trim_to_admit(8).with_protected_admitted(true);
    let admission = Admission::new(limits).expect("valid limits");
    let manager = manager(1, 100);
    let mut alone = Alone::with(Arc::clone(&manager), Config::default().with_admission(admission));
    (0..3).for_each(|id| _ = alone.open(id));
    for id in 3..7 {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(id));
        manager.protect(&peer, "kept");
        drop(alone.admit(peer, connection));
        alone.established(peer, connection);
    }
    let start = Instant::now();
    (7..27).for_each(|id| assert!(!alone.newcomer(id), "four protected ones are more than the cap"));
    let at_most = start.elapsed().as_secs() as usize + 1;
    let (closes, events) = alone.turn();
    assert_eq!(closes, 3, "the first newcomer's trim closed whom it could");
    let trims = reports(&events);
    assert!((1..=at_most).contains(&trims), "{trims} trims for 20 newcomers");
}

/// Another thread's trim, or what hears of it, may take its time; the swarm's task does not wait for it, and may trim when it has ended.
#[test]
fn admission_does_not_wait_for_a_trim_of_another_thread() {
    let (heard, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (hears, goes_on) = (Arc::clone(&heard), Arc::clone(&go_on));
    let manager = net::builder(1, 100).on_trim(move |_| {
        hears.store(true, Ordering::Release);
        while !goes_on.load(Ordering::Acquire) {
            thread::yield_now();
        }
    });
    let manager = Arc::new(manager.build().expect("a valid configuration"));
    let limits = Limits::default().with_max_established(4).with_trim_to_admit(4);
    let admission = Admission::new(limits).expect("valid limits");
    let mut alone = Alone::with(Arc::clone(&manager), Config::default().with_admission(admission));
    let connections: Vec<_> = (0..4).map(|id| alone.open(id)).collect();
    connections.iter().for_each(|(peer, _)| _ = manager.protect(peer, "kept"));

    let trimmer = Arc::clone(&manager);
    let trim = thread::spawn(move || trimmer.trim_open_conns());
    while !heard.load(Ordering::Acquire) {
        thread::yield_now();
    }
    let (tell, told) = mpsc::channel();
    let swarm = thread::spawn(move || {
        let _ = tell.send(alone.newcomer(4));
        alone
    });
    let admitted = told.recv_timeout(net::LIMIT);
    go_on.store(true, Ordering::Release);
    assert_eq!(admitted, Ok(false), "denied, and at once");
    assert_eq!(trim.join().expect("no panic").closed_connections, 0);

    let mut alone = swarm.join().expect("no panic");
    manager.unprotect(&connections[0].0, "kept");
    assert!(alone.newcomer(5), "its own trim made room: there is no pause after another's");
}

/// A swarm that is not polled must not pile up reports without end.
#[test]
fn reports_that_nobody_takes_are_dropped_and_counted() {
    let mut alone = Alone::new(manager(1, 10));
    for _ in 0..100 {
        let _ = alone.manager.trim_open_conns();
    }
    assert_eq!(alone.behaviour.missed_reports(), 36);
    let mut told = 0;
    loop {
        let (_, events) = alone.turn();
        told += events.len();
        if events.is_empty() {
            break;
        }
    }
    assert_eq!(told, 64);
    let _ = alone.manager.trim_open_conns();
    assert_eq!(alone.turn().1.len(), 1, "there is room again");
    assert_eq!(alone.behaviour.missed_reports(), 36);
}

#[test]
fn a_behaviour_that_is_dropped_takes_its_connections_along_and_no_others() {
    let manager = manager(1, 10);
    let mut first = Alone::new(Arc::clone(&manager));
    let mut second = Alone::new(Arc::clone(&manager));
    (0..5).for_each(|id| _ = first.open(id));
    (5..8).for_each(|id| _ = second.open(id));
    drop(first);
    assert_eq!(manager.info().connections, 3);
    drop(second);
    assert_eq!((manager.info().connections, manager.info().ignored_events), (0, 0));
    assert_eq!(Arc::strong_count(&manager), 1, "nothing keeps the manager");
}

/// A connection that moves is known by its new address, and counts in its new subnet, full or not.
#[test]
fn a_connection_that_moves_is_found_where_it_went() {
    let admission = Admission::new(Limits::default().with_max_per_ipv4_subnet(32, 1)).expect("valid limits");
    let mut alone = Alone::with(manager(1, 10), Config::default().with_admission(Arc::clone(&admission)));
    let at = |address: &str| -> Multiaddr { format!("{address}/udp/1/quic-v1").parse().expect("an address") };
    let (peer_id, connection_id) = alone.open(1);
    let listener = |address: &str| ConnectedPoint::Listener {
        local_addr: at("/ip4/192.0.2.9"),
        send_back_addr: at(address),
    };
    let (mut old, mut subnets) = (alone.endpoint.clone(), Vec::new());
    for address in ["/ip4/192.0.2.1", "/ip4/192.0.2.2", "/ip6/2001:db8::1"] {
        let new = listener(address);
        alone.behaviour.on_swarm_event(FromSwarm::AddressChange(AddressChange {
            peer_id,
            connection_id,
            old: &old,
            new: &new,
        }));
        let info = alone.manager.tag_info(&peer_id).expect("known");
        assert_eq!(info.conns[0].remote_addr, at(address).to_string());
        subnets.push(admission.usage().subnets);
        old = new;
    }
    assert_eq!(subnets, [1, 1, 0], "one at a time, and none that has no cap");
    alone.ended((peer_id, connection_id));
    assert_eq!(admission.usage(), connmgr::swarm::Usage::default());
}

/// Who lifts the last protection wakes the connection's task, which would not look otherwise; also if the manager did not know the connection
/// yet: then it is woken when the manager does.
#[test]
fn whenever_a_protection_is_lifted_the_connection_is_woken() {
    let mut alone = Alone::new(manager(1, 10));
    let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(1));
    let waker = alone.waker.clone();
    let mut task = Context::from_waker(&waker);
    alone.manager.protect(&peer, "kept");
    let mut handler = alone.admit(peer, connection);
    assert!(handler.poll(&mut task).is_pending());
    assert!(handler.connection_keep_alive(), "protected");

    alone.manager.unprotect(&peer, "kept");
    assert_eq!(alone.wakes(), 0, "the manager does not know whom to wake");
    alone.established(peer, connection);
    assert_eq!(alone.wakes(), 1);
    assert!(handler.poll(&mut task).is_pending());
    assert!(!handler.connection_keep_alive());

    alone.manager.protect(&peer, "one");
    alone.manager.protect(&peer, "two");
    alone.manager.unprotect(&peer, "one");
    assert_eq!(alone.wakes(), 1, "nobody is woken while another protection is left");
    assert!(handler.connection_keep_alive());
    alone.manager.unprotect(&peer, "two");
    assert_eq!(alone.wakes(), 2);
    assert!(!handler.connection_keep_alive());
}
