//! Processor time, and what the scheduler did to a thread, to be told from what the thread did itself.

use std::time::Duration;

/// What a thread has had of a processor up to now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a processor.
    pub on: Duration,
    /// How often it gave the processor up, to wait for something.
    pub waits: i64,
}

/// What the calling thread has had.
#[cfg(target_os = "linux")]
pub fn usage() -> Usage {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::time::{ClockId, clock_gettime};

    let on = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock that Linux has");
    let switches = getrusage(UsageWho::RUSAGE_THREAD).expect("what Linux counts");
    Usage { on: on.into(), waits: switches.voluntary_context_switches() }
}

/// Unknown here: everything counts as the thread's own doing.
#[cfg(not(target_os = "linux"))]
pub fn usage() -> Usage {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    Usage { on: ORIGIN.get_or_init(std::time::Instant::now).elapsed(), waits: 0 }
}

/// The processor time that `work`, which waits for nobody, takes on this thread, and what it gives: other programs' share of the
/// processors is not counted.
pub fn timed<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let before = usage().on;
    let result = work();
    (usage().on - before, result)
}
