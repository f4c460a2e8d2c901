//! Distributions' own installers, run on the host's files as root of a user namespace.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use definition::Header;
use rootfs::{Directory, Files as _};

use super::container::{Container, described};
use crate::caller::Caller;
use crate::messages::Messages;

/// The directory in which an installer finds the tree.
const TREE: &str = "/mnt";

/// Binds the devices that packages' scripts need. No device can be made by an ordinary user.
const DEVICES: &str = "for name in null zero full random urandom tty; do\n\
    \x20 : >> /mnt/dev/$name; mount --bind /dev/$name /mnt/dev/$name\ndone\nexec \"$@\"";

/// Packages of the minimal system that an image has no use for, as in Apptainer.
const EXCLUDED: &str = "openssl,udev,debconf-i18n,e2fsprogs";

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

/// A distribution's installer.
pub struct Installer<'a> {
    pub caller: &'a Caller,
    pub messages: &'a Messages,
}

impl Installer<'_> {
    /// Installs a Debian or a derivative with debootstrap, or with mmdebstrap.
    ///
    /// # Errors
    ///
    /// Fails without the program, on a missing keyword, and when the program fails.
    pub fn debian(&self, header: &Header, tree: &Path, program: &str) -> Result<()> {
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
            let sandbox = format!("--aptopt=APT::Sandbox::User \"{}\"", "root");
            let mut words = vec![program, "--mode=root", "--variant=minbase", &sandbox];
            // The kernel's file systems are there, and an ordinary user cannot mount others.
            let skipped = "--skip=check/empty,chroot/mount/dev,chroot/mount/sys,chroot/mount/proc,output/dev,output/mknod";
            let script = match session::is_privileged() {
                true => "exec \"$@\"",
                false => {
                    std::fs::create_dir_all(tree.join("dev/pts"))?;
                    std::fs::create_dir_all(tree.join("dev/shm"))?;
                    words.push(skipped);
                    DEVICES
                }
            };
            words.extend([include.as_str(), version, TREE, mirror]);
            return self.run(tree, script, &words, &[]);
        }
        std::fs::create_dir_all(tree.join("dev"))?;
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
        let script = match session::is_privileged() {
            true => "exec \"$@\"",
            false => DEVICES,
        };
        let bind = bind.filter(|_| !session::is_privileged());
        self.run(tree, script, &words, bind.as_slice())
    }

    /// Installs a distribution of Red Hat's kind with dnf or yum.
    ///
    /// # Errors
    ///
    /// As for [`debian`](Self::debian).
    pub fn red_hat(&self, header: &Header, tree: &Path, program: &str) -> Result<()> {
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
        let script = match session::is_privileged() {
            true => "exec \"$@\"",
            false => DEVICES,
        };
        std::fs::create_dir_all(tree.join("dev"))?;
        self.run(tree, script, &words, &[])?;
        root.unlink(Path::new(CONF))?;
        let _ = rootfs::remove(&tree.join("var/cache/yum-bootstrap"));
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
    pub fn suse(&self, header: &Header, tree: &Path) -> Result<()> {
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
            self.run(tree, "exec \"$@\"", &words, &[])?;
        }
        let include = header.get("include").unwrap_or_default().split_whitespace();
        let install = ["install", "--auto-agree-with-licenses", "aaa_base"];
        let words: Vec<&str> = zypper.into_iter().chain(install).chain(include).collect();
        std::fs::create_dir_all(tree.join("dev"))?;
        let script = match session::is_privileged() {
            true => "exec \"$@\"",
            false => DEVICES,
        };
        self.run(tree, script, &words, &[])
    }

    /// Returns the path of a program of the host.
    fn program(&self, name: &str) -> Option<OsString> {
        let own = self.caller.variables.get("PATH");
        // Installers are in directories that users' PATH may lack.
        let mut path = own.map(OsStr::to_owned).unwrap_or_default();
        path.push(":/usr/sbin:/usr/bin:/sbin:/bin");
        let mut found = rootfs::candidates(&path, OsStr::new(name));
        let found = found.find(|path| path.is_absolute() && path.is_file());
        // A link would be bound instead of its program.
        Some(found?.canonicalize().ok()?.into_os_string())
    }

    fn run(&self, tree: &Path, script: &str, words: &[&str], binds: &[OsString]) -> Result<()> {
        let mut flags = Vec::new();
        let mut bind = tree.as_os_str().to_owned();
        bind.push(":");
        bind.push(TREE);
        for bind in binds.iter().chain([&bind]) {
            flags.extend([OsString::from("--bind"), bind.clone()]);
        }
        let host = Container {
            tree: Path::new("/"),
            flags: &flags,
            cwd: "/",
            caller: self.caller,
            messages: self.messages,
        };
        let shell = ["/bin/sh", "-ec", script, "sh"];
        let words: Vec<&OsStr> = shell.iter().chain(words).map(OsStr::new).collect();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let ended = host.run_beside(&[("PATH", path)], &words)?;
        let name = words.get(shell.len()).unwrap_or(&OsStr::new("")).display();
        if !ended.status.success() {
            bail!("{name} failed: {}", described(ended.status));
        }
        Ok(())
    }
}
