//! How many connections are established, by direction, and how many of them are being closed: one state, replaced as a whole.
//!
//! Admission looks at both numbers of both directions, and so has to see them as they were at one time: if what ends were taken off one number
//! first and off the other later, a newcomer in between would find room that is not there, and the cap would stay exceeded. A copy for each connection that
//! comes or goes costs nothing beside the connection.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::connection::Direction;

/// The connections of one direction, or of both.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Count {
    /// All that are established.
    pub(super) held: u32,
    /// Those of them that the manager is closing.
    pub(super) closing: u32,
}

impl Count {
    pub(super) fn open(self) -> u32 {
        self.held - self.closing
    }
}

/// The connections of each direction.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub(super) inbound: Count,
    pub(super) outbound: Count,
}

impl Counts {
    pub(super) fn of(&mut self, direction: Direction) -> &mut Count {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }

    pub(super) fn total(self) -> Count {
        Count {
            held: self.inbound.held + self.outbound.held,
            closing: self.inbound.closing + self.outbound.closing,
        }
    }
}

#[derive(Default, Debug)]
pub(super) struct Account(ArcSwap<Counts>);

impl Account {
    pub(super) fn counts(&self) -> Counts {
        **self.0.load()
    }

    /// Makes of the counts what `change` makes of them, in one step, or leaves them if it fails. It may run more than once.
    pub(super) fn change<E>(&self, mut change: impl FnMut(&mut Counts) -> Result<(), E>) -> Result<(), E> {
        let mut before = self.0.load();
        loop {
            let mut counts = **before;
            change(&mut counts)?;
            let found = self.0.compare_and_swap(&before, Arc::new(counts));
            if Arc::ptr_eq(&found, &before) {
                return Ok(());
            }
            before = found;
        }
    }
}
