//! Each hot operation a fixed number of times, on one thread, in the same order every time: for `ci/instructions.sh`, which counts
//! instructions under callgrind, and compares them with `benches/instructions.txt`.
//!
//! Every operation stands in a function of its own, called once for [`TIMES`] operations: the function's inclusive count is what
//! the operation costs, reclamation that falls within it included. A function's name is the operation's name in the record.

#[path = "../common/mod.rs"]
mod common;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use connmgr::{BumpFn, DecayFn, DecayingTag, ManualClock, OwnedPeerHandle, Tag};

use common::args;
use common::ours::Manager;
use common::race::aged;
use common::rivals::ShardedMutex;
use common::subject::Subject;
use common::world::{Conn, HOT, PeerId, TAGS, World, start};

const HELP: &str = "\
usage: ci/instructions.sh

Run by itself it prints how often each operation is done and measures nothing.

  --help   this text";

const PEERS: usize = 1_000;
/// How often each operation is done.
const TIMES: usize = 2_000;

/// What operations work on.
struct Bench {
    world: World<PeerId>,
    manager: Arc<Manager<PeerId>>,
    tags: [Tag; 2],
    decaying: DecayingTag<PeerId>,
    handles: Vec<OwnedPeerHandle<PeerId, Conn>>,
    rival: ShardedMutex<PeerId>,
}

/// A filled and aged table with a resolved tag: each peer has one connection and two tags.
fn filled(world: &World<PeerId>) -> (Arc<Manager<PeerId>>, [Tag; 2]) {
    let clock = ManualClock::new();
    clock.set(Duration::from_secs(1));
    let manager = Manager::<PeerId>::builder()
        .seed(7)
        .background(false)
        .clock(clock)
        .build()
        .expect("a valid configuration");
    let tags = TAGS.map(|name| manager.tag(name));
    for (peer, id) in world.ids.iter().enumerate() {
        manager.connected(id, Conn::new(peer as u64));
        for (at, tag) in tags.iter().enumerate() {
            manager.tag_peer(id, tag, start(peer, at));
        }
    }
    drop(manager.snapshot());
    for &peer in &world.shuffled {
        manager.upsert_tag(&world.ids[peer as usize], &tags[HOT], |value| value + 1);
    }
    (Arc::new(manager), tags)
}

impl Bench {
    fn new() -> Self {
        let world = World::<PeerId>::new(PEERS, 1);
        let (manager, tags) = filled(&world);
        let rival: ShardedMutex<PeerId> = aged(&world);
        // Of a table of its own: a decaying value makes a peer's state larger.
        let decaying = filled(&world)
            .0
            .register_decaying_tag(
                "decaying",
                Duration::from_secs(60),
                DecayFn::fixed(1),
                BumpFn::sum_unbounded(),
            )
            .expect("a name that is free");
        for id in &world.ids {
            // The first bump adds the tag; later ones are in place.
            decaying.bump(id, 1).expect("an open tag");
        }
        let handles: Vec<_> = world.ids.iter().map(|id| manager.peer_owned(id)).collect();
        for handle in &handles {
            assert!(handle.tag_value(&tags[HOT]).is_some(), "a handle to a peer that is there");
        }
        Self { world, manager, tags, decaying, handles, rival }
    }

    /// Does `work` for [`TIMES`] peers drawn at random, the same ones every time.
    #[inline(always)]
    fn each(&self, mut work: impl FnMut(usize, &PeerId)) {
        self.world.visit(0, 0, TIMES, |_, peer| work(peer, &self.world.ids[peer]));
    }
}

/// Defines operations, each a function that is not inlined, and the list of them.
macro_rules! operations {
    ($($(#[$doc:meta])* fn $name:ident($bench:ident, $peer:pat, $id:pat) $body:block)*) => {
        $(
            $(#[$doc])*
            #[inline(never)]
            fn $name($bench: &Bench) {
                $bench.each(|$peer, $id| $body);
            }
        )*

        /// Every operation with its name, in the order they are done in.
        const OPERATIONS: &[(&str, fn(&Bench))] = &[$((stringify!($name), $name)),*];
    };
}

operations! {
    fn op_upsert(bench, _, id) {
        black_box(bench.manager.upsert_tag(id, &bench.tags[HOT], |value| value + 1));
    }
    fn op_upsert_by_handle(bench, peer, _) {
        black_box(bench.handles[peer].upsert_tag(&bench.tags[HOT], |value| value + 1));
    }
    fn op_upsert_by_name(bench, _, id) {
        black_box(bench.manager.upsert_tag(id, TAGS[HOT], |value| value + 1));
    }
    fn op_tag_value(bench, _, id) {
        black_box(bench.manager.tag_value(id, &bench.tags[HOT]));
    }
    fn op_is_protected(bench, _, id) {
        black_box(bench.manager.is_protected(id, None));
    }
    fn op_tag_info(bench, _, id) {
        black_box(bench.manager.tag_info(id));
    }
    fn op_snapshot(bench, _, _) {
        drop(black_box(bench.manager.snapshot()));
    }
    fn op_upsert_after_snapshot(bench, _, id) {
        drop(black_box(bench.manager.snapshot()));
        black_box(bench.manager.upsert_tag(id, &bench.tags[HOT], |value| value + 1));
    }
    fn op_connect_disconnect(bench, peer, id) {
        let conn = (1 << 40) + peer as u64;
        bench.manager.connected(id, black_box(Conn::new(conn)));
        bench.manager.disconnected(id, &black_box(conn));
    }
    fn op_protect_unprotect(bench, _, id) {
        black_box(bench.manager.protect(id, &bench.tags[HOT]));
        black_box(bench.manager.unprotect(id, &bench.tags[HOT]));
    }
    fn op_bump(bench, _, id) {
        black_box(bench.decaying.bump(id, 1).expect("an open tag"));
    }
    fn op_leave_return(bench, peer, id) {
        bench.manager.disconnected(id, &black_box(peer as u64));
        bench.manager.connected(id, black_box(Conn::new(peer as u64)));
    }
    fn op_leave_return_tagged(bench, peer, id) {
        bench.manager.disconnected(id, &black_box(peer as u64));
        bench.manager.connected(id, black_box(Conn::new(peer as u64)));
        for at in 0..TAGS.len() {
            bench.manager.tag_peer(id, &bench.tags[at], black_box(start(peer, at)));
        }
    }
    fn rival_upsert(bench, peer, id) {
        black_box(bench.rival.upsert(&(), peer, id));
    }
    fn rival_tag_value(bench, peer, id) {
        black_box(bench.rival.read(&(), peer, id));
    }
    fn rival_connect_disconnect(bench, peer, id) {
        let conn = (1 << 40) + peer as u64;
        bench.rival.connect(id, black_box(Conn::new(conn)));
        bench.rival.disconnect(id, black_box(conn));
    }
    fn rival_leave_return(bench, peer, id) {
        bench.rival.disconnect(id, black_box(peer as u64));
        bench.rival.connect(id, black_box(Conn::new(peer as u64)));
    }
    fn rival_leave_return_tagged(bench, peer, id) {
        bench.rival.disconnect(id, black_box(peer as u64));
        bench.rival.connect(id, black_box(Conn::new(peer as u64)));
        for at in 0..TAGS.len() {
            bench.rival.set(peer, id, at, black_box(start(peer, at)));
        }
    }
}

fn main() -> ExitCode {
    let parse = |parser: &mut lexopt::Parser| match parser.next()? {
        None => Ok(Some(())),
        Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => Ok(None),
        Some(other) => Err(other.unexpected()),
    };
    args::start("instructions", HELP, parse, |()| {
        let bench = Bench::new();
        for (name, operation) in OPERATIONS {
            operation(&bench);
            println!("{name} {TIMES}");
        }
    })
}
