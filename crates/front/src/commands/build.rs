//! `front build IMAGE SOURCE`

use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use image::{Access, Build, Image, Medium, RootFs, whole_directory, whole_file};

use crate::caller::Caller;
use crate::fetch;
use crate::messages::Messages;
use crate::{cli, request};

pub fn run(args: &cli::Build, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if args.image.to_string_lossy().contains("://") {
        bail!(
            "{}: where the image is to go is said first: front build FILE SOURCE",
            args.image.display()
        );
    }
    if args.image.symlink_metadata().is_ok() && !args.force {
        bail!(
            "{} exists; give --force to overwrite it",
            args.image.display()
        );
    }
    let network = args.network.resolve(caller)?;
    let source = request::Source::parse(&args.source, caller)?;
    let from = match &source {
        request::Source::Foreign(source) => source.bootstrap(),
        _ => (
            "localimage".to_owned(),
            args.source.to_string_lossy().into_owned(),
        ),
    };
    messages.info("Starting build...");
    let mut build = network.build(from, caller)?;
    build.compression = args.compression.into();
    build.fix_permissions |= args.fix_perms;
    network.with_access(caller, messages, |access| {
        let maker = Maker {
            build: &build,
            access,
            output: &args.image,
            force: args.force,
            sandbox: args.sandbox,
        };
        let note = match &source {
            request::Source::Path(path) => maker.of_path(path)?,
            request::Source::Foreign(source) => maker.of_source(source)?,
            request::Source::Instance(name) => {
                bail!("instance://{name} is no image: build from the one it was started from")
            }
            request::Source::Embedded => None,
        };
        if let Some(note) = note {
            messages.warning(note);
        }
        fetch::keep_small(&network, access.cache, &args.image, messages);
        Ok(())
    })?;
    messages.info(format_args!("Build complete: {}", args.image.display()));
    Ok(ExitCode::SUCCESS)
}

/// What is made, where, and how.
pub struct Maker<'a> {
    pub build: &'a Build,
    pub access: &'a Access<'a>,
    pub output: &'a Path,
    /// Whether what is there gives way.
    pub force: bool,
    /// Whether it is a directory.
    pub sandbox: bool,
}

impl Maker<'_> {
    /// Makes it of what a user names. What is left out is returned.
    pub fn of_source(&self, source: &image::Source) -> Result<Option<String>> {
        use image::Source;
        if let Source::Oras(_) | Source::Library(_) | Source::Net(_) = source {
            return self.of_path(&self.access.sif(source, self.build)?);
        }
        let opened = self.access.open(source)?;
        let progress = self.access.progress;
        let note = if self.sandbox {
            progress.note("Creating sandbox directory...");
            whole_directory(self.output, self.force, |path| {
                opened.with(|image, blobs| self.build.sandbox(image, blobs, path, progress))
            })?
        } else {
            progress.note("Creating SIF file...");
            whole_file(self.output, self.force, |path| {
                opened.with(|image, blobs| self.build.sif(image, blobs, path, progress))
            })?
        };
        Ok(note)
    }

    /// Makes it of another image. What is left out is returned.
    pub fn of_path(&self, path: &Path) -> Result<Option<String>> {
        let progress = self.access.progress;
        let image = match Image::open_foreign(path) {
            Err(image::Error::Legacy { path, offset }) if !self.sandbox => {
                progress.note("Creating SIF file...");
                let note = whole_file(self.output, self.force, |output| {
                    self.build.sif_of_ext(&path, offset, output, progress)
                })?;
                return Ok(note);
            }
            Err(image::Error::Legacy { path, offset }) => {
                Image::open(&self.access.sif_of_ext(&path, offset, self.build)?)?
            }
            opened => opened?,
        };
        let unpacked;
        let directory = match (&image.root, image.medium) {
            (RootFs::Directory(directory), Medium::Sandbox) => directory.path(),
            (RootFs::Squashfs(squashed), _) => {
                progress.note("Extracting local image...");
                if self.sandbox {
                    whole_directory(self.output, self.force, |into| squashed.unpack(path, into))?;
                    return Ok(None);
                }
                unpacked = tempfile::Builder::new()
                    .prefix("front-")
                    .tempdir_in(&self.build.scratch)
                    .with_context(|| self.build.scratch.display().to_string())?;
                squashed.unpack(path, unpacked.path())?;
                unpacked.path()
            }
            _ => bail!("{}: nothing can be made of it", path.display()),
        };
        if self.sandbox {
            bail!("{}: a directory already; copy it", path.display());
        }
        progress.note("Creating SIF file...");
        let mut build = self.build.clone();
        let said = image.architecture.map(str::to_owned);
        build.architecture = build.architecture.or(said);
        let note = whole_file(self.output, self.force, |output| {
            build.sif_of_directory(directory, output, progress)
        })?;
        Ok(note)
    }
}
