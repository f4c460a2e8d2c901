//! The image of a request.

use anyhow::{Result, bail};
use image::Image;

use crate::caller::Caller;
use crate::embedded;
use crate::fetch::{self, obtain};
use crate::flags::RegistryOptions;
use crate::messages::Messages;
use crate::request::Source;

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
        (Source::Path(path), _) => fetch::open(path, caller, messages)?,
        (Source::Instance(name), _) => {
            bail!("instance://{name} is not an image; `front instance list` shows its image")
        }
        (Source::Embedded, _) => embedded::image(),
    })
}
