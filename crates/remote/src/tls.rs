//! Owns what a secure connection to a node trusts and shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::settings::TlsSettings;

/// The one protocol that is spoken over a secure connection.
const PROTOCOL: &[u8] = b"h2";

/// Certificates or a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTls {
    /// A file cannot be read.
    #[error("the file {} cannot be read: {reason}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
    /// A file holds something else.
    #[error("the file {} does not hold {expected} in PEM form", .path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What it is expected to hold.
        expected: &'static str,
    },
    /// The key does not belong to the certificate, or is of a form that is not supported.
    #[error("the key in {} does not fit the client certificate", .path.display())]
    Mismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// The cryptography library offers no usable protocol version.
    #[error("no version of TLS can be used")]
    Version,
}

/// Builds the configuration of secure connections.
pub(crate) fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, InvalidTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| InvalidTls::Version)?;
    let builder = if settings.verifies {
        builder.with_root_certificates(roots(settings.ca_file.as_deref())?)
    } else {
        tracing::warn!("the certificates of the store's nodes are not verified, as tlsVerifyCert=false says");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified { provider }))
    };
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| not(key, "a private key"))?;
            let mismatch = |_| InvalidTls::Mismatch { path: key.clone() };
            builder.with_client_auth_cert(chain, secret).map_err(mismatch)?
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// The authorities of the file, or those of this machine when there is none.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the machine's root certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        return Ok(roots);
    };
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| not(path, "a certificate"))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| not(path, "a certificate"))
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidTls> {
    std::fs::read(path).map_err(|error| InvalidTls::File { path: path.to_owned(), reason: error.to_string() })
}

fn not(path: &Path, expected: &'static str) -> InvalidTls {
    InvalidTls::Content { path: path.to_owned(), expected }
}

/// Takes any certificate, as the operator asked for; the handshake's signatures are still checked.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
