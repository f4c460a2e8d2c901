//! `front push IMAGE URI`: a SIF to `oras://`, an image with layers to `docker://`.

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use oci::{Blobs, Digest, Hasher};
use pull::{Access, SIF_LAYER, Source};
use registry::{Reference, Registry};

use crate::caller::Caller;
use crate::cli;
use crate::messages::Messages;

/// Media types of a SIF in a registry, as Apptainer sets them.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.sylabs.sif.config.v1+json";

pub fn run(args: &cli::Push, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let options = args.registry.resolve(caller)?;
    let image = args.image.to_string_lossy();
    options.with_access(caller, messages, |access| {
        match (Source::parse(&args.target)?, Source::parse(&image)?) {
            (Some(Source::Oras(reference)), None) => {
                push_sif(Path::new(&args.image), &reference, access)
            }
            (Some(Source::Docker(reference)), Some(source)) => {
                push_layers(&source, &reference, access)
            }
            (Some(Source::Docker(_)), None) => bail!(
                "{image}: only oci:DIRECTORY, oci-archive:FILE and docker-archive:FILE can be pushed to \
                 docker://; a SIF goes to oras://"
            ),
            (Some(Source::Library(_)), _) => {
                bail!("{}: cannot push to a library; use oras://", args.target)
            }
            _ => bail!(
                "{}: expected a SIF and oras://NAME, or oci:DIRECTORY and docker://NAME",
                args.target
            ),
        }
    })?;
    messages.info(format_args!("Pushed to {}", args.target));
    Ok(ExitCode::SUCCESS)
}

fn push_sif(path: &Path, reference: &Reference, access: &Access) -> Result<()> {
    let named = || path.display().to_string();
    let mut file = File::open(path).with_context(named)?;
    sif::Sif::read(&file).with_context(named)?;
    let mut counted = Counted::default();
    io::copy(&mut file, &mut counted).with_context(named)?;
    let (digest, size) = (counted.hasher.digest(), counted.size);
    let registry = Registry::new(reference, &access.network)?;
    let empty = b"{}";
    send(&registry, empty, access)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let task = access.progress.begin(&name, Some(size));
    registry.send_blob(&digest, size, &|| File::open(path), task)?;
    let mut layer = oci::descriptor(SIF_LAYER, &digest, size);
    layer["annotations"] = serde_json::json!({"org.opencontainers.image.title": name});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": oci::descriptor(CONFIG, &Digest::of(empty), empty.len() as u64),
        "layers": [layer],
    });
    registry.send_manifest(manifest.to_string().as_bytes(), MANIFEST)?;
    Ok(())
}

fn push_layers(source: &Source, reference: &Reference, access: &Access) -> Result<()> {
    let opened = access.open(source)?;
    let (image, blobs) = (opened.image(), opened.blobs());
    let registry = Registry::new(reference, &access.network)?;
    for layer in &image.layers {
        let mut file = spool(blobs, &layer.digest, &access.scratch)?;
        let size = file.metadata()?.len();
        let hex = layer.digest.hex();
        let task = access
            .progress
            .begin(hex.get(..12).unwrap_or(hex), Some(size));
        let again = || {
            let mut file = file.try_clone()?;
            file.rewind()?;
            Ok(file)
        };
        registry.send_blob(&layer.digest, size, &again, task)?;
        file.rewind()?;
    }
    send(&registry, &image.config_text, access)?;
    let (manifest, kind) = image.to_manifest();
    registry.send_manifest(&manifest, &kind)?;
    Ok(())
}

/// Copies a blob to a temporary file, and checks the digest.
fn spool(blobs: &dyn Blobs, digest: &Digest, scratch: &Path) -> Result<File> {
    let mut file = tempfile::tempfile_in(scratch).with_context(|| scratch.display().to_string())?;
    let mut counted = Counted::default();
    let mut blob = blobs.open(digest)?;
    let mut both = Both(&mut file, &mut counted);
    io::copy(&mut blob, &mut both).with_context(|| format!("blob {digest}"))?;
    counted.hasher.check(digest)?;
    Ok(file)
}

fn send(registry: &Registry, content: &[u8], access: &Access) -> Result<()> {
    let file = || {
        let mut file = tempfile::tempfile_in(&access.scratch)?;
        io::copy(&mut &*content, &mut file)?;
        file.rewind()?;
        Ok(file)
    };
    let task = Box::new(progress::Silent);
    registry.send_blob(&Digest::of(content), content.len() as u64, &file, task)?;
    Ok(())
}

/// Counts and hashes the bytes that are written.
#[derive(Default)]
struct Counted {
    hasher: Hasher,
    size: u64,
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to both.
struct Both<'a>(&'a mut File, &'a mut Counted);

impl io::Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
