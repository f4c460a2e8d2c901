//! The build cache: the changes that a step of a build has made to the image's files, under a digest
//! of all that they depend on.
//!
//! The digest begins with that of the base. Each step adds its text and its settings; files that
//! were copied add their content. Nothing is used that another base, text, argument or file has made.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cache::{Cache, Kind};
use pack::Build;
use rootfs::Directory;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use snapshot::{Index, apply, hash_file};

use super::post::{self, Changed};
use crate::caller::Caller;
use crate::messages::Messages;

/// The layer of an entry, compressed with zstd.
const LAYER: &str = "layer";
/// The record of an entry.
const RECORD: &str = "record";
/// Largest record, in bytes.
const LONGEST: u64 = 4 << 20;
/// Level of the compression: the fastest one.
const LEVEL: i32 = 1;
/// Time below which a step is done again rather than kept.
const SHORT: Duration = Duration::from_secs(1);
/// Part of the build's time that looks for changes may take: one in so many.
const SHARE: u32 = 5;
/// Longest chain of entries: those of one script.
const CHAIN: usize = 10_000;

/// The data of an entry besides its layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The entry whose changes come before, for a part of a script.
    pub parent: Option<String>,
    /// A script that gives a new shell the state of the old one.
    pub restore: String,
    /// The script's changes until then, for the entries that come after.
    pub changed: Changed,
}

/// The build cache of a stage.
pub struct BuildCache<'a> {
    cache: Option<&'a Cache>,
    root: Directory,
    /// Digest of all that the tree depends on.
    chain: String,
    /// The tree's state, if it is known.
    index: Option<Index>,
    /// Whether the tree has changes that are not in `chain`.
    is_pending: bool,
    /// Time of the last look.
    looked: Instant,
    messages: &'a Messages,
}

impl<'a> BuildCache<'a> {
    /// Returns the cache for an empty tree. Without `cache`, nothing is kept or used. All depends on the
    /// settings of `build`.
    ///
    /// # Errors
    ///
    /// Fails when the tree cannot be opened.
    pub fn new(
        cache: Option<&'a Cache>,
        build: &Build,
        caller: &Caller,
        tree: &Path,
        messages: &'a Messages,
    ) -> Result<Self> {
        let variables = variables_of_scripts(caller);
        let time = build.is_repeatable.then_some(build.time);
        let owners = (rustix::process::geteuid().as_raw(), build.keeps_owners);
        let settings = format!(
            "{owners:?} {} {:?} {time:?} {variables:?}",
            build.fix_permissions, build.architecture
        );
        Ok(Self {
            cache,
            root: Directory::open_root(tree).with_context(|| tree.display().to_string())?,
            chain: digest(&["front build", env!("CARGO_PKG_VERSION"), &settings]),
            index: Some(Index::default()),
            is_pending: false,
            looked: Instant::now(),
            messages,
        })
    }

    /// Records that the tree has been filled with a base, which `identity` identifies.
    pub fn filled(&mut self, identity: &str) {
        self.chain = digest(&[&self.chain, "base", identity]);
        self.index = None;
    }

    /// Must be called after the tree was changed by what the digest has already.
    pub fn forget(&mut self) {
        if !self.is_pending {
            self.index = None;
        }
    }

    /// Must be called before the tree is changed by anything that is done in each build.
    pub fn changing(&mut self) {
        self.look();
        self.is_pending = true;
    }

    /// Returns the digests of files on which a step depends. If one cannot be read, what follows does not
    /// use the cache.
    pub fn contents<'b>(&mut self, paths: impl Iterator<Item = &'b Path>) -> Vec<String> {
        if self.cache.is_none() {
            return Vec::new();
        }
        match paths.map(content).collect() {
            Ok(found) => found,
            Err(error) => {
                self.stop(&error);
                Vec::new()
            }
        }
    }

    /// Runs a step, or makes its changes from the cache.
    ///
    /// # Errors
    ///
    /// Fails as `act` does, and when changes cannot be made.
    pub fn step(&mut self, words: &[&str], act: impl FnOnce() -> Result<()>) -> Result<()> {
        let Some(key) = self.key(words) else {
            return act();
        };
        if self.restore(&key)?.is_some() {
            self.messages.info("Using cache");
        } else {
            self.look();
            act()?;
            self.keep(&key, Record::default());
        }
        self.chain = key;
        Ok(())
    }

    /// Returns the key of a step that follows now. `None` without a cache.
    pub fn key(&mut self, words: &[&str]) -> Option<String> {
        self.cache?;
        if self.is_pending {
            self.is_pending = false;
            self.include_changes();
        }
        self.cache?;
        let mut all = vec![self.chain.as_str(), "step"];
        all.extend(words);
        Some(digest(&all))
    }

    /// Makes the changes of an entry, and those before it. Returns the entry's record, or `None` if
    /// there is no such entry.
    ///
    /// # Errors
    ///
    /// Fails when the changes cannot be made: the tree is then unusable.
    pub fn restore(&mut self, key: &str) -> Result<Option<Record>> {
        let Some(cache) = self.cache else {
            return Ok(None);
        };
        let mut chain = Vec::new();
        let mut next = Some(key.to_owned());
        while let Some(key) = next.take() {
            let found = cache.find(Kind::Build, &key).ok().flatten();
            let Some(path) = found else { return Ok(None) };
            let record = sys::read_file(&path.join(RECORD), LONGEST).ok();
            let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
            let Some(record) = record else {
                return Ok(None);
            };
            let Ok(layer) = File::open(path.join(LAYER)) else {
                return Ok(None);
            };
            if chain.len() > CHAIN {
                return Ok(None);
            }
            next.clone_from(&record.parent);
            chain.push((path, layer, record));
        }
        let first = chain.first().map(|(_, _, record)| record.clone());
        for (path, layer, _) in chain.into_iter().rev() {
            let made = zstd::Decoder::new(BufReader::new(layer))
                .and_then(|content| apply(content, &self.root));
            if let Err(error) = made {
                // The next build makes it again.
                let _ = rootfs::remove(&path);
                let text = text::message(&error);
                bail!("build cache, {key}: {text}; the entry is removed, so try again");
            }
        }
        self.index = None;
        self.looked = Instant::now();
        Ok(first)
    }

    /// Reads the tree before a step, unless its state is known.
    pub fn look(&mut self) {
        if self.index.is_none() && self.cache.is_some() {
            self.index = self.read();
        }
        self.looked = Instant::now();
    }

    /// Reads the tree, even if its state is known.
    pub fn look_again(&mut self) {
        self.index = None;
        self.look();
    }

    /// Whether enough has been done since the last look for another one.
    pub fn is_due(&self) -> bool {
        let last = self
            .index
            .as_ref()
            .map_or(Duration::ZERO, |index| index.took);
        self.cache.is_some() && self.looked.elapsed() >= SHORT.max(last * SHARE)
    }

    /// Keeps the changes since the last look, unless they were made in a short time. Returns whether
    /// they are kept.
    pub fn keep(&mut self, key: &str, record: Record) -> bool {
        let (Some(cache), Some(before)) = (self.cache, self.index.take()) else {
            return false;
        };
        if self.looked.elapsed() < SHORT && record.parent.is_none() {
            return false;
        }
        let Some(after) = self.read() else {
            return false;
        };
        let mut is_made = false;
        let kept = cache.get(Kind::Build, key, |part| {
            is_made = true;
            fs::create_dir(part)?;
            let file = BufWriter::new(File::create_new(part.join(LAYER))?);
            let mut output = zstd::Encoder::new(file, LEVEL)?;
            after.since(&before).write(&self.root, &mut output)?;
            output.finish()?.into_inner().map_err(io::Error::from)?;
            let mut file = File::create_new(part.join(RECORD))?;
            file.write_all(&serde_json::to_vec(&record)?)
        });
        self.looked = Instant::now();
        if let Err(error) = &kept {
            // Later changes are told against the last state that is kept.
            self.index = Some(before);
            let text = text::message(error);
            self.messages.info(format_args!(
                "The build cache does not keep this step: {text}"
            ));
        } else if is_made {
            self.index = Some(after);
        } else {
            // Another build has made it meanwhile: what follows here does not follow on that.
            self.cache = None;
        }
        kept.is_ok() && is_made
    }

    /// Records that a step with this key has been done.
    pub fn follow(&mut self, key: &str) {
        key.clone_into(&mut self.chain);
    }

    /// Adds the tree's changes to the digest.
    fn include_changes(&mut self) {
        let Some(before) = self.index.take() else {
            return;
        };
        let Some(after) = self.read() else { return };
        let mut hash = Sha256::new();
        match after.since(&before).hash(&self.root, &mut hash) {
            Ok(()) => {
                self.chain = digest(&[&self.chain, "files", &hex(hash)]);
                self.index = Some(after);
            }
            Err(error) => self.stop(&error),
        }
    }

    /// Reads the tree. If that fails, the cache is not used any more.
    fn read(&mut self) -> Option<Index> {
        match Index::read(&self.root) {
            Ok(mut index) => {
                for path in post::FILES {
                    index.leave_out(Path::new(path));
                }
                Some(index)
            }
            Err(error) => {
                self.stop(&error);
                None
            }
        }
    }

    fn stop(&mut self, error: &io::Error) {
        let text = text::message(error);
        self.messages
            .info(format_args!("The build cache is not used: {text}"));
        self.cache = None;
    }
}

/// Returns the variables of the caller's that scripts get.
fn variables_of_scripts(caller: &Caller) -> Vec<(&OsString, &OsString)> {
    let families = ["FRONTENV_", "APPTAINERENV_", "SINGULARITYENV_"];
    let is_theirs = |name: &OsString| {
        let name = name.to_string_lossy();
        families.iter().any(|family| name.starts_with(family))
    };
    let all = caller.variables.0.iter().map(|(name, value)| (name, value));
    let mut found: Vec<_> = all.filter(|(name, _)| is_theirs(name)).collect();
    found.sort();
    found
}

/// Returns the digest of the content of a file, or of all files of a directory, which may be the user's.
///
/// # Errors
///
/// Fails when a file cannot be read.
fn content(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    if path.is_dir() {
        let root = Directory::open_root(path)?;
        let index = Index::read_as_it_is(&root)?;
        index.since(&Index::default()).hash(&root, &mut hash)?;
        return Ok(hex(hash));
    }
    let file = sys::open_regular(path)?;
    hash.update(file.metadata()?.permissions().mode().to_le_bytes());
    hash_file(file, &mut hash)?;
    Ok(hex(hash))
}

/// Returns the digest of a list of texts.
pub fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
