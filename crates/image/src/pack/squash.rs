//! Packing a tar, as it comes, or a directory into a squashfs, by `mksquashfs`.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::BuildError;

/// How a squashfs is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// zstd: packed as small as gzip in a fraction of its time, and read faster.
    #[default]
    Zstd,
    /// gzip, which every kernel and every runtime reads.
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

/// How hard zstd tries: harder takes six times as long for a fifteenth of the size (docs/performance.md).
pub(super) const LEVEL: u32 = 6;
/// How much memory it may take.
const MEMORY: &str = "192M";
/// Bytes that are handed over at once.
const PIPE: usize = 1 << 20;
/// The most that is kept of what it says.
const WORDS: u64 = 4096;

/// The first version that reads a tar.
const VERSION: (u32, u32) = (4, 5);

/// Whether this machine has a `mksquashfs` that reads a tar.
pub(super) fn is_installed() -> bool {
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
pub(super) enum Input<'a> {
    /// A tar, as it comes.
    Tar(&'a mut dyn FnMut(&mut dyn Write) -> Result<(), BuildError>),
    /// The files below a directory, which belong to root in it.
    Directory {
        /// The directory.
        path: &'a Path,
        /// Modes that the files themselves cannot have, one a line (mksquashfs, "pseudo file").
        modes: &'a str,
        /// Whether equal files are looked for: of a great many of one size, each is compared to all.
        shares_equal: bool,
    },
}

/// Makes a squashfs, `offset` bytes into a file. A tar is packed while it is written.
pub(super) fn pack(
    input: Input<'_>,
    output: &Path,
    offset: u64,
    compression: Compression,
    time: i64,
) -> Result<(), BuildError> {
    let mut command = Command::new("mksquashfs");
    let mut pseudo = None;
    match &input {
        Input::Tar(_) => {
            command.arg("-").arg(output).arg("-tar");
        }
        Input::Directory {
            path,
            modes,
            shares_equal,
        } => {
            command.arg(path).arg(output);
            // Labels of the host's are no attributes of the image's.
            command.args(["-all-root", "-no-xattrs"]);
            if !shares_equal {
                command.arg("-no-duplicates");
            }
            if !modes.is_empty() {
                let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
                file.write_all(modes.as_bytes())?;
                command.arg("-pf").arg(file.path());
                pseudo = Some(file);
            }
        }
    }
    command
        .args(["-noappend", "-no-progress", "-quiet", "-root-mode", "755"])
        .args(["-comp", compression.name(), "-mem", MEMORY])
        .args(["-offset", &offset.to_string()])
        // The time of the whole, and the latest of any file: the root's would be that of the packing.
        .env("SOURCE_DATE_EPOCH", time.max(0).to_string())
        .stdin(match &input {
            Input::Tar(_) => Stdio::piped(),
            Input::Directory { .. } => Stdio::null(),
        })
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if compression == Compression::Zstd {
        command.args(["-Xcompression-level", &LEVEL.to_string()]);
    }
    let mut child = command.spawn().map_err(|error| {
        BuildError::Squash(if error.kind() == io::ErrorKind::NotFound {
            "mksquashfs is not installed; it comes with squashfs-tools 4.5 or later".to_owned()
        } else {
            format!("mksquashfs: {}", sys::words(&error))
        })
    })?;
    let words = child.stderr.take().map(|stderr| {
        thread::spawn(move || {
            let mut words = Vec::new();
            let mut stderr = stderr;
            let _ = stderr.by_ref().take(WORDS).read_to_end(&mut words);
            // It must not break off because nobody listens.
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&words).into_owned()
        })
    });
    let written = match (child.stdin.take(), input) {
        (Some(stdin), Input::Tar(write)) => {
            let mut stdin = BufWriter::with_capacity(PIPE, stdin);
            let written = write(&mut stdin);
            Some(written.and_then(|()| stdin.flush().map_err(BuildError::written)))
        }
        _ => None,
    };
    let status = child.wait();
    drop(pseudo);
    let words = words
        .and_then(|words| words.join().ok())
        .unwrap_or_default();
    let ended_well = status.is_ok_and(|status| status.success());
    match written {
        // That it went away is no news: why it did is.
        Some(Err(BuildError::Image(oci::Error::Write(error))))
            if error.kind() == io::ErrorKind::BrokenPipe && !ended_well => {}
        Some(Err(error)) => return Err(error),
        _ => {}
    }
    if ended_well {
        return Ok(());
    }
    // The last line is that it failed; why is said before.
    let mut lines = words.lines().filter(|line| !line.trim().is_empty());
    let why = lines.clone().find(|line| line.contains(" because "));
    let line = why.or_else(|| lines.next_back());
    Err(BuildError::Squash(format!(
        "mksquashfs failed: {}",
        line.unwrap_or("it does not say why")
    )))
}
