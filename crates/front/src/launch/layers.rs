//! The layers above a container's image, and the images whose files are bound.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bundle::{ShownPart, Writable};
use image::{Image, Medium, RootFs};
use rootfs::{Directory, Entry, Files as _};
use session::{Changes, Layout};

use crate::caller::Caller;
use crate::fetch;
use crate::flags::Writing;
use crate::messages::Messages;
use crate::request::Request;

/// The layers above a container's image, and the images whose files are bound.
pub(super) struct Layers {
    /// The layers that are only read, the topmost first.
    pub(super) lower: Vec<RootFs>,
    changes: Kept,
    /// The images whose files are bound.
    pub(super) data: Vec<RootFs>,
    /// Whether the bound part of each of these images is a directory.
    are_directories: Vec<bool>,
}

/// The place of a container's changes.
enum Kept {
    Nowhere,
    Image,
    Memory(Option<u64>),
    Directory(Directory),
}

impl Layers {
    /// Opens the layers and images of a request.
    ///
    /// # Errors
    ///
    /// Fails when one cannot be read, and when changes would go to two places or to a file.
    pub(super) fn open(
        request: &Request,
        image: &Image,
        caller: &Caller,
        messages: &Messages,
    ) -> Result<Self> {
        let writing = &request.container.writing;
        let (mut lower, mut changes) = (Vec::new(), own_changes(writing, image, messages)?);
        for overlay in &writing.overlays {
            let path = &overlay.path;
            let is_ext3 = || matches!(Image::open(path), Err(image::Error::Legacy { .. }));
            if !overlay.read_only && is_ext3() {
                let path = path.display();
                bail!(
                    "--overlay {path}: an ext3 image can only be read here; add :ro, and a directory for \
                     changes: --overlay {path}:ro --overlay DIRECTORY"
                );
            }
            let root = fetch::open(path, caller, messages)
                .context("--overlay")?
                .root;
            match (root, &changes) {
                (RootFs::Directory(directory), _) if overlay.read_only => {
                    lower.push(RootFs::Directory(directory));
                }
                (RootFs::Directory(directory), Kept::Nowhere) => {
                    changes = Kept::Directory(directory);
                }
                (RootFs::Directory(_), Kept::Memory(_)) => bail!(
                    "--writable-tmpfs and --overlay {}: changes go to one place only; add :ro",
                    path.display()
                ),
                (RootFs::Directory(_), Kept::Directory(other)) => bail!(
                    "--overlay {}: changes go to one place only, {}; add :ro",
                    path.display(),
                    other.path().display()
                ),
                (root, _) => {
                    if !overlay.read_only {
                        messages.warning(format_args!(
                            "--overlay {}: an image can only be read; changes go to a directory",
                            path.display()
                        ));
                    }
                    lower.push(root);
                }
            }
        }
        // As in Apptainer, the last one that is given is the topmost.
        lower.reverse();
        let (data, are_directories) = data(request, caller, messages)?;
        Ok(Self {
            lower,
            changes,
            data,
            are_directories,
        })
    }

    /// Returns the place of changes for the session.
    pub(super) fn changes(&self) -> Option<Changes<'_>> {
        match &self.changes {
            Kept::Nowhere | Kept::Image => None,
            Kept::Memory(size) => Some(Changes::Memory(*size)),
            Kept::Directory(directory) => Some(Changes::Directory(directory)),
        }
    }

    /// Returns the place of changes for the bundle.
    pub(super) fn writable(&self) -> Writable {
        match &self.changes {
            Kept::Nowhere => Writable::No,
            Kept::Image => Writable::Image,
            Kept::Memory(_) | Kept::Directory(_) => Writable::Layer,
        }
    }

    /// Whether the root may have other files than the image.
    pub(super) fn differ_from_the_image(&self) -> bool {
        !self.lower.is_empty() || matches!(self.changes, Kept::Directory(_))
    }

    /// Returns the parts of images that are bound, at the places where the session mounts them.
    pub(super) fn parts(&self, request: &Request, layout: &Layout) -> Vec<ShownPart> {
        let binds = request.container.mounts.binds.iter();
        let images = binds.filter_map(|bind| bind.image.as_ref());
        let parts = images.zip(&self.are_directories).enumerate();
        let parts = parts.map(|(number, (image, is_directory))| {
            let inside = image.path.strip_prefix("/").unwrap_or(&image.path);
            ShownPart {
                path: match inside.as_os_str().is_empty() {
                    true => layout.data(number),
                    false => layout.data(number).join(inside),
                },
                is_directory: *is_directory,
            }
        });
        parts.collect()
    }
}

fn own_changes(writing: &Writing, image: &Image, messages: &Messages) -> Result<Kept> {
    match (&writing.memory, writing.image) {
        (memory, true) => {
            if memory.is_some() {
                messages.warning("--writable-tmpfs has no effect with --writable");
            }
            if image.medium != Medium::Sandbox {
                bail!(
                    "--writable: {} is a file that can only be read; use --overlay DIRECTORY or --writable-tmpfs, \
                     or make a directory of it: front build --sandbox DIRECTORY {}",
                    image.path.display(),
                    image.path.display()
                );
            }
            if let Err(errno) = rustix::fs::access(&image.path, rustix::fs::Access::WRITE_OK) {
                let reason = text::message(&errno.into());
                messages.warning(format_args!(
                    "--writable: {}: {reason}",
                    image.path.display()
                ));
            }
            Ok(Kept::Image)
        }
        (Some(memory), false) => Ok(Kept::Memory(memory.size)),
        (None, false) => Ok(Kept::Nowhere),
    }
}

/// Opens the images whose files are bound. Also returns whether each bound part is a directory.
fn data(
    request: &Request,
    caller: &Caller,
    messages: &Messages,
) -> Result<(Vec<RootFs>, Vec<bool>)> {
    let mut found = (Vec::new(), Vec::new());
    for bind in &request.container.mounts.binds {
        let Some(part) = &bind.image else { continue };
        let path = &bind.source;
        let named = || format!("bind of the image {}", path.display());
        let root = match Image::open_data(path, part.id) {
            Err(image::Error::Legacy { .. }) => fetch::open(path, caller, messages)?.root,
            root => root.with_context(named)?,
        };
        let entry = root.entry(&part.path).with_context(named)?;
        let Some(entry) = entry else {
            bail!("{}: it has no {}", named(), part.path.display());
        };
        found.0.push(root);
        found.1.push(entry == Entry::Directory);
    }
    Ok(found)
}

/// Whether a bind may bring in files of the image's own directory, such as environment scripts.
pub(super) fn changes_metadata(request: &Request) -> bool {
    let own = Path::new("/.singularity.d");
    let mut binds = request.container.mounts.binds.iter();
    binds.any(|bind| {
        let destination = bind.destination.as_ref().unwrap_or(&bind.source);
        destination.starts_with(own)
    })
}
