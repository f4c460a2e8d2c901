//! The image's FUSE server: a separate process, which the kernel ends together with the mount.

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
use crate::{Error, payload};

/// A server process that waits for its mount.
#[derive(Debug)]
pub(crate) struct Server {
    device: OwnedFd,
    go: File,
    process: OwnedFd,
}

/// Mounts a file system over FUSE at `path`, and returns the device for its server. The calling process
/// is in the container, with all capabilities in its user namespace.
///
/// # Errors
///
/// Fails when the device cannot be opened, or the kernel refuses.
pub fn mount_fuse(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Mount {
        what: "a file system with FUSE".to_owned(),
        target: path.to_owned(),
        source,
    };
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device = OwnedFd::from(device.map_err(failed)?);
    mount_device(&device, "fuse", path, MsFlags::empty())?;
    Ok(device)
}

/// Mounts what the server of an open device will serve.
fn mount_device(device: &OwnedFd, kind: &str, target: &Path, flags: MsFlags) -> Result<(), Error> {
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions",
        device.as_raw_fd(),
        geteuid(),
        getegid()
    );
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("front"),
        target,
        Some(kind),
        flags,
        Some(data.as_str()),
    )
    .map_err(mount_error("a file system with FUSE", target))
}

/// Number of threads that answer requests. One works while another waits for the disk; more than a
/// few only wake each other.
const THREADS: usize = 2;

impl Server {
    /// Starts the server for `squashed`, outside of any mount namespace that is made later.
    ///
    /// Must be called inside the user namespace that will mount: the kernel requires that the
    /// device is opened there. Returns `None` if this user cannot open `/dev/fuse`. The server does
    /// not keep `open`, because it may outlive its monitor.
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

    /// Returns a handle of the server's process, a child of this one.
    pub(crate) fn process(&self) -> Result<OwnedFd, Error> {
        self.process.try_clone().map_err(Error::Fork)
    }

    /// Mounts the image at `target` and lets the server answer.
    pub(crate) fn mount(self, target: &Path) -> Result<(), Error> {
        mount_device(&self.device, "fuse.squashfs", target, MsFlags::MS_RDONLY)?;
        let Self { device, mut go, .. } = self;
        go.write_all(b"g").map_err(Error::Fork)?;
        // Only the server holds the device: if it ends, nobody waits for its answers.
        drop(device);
        // Linux 6.1 and before: an overlay copies the current owner and mode of the root. Until the
        // server has been asked, these are the host's root and no permission.
        let failed = |source| Error::Mount {
            what: "the image with FUSE".to_owned(),
            target: target.to_owned(),
            source,
        };
        fs::symlink_metadata(target).map(drop).map_err(failed)
    }
}

/// Runs the server. It ends when the builder gives up before mounting, and when the mount ends.
///
/// The server has the payload's user and user namespace, but is outside of its mount namespace. So
/// the payload must not look into it: it is not dumpable, and the image is all that it has open and
/// sees.
fn serve(squashed: &Squashed, device: OwnedFd, wait: &mut File) {
    let _ = nix::sys::prctl::set_dumpable(false);
    // A session of its own, and no signals: signals that a launcher sends to its job are meant for
    // the payload, which needs its files until its end.
    let _ = setsid();
    ignore_signals();
    detach_stdio();
    let _ = nix::sys::prctl::set_name(c"front: image");
    // Until there is a mount to end with, the server ends with its builder, even if somebody has
    // stopped it.
    let _ = nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL));
    let Ok(reader) = squashed.file.try_clone() else {
        return;
    };
    sys::close_all_except(&[device.as_raw_fd(), wait.as_raw_fd(), reader.as_raw_fd()]);
    leave_the_host();
    let mut go = [0];
    if wait.read_exact(&mut go).is_err() || payload::drop_privileges().is_err() {
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

/// Makes the host's files unreachable for the calling process. Its root becomes a directory of the
/// kernel in which nothing can be made, and which shows only the process itself.
fn leave_the_host() {
    let left = chroot("/proc/self/fdinfo").and_then(|()| chdir("/"));
    if left.is_err() {
        let _ = chdir("/");
    }
}
