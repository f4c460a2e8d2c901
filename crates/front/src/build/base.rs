//! The base of an image: the files that a stage begins with.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use definition::Header;
use image::{Image, Medium, RootFs};
use oci::Config;
use pack::Build;
use pull::{Access, Source};
use rootfs::Directory;

use super::build_cache::{BuildCache, digest};
use super::copy;
use super::scripts::Scripts;

/// The access to bases.
pub struct Bases<'a> {
    pub access: &'a Access<'a>,
    pub build: &'a Build,
    /// The directory to which relative paths refer.
    pub cwd: &'a Path,
    pub scripts: &'a Scripts<'a>,
}

impl Bases<'_> {
    /// Fills an empty directory.
    ///
    /// # Errors
    ///
    /// Fails on an unknown agent, a missing keyword, and a base that cannot be had.
    pub fn fill(&self, header: &Header, tree: &Path, cache: &mut BuildCache<'_>) -> Result<()> {
        let agent = header
            .get("bootstrap")
            .context("no bootstrap specification found")?;
        let agent = agent.to_ascii_lowercase();
        let progress = self.access.progress;
        match agent.as_str() {
            "docker" => self.layers(&format!("docker://{}", in_registry(header)?), tree, cache),
            "docker-archive" | "docker-daemon" | "oci" | "oci-archive" => {
                self.layers(&format!("{agent}:{}", from(header)?), tree, cache)
            }
            "oras" | "library" | "shub" | "http" | "https" => {
                let word = format!("{agent}://{}", from(header)?.trim_start_matches("//"));
                let path = self.access.sif(&parse(&word)?, self.build)?;
                self.image(&path, tree, cache)
            }
            "localimage" => {
                let path = self.cwd.join(from(header)?);
                progress.note("Extracting local image...");
                self.image(&path, tree, cache)
            }
            "scratch" => {
                cache.filled(&agent);
                Ok(())
            }
            "busybox" => {
                cache.changing();
                self.busybox(header, tree)
            }
            "debootstrap" | "mmdebstrap" | "yum" | "dnf" | "zypper" => {
                let keywords = format!("{:?}", header.iter().collect::<Vec<_>>());
                let install = || self.scripts.install(&agent, header);
                cache.step(&["install", &keywords], install)
            }
            "arch" => bail!(
                "Bootstrap: arch is not supported; use an image of the distribution: Bootstrap: docker, From: archlinux"
            ),
            unknown => bail!("invalid build source {unknown}"),
        }
    }

    fn layers(&self, word: &str, tree: &Path, cache: &mut BuildCache<'_>) -> Result<()> {
        self.access.progress.note("Extracting OCI image...");
        unpack_layers(self.access, self.build, word, tree, cache)?;
        // The definition file takes the place of this record.
        let root = Directory::open_root(tree)?;
        for file in ["Singularity", "test"] {
            root.unlink(&Path::new("/.singularity.d").join(file))?;
        }
        Ok(())
    }

    fn image(&self, path: &Path, tree: &Path, cache: &mut BuildCache<'_>) -> Result<()> {
        let image = match Image::open_foreign(path) {
            Err(image::Error::Legacy { path, offset }) => {
                Image::open(&self.access.sif_of_ext(&path, offset, self.build)?)?
            }
            opened => opened?,
        };
        match (&image.root, image.medium) {
            (RootFs::Squashfs(squashed), _) => {
                pack::unpack(squashed, path, tree, self.build.keeps_owners)?;
                cache.filled(&stamp(path)?);
                Ok(())
            }
            (RootFs::Directory(directory), Medium::Sandbox) => {
                cache.changing();
                let into = Directory::open_root(tree)?;
                let note = copy::whole(directory, &into)?;
                note.iter().for_each(|note| self.access.progress.note(note));
                Ok(())
            }
            _ => bail!("{}: cannot build from this kind of image", path.display()),
        }
    }

    /// Fetches busybox, and lets it install its commands.
    fn busybox(&self, header: &Header, tree: &Path) -> Result<()> {
        let address = header.get("mirrorurl");
        let address = address.context("invalid busybox header, no mirrorurl specified")?;
        let fetched = self
            .access
            .sif(&Source::Net(address.to_owned()), self.build)?;
        let into = Directory::open_root(tree)?;
        let mut program = into.create(Path::new("/bin/busybox"), 0o755)?;
        std::io::copy(&mut File::open(fetched)?, &mut program)?;
        drop(program);
        let files = [
            ("/etc/passwd", "root:!:0:0:root:/root:/bin/sh\n"),
            ("/etc/group", "root:x:0:\n"),
            ("/etc/hosts", "127.0.0.1 localhost\n"),
        ];
        for (path, content) in files {
            into.write(Path::new(path), 0o644, content.as_bytes())?;
        }
        self.scripts.program(&["/bin/busybox", "--install", "/bin"])
    }
}

/// Unpacks an image with layers into an empty directory. Returns its configuration.
///
/// # Errors
///
/// Fails when the image cannot be had or read, and when a file cannot be made.
pub fn unpack_layers(
    access: &Access<'_>,
    build: &Build,
    word: &str,
    tree: &Path,
    cache: &mut BuildCache<'_>,
) -> Result<Config> {
    let opened = access.open(&parse(word)?)?;
    let progress = access.progress;
    let note = opened.with(|image, blobs| build.sandbox(image, blobs, tree, progress))?;
    if let Some(note) = note {
        progress.note(&note);
    }
    let image = opened.image();
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    cache.filled(&digest(&[
        &String::from_utf8_lossy(&image.config_text),
        &layers.join(" "),
    ]));
    Ok(image.config.clone())
}

/// Returns a text that changes whenever a file does: its place on the disk, its size and its times.
fn stamp(path: &Path) -> Result<String> {
    let path = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    let above = Directory::open_root(path.parent().unwrap_or(Path::new("/")))?;
    Ok(above.stamp(Path::new(path.file_name().unwrap_or_default()))?)
}

/// Whether an agent makes a base that is no image.
pub fn is_bare(agent: &str) -> bool {
    let agents = [
        "scratch",
        "busybox",
        "debootstrap",
        "mmdebstrap",
        "yum",
        "dnf",
        "zypper",
    ];
    agents.iter().any(|one| one.eq_ignore_ascii_case(agent))
}

fn parse(word: &str) -> Result<Source> {
    Source::parse(word)?.ok_or_else(|| anyhow!("{word}: not the name of an image"))
}

fn from(header: &Header) -> Result<&str> {
    header.get("from").context("the keyword From is missing")
}

/// Returns the name of an image in a registry.
fn in_registry(header: &Header) -> Result<String> {
    let parts = ["registry", "namespace"].map(|keyword| header.get(keyword));
    let from = from(header)?.trim_start_matches("//");
    let parts: Vec<&str> = parts.into_iter().flatten().chain([from]).collect();
    Ok(parts.join("/"))
}
