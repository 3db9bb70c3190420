//! The memory of this process and of its control group, by sysinfo.
//!
//! Of the crates that are kept up it alone reads both, follows a process to its own control group, and heeds the limits of the groups above it;
//! `memory-stats` and `procfs` know no limits, `cgroups-rs` manages groups and brings D-Bus with it.

use std::fmt;
use std::io;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::source::{MemorySource, MemoryUse};

/// The memory of this process and, on Linux, of its control group (cgroup, version 1 or 2).
///
/// Two pairs of figures are read: the process's resident memory against the machine's memory, or less if
/// [`process_limit`](Self::process_limit) says so; and, where a control group or one above it has a limit below the machine's memory, the group's
/// anonymous memory (of every process in it) against that limit. The pair that is nearer to its limit is told.
///
/// The page cache does not count for a group, as the kernel takes it back before it kills. Nor does the kernel's own memory, such as socket
/// buffers, nor that of sibling groups under a common limit: leave them room by a threshold well below 1.
pub struct SystemMemory {
    system: System,
    pid: Pid,
    process_limit: u64,
}

impl SystemMemory {
    /// The figures of this process.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) on a system of which sysinfo knows nothing.
    pub fn new() -> io::Result<Self> {
        let unsupported = |error| io::Error::new(io::ErrorKind::Unsupported, format!("{error:?}"));
        let system = System::new().map_err(unsupported)?;
        let pid = sysinfo::get_current_pid().map_err(unsupported)?;
        Ok(Self { system, pid, process_limit: u64::MAX })
    }

    /// Allows the process no more than so many bytes of resident memory, if that is less than the machine has.
    #[must_use]
    pub fn process_limit(self, bytes: u64) -> Self {
        Self { process_limit: bytes, ..self }
    }
}

impl MemorySource for SystemMemory {
    fn read(&mut self) -> io::Result<MemoryUse> {
        self.system.refresh_memory();
        let this = ProcessesToUpdate::Some(&[self.pid]);
        let only_memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
        self.system.refresh_processes_specifics(this, true, only_memory);
        let unknown = || io::Error::other("the system tells nothing of this process's memory");
        let process = self.system.process(self.pid).ok_or_else(unknown)?;
        let resident = Some(process.memory()).filter(|&bytes| bytes > 0).ok_or_else(unknown)?;
        // Zero is how sysinfo says that it does not know.
        let machine = Some(self.system.total_memory()).filter(|&bytes| bytes > 0).unwrap_or(u64::MAX);
        let limit = self.process_limit.min(machine);
        let own = MemoryUse { used: resident, limit: (limit < u64::MAX).then_some(limit) };
        let group = process
            .cgroup_limits()
            .filter(|group| group.total_memory < machine)
            .map(|group| MemoryUse { used: group.rss, limit: Some(group.total_memory) });
        Ok(nearer(own, group))
    }
}

impl fmt::Debug for SystemMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemMemory")
            .field("pid", &self.pid)
            .field("process_limit", &self.process_limit)
            .finish_non_exhaustive()
    }
}

/// Whichever is nearer to its limit.
fn nearer(own: MemoryUse, group: Option<MemoryUse>) -> MemoryUse {
    let Some(group) = group else { return own };
    match (own.limit, group.limit) {
        // used / limit, multiplied out.
        (Some(own_limit), Some(group_limit))
            if u128::from(own.used) * u128::from(group_limit)
                > u128::from(group.used) * u128::from(own_limit) =>
        {
            own
        }
        _ => group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_nearer_to_its_limit_is_told() {
        let pair = |used, limit| MemoryUse { used, limit };
        let (half, most) = (pair(50, Some(100)), pair(1 << 62, Some(u64::MAX >> 1)));
        assert_eq!(nearer(half, None), half, "without a group");
        assert_eq!(nearer(half, Some(pair(60, Some(1000)))), half);
        assert_eq!(nearer(half, Some(pair(6, Some(10)))), pair(6, Some(10)), "nearer, though fewer bytes");
        assert_eq!(nearer(most, Some(half)), most, "products beyond 64 bits");
        assert_eq!(
            nearer(pair(50, None), Some(pair(1, Some(1000)))),
            pair(1, Some(1000)),
            "a limit beats none"
        );
    }

    #[test]
    fn a_limit_of_its_own_is_taken_if_it_is_lower() {
        let limit = |memory: SystemMemory| {
            let mut memory = memory;
            memory.read().expect("figures").limit
        };
        let unlimited = limit(SystemMemory::new().expect("a supported system")).expect("a limit");
        let own = SystemMemory::new().expect("a supported system").process_limit(1);
        assert_eq!(limit(own), Some(1), "far beyond it, so nearer than any group");
        let above = SystemMemory::new().expect("a supported system").process_limit(u64::MAX - 1);
        assert_eq!(limit(above), Some(unlimited), "no more than the machine has");
    }
}
