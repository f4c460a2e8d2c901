//! Closing inherited descriptors.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::fs::FileType;

/// The descriptors from 3 up that are not marked close-on-exec.
///
/// Everything that Rust's library opens has that mark, so these are the descriptors that the caller
/// of this program left open: the pipes of a launcher, for example, which would otherwise never see
/// their end while a process of ours lives.
#[derive(Debug)]
pub struct Inherited(Vec<i32>);

impl Inherited {
    /// Finds the inherited descriptors. Without `/proc`, finds none.
    #[must_use]
    pub fn find() -> Self {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        let open = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let inherited = open.filter(|fd: &i32| *fd > 2 && is_own(*fd) == Some(false));
        Self(inherited.collect())
    }

    /// Closes the descriptors.
    pub fn close(self) {
        for fd in self.0 {
            // SAFETY: no object of this program owns the descriptor, since all of them are
            // opened close-on-exec.
            unsafe { libc::close(fd) };
        }
    }
}

/// Whether a descriptor is marked close-on-exec. `None` if it is not open.
fn is_own(fd: i32) -> Option<bool> {
    // SAFETY: F_GETFD only reads a flag of the descriptor, whoever owns it.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    (flags >= 0).then_some(flags & libc::FD_CLOEXEC != 0)
}

/// Returns the descriptors that the caller of this program left open, among the `count` from 3 up, in
/// order. Must be called before anything is opened that is not close-on-exec.
#[must_use]
pub fn inherited_among(count: u32) -> Vec<i32> {
    if count == 0 {
        return Vec::new();
    }
    let mut all = Inherited::find().0;
    all.retain(|fd| i64::from(*fd) < i64::from(count) + 3);
    all.sort_unstable();
    all
}

/// Closes the files and directories that this program has opened, because a link in a container
/// could lead to them by `/proc/self/fd`. Inherited descriptors, pipes and sockets are kept. The
/// descriptors' numbers stay open but lead to nothing, so that their owners may close them.
///
/// # Errors
///
/// Fails when the process cannot have one more descriptor.
pub fn let_go_of_own_files() -> io::Result<()> {
    let is_chosen = |fd, kind| kind != FileType::CharacterDevice && is_own(fd) == Some(true);
    let_go(is_chosen)
}

/// Does the same for every descriptor but the preserved ones, whoever opened it.
///
/// # Errors
///
/// As [`let_go_of_own_files`].
pub fn let_go_of_files(preserved: &[i32]) -> io::Result<()> {
    let_go(|fd, _| !preserved.contains(&fd))
}

/// `is_chosen` gets a descriptor and the kind of its file.
fn let_go(is_chosen: impl Fn(i32, FileType) -> bool) -> io::Result<()> {
    let nothing = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
    for fd in open_descriptors().into_iter().filter(|fd| *fd > 2) {
        // SAFETY: if the descriptor is not open, the kernel only says so.
        let stat = rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(fd) });
        let Ok(kind) = stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) else {
            continue;
        };
        let is_file = matches!(
            kind,
            FileType::Directory
                | FileType::RegularFile
                | FileType::Symlink
                | FileType::BlockDevice
                | FileType::CharacterDevice
        );
        if is_file && is_chosen(fd, kind) {
            // SAFETY: the number stays an open descriptor of its owner; only the file behind it
            // changes.
            if unsafe { libc::dup3(nothing.as_raw_fd(), fd, libc::O_CLOEXEC) } >= 0 {
                continue;
            }
            match io::Error::last_os_error() {
                // The number is above the limit, which the caller has lowered since: it is the
                // caller's, so nothing here owns it.
                error if error.raw_os_error() == Some(libc::EBADF) => {
                    // SAFETY: as above.
                    unsafe { libc::close(fd) };
                }
                error => return Err(error),
            }
        }
    }
    Ok(())
}

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
const PROC: i64 = 0x9fa0;

/// Number of descriptors that are tried where `/proc` is missing, or is not the kernel's.
const TRIED: i32 = 65_536;

/// Returns the numbers of the open descriptors, and perhaps some that are not open.
fn open_descriptors() -> Vec<i32> {
    let is_proc = rustix::fs::statfs("/proc").is_ok_and(|stat| stat.f_type == PROC);
    if is_proc && let Some(open) = low_descriptors() {
        return open;
    }
    match fs::read_dir("/proc/self/fd") {
        Ok(entries) if is_proc => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        _ => (3..TRIED).collect(),
    }
}

/// The kernel gives a new descriptor the lowest free number. So numbers above this one are rare.
const HIGHEST: i32 = 255;

/// Returns the numbers of the open descriptors if all are at most [`HIGHEST`]. To list `/proc/self/fd`
/// takes 100 us in a new container, because the kernel makes an inode for each descriptor. Linux 6.2
/// and later tell how many there are as the size of that directory (proc_pid_fd(5)), and 0 on older
/// ones: each number is asked for until all are found.
fn low_descriptors() -> Option<Vec<i32>> {
    let count = rustix::fs::stat("/proc/self/fd").ok()?.st_size;
    let count = usize::try_from(count).ok().filter(|count| *count > 0)?;
    let open = (0..=HIGHEST).filter(|fd| is_own(*fd).is_some()).take(count);
    let open: Vec<i32> = open.collect();
    (open.len() == count).then_some(open)
}

/// Whether somebody could read from the pipe whose writing end is this descriptor (poll(2), `POLLERR`).
#[must_use]
pub fn has_reader(writer: RawFd) -> bool {
    let mut asked = libc::pollfd {
        fd: writer,
        events: 0,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one element, which `asked` is.
    let result = unsafe { libc::poll(&raw mut asked, 1, 0) };
    result == 0
}

/// Closes every descriptor that was inherited; see [`Inherited`].
pub fn close_inherited() {
    Inherited::find().close();
}

/// Closes every descriptor from 3 up except those in `keep`. A process that enters a container must
/// not bring others along, whoever opened them. An owner of a closed descriptor must not be used or
/// dropped afterwards: the caller executes another program, or ends at once.
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

/// Calls [close_range(2)] (Linux 5.9). If a filter around this process forbids it, closes one by
/// one.
///
/// [close_range(2)]: https://man7.org/linux/man-pages/man2/close_range.2.html
fn close_range(first: u32, last: u32) {
    // SAFETY: the caller of `close_all_except` no longer uses the owners of these descriptors.
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Runs in a process of its own: other tests open and close descriptors at the same time.
    fn alone(act: impl FnOnce() -> bool) {
        // SAFETY: the child calls nothing that needs a lock of another thread but the allocator's,
        // which the C library makes usable after fork(2).
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => crate::exit_at_once(i32::from(!act())),
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
    }

    fn listed() -> Vec<i32> {
        let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        // One is the listing's own.
        let mut listed: Vec<i32> = numbers.collect();
        listed.retain(|fd| is_own(*fd).is_some());
        listed.sort_unstable();
        listed
    }

    fn put_at(number: i32) -> i32 {
        let file = File::open("/").unwrap();
        // SAFETY: the number is free or nobody's.
        unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) }
    }

    #[test]
    fn low_descriptors_are_those_that_proc_lists() {
        let kernel = rustix::system::uname();
        let version = kernel.release().to_string_lossy().into_owned();
        let mut version = version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        let counts = (version.next(), version.next()) >= (Some(6), Some(2));
        alone(|| {
            let path = rustix::fs::OFlags::PATH;
            let _path_only = rustix::fs::open("/", path, rustix::fs::Mode::empty()).unwrap();
            put_at(HIGHEST) == HIGHEST && low_descriptors() == counts.then(listed)
        });
    }

    #[test]
    fn a_pipe_has_a_reader_until_it_is_closed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(has_reader(writer.as_raw_fd()));
        drop(reader);
        assert!(!has_reader(writer.as_raw_fd()));
    }

    #[test]
    fn a_file_above_the_limit_is_closed() {
        alone(|| {
            let few = rustix::process::Rlimit {
                current: Some(64),
                maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
            };
            put_at(70) == 70
                && rustix::process::setrlimit(rustix::process::Resource::Nofile, few).is_ok()
                && let_go_of_files(&[]).is_ok()
                && is_own(70).is_none()
        });
    }

    #[test]
    fn a_higher_descriptor_is_listed() {
        alone(|| {
            put_at(HIGHEST + 1) == HIGHEST + 1
                && low_descriptors().is_none()
                && open_descriptors().contains(&(HIGHEST + 1))
        });
    }
}
