//! The image of a definition file or a Dockerfile: read, built, and put in its place as a whole.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use cache::Cache;
use definition::Definition;
use definition::dockerfile::{self, Dockerfile};
use pack::{Build, OutputError, whole_directory, whole_file};
use pull::Access;
use rootfs::Directory;
use sys::ExitCode;

use super::{DockerBuild, Ignored, PREDEFINED, Recipe, Workplace, copy, is_dockerfile, supervise};
use crate::caller::Caller;
use crate::cli;
use crate::fetch::keep_small;
use crate::flags::{BuildOptions, RegistryOptions};
use crate::messages::{FAILURE, Messages};

/// Whether a file is text, and not an image.
pub fn is_recipe(path: &Path) -> bool {
    /// Part of a file that is looked at, in bytes.
    const START: u64 = 4096;
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    let start = || sys::read_at_most(std::fs::File::open(path)?.take(START), START);
    let start = start().unwrap_or_default();
    is_file && !image::is_known(&start) && !start.contains(&0)
}

/// The origin of an image.
enum Text {
    Definition(Definition),
    Dockerfile {
        file: Dockerfile,
        text: String,
        context: Directory,
        ignored: Ignored,
    },
}

/// Builds an image from a definition file or a Dockerfile. `name` is its path as the user wrote it.
///
/// # Errors
///
/// Fails when it cannot be read, or has a fault. Later failures are printed, and give the exit code.
pub fn recipe(
    name: &Path,
    args: &cli::Build,
    options: &BuildOptions,
    caller: &Caller,
    messages: &Messages,
) -> Result<ExitCode> {
    let text = read(name, options, caller, messages)?;
    if options.update && (!args.image.is_dir() || matches!(text, Text::Dockerfile { .. })) {
        bail!(
            "--update: {} is not a directory that a definition file can change",
            args.image.display()
        );
    }
    let registry = args.registry.resolve(caller)?;
    messages.info("Starting build...");
    messages.info(become_root(args, options, &registry, caller));
    let workplace = Workplace::new(&registry.scratch)?;
    let act = || {
        let kind = match text {
            Text::Definition(_) => "definition",
            Text::Dockerfile { .. } => "docker-build",
        };
        let from = (kind.to_owned(), name.display().to_string());
        let build = settings(&registry, from, args, options, caller)?;
        registry.with_access(caller, messages, |access| {
            let cache = (!registry.without_cache && !options.depends_on_host(caller))
                .then_some(access.cache);
            let maker = Maker {
                name,
                cache,
                text: &text,
                options,
                access,
                build: &build,
                args,
                caller,
                messages,
            };
            let made = maker.make(&workplace);
            if cache.is_some() {
                keep_small(&registry, access.cache, &args.image, messages);
            }
            made
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
    supervise(act, |ended_well| {
        if options.keep && !ended_well && workplace.path().exists() {
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

/// Makes this process root of files of several users, if it can be. Says what it is.
fn become_root(
    args: &cli::Build,
    options: &BuildOptions,
    registry: &RegistryOptions,
    caller: &Caller,
) -> &'static str {
    const SEVERAL: &str = "Building as root with the users of /etc/subuid: files keep their owners";
    const SINGLE: &str = "Building as root, who is the only user: all files belong to root";
    if session::has_other_users() {
        return "Building as root: files keep their owners";
    }
    // The user could not remove files of others.
    if options.single || options.keep || args.sandbox {
        return SINGLE;
    }
    match session::become_root_of_delegated_users(&caller.account().name, &registry.scratch) {
        Ok(()) => SEVERAL,
        Err(error) => {
            tracing::debug!(%error, "one user");
            SINGLE
        }
    }
}

/// Returns how an image is made. `from` is its origin, for the record.
///
/// # Errors
///
/// Fails on a variable with an invalid value.
pub fn settings(
    registry: &RegistryOptions,
    from: (String, String),
    args: &cli::Build,
    options: &BuildOptions,
    caller: &Caller,
) -> Result<Build> {
    let mut build = registry.build(from, caller)?;
    build.compression = args.compression.into();
    build.fix_permissions |= args.fix_perms;
    build
        .mksquashfs_arguments
        .clone_from(&options.mksquashfs_arguments);
    Ok(build)
}

fn read(path: &Path, options: &BuildOptions, caller: &Caller, messages: &Messages) -> Result<Text> {
    let named = || path.display().to_string();
    let text = crate::small_file::read_text(path).with_context(named)?;
    let fault = |error: definition::Error| anyhow!("{}:{error}", path.display());
    if is_dockerfile(path, &text) {
        for (flag, is_set) in [
            ("--section", options.sections.is_some()),
            ("--notest", !options.test),
        ] {
            if is_set {
                bail!(
                    "{flag}: {} is a Dockerfile, which has no sections",
                    path.display()
                );
            }
        }
        let file = dockerfile::parse(&text).map_err(fault)?;
        let unused = unused_arguments(&file, options);
        if !unused.is_empty() {
            messages.warning(format_args!("unused build args: {unused}"));
        }
        let above = caller.absolute(path)?;
        let context = above.parent().unwrap_or(Path::new("/"));
        return Ok(Text::Dockerfile {
            file,
            text,
            ignored: Ignored::read(context, path)?,
            context: Directory::open_root(context)
                .with_context(|| context.display().to_string())?,
        });
    }
    for (flag, is_set) in [
        ("--target", options.target.is_some()),
        ("--secret", !options.secrets.is_empty()),
    ] {
        if is_set {
            bail!(
                "{flag}: {} is a definition file, and the flag is for Dockerfiles",
                path.display()
            );
        }
    }
    let definition = definition::parse(&text, &options.arguments).map_err(fault)?;
    if !definition.unused.is_empty() {
        let names = definition.unused.join(" ");
        match options.warn_unused {
            true => messages.warning(format_args!("unused build args: {names}")),
            false => bail!(
                "unused build args: {names}. Use option --warn-unused-build-args to show a warning instead of a fatal message"
            ),
        }
    }
    Ok(Text::Definition(definition))
}

/// Returns the names of the given arguments that no `ARG` has, separated by blanks.
fn unused_arguments(file: &Dockerfile, options: &BuildOptions) -> String {
    let stages = file.stages.iter().flat_map(|stage| &stage.instructions);
    let arguments = file.arguments.iter().chain(stages);
    let mut known: Vec<&str> = PREDEFINED.to_vec();
    for instruction in arguments {
        if let dockerfile::Kind::Arg(all) = &instruction.kind {
            known.extend(all.iter().map(|(name, _)| name.as_str()));
        }
    }
    let given = options.arguments.keys().map(String::as_str);
    let unused: Vec<&str> = given.filter(|name| !known.contains(name)).collect();
    unused.join(" ")
}

struct Maker<'a> {
    name: &'a Path,
    text: &'a Text,
    options: &'a BuildOptions,
    access: &'a Access<'a>,
    cache: Option<&'a Cache>,
    build: &'a Build,
    args: &'a cli::Build,
    caller: &'a Caller,
    messages: &'a Messages,
}

impl Maker<'_> {
    /// Makes the SIF or the directory.
    fn make(&self, workplace: &Workplace) -> Result<()> {
        let (args, progress) = (self.args, self.access.progress);
        // Scripts run in other directories.
        let output = self.caller.absolute(&args.image)?;
        if self.options.update {
            return self.fill(workplace.path(), &output);
        }
        if args.sandbox && !self.options.keep {
            let made = whole_directory(&output, args.force, |part| {
                self.fill(workplace.path(), part).map_err(Failed)
            });
            return made.map_err(|failed| failed.0);
        }
        let tree = workplace.path().join("image");
        std::fs::create_dir(&tree).with_context(|| tree.display().to_string())?;
        self.fill(workplace.path(), &tree)?;
        if args.sandbox {
            progress.note("Creating sandbox directory...");
            let from = Directory::open_root(&tree)?;
            let made = whole_directory(&output, args.force, |part| {
                let into = Directory::open_root(part).map_err(|error| Failed(error.into()))?;
                let note = copy::whole(&from, &into).map_err(Failed)?;
                note.iter().for_each(|note| progress.note(note));
                Ok(())
            });
            return made.map_err(|failed: Failed| failed.0);
        }
        progress.note("Creating SIF file...");
        let note = whole_file(&args.image, args.force, |output| {
            self.build.sif_of_directory(&tree, output, progress)
        })?;
        if let Some(note) = note {
            self.messages.warning(note);
        }
        Ok(())
    }

    /// Builds the image's files in an empty directory.
    fn fill(&self, workplace: &Path, tree: &Path) -> Result<()> {
        // As in Apptainer, and in docker.
        let mask = match self.text {
            Text::Definition(_) => 0o002,
            Text::Dockerfile { .. } => 0o022,
        };
        super::with_umask(mask, || match self.text {
            Text::Definition(definition) => Recipe {
                path: self.name,
                definition,
                options: self.options,
                access: self.access,
                cache: self.cache,
                build: self.build,
                force: self.args.force,
                caller: self.caller,
                messages: self.messages,
            }
            .run(workplace, tree),
            Text::Dockerfile {
                file,
                text,
                context,
                ignored,
            } => DockerBuild {
                path: self.name,
                text,
                file,
                context,
                ignored,
                options: self.options,
                access: self.access,
                cache: self.cache,
                build: self.build,
                caller: self.caller,
                messages: self.messages,
            }
            .run(workplace, tree),
        })
    }
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
