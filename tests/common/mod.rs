//! What the integration tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use connmgr::testing::Loopback;
use connmgr::{
    BasicConnManager, Builder, ByValue, Candidate, Census, CloseReason, Connection, Direction, ManualClock,
    Rank, TrimPolicy, TrimReport,
};

/// The manager most tests are about: peers are numbers.
pub type Manager = BasicConnManager<u64, Loopback>;

/// How long anything may take before its test fails. Nothing waits for it to pass.
pub const LIMIT: Duration = Duration::from_secs(30);

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The time of day that a [`ManualClock`] tells at `seconds`.
pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(seconds)
}

/// No grace, no background thread, a clock that stands still, ties that always fall the same way.
pub fn builder(low: usize, high: usize) -> Builder<u64, Loopback> {
    BasicConnManager::builder()
        .low_water(low)
        .high_water(high)
        .grace_period(Duration::ZERO)
        .clock(ManualClock::new())
        .background(false)
        .seed(1)
}

pub fn manager(low: usize, high: usize) -> Manager {
    builder(low, high).build().expect("a valid configuration")
}

/// Connects each peer by one inbound connection of its own number.
pub fn connect(manager: &Manager, peers: Range<u64>) -> Vec<Loopback> {
    let connect = |peer| {
        let conn = Loopback::inbound(peer);
        manager.connected(&peer, conn.clone());
        conn
    };
    peers.map(connect).collect()
}

/// Connects each peer as [`connect`] does and gives it its number as value.
pub fn connect_valued(manager: &Manager, peers: Range<u64>) -> Vec<Loopback> {
    let conns = connect(manager, peers.clone());
    for peer in peers {
        manager.tag_peer(&peer, "value", peer as i64);
    }
    conns
}

/// A manager with a background thread that checks every ten seconds, a clock for it, and every report of a trim.
pub fn watched(
    builder: Builder<u64, Loopback>,
) -> (Arc<Manager>, ManualClock, mpsc::Receiver<TrimReport<u64>>) {
    let (clock, (tell, told)) = (ManualClock::new(), mpsc::channel());
    let tell = Mutex::new(tell);
    let manager = builder
        .silence_period(secs(10))
        .clock(clock.clone())
        .background(true)
        .on_trim(move |report| {
            let _ = tell.lock().unwrap().send(report.clone());
        })
        .build()
        .unwrap();
    settle(&clock);
    (Arc::new(manager), clock, told)
}

pub fn settle(clock: &ManualClock) {
    assert!(clock.settle(1, LIMIT), "the background thread comes to rest");
}

/// Moves on to the next check, and lets it end.
pub fn next_check(clock: &ManualClock) {
    clock.advance(secs(10));
    settle(clock);
}

/// How many peers there are: [`ManagerInfo::peers`](connmgr::ManagerInfo) counts those on their way out too.
pub fn peers(manager: &Manager) -> usize {
    manager.snapshot().iter().count()
}

/// Whom a trim closed, in order.
pub fn closed<P: Clone>(report: &TrimReport<P>) -> Vec<P> {
    report.closed.iter().map(|closed| closed.peer.clone()).collect()
}

/// How often each was closed.
pub fn closes(conns: &[Loopback]) -> Vec<usize> {
    conns.iter().map(Loopback::closes).collect()
}

/// Runs `call` on a thread of its own and fails if it hangs.
pub fn within<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || send.send(call()));
    match receive.recv_timeout(LIMIT) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("{what} did not return"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("it ended without a value"),
        },
    }
}

/// A manager for its own callbacks, filled in once it is built.
#[derive(Clone, Default)]
pub struct Late(Arc<OnceLock<Weak<Manager>>>);

impl Late {
    pub fn set(&self, manager: &Arc<Manager>) {
        assert!(self.0.set(Arc::downgrade(manager)).is_ok(), "set once");
    }

    pub fn get(&self) -> Arc<Manager> {
        self.0.get().and_then(Weak::upgrade).expect("the manager is built and lives")
    }
}

/// A policy that calls `hook` when the victims are about to be chosen: after the snapshot, before the first claim.
pub struct Hooked<F>(pub ByValue, pub F);

impl<F: Fn() + Send + Sync + 'static> TrimPolicy for Hooked<F> {
    fn target(&self, census: &Census) -> usize {
        (self.1)();
        self.0.target(census)
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        self.0.rank(candidate)
    }
}

/// A manager whose every choice of victims runs `meanwhile` between snapshot and claims.
pub fn with_meanwhile(low: usize, meanwhile: impl Fn(&Manager) + Send + Sync + 'static) -> Arc<Manager> {
    let late = Late::default();
    let hook = {
        let late = late.clone();
        move || meanwhile(&late.get())
    };
    let manager = builder(low, 100).policy(Hooked(ByValue::exact(), hook)).build();
    let manager = Arc::new(manager.expect("a valid configuration"));
    late.set(&manager);
    manager
}

/// A connection whose address is given and whose streams are asked of a function. Clones are the same connection.
#[derive(Clone)]
pub struct Probe {
    pub id: u64,
    pub addr: &'static str,
    pub direction: Direction,
    streams: Arc<dyn Fn() -> Option<usize> + Send + Sync>,
    closes: Arc<AtomicUsize>,
}

impl Probe {
    pub fn new(id: u64, streams: impl Fn() -> Option<usize> + Send + Sync + 'static) -> Self {
        Self {
            id,
            addr: "/ip4/192.0.2.1/tcp/4001",
            direction: Direction::Inbound,
            streams: Arc::new(streams),
            closes: Arc::default(),
        }
    }

    pub fn closes(&self) -> usize {
        self.closes.load(Ordering::Acquire)
    }
}

impl Connection for Probe {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn remote_addr(&self) -> String {
        self.addr.into()
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn stream_count(&self) -> Option<usize> {
        (self.streams)()
    }

    fn close(&self, _: CloseReason) {
        self.closes.fetch_add(1, Ordering::AcqRel);
    }
}
