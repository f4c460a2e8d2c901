//! Decides which process makes an entry, among processes and machines that share a directory.
//!
//! File locks are not used, because network file systems may not have them. The process that
//! creates the marker file first makes the entry, and touches the marker meanwhile. If that process
//! ends early, another takes over: at once on the same machine, after a time of silence elsewhere.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Pid;

/// Interval at which the maker touches its marker.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a maker counts as dead. The clocks of machines differ, so waiting processes
/// check whether the marker's time changes, not how old it is.
const SILENCE: Duration = Duration::from_secs(20);
/// Interval at which a waiting process checks.
const LOOK: Duration = Duration::from_millis(50);

/// Suffixes of the names of markers and of unfinished entries.
pub(super) const SIGN: &str = ".making";
pub(super) const PART: &str = ".part";

/// The right to make an entry. The marker is kept fresh until this value is dropped, and then
/// removed.
pub(super) struct Claim {
    directory: PathBuf,
    name: String,
    end: Option<mpsc::Sender<()>>,
    beating: Option<(Pid, thread::JoinHandle<()>)>,
}

impl Claim {
    /// Waits until this process may make the entry. Returns `None` when `is_there` becomes true,
    /// because then there is nothing to make.
    pub(super) fn make(
        directory: &Path,
        name: &str,
        is_there: impl Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let sign = directory.join(format!(".{name}{SIGN}"));
        let mut seen: Option<(SystemTime, Instant)> = None;
        loop {
            match File::options().write(true).create_new(true).open(&sign) {
                Ok(mut file) => {
                    // A marker without its maker's identity would block the others for a long time.
                    // A full disk can cause this.
                    if let Err(error) = file.write_all(mark(std::process::id()).as_bytes()) {
                        let _ = fs::remove_file(&sign);
                        return Err(error);
                    }
                    return Ok(Some(Self::begin(directory, name, file, sign)));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if !has_ended(&sign) {
                thread::sleep(LOOK);
            }
            if is_there() {
                return Ok(None);
            }
            let heartbeat = fs::metadata(&sign).and_then(|metadata| metadata.modified());
            match (heartbeat, seen) {
                (Ok(heartbeat), Some((last, since))) if heartbeat == last => {
                    let is_silent = since.elapsed() > SILENCE;
                    if is_silent || has_ended(&sign) {
                        take_away(&sign, is_silent)?;
                        seen = None;
                    }
                }
                (Ok(heartbeat), _) => seen = Some((heartbeat, Instant::now())),
                (Err(_), _) => seen = None,
            }
        }
    }

    fn begin(directory: &Path, name: &str, file: File, sign: PathBuf) -> Self {
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let beating = thread::spawn(move || {
            let _ = tell.send(rustix::thread::gettid());
            while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = file.set_modified(SystemTime::now());
            }
            // While this process was stopped, another may have taken over. Then the marker belongs
            // to that process.
            let own = mark(std::process::id());
            if fs::read_to_string(&sign).is_ok_and(|text| text == own) {
                let _ = fs::remove_file(&sign);
            }
        });
        Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
            end: Some(end),
            beating: told.recv().ok().map(|thread| (thread, beating)),
        }
    }

    /// Returns the path at which the entry is made.
    pub(super) fn part(&self) -> PathBuf {
        self.directory.join(part_of(&self.name))
    }

    /// Handles the unfinished entries of processes on this machine that have ended. If `of_worth`
    /// is set, the first of them becomes `part`. The others are removed.
    pub(super) fn take_over_parts(&self, of_worth: bool, part: &Path) -> io::Result<()> {
        let prefix = format!(".{}.", self.name);
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // An unfinished entry of this process is from a failed attempt.
            let is_own = entry.path() == *part;
            if !name.starts_with(&prefix) || !(is_left(&name) || is_own) {
                continue;
            }
            if of_worth && !part.exists() {
                let _ = fs::rename(entry.path(), part);
            } else if entry.path() != part {
                let _ = rootfs::remove(&entry.path());
            }
        }
        Ok(())
    }
}

/// Removes the marker of a dead maker. If several processes try, the rename succeeds for only one.
/// A process that took the marker of a live maker puts it back.
fn take_away(sign: &Path, is_silent: bool) -> io::Result<()> {
    let mut away = sign.as_os_str().to_owned();
    away.push(format!(".{}", std::process::id()));
    let away = PathBuf::from(away);
    match fs::rename(sign, &away) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    let beats = fs::metadata(&away)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|heartbeat| {
            let now = SystemTime::now();
            now.duration_since(heartbeat).unwrap_or_default() < HEARTBEAT
        });
    if !has_ended(&away) && (!is_silent || beats) {
        // This fails if there is another marker already.
        let _ = fs::hard_link(&away, sign);
    }
    fs::remove_file(&away)
}

/// Returns the name under which this process makes an entry. The name is unique and identifies the
/// process.
pub(super) fn part_of(name: &str) -> String {
    let process = std::process::id();
    let start = started(process).unwrap_or_default();
    format!(".{name}.{}.{process}.{start}{PART}", machine())
}

/// Whether an unfinished entry belongs to a process of this machine that has ended.
pub(super) fn is_left(part: &str) -> bool {
    let Some(rest) = part.strip_suffix(PART) else {
        return false;
    };
    let mut fields = rest.rsplit('.');
    let (start, process, of) = (fields.next(), fields.next(), fields.next());
    let (Some(start), Some(process), Some(of)) = (start, process, of) else {
        return false;
    };
    let Ok(process) = process.parse::<u32>() else {
        return false;
    };
    of == machine() && (process == std::process::id() || started(process).as_deref() != Some(start))
}

/// Returns a short name for the current boot of this machine and the pid namespace.
fn machine() -> String {
    let digest = oci::Digest::of(here().as_bytes());
    digest.hex().chars().take(12).collect()
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.end.take());
        let Some((id, beating)) = self.beating.take() else {
            return;
        };
        let _ = beating.join();
        // The kernel lists a thread for a moment after its end, and a process with two threads may
        // not fork.
        let listed = PathBuf::from(format!("/proc/self/task/{}", id.as_raw_pid()));
        while listed.exists() {
            thread::yield_now();
        }
    }
}

/// Returns the identity of a process: the machine's boot, the pid namespace, the pid, and the start
/// time.
fn mark(process: u32) -> String {
    let here = here();
    format!("{here} {process} {}", started(process).unwrap_or_default())
}

fn here() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), space.display())
}

fn started(process: u32) -> Option<String> {
    let stat = sys::ProcessStat::of(process).ok()?;
    Some(stat.started.to_string())
}

/// Whether a marker belongs to a process of this machine that has ended.
pub(super) fn has_ended(sign: &Path) -> bool {
    let Ok(text) = fs::read_to_string(sign) else {
        return false;
    };
    let Some(rest) = text.strip_prefix(&here()) else {
        return false;
    };
    let mut words = rest.split_whitespace();
    let (process, start) = (words.next(), words.next());
    match (process.and_then(|number| number.parse().ok()), start) {
        (Some(process), Some(start)) => started(process).as_deref() != Some(start),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_of_one_that_ended_is_taken_over_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let sign = directory.path().join(".a.making");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let of_child = mark(child.id());
        child.wait().unwrap();
        fs::write(&sign, of_child).unwrap();
        let start = Instant::now();
        let claim = Claim::make(directory.path(), "a", || false).unwrap();
        assert!(claim.is_some());
        assert!(start.elapsed() < SILENCE / 2);
        drop(claim);
        assert!(!sign.exists());
        fs::write(&sign, mark(std::process::id())).unwrap();
        assert!(!has_ended(&sign), "this process is alive");
        fs::write(&sign, "another machine 1 1").unwrap();
        assert!(!has_ended(&sign), "nothing is known of it");
    }
}
