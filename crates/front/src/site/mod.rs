//! The configuration: the site's in `/etc/slipway/front.toml`, what there is of Apptainer's, and the
//! user's own.

mod apptainer;
mod toml_file;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use registry::Mirror;

use crate::flags::settings;
use crate::mpi_mode::MpiMode;
use crate::small_file;
use crate::variables::Variables;

pub use apptainer::Conf;
pub use toml_file::Isolate;
use toml_file::{File, Registry};

/// Path of the site's file, unless `FRONT_CONFIG` names another.
const PATH: &str = "/etc/slipway/front.toml";

/// Path of the user's file, below the user's directory for configurations.
const OF_USER: &str = "slipway/front.toml";

/// The configuration. A missing file counts as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The address of the library that `library://` means.
    pub library: Option<String>,
    /// The largest size of a user's cache, in bytes.
    pub cache_limit: Option<u64>,
    /// The MPI library that ranks get.
    pub mpi: Option<MpiMode>,
    /// Binds that every container gets if their sources exist, in the syntax of `--bind`.
    pub binds: Vec<OsString>,
    /// Whether users' binds are refused.
    pub refuses_binds: bool,
    /// Words of `--no-mount` that apply to every container.
    pub no_mount: Vec<String>,
    /// Whether every container gets NVIDIA's driver.
    pub nv: bool,
    /// Whether every container gets the files for AMD's GPUs.
    pub rocm: bool,
    /// The isolation of every container.
    pub isolation: Isolate,
    /// The images that may be used.
    pub images: Images,
    /// Settings of our own files that are unknown, one line each.
    pub unknown: Vec<String>,
    /// Settings of Apptainer's file that have no effect, one line each.
    pub ignored: Vec<String>,
    registries: Vec<Registry>,
}

/// The images that a site allows. Empty lists allow all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// The directories that must hold them.
    pub paths: Vec<PathBuf>,
    /// The names of the users who must own them.
    pub owners: Vec<String>,
    /// Kinds of images that are refused: sif, squashfs, extfs, dir.
    pub refused: Vec<String>,
}

impl Site {
    /// Reads the files. The user's variables beat them. `home` is the user's directory.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read, or has invalid content. The error names the line.
    pub fn read(variables: &Variables, home: &Path) -> Result<Self> {
        let chosen = variables.value(&settings::CONFIG);
        let is_chosen = chosen.is_some();
        let path = chosen.map_or(PathBuf::from(PATH), |(_, path)| PathBuf::from(path));
        let mut site = Self::default();
        if let Some(conf) = Conf::find()? {
            conf.apply(&mut site);
        }
        if let Some(text) = text(&path, is_chosen)? {
            let file = File::parse(&text).with_context(|| path.display().to_string())?;
            site.add(file, &path);
        }
        let of_user = of_user(variables, home);
        if let Some(text) = text(&of_user, false)? {
            let file = File::parse(&text).with_context(|| of_user.display().to_string())?;
            site.add(file.of_user(), &of_user);
        }
        if let Some((name, limit)) = variables.value(&settings::CACHE_LIMIT) {
            let limit = limit.to_string_lossy();
            site.cache_limit = Some(toml_file::size(&limit).with_context(|| name)?);
        }
        Ok(site)
    }

    /// Adds a file's settings, which beat those from before. Lists add up.
    fn add(&mut self, file: File, path: &Path) {
        let File {
            library,
            cache_limit,
            mpi,
            registries,
            bind,
            no_mount,
            user_binds,
            always_nv,
            always_rocm,
            isolation,
            image_paths,
            image_owners,
            rest,
        } = file;
        self.library = library.or(self.library.take());
        self.cache_limit = cache_limit.map(|size| size.0).or(self.cache_limit);
        self.mpi = mpi.or(self.mpi);
        self.registries.extend(registries);
        self.binds.extend(bind.into_iter().map(OsString::from));
        self.no_mount.extend(no_mount);
        self.refuses_binds = user_binds.map_or(self.refuses_binds, |may| !may);
        self.nv = always_nv.unwrap_or(self.nv);
        self.rocm = always_rocm.unwrap_or(self.rocm);
        self.isolation = isolation.unwrap_or(self.isolation);
        self.images.paths.extend(image_paths);
        self.images.owners.extend(image_owners);
        let unknown = rest.keys().map(|key| {
            format!(
                "{}: {key}: unknown setting; is it for a newer version?",
                path.display()
            )
        });
        self.unknown.extend(unknown);
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

    /// Returns the files that there are, of those that are read.
    pub fn files(variables: &Variables, home: &Path) -> Vec<PathBuf> {
        let chosen = variables.value(&settings::CONFIG);
        let own = chosen.map_or(PathBuf::from(PATH), |(_, path)| PathBuf::from(path));
        let all = Conf::PATHS.iter().map(PathBuf::from);
        let all = all.chain([own, of_user(variables, home)]);
        all.filter(|path| path.exists()).collect()
    }
}

/// Returns the path of the user's own file.
fn of_user(variables: &Variables, home: &Path) -> PathBuf {
    let directory = variables.get("XDG_CONFIG_HOME").map(PathBuf::from);
    let directory = directory.filter(|path| path.is_absolute());
    directory
        .unwrap_or_else(|| home.join(".config"))
        .join(OF_USER)
}

/// Returns a file's text; `None` if there is no such file, unless the user named it.
fn text(path: &Path, is_named: bool) -> Result<Option<String>> {
    match small_file::read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(None),
        // A user's file is nobody else's business, such as root's in a user namespace.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_named => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && !is_named => Ok(None),
        Err(error) => {
            Err(io::Error::other(text::message(&error))).with_context(|| path.display().to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_file_beats_the_sites() {
        let home = tempfile::tempdir().unwrap();
        let site = home.path().join("site.toml");
        let write = |path: &Path, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            &site,
            "library = \"a\"\nbind = [\"/lus\"]\nalways_nv = true\nimage_paths = [\"/sw\"]\nnewer = 1\n",
        );
        let own = home.path().join(".config/slipway/front.toml");
        write(
            &own,
            "library = \"b\"\nbind = [\"/mine:/m:ro\"]\nalways_nv = false\nimage_paths = [\"/\"]\n",
        );
        let variables = [("FRONT_CONFIG", site.to_str().unwrap())];
        let found = Site::read(&Variables::of(&variables), home.path()).unwrap();
        assert_eq!(found.library.as_deref(), Some("b"));
        assert!(
            found
                .binds
                .ends_with(&["/lus".into(), "/mine:/m:ro".into()])
        );
        assert!(!found.nv);
        assert_eq!(found.images.paths, [PathBuf::from("/sw")]);
        assert!(
            found
                .unknown
                .iter()
                .any(|line| line.contains("newer: unknown setting"))
        );
        assert!(
            found
                .unknown
                .iter()
                .any(|line| line.contains("image_paths"))
        );
        write(&own, "bind = 1\n");
        let error = Site::read(&Variables::of(&variables), home.path()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("front.toml: line 1: invalid type"),
            "{error}"
        );
    }
}
