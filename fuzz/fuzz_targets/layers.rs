//! Any bytes are a layer or an error, and a layer that was read can be written.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use oci::{Blobs, Digest, Error, Flat, Image, Layer, Merged};

struct Two<'a>(Vec<(Digest, &'a [u8])>);

impl Blobs for Two<'_> {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        let found = self.0.iter().find(|(of, _)| of == digest);
        let (_, content) = found.expect("a layer of this image");
        Ok(Box::new(*content))
    }
}

/// Largest size of the files that are written, in bytes.
const MOST: u64 = 64 << 20;

// One half of the bytes is one layer, the other half another.
fuzz_target!(|data: &[u8]| {
    let (lower, upper) = data.split_at(data.len() / 2 / 512 * 512);
    let blobs = Two([lower, upper]
        .map(|layer| (Digest::of(layer), layer))
        .to_vec());
    let layers = blobs.0.iter().map(|(digest, content)| Layer {
        digest: digest.clone(),
        size: Some(content.len() as u64),
    });
    let image = Image {
        config: oci::Config::default(),
        config_text: Vec::new(),
        layers: layers.collect(),
        manifest: None,
    };
    let Ok(merged) = Merged::new(&image, &blobs) else {
        return;
    };
    // A sparse file may claim to have a tebibyte.
    if merged.size() > MOST {
        return;
    }
    let flat = Flat {
        keeps_owners: false,
        fix_permissions: true,
        newest: None,
    };
    merged
        .write(&image, &blobs, &[], flat, std::io::sink())
        .expect("what was read once is read again");
});
