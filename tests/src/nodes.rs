//! Two machines with separate networks, host names and `/tmp`: namespaces with a link between them,
//! and a real sshd in each.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use crate::{TESTER, home, run, succeed, tester, wait_for};

/// Two machines that end with the test.
#[derive(Debug)]
pub struct Nodes {
    home: tempfile::TempDir,
    names: [String; 2],
    servers: Vec<Child>,
}

/// The machines' addresses.
const ADDRESSES: [&str; 2] = ["10.77.3.1", "10.77.3.2"];

/// A shell command that makes a process one of a machine's, with a host name and temporary files of
/// its own.
const ENTER: &str = "hostname $0 && mount -t tmpfs -o mode=1777 none /tmp && exec \"$@\"";

impl Nodes {
    /// Makes the machines.
    ///
    /// # Panics
    ///
    /// Panics when the machines cannot be made.
    #[must_use]
    pub fn start() -> Self {
        let home = home();
        let names = [1, 2].map(|number| format!("node{number}-{}", std::process::id()));
        let mut nodes = Self {
            home,
            names,
            servers: Vec::new(),
        };
        nodes.link();
        nodes.make_keys();
        nodes.serve();
        nodes
    }

    /// Returns the machines' addresses.
    #[must_use]
    pub fn addresses(&self) -> [&'static str; 2] {
        ADDRESSES
    }

    /// Returns the program that runs a command on another machine, as `ssh` does.
    #[must_use]
    pub fn ssh(&self) -> PathBuf {
        self.home.path().join("ssh")
    }

    /// Returns a command that runs on the first machine as the ordinary user.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let id = tester().to_string();
        let mut command = self.on(0);
        command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.args([
            "env",
            "-i",
            "PATH=/usr/bin:/bin",
            &format!("HOME=/home/{TESTER}"),
            &format!("USER={TESTER}"),
        ]);
        command.args(words).current_dir(format!("/home/{TESTER}"));
        command
    }

    fn on(&self, node: usize) -> Command {
        let name = self.names.get(node).expect("there are two");
        let mut command = Command::new("ip");
        command.args([
            "netns", "exec", name, "unshare", "--mount", "--uts", "sh", "-c", ENTER, name,
        ]);
        command
    }

    fn link(&self) {
        let [first, second] = &self.names;
        let ip = |words: &[&str]| succeed(Command::new("ip").args(words));
        for name in &self.names {
            ip(&["netns", "add", name]);
        }
        let ends = ["va", "vb"].map(|end| format!("{end}{}", std::process::id()));
        ip(&[
            "link", "add", &ends[0], "netns", first, "type", "veth", "peer", "name", &ends[1],
            "netns", second,
        ]);
        for ((name, end), address) in self.names.iter().zip(&ends).zip(ADDRESSES) {
            ip(&[
                "-n",
                name,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                end,
            ]);
            ip(&["-n", name, "link", "set", end, "up"]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
    }

    fn make_keys(&self) {
        let path = |name: &str| self.home.path().join(name);
        for name in ["host", "user"] {
            succeed(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(path(name)),
            );
        }
        fs::copy(path("user.pub"), path("authorized")).expect("there is room");
        for name in ["user", "authorized"] {
            chown(path(name), Some(tester()), Some(tester())).expect("we are root");
        }
        let options =
            "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -i {} {options} \"$@\"\n",
            path("user").display()
        );
        fs::write(self.ssh(), script).expect("there is room");
        fs::set_permissions(self.ssh(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nUsePAM yes\nPasswordAuthentication no\nStrictModes no\nPidFile none\nPrintMotd no\n",
            path("host").display(),
            path("authorized").display()
        );
        fs::write(path("sshd_config"), text).expect("there is room");
        fs::create_dir_all("/run/sshd").expect("we are root");
    }

    fn serve(&mut self) {
        let config = self.home.path().join("sshd_config");
        for node in 0..2 {
            let mut server = self.on(node);
            server
                .args(["/usr/sbin/sshd", "-D", "-e", "-f"])
                .arg(&config);
            let log = fs::File::create(self.home.path().join(format!("sshd{node}")))
                .expect("there is room");
            self.servers
                .push(server.stderr(log).spawn().expect("it can be started"));
        }
        let ssh = self.ssh().display().to_string();
        for address in ADDRESSES {
            wait_for("sshd", Duration::from_secs(10), || {
                run(&mut self.command(&[&ssh, address, "true"])).code == 0
            });
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for name in &self.names {
            run(Command::new("ip").args(["netns", "del", name]));
        }
    }
}
