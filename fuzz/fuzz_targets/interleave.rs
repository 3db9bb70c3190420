//! Programs of several threads: see [`connmgr_fuzz::interleave`]. Built by `cargo fuzz`, it fuzzes; else it replays files.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connmgr_fuzz::interleave(bytes));

#[cfg(not(fuzzing))]
fn main() {
    connmgr_fuzz::corpus::replay_args(connmgr_fuzz::interleave);
}
