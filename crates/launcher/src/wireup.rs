//! The protocols by which ranks find each other.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Lookup;

/// A protocol by which ranks find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Wireup {
    /// PMI, version 1 or 2, over a descriptor or a port: MPICH's Hydra, Slurm's `pmi2`, Flux.
    Pmi,
    /// PMIx, over a socket: Open MPI's `mpirun`, Slurm's `pmix`.
    Pmix,
    /// Cray's protocol, in PALS or Slurm's `cray_shasta`.
    Cray,
    /// Slurm's own PMI library, which asks Slurm itself.
    SlurmLibrary,
    /// The library that Flux names to its programs (`FLUX_PMI_LIBRARY_PATH`).
    FluxLibrary,
}

impl fmt::Display for Wireup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pmi => "PMI",
            Self::Pmix => "PMIx",
            Self::Cray => "Cray PMI",
            Self::SlurmLibrary => "Slurm's PMI library",
            Self::FluxLibrary => "Flux's PMI library",
        })
    }
}

impl Wireup {
    /// Returns the protocols that a launcher offers.
    pub(crate) fn offered(get: Lookup<'_>) -> Vec<Self> {
        let any = |names: &[&str]| names.iter().any(|name| get(name).is_some());
        let all = |names: &[&str]| names.iter().all(|name| get(name).is_some());
        let server = [
            "PMIX_SERVER_URI",
            "PMIX_SERVER_URI2",
            "PMIX_SERVER_URI21",
            "PMIX_SERVER_URI3",
            "PMIX_SERVER_URI4",
            "PMIX_SERVER_URI41",
        ];
        let rows = [
            (Self::Pmi, any(&["PMI_FD", "PMI_PORT"])),
            (
                Self::Pmix,
                all(&["PMIX_NAMESPACE", "PMIX_RANK"]) && any(&server),
            ),
            (Self::Cray, all(&["PALS_APINFO", "PMI_CONTROL_PORT"])),
        ];
        let offered = rows.into_iter().filter(|(_, offered)| *offered);
        offered.map(|(one, _)| one).collect()
    }
}

/// Variables that name a directory of the launcher, and variables that name a file in one.
/// `PMIX_SYSTEM_TMPDIR` is left out: it is `/tmp`, which has the files that tools look for, and it
/// would give a contained rank the host's `/tmp`.
const DIRECTORIES: &[&str] = &[
    "PMIX_SERVER_TMPDIR",
    "PALS_SPOOL_DIR",
    "OMPI_MCA_orte_top_session_dir",
];
const FILES: &[&str] = &[
    "PALS_APINFO",
    "PMIX_DSTORE_21_BASE_PATH",
    "PMIX_DSTORE_ESH_BASE_PATH",
];

/// Returns the directories of the launcher that a rank must see at the same paths.
#[must_use]
pub fn directories(get: Lookup<'_>) -> Vec<PathBuf> {
    let named = DIRECTORIES
        .iter()
        .filter_map(|name| Some(PathBuf::from(get(name)?)));
    let above = FILES
        .iter()
        .filter_map(|name| Some(Path::new(&get(name)?).parent()?.to_owned()));
    // The value has the form local:///run/user/1000/flux/local-0
    let flux = get("FLUX_URI").and_then(|uri| {
        let path = Path::new(uri.strip_prefix("local://")?).parent()?;
        Some(path.to_owned())
    });
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in named.chain(above).chain(flux) {
        // Slurm's values have doubled or trailing slashes, which are removed here.
        let directory: PathBuf = directory.components().collect();
        let plain = directory.is_absolute() && directory.components().count() > 1;
        if plain && !found.iter().any(|other| directory.starts_with(other)) {
            found.retain(|other| !other.starts_with(&directory));
            found.push(directory);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_found_once() {
        let get = |name: &str| {
            let rows = [
                ("PMIX_SERVER_TMPDIR", "/var/spool/slurmd/pmix.2.0/"),
                (
                    "PMIX_DSTORE_21_BASE_PATH",
                    "/var/spool/slurmd/pmix.2.0//pmix_dstor_ds21_7",
                ),
                ("FLUX_URI", "local:///run/flux/local-0"),
                ("PALS_SPOOL_DIR", "relative"),
                ("PMIX_SYSTEM_TMPDIR", "/tmp"),
            ];
            rows.iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(
            directories(&get),
            ["/var/spool/slurmd/pmix.2.0", "/run/flux"].map(PathBuf::from)
        );
    }
}
