//! Certificates of servers and authorities that are trusted.

use std::path::{Path, PathBuf};

use oci::LONGEST_DOCUMENT;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::{Error, Options};

/// Files that hold the authorities that a machine trusts: Debian's and Red Hat's, SUSE's, Alpine's.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the file of the authorities that this machine trusts, if they are in a single file.
#[must_use]
pub fn authorities_file() -> Option<&'static Path> {
    BUNDLES.iter().map(Path::new).find(|path| path.exists())
}

/// Certificates that are trusted, as PEM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trusted {
    /// The authorities, in one file. `None` when they are not in one file; then they have to be
    /// searched for, which takes longer than everything else.
    authorities: Option<Vec<u8>>,
    /// Certificates that are trusted for one server only.
    own: Vec<Vec<u8>>,
}

impl Trusted {
    /// Returns only the authorities: those in the chosen file, or the machine's.
    pub(crate) fn authorities(chosen: Option<&Path>) -> Self {
        let path = chosen.or(authorities_file());
        let text = path.and_then(|path| sys::read_file(path, LONGEST_DOCUMENT).ok());
        Self {
            authorities: text.filter(|text| has_certificate(text)),
            own: Vec::new(),
        }
    }

    /// Returns the authorities and the certificates that are trusted for one server only.
    pub(crate) fn for_host(options: &Options, host: &str) -> Result<Self, Error> {
        Ok(Self {
            own: of_host(&options.certificates, host)?,
            ..Self::authorities(options.authorities.as_deref())
        })
    }

    pub(crate) fn has_authorities(&self) -> bool {
        self.authorities.is_some()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.authorities.iter().chain(&self.own).map(Vec::as_slice)
    }
}

/// Whether a text has at least one certificate, and all of them can be read.
fn has_certificate(text: &[u8]) -> bool {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    all.is_ok_and(|all| !all.is_empty())
}

/// Returns the certificates that are trusted for one server only.
fn of_host(directories: &[PathBuf], host: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    for directory in directories {
        let Ok(entries) = std::fs::read_dir(directory.join(host)) else {
            continue;
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == "crt")) {
            found.push(certificate(&path)?);
        }
    }
    Ok(found)
}

fn certificate(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Certificate {
        path: path.display().to_string(),
        reason,
    };
    let text =
        sys::read_file(path, LONGEST_DOCUMENT).map_err(|error| failed(text::message(&error)))?;
    match has_certificate(&text) {
        true => Ok(text),
        false => Err(failed("it is none".to_owned())),
    }
}
