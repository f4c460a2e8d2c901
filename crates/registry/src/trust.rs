//! Whose word is taken for who a server is.

use std::path::{Path, PathBuf};

use oci::LONGEST_DOCUMENT;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::{Error, Options};

/// The authorities that this machine trusts, in one file: Debian's and Red Hat's, SUSE's, Alpine's.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the file of the authorities that this machine trusts, if it has them in one.
#[must_use]
pub fn authorities_file() -> Option<&'static Path> {
    BUNDLES.iter().map(Path::new).find(|path| path.exists())
}

/// Certificates that are trusted, as PEM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trusted {
    /// The authorities in one file; `None` where they are not so, and have to be looked for, which takes longer than
    /// all else.
    authorities: Option<Vec<u8>>,
    /// Those of one server.
    own: Vec<Vec<u8>>,
}

impl Trusted {
    /// The authorities alone: those of a file, or the machine's.
    pub(crate) fn authorities(chosen: Option<&Path>) -> Self {
        let path = chosen.or(authorities_file());
        let text = path.and_then(|path| sys::read_file(path, LONGEST_DOCUMENT).ok());
        Self {
            authorities: text.filter(|text| has_certificate(text)),
            own: Vec::new(),
        }
    }

    /// The authorities, and what is trusted for one server alone.
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

/// Whether a text has a certificate, and only such that can be read.
fn has_certificate(text: &[u8]) -> bool {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    all.is_ok_and(|all| !all.is_empty())
}

/// Returns the certificates that are trusted for one server alone.
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
        sys::read_file(path, LONGEST_DOCUMENT).map_err(|error| failed(sys::words(&error)))?;
    match has_certificate(&text) {
        true => Ok(text),
        false => Err(failed("it is none".to_owned())),
    }
}
