//! File systems that a FUSE program serves for one container (`--fusemount`). The program gets the
//! open device, and as its mount point `/dev/fd/N`, which libfuse 3 understands.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use session::Payload;

use super::payload::Start;
use super::rights::Rights;
use crate::flags::FuseMount;
use crate::variables::Variables;

/// The programs that wait for their mounts, in the order of the flags.
pub(super) struct FuseMounts<'a> {
    mounts: &'a [FuseMount],
    /// The ends of sockets to the programs on the host; `None` for one in the container.
    helpers: Vec<Option<UnixStream>>,
}

impl<'a> FuseMounts<'a> {
    /// Starts the processes that become the programs on the host. They stay outside of the
    /// container, and end if nothing is mounted for them.
    ///
    /// # Errors
    ///
    /// Fails when a process cannot be made.
    pub(super) fn new(mounts: &'a [FuseMount], caller: &Variables) -> Result<Self> {
        let helpers = mounts.iter().map(|mount| match mount.on_host {
            true => helper(mount, caller).map(Some),
            false => Ok(None),
        });
        let helpers = helpers.collect::<Result<Vec<_>>>();
        Ok(Self {
            mounts,
            helpers: helpers.context("--fusemount")?,
        })
    }

    /// Mounts the file systems and starts the programs. The calling process is in the container, with
    /// all its capabilities. Programs in it get the payload's environment.
    ///
    /// # Errors
    ///
    /// Fails with the first one that cannot be mounted or started.
    pub(super) fn start(&self, payload: &Start, rights: &Rights) -> Result<()> {
        if self.mounts.is_empty() {
            return Ok(());
        }
        let env = payload.process((BTreeSet::new(), true)).env;
        for (mount, helper) in self.mounts.iter().zip(&self.helpers) {
            let named = || format!("--fusemount {}", mount.mount_point.display());
            let device = session::mount_fuse(&mount.mount_point).with_context(named)?;
            let answer = match helper {
                Some(helper) => hand_over(helper, device),
                None => start_inside(mount, &device, &env, rights),
            };
            let reason = answer.with_context(named)?;
            if !reason.is_empty() {
                bail!("{}: {reason}", named());
            }
        }
        Ok(())
    }
}

/// Returns the program's words, with the device in place of the mount point.
fn words(mount: &FuseMount, device: &OwnedFd) -> Vec<OsString> {
    let place = OsString::from(format!("/dev/fd/{}", device.as_raw_fd()));
    mount.command.iter().cloned().chain([place]).collect()
}

/// Makes a process that waits for its device, and then becomes the program.
fn helper(mount: &FuseMount, caller: &Variables) -> Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    in_an_orphan(|| {
        // The end of the caller must be seen.
        sys::close_all_except(&[0, 1, 2, theirs.as_raw_fd()]);
        let Ok(sys::Received { fd: device, .. }) = sys::receive_fd(&theirs) else {
            return;
        };
        let error = match fcntl_setfd(&device, FdFlags::empty()) {
            Err(errno) => errno.into(),
            Ok(()) => {
                let words = words(mount, &device);
                let mut words = words.iter();
                let program = words.next().cloned().unwrap_or_default();
                let mut command = Command::new(program);
                command
                    .args(words)
                    .env_clear()
                    .envs(caller.0.iter().cloned());
                command.stdin(Stdio::null()).stdout(Stdio::null()).exec()
            }
        };
        let _ = (&theirs).write_all(text::message(&error).as_bytes());
    })?;
    Ok(ours)
}

/// Gives the device to the process on the host. Returns the reason why the program did not start.
fn hand_over(mut helper: &UnixStream, device: OwnedFd) -> Result<String> {
    use std::os::fd::AsFd as _;
    sys::send_fd(helper, b"d", device.as_fd())?;
    drop(device);
    let mut reason = String::new();
    // The exec closes the other end.
    helper.read_to_string(&mut reason)?;
    Ok(reason)
}

/// Starts the program in the container. Returns the reason why it did not start.
fn start_inside(
    mount: &FuseMount,
    device: &OwnedFd,
    env: &[(OsString, OsString)],
    rights: &Rights,
) -> Result<String> {
    let (mut read, mut write) = io::pipe()?;
    in_an_orphan(|| {
        let started = fcntl_setfd(device, FdFlags::empty()).map_err(anyhow::Error::from);
        let started = started.and_then(|()| {
            // A program of the image, which gets no more than the payload does.
            let null = File::open("/dev/null")?;
            rustix::stdio::dup2_stdin(&null)?;
            rights.take_for_server()?;
            let payload = Payload {
                args: words(mount, device),
                env: env.to_vec(),
                contained: true,
            };
            match session::exec(&payload)? {}
        });
        if let Err::<(), _>(error) = started {
            let _ = write.write_all(text::one_line(error.as_ref()).as_bytes());
        }
    })?;
    drop(write);
    let mut reason = String::new();
    read.read_to_string(&mut reason)?;
    Ok(reason)
}

/// Calls a function in a process whose parent has ended, so that the container's program does not find
/// a child that it never made.
fn in_an_orphan(act: impl FnOnce()) -> Result<()> {
    let children = sys::heed_children();
    let child = match sys::fork()? {
        sys::Fork::Child => {
            children.restore();
            if let Ok(sys::Fork::Child) = sys::fork() {
                act();
            }
            sys::exit_at_once(0)
        }
        sys::Fork::Parent(child) => child,
    };
    let ended = nix::sys::wait::waitpid(child, None);
    children.restore();
    ended?;
    Ok(())
}
