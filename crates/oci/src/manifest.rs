//! Indexes and manifests (image-spec, image-index.md and manifest.md), parsed as leniently as Go
//! programs parse them: a missing or null field is empty.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::nullable;

/// A list of images, chosen by name or by platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) manifests: Vec<Descriptor>,
}

/// The parts of an image, or of another artifact.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) layers: Vec<Descriptor>,
}

/// The description of a blob.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) media_type: String,
    size: Option<i64>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) annotations: BTreeMap<String, Option<String>>,
    pub(crate) platform: Option<Described>,
}

impl Descriptor {
    /// The size of the blob in bytes, if the descriptor states it.
    pub(crate) fn size(&self) -> Option<u64> {
        u64::try_from(self.size?).ok().filter(|size| *size > 0)
    }
}

/// The platform that an image is for.
#[derive(Debug, Deserialize)]
pub(crate) struct Described {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) os: String,
    pub(crate) variant: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_digests_are_needed() {
        let digest = || json!({"digest": "sha256:0"});
        let manifest = json!({"config": digest(), "layers": [digest()], "annotations": null});
        let manifest: Manifest = serde_json::from_value(manifest).unwrap();
        let layer = manifest.layers.first().unwrap();
        assert_eq!((layer.size(), layer.media_type.as_str()), (None, ""));
        assert!(serde_json::from_value::<Manifest>(json!({"layers": []})).is_err());

        let mut odd = digest();
        odd["size"] = json!(-1);
        odd["annotations"] = json!({"a": null});
        odd["platform"] = json!({"architecture": "amd64", "os": null});
        let index: Index = serde_json::from_value(json!({"manifests": [odd]})).unwrap();
        let one = index.manifests.first().unwrap();
        assert_eq!(one.size(), None);
        let platform = one.platform.as_ref().unwrap();
        assert_eq!(
            (platform.architecture.as_str(), platform.os.as_str()),
            ("amd64", "")
        );
    }
}
