//! The start of a program.

use std::io::{self, Write};

/// The exit code of a program ([exit(3)]).
///
/// [exit(3)]: https://man7.org/linux/man-pages/man3/exit.3.html
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// The program has succeeded.
    pub const SUCCESS: Self = Self(0);
    /// The program has failed.
    pub const FAILURE: Self = Self(1);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

/// Makes a program begin with a function, without the start-up of Rust's own library. That start-up
/// finds out where the main thread's stack is, so that it can name the cause when the stack
/// overflows. For this, the C library reads `/proc/self/maps` ([pthread_getattr_np(3)]). It took 2
/// % of the start of a job's rank.
///
/// [pthread_getattr_np(3)]: https://man7.org/linux/man-pages/man3/pthread_getattr_np.3.html
#[macro_export]
macro_rules! main {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::start($run)
        }
    };
}

/// Does the necessary rest of the start-up, then calls `run`; see [`main`].
pub fn start(run: fn() -> ExitCode) -> i32 {
    open_standard_streams();
    // SAFETY: sets a disposition; no handler of ours is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let ExitCode(code) = run();
    let _ = io::stdout().flush();
    code.into()
}

/// Opens the standard streams that the caller has closed. Otherwise the next opened files would
/// have their numbers, and be written to.
fn open_standard_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the kernel writes to the three elements, and does not wait.
    let polled = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    let is_closed = |stream: &libc::pollfd| stream.revents & libc::POLLNVAL != 0;
    if polled <= 0 || !streams.iter().any(is_closed) {
        return;
    }
    // Each call returns the lowest free number. The program inherits these descriptors, too.
    loop {
        // SAFETY: the path ends with a NUL byte.
        match unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } {
            0..=2 => {}
            null => {
                // SAFETY: nobody else owns this number; an invalid one is refused.
                unsafe { libc::close(null) };
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_stays() {
        let before = std::fs::read_link("/proc/self/fd/1").unwrap();
        open_standard_streams();
        assert_eq!(std::fs::read_link("/proc/self/fd/1").unwrap(), before);
    }
}
