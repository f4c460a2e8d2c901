//! The standard streams of a container's processes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::Process;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat, stat};
use nix::unistd::{Pid, Uid, dup2, fchown};
use rustix::fs::makedev;
use sys::mount_bits::READ_ONLY;

use crate::Document;

/// Opens the container's `/dev/null` in place of the host's, which the caller has left as a stream.
pub(crate) fn reopen_null() -> Result<(), String> {
    let failed = |reason: &str| format!("/dev/null: {reason}");
    // Looked at before it is opened: to open another device could do something.
    let number = makedev(1, 3);
    let there = stat("/dev/null").map_err(|errno| failed(&text::message(&errno.into())))?;
    if there.st_rdev != number {
        return Err(failed("it is another device"));
    }
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| failed(&text::message(&error)))?;
    let is_null = |fd| fstat(fd).is_ok_and(|found| found.st_rdev == number);
    if !is_null(null.as_raw_fd()) {
        return Err(failed("it is another device"));
    }
    for stream in (0..=2).filter(|stream| is_null(*stream)) {
        dup2(null.as_raw_fd(), stream).map_err(|errno| failed(&text::message(&errno.into())))?;
    }
    Ok(())
}

/// Puts a view of the host's `/dev/null` that is read-only in place of each standard stream that is
/// it. A device is written to there as before, but the container's root cannot change the mode or
/// the owner of the host's file. Only root of the host could, and only it can make the view.
pub(crate) fn shield_null() -> Result<(), Errno> {
    let number = makedev(1, 3);
    let is_null = |fd: &RawFd| fstat(*fd).is_ok_and(|found| found.st_rdev == number);
    let mut streams = (0..=2).filter(is_null).peekable();
    if streams.peek().is_none() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let tree = match sys::bind(Path::new("/dev/null"), false).map_err(errno) {
        // A root of a namespace, whom the host's file does not belong to.
        Err(Errno::EPERM) => return Ok(()),
        tree => tree?,
    };
    sys::change_mount(tree.as_fd(), false, READ_ONLY, 0).map_err(errno)?;
    let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
    let view = fs::File::options().read(true).write(true).open(path);
    let view = view.map_err(errno)?;
    for stream in streams {
        dup2(view.as_raw_fd(), stream)?;
    }
    Ok(())
}

/// Sets the size of the terminal at standard input, if the process asks for one.
pub(crate) fn set_console_size(process: &Process) {
    let Some(size) = process.console_size() else {
        return;
    };
    let number = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let size = rustix::termios::Winsize {
        ws_row: number(size.height()),
        ws_col: number(size.width()),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // A terminal without a size works.
    let _ = rustix::termios::tcsetwinsize(std::io::stdin(), size);
}

/// Gives the standard streams to the container's user, who may open them again by `/dev/stdout`.
/// `process` is the container's first process.
pub(crate) fn give_streams(process: Pid, document: &Document) {
    let user = document["process"]["user"]["uid"].as_u64().unwrap_or(0);
    let map = fs::read_to_string(format!("/proc/{process}/uid_map")).unwrap_or_default();
    let Some(user) = outside(&map, user) else {
        return;
    };
    if document.has_terminal() {
        let path = format!("/proc/{process}/fd/0");
        let _ = nix::unistd::chown(Path::new(&path), Some(Uid::from_raw(user)), None);
        return;
    }
    give_own_streams(user);
}

/// Gives the calling process's standard streams to a user. Devices stay the host's: a terminal of
/// the caller's, above all. So does a file that is only read.
pub(crate) fn give_own_streams(user: u32) {
    let is_written = |stream: RawFd| {
        let flags = nix::fcntl::fcntl(stream, nix::fcntl::FcntlArg::F_GETFL);
        flags.is_ok_and(|flags| flags & nix::libc::O_ACCMODE != nix::libc::O_RDONLY)
    };
    for stream in 0..=2 {
        let is_to_give = |found: &FileStat| {
            found.st_uid != user
                && match found.st_mode & nix::libc::S_IFMT {
                    nix::libc::S_IFCHR | nix::libc::S_IFBLK => false,
                    nix::libc::S_IFREG => is_written(stream),
                    _ => true,
                }
        };
        if fstat(stream).is_ok_and(|found| is_to_give(&found)) {
            // Not every file can have another owner.
            let _ = fchown(stream, Some(Uid::from_raw(user)), None);
        }
    }
}

/// Returns the id outside of a user namespace for one inside, by the namespace's map
/// ([user_namespaces(7)]).
///
/// [user_namespaces(7)]: https://man7.org/linux/man-pages/man7/user_namespaces.7.html
fn outside(map: &str, id: u64) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (first, own, count) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        let place = id.checked_sub(first).filter(|place| *place < count)?;
        u32::try_from(own.checked_add(place)?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_outside() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1001));
        assert_eq!(outside(map, 101), Some(100_100));
        assert_eq!(outside(map, 65_537), None);
        assert_eq!(outside("", 0), None);
    }
}
