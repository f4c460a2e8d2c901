//! The built-in image: one program, as its runscript.

use image::{Embedded, Image, Medium, RootFs};

/// Its only file. The program needs no shell and no library.
const FILES: &[Embedded] = &[Embedded {
    path: "/.singularity.d/runscript",
    mode: 0o755,
    content: include_bytes!(concat!(env!("OUT_DIR"), "/hello")),
}];

/// Returns the built-in image.
pub fn image() -> Image {
    Image {
        path: "front:built-in".into(),
        medium: Medium::Embedded,
        root: RootFs::Embedded(FILES),
        architecture: None,
    }
}
