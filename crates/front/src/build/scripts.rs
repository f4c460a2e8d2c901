//! Running the scripts of a definition file: on the host, and in the image.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use definition::{Header, Script};
use rootfs::{Directory, Files};

use super::LONG;
use super::container::{Container, described, shell_words};
use super::installer::Installer;
use super::metadata::LABELS;
use crate::caller::Caller;
use crate::flags::BuildOptions;
use crate::messages::Messages;

/// The path of the script of `%post` in the image.
const POST: &str = "/.post.script";

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

/// The failure of `%post`.
pub struct Failed {
    pub error: anyhow::Error,
    /// The line of the definition file whose command failed, if it is known.
    pub line: Option<usize>,
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            line: None,
        }
    }
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
    pub fn post(&self, script: &Script, root: &Directory) -> Result<(), Failed> {
        if !self.options.uses("post") || script.text.trim().is_empty() {
            return Ok(());
        }
        let words = shell_words("post", &script.arguments, Path::new(POST))?;
        // A link of the image is not followed.
        root.unlink(Path::new(POST))?;
        root.write(Path::new(POST), 0o755, script.text.as_bytes())
            .context("write %post to the image")?;
        self.messages.info("Running post scriptlet");
        let labels = [("APPTAINER_LABELS", LABELS), ("SINGULARITY_LABELS", LABELS)];
        let words: Vec<&OsStr> = words.iter().map(AsRef::as_ref).collect();
        let before = temporary(root)?;
        let began = Instant::now();
        let ended = self.container().run(&labels, &words);
        let removed = root.unlink(Path::new(POST));
        remove_temporary(root, &before)?;
        let ended = ended?;
        removed.context("remove the script of %post")?;
        let took = began.elapsed().as_secs();
        if ended.status.success() {
            if took >= LONG {
                self.messages
                    .info(format_args!("The post scriptlet took {took} s"));
            }
            return Ok(());
        }
        let end = described(ended.status);
        let command = ended.command.unwrap_or_default();
        Err(Failed {
            line: line_of(&command, script),
            error: match command.is_empty() {
                true => anyhow!("while running %post section: {end}"),
                false => anyhow!("while running %post section: {end}, after `{command}`"),
            },
        })
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

/// Returns the files in an image's temporary directories. No link in their paths leads elsewhere.
fn temporary(root: &Directory) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in ["/tmp", "/var/tmp"] {
        let path = root.locate(Path::new(name))?.path;
        found.extend(root.list(&path)?.iter().map(|name| path.join(name)));
    }
    Ok(found)
}

/// Removes the temporary files that a script has made: those of Apptainer's builds are the host's.
fn remove_temporary(root: &Directory, before: &[PathBuf]) -> Result<()> {
    for path in temporary(root)? {
        if !before.contains(&path) {
            let removed = root.remove(&path);
            removed.with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Returns the line of the definition file that has a command as the shell has traced it: the only
/// one that is much like it.
fn line_of(command: &str, script: &Script) -> Option<usize> {
    /// Lines below this similarity are other commands.
    const NEAR: f64 = 0.85;
    /// Largest part of a line that is compared, in letters.
    const LONGEST: usize = 300;
    let plain =
        |text: &str| -> String { text.chars().filter(|one| !"'\"\\".contains(*one)).collect() };
    // The comparison of two texts takes time by the product of their lengths.
    let short = |text: String| -> String { text.chars().take(LONGEST).collect() };
    let command = plain(command);
    let length = command.len();
    let command = short(command);
    let lines = script.text.lines().zip(&script.numbers);
    let lines = lines.map(|(line, number)| (plain(line.trim()), *number));
    // A line of another length is another command.
    let lines = lines.filter(|(line, _)| line.len().abs_diff(length) <= length / 5 + 1);
    let rated = lines.map(|(line, number)| {
        let similarity = strsim::normalized_levenshtein(&short(line), &command);
        (similarity, number)
    });
    let best = rated.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 > NEAR).then_some(best.1)
}
