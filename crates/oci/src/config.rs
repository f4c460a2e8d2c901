//! An image's configuration (image-spec, config.md), parsed as leniently as Go programs parse it.
//!
//! A missing or null field counts as empty, as in podman and docker. Some tools leave out required
//! fields (`architecture`, `os`, `rootfs`), or write `null` for an empty list.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// The part of a configuration that we use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Go's name of the architecture; empty when the configuration has none.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// How a program is started.
    #[serde(rename = "config", deserialize_with = "nullable")]
    pub execution: Execution,
    #[serde(deserialize_with = "nullable")]
    rootfs: RootFs,
}

/// How a program is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Execution {
    /// Variables, as `NAME=VALUE`.
    #[serde(alias = "env", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// The arguments before those of the user.
    #[serde(alias = "entrypoint", deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    /// The default arguments, which the user's arguments replace.
    #[serde(alias = "cmd", deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    /// The directory in which a program starts.
    #[serde(deserialize_with = "nullable")]
    pub working_dir: String,
    /// Instructions for builds with this image as the base.
    #[serde(deserialize_with = "nullable")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(alias = "labels", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(deserialize_with = "nullable")]
    diff_ids: Vec<String>,
}

impl Config {
    /// Returns the digests of the uncompressed layers, the lowest first.
    #[must_use]
    pub fn diff_ids(&self) -> &[String] {
        &self.rootfs.diff_ids
    }
}

/// Reads `null` as the default value.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_null_is_empty() {
        for text in [
            json!({}),
            json!({"architecture": null, "config": null, "rootfs": null}),
            json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": null}, "history": null}),
            json!({"config": {"Env": null, "Cmd": null, "Labels": null, "Volumes": {"/a": {}}}}),
        ] {
            let read: Config = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(read, Config::default(), "{text}");
        }
    }

    #[test]
    fn what_is_said_is_read() {
        let text = json!({
            "architecture": "arm64", "rootfs": {"diff_ids": ["sha256:0"]},
            "config": {"env": ["A=1"], "Cmd": ["sh"], "Entrypoint": ["/init"], "Labels": {"a": null, "b": "c"}},
        });
        let read: Config = serde_json::from_value(text).unwrap();
        assert_eq!(read.architecture, "arm64");
        assert_eq!(read.diff_ids(), ["sha256:0"]);
        let execution = read.execution;
        assert_eq!(execution.env, ["A=1"]);
        assert_eq!(
            (execution.entrypoint, execution.cmd),
            (vec!["/init".to_owned()], vec!["sh".to_owned()])
        );
        let labels = [
            ("a".to_owned(), None),
            ("b".to_owned(), Some("c".to_owned())),
        ];
        assert_eq!(execution.labels, labels.into());
        let wrong = json!({"config": {"Cmd": "sh"}});
        assert!(serde_json::from_value::<Config>(wrong).is_err());
    }
}
