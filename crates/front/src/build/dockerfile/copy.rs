//! `COPY` and `ADD`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use definition::dockerfile::{HereDocument, Instruction};
use pull::Source as ImageSource;
use rootfs::{Directory, Entry, Files as _};

use super::super::copy::{Owner, Source};
use super::{DockerBuild, State, Work, archive};

/// The arguments of `COPY` or `ADD`.
pub(super) struct Files<'a> {
    pub(super) sources: &'a [String],
    pub(super) documents: &'a [HereDocument],
    pub(super) target: &'a str,
    pub(super) is_add: bool,
}

impl DockerBuild<'_> {
    /// Copies files into the image.
    pub(super) fn copy(
        &self,
        instruction: &Instruction,
        files: &Files<'_>,
        state: &State,
        work: &Work<'_>,
    ) -> Result<()> {
        let root = Directory::open_root(work.tree)?;
        let (mut mode, mut from, mut owner) = (None, None, None);
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
                "chown" => owner = Some(owner_of(&value, &root)?),
                "link" => {}
                "from" => from = Some(value),
                other => bail!("--{other} is not supported"),
            }
        }
        let is_directory =
            files.target.ends_with('/') || files.sources.len() > 1 || files.target == ".";
        let target = state.absolute(files.target);
        let opened = match &from {
            Some(word) => Some(self.files_of(word, work)?),
            None => None,
        };
        let ignored = |path: &Path| self.ignored.has(path);
        let source = match &opened {
            Some(root) => Source {
                mode,
                owner: owner.unwrap_or(Owner::Same),
                ..Source::stage(root)
            },
            None => Source {
                mode,
                owner: owner.unwrap_or(Owner::Caller),
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
            } else if files.is_add && is_address(word) {
                self.fetch(word, &target, (is_directory, mode), &root)?;
            } else {
                let found = source.matched(word.trim_start_matches('/'))?;
                let is_there = root.entry(&target)? == Some(Entry::Directory);
                let is_directory = is_directory || is_there || found.len() > 1;
                for path in found {
                    if files.is_add && archive::is_archive(self.context, &path)? {
                        let unpacked = archive::unpack(self.context, &path, &target, &root);
                        unpacked.with_context(|| word.clone())?;
                    } else {
                        source.copy_content((word, &path), &target, is_directory, &root)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Fetches a file for `ADD`.
    fn fetch(
        &self,
        word: &str,
        target: &Path,
        (is_directory, mode): (bool, Option<u32>),
        root: &Directory,
    ) -> Result<()> {
        if !word.starts_with("http://") && !word.starts_with("https://") {
            bail!("ADD {word}: only files, http:// and https:// are supported");
        }
        let source = ImageSource::Net(word.to_owned());
        let fetched = self.access.sif(&source, self.build)?;
        let name = word.rsplit('/').next().filter(|name| !name.is_empty());
        let path = match is_directory {
            true => target.join(name.with_context(|| format!("{word}: it has no file name"))?),
            false => target.to_owned(),
        };
        let mut file = root.create(&path, mode.unwrap_or(0o600))?;
        std::io::copy(&mut std::fs::File::open(fetched)?, &mut file)?;
        Ok(())
    }

    /// Opens the files of another stage, or of an image.
    fn files_of(&self, word: &str, work: &Work<'_>) -> Result<Directory> {
        let tree = self.tree_of(word, work);
        let tree = tree.with_context(|| format!("--from={word}"))?;
        Ok(Directory::open_root(&tree)?)
    }
}

/// Returns the owner that `--chown` names: a user and a group, by name or number. Without a group, its
/// number is that of the user.
fn owner_of(word: &str, root: &Directory) -> Result<Owner> {
    /// Largest list of users, in bytes.
    const LARGEST: usize = 1 << 20;
    let number = |name: &str, list: &str, what: &str| {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let text = root.read(Path::new(list), LARGEST)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines = text.lines().map(|line| line.split(':'));
        let found = lines.find_map(|mut fields| {
            let number = (fields.next()? == name).then(|| fields.nth(1))?;
            number?.parse::<u32>().ok()
        });
        found.with_context(|| format!("--chown={word}: the image has no {what} {name}"))
    };
    let (user, group) = match word.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (word, None),
    };
    let user = number(user, "/etc/passwd", "user")?;
    let group = match group {
        Some(group) => number(group, "/etc/group", "group")?,
        None => user,
    };
    Ok(Owner::Other(user, group))
}

/// Whether a source is not a file of the context.
fn is_address(word: &str) -> bool {
    word.contains("://") || word.starts_with("git@")
}

/// Quotes a text so that only its variables are replaced.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}
