//! Replays the kept inputs of every target, so that none rots, and inputs like them, so that no target does.

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

#[test]
fn interleavings_of_changed_programs() {
    corpus::run_changed("interleave", connmgr_fuzz::interleave, 100);
}

#[test]
fn changed_programs_of_one_thread() {
    corpus::run_changed("ops", connmgr_fuzz::ops, 100);
}

#[test]
fn trims_of_changed_populations() {
    corpus::run_changed("policy", connmgr_fuzz::policy, 100);
}
