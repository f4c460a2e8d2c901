//! The site's configuration, in `/etc/slipway/front.toml`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use registry::Mirror;
use serde::Deserialize;

use crate::flags::settings;
use crate::mpi_mode::MpiMode;
use crate::variables::Variables;

/// The site's configuration. A missing file counts as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The address of the library that `library://` means.
    pub library: Option<String>,
    /// The largest size of a user's cache, in bytes.
    pub cache_limit: Option<u64>,
    /// The MPI library that ranks get.
    pub mpi: Option<MpiMode>,
    registries: Vec<Registry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    library: Option<String>,
    cache_limit: Option<String>,
    mpi: Option<MpiMode>,
    #[serde(default, rename = "registry")]
    registries: Vec<Registry>,
}

/// A registry, in the form of containers-registries.conf(5).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<Location>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Location {
    location: String,
    #[serde(default)]
    insecure: bool,
}

/// Path of the file, unless `FRONT_CONFIG` names another.
const PATH: &str = "/etc/slipway/front.toml";

impl Site {
    /// Reads the file. The user's variables beat it.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, or has invalid content.
    pub fn read(variables: &Variables) -> Result<Self> {
        let chosen = variables.value(&settings::CONFIG);
        let path = chosen.map_or(PathBuf::from(PATH), |(_, path)| PathBuf::from(path));
        let mut site = match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == Path::new(PATH) => {
                Self::default()
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if let Some((name, limit)) = variables.value(&settings::CACHE_LIMIT) {
            let limit = limit.to_string_lossy();
            site.cache_limit = Some(size(&limit).with_context(|| name)?);
        }
        Ok(site)
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        Ok(Self {
            library: file.library,
            cache_limit: file.cache_limit.as_deref().map(size).transpose()?,
            mpi: file.mpi,
            registries: file.registries,
        })
    }

    /// Returns the mirrors, which are asked before their registries.
    pub fn mirrors(&self) -> Vec<Mirror> {
        let mirrors = self.registries.iter().flat_map(|registry| {
            registry.mirrors.iter().map(|mirror| Mirror {
                of: registry.location.clone(),
                host: mirror.location.clone(),
                insecure: mirror.insecure,
            })
        });
        mirrors.collect()
    }

    /// Returns the registries that are accepted without TLS.
    pub fn insecure_hosts(&self) -> Vec<String> {
        let insecure = self.registries.iter().filter(|registry| registry.insecure);
        insecure.map(|registry| registry.location.clone()).collect()
    }
}

fn size(text: &str) -> Result<u64> {
    text::parse_size(text).with_context(|| format!("{text:?}: expected a size such as 500M or 50G"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_says_where_things_are() {
        let site = Site::parse(
            "library = \"https://library.example.org\"\ncache_limit = \"50G\"\nmpi = \"container\"\n\
             [[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"mirror:5000\"\n\
             insecure = true\n[[registry]]\nlocation = \"old:5000\"\ninsecure = true\n",
        )
        .unwrap();
        assert_eq!(site.cache_limit, Some(50 << 30));
        assert_eq!(site.mpi, Some(MpiMode::Container));
        assert_eq!(site.insecure_hosts(), ["old:5000"]);
        let mirrors = site.mirrors();
        assert_eq!(
            (mirrors[0].of.as_str(), mirrors[0].host.as_str()),
            ("docker.io", "mirror:5000")
        );
        assert!(mirrors[0].insecure);
    }

    #[test]
    fn what_has_no_meaning_is_named_by_its_line() {
        let error = |text: &str| format!("{:#}", Site::parse(text).unwrap_err());
        assert!(
            error("\nlibary = \"x\"").contains("line 2: unknown field"),
            "{}",
            error("\nlibary = \"x\"")
        );
        assert!(error("cache_limit = \"5 apples\"").contains("5 apples"));
        assert!(error("[").starts_with("line 1"));
    }
}
