//! The kernel's one-line description of a process.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::read_all;

/// The fields of `/proc/PID/stat` that we use ([proc_pid_stat(5)]).
///
/// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStat {
    /// The name of the program, field 2: its first 15 bytes.
    pub name: String,
    /// The state, field 3: `Z` if the process has ended and has not been collected.
    pub state: char,
    /// The parent process, field 4.
    pub parent: u32,
    /// The start time, field 22, in ticks since the machine started. Together with the id, it
    /// identifies the process.
    pub started: u64,
    /// The exit status, field 52, in the format of [wait(2)]. 0 for a running process, and for one
    /// of another user.
    ///
    /// [wait(2)]: https://man7.org/linux/man-pages/man2/wait.2.html
    pub exit_status: i32,
}

impl ProcessStat {
    /// Reads the description of a process.
    ///
    /// # Errors
    ///
    /// Fails when no process has that id, or it cannot be inspected.
    pub fn of(process: u32) -> io::Result<Self> {
        let line = read_all(Path::new(&format!("/proc/{process}/stat")))?;
        Self::parse(&String::from_utf8_lossy(&line))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns the time since the process started, or up to a tick more.
    #[must_use]
    pub fn age(&self) -> Duration {
        let ticks = clock_ticks_per_second().max(1);
        let started = Duration::from_secs(self.started / ticks);
        let rest =
            Duration::from_secs(self.started % ticks) / u32::try_from(ticks).unwrap_or(u32::MAX);
        let now = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
        now.saturating_sub(started + rest)
    }

    fn parse(line: &str) -> Option<Self> {
        // The name before may contain anything, but ends with the last parenthesis.
        let (before, fields) = line.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The first field after the name is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            name: name.to_owned(),
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            exit_status: field(52)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let numbers: Vec<String> = (5..=52).map(|number| number.to_string()).collect();
        let line = format!("42 (a) Z (b) Z 7 {}\n", numbers.join(" "));
        let expected = ProcessStat {
            name: "a) Z (b".to_owned(),
            state: 'Z',
            parent: 7,
            started: 22,
            exit_status: 52,
        };
        assert_eq!(ProcessStat::parse(&line), Some(expected));
        assert_eq!(ProcessStat::parse("42 (a) Z 7"), None);
        let own = ProcessStat::of(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(own.age() < Duration::from_secs(600), "{:?}", own.age());
        assert!(own.age() < ProcessStat::of(own.parent).unwrap().age() + Duration::from_millis(20));
    }
}
