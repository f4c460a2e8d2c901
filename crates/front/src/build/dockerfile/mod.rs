//! Building an image from a Dockerfile, instruction by instruction.

mod archive;
mod arguments;
mod copy;
mod ignore;
mod mounts;
mod run;
mod stages;
mod state;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cache::Cache;
use definition::dockerfile::{Dockerfile, Instruction, Kind, Stage, parse};
use oci::Config;
use pack::Build;
use pull::Access;
use rootfs::{Directory, Files as _};

use super::base::unpack_layers;
use super::build_cache::BuildCache;
use super::{copy as files, metadata};
use crate::caller::Caller;
use crate::flags::BuildOptions;
use crate::messages::Messages;

use copy::Files;
pub use ignore::Ignored;
pub use run::PREDEFINED;
use state::State;

/// The search path of an image without one, as in docker.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A build from a Dockerfile.
pub struct DockerBuild<'a> {
    /// The Dockerfile's path, for messages.
    pub path: &'a Path,
    pub text: &'a str,
    pub file: &'a Dockerfile,
    /// The directory whose files are copied.
    pub context: &'a Directory,
    pub ignored: &'a Ignored,
    pub options: &'a BuildOptions,
    pub access: &'a Access<'a>,
    /// The cache, if steps of the build may be kept there.
    pub cache: Option<&'a Cache>,
    pub build: &'a Build,
    pub caller: &'a Caller,
    pub messages: &'a Messages,
}

/// A stage that has been built.
struct Built {
    name: Option<String>,
    tree: PathBuf,
    state: State,
}

/// The directories of a stage.
struct Work<'a> {
    /// The image's files.
    tree: &'a Path,
    /// Temporary files.
    workplace: &'a Path,
    /// The stages above, if they were needed.
    built: &'a [Option<Built>],
}

impl DockerBuild<'_> {
    /// Builds the stages that are needed, the last one in `output`.
    ///
    /// # Errors
    ///
    /// Fails when a base cannot be had, or an instruction fails. The error names its line.
    pub fn run(&self, workplace: &Path, output: &Path) -> Result<()> {
        let last = self.target()?;
        let needed = self.needed(last)?;
        let mut built: Vec<Option<Built>> = Vec::new();
        for (number, stage) in self.file.stages.iter().enumerate().take(last + 1) {
            if !needed.contains(&number) {
                built.push(None);
                continue;
            }
            let tree = match number == last {
                true => output.to_owned(),
                false => workplace.join(format!("stage-{number}")),
            };
            if number != last {
                std::fs::create_dir(&tree).with_context(|| tree.display().to_string())?;
            }
            let work = Work {
                tree: &tree,
                workplace,
                built: &built,
            };
            let state = self.stage(stage, &work)?;
            built.push(Some(Built {
                name: stage.name.clone(),
                tree,
                state,
            }));
        }
        let Some(Some(result)) = built.pop() else {
            bail!("{}: nothing was built", self.path.display());
        };
        self.describe(&result.state.config, output)
    }

    fn at(&self, line: usize, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("{}:{line}", self.path.display()))
    }

    fn stage(&self, stage: &Stage, work: &Work<'_>) -> Result<State> {
        let base = self.global(&stage.base, stage.line)?;
        self.messages.info(format_args!("FROM {base}"));
        if let Some(platform) = &stage.platform {
            let checked = self.check_platform(platform, stage.line);
            checked.map_err(|error| self.at(stage.line, error))?;
        }
        let mut cache = BuildCache::new(
            self.cache,
            self.build,
            self.caller,
            work.tree,
            self.messages,
        )?;
        let begun = self.begin(&base, work, &mut cache);
        let mut state = begun.map_err(|error| self.at(stage.line, error))?;
        if state.value("PATH").is_none() {
            state.set("PATH", PATH);
        }
        let root = Directory::open_root(work.tree)?;
        metadata::add_base(&root, false).context("add the files of every image")?;
        cache.forget();
        let triggers = std::mem::take(&mut state.config.execution.on_build);
        for line in triggers {
            let inherited = parse(&format!(
                "FROM x
{line}
"
            ));
            let inherited = inherited.with_context(|| format!("ONBUILD {line}"))?;
            for instruction in inherited.stages.iter().flat_map(|one| &one.instructions) {
                let done = self.instruction(instruction, &mut state, work, &mut cache);
                done.map_err(|error| self.at(stage.line, error.context("ONBUILD of the base")))?;
            }
        }
        for instruction in &stage.instructions {
            let done = self.instruction(instruction, &mut state, work, &mut cache);
            done.map_err(|error| self.at(instruction.line, error))?;
        }
        Ok(state)
    }

    /// Fills an empty directory with the base. Returns what the base has set.
    fn begin(&self, base: &str, work: &Work<'_>, cache: &mut BuildCache<'_>) -> Result<State> {
        if base == "scratch" {
            cache.filled(base);
            return Ok(State::of(Config::default()));
        }
        let name = base.to_ascii_lowercase();
        let mut stages = work.built.iter().flatten();
        if let Some(stage) = stages.rfind(|stage| stage.name.as_ref() == Some(&name)) {
            cache.changing();
            let from = Directory::open_root(&stage.tree)?;
            let note = files::whole(&from, &Directory::open_root(work.tree)?)?;
            self.tell(note);
            return Ok(State::of(stage.state.config.clone()));
        }
        let word = stages::image_word(base);
        let config = unpack_layers(self.access, self.build, &word, work.tree, cache)?;
        Ok(State::of(config))
    }

    fn tell(&self, note: Option<String>) {
        if let Some(note) = note {
            self.messages.info(note);
        }
    }

    fn instruction(
        &self,
        instruction: &Instruction,
        state: &mut State,
        work: &Work<'_>,
        cache: &mut BuildCache<'_>,
    ) -> Result<()> {
        self.messages
            .info(instruction.text.lines().next().unwrap_or_default());
        let state_now = state.clone();
        let expand = |word: &str| self.words(word, &|name| state_now.value(name));
        match &instruction.kind {
            Kind::Arg(arguments) => self.add_arguments(arguments, state)?,
            Kind::Env(pairs) => {
                for (name, value) in pairs {
                    state.set(&expand(name)?, &expand(value)?);
                }
            }
            Kind::Label(pairs) => {
                for (name, value) in pairs {
                    let pair = (expand(name)?, Some(expand(value)?));
                    state.config.execution.labels.extend([pair]);
                }
            }
            Kind::Workdir(path) => {
                let path = expand(path)?;
                let path = state.absolute(&path);
                let root = Directory::open_root(work.tree)?;
                if root.entry(&path)?.is_none() {
                    cache.changing();
                }
                root.make_directories(&path)
                    .with_context(|| path.display().to_string())?;
                state.config.execution.working_dir = path.display().to_string();
            }
            Kind::User(user) => {
                let user = expand(user)?;
                if user != "root" && user != "0" {
                    self.messages.info(format_args!("USER {user}: commands of the build go on as root, and the container runs as its user"));
                }
            }
            Kind::Shell(words) => state.shell.clone_from(words),
            Kind::Entrypoint(command) => {
                state.config.execution.entrypoint = state.words(command);
                // The base's command is that of another program.
                if !state.has_command {
                    state.config.execution.cmd.clear();
                }
            }
            Kind::Cmd(command) => {
                state.config.execution.cmd = state.words(command);
                state.has_command = true;
            }
            Kind::Run(command, documents) => {
                self.execute(instruction, command, documents, state, work, cache)?;
            }
            Kind::Copy {
                sources,
                documents,
                target,
                is_add,
            } => {
                let sources: Vec<String> = sources
                    .iter()
                    .map(|word| expand(word))
                    .collect::<Result<_>>()?;
                let files = Files {
                    sources: &sources,
                    documents,
                    target: &expand(target)?,
                    is_add: *is_add,
                };
                cache.changing();
                self.copy(instruction, &files, state, work)?;
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// Writes the scripts and labels of the result.
    fn describe(&self, config: &Config, output: &Path) -> Result<()> {
        let root = Directory::open_root(output)?;
        for (path, mode, content) in pack::described(config, self.build, self.text) {
            let path = Path::new("/").join(path);
            root.write(&path, mode, content.as_bytes())
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// Whether a file is a Dockerfile rather than a definition file: by its name, or by its first
/// instruction.
pub fn is_dockerfile(path: &Path, text: &str) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    if name.ends_with(".def") {
        return false;
    }
    let is_named = ["dockerfile", "containerfile"].iter().any(|word| {
        name == *word
            || name.starts_with(&format!("{word}."))
            || name.ends_with(&format!(".{word}"))
    });
    let mut lines = text.lines().map(str::trim);
    let first = lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    let word = first.split_whitespace().next().unwrap_or_default();
    is_named
        || ["FROM", "ARG"]
            .iter()
            .any(|one| word.eq_ignore_ascii_case(one))
}
