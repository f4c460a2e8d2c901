//! Archives that `ADD` of a Dockerfile unpacks, with the host's tar(1).

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rootfs::{Directory, Files};
use rustix::io::FdFlags;

/// The starts of compressed files: gzip, bzip2, xz, zstd.
const STARTS: [&[u8]; 4] = [
    &[0x1f, 0x8b],
    b"BZh",
    &[0xfd, b'7', b'z', b'X', b'Z', 0],
    &[0x28, 0xb5, 0x2f, 0xfd],
];

/// Whether a file of the context is an archive, by its content.
///
/// # Errors
///
/// Fails when it cannot be read.
pub fn is_archive(context: &Directory, word: &str) -> Result<bool> {
    let start = context
        .read(&Path::new("/").join(word), 512)?
        .unwrap_or_default();
    let is_tar = start.get(257..262) == Some(b"ustar");
    Ok(is_tar || STARTS.iter().any(|known| start.starts_with(known)))
}

/// Unpacks an archive into a directory of the image, which is made if it is missing.
///
/// # Errors
///
/// Fails without tar, and as it does.
pub fn unpack(context: &Directory, word: &str, target: &Path, root: &Directory) -> Result<()> {
    let into = root.make_directories(target)?;
    let place = context.locate(&Path::new("/").join(word))?.path;
    let file = context
        .path()
        .join(place.strip_prefix("/").unwrap_or(&place));
    // The directory is named by its descriptor: a link in the image cannot lead elsewhere.
    rustix::io::fcntl_setfd(&into, FdFlags::empty())?;
    let directory = format!("/proc/self/fd/{}", into.as_raw_fd());
    let mut tar = Command::new("tar");
    tar.args([
        "--extract",
        "--no-same-owner",
        "--preserve-permissions",
        "--file",
    ]);
    let output = tar
        .arg(&file)
        .args(["--directory", &directory])
        .stdin(Stdio::null())
        .output();
    let output = output.context("tar, which unpacks archives")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!(
            "tar: {}",
            words
                .lines()
                .next()
                .unwrap_or("failed")
                .trim_start_matches("tar: ")
        );
    }
    Ok(())
}
