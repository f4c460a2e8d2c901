//! The metadata of an image, in `.singularity.d`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use rootfs::{Entry, Files as _};

use crate::RootFs;

/// The metadata of an image, in the order in which Apptainer prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// The image's applications (SCIF), by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, App>,
    /// The image's environment scripts, by their paths in the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The image's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The script for `run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runscript: Option<String>,
    /// The script for `test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The text for `run-help`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helpfile: Option<String>,
    /// The definition file that the image was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deffile: Option<String>,
    /// The script for an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startscript: Option<String>,
}

/// The metadata of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct App {
    /// The application's environment script, by its path in the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The application's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The script for `run --app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runscript: Option<String>,
    /// The script for `test --app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The application's help text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helpfile: Option<String>,
}

/// Largest part of a file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// Largest total size of all files and names that are read, in bytes.
const ALL: usize = 16 << 20;
/// The cost of a name, in bytes. Each name costs a search for its files, and an image can have many
/// names without content.
const NAME: usize = 1 << 10;

/// An image's files, with a limit on the total size that is read. Valid images do not reach it.
struct Bounded<'a> {
    files: &'a dyn SmallFiles,
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

impl SmallFiles for Bounded<'_> {
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
    /// Reads the metadata of an image.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged.
    pub fn read(root: &RootFs) -> io::Result<Self> {
        Self::of(root)
    }

    /// Reads the metadata from files that need not be a [`RootFs`].
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged.
    pub fn of(files: &dyn SmallFiles) -> io::Result<Self> {
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

    /// Returns the document that `inspect --json` prints.
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

/// Reads labels from JSON. Anything but a flat map of strings is ignored, because it cannot be
/// shown.
fn labels(text: Option<String>) -> BTreeMap<String, String> {
    let document: Option<Map<String, Value>> =
        text.and_then(|text| serde_json::from_str(&text).ok());
    let pairs = document.into_iter().flatten();
    pairs
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

/// The scripts and labels of an image, read by their paths in it.
pub trait SmallFiles {
    /// Returns at most [`MAX_FILE`] bytes of a regular file, `None` when there is none.
    ///
    /// # Errors
    ///
    /// Fails when the file system cannot be read or is damaged there.
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// Returns the names in a directory, or no names when there is no such directory.
    ///
    /// # Errors
    ///
    /// As [`SmallFiles::bytes`].
    fn names(&self, path: &str) -> io::Result<Vec<String>>;
}

impl SmallFiles for RootFs {
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.read(Path::new(path), MAX_FILE)
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

fn text(files: &dyn SmallFiles, path: &str) -> io::Result<Option<String>> {
    let bytes = files.bytes(path)?;
    Ok(bytes.map(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        text.trim_end_matches('\n').to_owned()
    }))
}

/// Whether an environment script belongs to this image, unlike the scripts that every image has.
fn is_told(name: &str) -> bool {
    name.ends_with(".sh") && name.starts_with("10-docker")
        || name.ends_with("-environment.sh") && name.starts_with('9')
}

fn scripts(files: &dyn SmallFiles, directory: &str) -> io::Result<BTreeMap<String, String>> {
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
        let script = "x".repeat(MAX_FILE);
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
