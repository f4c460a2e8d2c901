//! `front pull [FILE] SOURCE`

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use sys::ExitCode;

use anyhow::{Result, bail};
use pack::whole_file;
use pull::Source;

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
            "{word} is a path; only sources such as docker://, oras:// and library:// can be pulled"
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
        bail!("{} exists; use --force to overwrite it", output.display());
    }
    let options = args.registry.resolve(caller)?;
    let build = options.build(source.bootstrap(), caller)?;
    options.with_access(caller, messages, |access| {
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
        // The output is opened first, so that nothing is fetched that cannot be written.
        let kept = whole_file(&output, args.force, |path| {
            let kept = access.sif(&source, &build)?;
            copy(&kept, path).map_err(|source| pack::Error::File {
                path: output.clone(),
                source,
            })?;
            Ok::<_, pull::Error>(kept)
        })?;
        fetch::keep_small(&options, access.cache, &kept, messages);
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Copies the file in the cache. The copy shares its blocks if the file system supports this.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).truncate(true).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        io::copy(&mut source, &mut target)?;
    }
    fs::set_permissions(to, source.metadata()?.permissions())
}
