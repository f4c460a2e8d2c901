//! Building an image from a definition file, stage by stage, or from a Dockerfile.

mod apps;
mod apt;
mod base;
mod build_cache;
mod container;
mod copy;
mod dockerfile;
mod installer;
mod make;
mod metadata;
mod post;
mod scripts;
mod supervise;
mod workplace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use cache::Cache;
use definition::{Definition, Stage};
use pack::Build;
use pull::Access;
use rootfs::Directory;
use rustix::fs::Mode;
use rustix::process::umask;

use crate::called::Called;
use crate::caller::Caller;
use crate::flags::BuildOptions;
use crate::messages::Messages;

use base::Bases;
use build_cache::BuildCache;
use copy::Source;
use dockerfile::{DockerBuild, Ignored, PREDEFINED, is_dockerfile};
pub use make::{is_recipe, recipe, settings};
use metadata::Facts;
use scripts::Scripts;
use supervise::supervise;
use workplace::Workplace;

/// Time from which on the end of a script is told, in seconds.
const LONG: u64 = 5;

/// Calls a function with a umask.
fn with_umask<T>(mask: u32, act: impl FnOnce() -> T) -> T {
    let own = umask(Mode::from_raw_mode(mask));
    let result = act();
    umask(own);
    result
}

/// A build from a definition file.
pub struct Recipe<'a> {
    /// The definition file's path, for messages.
    pub path: &'a Path,
    pub definition: &'a Definition,
    pub options: &'a BuildOptions,
    pub access: &'a Access<'a>,
    /// The cache, if steps of the build may be kept there.
    pub cache: Option<&'a Cache>,
    pub build: &'a Build,
    /// Whether labels and texts of the base may be replaced.
    pub force: bool,
    pub caller: &'a Caller,
    pub messages: &'a Messages,
}

impl Recipe<'_> {
    /// Builds all stages. The last one is built in `output`; the others are in directories of
    /// `workplace`.
    ///
    /// # Errors
    ///
    /// Fails when a base cannot be had, a file cannot be copied, or a script fails. The error names
    /// the line of the definition file.
    pub fn run(&self, workplace: &Path, output: &Path) -> Result<()> {
        let stages = &self.definition.stages;
        let mut built: Vec<(&str, PathBuf)> = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            let is_last = number + 1 == stages.len();
            let tree = match is_last {
                true => output.to_owned(),
                false => workplace.join(format!("stage-{number}")),
            };
            if !is_last {
                std::fs::create_dir(&tree).with_context(|| tree.display().to_string())?;
            }
            let update = is_last && self.options.update;
            self.stage(stage, &tree, workplace, update, &built)?;
            built.push((stage.header.get("stage").unwrap_or_default(), tree));
        }
        Ok(())
    }

    /// Returns an error with a line of the definition file.
    fn at(&self, line: usize, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("{}:{line}", self.path.display()))
    }

    fn stage(
        &self,
        stage: &Stage,
        tree: &Path,
        workplace: &Path,
        update: bool,
        built: &[(&str, PathBuf)],
    ) -> Result<()> {
        let cwd = self
            .caller
            .cwd
            .as_deref()
            .context("the working directory no longer exists")?;
        let scripts = Scripts {
            tree,
            workplace,
            options: self.options,
            caller: self.caller,
            messages: self.messages,
        };
        if let Some(pre) = &stage.pre {
            let ran = scripts.on_host("pre", pre);
            ran.map_err(|error| self.at(pre.line, error))?;
        }
        let mut cache = BuildCache::new(self.cache, self.build, self.caller, tree, self.messages)?;
        if update {
            self.messages.info(format_args!(
                "Building into existing container: {}",
                tree.display()
            ));
            cache.changing();
        } else {
            let bases = Bases {
                access: self.access,
                build: self.build,
                cwd,
                scripts: &scripts,
            };
            let line = ["from", "bootstrap"]
                .iter()
                .find_map(|keyword| stage.header.line(keyword));
            let filled = bases.fill(&stage.header, tree, &mut cache);
            filled.map_err(|error| self.at(line.unwrap_or(stage.line), error))?;
        }
        let root = Directory::open_root(tree)?;
        self.messages.info("Inserting front configuration...");
        let is_new = matches!(stage.header.get("bootstrap"), Some(agent) if base::is_bare(agent));
        metadata::add_base(&root, is_new && !update).context("add the files of every image")?;
        cache.forget();
        if !stage.apps.is_empty() || stage.setup.is_some() || !stage.files.is_empty() {
            cache.changing();
        }
        let host = Directory::open_root(Path::new("/"))?;
        let files = Source::host(&host, cwd);
        let install = apps::add(&stage.apps, &files, &root)?;
        self.copy_from_stages(stage, built, &root)?;
        if let Some(setup) = &stage.setup {
            let ran = scripts.on_host("setup", setup);
            ran.map_err(|error| self.at(setup.line, error))?;
        }
        self.copy_from_host(stage, &files, &root)?;
        let mut post = stage.post.clone().unwrap_or_default();
        post.text.push_str(&install);
        scripts.post(&post, &root, &mut cache).map_err(|failed| {
            let line = failed.line.map_or(post.line.max(stage.line), |line| line);
            self.at(line, failed.error)
        })?;
        let facts = self.facts();
        metadata::write(
            stage,
            &self.definition.text,
            &facts,
            self.force,
            self.options,
            &root,
            self.messages,
        )?;
        if let Some(test) = stage.test.as_ref().filter(|test| !test.text.is_empty()) {
            scripts.test().map_err(|error| self.at(test.line, error))?;
        }
        Ok(())
    }

    fn copy_from_host(&self, stage: &Stage, files: &Source<'_>, tree: &Directory) -> Result<()> {
        let transfers = stage.files.iter().filter(|one| one.from.is_none());
        for transfer in transfers.filter(|_| self.options.uses("files")) {
            self.copy(transfer, files, tree)?;
        }
        Ok(())
    }

    fn copy_from_stages(
        &self,
        stage: &Stage,
        built: &[(&str, PathBuf)],
        tree: &Directory,
    ) -> Result<()> {
        for transfer in stage.files.iter().filter(|_| self.options.uses("files")) {
            let Some(from) = &transfer.from else { continue };
            let found = built.iter().find(|(name, _)| name == from);
            let Some((_, path)) = found else {
                let error = anyhow!("%files: stage {from} was not found above this one");
                return Err(self.at(transfer.line, error));
            };
            let root = Directory::open_root(path)?;
            let files = Source::stage(&root);
            self.copy(transfer, &files, tree)?;
        }
        Ok(())
    }

    fn copy(
        &self,
        transfer: &definition::Transfer,
        files: &Source<'_>,
        tree: &Directory,
    ) -> Result<()> {
        self.messages.info(format_args!(
            "Copying {} to {}",
            transfer.source, transfer.target
        ));
        let copied = files.copy(&transfer.source, &transfer.target, tree);
        copied.map_err(|error| self.at(transfer.line, error.context("%files")))
    }

    fn facts(&self) -> Facts {
        let architecture = self.build.architecture.clone();
        let here = || image::host_architecture().unwrap_or_default().to_owned();
        Facts {
            date: pack::label_date(self.build.time),
            architecture: architecture.unwrap_or_else(here),
            version: Called::Apptainer.version().to_owned(),
        }
    }
}
