//! Whom to trust: the platform's certificates and those of the configuration, or, said aloud, anyone.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::TransportError;

/// A client configuration with ring, TLS 1.2 and 1.3, and no client certificate. ALPN is left to the connector.
pub(super) fn config(ca_cert_pem: Option<&str>, skip_verify: bool) -> Result<ClientConfig, TransportError> {
    let extra = ca_cert_pem.map(certificates).transpose()?.unwrap_or_default();
    let crypto = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto.clone()).with_safe_default_protocol_versions()?;
    if skip_verify {
        let anyone = Arc::new(Unverified(crypto));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth());
    }
    if !extra.is_empty() {
        let verifier = Arc::new(Verifier::new_with_extra_roots(extra, crypto)?);
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    Ok(PLATFORM.clone()?)
}

/// The platform's certificates, read once: that takes milliseconds and a megabyte, and every provider shares them.
static PLATFORM: LazyLock<Result<ClientConfig, Error>> = LazyLock::new(|| {
    let crypto = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto.clone()).with_safe_default_protocol_versions()?;
    match Verifier::new(crypto) {
        Ok(verifier) => {
            Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
        }
        // A machine without certificates can still speak to providers over plain HTTP; every TLS connection is refused.
        Err(error) => {
            tracing::warn!(%error, "no CA certificates on this system: https providers are refused unless ca_cert_pem is set");
            Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        }
    }
});

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TransportError::CaCertificate("no PEM certificate in it".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(TransportError::CaCertificate(error.to_string())),
    }
}

/// Accepts any certificate, but still checks that the peer holds its key: `insecure_skip_verify`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_certificate_that_is_none_is_refused() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(config(Some(pem), false), Err(TransportError::CaCertificate(_))), "{pem}");
        }
    }
}
