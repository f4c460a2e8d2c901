//! Debian and its derivatives, by debootstrap or mmdebstrap.

use std::path::Path;

use anyhow::{Context, Result, bail};
use definition::Header;

use super::{Installer, TREE};

/// Packages of the minimal system that an image has no use for, as in Apptainer.
const EXCLUDED: &str = "openssl,udev,debconf-i18n,e2fsprogs";
/// The steps of mmdebstrap that are left out: the kernel's file systems are there, and an ordinary user
/// cannot mount others.
const SKIPPED: &str = "--skip=check/empty,chroot/mount/dev,chroot/mount/sys,chroot/mount/proc,output/dev,output/mknod";
/// There is no other user.
const SANDBOX: &str = "--aptopt=APT::Sandbox::User \"root\"";

impl Installer<'_> {
    /// Installs a Debian or a derivative with debootstrap, or with mmdebstrap.
    ///
    /// # Errors
    ///
    /// Fails without the program, on a missing keyword, and when the program fails.
    pub(super) fn debian(&self, header: &Header, tree: &Path, program: &str) -> Result<()> {
        let program = match program {
            "debootstrap" if self.program("debootstrap").is_none() => "mmdebstrap",
            program => program,
        };
        if self.program(program).is_none() {
            bail!(
                "{program} is not installed; without it, a Debian can be had from a registry: Bootstrap: docker, From: debian"
            );
        }
        let value = |keyword: &'static str| {
            let value = header.get(keyword);
            value.with_context(|| format!("the keyword {keyword} is missing"))
        };
        let mut include = vec!["apt"];
        let wanted = header.get("include").unwrap_or_default();
        include.extend(
            wanted
                .split([' ', ',', '\n'])
                .filter(|name| !name.is_empty()),
        );
        let include = format!("--include={}", include.join(","));
        let (version, mirror) = (value("osversion")?, value("mirrorurl")?);
        if program == "mmdebstrap" {
            let mut words = vec![program, "--mode=root", "--variant=minbase", SANDBOX];
            if !session::is_privileged() {
                std::fs::create_dir_all(tree.join("dev/pts"))?;
                std::fs::create_dir_all(tree.join("dev/shm"))?;
                words.push(SKIPPED);
            }
            words.extend([include.as_str(), version, TREE, mirror]);
            return self.run(tree, &words, &[]);
        }
        let exclude = format!("--exclude={EXCLUDED}");
        let words = [
            program,
            "--variant=minbase",
            &exclude,
            &include,
            version,
            TREE,
            mirror,
        ];
        // debootstrap sets the modes of devices that nobody could make.
        let mknod = self.program("mknod").zip(self.program("true"));
        let bind = mknod.map(|(mknod, none)| {
            let mut bind = none;
            bind.push(":");
            bind.push(mknod);
            bind
        });
        let bind = bind.filter(|_| !session::is_privileged());
        self.run(tree, &words, bind.as_slice())
    }
}
