//! TLS, and which servers are believed.

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

/// Returns how TLS is spoken: with the servers that trusted certificates vouch for, or with all.
pub(crate) fn config(trusted: &Trusted, insecure: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match insecure {
        true => Arc::new(All(Arc::clone(&provider))),
        false => Arc::new(Vouched::new(trusted, &provider)?),
    };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Believes servers for which an authority vouches, or whose very certificate is a trusted one.
///
/// `openssl req -x509` makes a certificate that is an authority's. A registry that uses it as its own is refused
/// by webpki; OpenSSL and Go take it.
#[derive(Debug)]
struct Vouched {
    authorities: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Vouched {
    fn new(trusted: &Trusted, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let trusted = certificates(trusted);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let provider = Arc::clone(provider);
        let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
        Ok(Self {
            authorities: authorities
                .build()
                .map_err(|error| Error::General(format!("no certificates to trust: {error}")))?,
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

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .authorities
            .verify_server_cert(own, others, name, ocsp, now);
        match verified {
            // It is valid now: webpki looks at that before it looks for an authority's mark.
            Err(error) if is_authoritys(&error) && self.trusted.iter().any(|one| one == own) => {
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
        self.authorities
            .verify_tls12_signature(message, own, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, own, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a server's certificate was refused since it is an authority's.
fn is_authoritys(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let webpki = other.0.downcast_ref::<webpki::Error>();
    webpki == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Believes all: the user says so.
#[derive(Debug)]
struct All(Arc<CryptoProvider>);

impl ServerCertVerifier for All {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, own, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, own, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
