//! Loom models of `connmgr`'s core.
//!
//! The modules below are the shipped files, compiled over loom's atomics and the checked reclaimer: nothing here
//! is a copy, and this package defines no data structure or protocol of its own. Each model is a test named after the
//! property it holds; its doc gives the threads, the preemption bound and what would have to go wrong for it to fail.
//!
//! How to run, deepen and read them: `docs/VERIFYING.md`.

// The models use a part of the core each, and the library without its tests none.
#![allow(dead_code)]
#![cfg_attr(not(test), allow(unused_imports))]

#[path = "../../src/epoch.rs"]
mod epoch;
#[path = "../../src/index/mod.rs"]
mod index;
#[path = "../../src/peer/mod.rs"]
mod peer;
#[path = "../../src/reclaim/mod.rs"]
mod reclaim;
#[path = "../../src/snapshot.rs"]
mod snapshot;
#[path = "../../src/sync/mod.rs"]
mod sync;
#[path = "../../src/versioned/mod.rs"]
mod versioned;

#[cfg(test)]
mod models;
