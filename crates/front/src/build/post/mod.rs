//! `%post`: a script that runs in the image. With the build cache, lines that an earlier build has
//! run are not run again.

mod checkpoints;
mod divide;
mod shell;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use definition::Script;
use rootfs::{Directory, Files};

use super::LONG;
use super::build_cache::{BuildCache, Record, digest};
use super::container::{Container, Ended, described, shell_words};
use super::metadata::LABELS;
use crate::messages::Messages;

use checkpoints::{Channel, DIRECTORY, Start};
use divide::Places;
pub use shell::Changed;

/// The path of the script in the image.
const POST: &str = "/.post.script";
/// The files in the image that are there only as long as the script runs.
pub const FILES: [&str; 2] = [POST, DIRECTORY];
/// The script that tells at which lines commands end, and its answer.
const CHECK: &str = "/.post.steps/check";
const ENDS: &str = "/.post.steps/ends";
/// Longest answer, in bytes.
const LONGEST: usize = 64 << 10;
/// Shells that a script can be divided for.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "ash"];
/// Variables that the script has.
const VARIABLES: [(&str, &str); 2] = [("APPTAINER_LABELS", LABELS), ("SINGULARITY_LABELS", LABELS)];

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

/// The run of a `%post`.
pub struct Post<'a> {
    pub script: &'a Script,
    pub container: Container<'a>,
    pub root: &'a Directory,
    pub messages: &'a Messages,
}

impl Post<'_> {
    /// Runs the script.
    ///
    /// # Errors
    ///
    /// Fails as the script does.
    pub fn run(&self, cache: &mut BuildCache<'_>) -> Result<(), Failed> {
        let words = shell_words("post", &self.script.arguments, Path::new(POST))?;
        let before = temporary(self.root)?;
        let text = &self.script.text;
        let key = cache.key(&["post", &format!("{words:?}")]);
        let whole = key.as_ref().map(|key| digest(&[key, text]));
        if let Some(whole) = &whole
            && cache.restore(whole)?.is_some()
        {
            self.messages.info("Using cache for the post scriptlet");
            cache.follow(whole);
            return Ok(());
        }
        self.messages.info("Running post scriptlet");
        let began = Instant::now();
        let (ended, last) = match &key {
            Some(key) => {
                let done = self.in_parts(&words, key, &before, cache);
                self.root.remove(Path::new(DIRECTORY))?;
                done?
            }
            None => (self.execute(&words, text, &before)?, None),
        };
        self.report(&ended)?;
        let took = began.elapsed().as_secs();
        if took >= LONG {
            self.messages
                .info(format_args!("The post scriptlet took {took} s"));
        }
        if let Some(whole) = &whole {
            let record = Record {
                parent: last,
                ..Record::default()
            };
            cache.keep(whole, record);
            cache.follow(whole);
        }
        Ok(())
    }

    /// Runs the lines that no earlier build has run. Returns the last entry of the cache.
    fn in_parts(
        &self,
        words: &[OsString],
        key: &str,
        before: &[PathBuf],
        cache: &mut BuildCache<'_>,
    ) -> Result<(Ended, Option<String>)> {
        let text = &self.script.text;
        let shell = shell_of(words).unwrap_or_default();
        let places = self.places(&shell)?;
        let lines: Vec<&str> = text.lines().collect();
        let above = |number: usize| lines.get(..number).unwrap_or_default().join("\n");
        let keys = places.lines.iter();
        let keys = keys.map(|number| (*number, digest(&[key, &above(*number), "…"])));
        let keys: BTreeMap<usize, String> = keys.collect();
        let channel = match keys.is_empty() {
            true => None,
            // Not every file system has pipes.
            false => Channel::new(self.root).ok(),
        };
        let (Some(channel), Some(mut begin)) = (channel, divide::first(text)) else {
            cache.look();
            return Ok((self.execute(words, text, before)?, None));
        };
        let mut start = Start {
            shell,
            functions: places.functions,
            ..Start::default()
        };
        let mut restore = checkpoints::no_state();
        for (number, key) in keys.iter().rev() {
            if let Some(record) = cache.restore(key)? {
                let numbers = &self.script.numbers;
                let line = numbers.get(*number).copied().unwrap_or_default();
                self.messages.info(format_args!(
                    "Using cache for the post scriptlet above line {line}"
                ));
                start.key = Some(key.clone());
                start.changed = record.changed;
                restore = record.restore;
                begin = *number;
                break;
            }
        }
        channel.begin_with(&restore)?;
        let with_steps = lines.iter().enumerate().map(|(number, line)| match number {
            // The numbers of lines stay.
            _ if number < begin => String::new(),
            _ if number == begin => format!("{}{line}", checkpoints::at_begin()),
            _ if keys.contains_key(&number) => format!("{}{line}", checkpoints::at_line(number)),
            _ => (*line).to_owned(),
        });
        let with_steps: Vec<String> = with_steps.collect();
        let (ended, last) = std::thread::scope(|scope| {
            let served = scope.spawn(|| channel.serve(cache, &keys, &start));
            let ended = self.execute(words, &(with_steps.join("\n") + "\n"), before);
            channel.end();
            (ended, served.join().ok().flatten())
        });
        let ended = ended?;
        if ended.status.code() == Some(checkpoints::LOST) && start.key.is_some() {
            bail!(
                "the build cache cannot give the shell its state; --disable-cache builds without it"
            );
        }
        Ok((ended, last))
    }

    /// Runs a text as the script, and removes what it has left.
    fn execute(&self, words: &[OsString], text: &str, before: &[PathBuf]) -> Result<Ended> {
        let words: Vec<&OsStr> = words.iter().map(AsRef::as_ref).collect();
        self.write(POST, text)?;
        let ended = self.container.run(&VARIABLES, &words);
        self.root
            .unlink(Path::new(POST))
            .context("remove the script of %post")?;
        remove_temporary(self.root, before)?;
        ended
    }

    /// Returns the lines before which the script can be divided, as its shell reads it. An empty path
    /// stands for an interpreter that is no such shell.
    fn places(&self, shell: &Path) -> Result<Places> {
        let mut places = divide::places(&self.script.text);
        if places.lines.is_empty() || shell == Path::new("") {
            return Ok(Places::default());
        }
        self.write(POST, &self.script.text)?;
        self.write(CHECK, &check(shell, &places.lines))?;
        let words = [shell.as_os_str(), OsStr::new(CHECK)];
        let ended = self.container.run(&[], &words)?;
        let answer = self.root.read(Path::new(ENDS), LONGEST)?;
        let answer = answer
            .filter(|_| ended.status.success())
            .unwrap_or_default();
        let answer = String::from_utf8_lossy(&answer);
        let ends = answer.lines().filter_map(|line| line.parse().ok());
        let ends: Vec<usize> = ends.collect();
        places.lines.retain(|place| ends.contains(place));
        Ok(places)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = Path::new(path);
        // A link of the image is not followed.
        self.root.unlink(path)?;
        self.root
            .write(path, 0o755, text.as_bytes())
            .context("write %post to the image")
    }

    /// Returns the script's failure.
    fn report(&self, ended: &Ended) -> Result<(), Failed> {
        if ended.status.success() {
            return Ok(());
        }
        let end = described(ended.status);
        let command = ended.command.clone().unwrap_or_default();
        Err(Failed {
            line: line_of(&command, self.script),
            error: match command.is_empty() {
                true => anyhow!("while running %post section: {end}"),
                false => anyhow!("while running %post section: {end}, after `{command}`"),
            },
        })
    }
}

/// Returns the shell that reads the script, if it is one that scripts can be divided for.
fn shell_of(words: &[OsString]) -> Option<PathBuf> {
    let at = words.iter().position(|word| word == "-c");
    let shell = match at {
        None => words.first()?.to_str()?,
        Some(at) => words.get(at + 1)?.to_str()?.split_whitespace().next()?,
    };
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "/._-".contains(one);
    let name = shell.rsplit('/').next()?;
    (shell.starts_with('/') && shell.chars().all(is_plain) && SHELLS.contains(&name))
        .then(|| shell.into())
}

/// Returns a script that prints the numbers of those lines above which there are whole commands.
fn check(shell: &Path, places: &[usize]) -> String {
    let places: Vec<String> = places.iter().map(usize::to_string).collect();
    let (shell, places) = (shell.display(), places.join(" "));
    format!(
        r#"text=
number=0
while IFS= read -r line || [ -n "$line" ]; do
case " {places} " in *" $number "*) {shell} -n -c "$text" && echo $number ;; esac
text="$text$line
"
number=$((number + 1))
done < {POST} > {ENDS} 2>/dev/null
exit 0
"#
    )
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
