//! Packing a directory, or a tar while it is written, into a squashfs with `mksquashfs`.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::thread;

use tempfile::NamedTempFile;

use crate::Error;

/// The compression of a squashfs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// zstd: as small as gzip in a fraction of the time, and faster to read.
    #[default]
    Zstd,
    /// gzip, which every kernel and every runtime can read.
    Gzip,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// The level of zstd. Higher levels take six times as long and save a fifteenth of the size
/// (docs/design/performance.md).
pub(crate) const LEVEL: u32 = 6;
/// The memory limit of `mksquashfs`.
const MEMORY: &str = "192M";
/// Size of the buffers, in bytes.
const PIPE: usize = 1 << 20;
/// Largest part of the error output that is kept, in bytes.
const WORDS: u64 = 4096;

/// The first version of `mksquashfs` that reads a tar.
const VERSION: (u32, u32) = (4, 5);

/// Whether this machine has a `mksquashfs` that reads a tar.
pub(crate) fn is_installed() -> bool {
    let Ok(output) = Command::new("mksquashfs").arg("-version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(version) = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)
    else {
        return false;
    };
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    next().zip(next()).is_some_and(|found| found >= VERSION)
}

/// The source of a squashfs.
pub(crate) enum Input<'a> {
    /// A tar, packed while it is written.
    Tar(&'a mut dyn FnMut(&mut dyn Write) -> Result<(), Error>),
    /// The files below a directory. In the squashfs they belong to root.
    Directory {
        /// The directory.
        path: &'a Path,
        /// Modes that the files themselves cannot have, one per line (mksquashfs, "pseudo file").
        modes: &'a str,
        /// Whether equal files are searched for. Among many files of one size, each is compared to
        /// all others.
        shares_equal: bool,
    },
}

/// How a squashfs is packed.
pub(crate) struct Packing<'a> {
    pub(crate) compression: Compression,
    /// The time of the squashfs, in seconds since 1970.
    pub(crate) time: i64,
    /// More arguments.
    pub(crate) more: &'a [String],
}

/// Returns the command, and the file with the modes, which must exist until the command ends.
fn command(
    input: &Input<'_>,
    output: &Path,
    offset: u64,
    packing: &Packing<'_>,
) -> Result<(Command, Option<NamedTempFile>), Error> {
    let (compression, time) = (packing.compression, packing.time);
    let mut command = Command::new("mksquashfs");
    let mut pseudo = None;
    match input {
        Input::Tar(_) => {
            command.arg("-").arg(output).arg("-tar");
        }
        Input::Directory {
            path,
            modes,
            shares_equal,
        } => {
            command.arg(path).arg(output);
            // Security labels of the host are not attributes of the image.
            command.args(["-all-root", "-no-xattrs"]);
            if !shares_equal {
                command.arg("-no-duplicates");
            }
            if !modes.is_empty() {
                let beside = path.parent().unwrap_or(path);
                let mut file = NamedTempFile::new_in(beside).map_err(Error::file(beside))?;
                file.write_all(modes.as_bytes())
                    .map_err(Error::file(file.path()))?;
                command.arg("-pf").arg(file.path());
                pseudo = Some(file);
            }
        }
    }
    command
        .args(["-noappend", "-no-progress", "-quiet", "-root-mode", "755"])
        .args(["-mem", MEMORY, "-offset", &offset.to_string()])
        // The time of the squashfs, and the latest time of any file. Without it, the root would get
        // the time of the packing.
        .env("SOURCE_DATE_EPOCH", time.max(0).to_string())
        .stdin(match input {
            Input::Tar(_) => Stdio::piped(),
            Input::Directory { .. } => Stdio::null(),
        })
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // mksquashfs refuses a second method.
    if !packing.more.iter().any(|word| word == "-comp") {
        command.args(["-comp", compression.name()]);
        if compression == Compression::Zstd {
            command.args(["-Xcompression-level", &LEVEL.to_string()]);
        }
    }
    command.args(packing.more);
    Ok((command, pseudo))
}

/// Reads the messages of `mksquashfs` to their end, and returns the first [`WORDS`] bytes.
fn collect(mut stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    let _ = stderr.by_ref().take(WORDS).read_to_end(&mut words);
    // `mksquashfs` must not fail because its output is no longer read.
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&words).into_owned()
}

/// Returns the line with the cause. The last line states only the failure.
fn reason(words: &str) -> &str {
    let mut lines = words.lines().filter(|line| !line.trim().is_empty());
    let why = lines.clone().find(|line| line.contains(" because "));
    why.or_else(|| lines.next_back())
        .unwrap_or("it does not say why")
}

/// Makes a squashfs at byte `offset` of a file. A tar is packed while it is written.
pub(crate) fn pack(
    input: Input<'_>,
    output: &Path,
    offset: u64,
    packing: &Packing<'_>,
) -> Result<(), Error> {
    let (mut command, modes) = command(&input, output, offset, packing)?;
    let mut child = command.spawn().map_err(|error| {
        Error::Squash(if error.kind() == io::ErrorKind::NotFound {
            "mksquashfs is not installed; it comes with squashfs-tools 4.5 or later".to_owned()
        } else {
            format!("mksquashfs: {}", text::message(&error))
        })
    })?;
    let words = child
        .stderr
        .take()
        .map(|stderr| thread::spawn(move || collect(stderr)));
    let written = match (child.stdin.take(), input) {
        (Some(stdin), Input::Tar(write)) => {
            let mut stdin = BufWriter::with_capacity(PIPE, stdin);
            let written = write(&mut stdin);
            Some(written.and_then(|()| stdin.flush().map_err(Error::written)))
        }
        _ => None,
    };
    let status = child.wait();
    drop(modes);
    let words = words
        .and_then(|words| words.join().ok())
        .unwrap_or_default();
    let ended_well = status.is_ok_and(|status| status.success());
    match written {
        // The cause matters, not the broken pipe.
        Some(Err(Error::Oci(oci::Error::Write(error))))
            if error.kind() == io::ErrorKind::BrokenPipe && !ended_well => {}
        Some(Err(error)) => return Err(error),
        _ => {}
    }
    if ended_well {
        return Ok(());
    }
    Err(Error::Squash(format!(
        "mksquashfs failed: {}",
        reason(&words)
    )))
}
