//! Any text is a manifest, an index, a configuration, or an error.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use oci::{Blobs, Digest, Error, Image, Platform};

/// Blobs that are all the same text.
struct Same<'a>(&'a [u8]);

impl Blobs for Same<'_> {
    fn open(&self, _: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        Ok(Box::new(self.0))
    }
}

// In the manifest, a digest of zeros stands for the text that follows it, so that configurations
// are read, too.
fuzz_target!(|data: &[u8]| {
    let middle = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (manifest, rest) = data.split_at(middle);
    let rest = rest.get(1..).unwrap_or_default();
    let digest = Digest::of(rest).to_string();
    let zeros = format!("sha256:{}", "0".repeat(64));
    let manifest = String::from_utf8_lossy(manifest).replace(&zeros, &digest);
    let platform = Platform {
        architecture: "amd64".to_owned(),
        variants: vec!["v3".to_owned(), "v1".to_owned()],
    };
    let _ = oci::artifact(manifest.as_bytes());
    if let Ok(image) = Image::read(&Same(rest), manifest.as_bytes(), &platform) {
        let (again, _) = image.to_manifest();
        assert_eq!(again, manifest.as_bytes());
    }
});
