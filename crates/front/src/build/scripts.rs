//! Running the scripts of a definition file: on the host, and in the image.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use definition::{Header, Script};
use rootfs::Directory;

use super::build_cache::BuildCache;
use super::container::{Container, described, shell_words};
use super::installer::Installer;
use super::post::{Failed, Post};
use crate::caller::Caller;
use crate::flags::BuildOptions;
use crate::messages::Messages;

/// The scripts of a stage.
pub struct Scripts<'a> {
    /// The directory with the image's files.
    pub tree: &'a Path,
    /// The directory for temporary files.
    pub workplace: &'a Path,
    pub options: &'a BuildOptions,
    pub caller: &'a Caller,
    pub messages: &'a Messages,
}

impl Scripts<'_> {
    /// Runs `%pre` or `%setup` on the host, as the user.
    ///
    /// # Errors
    ///
    /// Fails as the script does.
    pub fn on_host(&self, section: &str, script: &Script) -> Result<()> {
        if !self.options.uses(section) || script.text.is_empty() {
            return Ok(());
        }
        let file = tempfile::NamedTempFile::new_in(self.workplace);
        let mut file = file.context("make a file for the script")?;
        file.write_all(script.text.as_bytes())
            .context("write the script")?;
        let words = shell_words(section, &script.arguments, file.path())?;
        let (program, arguments) = words.split_first().context("no shell")?;
        self.messages
            .info(format_args!("Running {section} scriptlet"));
        let mut command = Command::new(program);
        command.args(arguments);
        for family in ["APPTAINER", "SINGULARITY"] {
            command.env(format!("{family}_ROOTFS"), self.tree);
            command.env(
                format!("{family}_ENVIRONMENT"),
                "/.singularity.d/env/91-environment.sh",
            );
        }
        let status = command
            .status()
            .with_context(|| program.display().to_string())?;
        match status.success() {
            true => Ok(()),
            false => bail!("failed to run %{section} script: {}", described(status)),
        }
    }

    /// Runs `%post` in the image.
    ///
    /// # Errors
    ///
    /// Fails as the script does.
    pub fn post(
        &self,
        script: &Script,
        root: &Directory,
        cache: &mut BuildCache<'_>,
    ) -> Result<(), Failed> {
        if !self.options.uses("post") || script.text.trim().is_empty() {
            return Ok(());
        }
        let post = Post {
            script,
            container: self.container(),
            root,
            messages: self.messages,
        };
        post.run(cache)
    }

    /// Runs `%test` in the image.
    ///
    /// # Errors
    ///
    /// Fails as the test does.
    pub fn test(&self) -> Result<()> {
        if !self.options.test {
            return Ok(());
        }
        self.messages.info("Running testscript");
        let ended = self.container().test(self.options.writable_test)?;
        match ended.status.success() {
            true => Ok(()),
            false => bail!(
                "failed to execute %test script: {}",
                described(ended.status)
            ),
        }
    }

    /// Runs a program of the image.
    ///
    /// # Errors
    ///
    /// Fails as the program does.
    pub fn program(&self, words: &[&str]) -> Result<()> {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let ended = self.container().run(&[], &words)?;
        match ended.status.success() {
            true => Ok(()),
            false => bail!(
                "{}: {}",
                words.first().unwrap_or(&OsStr::new("")).display(),
                described(ended.status)
            ),
        }
    }

    /// Installs a distribution.
    ///
    /// # Errors
    ///
    /// Fails as its installer does.
    pub fn install(&self, agent: &str, header: &Header) -> Result<()> {
        let installer = Installer {
            caller: self.caller,
            messages: self.messages,
        };
        installer.install(agent, header, self.tree)
    }

    fn container(&self) -> Container<'_> {
        Container {
            tree: self.tree,
            flags: &self.options.container,
            cwd: "/",
            caller: self.caller,
            messages: self.messages,
        }
    }
}
