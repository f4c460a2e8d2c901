//! `front build IMAGE SOURCE`

use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use image::{Image, Medium, RootFs};
use pack::{Build, whole_directory, whole_file};
use pull::{Access, Source};

use crate::build;
use crate::caller::Caller;
use crate::fetch;
use crate::messages::Messages;
use crate::{cli, request};

pub fn run(args: &cli::Build, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if args.image.to_string_lossy().contains("://") {
        bail!(
            "{}: the output file comes first: front build FILE SOURCE",
            args.image.display()
        );
    }
    for (name, is_set, reason) in [
        ("--encrypt", args.encrypt, ENCRYPTION),
        ("--passphrase", args.passphrase, ENCRYPTION),
        ("--pem-path", args.pem_path.is_some(), ENCRYPTION),
        ("--json", args.json, "a definition file is text"),
        (
            "--data",
            args.data,
            "bind any image as data: -B IMAGE:PATH:image-src=/",
        ),
    ] {
        if is_set {
            bail!("{name} is refused: {reason}");
        }
    }
    let recipe = args.recipe.resolve(caller, messages)?;
    if args.image.symlink_metadata().is_ok() && !args.force && !recipe.update {
        bail!(
            "{} exists; use --force to overwrite it",
            args.image.display()
        );
    }
    let options = args.registry.resolve(caller)?;
    if let Some(context) = args.source.to_string_lossy().strip_prefix("docker-build:") {
        let path = Path::new(context).join("Dockerfile");
        return build::recipe(&path, args, &recipe, caller, messages);
    }
    let source = request::Source::parse(&args.source, caller)?;
    if let request::Source::Path(path) = &source
        && build::is_recipe(path)
    {
        return build::recipe(Path::new(&args.source), args, &recipe, caller, messages);
    }
    if recipe.update {
        bail!(
            "--update: {} is not a definition file",
            args.source.display()
        );
    }
    let from = match &source {
        request::Source::Foreign(source) => source.bootstrap(),
        _ => (
            "localimage".to_owned(),
            args.source.to_string_lossy().into_owned(),
        ),
    };
    messages.info("Starting build...");
    let build = build::settings(&options, from, args, &recipe, caller)?;
    options.with_access(caller, messages, |access| {
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
                bail!("instance://{name} is not an image; use the image it was started from")
            }
            request::Source::Embedded => None,
        };
        if let Some(note) = note {
            messages.warning(note);
        }
        fetch::keep_small(&options, access.cache, &args.image, messages);
        Ok(())
    })?;
    messages.info(format_args!("Build complete: {}", args.image.display()));
    Ok(ExitCode::SUCCESS)
}

const ENCRYPTION: &str = "encrypted images are not supported";

/// The image to make, and how it is made.
pub struct Maker<'a> {
    pub build: &'a Build,
    pub access: &'a Access<'a>,
    pub output: &'a Path,
    /// Whether an existing file is overwritten.
    pub force: bool,
    /// Whether a directory is made instead of a SIF.
    pub sandbox: bool,
}

impl Maker<'_> {
    /// Makes the image from the user's source. Returns a note about anything that was left out.
    pub fn of_source(&self, source: &Source) -> Result<Option<String>> {
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

    /// Makes the image from another image. Returns a note about anything that was left out.
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
                    whole_directory(self.output, self.force, |into| {
                        pack::unpack(squashed, path, into, self.build.keeps_owners)
                    })?;
                    return Ok(None);
                }
                unpacked = tempfile::Builder::new()
                    .prefix("front-")
                    .tempdir_in(&self.build.scratch)
                    .with_context(|| self.build.scratch.display().to_string())?;
                pack::unpack(squashed, path, unpacked.path(), self.build.keeps_owners)?;
                unpacked.path()
            }
            _ => bail!("{}: cannot build from this kind of image", path.display()),
        };
        if self.sandbox {
            bail!("{}: already a directory; copy it instead", path.display());
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
