//! All processes below one, as the kernel tells them: servers leave their process group and session (PostgreSQL's children do), but
//! not their parents.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process};

/// The process and all its living descendants.
pub fn tree(root: u32) -> BTreeSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut alive = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent_if_alive(pid) {
            children.entry(parent).or_default().push(pid);
            alive.insert(pid);
        }
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(pid) = open.pop() {
        if alive.contains(&pid) && found.insert(pid) {
            open.extend(children.remove(&pid).unwrap_or_default());
        }
    }
    found
}

/// Its parent; nothing if it is gone or only waits to be reaped.
fn parent_if_alive(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state parent …; the name may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.next()?.parse().ok())?
}

fn signal(pids: &BTreeSet<u32>, signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
        // One that ended in between needs no signal any more.
        let _ = kill_process(pid, signal);
    }
}

/// Stops them all, also those that one of them starts meanwhile.
fn freeze_all(root: u32) -> BTreeSet<u32> {
    let mut frozen = BTreeSet::new();
    loop {
        let now = tree(root);
        if now.is_subset(&frozen) {
            return frozen;
        }
        signal(&now, Signal::STOP);
        frozen.extend(now);
    }
}

/// Stops all but those that watch over them: the root and its like, which must still notice when the test is gone.
pub fn freeze(root: u32) {
    let guard = command_line(root);
    let mut frozen = BTreeSet::new();
    loop {
        let mut now = tree(root);
        now.retain(|pid| command_line(*pid) != guard);
        if now.is_subset(&frozen) {
            return;
        }
        signal(&now, Signal::STOP);
        frozen.extend(now);
    }
}

fn command_line(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Lets them go on.
pub fn thaw(root: u32) {
    signal(&tree(root), Signal::CONT);
}

/// Kills them all and waits until they are gone. The root is a child of ours: the caller reaps it.
pub fn kill(root: u32) -> anyhow::Result<()> {
    // Frozen first: nobody can start another one, and nobody sees another one die before it does itself.
    let victims = freeze_all(root);
    signal(&victims, Signal::KILL);
    let deadline = Instant::now() + Duration::from_secs(30);
    while victims.iter().any(|pid| parent_if_alive(*pid).is_some()) {
        if Instant::now() > deadline {
            bail!("processes survive SIGKILL: {victims:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
