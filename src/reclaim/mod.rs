//! When memory that others may still read is freed.
//!
//! A thread *pins* itself before it reads shared pointers and holds the [`Guard`] while it uses them. What has been
//! made unreachable is *retired*: freed once every guard that was alive then is gone. Two back ends: `epoch`, over
//! `crossbeam-epoch`, and for the models `checked`, in which garbage dies at the earliest legal moment and every
//! [`deref()`] asserts that its target lives.
//!
//! Invariant (reachability): a pointer given to [`Guard::retire`] or a job given to [`Guard::defer`] is about
//! memory that no guard created afterwards can reach. Everything unsafe above this module leans on it.
//!
//! Progress: pinning and unpinning are lock-free; so is retiring, the allocator aside. A stalled guard delays frees,
//! never operations.
//!
//! Some models run over `crossbeam-epoch` itself, which then is compiled over loom's atomics, by its own cfg `crossbeam_loom`.

#[cfg(all(connmgr_loom, not(crossbeam_loom)))]
mod checked;
#[cfg(any(not(connmgr_loom), crossbeam_loom))]
mod epoch;

#[cfg(all(connmgr_loom, not(crossbeam_loom)))]
use checked as backend;
#[cfg(any(not(connmgr_loom), crossbeam_loom))]
use epoch as backend;

pub(crate) use backend::{Guard, alloc, check, deref, free, occupy, pin, settle, vacate};

#[cfg(connmgr_loom)]
pub(crate) use backend::model;
