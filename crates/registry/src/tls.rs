//! TLS, and the servers that are trusted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::trust::Trusted;

/// Returns a TLS configuration: one that trusts the servers with a trusted certificate, or all
/// servers.
pub(crate) fn config(trusted: &Trusted, insecure: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let vouched = match insecure {
        true => None,
        false => Some(Vouched::new(trusted, &provider)?),
    };
    let verifier = Arc::new(Verifier {
        vouched,
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Decides which servers are trusted. Each server proves that it has the key of its certificate.
#[derive(Debug)]
struct Verifier {
    /// `None` when the user trusts all servers.
    vouched: Option<Vouched>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(vouched) = &self.vouched else {
            return Ok(ServerCertVerified::assertion());
        };
        let Some(authorities) = &vouched.authorities else {
            return Err(Error::General(
                "this machine has no certificates of authorities; install ca-certificates, or name a file by \
                 SSL_CERT_FILE"
                    .to_owned(),
            ));
        };
        match authorities.verify_server_cert(own, others, name, ocsp, now) {
            // The certificate is valid at this time: webpki checks the validity before it checks
            // for an authority's certificate.
            Err(error) if is_authoritys(&error) && vouched.trusted.iter().any(|one| one == own) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, own, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, own, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

/// Servers whose certificate is signed by a trusted authority, or is itself trusted.
///
/// `openssl req -x509` makes a certificate of an authority. webpki refuses a registry that uses
/// such a certificate as its own; OpenSSL and Go accept it.
#[derive(Debug)]
struct Vouched {
    /// `None` when the machine has no certificates of authorities. Work that needs no TLS succeeds
    /// without them.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Vouched {
    fn new(trusted: &Trusted, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let trusted = certificates(trusted);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let provider = Arc::clone(provider);
        let authorities = (!roots.is_empty()).then(|| {
            let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
            let failed = |error| Error::General(format!("certificates to trust: {error}"));
            authorities.build().map_err(failed)
        });
        Ok(Self {
            authorities: authorities.transpose()?,
            trusted,
        })
    }
}

fn certificates(trusted: &Trusted) -> Vec<CertificateDer<'static>> {
    let mut all: Vec<CertificateDer<'static>> = trusted
        .files()
        .flat_map(|file| CertificateDer::pem_slice_iter(file).filter_map(Result::ok))
        .collect();
    if !trusted.has_authorities() {
        all.extend(rustls_native_certs::load_native_certs().certs);
    }
    all
}

/// Whether a server's certificate was refused because it is a certificate of an authority.
fn is_authoritys(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let webpki = other.0.downcast_ref::<webpki::Error>();
    webpki == Some(&webpki::Error::CaUsedAsEndEntity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_believed_where_no_certificates_are() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier {
            vouched: Some(Vouched {
                authorities: None,
                trusted: Vec::new(),
            }),
            provider,
        };
        let name = ServerName::try_from("localhost").unwrap();
        let certificate = CertificateDer::from(Vec::new());
        let verified = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        let error = verified.unwrap_err().to_string();
        assert!(error.contains("no certificates of authorities"), "{error}");
    }
}
