//! The image of a request.

use anyhow::{Result, bail};
use image::Image;

use crate::caller::Caller;
use crate::embedded;
use crate::fetch::{self, obtain};
use crate::flags::Network;
use crate::messages::Messages;
use crate::request::Source;

/// Opens the image of a source; `network` is how one that is no file is reached.
///
/// # Errors
///
/// Fails when there is none, or none that can be read.
pub fn open_image(
    source: &Source,
    network: Option<&Network>,
    caller: &Caller,
    messages: &Messages,
) -> Result<Image> {
    Ok(match (source, network) {
        (Source::Foreign(source), Some(network)) => obtain(source, network, caller, messages)?,
        (Source::Foreign(source), None) => bail!("{source}: there is no way to it"),
        (Source::Path(path), _) => fetch::open(path, caller, messages)?,
        (Source::Instance(name), _) => {
            bail!("instance://{name} is no image: `front instance list` shows its image")
        }
        (Source::Embedded, _) => embedded::image(),
    })
}
