//! Walks a cgroup and the cgroups below it, which a container may have nested deeper than a path
//! can name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::INTERVAL;

/// Flags to open a directory that is not a link.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Passes the processes of a cgroup and of all cgroups below it to `found`. A cgroup that is
/// removed meanwhile has none. A cgroup that cannot be read does not hide the others.
///
/// # Errors
///
/// Fails when a cgroup could not be read, after all others have been visited, and when the time is
/// over: a container may make cgroups faster than they are visited.
pub(super) fn processes(
    top: &Path,
    deadline: Instant,
    found: &mut dyn FnMut(i32),
) -> io::Result<()> {
    let mut failed = Ok(());
    let walked = walk(
        top,
        deadline,
        &mut |cgroup| match read(cgroup, "cgroup.procs") {
            Ok(text) => { text.lines().filter_map(|line| line.parse().ok()) }.for_each(&mut *found),
            // A threaded cgroup does not list its processes; its domain, above it, does.
            Err(error) if is_gone(&error) || is_threaded(&error) => {}
            Err(error) => failed = Err(error),
        },
    );
    walked.and(failed)
}

/// Whether a cgroup or one below it has processes, or threads of a process elsewhere.
///
/// # Errors
///
/// Fails when a cgroup cannot be read, and when the time is over.
pub(super) fn is_occupied(top: &Path, deadline: Instant) -> io::Result<bool> {
    let mut is_occupied = false;
    let mut failed = Ok(());
    walk(top, deadline, &mut |cgroup| {
        let text = read(cgroup, "cgroup.procs").or_else(|error| match is_threaded(&error) {
            true => read(cgroup, "cgroup.threads"),
            false => Err(error),
        });
        match text {
            Ok(text) => is_occupied |= !text.trim().is_empty(),
            Err(error) if is_gone(&error) => {}
            Err(error) => failed = Err(error),
        }
    })?;
    match is_occupied {
        true => Ok(true),
        false => failed.map(|()| false),
    }
}

/// Removes a cgroup with all cgroups below it. All processes must have been killed, but may still
/// be exiting.
///
/// # Errors
///
/// Fails at the first cgroup that cannot be removed until the deadline.
pub(super) fn remove(top: &Path, deadline: Instant) -> io::Result<()> {
    let mut current = match openat(CWD, top, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    // The names above the current cgroup, and for each and for the current one what is below it.
    let mut above = Vec::new();
    let mut left = vec![children(&current)?];
    while let Some(list) = left.last_mut() {
        in_time(deadline)?;
        if let Some(child) = list.pop() {
            match openat(&current, &child, DIRECTORY, Mode::empty()) {
                // Another process has removed the cgroup meanwhile.
                Err(Errno::NOENT) => continue,
                opened => current = opened?,
            }
            left.push(children(&current)?);
            above.push(child);
            continue;
        }
        let name = above.pop();
        let removed = match &name {
            Some(name) => {
                left.pop();
                current = openat(&current, "..", DIRECTORY, Mode::empty())?;
                unlinkat(&current, name, AtFlags::REMOVEDIR)
            }
            None => rustix::fs::rmdir(top),
        };
        match (removed, name) {
            // A process in it is still exiting, or somebody has made another cgroup below it.
            (Err(Errno::BUSY | Errno::NOTEMPTY), name) => {
                std::thread::sleep(INTERVAL);
                match (name, left.last_mut()) {
                    (Some(name), Some(list)) => list.push(name),
                    _ => left = vec![children(&current)?],
                }
            }
            (Ok(()) | Err(Errno::NOENT), Some(_)) => {}
            (Ok(()) | Err(Errno::NOENT), None) => return Ok(()),
            (Err(errno), _) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn in_time(deadline: Instant) -> io::Result<()> {
    match Instant::now() < deadline {
        true => Ok(()),
        false => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Visits a cgroup and all below it, with one descriptor open at a time.
///
/// # Errors
///
/// Fails when the first cgroup cannot be opened, and when the time is over.
pub(super) fn walk(
    top: &Path,
    deadline: Instant,
    visit: &mut dyn FnMut(&OwnedFd),
) -> io::Result<()> {
    let mut current = match openat(CWD, top, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    visit(&current);
    let mut left = vec![children(&current)?];
    while let Some(list) = left.last_mut() {
        in_time(deadline)?;
        match list.pop() {
            Some(name) => {
                // The cgroup may have been removed, or we may not open it.
                if let Ok(child) = openat(&current, &name, DIRECTORY, Mode::empty()) {
                    current = child;
                    visit(&current);
                    left.push(children(&current).unwrap_or_default());
                }
            }
            None => {
                left.pop();
                if !left.is_empty() {
                    current = openat(&current, "..", DIRECTORY, Mode::empty())?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the names of the cgroups directly below a cgroup; none if it was removed.
fn children(cgroup: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    let directory = match Dir::read_from(cgroup) {
        Err(error) if is_gone(&error.into()) => return Ok(names),
        directory => directory?,
    };
    for entry in directory {
        let entry = match entry {
            Err(error) if is_gone(&error.into()) => break,
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

fn read(cgroup: &OwnedFd, name: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(cgroup, name, flags, Mode::empty())?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

fn is_threaded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EOPNOTSUPP)
}

fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(nix::libc::ENOENT) || code == Some(nix::libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use rustix::fs::mkdirat;

    use super::*;

    /// A list for each of them would take minutes.
    #[test]
    fn many_beside_each_other_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        for number in 0..20_000 {
            std::fs::create_dir_all(top.join(number.to_string())).unwrap();
        }
        remove(&top, Instant::now() + std::time::Duration::from_secs(10)).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn no_depth_hides_anything_or_stays() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let name = "x".repeat(120);
        let mut current = openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap();
        for depth in 0..60 {
            for one in [name.as_str(), "beside"] {
                mkdirat(&current, one, Mode::RWXU).unwrap();
            }
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let file = openat(&current, "cgroup.procs", flags, Mode::RWXU).unwrap();
            rustix::io::write(&file, format!("{depth}\n").as_bytes()).unwrap();
            current = openat(&current, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        let mut found = Vec::new();
        let later = Instant::now() + std::time::Duration::from_secs(60);
        processes(&top, later, &mut |process| found.push(process)).unwrap();
        found.sort_unstable();
        assert_eq!(found, (0..60).collect::<Vec<_>>());
        // The kernel removes a cgroup's files together with it. The files of this imitation have to
        // be removed.
        let mut current = openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..60 {
            unlinkat(&current, "cgroup.procs", AtFlags::empty()).unwrap();
            current = openat(&current, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        remove(&top, later).unwrap();
        assert!(!top.exists());
        remove(&top, later).unwrap();
        let late = processes(place.path(), Instant::now(), &mut |_| ());
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
