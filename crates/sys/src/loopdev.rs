//! Loop devices: a file, or a part of one, as a block device.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, LoopConfig);

/// Number of times that another process may take the free device that the kernel named.
const ATTEMPTS: usize = 32;

/// Attaches `size` bytes of `file` from `offset` on to a read-only block device ([loop(4)], Linux
/// 5.8).
///
/// The device frees itself when the returned handle is dropped and nothing has it mounted.
///
/// # Errors
///
/// Fails without `/dev/loop-control`, without privilege, and when no device is free.
///
/// [loop(4)]: https://man7.org/linux/man-pages/man4/loop.4.html
pub fn attach_loop(file: &File, offset: u64, size: u64) -> io::Result<(File, PathBuf)> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut last = io::Error::from_raw_os_error(libc::EBUSY);
    for _ in 0..ATTEMPTS {
        // SAFETY: the request takes no argument and returns a number.
        let number = unsafe { loop_ctl_get_free(control.as_raw_fd()) }?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = match File::options().read(true).open(&path) {
            Ok(device) => device,
            // Without udev, nobody makes the node for the number.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(error) => {
                last = error;
                continue;
            }
        };
        let config = LoopConfig {
            fd: file.as_fd().as_raw_fd().cast_unsigned(),
            block_size: 0,
            info: LoopInfo64 {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset,
                sizelimit: size,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        };
        // SAFETY: the kernel reads one `LoopConfig`, laid out as its header says, during the call.
        match unsafe { loop_configure(device.as_raw_fd(), &raw const config) } {
            Ok(_) => return Ok((device, path)),
            Err(nix::errno::Errno::EBUSY) => last = io::Error::from_raw_os_error(libc::EBUSY),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(last)
}
