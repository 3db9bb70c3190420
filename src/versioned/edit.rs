//! Edits of a record: which tags there are, and its links.

use std::ptr;

use smallvec::SmallVec;

use super::cells::{Cells, decode};
use super::links::LinksCell;
use super::{LinkEdit, Linked, Look, Owner, State, TagId, Tags, Versioned};
use crate::epoch::Epoch;
use crate::reclaim::Guard;
use crate::sync::{Ordering, mutant, ordering};

/// What becomes of the tags in an edit.
#[derive(Clone, Copy)]
pub(crate) enum TagEdit<'e> {
    /// They stay.
    Keep,
    /// They stay if this holds of them, final as they are by then; else the edit is refused.
    KeepIf(&'e dyn Fn(&Tags) -> bool),
    /// These tags, which are there, get these values.
    Set(&'e Tags),
    /// These tags come, none of which is there: another thread may have added one in place, and then the edit is refused.
    Add(&'e Tags),
    /// These tags go.
    Remove(&'e [TagId]),
    /// All go.
    Clear,
}

/// Why an edit was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Another thread changed the record: look again.
    Raced,
    /// What [`TagEdit::KeepIf`] asks did not hold.
    Unfit,
}

impl<L: Linked, K> Versioned<L, K> {
    /// Tries once to edit what the caller looked at under `guard`, which is not sealed: in place where no tag comes or goes and the epoch
    /// allows it.
    ///
    /// Linearizes at the compare-and-swap of the word of links or of the state. What the caller decided from, these links and, of a state that is
    /// [closed](State::close), which tags there are, cannot have changed when that succeeds.
    pub(crate) fn edit(
        &self,
        look: Look<'_, L>,
        tags: TagEdit<'_>,
        links: LinkEdit<'_, L>,
        epoch: &Epoch,
        owner: &impl Owner<Self>,
        guard: &Guard,
    ) -> Result<(), Refused> {
        let Look { state, .. } = look;
        let tags_stay = match tags {
            TagEdit::Keep => true,
            TagEdit::Clear => state.cells.len() == 0,
            TagEdit::KeepIf(_) | TagEdit::Set(_) | TagEdit::Add(_) | TagEdit::Remove(_) => false,
        };
        if !tags_stay || epoch.stamp() != state.epoch && !mutant!("links-epoch-unchecked") {
            return self.replace(look, tags, links, epoch, owner, guard);
        }
        debug_assert!(
            links.lead_to_target(look)
                || state.cells.are_closed()
                || mutant!("left-unclosed")
                || mutant!("vacancy-left-open"),
            "a state without connections has no open cells"
        );
        if state.links.swap(look, links.word(look)) {
            // SAFETY: just published by this thread.
            unsafe { links.published(look, guard) };
            // A state on the heap that died is not awaited at home.
            if look.is_dead() {
                self.come_home_later(state, owner, guard);
            }
            return Ok(());
        }
        if state.look() != look {
            return Err(Refused::Raced);
        }
        // Frozen.
        self.replace(look, tags, links, epoch, owner, guard)
    }

    /// Tries once to put another state in place of the one that the caller looked at.
    pub(super) fn replace(
        &self,
        look: Look<'_, L>,
        tags: TagEdit<'_>,
        links: LinkEdit<'_, L>,
        epoch: &Epoch,
        owner: &impl Owner<Self>,
        guard: &Guard,
    ) -> Result<(), Refused> {
        let Look { state, .. } = look;
        debug_assert!(
            !state.is_sealed() || mutant!("sealed-though-revived") || mutant!("sealed-record-revived"),
            "nothing replaces a sealed state"
        );
        if state.freeze_links() != look && !mutant!("frozen-links-unchecked") {
            return Err(Refused::Raced);
        }
        let cells = Self::frozen_copy(state, tags, || links.lead_to_target(look))?;
        let dies = matches!(links, LinkEdit::Die(_));
        let stamp = if mutant!("stamp-not-renewed") { state.epoch } else { epoch.stamp() };
        let successor = State {
            epoch: stamp,
            prev: match stamp == state.epoch || mutant!("prev-always-inherited") {
                _ if mutant!("prev-dropped") => ptr::null(),
                true => state.prev,
                false => ptr::from_ref(state),
            },
            links: LinksCell::new(links.word(look)),
            cells,
        };
        let successor = self.place(successor, guard);
        if !self.publish(state, successor, guard) {
            return Err(Refused::Raced);
        }
        // (Nothing in between unwinds, which would have `links` free what is published: a collection ends its jobs' panics.)
        // SAFETY: just published by this thread, in place of `look`, which was final.
        unsafe { links.published(look, guard) };
        if !dies {
            self.come_home_later(successor, owner, guard);
        }
        Ok(())
    }

    /// Puts `successor`, which was [placed](Self::place), in place of `state`, unless that is the present state no more. Returns whether
    /// it did.
    pub(super) fn publish(&self, state: &State<L>, successor: *mut State<L>, guard: &Guard) -> bool {
        let old = ptr::from_ref(state).cast_mut();
        if mutant!("retired-before-swap") {
            // SAFETY: none: a fault.
            unsafe { self.retire(old, guard) };
        }
        // ORDER: state-publish
        let published = ordering!("state-publish", AcqRel);
        // What the swap returns has the provenance of what was placed; `state` is a shared reference, not to be freed by.
        let Ok(old) = self.state.compare_exchange(old, successor, published, Ordering::Relaxed) else {
            // SAFETY: never published, so it is ours alone.
            unsafe { self.displace(successor) };
            return false;
        };
        // SAFETY: the swap above made `old` unreachable, and this thread alone won it. Readers at an earlier epoch may
        // still come by `prev`: they pinned before this thread loaded the epoch (chain), so the guards alive now
        // include theirs.
        unsafe {
            if mutant!("retired-twice") {
                self.retire(old, guard);
            }
            if mutant!("freed-at-once") {
                self.displace(old);
            } else if !mutant!("retire-skipped") && !mutant!("retired-before-swap") {
                self.retire(old, guard);
            }
        }
        true
    }

    /// Closes and freezes all cells of `state` and returns them, edited; vacant ones are to be open if `open` says so.
    pub(super) fn frozen_copy(
        state: &State<L>,
        edit: TagEdit<'_>,
        open: impl FnOnce() -> bool,
    ) -> Result<Cells, Refused> {
        state.cells.close();
        // Pushed one by one: for a few, `extend` takes five times as long.
        let mut tags: SmallVec<[(TagId, i64); 8]> = SmallVec::new();
        for (at, (tag, cell)) in state.cells.iter().enumerate() {
            let skipped = mutant!("one-cell-unfrozen") && at == 1;
            tags.push((tag, if skipped { decode(cell.load()) } else { cell.freeze() }));
        }
        match edit {
            TagEdit::Keep => {}
            TagEdit::KeepIf(fit) => {
                if !fit(&tags) && !mutant!("claim-without-value-check") {
                    return Err(Refused::Unfit);
                }
            }
            TagEdit::Set(set) => {
                for &(tag, value) in set {
                    tags.iter_mut().find(|held| held.0 == tag).expect("a tag that is there").1 = value;
                }
            }
            TagEdit::Add(new) => {
                for &(tag, value) in new {
                    match tags.iter_mut().find(|held| held.0 == tag) {
                        None => tags.push((tag, value)),
                        Some(held) if mutant!("added-over-another") => held.1 = value,
                        Some(_) => return Err(Refused::Raced),
                    }
                }
            }
            TagEdit::Remove(gone) => tags.retain(|held| !gone.contains(&held.0)),
            TagEdit::Clear => tags.clear(),
        }
        Ok(Cells::new(&tags, open))
    }
}
