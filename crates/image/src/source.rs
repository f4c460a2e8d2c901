//! Where an image may come from, as a user writes it.

use std::path::{Path, PathBuf};

use oci::{Archive, Blobs, Image, Layout, Platform};

/// What a user's word for an image leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `oci:DIRECTORY[:NAME]`, an OCI layout.
    Layout(PathBuf, Option<String>),
    /// `oci-archive:FILE[:NAME]`, an OCI layout in a tar file.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:NAME]`, what `docker save` writes.
    DockerArchive(PathBuf, Option<String>),
}

/// An image and where its blobs are.
pub type Opened = (Image, Box<dyn Blobs>);

impl Source {
    /// Reads a word; `None` for one that is a path, or of another kind.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let (kind, rest) = word.split_once(':')?;
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) if !name.is_empty() => (path, Some(name.to_owned())),
            Some((path, _)) => (path, None),
            None => (rest, None),
        };
        let path = PathBuf::from(path);
        match kind {
            "oci" => Some(Self::Layout(path, name)),
            "oci-archive" => Some(Self::OciArchive(path, name)),
            "docker-archive" => Some(Self::DockerArchive(path, name)),
            _ => None,
        }
    }

    /// Returns what a definition file would call it: its kind, and the rest.
    #[must_use]
    pub fn bootstrap(&self) -> (String, String) {
        let (kind, path, name) = match self {
            Self::Layout(path, name) => ("oci", path, name),
            Self::OciArchive(path, name) => ("oci-archive", path, name),
            Self::DockerArchive(path, name) => ("docker-archive", path, name),
        };
        let name = name
            .as_ref()
            .map(|name| format!(":{name}"))
            .unwrap_or_default();
        (kind.to_owned(), format!("{}{name}", path.display()))
    }

    /// Opens it. `scratch` is a directory with room for an archive that is packed as a whole.
    ///
    /// # Errors
    ///
    /// Fails when it is not there, is none, or has no image of that name or for this platform.
    pub fn open(&self, platform: &Platform, scratch: &Path) -> Result<Opened, oci::Error> {
        match self {
            Self::Layout(path, name) => {
                let layout = Layout::open(path)?;
                let image = layout.image(name.as_deref(), platform)?;
                Ok((image, Box::new(layout)))
            }
            Self::OciArchive(path, name) | Self::DockerArchive(path, name) => {
                let mut archive = Archive::open(path, scratch)?;
                let image = archive.image(name.as_deref(), platform)?;
                Ok((image, Box::new(archive)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_paths() {
        let parse = |word| Source::parse(word);
        assert_eq!(parse("oci:/a/b"), Some(Source::Layout("/a/b".into(), None)));
        assert_eq!(
            parse("docker-archive:a.tar:img:1.0"),
            Some(Source::DockerArchive(
                "a.tar".into(),
                Some("img:1.0".to_owned())
            ))
        );
        assert_eq!(parse("image.sif"), None);
        assert_eq!(parse("./oci:x"), None);
    }
}
