//! The image of a request.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};
use image::{Image, Medium};

use crate::account;
use crate::caller::Caller;
use crate::embedded;
use crate::fetch::{self, obtain};
use crate::flags::RegistryOptions;
use crate::messages::Messages;
use crate::request::Source;
use crate::site::Images;

/// Opens the image of a source. `options` is the access to an image that is not a file.
///
/// # Errors
///
/// Fails when the image does not exist, or cannot be read.
pub fn open_image(
    source: &Source,
    options: Option<&RegistryOptions>,
    caller: &Caller,
    messages: &Messages,
) -> Result<Image> {
    Ok(match (source, options) {
        (Source::Foreign(source), Some(options)) => obtain(source, options, caller, messages)?,
        (Source::Foreign(source), None) => bail!("{source}: no access settings for this source"),
        (Source::Path(path), _) => {
            let image = fetch::open(path, caller, messages)?;
            allow(path, &image, &caller.site()?.images)?;
            image
        }
        (Source::Instance(name), _) => {
            bail!("instance://{name} is not an image; `front instance list` shows its image")
        }
        (Source::Embedded, _) => embedded::image(),
    })
}

/// Refuses an image that the site does not allow.
fn allow(path: &Path, image: &Image, images: &Images) -> Result<()> {
    let kind = match image.medium {
        Medium::Sif => "sif",
        Medium::Squashfs => "squashfs",
        Medium::Sandbox => "dir",
        Medium::Embedded => return Ok(()),
    };
    let refused = |what: String| bail!("{}: this site allows only {what}", path.display());
    if images.refused.iter().any(|refused| refused == kind) {
        return refused(format!("images of another kind than {kind}"));
    }
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if !images.paths.is_empty() && !images.paths.iter().any(|above| real.starts_with(above)) {
        let paths = images.paths.iter().map(|path| path.display().to_string());
        return refused(format!(
            "images in {}",
            paths.collect::<Vec<_>>().join(", ")
        ));
    }
    if !images.owners.is_empty() {
        let owner = std::fs::metadata(&real).map(|found| found.uid());
        let owner = owner.ok().and_then(account::user_name);
        if !owner.is_some_and(|owner| images.owners.contains(&owner)) {
            return refused(format!("images of {}", images.owners.join(", ")));
        }
    }
    Ok(())
}
