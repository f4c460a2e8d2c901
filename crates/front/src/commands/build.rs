//! `front build IMAGE SOURCE`

use std::io::Read;
use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use image::{Image, Medium, RootFs};
use pack::{Build, OutputError, whole_directory, whole_file};
use pull::{Access, Source};

use crate::build::{self, Recipe, Workplace};
use crate::caller::Caller;
use crate::fetch;
use crate::flags::BuildOptions;
use crate::messages::{FAILURE, Messages};
use crate::{cli, request};

pub fn run(args: &cli::Build, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if args.image.to_string_lossy().contains("://") {
        bail!(
            "{}: the output file comes first: front build FILE SOURCE",
            args.image.display()
        );
    }
    let recipe = args.recipe.resolve(caller, messages)?;
    if args.image.symlink_metadata().is_ok() && !args.force && !recipe.update {
        bail!(
            "{} exists; use --force to overwrite it",
            args.image.display()
        );
    }
    let options = args.registry.resolve(caller)?;
    let source = request::Source::parse(&args.source, caller)?;
    if let request::Source::Path(path) = &source
        && is_recipe(path)
    {
        return of_recipe(path, args, &recipe, caller, messages);
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
    let mut build = options.build(from, caller)?;
    build.compression = args.compression.into();
    build.fix_permissions |= args.fix_perms;
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

/// Whether a file is text, and not an image.
fn is_recipe(path: &Path) -> bool {
    /// Part of a file that is looked at, in bytes.
    const START: u64 = 4096;
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    let start = || sys::read_at_most(std::fs::File::open(path)?.take(START), START);
    let start = start().unwrap_or_default();
    is_file && !image::is_known(&start) && !start.contains(&0)
}

/// Builds an image from a definition file.
fn of_recipe(
    path: &Path,
    args: &cli::Build,
    recipe: &BuildOptions,
    caller: &Caller,
    messages: &Messages,
) -> Result<ExitCode> {
    let name = Path::new(&args.source);
    let definition = build::read(name, recipe, messages)?;
    if recipe.update && !args.image.is_dir() {
        bail!("--update: {} is not a directory", args.image.display());
    }
    let options = args.registry.resolve(caller)?;
    messages.info("Starting build...");
    let workplace = Workplace::new(&options.scratch)?;
    let act = || {
        let from = ("definition".to_owned(), path.display().to_string());
        let mut build = options.build(from, caller)?;
        build.compression = args.compression.into();
        build.fix_permissions |= args.fix_perms;
        options.with_access(caller, messages, |access| {
            let recipe = Recipe {
                path: name,
                definition: &definition,
                options: recipe,
                access,
                build: &build,
                force: args.force,
                caller,
                messages,
            };
            make(&recipe, &workplace, args)
        })
    };
    let act = || match act() {
        Ok(()) => {
            messages.info(format_args!("Build complete: {}", args.image.display()));
            0
        }
        Err(error) => {
            messages.fatal(&error);
            FAILURE
        }
    };
    build::supervise(act, |ended_well| {
        if recipe.keep && !ended_well && workplace.path().exists() {
            match workplace.keep() {
                Ok(kept) => messages.info(format_args!(
                    "The unfinished image is kept. To look into it: front shell --fakeroot --writable {}/image",
                    kept.display()
                )),
                Err(error) => messages.fatal(&error),
            }
        }
        workplace.remove();
        pack::remove_abandoned(&args.image);
    })
}

/// Makes the SIF or the directory.
fn make(recipe: &Recipe<'_>, workplace: &Workplace, args: &cli::Build) -> Result<()> {
    // Scripts run in other directories.
    let output = recipe.caller.absolute(&args.image)?;
    if recipe.options.update {
        return recipe.run(workplace.path(), &output);
    }
    if args.sandbox && !recipe.options.keep {
        let made = whole_directory(&output, args.force, |part| {
            recipe.run(workplace.path(), part).map_err(Failed)
        });
        return made.map_err(|failed| failed.0);
    }
    let tree = workplace.path().join("image");
    std::fs::create_dir(&tree).with_context(|| tree.display().to_string())?;
    recipe.run(workplace.path(), &tree)?;
    let (build, progress) = (recipe.build, recipe.access.progress);
    if args.sandbox {
        progress.note("Creating sandbox directory...");
        let made = whole_directory(&output, args.force, |part| {
            build::copy_tree(&tree, part).map_err(Failed)
        });
        return made.map_err(|failed| failed.0);
    }
    progress.note("Creating SIF file...");
    let note = whole_file(&args.image, args.force, |output| {
        build.sif_of_directory(&tree, output, progress)
    })?;
    if let Some(note) = note {
        recipe.messages.warning(note);
    }
    Ok(())
}

/// Why a directory was not made.
struct Failed(anyhow::Error);

impl From<pack::Error> for Failed {
    fn from(error: pack::Error) -> Self {
        Self(error.into())
    }
}

impl OutputError for Failed {
    fn named(self, path: &Path) -> Self {
        match self.0.downcast::<pack::Error>() {
            Ok(error) => error.named(path).into(),
            Err(error) => Self(error),
        }
    }
}

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
                        pack::unpack(squashed, path, into)
                    })?;
                    return Ok(None);
                }
                unpacked = tempfile::Builder::new()
                    .prefix("front-")
                    .tempdir_in(&self.build.scratch)
                    .with_context(|| self.build.scratch.display().to_string())?;
                pack::unpack(squashed, path, unpacked.path())?;
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
