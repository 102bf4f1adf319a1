//! TLS to PostgreSQL and to the web: on ring, with the web's roots compiled in.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Sslmode;

/// What connects to a database with this mode. The roots are those of the web, which Amazon's are among, and
/// the certificates given besides.
pub(crate) fn connector(
    sslmode: Sslmode,
    certificates: &[CertificateDer<'static>],
) -> MakeRustlsConnect {
    let config = match sslmode {
        // Without TLS the connector is there and never called.
        Sslmode::VerifyFull | Sslmode::Disable => {
            let mut roots = RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
            roots.add_parsable_certificates(certificates.iter().cloned());
            trusting(roots)
        }
        Sslmode::Require => {
            let builder = on_ring();
            let anyone = AnyCertificate(Arc::clone(builder.crypto_provider()));
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(anyone))
                .with_no_client_auth()
        }
    };
    MakeRustlsConnect::new(config)
}

/// What connects to a server of the web.
pub(crate) fn web() -> ClientConfig {
    trusting(RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    })
}

/// What connects to AWS: only Amazon's own roots are trusted.
pub(crate) fn amazon() -> ClientConfig {
    let is_amazons = |root: &&TrustAnchor<'_>| {
        [&b"Amazon"[..], b"Starfield"].iter().any(|name| {
            let mut texts = root.subject.windows(name.len());
            texts.any(|text| text == *name)
        })
    };
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().filter(is_amazons);
    trusting(RootCertStore {
        roots: roots.cloned().collect(),
    })
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    on_ring()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn on_ring() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|_| unreachable!("ring has the default protocol versions"))
}

/// Takes any certificate, as `sslmode=require` means: it keeps out who listens, not who pretends.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
