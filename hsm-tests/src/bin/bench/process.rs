//! What the kernel says about processes.

use std::fs;
use std::time::Duration;

/// CPU time and memory of a process and all its descendants.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time of those that live.
    pub(crate) cpu: Duration,
    /// Resident memory now, in kB; pages that several share count for each.
    pub(crate) rss_kb: u64,
    /// The sum of the most that each has had, in kB.
    pub(crate) peak_kb: u64,
}

/// The usage of `process` alone.
pub(crate) fn usage(process: u32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let ticks = stat(process).map_or(0, |stat| stat.ticks);
    let per_second = rustix::param::clock_ticks_per_second();
    Usage { cpu: Duration::from_millis(ticks * 1000 / per_second), rss_kb: kb("VmRSS:"), peak_kb: kb("VmHWM:") }
}

/// The usage of `process` and its descendants.
pub(crate) fn usage_of_tree(process: u32) -> Usage {
    let all = family(process).into_iter().map(usage);
    all.fold(Usage::default(), |sum, one| Usage {
        cpu: sum.cpu + one.cpu,
        rss_kb: sum.rss_kb + one.rss_kb,
        peak_kb: sum.peak_kb + one.peak_kb,
    })
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// `process` and its descendants.
fn family(process: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = numbers.filter_map(|number| Some((number, stat(number)?.parent))).collect();
    let mut family = vec![process];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        next += 1;
    }
    family
}

/// proc_pid_stat(5). The second field is the program's name, which may contain anything, also brackets and blanks.
fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // What is left begins with field 3, the state.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat { parent: u32::try_from(field(4)?).ok()?, ticks: field(14)? + field(15)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_its_children_belong_to_it() {
        let own = usage(std::process::id());
        assert!(own.rss_kb > 100 && own.peak_kb >= own.rss_kb);
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(family(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
