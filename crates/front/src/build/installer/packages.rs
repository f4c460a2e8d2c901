//! Distributions of Red Hat's and SUSE's kind, by dnf, yum and zypper.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use definition::Header;
use rootfs::{Directory, Files as _};

use super::{Installer, TREE};

/// The configuration of dnf, in the tree.
const CONF: &str = "/.yum-bootstrap.conf";

/// Returns the addresses of packages. `%{OSVERSION}` in them is replaced.
fn repositories(header: &Header) -> Result<Vec<String>> {
    let version = header.get("osversion");
    let mirror = header
        .get("mirrorurl")
        .context("the keyword mirrorurl is missing")?;
    let others = header
        .iter()
        .filter(|(keyword, _)| *keyword == "updateurl" || keyword.starts_with("otherurl"));
    let all = std::iter::once(mirror).chain(others.map(|(_, address)| address));
    let addresses = all.map(|address| {
        if address.to_ascii_lowercase().contains("%{osversion}") && version.is_none() {
            bail!("{address}: the keyword osversion is missing");
        }
        let version = version.unwrap_or_default();
        Ok(address
            .replace("%{OSVERSION}", version)
            .replace("%{osversion}", version))
    });
    addresses.collect()
}

impl Installer<'_> {
    /// Installs a distribution of Red Hat's kind with dnf or yum.
    ///
    /// # Errors
    ///
    /// As for [`debian`](Self::debian).
    pub(super) fn red_hat(&self, header: &Header, tree: &Path, program: &str) -> Result<()> {
        let other = if program == "dnf" { "yum" } else { "dnf" };
        let known = [program, other];
        let program = known.into_iter().find(|one| self.program(one).is_some());
        let program = program.context(
            "neither dnf nor yum is installed; use an image of the distribution: Bootstrap: docker",
        )?;
        if header.get("confurl").is_some() {
            bail!("the keyword confurl is not supported; use MirrorURL");
        }
        let repositories = repositories(header)?;
        let mut conf = "[main]\ncachedir=/var/cache/yum-bootstrap\nkeepcache=0\ngpgcheck=0\nplugins=0\nreposdir=/nonexistent\n".to_owned();
        for (number, address) in repositories.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(
                conf,
                "[base{number}]\nname=base{number}\nbaseurl={address}\nenabled=1\n"
            );
        }
        let root = Directory::open_root(tree)?;
        root.write(Path::new(CONF), 0o644, conf.as_bytes())?;
        let conf = format!("{TREE}{CONF}");
        let mut words = vec![
            program,
            "--noplugins",
            "-c",
            &conf,
            "--installroot",
            TREE,
            "-y",
        ];
        let version = header
            .get("osversion")
            .map(|version| format!("--releasever={version}"));
        words.extend(version.as_deref());
        let options = header
            .get("setopt")
            .map(|options| format!("--setopt={options}"));
        words.extend(options.as_deref());
        words.extend(["install", "/etc/redhat-release", "coreutils"]);
        words.extend(header.get("include").unwrap_or_default().split_whitespace());
        self.run(tree, &words, &[])?;
        root.unlink(Path::new(CONF))?;
        let _ = root.remove(Path::new("/var/cache/yum-bootstrap"));
        // The rpm of other distributions keeps its database in the home.
        if root.step(Path::new("/root/.rpmdb"))?.is_some()
            && root.step(Path::new("/var/lib/rpm"))?.is_none()
        {
            let home = root.make_directories(Path::new("/root"))?;
            let lib = root.make_directories(Path::new("/var/lib"))?;
            rustix::fs::renameat(home, ".rpmdb", lib, "rpm")?;
        }
        Ok(())
    }

    /// Installs a distribution of SUSE's kind with zypper.
    ///
    /// # Errors
    ///
    /// As for [`debian`](Self::debian).
    pub(super) fn suse(&self, header: &Header, tree: &Path) -> Result<()> {
        if self.program("zypper").is_none() {
            bail!("zypper is not installed; use an image of the distribution: Bootstrap: docker");
        }
        let zypper = [
            "zypper",
            "--non-interactive",
            "--no-gpg-checks",
            "--root",
            TREE,
        ];
        for (number, address) in repositories(header)?.iter().enumerate() {
            let name = format!("base{number}");
            let words: Vec<&str> = { zypper.iter().copied() }
                .chain(["addrepo", address, &name])
                .collect();
            self.run(tree, &words, &[])?;
        }
        let include = header.get("include").unwrap_or_default().split_whitespace();
        let install = ["install", "--auto-agree-with-licenses", "aaa_base"];
        let words: Vec<&str> = zypper.into_iter().chain(install).chain(include).collect();
        self.run(tree, &words, &[])
    }
}
