//! What the machine has.

use std::{fs, thread};

/// Whether something else can run while a thread polls.
pub(crate) fn has_several_processors() -> bool {
    thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
}

/// Bytes of memory that this process may use: the machine's, or less if its control group has less.
/// `None` where that cannot be looked up.
pub(crate) fn memory_bytes() -> Option<usize> {
    let machine = total(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group =
        group.as_deref().and_then(|groups| groups.lines().find_map(|l| l.strip_prefix("0::")));
    let limit = group.and_then(|group| {
        let path = format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/'));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    });
    Some(limit.map_or(machine, |limit: usize| machine.min(limit)))
}

/// The total of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_read_in_bytes() {
        let meminfo = "MemTotal:       24603632 kB\nMemFree:         1170784 kB\n";
        assert_eq!(total(meminfo), Some(24_603_632 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_some() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 24));
    }
}
