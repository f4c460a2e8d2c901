//! A registry: Debian's `docker-registry`, on a port of this machine.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Killed, succeed, wait_for};

/// A registry that ends when this is dropped.
#[derive(Debug)]
pub struct Registry {
    home: tempfile::TempDir,
    port: u16,
    child: Option<Killed>,
}

/// The user and the password of a registry with passwords.
const USER: (&str, &str) = ("user", "secret");

impl Registry {
    /// Starts an empty registry.
    ///
    /// # Panics
    ///
    /// Panics when the registry does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with("", "")
    }

    /// Starts a registry that requires TLS, and the password `secret` of `user`.
    ///
    /// # Panics
    ///
    /// Panics when the registry does not start.
    #[must_use]
    pub fn closed() -> Self {
        let auth = "auth: {htpasswd: {realm: here, path: HOME/passwords}}\n";
        // A server's own certificate, which must not sign others.
        Self::with("basicConstraints = critical, CA:FALSE", auth)
    }

    /// Starts a registry that requires TLS. Its certificate is self-signed, valid for `localhost`,
    /// and has these extensions (x509v3_config(5ssl)).
    ///
    /// # Panics
    ///
    /// Panics when the registry does not start.
    #[must_use]
    pub fn certified(extensions: &str) -> Self {
        Self::with(extensions, "")
    }

    fn with(extensions: &str, auth: &str) -> Self {
        let tls = match extensions {
            "" => "",
            _ => ", tls: {certificate: HOME/cert.pem, key: HOME/key.pem}",
        };
        let home = tempfile::tempdir().expect("there is room");
        let port = free_port();
        let at = home.path().display().to_string();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {at}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"{tls}}}\n{auth}log: {{accesslog: {{disabled: false}}}}\n"
        );
        let write = |name: &str, text: &str| {
            fs::write(home.path().join(name), text).expect("there is room")
        };
        write("config.yml", &config.replace("HOME", &at));
        if !tls.is_empty() {
            write(
                "openssl.conf",
                &format!(
                    "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = server\n\
                     [name]\nCN = localhost\n\
                     [server]\nsubjectAltName = DNS:localhost\n{extensions}\n"
                ),
            );
            succeed(
                Command::new("openssl")
                    .args([
                        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    ])
                    .args(["-config", &format!("{at}/openssl.conf")])
                    .args(["-keyout", &format!("{at}/key.pem")])
                    .args(["-out", &format!("{at}/cert.pem")])
                    .stderr(Stdio::null()),
            );
            let (user, password) = USER;
            let line = succeed(Command::new("htpasswd").args(["-Bbn", user, password]));
            write("passwords", &line);
        }
        let mut registry = Self {
            home,
            port,
            child: None,
        };
        registry.up();
        registry
    }

    /// Starts the registry again.
    ///
    /// # Panics
    ///
    /// Panics when the registry does not start.
    pub fn up(&mut self) {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.log_file())
            .expect("there is room");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(self.home.path().join("config.yml"))
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("docker-registry is installed");
        self.child = Some(Killed(child));
        wait_for("the registry", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Ends the registry, as by a crash.
    pub fn down(&mut self) {
        self.child = None;
    }

    /// Returns the registry's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of an image in the registry.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    /// Returns the certificate of a registry that requires TLS.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join("cert.pem")
    }

    /// Returns the directory of the registry's data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// Returns the number of GET requests that succeeded for paths that contain `part`.
    ///
    /// # Panics
    ///
    /// Panics when the log cannot be read.
    #[must_use]
    pub fn served(&self, part: &str) -> usize {
        let log = fs::read_to_string(self.log_file()).expect("the registry has a log");
        let lines = log
            .lines()
            .filter(|line| line.contains("\"GET ") && line.contains(part));
        lines
            .filter(|line| line.contains("\" 200 ") || line.contains("\" 206 "))
            .count()
    }

    /// Pushes an image of a layout to the registry, with Debian's `skopeo`.
    ///
    /// # Panics
    ///
    /// Panics when this fails.
    pub fn push(&self, layout: &Path, name: &str) {
        let mut skopeo = Command::new("skopeo");
        let (user, password) = USER;
        skopeo
            .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
            .args(["--dest-creds", &format!("{user}:{password}")])
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://{}", self.image(name)));
        succeed(&mut skopeo);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
