//! Closing what was inherited.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::FileType;

/// The descriptors from 3 up that are not marked close-on-exec.
///
/// Everything that Rust's library opens carries that mark, so these are what the caller of this
/// program left open: the pipes of a launcher, which would otherwise never see their end while a
/// process of ours lives.
#[derive(Debug)]
pub struct Inherited(Vec<i32>);

impl Inherited {
    /// Looks for them; none are found without `/proc`.
    #[must_use]
    pub fn find() -> Self {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        let open = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let inherited = open.filter(|fd: &i32| {
            // SAFETY: F_GETFD reads a flag of a number, whoever owns it.
            let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
            *fd > 2 && flags >= 0 && flags & libc::FD_CLOEXEC == 0
        });
        Self(inherited.collect())
    }

    /// Closes them.
    pub fn close(self) {
        for fd in self.0 {
            // SAFETY: no object of this program owns the descriptor, since all of them are
            // opened close-on-exec.
            unsafe { libc::close(fd) };
        }
    }
}

/// Lets go of the files and directories that this program has opened, and leaves what it has inherited, and pipes and
/// sockets: a link in a container could lead to them by `/proc/self/fd`. Their descriptors stay, so that their owners may
/// close them, and lead to nothing.
///
/// # Errors
///
/// Fails when the kernel has no descriptor more.
pub fn let_go_of_own_files() -> io::Result<()> {
    let nothing = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
    let entries = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: F_GETFD reads a flag of a number, whoever owns it.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC == 0 {
            continue;
        }
        // SAFETY: the descriptor is open, as the flags were read, and stays so during the call.
        let stat = rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(fd) });
        let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if matches!(kind, Ok(FileType::Directory | FileType::RegularFile)) {
            // SAFETY: the number stays an open descriptor of its owner's, and only what it leads to changes.
            if unsafe { libc::dup3(nothing.as_raw_fd(), fd, libc::O_CLOEXEC) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Closes every descriptor that was inherited; see [`Inherited`].
pub fn close_inherited() {
    Inherited::find().close();
}

/// Closes every descriptor from 3 up but those in `keep`: what a process that enters a container must not bring
/// along, whoever opened it. An owner of one of them must not be used or dropped afterwards: the caller executes another
/// program, or ends at once.
pub fn close_all_except(keep: &[i32]) {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3) {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
}

/// [close_range(2)], Linux 5.9; one by one where a filter around this process forbids it.
///
/// [close_range(2)]: https://man7.org/linux/man-pages/man2/close_range.2.html
fn close_range(first: u32, last: u32) {
    // SAFETY: the caller of `close_all_except` gives up what owns these descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit
        .and_then(|limit| u32::try_from(limit).ok())
        .unwrap_or(1 << 20);
    for fd in first..=last.min(limit) {
        // SAFETY: as above.
        unsafe { libc::close(fd.cast_signed()) };
    }
}
