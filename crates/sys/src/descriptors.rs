//! Closing what was inherited.

use std::fs;

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

/// Closes every descriptor that was inherited; see [`Inherited`].
pub fn close_inherited() {
    Inherited::find().close();
}
