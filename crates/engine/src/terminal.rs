//! The connection between our terminal and the container's.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::Error;

/// Longest time that the terminal may take. The process has sent it already, unless a process of the
/// container has interfered.
const PATIENCE: Duration = Duration::from_secs(5);

/// Receives the master of the container's terminal from a socket.
pub(crate) fn receive_master(socket: &UnixStream) -> Result<OwnedFd, Error> {
    let failed = |source: std::io::Error| Error::system("receive the container's terminal", source);
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let received = sys::receive_fd(socket).map_err(failed)?;
    Ok(received.fd)
}

/// Largest number of bytes that are read or written at once. A pipe that can be written to takes as
/// many without waiting (`PIPE_BUF`, pipe(7)).
const CHUNK: usize = 4096;

/// Largest number of bytes of the last output. A process that is left of the container may write for
/// ever.
const LAST: usize = 1 << 20;

/// The two terminals. Ours is in raw mode until this is dropped, and restored then.
///
/// Nothing here waits: a program that does not read its terminal must not stop its signals.
pub(crate) struct Terminal {
    master: File,
    /// Our terminal, if the output is one: of its own, so that writes to it need not wait.
    own: Option<File>,
    before: Option<Termios>,
    input: Direction,
    output: Direction,
}

/// The bytes in one direction that were read and are not yet written.
#[derive(Default)]
struct Direction {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Direction {
    /// Whether more can be read: only what can be written soon is taken.
    fn may_read(&self) -> bool {
        !self.is_closed && self.bytes.is_empty()
    }

    /// Reads once. The end of the source closes the direction: the end of a file, EIO of a terminal.
    fn read(&mut self, source: impl AsFd) {
        let mut part = [0; CHUNK];
        match rustix::io::read(source, &mut part) {
            Ok(count) if count > 0 => self.bytes.extend(part.iter().take(count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.is_closed = true,
        }
    }

    /// Writes once. If nobody reads any more, the direction is closed.
    fn write(&mut self, target: impl AsFd) {
        match rustix::io::write(target, &self.bytes) {
            Ok(count) => drop(self.bytes.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.bytes.clear();
                self.is_closed = true;
            }
        }
    }
}

/// Opens the terminal of the standard output anew. The flags of the standard output itself belong to
/// other processes, too. Returns `None` if it is no terminal, or another user's.
fn open_own_terminal() -> Option<File> {
    if !isatty(rustix::stdio::stdout()) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = rustix::fs::open("/proc/self/fd/1", flags, Mode::empty());
    own.ok().map(File::from)
}

impl Terminal {
    pub(crate) fn attach(master: OwnedFd) -> Result<Self, Error> {
        let failed = |errno: rustix::io::Errno| Error::system("make the terminal raw", errno);
        rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
        // As with runc, a line ends as the program wrote it where the output is no terminal.
        if let Ok(mut modes) = tcgetattr(&master) {
            modes.output_modes -= OutputModes::ONLCR;
            tcsetattr(&master, OptionalActions::Now, &modes).map_err(failed)?;
        }
        let stdin = rustix::stdio::stdin();
        let before = if isatty(stdin) {
            tcgetattr(stdin).ok()
        } else {
            None
        };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // The ends of lines are still this terminal's to translate.
            raw.output_modes = before.output_modes;
            tcsetattr(stdin, OptionalActions::Now, &raw).map_err(failed)?;
        }
        let terminal = Self {
            master: File::from(master),
            own: open_own_terminal(),
            before,
            input: Direction::default(),
            output: Direction::default(),
        };
        terminal.resize();
        Ok(terminal)
    }

    /// Gives the container's terminal the size of ours.
    pub(crate) fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    fn stdout(&self) -> BorrowedFd<'_> {
        match &self.own {
            Some(own) => own.as_fd(),
            None => rustix::stdio::stdout(),
        }
    }

    /// Writes output once.
    fn write(&mut self) {
        let mut output = std::mem::take(&mut self.output);
        output.write(self.stdout());
        self.output = output;
    }

    /// Returns the descriptors to poll. One of which nothing is wanted is left out: the end of a
    /// pipe is reported in any case, again and again.
    pub(crate) fn poll(&self) -> Vec<PollFd<'_>> {
        let master = match (self.output.may_read(), self.input.bytes.is_empty()) {
            (true, true) => PollFlags::IN,
            (true, false) => PollFlags::IN | PollFlags::OUT,
            (false, false) => PollFlags::OUT,
            (false, true) => PollFlags::empty(),
        };
        let is_written = !self.output.bytes.is_empty();
        let stdin = self.input.may_read().then_some(PollFlags::IN);
        let stdout = is_written.then_some(PollFlags::OUT);
        let own = [
            stdin.map(|flags| PollFd::from_borrowed_fd(rustix::stdio::stdin(), flags)),
            stdout.map(|flags| PollFd::from_borrowed_fd(self.stdout(), flags)),
        ];
        let master = (!master.is_empty()).then(|| PollFd::new(&self.master, master));
        own.into_iter().chain([master]).flatten().collect()
    }

    /// Passes on the available bytes. `ready` is the result of polling [`Terminal::poll`].
    pub(crate) fn pump(&mut self, ready: &[bool]) {
        let (may_take, is_written) = (self.input.may_read(), !self.output.bytes.is_empty());
        let mut ready = ready.iter().copied();
        if may_take && ready.next() == Some(true) {
            self.input.read(rustix::stdio::stdin());
        }
        if is_written && ready.next() == Some(true) {
            self.write();
        }
        if ready.next() == Some(true) {
            if !self.input.bytes.is_empty() {
                self.input.write(&self.master);
            }
            if self.output.may_read() {
                self.output.read(&self.master);
            }
        }
    }

    /// Passes on the container's last output, as far as it is taken. Its program has ended, but
    /// another process may still have the terminal. When `signals` can be read, `is_over` says
    /// whether one of them asks us to end.
    pub(crate) fn drain(&mut self, signals: BorrowedFd<'_>, is_over: impl Fn() -> bool) {
        let mut passed = 0;
        self.input.is_closed = true;
        self.input.bytes.clear();
        while passed < LAST {
            if self.output.may_read() {
                self.output.read(&self.master);
            }
            if self.output.bytes.is_empty() {
                return;
            }
            let mut fds = [
                PollFd::from_borrowed_fd(self.stdout(), PollFlags::OUT),
                PollFd::from_borrowed_fd(signals, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let [can_write, has_signal] = fds.map(|fd| !fd.revents().is_empty());
            if can_write {
                passed += self.output.bytes.len();
                self.write();
            } else if has_signal && is_over() {
                return;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
