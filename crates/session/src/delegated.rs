//! The users and groups that the system has delegated to a caller, [subuid(5)], mapped by the programs
//! newuidmap and newgidmap, which have the right to do so.
//!
//! [subuid(5)]: https://man7.org/linux/man-pages/man5/subuid.5.html

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid};

/// A child outside of the user namespace, which maps ids into it.
pub(crate) struct Helper {
    child: Pid,
    go: std::io::PipeWriter,
    answer: std::io::PipeReader,
}

/// A program that maps ids, and its arguments.
struct Mapping {
    program: PathBuf,
    ranges: Vec<String>,
}

impl Helper {
    /// Starts the child, which waits. `user` is the caller's name.
    pub(crate) fn start(user: &str) -> Result<Self, String> {
        let mappings = [
            Mapping::find("newuidmap", "/etc/subuid", geteuid().as_raw(), user)?,
            Mapping::find("newgidmap", "/etc/subgid", getegid().as_raw(), user)?,
        ];
        let failed = |error: std::io::Error| text::message(&error);
        let (mut wait, go) = std::io::pipe().map_err(failed)?;
        let (answer, mut write) = std::io::pipe().map_err(failed)?;
        let of = std::process::id();
        match sys::fork().map_err(|errno| failed(errno.into()))? {
            sys::Fork::Child => {
                drop((go, answer));
                let mut word = [0];
                if wait.read_exact(&mut word).is_ok() {
                    let reason = mappings.iter().find_map(|mapping| mapping.apply(of).err());
                    let _ = write.write_all(reason.unwrap_or_default().as_bytes());
                }
                sys::exit_at_once(0)
            }
            sys::Fork::Parent(child) => Ok(Self { child, go, answer }),
        }
    }

    /// Maps the ids into the calling process's user namespace, which is new.
    pub(crate) fn map(mut self) -> Result<(), String> {
        let mut reason = String::new();
        let asked = self.go.write_all(b"g");
        drop(self.go);
        let told = asked.and_then(|()| self.answer.read_to_string(&mut reason));
        let _ = waitpid(self.child, None);
        match told {
            Err(error) => Err(text::message(&error)),
            Ok(_) if reason.is_empty() => Ok(()),
            Ok(_) => Err(reason),
        }
    }
}

impl Mapping {
    /// Finds the program, and the ranges that are delegated to the user. `own` is mapped to 0.
    fn find(program: &str, list: &str, own: u32, user: &str) -> Result<Self, String> {
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
        Ok(Self {
            program,
            ranges: words,
        })
    }

    fn apply(&self, process: u32) -> Result<(), String> {
        let name = Path::new(self.program.file_name().unwrap_or_default()).display();
        let output = Command::new(&self.program)
            .arg(process.to_string())
            .args(&self.ranges)
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
