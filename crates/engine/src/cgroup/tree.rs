//! Walking a cgroup and those below it, which a container may have made deeper than a path can name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::{ATTEMPTS, INTERVAL};

/// A directory to look into, which is no link.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Hands the processes of a cgroup and of all below it to `found`. One that goes meanwhile has none, and one that cannot
/// be looked at hides no other.
///
/// # Errors
///
/// Fails with the first look that failed, after all others.
pub(super) fn processes(top: &Path, found: &mut dyn FnMut(i32)) -> io::Result<()> {
    let mut failed = Ok(());
    let walked = walk(top, &mut |cgroup| match read(cgroup) {
        Ok(text) => { text.lines().filter_map(|line| line.parse().ok()) }.for_each(&mut *found),
        Err(error) if is_gone(&error) => {}
        Err(error) => failed = Err(error),
    });
    walked.and(failed)
}

/// Removes a cgroup with all below it. All processes must have been killed; they may still be on their way out.
///
/// # Errors
///
/// Fails with the first that cannot be removed.
pub(super) fn remove(top: &Path) -> io::Result<()> {
    let mut above = Vec::new();
    let mut current = match openat(CWD, top, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    loop {
        if let Some(child) = children(&current)?.pop() {
            match openat(&current, &child, DIRECTORY, Mode::empty()) {
                // Another has removed it meanwhile.
                Err(Errno::NOENT) => continue,
                opened => current = opened?,
            }
            above.push(child);
        } else if let Some(name) = above.pop() {
            current = openat(&current, "..", DIRECTORY, Mode::empty())?;
            remove_empty(&|| unlinkat(&current, &name, AtFlags::REMOVEDIR))?;
        } else {
            return remove_empty(&|| rustix::fs::rmdir(top));
        }
    }
}

fn remove_empty(remove: &dyn Fn() -> rustix::io::Result<()>) -> io::Result<()> {
    let mut result = remove();
    for _ in 0..ATTEMPTS {
        if result != Err(Errno::BUSY) {
            break;
        }
        std::thread::sleep(INTERVAL);
        result = remove();
    }
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

/// Visits a cgroup and all below it, with one descriptor open at a time.
fn walk(top: &Path, visit: &mut dyn FnMut(&OwnedFd)) -> io::Result<()> {
    let mut current = match openat(CWD, top, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    visit(&current);
    let mut left = vec![children(&current)?];
    while let Some(list) = left.last_mut() {
        match list.pop() {
            Some(name) => {
                // It may have gone, or be none to look into.
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

/// The names of the cgroups right below one; none of one that has gone.
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

fn read(cgroup: &OwnedFd) -> io::Result<String> {
    let file = openat(
        cgroup,
        "cgroup.procs",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut text = String::new();
    match File::from(file).read_to_string(&mut text) {
        // A threaded cgroup does not say; its domain, above it, does.
        Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => Ok(String::new()),
        read => read.map(|_| text),
    }
}

fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(nix::libc::ENOENT) || code == Some(nix::libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use rustix::fs::mkdirat;

    use super::*;

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
        processes(&top, &mut |process| found.push(process)).unwrap();
        found.sort_unstable();
        assert_eq!(found, (0..60).collect::<Vec<_>>());
        // Files of a cgroup go with it; those of this one have to be removed.
        let mut current = openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..60 {
            unlinkat(&current, "cgroup.procs", AtFlags::empty()).unwrap();
            current = openat(&current, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists());
        remove(&top).unwrap();
    }
}
