//! `front pull [FILE] SOURCE`

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use sys::ExitCode;

use anyhow::{Result, bail};
use image::{BuildError, Source, whole_file};

use super::build::Maker;
use crate::caller::Caller;
use crate::cli;
use crate::fetch;
use crate::messages::Messages;

pub fn run(args: &cli::Pull, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let (word, given) = match args.words.as_slice() {
        [output, source] => (source, Some(PathBuf::from(output))),
        [source] => (source, args.name.clone()),
        _ => bail!("expected [FILE] SOURCE"),
    };
    let word = word.to_string_lossy();
    let Some(source) = Source::parse(&word)? else {
        bail!(
            "{word}: a path; only docker://, oras://, library:// and other sources can be pulled"
        );
    };
    let name = given.unwrap_or_else(|| {
        let name = source.file_name();
        PathBuf::from(match args.sandbox {
            true => name.trim_end_matches(".sif").to_owned(),
            false => name,
        })
    });
    let output = match &args.dir {
        Some(directory) => directory.join(name),
        None => name,
    };
    if output.symlink_metadata().is_ok() && !args.force {
        bail!("{} exists; give --force to overwrite it", output.display());
    }
    let network = args.network.resolve(caller)?;
    let build = network.build(source.bootstrap(), caller)?;
    network.with_access(caller, messages, |access| {
        if args.sandbox {
            let maker = Maker {
                build: &build,
                access,
                output: &output,
                force: args.force,
                sandbox: true,
            };
            if let Some(note) = maker.of_source(&source)? {
                messages.warning(note);
            }
            return Ok(());
        }
        // Nothing is fetched that cannot be written.
        let kept = whole_file(&output, args.force, |path| {
            let kept = access.sif(&source, &build)?;
            copy(&kept, path).map_err(|source| BuildError::File {
                path: output.clone(),
                source,
            })?;
            Ok(kept)
        })?;
        fetch::keep_small(&network, access.cache, &kept, messages);
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A copy of the file in the cache, which shares its blocks where the file system can do that.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).truncate(true).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        io::copy(&mut source, &mut target)?;
    }
    fs::set_permissions(to, source.metadata()?.permissions())
}
