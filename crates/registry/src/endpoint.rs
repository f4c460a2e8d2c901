//! The servers that may have a repository, and how each is spoken to.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use crate::ask::Pass;
use crate::{Credentials, Error, Login, trust};

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
    /// The file of the authorities to trust, if not the machine's own.
    pub authorities: Option<PathBuf>,
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
    /// The client that sends.
    client: OnceLock<Client>,
    /// The client that receives: the other one reads an answer whole, however long it is.
    reader: OnceLock<reqwest::Client>,
    /// The credentials that were accepted last.
    pub(crate) pass: Mutex<Option<Pass>>,
    protocol: ClientProtocol,
    insecure: bool,
    /// Certificates to trust, and whether no others.
    trusted: Vec<Certificate>,
    only: bool,
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
        let login = match reference.namespace() {
            Some(_) => options.credentials.find_in_files(host)?,
            None => options.credentials.find(reference.registry())?,
        };
        let protocols = match (insecure, is_here(host)) {
            (true, _) => vec![ClientProtocol::Https, ClientProtocol::Http],
            (false, true) => vec![ClientProtocol::Http, ClientProtocol::Https],
            (false, false) => vec![ClientProtocol::Https],
        };
        let authorities = trust::authorities(options.authorities.as_deref());
        let only = authorities.is_some();
        let own = trust::of_host(&options.certificates, host)?;
        let trusted: Vec<Certificate> = authorities
            .into_iter()
            .chain(own)
            .map(|data| Certificate {
                encoding: CertificateEncoding::Pem,
                data,
            })
            .collect();
        let of_protocol = |protocol| Self {
            client: OnceLock::new(),
            reader: OnceLock::new(),
            pass: Mutex::new(None),
            protocol,
            insecure,
            trusted: trusted.clone(),
            only,
            reference: reference.clone(),
            auth: Login::auth(login.as_ref()),
            user: login.as_ref().map(|login| login.user.clone()),
        };
        Ok(protocols.into_iter().map(of_protocol).collect())
    }

    /// Returns what speaks to it; made when it is first needed, since that takes time.
    pub(crate) fn client(&self) -> Result<&Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let trusted = self.trusted.clone();
        let (only, more) = match self.only {
            true => (trusted, Vec::new()),
            false => (Vec::new(), trusted),
        };
        let config = ClientConfig {
            protocol: self.protocol.clone(),
            accept_invalid_certificates: self.insecure,
            tls_certs_only: only,
            extra_root_certificates: more,
            use_monolithic_push: true,
            read_timeout: Some(SILENCE),
            connect_timeout: Some(CONNECT),
            user_agent: AGENT,
            ..ClientConfig::default()
        };
        let client = Client::try_from(config)
            .map_err(|error| Error::of_client(error, &self.reference.whole(), self.host(), None))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Returns what asks it; made when it is first needed.
    pub(crate) fn reader(&self) -> Result<&reqwest::Client, Error> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let mut trusted = Vec::new();
        for certificate in &self.trusted {
            // They were read before.
            trusted.extend(
                reqwest::Certificate::from_pem_bundle(&certificate.data).unwrap_or_default(),
            );
        }
        let builder = reqwest::Client::builder();
        let builder = match self.only {
            true => builder.tls_certs_only(trusted),
            false => builder.tls_certs_merge(trusted),
        };
        let reader = builder
            .user_agent(AGENT)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .danger_accept_invalid_certs(self.insecure)
            .build()
            .map_err(|error| Error::of_request(&error, &self.reference.whole(), self.host()))?;
        Ok(self.reader.get_or_init(|| reader))
    }

    pub(crate) fn scheme(&self) -> &'static str {
        match self.protocol {
            ClientProtocol::Http => "http",
            _ => "https",
        }
    }

    pub(crate) fn host(&self) -> &str {
        self.reference.resolve_registry()
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
