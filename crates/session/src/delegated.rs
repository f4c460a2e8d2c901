//! The users and groups that the system has delegated to a caller, [subuid(5)], mapped by the programs
//! newuidmap and newgidmap, which have the right to do so. Root of a user namespace has users already,
//! and maps them itself.
//!
//! [subuid(5)]: https://man7.org/linux/man-pages/man5/subuid.5.html

use std::ffi::OsStr;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::nested::same;
use nix::sys::prctl::{get_dumpable, set_dumpable};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, setpgid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Time that the programs may take.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Why ids were not mapped.
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Whether no map was written, so that others can be.
    pub(crate) is_clean: bool,
}

/// A child outside of the user namespace, which maps ids into it.
pub(crate) struct Helper {
    child: Pid,
    go: PipeWriter,
    answer: PipeReader,
    /// Whether the child writes to this process's files in `/proc`.
    writes: bool,
}

/// A way to map ids.
enum Mapping {
    /// A program that does so, and its arguments.
    Program {
        program: PathBuf,
        ranges: Vec<String>,
    },
    /// The map's name in `/proc`, and its text.
    Own { name: &'static str, map: String },
}

impl Helper {
    /// Starts the child, which waits. `user` is the caller's name.
    pub(crate) fn start(user: &str) -> Result<Self, String> {
        let mappings = [
            Mapping::find(
                ["newuidmap", "/etc/subuid", "uid_map"],
                geteuid().as_raw(),
                user,
            )?,
            Mapping::find(
                ["newgidmap", "/etc/subgid", "gid_map"],
                getegid().as_raw(),
                user,
            )?,
        ];
        let writes = mappings
            .iter()
            .any(|one| matches!(one, Mapping::Own { .. }));
        let failed = |error: std::io::Error| text::message(&error);
        let (mut wait, go) = std::io::pipe().map_err(failed)?;
        let (answer, mut write) = std::io::pipe().map_err(failed)?;
        let of = std::process::id();
        match sys::fork().map_err(|errno| failed(errno.into()))? {
            sys::Fork::Child => {
                drop((go, answer));
                // With the programs that it starts, it can be ended as a group.
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                let mut word = [0];
                if wait.read_exact(&mut word).is_ok() {
                    for mapping in &mappings {
                        match mapping.apply(of) {
                            // Says how many maps have been written.
                            Ok(()) => drop(write.write_all(b"+")),
                            Err(reason) => {
                                let _ = write.write_all(reason.as_bytes());
                                break;
                            }
                        }
                    }
                }
                sys::exit_at_once(0)
            }
            sys::Fork::Parent(child) => Ok(Self {
                child,
                go,
                answer,
                writes,
            }),
        }
    }

    /// Maps the ids into the calling process's user namespace, which is new.
    pub(crate) fn map(mut self) -> Result<(), Failure> {
        // The kernel shows the files of a process that is not dumpable to nobody.
        let dumpable = get_dumpable().unwrap_or(false);
        if self.writes {
            let _ = set_dumpable(true);
        }
        let asked = self.go.write_all(b"g");
        drop(self.go);
        let said = asked.and_then(|()| listen(&self.answer));
        let _ = set_dumpable(dumpable);
        if said.is_err() {
            let _ = killpg(self.child, Signal::SIGKILL);
        }
        let _ = waitpid(self.child, None);
        let said = said.map_err(|error| Failure {
            reason: text::message(&error),
            is_clean: false,
        })?;
        let reason = said.trim_start_matches('+');
        match said.len() - reason.len() {
            2 => Ok(()),
            done => Err(Failure {
                reason: reason.to_owned(),
                is_clean: done == 0,
            }),
        }
    }
}

/// Reads what the child says until it ends.
fn listen(mut answer: &PipeReader) -> io::Result<String> {
    let mut said = Vec::new();
    loop {
        let mut fds = [PollFd::new(&answer, PollFlags::IN)];
        if poll(&mut fds, Some(&PATIENCE))? == 0 {
            return Err(io::Error::other("newuidmap does not end"));
        }
        let mut part = [0; 1024];
        match answer.read(&mut part)? {
            0 => return Ok(String::from_utf8_lossy(&said).into_owned()),
            length => said.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
    }
}

impl Mapping {
    /// Finds the program, and the ranges that are delegated to the user. `own` is mapped to 0.
    fn find(
        [program, list, name]: [&'static str; 3],
        own: u32,
        user: &str,
    ) -> Result<Self, String> {
        if let Some(map) = own_map(name).filter(|_| own == 0) {
            return Ok(Self::Own { name, map });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = rootfs::candidates(&path, OsStr::new(program)).find(|path| path.is_file());
        let program = found.ok_or_else(|| format!("{program} is not installed"))?;
        let text = fs::read_to_string(list).unwrap_or_default();
        let number = geteuid().to_string();
        let ranges = ranges(&text, user, &number);
        if ranges.is_empty() {
            return Err(format!("{list} has no line for {user}"));
        }
        let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
        let mut next: u64 = 1;
        for (start, count) in ranges {
            words.extend([next, start, count].map(|number| number.to_string()));
            next = next.saturating_add(count);
        }
        Ok(Self::Program {
            program,
            ranges: words,
        })
    }

    fn apply(&self, process: u32) -> Result<(), String> {
        let (program, ranges) = match self {
            Self::Program { program, ranges } => (program, ranges),
            Self::Own { name, map } => {
                let written = fs::write(format!("/proc/{process}/{name}"), map);
                return written.map_err(|error| format!("{name}: {}", text::message(&error)));
            }
        };
        let name = Path::new(program.file_name().unwrap_or_default()).display();
        let output = Command::new(program)
            .arg(process.to_string())
            .args(ranges)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .map_err(|error| format!("{name}: {}", text::message(&error)))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = text::printable(said.trim());
        let said = said.strip_prefix(&format!("{name}: ")).unwrap_or(&said);
        Err(format!("{name} failed: {said}"))
    }
}

/// Returns the map that gives a user namespace below this one all its ids, if there are several.
pub(crate) fn own_map(name: &str) -> Option<String> {
    let map = fs::read_to_string(format!("/proc/self/{name}")).ok()?;
    (ids(&map) > 1).then(|| same(&map))
}

/// Returns the number of ids in a map.
pub(crate) fn ids(map: &str) -> u64 {
    let counts = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    counts.filter_map(|count| count.parse::<u64>().ok()).sum()
}

/// Returns the ranges of a user in a list: the first number and the count of each.
fn ranges(list: &str, user: &str, number: &str) -> Vec<(u64, u64)> {
    let ranges = list.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let is_own = owner == user || owner == number;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (is_own && count > 0).then_some((start, count))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let list = "ada:100000:65536\n# comment\n1000:300000:10\nbob:1:1\nada:x:1\nada:5:0\n";
        assert_eq!(
            ranges(list, "ada", "1000"),
            [(100_000, 65_536), (300_000, 10)]
        );
        assert_eq!(ranges(list, "eve", "1001"), []);
    }
}
