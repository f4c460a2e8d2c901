//! `front build IMAGE SOURCE`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use image::{Build, Source};

use crate::caller::Caller;
use crate::cli;
use crate::messages::Messages;

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
    let scratch = scratch(caller);
    let mut platform = image::host_platform();
    if let Some(architecture) = &args.arch {
        if *architecture != platform.architecture {
            platform.variants.clear();
        }
        platform.architecture.clone_from(architecture);
    }
    let (image, blobs) = source.open(&platform, &scratch)?;
    let build = Build {
        from: source.bootstrap(),
        time: time(caller)?,
        fix_permissions: args.fix_perms || caller.variables.switch("FIXPERMS")?,
        compression: args.compression.into(),
        scratch,
    };
    messages.info("Creating SIF file...");
    if let Some(note) = build.sif(&image, blobs.as_ref(), &args.image)? {
        messages.warning(note);
    }
    messages.info(format!("Build complete: {}", args.image.display()));
    Ok(ExitCode::SUCCESS)
}

/// Where there is room for what is needed only while an image is made.
fn scratch(caller: &Caller) -> PathBuf {
    let variables = &caller.variables;
    let chosen = variables.flag("TMPDIR").map(|(_, directory)| directory);
    chosen
        .or_else(|| variables.get("TMPDIR"))
        .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// Now, in seconds since 1970, or what is to be taken for it so that builds can be repeated.
fn time(caller: &Caller) -> Result<i64> {
    if let Some(text) = caller.variables.get("SOURCE_DATE_EPOCH") {
        let text = text.to_string_lossy();
        return text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={text}: expected seconds since 1970"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}
