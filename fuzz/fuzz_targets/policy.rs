//! Trims: see [`connmgr_fuzz::policy`]. Built by `cargo fuzz`, it fuzzes; else it replays files.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connmgr_fuzz::policy(bytes));

#[cfg(not(fuzzing))]
fn main() {
    connmgr_fuzz::corpus::replay_args(connmgr_fuzz::policy);
}
