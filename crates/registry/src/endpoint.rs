//! The servers that may have a repository, and the connections to them.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::pass::Pass;
use crate::trust::Trusted;
use crate::{Credentials, Error, Login, Patience, Reference, tls};

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether a registry may be without TLS, or have a certificate that no trusted authority
    /// signed.
    pub insecure: bool,
    /// The user's credentials.
    pub credentials: Credentials,
    /// Servers to ask first.
    pub mirrors: Vec<Mirror>,
    /// Registries, `HOST[:PORT]`, that may be without TLS.
    pub insecure_hosts: Vec<String>,
    /// The file of the authorities to trust, if not the machine's own.
    pub authorities: Option<PathBuf>,
    /// Directories with a subdirectory for each registry, `HOST[:PORT]`. The `*.crt` files in it
    /// are trusted certificates.
    pub certificates: Vec<PathBuf>,
    /// How to wait for a server that is busy.
    pub patience: Patience,
}

/// A server that mirrors a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry, `docker.io`.
    pub of: String,
    /// The server, `HOST[:PORT]`.
    pub host: String,
    /// Whether the mirror may be without TLS.
    pub insecure: bool,
}

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Https,
}

/// A server, and the repository that is read from it.
pub(crate) struct Endpoint {
    /// The client that speaks to it.
    client: OnceLock<reqwest::Client>,
    /// The credentials that were accepted last.
    pub(crate) pass: Mutex<Option<Pass>>,
    protocol: Protocol,
    insecure: bool,
    trusted: Trusted,
    pub(crate) reference: Reference,
    pub(crate) login: Option<Login>,
    pub(crate) patience: Patience,
}

/// Longest time in which a connection must be made.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest pause between two parts of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// The `User-Agent` header of our requests.
const AGENT: &str = concat!("front/", env!("CARGO_PKG_VERSION"));

impl Endpoint {
    /// Returns all servers that may have the image of a reference, in the order in which they are
    /// asked.
    pub(crate) fn all(reference: &Reference, options: &Options) -> Result<Vec<Self>, Error> {
        let mut endpoints = Vec::new();
        for mirror in &options.mirrors {
            if mirror.of == reference.registry() {
                let mut mirrored = reference.clone();
                mirrored.set_mirror_registry(mirror.host.clone());
                endpoints.extend(Self::of(&mirrored, mirror.insecure, options)?);
            }
        }
        let is_host = |host: &String| host == reference.registry();
        let insecure = options.insecure || options.insecure_hosts.iter().any(is_host);
        endpoints.extend(Self::of(reference, insecure, options)?);
        Ok(endpoints)
    }

    fn of(reference: &Reference, insecure: bool, options: &Options) -> Result<Vec<Self>, Error> {
        let host = reference.resolve_registry();
        let login = match reference.namespace() {
            Some(_) => options.credentials.find_in_files(host)?,
            None => options.credentials.find(reference.registry())?,
        };
        let protocols = match (insecure, is_here(host)) {
            (true, _) => vec![Protocol::Https, Protocol::Http],
            (false, true) => vec![Protocol::Http, Protocol::Https],
            (false, false) => vec![Protocol::Https],
        };
        let trusted = Trusted::for_host(options, host)?;
        let of_protocol = |protocol| Self {
            client: OnceLock::new(),
            pass: Mutex::new(None),
            protocol,
            insecure,
            trusted: trusted.clone(),
            reference: reference.clone(),
            login: login.clone(),
            patience: options.patience.clone(),
        };
        Ok(protocols.into_iter().map(of_protocol).collect())
    }

    /// Returns the HTTP client, which is made at the first call because that takes time.
    pub(crate) fn client(&self) -> Result<&reqwest::Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client(&self.trusted, self.insecure)
            .and_then(|builder| builder.build().map_err(|error| text::one_line(&error)))
            .map_err(|reason| Error::Refused {
                what: self.reference.whole(),
                reason,
            })?;
        Ok(self.client.get_or_init(|| client))
    }

    pub(crate) fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
        }
    }

    pub(crate) fn host(&self) -> &str {
        self.reference.resolve_registry()
    }
}

/// Returns a builder for a client that trusts these certificates.
pub(crate) fn client(trusted: &Trusted, insecure: bool) -> Result<reqwest::ClientBuilder, String> {
    let tls = tls::config(trusted, insecure).map_err(|error| format!("TLS: {error}"))?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(AGENT)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE))
}

/// Whether a host is this machine. Such a registry is trusted without TLS, as docker does.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_on_this_machine_are_known() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:80"] {
            assert!(is_here(here), "{here}");
        }
        for there in ["quay.io", "localhost.example.com", "10.0.0.1:5000"] {
            assert!(!is_here(there), "{there}");
        }
    }
}
