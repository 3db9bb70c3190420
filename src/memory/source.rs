//! Where figures of memory come from.

use std::io;

/// Memory in use, and how much there may be, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryUse {
    /// In use.
    pub used: u64,
    /// The most there may be in use, if that is known. Zero counts as unknown.
    pub limit: Option<u64>,
}

/// Tells how much memory is in use: [`SystemMemory`](super::SystemMemory), or a program's own account.
pub trait MemorySource: Send + 'static {
    /// The figures of now.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from telling. A watcher counts and logs it and asks again when the next check is due.
    fn read(&mut self) -> io::Result<MemoryUse>;
}

impl<F: FnMut() -> io::Result<MemoryUse> + Send + 'static> MemorySource for F {
    fn read(&mut self) -> io::Result<MemoryUse> {
        self()
    }
}
