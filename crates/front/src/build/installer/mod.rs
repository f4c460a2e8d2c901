//! Distributions' own installers, run on the host's files as root of a user namespace.

mod debian;
mod packages;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Result, bail};
use definition::Header;

use super::container::{Container, described};
use crate::caller::Caller;
use crate::messages::Messages;

/// The directory in which an installer finds the tree.
const TREE: &str = "/mnt";

/// Binds the devices that packages' scripts need. No device can be made by an ordinary user.
const DEVICES: &str = "for name in null zero full random urandom tty; do\n\
    \x20 : >> /mnt/dev/$name; mount --bind /dev/$name /mnt/dev/$name\ndone\nexec \"$@\"";

/// A distribution's installer.
pub struct Installer<'a> {
    pub caller: &'a Caller,
    pub messages: &'a Messages,
}

impl Installer<'_> {
    /// Installs a distribution in an empty directory.
    ///
    /// # Errors
    ///
    /// Fails without the agent's program, on a missing keyword, and when the program fails.
    pub fn install(&self, agent: &str, header: &Header, tree: &Path) -> Result<()> {
        match agent {
            "yum" | "dnf" => self.red_hat(header, tree, agent),
            "zypper" => self.suse(header, tree),
            _ => self.debian(header, tree, agent),
        }
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

    /// Runs a program of the host, with the devices that packages' scripts need.
    fn run(&self, tree: &Path, words: &[&str], binds: &[OsString]) -> Result<()> {
        let script = match session::is_privileged() {
            true => "exec \"$@\"",
            false => {
                std::fs::create_dir_all(tree.join("dev"))?;
                DEVICES
            }
        };
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
