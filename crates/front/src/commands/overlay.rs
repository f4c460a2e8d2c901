//! `front overlay create FILE`

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sys::ExitCode;

use crate::caller::Caller;
use crate::cli::{OverlayCommand, OverlayCreate};
use crate::messages::Messages;

/// The program that makes the file system.
const MKFS: &str = "mkfs.ext3";

/// The least size in MiB, as in Apptainer.
const LEAST: u64 = 64;

/// Directories with programs of the system that a user's `PATH` may lack.
const SYSTEM: &str = ":/usr/sbin:/sbin";

pub fn run(command: &OverlayCommand, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let OverlayCommand::Create(args) = command;
    create(args, caller)?;
    messages.info(format_args!(
        "{}: read it with --overlay {}:ro; changes go to a directory, --overlay DIRECTORY",
        args.file.display(),
        args.file.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn create(args: &OverlayCreate, caller: &Caller) -> Result<()> {
    if args.size < LEAST {
        bail!("--size {}: the least size is {LEAST} MiB", args.size);
    }
    let mut path = caller.variables.get("PATH").unwrap_or_default().to_owned();
    path.push(SYSTEM);
    let mkfs = rootfs::candidates(&path, MKFS.as_ref()).find(|path| path.is_file());
    let mkfs = mkfs.with_context(|| {
        format!("{MKFS} is not installed; a directory is a layer, too: --overlay DIRECTORY")
    })?;
    let file = &args.file;
    let named = || format!("{}", file.display());
    let bytes = args.size.checked_mul(1 << 20);
    let bytes = bytes.with_context(|| format!("--size {}: too large", args.size))?;
    let made = File::create_new(file).with_context(named)?;
    let filled = fill(&made, bytes, args.sparse)
        .with_context(named)
        .and_then(|()| format(&mkfs, file, &args.create_dir));
    if filled.is_err() {
        // A half-made image is of no use.
        let _ = fs::remove_file(file);
    }
    filled
}

fn fill(file: &File, bytes: u64, sparse: bool) -> std::io::Result<()> {
    match sparse {
        true => file.set_len(bytes),
        false => {
            let flags = rustix::fs::FallocateFlags::empty();
            Ok(rustix::fs::fallocate(file, flags, 0, bytes)?)
        }
    }
}

/// Makes the file system, with the directories that a layer has.
fn format(mkfs: &Path, file: &Path, directories: &[std::path::PathBuf]) -> Result<()> {
    let content = tempfile::tempdir().context("make a temporary directory")?;
    for name in ["upper", "work"] {
        fs::create_dir(content.path().join(name)).context("make a temporary directory")?;
    }
    for directory in directories {
        let inside = bundle::clean(&Path::new("/").join(directory)).context("--create-dir")?;
        let inside = inside.strip_prefix("/").unwrap_or(&inside);
        fs::create_dir_all(content.path().join("upper").join(inside))
            .with_context(|| format!("--create-dir {}", directory.display()))?;
    }
    let output = Command::new(mkfs)
        .args(["-q", "-F", "-d"])
        .arg(content.path())
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .with_context(|| mkfs.display().to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        bail!("{MKFS} failed: {}", text::printable(last));
    }
    Ok(())
}
