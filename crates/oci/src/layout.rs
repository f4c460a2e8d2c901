//! An OCI layout: a directory with `index.json` and `blobs/` (image-spec, image-layout.md).

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::blob::{Blobs, Digest, LONGEST_DOCUMENT};
use crate::{Error, Image, Platform};

/// An OCI layout.
#[derive(Debug)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    ///
    /// Fails when the directory is not a layout.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let index = directory.join("index.json");
        std::fs::metadata(&index).map_err(Error::open(&index))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Finds the image with a reference name. Without a name, finds the only image of the layout.
    ///
    /// # Errors
    ///
    /// Fails when there is no such image, or none for the platform.
    pub fn image(&self, name: Option<&str>, platform: &Platform) -> Result<Image, Error> {
        let index = self.directory.join("index.json");
        let text = sys::read_file(&index, LONGEST_DOCUMENT).map_err(Error::open(&index))?;
        Image::named(self, &text, name, platform)
    }
}

impl Blobs for Layout {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        let path = self.directory.join("blobs/sha256").join(digest.hex());
        match sys::open_regular(&path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::Missing(digest.to_string()))
            }
            Err(error) => Err(Error::open(path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_without_end_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let index = home.path().join("index.json");
        let file = std::fs::File::create(&index).unwrap();
        file.set_len(LONGEST_DOCUMENT + 1).unwrap();
        let platform = Platform {
            architecture: "amd64".to_owned(),
            variants: Vec::new(),
        };
        let layout = Layout::open(home.path()).unwrap();
        let error = text::one_line(&layout.image(None, &platform).unwrap_err());
        assert!(error.contains("more than 16777216 bytes"), "{error}");
    }
}
