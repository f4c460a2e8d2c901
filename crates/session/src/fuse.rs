//! The image's FUSE server: a process of its own, ended by the kernel with the mount.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use image::Squashed;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::unistd::{chdir, chroot, getegid, geteuid, setsid};
use rustix::pipe::PipeFlags;
use squashfs::ServeOptions;

use crate::error::mount_error;
use crate::name::Open;
use crate::process::{self, detach_stdio, ignore_signals};
use crate::stopped::Child;
use crate::{Error, payload};

/// A server process that waits for its mount.
#[derive(Debug)]
pub(crate) struct Server {
    device: OwnedFd,
    go: File,
    process: OwnedFd,
}

/// How many threads answer requests. One is busy while another waits for the disk; more than a few
/// only wake each other.
const THREADS: usize = 2;

impl Server {
    /// Starts the server for `squashed`, outside of any mount namespace that is made later.
    ///
    /// Must be called inside the user namespace that will mount: the kernel wants the device opened
    /// there. `None` where there is no `/dev/fuse` for this user. The server has no part in `open`,
    /// which it may outlive its monitor with.
    pub(crate) fn start(
        squashed: &Squashed,
        open: &mut Option<Open>,
    ) -> Result<Option<Self>, Error> {
        let device = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(device) => OwnedFd::from(device),
            Err(error) => {
                tracing::debug!("/dev/fuse: {error}");
                return Ok(None);
            }
        };
        let fork_failed = |errno: io::Error| Error::Fork(errno);
        let (wait, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| fork_failed(errno.into()))?;
        match sys::fork().map_err(|errno| fork_failed(errno.into()))? {
            sys::Fork::Parent(pid) => Ok(Some(Self {
                device,
                go: go.into(),
                process: process::open(pid.as_raw()).map_err(fork_failed)?,
            })),
            sys::Fork::Child => {
                drop((go, open.take()));
                serve(squashed, device, &mut File::from(wait));
                sys::exit_at_once(0)
            }
        }
    }

    /// Returns its process, a child of this one.
    pub(crate) fn child(&self) -> Result<Child, Error> {
        let process = self.process.try_clone().map_err(Error::Fork)?;
        Child::new(process).map_err(Error::Fork)
    }

    /// Mounts the image at `target` and lets the server answer.
    pub(crate) fn mount(self, target: &Path) -> Result<(), Error> {
        let data = format!(
            "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions",
            self.device.as_raw_fd(),
            geteuid(),
            getegid()
        );
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("front"),
            target,
            Some("fuse.squashfs"),
            flags,
            Some(data.as_str()),
        )
        .map_err(mount_error("the image by FUSE", target))?;
        let Self { device, mut go, .. } = self;
        go.write_all(b"g").map_err(Error::Fork)?;
        // Held by the server alone: if that ends, nobody waits for its answers.
        drop(device);
        // Linux 6.1 and before: an overlay copies the owner and mode that the root has now, and until the server was
        // asked that is the host's root without any permission.
        let failed = |source| Error::Mount {
            what: "the image by FUSE".to_owned(),
            target: target.to_owned(),
            source,
        };
        fs::symlink_metadata(target).map(drop).map_err(failed)
    }
}

/// The server's life. Ends when the builder gives up before mounting, and when the mount ends.
///
/// It has the payload's user, in the payload's user namespace, and is outside of its mount namespace: so that it must
/// not be looked into. It is not dumpable, and what it has open and sees is the image alone.
fn serve(squashed: &Squashed, device: OwnedFd, wait: &mut File) {
    let _ = nix::sys::prctl::set_dumpable(false);
    // Its own session and no signals: what a launcher sends to its job is meant for the payload,
    // which needs its files to the last.
    let _ = setsid();
    ignore_signals();
    detach_stdio();
    let _ = nix::sys::prctl::set_name(c"front: image");
    // Until there is a mount to end with, it ends with its builder, even where somebody has stopped it.
    let _ = nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL));
    let Ok(reader) = squashed.file.try_clone() else {
        return;
    };
    sys::close_all_except(&[device.as_raw_fd(), wait.as_raw_fd(), reader.as_raw_fd()]);
    leave_the_host();
    let mut go = [0];
    if wait.read_exact(&mut go).is_err() || payload::shed_privileges().is_err() {
        return;
    }
    let _ = nix::sys::prctl::set_pdeathsig(None);
    let owner = Some((geteuid().as_raw(), getegid().as_raw()));
    sys::keep_freed_memory();
    let opened = squashfs::Filesystem::open(reader, squashed.offset, Some(squashed.size));
    let Ok(filesystem) = opened else { return };
    let options = ServeOptions {
        threads: THREADS,
        owner,
        on_error: Box::new(|_| ()),
    };
    let _ = squashfs::serve(filesystem, device, options);
}

/// Makes the host's files unreachable for the calling process: its root becomes a directory of the kernel's in which
/// nothing can be made, and which tells of the process itself alone.
fn leave_the_host() {
    let left = chroot("/proc/self/fdinfo").and_then(|()| chdir("/"));
    if left.is_err() {
        let _ = chdir("/");
    }
}
