//! An image in one tar file: an OCI layout (`oci-archive`), or the output of `docker save`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::blob::{Blobs, Digest, LONGEST_DOCUMENT};
use crate::image::{Layer, start, unpack};
use crate::metered::Metered;
use crate::slice::Slice;
use crate::{Error, Image, Platform};

/// An opened archive. Nothing is unpacked: the members are read in place.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    members: HashMap<String, Member>,
    /// Names of the blobs whose member is not named after their digest, as in docker's archives.
    names: HashMap<Digest, String>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    offset: u64,
    size: u64,
}

/// An entry of docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Largest number of links that a name may lead through.
const LINKS: usize = 8;
/// Largest number of members. An image has several for each layer.
const MEMBERS: usize = 100_000;

impl Archive {
    /// Opens an archive, which may be compressed as a whole by gzip or zstd. A compressed archive
    /// is unpacked into the directory `scratch`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, or is not a tar.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, Error> {
        let file = sys::open_regular(path).map_err(Error::open(path))?;
        Self::of_file(path, file, scratch)
    }

    /// Reads an archive from an open file. `path` is its name in error messages.
    ///
    /// # Errors
    ///
    /// As for [`Archive::open`].
    pub fn of_file(path: &Path, file: File, scratch: &Path) -> Result<Self, Error> {
        let mut file = plain(file, scratch).map_err(Error::open(path))?;
        let members = members(&mut file).map_err(|error| Error::Document {
            what: path.display().to_string(),
            reason: text::message(&error),
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            members,
            names: HashMap::new(),
        })
    }

    /// Finds the image with a name: a reference name, or docker's `repository:tag`. Without a name,
    /// finds the only image of the archive.
    ///
    /// # Errors
    ///
    /// Fails when there is no such image, or none for the platform.
    pub fn image(&mut self, name: Option<&str>, platform: &Platform) -> Result<Image, Error> {
        if self.members.contains_key("manifest.json") {
            return self.saved_image(name);
        }
        if !self.members.contains_key("index.json") {
            return Err(Error::NoImage(format!(
                "{}: neither docker's manifest.json nor OCI's index.json is in it",
                self.path.display()
            )));
        }
        let index = self.read("index.json")?;
        Image::named(self, &index, name, platform)
    }

    fn saved_image(&mut self, name: Option<&str>) -> Result<Image, Error> {
        let text = self.read("manifest.json")?;
        let saved: Vec<Saved> = serde_json::from_slice(&text).map_err(|error| Error::Document {
            what: format!("{}: manifest.json", self.path.display()),
            reason: error.to_string(),
        })?;
        let tags = |one: &Saved| one.repo_tags.clone().unwrap_or_default();
        let found = match name {
            Some(name) => saved
                .iter()
                .find(|one| tags(one).iter().any(|tag| tag == name)),
            None if saved.len() == 1 => saved.first(),
            None => None,
        };
        let found = found.ok_or_else(|| {
            let offered: Vec<String> = saved.iter().flat_map(tags).collect();
            Error::NoImage(format!(
                "{}: name one of its images: {}",
                self.path.display(),
                offered.join(", ")
            ))
        })?;
        let config = self.read(&found.config)?;
        let mut image = Image::new(config, Vec::new())?;
        let unpacked = image.config.diff_ids();
        if unpacked.len() != found.layers.len() {
            return Err(Error::Document {
                what: format!("{}: manifest.json", self.path.display()),
                reason: "it has not as many layers as the configuration".to_owned(),
            });
        }
        let mut layers = Vec::new();
        for (digest, name) in unpacked.iter().zip(&found.layers) {
            let digest: Digest = digest.parse()?;
            let member = self.member(name)?;
            self.names.insert(digest.clone(), name.clone());
            layers.push(Layer {
                digest,
                size: Some(member.size),
            });
        }
        image.layers = layers;
        Ok(image)
    }

    fn member(&self, name: &str) -> Result<Member, Error> {
        let member = self.members.get(name.trim_start_matches("./"));
        member.copied().ok_or_else(|| Error::Document {
            what: self.path.display().to_string(),
            reason: format!("{name} is missing"),
        })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let member = self.member(name)?;
        sys::read_at_most(self.slice(member), LONGEST_DOCUMENT).map_err(|error| Error::Document {
            what: format!("{}: {name}", self.path.display()),
            reason: text::message(&error),
        })
    }

    fn slice(&self, member: Member) -> Slice<'_> {
        Slice::new(&self.file, member.offset, member.size)
    }
}

impl Blobs for Archive {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        let usual = format!("blobs/sha256/{}", digest.hex());
        let name = self.names.get(digest).unwrap_or(&usual);
        let member = self
            .member(name)
            .map_err(|_| Error::Missing(digest.to_string()))?;
        Ok(Box::new(self.slice(member)))
    }
}

/// Unpacks a compressed file to an unnamed file, because the members are read out of order.
fn plain(mut file: File, scratch: &Path) -> io::Result<File> {
    file.rewind()?;
    let mut first = start(&mut file)?;
    if !matches!(
        first.as_slice(),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]
    ) {
        return Ok(file);
    }
    let mut plain = tempfile::tempfile_in(scratch)?;
    io::copy(&mut unpack(&mut first, file)?, &mut plain)?;
    Ok(plain)
}

/// Returns the offsets and sizes of a tar's members.
fn members(file: &mut File) -> io::Result<HashMap<String, Member>> {
    file.rewind()?;
    let mut members = HashMap::new();
    let mut links = Vec::new();
    // The reader seeks over the contents between the headers, so the meter does not count them.
    let (metered, meter) = Metered::new(file);
    let mut archive = tar::Archive::new(metered);
    let mut entries = archive.entries_with_seek()?;
    loop {
        meter.allow_headers(0);
        let Some(entry) = entries.next() else { break };
        let entry = entry?;
        if members.len() + links.len() >= MEMBERS {
            return Err(io::Error::other(format!(
                "it has more than {MEMBERS} members, which no image needs"
            )));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./").to_owned();
        if let Some(target) = entry.link_name_bytes() {
            links.push((name, String::from_utf8_lossy(&target).into_owned()));
        } else {
            let member = Member {
                offset: entry.raw_file_position(),
                size: entry.size(),
            };
            members.insert(name, member);
        }
    }
    // Old versions of docker wrote a layer that was already in the archive as a link to it.
    for _ in 0..LINKS {
        for (name, target) in &links {
            let base = Path::new(name).parent().unwrap_or(Path::new(""));
            if let Some(member) = members.get(&normal(&base.join(target))).copied() {
                members.insert(name.clone(), member);
            }
        }
    }
    Ok(members)
}

fn normal(path: &Path) -> String {
    let mut names: Vec<&std::ffi::OsStr> = Vec::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => names.push(name),
            std::path::Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    PathBuf::from_iter(names).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_members_without_end_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.tar");
        let open = |write: &dyn Fn(&mut tar::Builder<File>)| {
            let mut tar = tar::Builder::new(File::create(&path).unwrap());
            write(&mut tar);
            tar.into_inner().unwrap();
            Archive::open(&path, home.path()).map(|archive| archive.members.len())
        };
        let member = |tar: &mut tar::Builder<File>, kind, name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content).unwrap();
        };
        let regular = tar::EntryType::Regular;
        let two = open(&|tar| {
            member(tar, regular, "a", &[0; 5 << 20]);
            member(tar, regular, "b", b"");
        });
        assert_eq!(two.unwrap(), 2);
        let long = open(&|tar| {
            member(tar, tar::EntryType::GNULongName, "l", &[b'x'; 5 << 20]);
            member(tar, regular, "a", b"");
        });
        let error = long.unwrap_err().to_string();
        assert!(error.contains("four mebibytes"), "{error}");
        let many = open(&|tar| {
            for number in 0..=MEMBERS {
                member(tar, regular, &number.to_string(), b"");
            }
        });
        let error = many.unwrap_err().to_string();
        assert!(error.contains("more than 100000 members"), "{error}");
    }
}
