//! `front build IMAGE SOURCE`

use std::process::ExitCode;

use anyhow::{Result, bail};
use image::Source;

use crate::caller::Caller;
use crate::messages::Messages;
use crate::{cli, foreign};

pub fn run(args: &cli::Build, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let Some(source) = Source::parse(&args.source) else {
        bail!(
            "{}: not a source that images can be built from yet; expected oci:DIRECTORY, \
             oci-archive:FILE or docker-archive:FILE",
            args.source
        );
    };
    if args.image.symlink_metadata().is_ok() && !args.force {
        bail!(
            "{} exists; give --force to overwrite it",
            args.image.display()
        );
    }
    messages.info("Starting build...");
    let mut build = foreign::build(&source, caller)?;
    build.compression = args.compression.into();
    build.fix_permissions |= args.fix_perms;
    let mut platform = image::host_platform();
    if let Some(architecture) = &args.arch {
        if *architecture != platform.architecture {
            platform.variants.clear();
        }
        platform.architecture.clone_from(architecture);
    }
    let (image, blobs) = source.open(&platform, &build.scratch)?;
    messages.info("Creating SIF file...");
    if let Some(note) = build.sif(&image, blobs.as_ref(), &args.image)? {
        messages.warning(note);
    }
    messages.info(format!("Build complete: {}", args.image.display()));
    Ok(ExitCode::SUCCESS)
}
