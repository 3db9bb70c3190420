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
//! Memory that is to be used again, and not given back, needs no job: [`Guard::retire_in_place`] gives a [`Cookie`], of which anybody may ask later
//! whether it is over, as of Linux's polled RCU grace periods (`get_state_synchronize_rcu`, `poll_state_synchronize_rcu`).
//!
//! Progress: pinning and unpinning are lock-free; so is retiring, the allocator aside. A stalled guard delays frees,
//! never operations.
//!
//! Some models run over `crossbeam-epoch` itself, which then is compiled over loom's atomics, by its own cfg `crossbeam_loom`.

#[cfg(any(all(connmgr_loom, not(crossbeam_loom)), connmgr_shuttle))]
mod checked;
#[cfg(not(any(all(connmgr_loom, not(crossbeam_loom)), connmgr_shuttle)))]
mod epoch;
#[cfg_attr(any(connmgr_loom, connmgr_shuttle), allow(dead_code, reason = "a model of its own runs it"))]
pub(crate) mod period;

#[cfg(any(all(connmgr_loom, not(crossbeam_loom)), connmgr_shuttle))]
use checked as backend;
#[cfg(not(any(all(connmgr_loom, not(crossbeam_loom)), connmgr_shuttle)))]
use epoch as backend;

pub(crate) use backend::{Guard, alloc, check, deref, free, occupy, pin, quarantine, settle, vacate};

pub(crate) use period::Cookie;

#[cfg(any(connmgr_loom, connmgr_shuttle))]
pub use backend::model;
