//! What worker and shim say to each other over their socket: one job, then orders one way and reports the other.
//!
//! Both ends are the same program, so there are no versions. All numbers are little-endian.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

/// What the shim is to run and within which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub command: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    pub umask: u32,
    pub memory_bytes: u64,
    pub pids: u64,
    /// Cores it may use, and where to begin counting them.
    pub cpus: u64,
    pub first_cpu: u64,
}

/// Frames are small by construction (arguments and environment are limited by the kernel to far less).
const MAX_JOB: u32 = 64 * 1024 * 1024;

impl Job {
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        let numbers = [
            u64::from(self.umask),
            self.memory_bytes,
            self.pids,
            self.cpus,
            self.first_cpu,
            self.command.len() as u64,
            self.environment.len() as u64,
        ];
        numbers.iter().for_each(|number| fields.extend(number.to_le_bytes()));
        put(&mut fields, self.directory.as_os_str());
        self.command.iter().for_each(|word| put(&mut fields, word));
        for (name, value) in &self.environment {
            put(&mut fields, name);
            put(&mut fields, value);
        }
        let mut frame = (fields.len() as u32).to_le_bytes().to_vec();
        frame.append(&mut fields);
        frame
    }

    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let length = u32::from_le_bytes(array(from)?);
        if length > MAX_JOB {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut from = from.take(length.into());
        let mut number = || -> io::Result<u64> { Ok(u64::from_le_bytes(array(&mut from)?)) };
        let (umask, memory_bytes, pids) = (number()? as u32, number()?, number()?);
        let (cpus, first_cpu, words, variables) = (number()?, number()?, number()?, number()?);
        let mut text = || -> io::Result<OsString> {
            let length = u32::from_le_bytes(array(&mut from)?);
            let mut bytes = Vec::new();
            (&mut from).take(length.into()).read_to_end(&mut bytes)?;
            if bytes.len() != length as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(OsString::from_vec(bytes))
        };
        let directory = PathBuf::from(text()?);
        let command = (0..words).map(|_| text()).collect::<io::Result<_>>()?;
        let environment = (0..variables).map(|_| Ok((text()?, text()?))).collect::<io::Result<_>>()?;
        Ok(Self { command, environment, directory, umask, memory_bytes, pids, cpus, first_cpu })
    }
}

fn put(fields: &mut Vec<u8>, text: &OsStr) {
    fields.extend((text.len() as u32).to_le_bytes());
    fields.extend(text.as_bytes());
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The only order there is: end everything, by force after this grace. The end of the socket means the same.
pub(super) fn encode_stop(grace: Duration) -> [u8; 8] {
    u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).to_le_bytes()
}

/// The next stop order; an error when the worker is gone.
pub(super) fn read_stop(from: &mut impl Read) -> io::Result<Duration> {
    Ok(Duration::from_millis(u64::from_le_bytes(array(from)?)))
}

/// Where starting a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the shim itself, before it came to the command.
    Shim,
    Directory,
    Execute,
}

/// The limit that ended the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    Memory,
    Pids,
}

/// What the shim says, in this order: `Running` or `Failed`, then after `Running` one `Ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Running,
    Failed {
        stage: Stage,
        errno: i32,
    },
    /// The command and all its descendants are gone.
    Ended {
        code: i32,
        exceeded: Option<Exceeded>,
    },
}

impl Report {
    pub const LENGTH: usize = 6;

    pub fn encode(self) -> [u8; Self::LENGTH] {
        let (tag, detail, number) = match self {
            Self::Running => (b'R', 0, 0),
            Self::Failed { stage, errno } => {
                let stage = match stage {
                    Stage::Shim => b's',
                    Stage::Directory => b'd',
                    Stage::Execute => b'x',
                };
                (b'F', stage, errno)
            }
            Self::Ended { code, exceeded } => {
                let exceeded = match exceeded {
                    None => 0,
                    Some(Exceeded::Memory) => b'm',
                    Some(Exceeded::Pids) => b'p',
                };
                (b'E', exceeded, code)
            }
        };
        let [a, b, c, d] = number.to_le_bytes();
        [tag, detail, a, b, c, d]
    }

    pub fn decode(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        let [tag, detail, a, b, c, d] = bytes;
        let number = i32::from_le_bytes([a, b, c, d]);
        Some(match (tag, detail) {
            (b'R', 0) => Self::Running,
            (b'F', b's') => Self::Failed { stage: Stage::Shim, errno: number },
            (b'F', b'd') => Self::Failed { stage: Stage::Directory, errno: number },
            (b'F', b'x') => Self::Failed { stage: Stage::Execute, errno: number },
            (b'E', 0) => Self::Ended { code: number, exceeded: None },
            (b'E', b'm') => Self::Ended { code: number, exceeded: Some(Exceeded::Memory) },
            (b'E', b'p') => Self::Ended { code: number, exceeded: Some(Exceeded::Pids) },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_reports_survive_the_socket() {
        let job = Job {
            command: vec!["sh".into(), String::new().into(), OsString::from_vec(vec![0xff, b'\n'])],
            environment: vec![("A".into(), "b=c\n".into()), ("B".into(), String::new().into())],
            directory: "/srv/w".into(),
            umask: 0o077,
            memory_bytes: 1 << 40,
            pids: 512,
            cpus: 2,
            first_cpu: 1,
        };
        let frame = job.encode();
        assert_eq!(Job::read(&mut &frame[..]).unwrap(), job);
        assert!(Job::read(&mut &frame[..frame.len() - 1]).is_err());
        for report in [
            Report::Running,
            Report::Failed { stage: Stage::Execute, errno: 2 },
            Report::Ended { code: 137, exceeded: Some(Exceeded::Memory) },
            Report::Ended { code: -1, exceeded: None },
        ] {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(read_stop(&mut &encode_stop(Duration::MAX)[..]).unwrap().as_millis() as u64, u64::MAX);
    }
}
