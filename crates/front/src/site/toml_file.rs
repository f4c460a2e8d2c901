//! A file of ours with settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::mpi_mode::MpiMode;

/// The content of a file. Settings of newer versions are collected.
#[derive(Debug, Default, Deserialize)]
pub struct File {
    pub library: Option<String>,
    pub cache_limit: Option<Size>,
    pub mpi: Option<MpiMode>,
    #[serde(default, rename = "registry")]
    pub registries: Vec<Registry>,
    #[serde(default)]
    pub bind: Vec<String>,
    #[serde(default)]
    pub no_mount: Vec<String>,
    pub user_binds: Option<bool>,
    pub always_nv: Option<bool>,
    pub always_rocm: Option<bool>,
    pub isolation: Option<Isolate>,
    #[serde(default)]
    pub image_paths: Vec<PathBuf>,
    #[serde(default)]
    pub image_owners: Vec<String>,
    #[serde(flatten)]
    pub rest: BTreeMap<String, toml::Value>,
}

/// The isolation that every container gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolate {
    /// That of its flags.
    #[default]
    None,
    /// As with `--contain`.
    Contain,
    /// As with `--containall`.
    Containall,
}

/// A registry, in the form of containers-registries.conf(5).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub location: String,
    #[serde(default)]
    pub insecure: bool,
    #[serde(default, rename = "mirror")]
    pub mirrors: Vec<Location>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    pub location: String,
    #[serde(default)]
    pub insecure: bool,
}

/// A number of bytes, such as `50G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        size(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// Parses a number of bytes.
pub fn size(text: &str) -> Result<u64> {
    text::parse_size(text).with_context(|| format!("{text:?}: expected a size such as 500M or 50G"))
}

impl File {
    /// Parses a file.
    ///
    /// # Errors
    ///
    /// Fails on invalid content, and names its line.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            anyhow::anyhow!("line {line}: {}", error.message())
        })
    }

    /// Removes the settings with which only a site can restrict its users.
    pub fn of_user(mut self) -> Self {
        let restrictions = [
            ("user_binds", self.user_binds.take().is_some()),
            (
                "image_paths",
                !std::mem::take(&mut self.image_paths).is_empty(),
            ),
            (
                "image_owners",
                !std::mem::take(&mut self.image_owners).is_empty(),
            ),
        ];
        let given = restrictions.into_iter().filter(|(_, given)| *given);
        self.rest
            .extend(given.map(|(name, _)| (name.to_owned(), toml::Value::Boolean(true))));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_says_where_things_are() {
        let site = File::parse(
            "library = \"https://library.example.org\"\ncache_limit = \"50G\"\nmpi = \"container\"\n\
             isolation = \"contain\"\n\
             [[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"mirror:5000\"\n\
             insecure = true\n[[registry]]\nlocation = \"old:5000\"\ninsecure = true\n",
        )
        .unwrap();
        assert_eq!(site.cache_limit, Some(Size(50 << 30)));
        assert_eq!(site.mpi, Some(MpiMode::Container));
        assert_eq!(site.isolation, Some(Isolate::Contain));
        let mirrors = &site.registries[0].mirrors;
        assert_eq!(mirrors[0].location, "mirror:5000");
        assert!(mirrors[0].insecure && site.registries[1].insecure);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        let error = |text: &str| format!("{:#}", File::parse(text).unwrap_err());
        assert!(error("cache_limit = \"5 apples\"").contains("5 apples"));
        assert!(error("[").starts_with("line 1"));
        assert!(error("\nisolation = \"x\"").starts_with("line 2: "));
        let newer = File::parse("newer = 1\n").unwrap();
        assert!(newer.rest.contains_key("newer"));
    }
}
