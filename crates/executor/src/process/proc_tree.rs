//! Processes as `/proc` shows them: descendants, what they use, which sandbox they came from.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable every process of an attempt inherits; its value is the attempt's directory. What remains of an attempt
/// whose shim was killed is found by it.
pub(super) const MARKER: &str = "GANTRY_SANDBOX";

/// A process and the parent it was seen under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub pid: i32,
    pub parent: i32,
}

/// Every descendant of `root`, parents before children; `root` itself is not among them.
pub(super) fn descendants(root: i32) -> Vec<Seen> {
    // Not every kernel is built with this file; without it the whole table has to be read.
    static LISTS_CHILDREN: LazyLock<bool> =
        LazyLock::new(|| Path::new("/proc/thread-self/children").exists());
    if *LISTS_CHILDREN {
        return below(root, listed_children);
    }
    let mut children = HashMap::<i32, Vec<Seen>>::new();
    all_processes().for_each(|seen| children.entry(seen.parent).or_default().push(seen));
    below(root, |parent| children.remove(&parent).unwrap_or_default())
}

fn below(root: i32, mut children: impl FnMut(i32) -> Vec<Seen>) -> Vec<Seen> {
    let mut found = children(root);
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next].pid));
        next += 1;
    }
    found
}

fn listed_children(parent: i32) -> Vec<Seen> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
    });
    pids.map(|pid| Seen { pid, parent }).collect()
}

fn all_processes() -> impl Iterator<Item = Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some(Seen { pid, parent: parent_of(pid)? })
    })
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`, and the name may hold anything, parentheses too.
    let after_name = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(after_name).ok()?.split_ascii_whitespace();
    fields.nth(1)?.parse().ok()
}

/// Signals a process if it still is the one that was seen: its number may have been given to another since.
pub(super) fn signal(seen: Seen, signal: Signal) {
    let Some(pid) = Pid::from_raw(seen.pid) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if parent_of(seen.pid) == Some(seen.parent) {
        let _ = pidfd_send_signal(handle, signal);
    }
}

/// What descendants use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processes and threads, as a container's limit counts them.
    pub tasks: u64,
    /// Resident and swapped; pages shared between processes count once for each.
    pub memory_bytes: u64,
}

pub(super) fn usage(processes: &[Seen]) -> Usage {
    let mut usage = Usage::default();
    for seen in processes {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", seen.pid)) else { continue };
        usage.tasks += field(&status, "Threads:").unwrap_or(1);
        let kilobytes = ["VmRSS:", "VmSwap:"].iter().filter_map(|name| field(&status, name)).sum::<u64>();
        usage.memory_bytes += kilobytes * 1024;
    }
    usage
}

/// Memory with shared pages counted once. Slow, so only asked when [`usage`] is over a limit.
pub(super) fn proportional_memory_bytes(processes: &[Seen]) -> u64 {
    let each = processes.iter().map(|seen| {
        let map = fs::read_to_string(format!("/proc/{}/smaps_rollup", seen.pid)).ok()?;
        Some(field(&map, "Pss:")? + field(&map, "SwapPss:").unwrap_or(0))
    });
    each.flatten().sum::<u64>() * 1024
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// Kills one round of what still runs for a sandbox and says whether there was anything.
///
/// A live shim goes last: as long as it is there, even processes that dropped the mark are found below it.
pub(super) fn kill_marked(sandbox: &Path) -> bool {
    let mark = [MARKER.as_bytes(), b"=", sandbox.as_os_str().as_encoded_bytes()].concat();
    let (mut shims, mut others) = (Vec::new(), HashMap::new());
    for seen in all_processes() {
        let environ = fs::read(format!("/proc/{}/environ", seen.pid)).unwrap_or_default();
        let mut variables = environ.split(|&byte| byte == 0).filter(|variable| !variable.is_empty());
        if !variables.clone().any(|variable| variable == mark) {
            continue;
        }
        others.extend(descendants(seen.pid).into_iter().map(|seen| (seen.pid, seen)));
        // Only a shim has no other variable; a command always gets some.
        if variables.nth(1).is_none() {
            shims.push(seen);
        } else {
            others.insert(seen.pid, seen);
        }
    }
    let targets = if others.is_empty() { shims } else { others.into_values().collect() };
    targets.iter().for_each(|&seen| signal(seen, Signal::KILL));
    !targets.is_empty()
}
