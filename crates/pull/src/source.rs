//! The sources of images, as a user writes them.

use std::path::PathBuf;

use registry::Reference;

/// The source that a user's text refers to, if it is not a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `oci:DIRECTORY[:NAME]`, an OCI layout.
    Layout(PathBuf, Option<String>),
    /// `oci-archive:FILE[:NAME]`, an OCI layout in a tar file.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:NAME]`, the output of `docker save`.
    DockerArchive(PathBuf, Option<String>),
    /// `docker-daemon:NAME`, an image of this machine's docker daemon.
    DockerDaemon(String),
    /// `docker://NAME`, an image in a registry.
    Docker(Reference),
    /// `oras://NAME`, a SIF in a registry.
    Oras(Reference),
    /// `library://NAME`, a SIF in a library.
    Library(String),
    /// `http://…` and `https://…`, a SIF at an address.
    Net(String),
}

/// Why a text is not a source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The text after `docker://` is not a name.
    #[error(transparent)]
    Reference(#[from] registry::Error),
    /// The kind of source is unknown or not supported.
    #[error("{word}: {reason}")]
    Kind {
        /// The user's text.
        word: String,
        /// Why it is not a source.
        reason: &'static str,
    },
}

impl Source {
    /// Parses a user's text. Returns `None` for a path.
    ///
    /// # Errors
    ///
    /// Fails on a text that looks like a source but is not one.
    pub fn parse(word: &str) -> Result<Option<Self>, SourceError> {
        if let Some((scheme, rest)) = word.split_once("://") {
            return match Self::of_scheme(scheme, rest, word)? {
                Some(source) => Ok(Some(source)),
                None => Err(SourceError::Kind {
                    word: word.to_owned(),
                    reason: "no such kind of image; there are docker://, oras://, library://, http:// and https://",
                }),
            };
        }
        let Some((kind, rest)) = word.split_once(':') else {
            return Ok(None);
        };
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) if !name.is_empty() => (path, Some(name.to_owned())),
            Some((path, _)) => (path, None),
            None => (rest, None),
        };
        let path = PathBuf::from(path);
        Ok(match kind {
            "oci" => Some(Self::Layout(path, name)),
            "oci-archive" => Some(Self::OciArchive(path, name)),
            "docker-archive" => Some(Self::DockerArchive(path, name)),
            "docker-daemon" => Some(Self::DockerDaemon(rest.to_owned())),
            _ => None,
        })
    }

    fn of_scheme(scheme: &str, rest: &str, word: &str) -> Result<Option<Self>, SourceError> {
        let refused = |reason| {
            Err(SourceError::Kind {
                word: word.to_owned(),
                reason,
            })
        };
        Ok(Some(match scheme {
            "docker" => Self::Docker(registry::reference(rest)?),
            "oras" => Self::Oras(registry::reference(rest)?),
            "library" => Self::Library(rest.to_owned()),
            "http" | "https" => Self::Net(word.to_owned()),
            "docker-daemon" => Self::DockerDaemon(rest.to_owned()),
            "oci" | "oci-archive" | "docker-archive" => {
                return Self::parse(&format!("{scheme}:{rest}"));
            }
            "shub" => return refused("Singularity Hub was closed in 2021"),
            "instance" => return refused("an instance is no image; exec, run and shell join it"),
            _ => return Ok(None),
        }))
    }

    /// Returns the source in the form of a definition file: its kind, and the rest.
    #[must_use]
    pub fn bootstrap(&self) -> (String, String) {
        let file = |kind: &str, path: &PathBuf, name: &Option<String>| {
            let name = name.as_ref().map(|name| format!(":{name}"));
            let rest = format!("{}{}", path.display(), name.unwrap_or_default());
            (kind.to_owned(), rest)
        };
        match self {
            Self::Layout(path, name) => file("oci", path, name),
            Self::OciArchive(path, name) => file("oci-archive", path, name),
            Self::DockerArchive(path, name) => file("docker-archive", path, name),
            Self::DockerDaemon(name) => ("docker-daemon".to_owned(), name.clone()),
            Self::Docker(reference) => ("docker".to_owned(), reference.whole()),
            Self::Oras(reference) => ("oras".to_owned(), reference.whole()),
            Self::Library(name) => ("library".to_owned(), name.clone()),
            Self::Net(address) => ("net".to_owned(), address.clone()),
        }
    }

    /// Returns the default name of a file for this source: the image's name and tag.
    #[must_use]
    pub fn file_name(&self) -> String {
        let last = |text: &str| {
            let text = text.trim_end_matches('/');
            let text = text.split(['?', '#']).next().unwrap_or_default();
            text.rsplit('/').next().unwrap_or_default().to_owned()
        };
        let with_tag = |name: &str, tag: Option<&str>| match tag {
            Some(tag) => format!("{}_{tag}.sif", last(name)),
            None => format!("{}.sif", last(name)),
        };
        let of_file = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            format!("{}.sif", stem.to_string_lossy())
        };
        match self {
            Self::Layout(path, _) | Self::OciArchive(path, _) | Self::DockerArchive(path, _) => {
                of_file(path)
            }
            Self::Docker(reference) | Self::Oras(reference) => {
                let tag = reference.tag().or_else(|| {
                    let digest = reference.digest()?.strip_prefix("sha256:")?;
                    digest.get(..12)
                });
                with_tag(reference.repository(), tag)
            }
            Self::DockerDaemon(name) | Self::Library(name) => match last(name).split_once(':') {
                Some((name, tag)) => with_tag(name, Some(tag)),
                None => with_tag(name, Some("latest")),
            },
            Self::Net(address) => match last(address) {
                name if name.is_empty() => "image.sif".to_owned(),
                name => name,
            },
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, rest) = self.bootstrap();
        match self {
            Self::Docker(_) | Self::Oras(_) | Self::Library(_) => write!(f, "{kind}://{rest}"),
            Self::Net(_) => write!(f, "{rest}"),
            _ => write!(f, "{kind}:{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_paths() {
        let parse = |word| Source::parse(word).unwrap();
        assert_eq!(parse("oci:/a/b"), Some(Source::Layout("/a/b".into(), None)));
        assert_eq!(
            parse("docker-archive:a.tar:img:1.0"),
            Some(Source::DockerArchive(
                "a.tar".into(),
                Some("img:1.0".to_owned())
            ))
        );
        assert_eq!(
            parse("docker-daemon:img:1.0"),
            Some(Source::DockerDaemon("img:1.0".to_owned()))
        );
        assert_eq!(parse("image.sif"), None);
        assert_eq!(parse("./oci:x"), None);
        let whole = parse("docker://localhost:5000/a:1").unwrap().to_string();
        assert_eq!(whole, "docker://localhost:5000/a:1");
    }

    #[test]
    fn what_is_no_source_is_refused_by_name() {
        for word in ["docker://", "docker://A", "shub://x", "ftp://x/y.sif"] {
            let error = Source::parse(word).unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn files_are_named_by_image_and_tag() {
        let name = |word: &str| Source::parse(word).unwrap().unwrap().file_name();
        assert_eq!(name("docker://alpine"), "alpine_latest.sif");
        assert_eq!(name("docker://nvcr.io/a/b:1.2"), "b_1.2.sif");
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(
            name(&format!("docker://a@sha256:{digest}")),
            "a_0123456789ab.sif"
        );
        assert_eq!(name("oras://localhost:5000/x/y:z"), "y_z.sif");
        assert_eq!(name("library://a/b/c:d"), "c_d.sif");
        assert_eq!(name("https://host/p/img.sif?x=1"), "img.sif");
        assert_eq!(name("https://host/"), "host");
        assert_eq!(name("oci-archive:/a/b.tar"), "b.sif");
    }
}
