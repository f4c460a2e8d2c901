//! Images that have to be made before they can be opened.

use std::path::PathBuf;

use anyhow::Result;
use image::{Build, Cache, Source};

use crate::caller::Caller;
use crate::clock::build_time;
use crate::messages::Messages;

/// Returns a SIF of what a source has: the one in the cache, or one that is made for it.
///
/// # Errors
///
/// Fails when the source cannot be read, or the SIF not made.
pub fn obtain(source: &Source, caller: &Caller, messages: &Messages) -> Result<PathBuf> {
    let build = build(source, caller)?;
    let (image, blobs) = source.open(&image::host_platform(), &build.scratch)?;
    let cache = Cache::new(caller.cache(&caller.account()).join("images"));
    let path = cache.get(&build.name(&image), |path| {
        messages.info("Converting OCI blobs to SIF format");
        if let Some(note) = build.sif(&image, blobs.as_ref(), path)? {
            messages.warning(note);
        }
        Ok::<_, image::BuildError>(())
    })?;
    Ok(path)
}

/// How an image is made of a source, as long as no flag says more.
///
/// # Errors
///
/// Fails when a variable has no meaning.
pub fn build(source: &Source, caller: &Caller) -> Result<Build> {
    Ok(Build {
        from: source.bootstrap(),
        time: build_time(caller)?,
        fix_permissions: caller.variables.switch("FIXPERMS")?,
        compression: image::Compression::default(),
        scratch: scratch(caller),
    })
}

/// Where there is room for what is needed only while an image is made.
fn scratch(caller: &Caller) -> PathBuf {
    let variables = &caller.variables;
    let chosen = variables.flag("TMPDIR").map(|(_, directory)| directory);
    chosen
        .or_else(|| variables.get("TMPDIR"))
        .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}
