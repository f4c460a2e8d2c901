//! The servers that may have a repository, and how each is spoken to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use crate::{Credentials, Error, Login};

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether a registry may be without TLS, or have a certificate that nobody vouches for.
    pub insecure: bool,
    /// Who the user is.
    pub credentials: Credentials,
    /// Servers to ask first.
    pub mirrors: Vec<Mirror>,
    /// Registries, `HOST[:PORT]`, that may be without TLS.
    pub insecure_hosts: Vec<String>,
    /// Directories with one for each registry, `HOST[:PORT]`, whose `*.crt` are certificates to trust.
    pub certificates: Vec<PathBuf>,
}

/// A server that has what a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry, `docker.io`.
    pub of: String,
    /// The server, `HOST[:PORT]`.
    pub host: String,
    /// Whether it may be without TLS.
    pub insecure: bool,
}

/// A server, and what is asked of it.
pub(crate) struct Endpoint {
    pub(crate) client: Client,
    pub(crate) reference: Reference,
    pub(crate) auth: RegistryAuth,
    pub(crate) user: Option<String>,
}

/// How long a connection may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(15);
/// How long a server may be silent.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// What we call ourselves.
pub(crate) const AGENT: &str = concat!("front/", env!("CARGO_PKG_VERSION"));

impl Endpoint {
    /// All that may have what a reference names, the first to ask first.
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
        let login = options.credentials.find(match reference.namespace() {
            Some(_) => host,
            None => reference.registry(),
        })?;
        let protocols = if insecure || is_here(host) {
            vec![ClientProtocol::Https, ClientProtocol::Http]
        } else {
            vec![ClientProtocol::Https]
        };
        let certificates = certificates(&options.certificates, host)?;
        let mut endpoints = Vec::new();
        for protocol in protocols {
            let config = ClientConfig {
                protocol,
                accept_invalid_certificates: insecure,
                extra_root_certificates: certificates.clone(),
                use_monolithic_push: true,
                read_timeout: Some(SILENCE),
                connect_timeout: Some(CONNECT),
                user_agent: AGENT,
                ..ClientConfig::default()
            };
            endpoints.push(Self {
                client: Client::try_from(config)
                    .map_err(|error| Error::of_client(error, &reference.whole(), host, None))?,
                reference: reference.clone(),
                auth: Login::auth(login.as_ref()),
                user: login.as_ref().map(|login| login.user.clone()),
            });
        }
        Ok(endpoints)
    }

    pub(crate) fn host(&self) -> &str {
        self.reference.resolve_registry()
    }

    /// Has the client know who the user is.
    pub(crate) async fn introduce(&self) {
        self.client
            .store_auth_if_needed(self.host(), &self.auth)
            .await;
    }
}

/// A registry on this machine is trusted without TLS, as docker does it.
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

fn certificates(directories: &[PathBuf], host: &str) -> Result<Vec<Certificate>, Error> {
    let mut found = Vec::new();
    for directory in directories {
        let Ok(entries) = std::fs::read_dir(directory.join(host)) else {
            continue;
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == "crt")) {
            found.push(Certificate {
                encoding: CertificateEncoding::Pem,
                data: certificate(&path)?,
            });
        }
    }
    Ok(found)
}

fn certificate(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Certificate {
        path: path.display().to_string(),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| failed(sys::words(&error)))?;
    reqwest::Certificate::from_pem(&text).map_err(|_| failed("it is none".to_owned()))?;
    Ok(text)
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
