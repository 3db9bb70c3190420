//! A lock-free, concurrent connection manager after libp2p's `ConnManager` interface.
//!
//! A node that holds many connections tags its peers with weights from many threads, protects those it cannot lose,
//! and lets the manager close the least valuable connections when there are too many. No tagger ever waits, a trim decides from a consistent
//! snapshot, and no peer is closed once [`protect`](BasicConnManager::protect) has returned.
//!
//! # Examples
//!
//! ```
//! use connmgr::{BasicConnManager, testing::Loopback};
//! use std::time::Duration;
//!
//! let manager = BasicConnManager::<&str, Loopback>::builder()
//!     .low_water(1)
//!     .high_water(2)
//!     .grace_period(Duration::ZERO)
//!     .background(false)
//!     .build()?;
//! for (id, peer) in ["alice", "bob", "carol"].into_iter().enumerate() {
//!     manager.connected(&peer, Loopback::inbound(id as u64));
//! }
//! manager.upsert_tag(&"alice", "blocks", |count| count + 10);
//! manager.protect(&"bob", "bootstrap");
//!
//! let report = manager.trim_open_conns();
//! assert_eq!(report.closed[0].peer, "carol");
//! # Ok::<(), connmgr::ConfigError>(())
//! ```
//!
//! # Promises
//!
//! **P1. Nobody waits for a tagger, and a tagger waits for nobody.** Tagging, protecting, reading, connecting and disconnecting are
//! lock-free, also while the table grows and while a trim runs: a stalled thread stalls no other. Reads write no shared memory
//! beyond the reclamation pin. The allocator is the one exception.
//!
//! **P2. Each operation on one peer is linearizable**, but for [`tag_info`](BasicConnManager::tag_info), which reads each tag at its own
//! instant within one structural state; its `value` is the sum of exactly the tags it returns. No update is lost.
//!
//! **P3. A snapshot is a consistent cut.** It holds every update that returned before it was begun and none that began after it was taken; if it
//! holds an update, it holds everything that update could have seen. Taking one is O(1), and reading it stops no writer (of a peer with fewer than two tags it
//! writes that the state it reads takes no more).
//!
//! **P4. A trim never closes what it must not.** Each victim is claimed by one atomic step on its own state, which re-checks that it is still
//! unprotected, past its grace, worth no more than the cut-off, and still holds the connection. A connection is claimed once.
//! [`force_trim`](BasicConnManager::force_trim) alone, and only when unprotected peers are not enough, may claim a protected peer; the report marks it.
//! Before it does, it comes back to unprotected peers that were raised meanwhile.
//!
//! **P5. Bounded memory.** While a snapshot is held, garbage grows with structural changes and first writes after a snapshot, never with
//! repeated updates of values (bumps by a custom bump or decay function apart, which keep the instant of each), and is returned afterwards. A table has at most 16 slots (of a word) for each live record, or 64,
//! and while it is migrated its successor besides; records of peers that left go once no earlier reader is left. What is left behind is
//! at most 64 objects of each thread that has stopped calling, and what a guard still held when the last snapshot or trim ended, until
//! the next one ends or calls go on. Ids and connections may be dropped late, on
//! any thread that uses a manager; their destructors should not panic (a panic is caught and logged), and should
//! not block, nor wait for a trim: they may run inside one. Hashing is keyed, so ids cannot be chosen to collide.
//!
//! **P6. Callbacks run with nothing held**: no lock, no claim, no unpublished state. They may panic, block or call the manager. Only the
//! closure of an upsert runs under the reclamation pin: blocking there delays frees, never operations. (So do the
//! `Eq`, `Hash` and `Clone` of ids, and inside trims and snapshots [`Connection::stream_count`], [`TrimPolicy`] and decay functions, which are expected
//! to compute and not to block.)
//!
//! # Operations
//!
//! | operation | progress | linearizes at | consistency | cost |
//! |---|---|---|---|---|
//! | [`upsert_tag`](BasicConnManager::upsert_tag), [`tag_peer`](BasicConnManager::tag_peer), tag exists | lock-free | the swap of the tag's word | per peer | hash, one probe, one swap; no allocation |
//! | the same, one of the first two tags of a connected peer | lock-free | the swap that makes a cell the tag's, or of the state | per peer | mostly two swaps; no allocation |
//! | the same, another new tag, or first write after a snapshot | lock-free | the swap of the state | per peer | copies the peer's state |
//! | [`untag_peer`](BasicConnManager::untag_peer) | lock-free | the swap of the state, or its load where nothing changes | per peer | copies the peer's state |
//! | [`connected`](BasicConnManager::connected), [`disconnected`](BasicConnManager::disconnected), [`protect`](BasicConnManager::protect), [`unprotect`](BasicConnManager::unprotect) | lock-free | the swap of the word of links, or its load where nothing changes | per peer | `connected` allocates the connection, with its link, `protect` and `unprotect` a link, and where a connection goes, there is one for each newer one; the first after a snapshot, and a disconnect that takes tags, copies the peer's state |
//! | any of these, unknown peer | lock-free | the swap of the index slot, or the load that finds it empty | per peer | allocates a record, may help a table's growth by 64 slots |
//! | [`tag_value`](BasicConnManager::tag_value), [`is_protected`](BasicConnManager::is_protected) | lock-free, writes nothing shared | the load of the tag's word, or of that of links | per peer | hash, one probe |
//! | [`DecayingTag::bump`] | lock-free | the swap of the tag's word, or of the state | per peer | hash, two probes; the first after a boundary copies the peer's state |
//! | [`tag_info`](BasicConnManager::tag_info) | lock-free | each tag at its own load | one structural state | as above, and allocates the answer |
//! | [`snapshot`](BasicConnManager::snapshot) | wait-free | the increment of the epoch | consistent cut | O(1) |
//! | reading a snapshot | lock-free | – | the cut | streams over the table |
//! | [`trim_open_conns`](BasicConnManager::trim_open_conns), [`force_trim`](BasicConnManager::force_trim) | blocks among trims only | each claim at the swap of that peer's state | decides from one cut | O(peers), sorts only what goes |
//! | [`plan_trim`](BasicConnManager::plan_trim) | lock-free | – | one cut | the same without claims |
//! | [`explain`](BasicConnManager::explain), [`explain_all`](BasicConnManager::explain_all) | lock-free | – | one cut | the same, and sorts all candidates |
//! | [`reconfigure`](BasicConnManager::reconfigure) | lock-free, but for the trim of a lowered watermark | the swap of the settings | each trim goes by one set of them | copies the settings |
//! | [`info`](BasicConnManager::info) | wait-free | each count at its own load | exact when quiet | a few loads |
//!
//! Resolving a `&str` tag is wait-free; a name that is new copies the table of names, which is lock-free.
//! A [`Tag`] resolved once and a [`PeerHandle`] kept save both look-ups.
//!
//! # Features
//!
//! All are off by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `memory` | the module `memory`: watches the memory of the process and its control group, and trims in stages |
//! | `serde` | `Serialize` and `Deserialize` for reports, plans, [`TagInfo`], [`ManagerInfo`] and what they hold: fields by their names here, variants in snake_case, times in serde's own form |
//!
//! # When not to use it
//!
//! With tens of peers, or one thread, a `Mutex<HashMap>` is simpler and as fast. Tag names are kept for ever: do not make them from
//! remote input. Memory of what has been replaced is freed by epochs: a thread that blocks for ever inside an upsert's closure, or
//! holds a snapshot for ever, holds memory back for ever.
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod connection;
mod decay;
mod decayer;
mod epoch;
#[allow(unsafe_code)]
mod index;
mod interface;
mod manager;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
mod names;
mod null;
mod peer;
mod policy;
#[allow(unsafe_code)]
mod reclaim;
mod report;
mod snapshot;
#[cfg(feature = "libp2p")]
pub mod swarm;
#[allow(unsafe_code)]
mod sync;
pub mod testing;
#[allow(unsafe_code)]
mod versioned;

pub use connection::{CloseReason, ConnInfo, Connection, Direction};
pub use decay::{BumpFn, DecayError, DecayFn, DecayingValue};
pub use decayer::{Decayer, DecayingTag};
pub use interface::{CloseError, ConnLimiter, ConnManager, LimitError, Protection, TagInfo};
pub use manager::{
    BasicConnManager, Builder, CancelToken, Clock, ConfigError, GracePer, Handle, ManagerInfo, ManualClock,
    Notifee, OwnedPeerHandle, PeerHandle, PeerView, Settings, Snapshot, SystemClock, TrimObserver,
};
pub use names::{AsTag, Tag};
pub use null::NullConnManager;
pub use policy::{ByValue, Candidate, Census, Rank, Target, TrimPolicy};
#[cfg(connmgr_shuttle)]
pub use reclaim::model;
pub use report::{
    ClosedPeer, Exemption, Explanation, PlannedPeer, SpareReason, SparedPeer, Standing, TrimOutcome,
    TrimPlan, TrimReport, TrimTrigger,
};
pub use versioned::{MAX_WEIGHT, MIN_WEIGHT};
