//! An image: its configuration and its layers.

use std::io::{self, BufReader, Read};

use crate::Error;
use crate::blob::{Blobs, Checked, Digest, document};
use crate::config::Config;
use crate::manifest::{Descriptor, Index, Manifest};

/// The platform for which an image is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Go's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// Variants of the architecture that this machine runs, the best first: `v3`, `v2`.
    pub variants: Vec<String>,
}

/// An image's configuration and layers.
#[derive(Debug, Clone)]
pub struct Image {
    /// The configuration.
    pub config: Config,
    /// The text of the configuration, as in the image.
    pub config_text: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// The text of the manifest, as in the image. An archive of docker's has none.
    pub manifest: Option<Vec<u8>>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the layer as it is stored.
    pub digest: Digest,
    /// The size of the layer as it is stored, in bytes, if the manifest states it.
    pub size: Option<u64>,
}

/// The annotation that holds the name of an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| Error::Document {
        what: what.to_owned(),
        reason: error.to_string(),
    })
}

impl Image {
    /// Finds an image in an index, by its reference name if there are several.
    pub(crate) fn named(
        blobs: &dyn Blobs,
        index: &[u8],
        name: Option<&str>,
        platform: &Platform,
    ) -> Result<Self, Error> {
        let index: Index = parse("index.json", index)?;
        let name_of = |one: &Descriptor| one.annotations.get(NAME).cloned().flatten();
        let all = &index.manifests;
        let found: Vec<&Descriptor> = match name {
            Some(name) => all
                .iter()
                .filter(|one| name_of(one).as_deref() == Some(name))
                .collect(),
            None => all.iter().collect(),
        };
        match found.as_slice() {
            [one] => Self::described(blobs, one, platform),
            [] => Err(Error::NoImage(format!(
                "there is no image {}; there is {}",
                name.unwrap_or_default(),
                all.iter()
                    .filter_map(name_of)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
            several => Self::choose(several.iter().copied(), platform)
                .filter(|_| several.iter().all(|one| one.platform.is_some()))
                .map_or_else(
                    || {
                        Err(Error::NoImage(format!(
                            "there are several images; name one of {}",
                            several
                                .iter()
                                .filter_map(|one| name_of(one))
                                .collect::<Vec<_>>()
                                .join(", ")
                        )))
                    },
                    |one| Self::described(blobs, one, platform),
                ),
        }
    }

    /// Reads the image that a descriptor refers to, or chooses from the index that it refers to.
    fn described(
        blobs: &dyn Blobs,
        descriptor: &Descriptor,
        platform: &Platform,
    ) -> Result<Self, Error> {
        let digest: Digest = descriptor.digest.parse()?;
        let text = document(blobs.manifest(&digest)?, &digest)?;
        Self::read(blobs, &text, platform)
    }

    /// Reads an image from its manifest, or from an index that has a manifest for the platform.
    ///
    /// # Errors
    ///
    /// Fails when the text is invalid, or the index has nothing for the platform.
    pub fn read(blobs: &dyn Blobs, text: &[u8], platform: &Platform) -> Result<Self, Error> {
        if is_index(text) {
            let index: Index = parse("the index of platforms", text)?;
            let one = Self::choose(index.manifests.iter(), platform).ok_or_else(|| {
                let offered: Vec<String> =
                    index.manifests.iter().filter_map(named_platform).collect();
                Error::NoPlatform {
                    wanted: platform.architecture.clone(),
                    offered: offered.join(", "),
                }
            })?;
            let digest: Digest = one.digest.parse()?;
            let text = document(blobs.manifest(&digest)?, &digest)?;
            return Self::from_manifest(blobs, &text);
        }
        Self::from_manifest(blobs, text)
    }

    /// Returns the best of several descriptors for a platform.
    fn choose<'a>(
        of: impl Iterator<Item = &'a Descriptor>,
        wanted: &Platform,
    ) -> Option<&'a Descriptor> {
        let rank = |one: &&Descriptor| {
            let platform = one.platform.as_ref()?;
            let fits = platform.os == "linux" && platform.architecture == wanted.architecture;
            match &platform.variant {
                _ if !fits => None,
                None => Some(wanted.variants.len()),
                Some(variant) => wanted.variants.iter().position(|one| one == variant),
            }
        };
        of.filter_map(|one| Some((rank(&one)?, one)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, one)| one)
    }

    /// Reads an image's manifest in OCI's or Docker's format.
    pub(crate) fn from_manifest(blobs: &dyn Blobs, text: &[u8]) -> Result<Self, Error> {
        let manifest: Manifest = parse("the manifest", text)?;
        let config: Digest = manifest.config.digest.parse()?;
        let layers = manifest.layers.iter().map(Layer::described);
        let layers = layers.collect::<Result<_, Error>>()?;
        let image = Self::new(document(blobs.open(&config)?, &config)?, layers)?;
        Ok(Self {
            manifest: Some(text.to_vec()),
            ..image
        })
    }

    /// Makes an image of its configuration and layers.
    pub(crate) fn new(config_text: Vec<u8>, layers: Vec<Layer>) -> Result<Self, Error> {
        Ok(Self {
            config: parse("the image's configuration", &config_text)?,
            config_text,
            layers,
            manifest: None,
        })
    }

    /// Returns the manifest and its media type. An image without a manifest gets a new one.
    #[must_use]
    pub fn to_manifest(&self) -> (Vec<u8>, String) {
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        if let Some(text) = &self.manifest {
            let document: Option<serde_json::Value> = serde_json::from_slice(text).ok();
            let kind = document.and_then(|one| one["mediaType"].as_str().map(str::to_owned));
            return (text.clone(), kind.unwrap_or_else(|| MANIFEST.to_owned()));
        }
        let layers: Vec<serde_json::Value> = self
            .layers
            .iter()
            .map(|layer| {
                let kind = "application/vnd.oci.image.layer.v1.tar";
                descriptor(kind, &layer.digest, layer.size.unwrap_or_default())
            })
            .collect();
        let config = descriptor(
            "application/vnd.oci.image.config.v1+json",
            &Digest::of(&self.config_text),
            self.config_text.len() as u64,
        );
        let document = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        (document.to_string().into_bytes(), MANIFEST.to_owned())
    }
}

/// Returns a descriptor of a blob, as it stands in a manifest.
#[must_use]
pub fn descriptor(kind: &str, digest: &Digest, size: u64) -> serde_json::Value {
    serde_json::json!({"mediaType": kind, "digest": digest.to_string(), "size": size})
}

/// Returns the media types and the blobs of a manifest's layers. Artifacts that are not images have
/// layers too.
///
/// # Errors
///
/// Fails when the text is not a manifest.
pub fn artifact(manifest: &[u8]) -> Result<Vec<(String, Layer)>, Error> {
    let manifest: Manifest = parse("the manifest", manifest)?;
    let layers = manifest.layers.iter().map(|layer| {
        let kind = layer.media_type.clone();
        Ok((kind, Layer::described(layer)?))
    });
    layers.collect()
}

fn named_platform(one: &Descriptor) -> Option<String> {
    let platform = one.platform.as_ref()?;
    let name = platform.architecture.clone();
    Some(match &platform.variant {
        Some(variant) => format!("{name}/{variant}"),
        None => name,
    })
}

/// Whether a text is an index: it has `manifests` where a manifest has `layers`.
fn is_index(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(text)
        .is_ok_and(|value| value["manifests"].is_array())
}

impl Layer {
    fn described(descriptor: &Descriptor) -> Result<Self, Error> {
        Ok(Self {
            digest: descriptor.digest.parse()?,
            size: descriptor.size(),
        })
    }

    /// Opens the layer's tar, which is decompressed and checked while it is read.
    ///
    /// # Errors
    ///
    /// Fails when the layer is missing, or has an unknown compression.
    pub fn open<'a>(&self, blobs: &'a dyn Blobs) -> Result<Box<dyn Read + 'a>, Error> {
        let failed = |error: io::Error| Error::Layer {
            layer: self.digest.to_string(),
            reason: text::message(&error),
        };
        let mut blob = Checked::new(blobs.open(&self.digest)?, self.digest.clone());
        unpack(&mut start(&mut blob).map_err(failed)?, blob).map_err(failed)
    }
}

/// Returns the first bytes of some content, enough to recognise its compression.
pub(crate) fn start(content: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    content.take(4).read_to_end(&mut start)?;
    Ok(start)
}

/// Decompresses some content. The compression is recognised by the first bytes, not by the media
/// type.
pub(crate) fn unpack<'a>(
    start: &mut Vec<u8>,
    rest: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    let start = std::mem::take(start);
    let kind = start.clone();
    let whole = BufReader::with_capacity(1 << 18, io::Cursor::new(start).chain(rest));
    Ok(match kind.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::with_buffer(whole)?),
        _ => Box::new(whole),
    })
}
