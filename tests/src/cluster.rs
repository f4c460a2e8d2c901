//! A real Slurm on this machine alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{TESTER, fixture, home, run, succeed, tester};

/// A Slurm of two nodes that ends with the test.
#[derive(Debug)]
pub struct Cluster(PathBuf, Option<tempfile::TempDir>);

impl Cluster {
    /// Starts the cluster, with its files in `directory`.
    ///
    /// # Panics
    ///
    /// Panics when the cluster does not start.
    #[must_use]
    pub fn start(directory: PathBuf) -> Self {
        let cluster = Self(directory, None);
        succeed(cluster.script("start").arg("2"));
        cluster
    }

    /// Starts the newer Slurm of a separate Debian, whose nodes have names, `/tmp` and `/dev/shm`
    /// of their own. `prepare` may put files beside its configuration before.
    ///
    /// # Panics
    ///
    /// Panics when the cluster does not start.
    #[must_use]
    pub fn newer(prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir_in("/var/tmp").expect("there is room");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        let directory = home.path().join("slurm");
        fs::create_dir(&directory).expect("there is room");
        prepare(&directory);
        let cluster = Self(directory, Some(home));
        succeed(cluster.script("start").arg("2").arg(fixture("slurm")));
        cluster
    }

    /// Returns the directory of its configuration. Everybody may write to the directory above.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Returns a command that the ordinary user runs in the newer Slurm's Debian.
    #[must_use]
    pub fn inside(&self) -> Command {
        let (uid, home) = (tester().to_string(), format!("HOME=/home/{TESTER}"));
        let mut command = self.script("run");
        command
            .args([
                "setpriv",
                "--reuid",
                &uid,
                "--regid",
                &uid,
                "--clear-groups",
            ])
            .args(["env", &home, "timeout", "120"]);
        command
    }

    /// Starts the cluster in a directory of its own.
    ///
    /// # Panics
    ///
    /// Panics when the cluster does not start.
    #[must_use]
    pub fn own() -> Self {
        let home = home();
        let directory = home.path().join("slurm");
        fs::create_dir(&directory).expect("there is room");
        let mut cluster = Self::start(directory);
        cluster.1 = Some(home);
        cluster
    }

    /// Returns the path of its configuration, for `SLURM_CONF`.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.0.join("slurm.conf")
    }

    /// Returns a file of the documentation for Slurm's users.
    #[must_use]
    pub fn integration(name: &str) -> PathBuf {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        top.expect("the crate is in the workspace")
            .join("integration/slurm")
            .join(name)
    }

    fn script(&self, verb: &str) -> Command {
        let mut script = Command::new(Self::integration("cluster.sh"));
        script.arg(verb).arg(&self.0);
        script
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        run(&mut self.script("stop"));
    }
}
