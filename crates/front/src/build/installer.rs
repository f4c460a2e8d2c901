//! Distributions' own installers, run on the host's files as root of a user namespace.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, bail};
use definition::Header;

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
            let words = [
                program,
                "--mode=root",
                "--variant=minbase",
                &include,
                version,
                TREE,
                mirror,
            ];
            return self.run(tree, "exec \"$@\"", &words, &[]);
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
