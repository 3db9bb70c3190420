//! The place of an established connection in the account.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use libp2p_identity::PeerId;

use super::Admission;
use super::account::Count;
use crate::connection::Direction;

/// The stages of a [`Place`], in order. Each may be skipped.
const OPEN: u8 = 0;
/// The manager closes it, and the account is about to say so.
const MARKING: u8 = 1;
/// The account has it as closing.
const CLOSING: u8 = 2;
/// It is given back, or, if it was being marked, will be by whoever marks it.
const GONE: u8 = 3;

/// The place of an established connection. The manager may keep it after the connection is gone, and may close what is gone, so it is given back by hand.
///
/// Closing and ending may meet. Each changes the account in one step, and the stage says which change the other has to make: the account
/// never has a connection as closing that it does not hold, and never forgets the one before the other.
#[derive(Debug)]
pub(in crate::swarm) struct Place {
    admission: Arc<Admission>,
    peer: PeerId,
    direction: Direction,
    stage: AtomicU8,
}

impl Place {
    /// What was counted already.
    pub(super) fn new(admission: Arc<Admission>, peer: PeerId, direction: Direction) -> Self {
        Self { admission, peer, direction, stage: AtomicU8::new(OPEN) }
    }

    /// The manager is closing the connection: it makes room for others.
    pub(in crate::swarm) fn mark_closing(&self) {
        if !self.step(OPEN, MARKING) {
            return;
        }
        self.change(|count| count.closing += 1);
        if !self.step(MARKING, CLOSING) {
            self.release(CLOSING);
        }
    }

    /// The connection is gone. Idempotent.
    pub(in crate::swarm) fn give_back(&self) {
        match self.stage.swap(GONE, Ordering::AcqRel) {
            MARKING | GONE => {}
            stage => self.release(stage),
        }
    }

    fn release(&self, stage: u8) {
        self.change(|count| {
            count.held -= 1;
            count.closing -= u32::from(stage == CLOSING);
        });
        self.admission.peers.give_back(&self.peer);
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn change(&self, change: impl Fn(&mut Count)) {
        let done = self.admission.account.change(|counts| {
            change(counts.of(self.direction));
            Ok::<(), Infallible>(())
        });
        match done {
            Ok(()) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}
