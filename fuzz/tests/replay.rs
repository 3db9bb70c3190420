//! Replays the kept inputs of every target, so that none rots.

use connmgr_fuzz::corpus;

#[test]
fn interleavings_of_programs() {
    assert!(corpus::replay("interleave", connmgr_fuzz::interleave) >= 20, "the corpus is there");
}

#[test]
fn programs_of_one_thread() {
    assert!(corpus::replay("ops", connmgr_fuzz::ops) >= 20, "the corpus is there");
}

#[test]
fn trims_of_populations() {
    assert!(corpus::replay("policy", connmgr_fuzz::policy) >= 20, "the corpus is there");
}
