//! What an image says of itself, in `.singularity.d`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use tree::{Entry, Files as _};

use crate::RootFs;

/// What an image says of itself, in the order in which Apptainer prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// Its applications (SCIF), by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, App>,
    /// Its environment scripts, by their paths in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What `run` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runscript: Option<String>,
    /// What `test` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// What `run-help` prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helpfile: Option<String>,
    /// What it was built of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deffile: Option<String>,
    /// What an instance runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startscript: Option<String>,
}

/// What an application says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct App {
    /// Its environment script, by its path in the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What `run --app` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runscript: Option<String>,
    /// What `test --app` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Its help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helpfile: Option<String>,
}

/// The most that is read of a file.
pub(crate) const LONGEST: usize = 1 << 20;

/// The most that is read of all files and names together.
const ALL: usize = 16 << 20;
/// The cost of a name, since its files are looked for: an image can have a great many without content.
const NAME: usize = 1 << 10;

/// An image's files, of which no more is read than all that an honest one says of itself.
struct Bounded<'a> {
    files: &'a dyn Files,
    left: Cell<usize>,
}

impl Bounded<'_> {
    fn take(&self, size: usize) -> io::Result<()> {
        let left = self.left.get().checked_sub(size).ok_or_else(|| {
            io::Error::other(
                "/.singularity.d and /scif/apps: there is more than 16 MiB of scripts and labels; \
                 remove those that are not needed",
            )
        })?;
        self.left.set(left);
        Ok(())
    }
}

impl Files for Bounded<'_> {
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.files.bytes(path)?;
        self.take(bytes.as_ref().map_or(0, Vec::len))?;
        Ok(bytes)
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let names = self.files.names(path)?;
        self.take(names.len().saturating_mul(NAME))?;
        Ok(names)
    }
}

impl Attributes {
    /// Reads them from an image's files.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged.
    pub fn read(root: &RootFs) -> io::Result<Self> {
        Self::of(root)
    }

    pub(crate) fn of(files: &dyn Files) -> io::Result<Self> {
        let files = &Bounded {
            files,
            left: Cell::new(ALL),
        };
        let own = |name: &str| text(files, &format!("/.singularity.d/{name}"));
        let mut apps = BTreeMap::new();
        for name in files.names("/scif/apps")? {
            let at = |file: &str| text(files, &format!("/scif/apps/{name}/scif/{file}"));
            let app = App {
                labels: labels(at("labels.json")?),
                environment: scripts(files, &format!("/scif/apps/{name}/scif/env"))?,
                runscript: at("runscript")?,
                test: at("test")?,
                helpfile: at("runscript.help")?,
            };
            apps.insert(name, app);
        }
        Ok(Self {
            labels: labels(own("labels.json")?),
            environment: scripts(files, "/.singularity.d/env")?,
            runscript: own("runscript")?,
            startscript: own("startscript")?,
            test: own("test")?,
            helpfile: own("runscript.help")?,
            deffile: own("Singularity")?,
            apps,
        })
    }

    /// Returns them as `inspect --json` prints them.
    #[must_use]
    pub fn document(&self) -> impl Serialize + '_ {
        Document {
            data: Data { attributes: self },
            kind: "container",
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    data: Data<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Data<'a> {
    attributes: &'a Attributes,
}

/// What is no flat map of strings has no labels in it that could be shown.
fn labels(text: Option<String>) -> BTreeMap<String, String> {
    let document: Option<Map<String, Value>> =
        text.and_then(|text| serde_json::from_str(&text).ok());
    let pairs = document.into_iter().flatten();
    pairs
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

/// Where files can be read by their paths in an image.
pub(crate) trait Files {
    /// The content of a small file; `None` when there is none.
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// The names in a directory; none when there is no such directory.
    fn names(&self, path: &str) -> io::Result<Vec<String>>;
}

impl Files for RootFs {
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.read(Path::new(path), LONGEST)
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let is_directory = matches!(self.entry(Path::new(path))?, Some(Entry::Directory));
        if !is_directory {
            return Ok(Vec::new());
        }
        let names = self.list(Path::new(path))?.into_iter();
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }
}

fn text(files: &dyn Files, path: &str) -> io::Result<Option<String>> {
    let bytes = files.bytes(path)?;
    Ok(bytes.map(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        text.trim_end_matches('\n').to_owned()
    }))
}

/// Whether an environment script is the image's own, and not one that every image has.
fn is_told(name: &str) -> bool {
    name.ends_with(".sh") && name.starts_with("10-docker")
        || name.ends_with("-environment.sh") && name.starts_with('9')
}

fn scripts(files: &dyn Files, directory: &str) -> io::Result<BTreeMap<String, String>> {
    let mut scripts = BTreeMap::new();
    for name in files.names(directory)? {
        let path = format!("{directory}/{name}");
        if is_told(&name)
            && let Some(text) = text(files, &path)?
        {
            scripts.insert(path, text);
        }
    }
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_an_honest_image_has() {
        let home = tempfile::tempdir().unwrap();
        let env = home.path().join(".singularity.d/env");
        std::fs::create_dir_all(&env).unwrap();
        let root = crate::Image::open(home.path()).unwrap().root;
        let script = "x".repeat(LONGEST);
        for number in 0..8 {
            std::fs::write(env.join(format!("10-docker{number}.sh")), &script).unwrap();
        }
        assert_eq!(Attributes::read(&root).unwrap().environment.len(), 8);
        for number in 8..20 {
            std::fs::write(env.join(format!("10-docker{number}.sh")), &script).unwrap();
        }
        let error = Attributes::read(&root).unwrap_err().to_string();
        assert!(error.contains("more than 16 MiB"), "{error}");
    }
}
