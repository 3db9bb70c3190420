//! The memory of this process and of its control group, by sysinfo.
//!
//! Of the crates that are kept up it alone reads both, follows a process to its own control group, and heeds the limits of the groups above it;
//! `memory-stats` and `procfs` know no limits, `cgroups-rs` manages groups and brings D-Bus with it.

use std::fmt;
use std::io;

use sysinfo::{CGroupLimits, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::source::{MemorySource, MemoryUse};

/// The memory of this process and, on Linux, of its control group (cgroup, version 1 or 2).
///
/// Two pairs of figures are read: the process's resident memory against the machine's memory, or less if
/// [`process_limit`](Self::process_limit) says so; and, where a control group or one above it has a limit below the machine's memory, the group's
/// anonymous memory (of every process in it) against that limit. The pair that is nearer to its limit is told.
/// A group whose figures cannot be read counts as none.
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
        let machine = known(self.system.total_memory());
        Ok(figures(resident, self.process_limit.min(machine), machine, process.cgroup_limits()))
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

/// The machine's memory; all there could be where sysinfo does not know, which it says by zero.
fn known(machine: u64) -> u64 {
    if machine == 0 { u64::MAX } else { machine }
}

/// The pair to tell, of a process that may have `most` resident on such a machine.
fn figures(resident: u64, most: u64, machine: u64, group: Option<CGroupLimits>) -> MemoryUse {
    let own = MemoryUse { used: resident, limit: (most < u64::MAX).then_some(most) };
    // A limit that the machine has anyway is none.
    let Some(group) = group.filter(|group| group.total_memory < machine) else { return own };
    // used / limit, multiplied out.
    let own_is_nearer =
        u128::from(resident) * u128::from(group.total_memory) > u128::from(group.rss) * u128::from(most);
    if own_is_nearer { own } else { MemoryUse { used: group.rss, limit: Some(group.total_memory) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(rss: u64, total_memory: u64) -> Option<CGroupLimits> {
        Some(CGroupLimits { rss, total_memory, ..CGroupLimits::default() })
    }

    #[test]
    fn the_pair_nearer_to_its_limit_is_told() {
        let told = |used, limit| MemoryUse { used, limit };
        assert_eq!(figures(50, 100, 100, None), told(50, Some(100)), "without a group");
        assert_eq!(figures(50, 100, 100, group(90, 100)), told(50, Some(100)), "a group without a limit");
        assert_eq!(figures(50, 100, 100, group(20, 50)), told(50, Some(100)));
        assert_eq!(figures(50, 100, 100, group(6, 10)), told(6, Some(10)), "nearer, though fewer bytes");
        assert_eq!(figures(50, 60, 100, group(6, 10)), told(50, Some(60)), "by its own limit");
        let most = u64::MAX - 1;
        assert_eq!(figures(1 << 63, most, most, group(1, 4)), told(1 << 63, Some(most)), "beyond 64 bits");
        assert_eq!(figures(50, u64::MAX, u64::MAX, None), told(50, None), "nothing known");
        assert_eq!(figures(50, u64::MAX, u64::MAX, group(1, 9)), told(1, Some(9)), "a limit beats none");
        assert_eq!((known(0), known(7)), (u64::MAX, 7));
    }

    #[test]
    fn a_limit_of_its_own_is_taken_if_it_is_lower() {
        let limit = |mut memory: SystemMemory| memory.read().expect("figures").limit;
        let new = || SystemMemory::new().expect("a supported system");
        assert_eq!(limit(new().process_limit(1)), Some(1), "far beyond it, so nearer than any group");
        assert_eq!(limit(new().process_limit(u64::MAX - 1)), limit(new()), "no more than the machine has");
    }
}
