//! OCI layouts written by hand, for layers that no tool would write.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::succeed;

/// An entry of a layer. Nothing is checked.
#[derive(Debug, Clone)]
pub struct Member {
    /// The entry's name, as it is written.
    pub name: Vec<u8>,
    /// The entry's type: `0` a file, `1` a hard link, `2` a symbolic link, `3` and `4` devices, `5`
    /// a directory.
    pub kind: u8,
    /// A link's target.
    pub link: Vec<u8>,
    /// A file's content.
    pub content: Vec<u8>,
    /// The permissions.
    pub mode: u32,
}

impl Member {
    /// Returns a file.
    #[must_use]
    pub fn file(name: &[u8], content: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            kind: b'0',
            link: Vec::new(),
            content: content.to_vec(),
            mode: 0o644,
        }
    }

    /// Returns a link, of any type.
    #[must_use]
    pub fn link(kind: u8, name: &[u8], to: &[u8]) -> Self {
        Self {
            kind,
            link: to.to_vec(),
            ..Self::file(name, b"")
        }
    }

    /// Writes the entry as ustar, with GNU's members for long names.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn write(&self, tar: &mut impl Write) {
        if self.name.len() > 100 {
            let long = Self {
                kind: b'L',
                ..Self::file(b"././@LongLink", &[self.name.as_slice(), b"\0"].concat())
            };
            long.write(tar);
        }
        let mut header = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in header.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(0, self.name.get(..100).unwrap_or(&self.name));
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.content.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link.get(..100).unwrap_or(&self.link));
        put(257, b"ustar\x0000");
        put(329, b"0000001\0");
        put(337, b"0000003\0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        for (to, from) in header
            .iter_mut()
            .skip(148)
            .zip(format!("{sum:06o}\0 ").bytes())
        {
            *to = from;
        }
        let padding = self.content.len().next_multiple_of(512) - self.content.len();
        for part in [&header[..], &self.content, &vec![0; padding]] {
            tar.write_all(part).expect("there is room");
        }
    }
}

/// Packs members as a layer.
#[must_use]
pub fn layer(members: &[Member]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        member.write(&mut tar);
    }
    tar.extend([0; 1024]);
    tar
}

/// Writes a layout with one image of these layers. The layers' files are moved into it.
///
/// # Panics
///
/// Panics when it cannot be written.
pub fn layout(directory: &Path, layers: &[&Path]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("there is room");
    let add = |file: &Path| {
        let sum = succeed(Command::new("sha256sum").arg(file).stderr(Stdio::null()));
        let hex = sum
            .split(' ')
            .next()
            .unwrap_or_default()
            .trim_start_matches('\\')
            .to_owned();
        let size = fs::metadata(file).expect("it is there").len();
        fs::rename(file, blobs.join(&hex)).expect("there is room");
        (format!("sha256:{hex}"), size)
    };
    let described = |kind: &str, (digest, size): (String, u64)| json!({"mediaType": kind, "digest": digest, "size": size});
    let document = |value: &serde_json::Value| {
        let file = directory.join("document");
        fs::write(&file, value.to_string()).expect("there is room");
        add(&file)
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| described("application/vnd.oci.image.layer.v1.tar", add(layer)))
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|one| one["digest"].clone()).collect::<Vec<_>>()},
    });
    let config = described(
        "application/vnd.oci.image.config.v1+json",
        document(&config),
    );
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = described(
        "application/vnd.oci.image.manifest.v1+json",
        document(&manifest),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(directory.join("index.json"), index.to_string()).expect("there is room");
    fs::write(
        directory.join("oci-layout"),
        "{\"imageLayoutVersion\": \"1.0.0\"}",
    )
    .expect("there is room");
    succeed(Command::new("chmod").args(["-R", "a+rX"]).arg(directory));
}
