//! Mounts an image in the current user and mount namespaces, and serves it until it is unmounted:
//!
//! ```text
//! unshare -Urm sh -c \
//!     'mount-example IMAGE OFFSET /mnt THREADS & sleep 1; ls /mnt; umount /mnt; wait'
//! ```
//!
//! This is for measurements; the engine does the same with its own supervision.

use std::error::Error;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::mount::{MountFlags, mount};
use squashfs::{Filesystem, ServeOptions, serve};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, offset, target, threads] = arguments.as_slice() else {
        return Err("usage: mount IMAGE OFFSET TARGET THREADS".into());
    };
    let fs = Filesystem::open(File::open(image)?, offset.parse()?, None)?;
    let fuse = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let options = CString::new(format!(
        "fd={},rootmode=40000,user_id={user},group_id={group},allow_other,default_permissions",
        fuse.as_raw_fd()
    ))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount(
        c"squashfs",
        target.as_str(),
        c"fuse.squashfs",
        flags,
        options.as_c_str(),
    )?;
    let options = ServeOptions {
        threads: threads.parse()?,
        owner: Some((user, group)),
        on_error: Box::new(|error| eprintln!("{error}")),
    };
    serve(fs, OwnedFd::from(fuse), options)?;
    Ok(())
}
