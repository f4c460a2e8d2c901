//! Daemons of container engines, each with directories of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{run, wait_for};

/// Time that a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that ends with the test, and its address.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    client: &'static str,
    address: (&'static str, String),
}

impl Daemon {
    /// Starts dockerd with these runtimes, with its files below `home`.
    ///
    /// # Panics
    ///
    /// Panics when the daemon does not start.
    #[must_use]
    pub fn docker(home: &Path, runtimes: &serde_json::Value) -> Self {
        let file = |name: &str| home.join(name).display().to_string();
        let config = serde_json::json!({
            "runtimes": runtimes,
            "data-root": file("data"),
            "exec-root": file("exec"),
            "pidfile": file("pid"),
            "hosts": [format!("unix://{}", file("socket"))],
            "storage-driver": "vfs",
            "iptables": false,
            "bridge": "none",
        });
        fs::write(file("daemon.json"), config.to_string()).expect("it can be written");
        let mut dockerd = Command::new("dockerd");
        dockerd.args(["--config-file", &file("daemon.json")]);
        let address = ("DOCKER_HOST", format!("unix://{}", file("socket")));
        Self::start(dockerd, home, "docker", address)
    }

    /// Starts containerd, with its files below `home`.
    ///
    /// # Panics
    ///
    /// Panics when the daemon does not start.
    #[must_use]
    pub fn containerd(home: &Path) -> Self {
        let file = |name: &str| home.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            file("root"),
            file("state"),
            file("socket"),
            file("socket.ttrpc")
        );
        fs::write(file("config.toml"), config).expect("it can be written");
        let mut containerd = Command::new("containerd");
        containerd.args(["--config", &file("config.toml")]);
        Self::start(
            containerd,
            home,
            "ctr",
            ("CONTAINERD_ADDRESS", file("socket")),
        )
    }

    fn start(
        mut command: Command,
        home: &Path,
        client: &'static str,
        address: (&'static str, String),
    ) -> Self {
        let log = fs::File::create(home.join("log")).expect("there is a log");
        let stdout = log.try_clone().expect("the log has another handle");
        let command = command.stdin(Stdio::null()).stdout(stdout).stderr(log);
        let daemon = Self {
            child: command.spawn().expect("it is installed"),
            client,
            address,
        };
        wait_for(client, PATIENCE, || {
            run(&mut daemon.client(&["version"])).code == 0
        });
        daemon
    }

    /// Returns a command of the daemon's client.
    #[must_use]
    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.client);
        self.reach(&mut command);
        command.args(args);
        command
    }

    /// Sets the daemon's address for a command.
    pub fn reach(&self, command: &mut Command) {
        let (name, value) = &self.address;
        command.env(name, value);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
