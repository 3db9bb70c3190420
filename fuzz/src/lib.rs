//! The fuzz targets of `connmgr`: each takes bytes, does what they say, and panics if the crate did not keep a promise.
//!
//! | target | runs | against |
//! |---|---|---|
//! | [`interleave()`] | a program of two to four threads, in an interleaving that the bytes decide | linearizability, consistent cuts, reclamation |
//! | [`ops()`] | a program of one thread | a sequential oracle on the standard collections |
//! | [`policy()`] | the choice of a trim's victims | a brute-force reference |
//!
//! The targets are here, and not in `fuzz_targets`, for the tests to replay the corpora under stable.
//!
//! `interleave` is about [`connmgr_shuttle`], the shipped crate compiled over shuttle's atomics and the checked reclaimer; the other
//! two are about the crate as it ships.

pub mod byte_schedule;
pub mod corpus;
pub mod execution;
mod interleave;
mod ops;
mod policy;
mod reference;

pub use interleave::interleave;
pub use ops::ops;
pub use policy::policy;
