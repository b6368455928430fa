//! The small process between the worker and a command: whatever happens to the worker, nothing of the command survives it.
//!
//! The shim is this program started again. It is a session of its own and the sub-reaper of everything below it: a
//! descendant whose parent ended, daemons included, becomes the shim's child, so that "no child is left" is the kernel's
//! word that nothing is. Its socket to the worker ends when the worker dies, however that happens (`kill -9` too); then, and
//! on a stop order, everything gets SIGTERM, a grace and SIGKILL.
//!
//! The command is started through a second stage (`exec`), which sets what only a process can set for itself without
//! unsafe code: its session, limits and the signal it gets when the shim dies. So when somebody kills the *shim*, the
//! command dies at once with it; its other descendants are then found by their mark (see `proc_tree`) by the
//! worker, or by the next one. A process that cleared its environment, left its session and lost its parent *and* whose shim was
//! killed from outside is the one case that gets away.
//!
//! Limits: memory and processes are sampled, several times a second, and what exceeds them is killed; the overshoot
//! between two samples is real. Open files, core dumps and cores are limits of the operating system.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getppid, getrlimit, set_child_subreaper,
    set_parent_process_death_signal, setrlimit, setsid, wait,
};

use crate::process::proc_tree::{self, Usage};
use crate::process::protocol::{Exceeded, Job, Report, Stage, read_stop};

/// First argument of the supervising stage.
pub(super) const SUPERVISE: &str = "supervise";
/// First argument of the stage that becomes the command.
const EXEC: &str = "exec";
/// First argument that only proves that the program can be started as a shim.
pub(super) const CHECK: &str = "check";

/// How long descendants may tidy up after the worker died.
const GRACE_WITHOUT_WORKER: Duration = Duration::from_secs(1);
/// Keeps the arithmetic of instants within its range.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 3600);
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// Closer to a limit than half, samples come faster.
const SAMPLE_FAST: Duration = Duration::from_millis(50);
const KILL_EVERY: Duration = Duration::from_millis(5);
const MAX_OPEN_FILES: u64 = 65_536;

/// The shim's `main`: `args` are those behind the hidden subcommand. Call it before anything else looks at the
/// environment or starts a thread: the second stage runs with the environment of the command.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.first().and_then(|stage| stage.to_str()) {
        Some(SUPERVISE) => supervise(args.len()),
        Some(EXEC) => execute(&args[1..]),
        Some(CHECK) => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

fn supervise(own_args: usize) -> ExitCode {
    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let (mut orders, mut reports) = match control.try_clone() {
        Ok(clone) => (control, clone),
        Err(_) => return ExitCode::FAILURE,
    };
    let Ok(job) = Job::read(&mut orders) else { return ExitCode::FAILURE };
    let report = match start(&job, own_args) {
        Ok(command) => {
            let _ = reports.write_all(&Report::Running.encode());
            Supervisor::new(&job, command).run(orders)
        }
        Err((stage, error)) => Report::Failed { stage, errno: error.raw_os_error().unwrap_or(0) },
    };
    let _ = reports.write_all(&report.encode());
    ExitCode::SUCCESS
}

/// Starts the command and returns once it really runs, with its process id.
fn start(job: &Job, own_args: usize) -> Result<u32, (Stage, io::Error)> {
    let shim = |error: io::Error| (Stage::Shim, error);
    let os = |error: rustix::io::Errno| shim(error.into());
    // Fails when it is one already, which is as good.
    let _ = setsid();
    set_child_subreaper(Some(getpid())).map_err(os)?;
    let (mut verdict, theirs) = UnixStream::pair().map_err(shim)?;
    // The arguments that made this program a shim, without our own.
    let all: Vec<OsString> = std::env::args_os().collect();
    let mut stage = Command::new("/proc/self/exe");
    stage.arg0("gantry-shim");
    stage.args(all.get(1..all.len().saturating_sub(own_args)).unwrap_or_default());
    stage.args([EXEC, &getpid().as_raw_nonzero().to_string(), &job.umask.to_string()]);
    stage.args([&job.cpus.to_string(), &job.first_cpu.to_string()]);
    stage.arg(&job.directory).args(&job.command);
    stage.env_clear().envs(job.environment.iter().map(|(name, value)| (name, value)));
    stage.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let too_big = |error: &io::Error| error.kind() == io::ErrorKind::ArgumentListTooLong;
    let command =
        stage.spawn().map_err(|e| (if too_big(&e) { Stage::Execute } else { Stage::Shim }, e))?.id();
    drop(stage);
    // The other end closes when the command replaced the stage; before that it says what went wrong.
    let mut failure = Vec::new();
    verdict.read_to_end(&mut failure).map_err(shim)?;
    let &[stage, a, b, c, d] = failure.as_slice() else { return Ok(command) };
    let _ = wait(WaitOptions::empty());
    let stage = if stage == b'd' { Stage::Directory } else { Stage::Execute };
    Err((stage, io::Error::from_raw_os_error(i32::from_le_bytes([a, b, c, d]))))
}

/// `exec SHIM UMASK CPUS FIRST DIRECTORY COMMAND…`: becomes the command, or says on the socket that is its stdin why not.
fn execute(args: &[OsString]) -> ExitCode {
    // A copy that `exec` closes: the shim then reads its end.
    let Ok(mut verdict) = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let (stage, error) = become_command(args);
    let errno = error.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error());
    let [a, b, c, d] = errno.to_le_bytes();
    let _ = verdict.write_all(&[stage, a, b, c, d]);
    ExitCode::FAILURE
}

fn become_command(args: &[OsString]) -> (u8, io::Error) {
    let invalid = || (b'x', io::ErrorKind::InvalidInput.into());
    let number = |at: usize| args.get(at)?.to_str()?.parse::<u64>().ok();
    let (Some(shim), Some(umask), Some(cpus), Some(first_cpu)) = (number(0), number(1), number(2), number(3))
    else {
        return invalid();
    };
    let [directory, program, rest @ ..] = args.get(4..).unwrap_or_default() else { return invalid() };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return (b'x', error.into());
    }
    if getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs().into()) != Some(shim) {
        return (b'x', io::Error::other("the shim died"));
    }
    let _ = setsid();
    limit(cpus as usize, first_cpu as usize);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask as u32));
    if let Err(error) = std::env::set_current_dir(directory) {
        return (b'd', error);
    }
    (b'x', Command::new(program).args(rest).stdin(Stdio::null()).exec())
}

/// Limits the operating system holds by itself. None of them can fail in a way worth refusing the command for.
fn limit(cpus: usize, first_cpu: usize) {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) });
    // Out of memory, the kernel shall choose the command and not the worker.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    if let Ok(allowed) = rustix::thread::sched_getaffinity(None) {
        let ours: Vec<usize> =
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        if cpus < ours.len() {
            let mut set = rustix::thread::CpuSet::new();
            (0..cpus.max(1)).for_each(|cpu| set.set(ours[(first_cpu + cpu) % ours.len()]));
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
    }
}

enum Event {
    Stop(Duration),
    WorkerGone,
    CommandEnded(i32),
    /// The kernel knows no child of ours any more, so there is no descendant either.
    NothingLeft,
}

struct Supervisor {
    command: u32,
    memory_bytes: u64,
    pids: u64,
    code: i32,
    exceeded: Option<Exceeded>,
    /// From when on everything is killed; none while the command may run.
    kill_from: Option<Instant>,
}

impl Supervisor {
    fn new(job: &Job, command: u32) -> Self {
        let Job { memory_bytes, pids, .. } = *job;
        Self { command, memory_bytes, pids, code: 0, exceeded: None, kill_from: None }
    }

    fn run(mut self, mut orders: UnixStream) -> Report {
        let (events, inbox) = mpsc::sync_channel(16);
        let from_worker = events.clone();
        let command = self.command;
        // Both threads end with the process, which ends when this function returns.
        std::thread::spawn(move || {
            while let Ok(grace) = read_stop(&mut orders) {
                let _ = from_worker.send(Event::Stop(grace));
            }
            let _ = from_worker.send(Event::WorkerGone);
        });
        std::thread::spawn(move || reap(command, &events));
        let mut pause = SAMPLE_FAST;
        loop {
            match inbox.recv_timeout(pause) {
                Ok(Event::Stop(grace)) => self.end_within(grace),
                Ok(Event::WorkerGone) => self.end_within(GRACE_WITHOUT_WORKER),
                Ok(Event::CommandEnded(code)) => {
                    self.code = code;
                    // What it left running ends with it, unless a stop gave it time.
                    self.kill_from.get_or_insert_with(Instant::now);
                }
                Ok(Event::NothingLeft) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            pause = match self.kill_from {
                None => self.check_limits(),
                Some(from) if from <= Instant::now() => {
                    signal_all(Signal::KILL);
                    KILL_EVERY
                }
                Some(from) => from.saturating_duration_since(Instant::now()).min(SAMPLE_EVERY),
            };
        }
        Report::Ended { code: self.code, exceeded: self.exceeded }
    }

    fn end_within(&mut self, grace: Duration) {
        let kill_from = Instant::now() + grace.min(LONGEST_GRACE);
        if self.kill_from.is_none() && !grace.is_zero() {
            signal_all(Signal::TERM);
        }
        self.kill_from = Some(self.kill_from.map_or(kill_from, |earlier| earlier.min(kill_from)));
    }

    /// Kills what is over a limit; says when to look again: later where looking is slow.
    fn check_limits(&mut self) -> Duration {
        let began = Instant::now();
        let processes = proc_tree::descendants(own_pid());
        let Usage { tasks, memory_bytes } = proc_tree::usage(&processes);
        if tasks > self.pids {
            self.exceeded = Some(Exceeded::Pids);
        } else if memory_bytes > self.memory_bytes
            && proc_tree::proportional_memory_bytes(&processes) > self.memory_bytes
        {
            self.exceeded = Some(Exceeded::Memory);
        }
        if self.exceeded.is_some() {
            self.kill_from = Some(Instant::now());
            signal_all(Signal::KILL);
            return KILL_EVERY;
        }
        let close = tasks > self.pids / 2 || memory_bytes > self.memory_bytes / 2;
        let pause = if close { SAMPLE_FAST } else { SAMPLE_EVERY };
        pause.max(began.elapsed() * 20)
    }
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn signal_all(signal: Signal) {
    for seen in proc_tree::descendants(own_pid()) {
        proc_tree::signal(seen, signal);
    }
}

fn reap(command: u32, events: &mpsc::SyncSender<Event>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if is(pid, command) => {
                let _ = events.send(Event::CommandEnded(exit_code(status)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = events.send(Event::NothingLeft);
}

fn is(pid: Pid, number: u32) -> bool {
    pid.as_raw_nonzero().get().unsigned_abs() == number
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
