//! Apptainer's own configuration, `apptainer.conf` or `singularity.conf`, so that a site need not
//! translate it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Site;

/// A configuration of Apptainer's.
#[derive(Debug, Clone, Default)]
pub struct Conf {
    path: PathBuf,
    /// The keys and values, with the numbers of their lines.
    lines: Vec<(usize, String, String)>,
}

/// The meaning of a key.
enum Meaning {
    Bind,
    /// `no` leaves out a default mount, by a word of `--no-mount`.
    Mount(&'static str),
    Nv,
    Rocm,
    UserBinds,
    Paths,
    Owners,
    /// `no` refuses this kind of image.
    Kind(&'static str),
    /// Has no effect with another value than this one.
    Ignored(&'static str),
    Unknown,
}

/// The keys, with Apptainer's defaults for those that have no effect here.
#[rustfmt::skip]
const KEYS: [(&str, &str); 43] = [
    ("allow setuid", "yes"), ("allow pid ns", "yes"), ("allow ipc ns", "yes"), ("allow user ns", "yes"),
    ("allow uts ns", "yes"), ("config passwd", "yes"), ("config group", "yes"), ("config resolv_conf", "yes"),
    ("mount proc", "yes"), ("mount sys", "yes"), ("mount dev", "yes"), ("mount devpts", "yes"),
    ("mount home", "yes"), ("mount tmp", "yes"), ("mount slave", "yes"), ("mount hostfs", "no"),
    ("user bind control", "yes"), ("enable fusemount", "yes"), ("enable overlay", "yes"),
    ("enable underlay", "yes"), ("allow container sif", "yes"), ("allow container encrypted", "yes"),
    ("allow container squashfs", "yes"), ("allow container extfs", "yes"), ("allow container dir", "yes"),
    ("systemd cgroups", "yes"), ("always use nv", "no"), ("always use rocm", "no"),
    ("use nvidia-container-cli", "no"), ("shared loop devices", "no"), ("allow monitoring", "no"),
    ("sessiondir max size", "64"), ("max loop devices", "256"), ("memory fs type", "tmpfs"),
    ("root default capabilities", "full"), ("download concurrency", "3"), ("mksquashfs procs", "0"),
    ("binary path", "$PATH:"), ("image driver", ""), ("limit container groups", "NULL"),
    ("download part size", "5242880"), ("download buffer size", "32768"),
    ("apptheus socket path", "/run/apptheus/gateway.sock"),
];

impl Conf {
    /// The paths at which Apptainer and Singularity have their configurations, by how they were
    /// installed.
    pub const PATHS: [&str; 4] = [
        "/etc/apptainer/apptainer.conf",
        "/etc/singularity/singularity.conf",
        "/usr/local/etc/apptainer/apptainer.conf",
        "/usr/local/etc/singularity/singularity.conf",
    ];

    /// Reads the first configuration that there is.
    ///
    /// # Errors
    ///
    /// Fails when it exists and cannot be read.
    pub fn find() -> Result<Option<Self>> {
        for path in Self::PATHS.map(Path::new) {
            if let Some(text) = super::text(path, false)? {
                return Ok(Some(Self::parse(path, &text)));
            }
        }
        Ok(None)
    }

    fn parse(path: &Path, text: &str) -> Self {
        let lines = text.lines().enumerate().filter_map(|(number, line)| {
            let line = line.split('#').next().unwrap_or_default();
            let (key, value) = line.split_once('=')?;
            let key = key.trim().to_ascii_lowercase();
            Some((number + 1, key, value.trim().to_owned()))
        });
        Self {
            path: path.to_owned(),
            lines: lines.collect(),
        }
    }

    /// Returns the values of a key, or else Apptainer's default. `None` if there is no such key.
    pub fn get(&self, key: &str) -> Option<Vec<String>> {
        let key = key.trim().to_ascii_lowercase();
        let own = self.lines.iter().filter(|(_, name, _)| *name == key);
        let own: Vec<String> = own.map(|(_, _, value)| value.clone()).collect();
        if !own.is_empty() {
            return Some(own);
        }
        if key == "bind path" {
            return Some(["/etc/localtime", "/etc/hosts"].map(str::to_owned).into());
        }
        if key.starts_with("limit container ") {
            return Some(Vec::new());
        }
        let default = KEYS.iter().find(|(name, _)| *name == key);
        default.map(|(_, value)| vec![(*value).to_owned()])
    }

    /// Applies the settings that front has, and lists the others that are not the defaults.
    pub fn apply(&self, site: &mut Site) {
        for (number, key, value) in &self.lines {
            let is = |word: &str| value.eq_ignore_ascii_case(word);
            let (on, off) = (is("yes"), is("no"));
            let words = || value.split(',').map(|word| word.trim().to_owned());
            let mut ignore = || {
                let line = format!("{}: line {number}: {key} = {value}", self.path.display());
                site.ignored.push(format!("{line}: has no effect"));
            };
            match meaning(key) {
                // Every container has them.
                Meaning::Bind if ["/etc/localtime", "/etc/hosts"].contains(&value.as_str()) => {}
                Meaning::Bind => site.binds.push(OsString::from(value)),
                Meaning::Mount(word) if off || word == "dev" && is("minimal") => {
                    site.no_mount.push(word.to_owned());
                }
                Meaning::Nv => site.nv = on,
                Meaning::Rocm => site.rocm = on,
                Meaning::UserBinds => site.refuses_binds = off,
                Meaning::Paths if !is("null") => {
                    site.images.paths.extend(words().map(PathBuf::from));
                }
                Meaning::Owners if !is("null") => site.images.owners.extend(words()),
                Meaning::Kind(kind) if off => site.images.refused.push(kind.to_owned()),
                Meaning::Mount(_) | Meaning::Paths | Meaning::Owners | Meaning::Kind(_) => {}
                Meaning::Ignored(default) if is(default) || default == "$PATH:" => {}
                Meaning::Ignored(_) | Meaning::Unknown => ignore(),
            }
        }
    }
}

fn meaning(key: &str) -> Meaning {
    match key {
        "bind path" => Meaning::Bind,
        "mount proc" => Meaning::Mount("proc"),
        "mount sys" => Meaning::Mount("sys"),
        "mount dev" => Meaning::Mount("dev"),
        "mount devpts" => Meaning::Mount("devpts"),
        "mount home" => Meaning::Mount("home"),
        "mount tmp" => Meaning::Mount("tmp"),
        "always use nv" => Meaning::Nv,
        "always use rocm" => Meaning::Rocm,
        "user bind control" => Meaning::UserBinds,
        "limit container paths" => Meaning::Paths,
        "limit container owners" => Meaning::Owners,
        "allow container sif" => Meaning::Kind("sif"),
        "allow container squashfs" => Meaning::Kind("squashfs"),
        "allow container extfs" => Meaning::Kind("extfs"),
        "allow container dir" => Meaning::Kind("dir"),
        _ => match KEYS.iter().find(|(name, _)| *name == key) {
            Some((_, default)) => Meaning::Ignored(default),
            None => Meaning::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_switches_with_its_own_file() {
        let text = "# comment\nallow setuid = yes\nbind path = /etc/hosts\nbind path = /lus:/lus:ro # ours\n\
                    mount home = no\nmount tmp = yes\nalways use nv = yes\nuser bind control = no\n\
                    limit container paths = /sw, /opt/images\nlimit container owners = NULL\n\
                    allow container dir = no\nmount hostfs = yes\nallow setuid = no\nstrange key = 1\n";
        let conf = Conf::parse(Path::new("/x.conf"), text);
        let mut site = Site::default();
        conf.apply(&mut site);
        assert_eq!(site.binds, ["/lus:/lus:ro"]);
        assert_eq!(site.no_mount, ["home"]);
        assert!(site.nv && !site.rocm && site.refuses_binds);
        assert_eq!(site.images.paths, ["/sw", "/opt/images"].map(PathBuf::from));
        assert!(site.images.owners.is_empty());
        assert_eq!(site.images.refused, ["dir"]);
        assert_eq!(
            site.ignored,
            [
                "/x.conf: line 12: mount hostfs = yes: has no effect",
                "/x.conf: line 13: allow setuid = no: has no effect",
                "/x.conf: line 14: strange key = 1: has no effect",
            ]
        );
        assert_eq!(conf.get("mount home"), Some(vec!["no".to_owned()]));
        assert_eq!(conf.get("mount sys"), Some(vec!["yes".to_owned()]));
        assert_eq!(conf.get("nosuch"), None);
    }
}
