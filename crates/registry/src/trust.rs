//! Whose word is taken for who a server is.

use std::path::{Path, PathBuf};

use oci::LONGEST_DOCUMENT;

use crate::Error;

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

/// Returns the authorities in one file; `None` where they are not so, and have to be looked for, which
/// takes longer than all else.
pub(crate) fn authorities(chosen: Option<&Path>) -> Option<Vec<u8>> {
    let text = sys::read_file(chosen.or(authorities_file())?, LONGEST_DOCUMENT).ok()?;
    // One that cannot be read would spoil all.
    let is_sound = reqwest::Certificate::from_pem_bundle(&text).is_ok_and(|all| !all.is_empty());
    is_sound.then_some(text)
}

/// Returns the certificates that are trusted for one server alone.
pub(crate) fn of_host(directories: &[PathBuf], host: &str) -> Result<Vec<Vec<u8>>, Error> {
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
    match reqwest::Certificate::from_pem_bundle(&text) {
        Ok(all) if !all.is_empty() => Ok(text),
        _ => Err(failed("it is none".to_owned())),
    }
}
