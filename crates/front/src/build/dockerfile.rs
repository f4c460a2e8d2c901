//! Building an image from a Dockerfile, instruction by instruction.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use definition::dockerfile::{
    Command, Dockerfile, HereDocument, Instruction, Kind, Stage, expand, parse,
};
use oci::Config;
use pack::Build;
use pull::{Access, Source as ImageSource};
use rootfs::Directory;

use super::container::{Container, described};
use super::copy::{self, Source};
use super::ignore::Ignored;
use super::metadata;
use super::mounts;
use crate::caller::Caller;
use crate::flags::BuildOptions;
use crate::messages::Messages;

/// The shell of commands that are lines.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// The search path of an image without one, as in docker.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Arguments that need no `ARG`.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];
/// A script of a here-document in the image.
const SCRIPT: &str = "/.run.script";

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

/// What instructions have set.
#[derive(Clone)]
struct State {
    config: Config,
    /// The values of `ARG`s.
    arguments: BTreeMap<String, String>,
    shell: Vec<String>,
    has_command: bool,
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
            let state = self.stage(stage, &tree, workplace, &built)?;
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

    /// Returns the number of the stage that is the result.
    fn target(&self) -> Result<usize> {
        let stages = &self.file.stages;
        let Some(target) = &self.options.target else {
            return Ok(stages.len() - 1);
        };
        self.stage_number(target, stages.len()).ok_or_else(|| {
            anyhow!(
                "--target {target}: there is no such stage in {}",
                self.path.display()
            )
        })
    }

    /// Finds an earlier stage by name or number.
    fn stage_number(&self, word: &str, before: usize) -> Option<usize> {
        let name = word.to_ascii_lowercase();
        let stages = self.file.stages.iter().take(before);
        let named = stages
            .enumerate()
            .filter(|(_, stage)| stage.name.as_ref() == Some(&name));
        let number = || word.parse().ok().filter(|number| *number < before);
        let named = named.map(|(number, _)| number).next_back();
        named.or_else(number)
    }

    /// Returns the numbers of the stages on which a stage depends, itself included.
    fn needed(&self, last: usize) -> Result<Vec<usize>> {
        let mut needed = vec![last];
        let mut ahead = vec![last];
        while let Some(number) = ahead.pop() {
            let Some(stage) = self.file.stages.get(number) else {
                continue;
            };
            let mut words = vec![self.global(&stage.base, stage.line)?];
            for instruction in &stage.instructions {
                words.extend(
                    instruction
                        .flags
                        .iter()
                        .filter(|(name, _)| name == "from")
                        .map(|(_, value)| value.clone()),
                );
                let mounts = instruction.flags.iter().filter(|(name, _)| name == "mount");
                words.extend(
                    mounts.filter_map(|(_, spec)| mounts::field(spec, "from").map(str::to_owned)),
                );
            }
            for word in words {
                if let Some(found) = self.stage_number(&word, number)
                    && !needed.contains(&found)
                {
                    needed.push(found);
                    ahead.push(found);
                }
            }
        }
        Ok(needed)
    }

    fn at(&self, line: usize, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("{}:{line}", self.path.display()))
    }

    /// Replaces variables above the first stage.
    fn global(&self, word: &str, line: usize) -> Result<String> {
        let mut values = self.platform();
        for instruction in &self.file.arguments {
            let Kind::Arg(arguments) = &instruction.kind else {
                continue;
            };
            for (name, default) in arguments {
                let value = self.argument(name, default.as_deref(), &values);
                let value = value.map_err(|error| self.at(instruction.line, error))?;
                values.extend(value.map(|value| (name.clone(), value)));
            }
        }
        self.words(word, &|name| values.get(name).cloned())
            .map_err(|error| self.at(line, error))
    }

    fn words(&self, word: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String> {
        expand(word, self.file.escape, value).map_err(|error| anyhow!("{error}"))
    }

    /// Returns the value of an `ARG`: the user's, or else the default.
    fn argument(
        &self,
        name: &str,
        default: Option<&str>,
        known: &BTreeMap<String, String>,
    ) -> Result<Option<String>> {
        if let Some(given) = self.options.arguments.get(name) {
            return Ok(Some(given.clone()));
        }
        default
            .map(|default| self.words(default, &|name| known.get(name).cloned()))
            .transpose()
    }

    /// Returns BuildKit's arguments for the platform.
    fn platform(&self) -> BTreeMap<String, String> {
        let architecture = self.build.architecture.clone();
        let here = image::host_architecture().unwrap_or_default().to_owned();
        let target = architecture.unwrap_or_else(|| here.clone());
        let mut values = BTreeMap::new();
        for (kind, architecture) in [("TARGET", target), ("BUILD", here)] {
            values.insert(format!("{kind}PLATFORM"), format!("linux/{architecture}"));
            values.insert(format!("{kind}OS"), "linux".to_owned());
            values.insert(format!("{kind}ARCH"), architecture);
            values.insert(format!("{kind}VARIANT"), String::new());
        }
        values
    }

    fn stage(
        &self,
        stage: &Stage,
        tree: &Path,
        workplace: &Path,
        built: &[Option<Built>],
    ) -> Result<State> {
        let base = self.global(&stage.base, stage.line)?;
        self.messages.info(format_args!("FROM {base}"));
        let began = self
            .begin(&base, tree, built)
            .map_err(|error| self.at(stage.line, error))?;
        let mut state = State {
            arguments: BTreeMap::new(),
            shell: SHELL.map(str::to_owned).to_vec(),
            has_command: false,
            ..began
        };
        if state.value("PATH").is_none() {
            state.set("PATH", PATH);
        }
        let root = Directory::open_root(tree)?;
        metadata::add_base(&root, false).context("add the files of every image")?;
        let triggers = std::mem::take(&mut state.config.execution.on_build);
        let inherited = triggers
            .iter()
            .map(|line| parse(&format!("FROM x\n{line}\n")));
        for file in inherited
            .collect::<Result<Vec<_>, _>>()
            .context("ONBUILD of the base")?
        {
            for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
                self.instruction(instruction, &mut state, tree, workplace, built)
                    .map_err(|error| self.at(stage.line, error.context("ONBUILD of the base")))?;
            }
        }
        for instruction in &stage.instructions {
            self.instruction(instruction, &mut state, tree, workplace, built)
                .map_err(|error| self.at(instruction.line, error))?;
        }
        Ok(state)
    }

    /// Fills an empty directory with the base. Returns what the base has set.
    fn begin(&self, base: &str, tree: &Path, built: &[Option<Built>]) -> Result<State> {
        let empty = State {
            config: Config::default(),
            arguments: BTreeMap::new(),
            shell: Vec::new(),
            has_command: false,
        };
        if base == "scratch" {
            return Ok(empty);
        }
        let name = base.to_ascii_lowercase();
        let mut stages = built.iter().flatten();
        if let Some(stage) = stages.rfind(|stage| stage.name.as_ref() == Some(&name)) {
            copy::whole(
                &Directory::open_root(&stage.tree)?,
                &Directory::open_root(tree)?,
            )?;
            return Ok(stage.state.clone());
        }
        let word =
            match base.contains("://") || base.starts_with("oci") || base.starts_with("docker-") {
                true => base.to_owned(),
                false => format!("docker://{base}"),
            };
        let source = ImageSource::parse(&word)?
            .with_context(|| format!("{base}: not the name of an image"))?;
        let opened = self.access.open(&source)?;
        let progress = self.access.progress;
        let note = opened.with(|image, blobs| self.build.sandbox(image, blobs, tree, progress))?;
        if let Some(note) = note {
            progress.note(&note);
        }
        Ok(State {
            config: opened.image().config.clone(),
            ..empty
        })
    }

    fn instruction(
        &self,
        instruction: &Instruction,
        state: &mut State,
        tree: &Path,
        workplace: &Path,
        built: &[Option<Built>],
    ) -> Result<()> {
        self.messages
            .info(instruction.text.lines().next().unwrap_or_default());
        let state_now = state.clone();
        let expand = |word: &str| self.words(word, &|name| state_now.value(name));
        match &instruction.kind {
            Kind::Arg(arguments) => {
                for (name, default) in arguments {
                    let mut known = self.platform();
                    let inherited = self.inherited(name)?.or_else(|| known.get(name).cloned());
                    known.extend(state.arguments.clone());
                    let default = match default {
                        Some(default) => Some(expand(default)?),
                        None => inherited,
                    };
                    let value = self.options.arguments.get(name).cloned().or(default);
                    state
                        .arguments
                        .extend(value.map(|value| (name.clone(), value)));
                }
            }
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
                let root = Directory::open_root(tree)?;
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
            Kind::Run(command, documents) => self.execute(
                instruction,
                command,
                documents,
                state,
                tree,
                workplace,
                built,
            )?,
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
                self.copy(instruction, &files, state, tree, built)?;
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// Returns the value that an `ARG` above the first stage gives to one without a default.
    fn inherited(&self, name: &str) -> Result<Option<String>> {
        let arguments = self.file.arguments.iter();
        let is_there = arguments.clone().any(
            |one| matches!(&one.kind, Kind::Arg(all) if all.iter().any(|(own, _)| own == name)),
        );
        match is_there {
            true => self.global(&format!("${{{name}}}"), 1).map(Some),
            false => Ok(None),
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "an instruction, and all that it depends on"
    )]
    fn execute(
        &self,
        instruction: &Instruction,
        command: &Command,
        documents: &[HereDocument],
        state: &State,
        tree: &Path,
        workplace: &Path,
        built: &[Option<Built>],
    ) -> Result<()> {
        let root = Directory::open_root(tree)?;
        let mut flags = self.options.container.clone();
        let mut made = Vec::new();
        for (name, value) in &instruction.flags {
            match (name.as_str(), value.as_str()) {
                ("mount", spec) => {
                    let places = mounts::Places {
                        root: &root,
                        context: self.context.path(),
                        stage: &|word: &str| self.tree_of(word, built),
                        workplace,
                        secrets: &self.options.secrets,
                    };
                    let spec = self.words(spec, &|name| state.value(name))?;
                    let mount = mounts::mount(&spec, &places)?;
                    flags.extend(mount.flags.iter().cloned());
                    made.push(mount);
                }
                ("network", "none") => flags.push("--net".into()),
                ("network", "default" | "host") | ("security", "sandbox") => {}
                (name, value) => bail!("RUN --{name}={value} is not supported"),
            }
        }
        let mut words = state.words(command);
        if let (Command::Shell(line), [document]) = (command, documents)
            && line.trim() == line.split_whitespace().next().unwrap_or_default()
        {
            // The document is the whole script.
            words = match document.text.starts_with("#!") {
                true => {
                    root.write(Path::new(SCRIPT), 0o755, document.text.as_bytes())?;
                    vec![SCRIPT.to_owned()]
                }
                false => state.words(&Command::Shell(document.text.clone())),
            };
        } else if let (Some(line), [_, ..]) = (words.last_mut(), documents) {
            line.push('\n');
            for document in documents {
                line.push_str(&document.source);
            }
        }
        let execution = &state.config.execution;
        let mut variables: Vec<(&str, &str)> = state
            .arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let given = self.options.arguments.iter();
        variables.extend(
            given
                .filter(|(name, _)| PREDEFINED.contains(&name.as_str()))
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        variables.extend(execution.env.iter().filter_map(|pair| pair.split_once('=')));
        let container = Container {
            tree,
            flags: &flags,
            cwd: match execution.working_dir.as_str() {
                "" => "/",
                path => path,
            },
            caller: self.caller,
            messages: self.messages,
        };
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let began = Instant::now();
        let ended = container.run(&variables, &words);
        root.unlink(Path::new(SCRIPT))?;
        for mount in made {
            mount.remove(&root)?;
        }
        let ended = ended?;
        if !ended.status.success() {
            bail!("RUN: {}", described(ended.status));
        }
        let took = began.elapsed().as_secs();
        if took >= super::LONG {
            self.messages.info(format_args!("RUN took {took} s"));
        }
        Ok(())
    }

    /// Returns the directory of a stage.
    fn tree_of(&self, word: &str, built: &[Option<Built>]) -> Option<PathBuf> {
        let number = self.stage_number(word, built.len())?;
        Some(built.get(number)?.as_ref()?.tree.clone())
    }

    fn copy(
        &self,
        instruction: &Instruction,
        files: &Files<'_>,
        state: &State,
        tree: &Path,
        built: &[Option<Built>],
    ) -> Result<()> {
        let root = Directory::open_root(tree)?;
        let (mut mode, mut from) = (None, None);
        for (name, value) in &instruction.flags {
            let value = self.words(value, &|name| state.value(name))?;
            match name.as_str() {
                "chmod" => {
                    let parsed = u32::from_str_radix(&value, 8)
                        .ok()
                        .filter(|mode| *mode <= 0o7777);
                    mode = Some(
                        parsed
                            .with_context(|| format!("--chmod={value}: expected an octal mode"))?,
                    );
                }
                // All files belong to root.
                "chown" | "link" => {}
                "from" => from = Some(value),
                other => bail!("--{other} is not supported"),
            }
        }
        let is_directory =
            files.target.ends_with('/') || files.sources.len() > 1 || files.target == ".";
        let target = state.absolute(files.target);
        let opened = match &from {
            Some(word) => Some(self.files_of(word, built)?),
            None => None,
        };
        let ignored = |path: &Path| self.ignored.has(path);
        let source = match &opened {
            Some(root) => Source {
                mode,
                ..Source::stage(root)
            },
            None => Source {
                mode,
                ignored: Some(&ignored),
                ..Source::stage(self.context)
            },
        };
        let mut documents = files.documents.iter();
        for word in files.sources {
            if word.starts_with("<<") {
                let document = documents.next().context("a here-document is missing")?;
                let text = match document.expands {
                    true => self.words(&quoted(&document.text), &|name| state.value(name))?,
                    false => document.text.clone(),
                };
                let path = match is_directory {
                    true => target.join(&document.name),
                    false => target.clone(),
                };
                root.write(&path, mode.unwrap_or(0o644), text.as_bytes())?;
            } else if files.is_add && (word.starts_with("http://") || word.starts_with("https://"))
            {
                let fetched = self
                    .access
                    .sif(&ImageSource::Net(word.clone()), self.build)?;
                let name = word.rsplit('/').next().filter(|name| !name.is_empty());
                let path = match is_directory {
                    true => {
                        target.join(name.with_context(|| format!("{word}: it has no file name"))?)
                    }
                    false => target.clone(),
                };
                let mut file = root.create(&path, mode.unwrap_or(0o600))?;
                std::io::copy(&mut std::fs::File::open(fetched)?, &mut file)?;
            } else if files.is_add && word.contains("://") || word.starts_with("git@") {
                bail!("ADD {word}: only files, http:// and https:// are supported");
            } else if files.is_add && super::archive::is_archive(self.context, word)? {
                super::archive::unpack(self.context, word, &target, &root)
                    .with_context(|| word.clone())?;
            } else {
                source.copy_content(word.trim_start_matches('/'), &target, is_directory, &root)?;
            }
        }
        Ok(())
    }

    /// Opens the files of another stage, or of an image.
    fn files_of(&self, word: &str, built: &[Option<Built>]) -> Result<Directory> {
        let tree = self.tree_of(word, built);
        let tree = tree.with_context(|| {
            format!(
                "--from={word}: there is no such stage above; for an image, add FROM {word} AS NAME"
            )
        })?;
        Ok(Directory::open_root(&tree)?)
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

/// The arguments of `COPY` or `ADD`.
struct Files<'a> {
    sources: &'a [String],
    documents: &'a [HereDocument],
    target: &'a str,
    is_add: bool,
}

impl State {
    /// Returns the value of a variable. Those of `ENV` beat those of `ARG`.
    fn value(&self, name: &str) -> Option<String> {
        let pairs = self
            .config
            .execution
            .env
            .iter()
            .filter_map(|pair| pair.split_once('='));
        let mut own = pairs.filter(|(own, _)| *own == name);
        own.next_back()
            .map(|(_, value)| value.to_owned())
            .or_else(|| self.arguments.get(name).cloned())
    }

    /// Returns a path without `.` and `..`. A relative one refers to the working directory.
    fn absolute(&self, path: &str) -> PathBuf {
        let whole = Path::new("/")
            .join(&self.config.execution.working_dir)
            .join(path);
        let mut plain = PathBuf::from("/");
        for part in whole.components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::Normal(name) => plain.push(name),
                _ => {}
            }
        }
        plain
    }

    fn set(&mut self, name: &str, value: &str) {
        let env = &mut self.config.execution.env;
        let pair = format!("{name}={value}");
        let is_it = |one: &&mut String| one.split_once('=').is_some_and(|(own, _)| own == name);
        match env.iter_mut().find(is_it) {
            Some(there) => *there = pair,
            None => env.push(pair),
        }
    }

    /// Returns the words of a command.
    fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => self.shell.iter().chain([line]).cloned().collect(),
        }
    }
}

/// Quotes a text so that only its variables are replaced.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
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
