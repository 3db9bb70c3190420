//! What the benchmarks share: peers, subjects, rivals, races and results.

#![allow(dead_code, unused_imports, reason = "each benchmark uses a part of it")]
#![expect(clippy::disallowed_types, reason = "rivals are made of locks, and threads start at a barrier")]

pub mod args;
pub mod cpu;
pub mod ours;
pub mod race;
pub mod report;
pub mod rivals;
pub mod subject;
pub mod world;
