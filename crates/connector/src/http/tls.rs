//! Owns what a secure connection trusts and shows: roots, a custom authority, a client certificate.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Secret;

/// What a secure connection trusts and shows, as PEM text or base64 of it.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Authorities trusted besides those of the machine.
    pub ca_certificate: Option<String>,
    /// The chain that this client shows.
    pub client_certificate: Option<String>,
    /// The key that goes with it.
    pub client_key: Option<Secret>,
}

/// Certificates or a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTls {
    /// The authority's text holds no certificate.
    #[error("the authority is not a certificate in PEM form")]
    Authority,
    /// The client's text holds no certificate.
    #[error("the client certificate is not a certificate in PEM form")]
    Certificate,
    /// The key's text holds no key.
    #[error("the client key is not a private key in PEM form")]
    Key,
    /// One of certificate and key is there without the other.
    #[error("a client certificate and its key go together")]
    Half,
    /// The key does not belong to the certificate, or is of a form that is not supported.
    #[error("the client key does not fit the client certificate")]
    Mismatch,
    /// The cryptography library offers no usable protocol version.
    #[error("no protocol version can be used")]
    Version,
}

/// The roots of this machine, read once.
fn machine_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the machine's root certificates cannot be read");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        roots
    })
}

/// The configuration of secure HTTP connections; the same one for all that trust and show nothing of their own, since a copy
/// of the machine's roots for each would be most of what a connector takes.
pub(super) fn http_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, InvalidTls> {
    static PLAIN: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let TlsOptions { ca_certificate, client_certificate, client_key } = options;
    let is_plain = ca_certificate.is_none() && client_certificate.is_none() && client_key.is_none();
    if let Some(config) = PLAIN.get().filter(|_| is_plain) {
        return Ok(Arc::clone(config));
    }
    let config = own_http_config(options)?;
    Ok(if is_plain { Arc::clone(PLAIN.get_or_init(|| config)) } else { config })
}

fn own_http_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, InvalidTls> {
    let mut config = client_config(options)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Builds the configuration of secure connections, whatever is spoken over them.
///
/// The cryptography provider is passed on explicitly: nothing global is installed, so no order of calls matters.
pub fn client_config(options: &TlsOptions) -> Result<ClientConfig, InvalidTls> {
    let mut roots = machine_roots().clone();
    if let Some(text) = &options.ca_certificate {
        for certificate in certificates(text).ok_or(InvalidTls::Authority)? {
            roots.add(certificate).map_err(|_| InvalidTls::Authority)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| InvalidTls::Version)?
        .with_root_certificates(roots);
    Ok(match (&options.client_certificate, &options.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate).ok_or(InvalidTls::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&pem(key.expose())).map_err(|_| InvalidTls::Key)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| InvalidTls::Mismatch)?
        }
        _ => return Err(InvalidTls::Half),
    })
}

fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem(text)).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// PEM text as it is, or out of its base64.
fn pem(text: &str) -> Vec<u8> {
    if text.contains("-----BEGIN") {
        return text.as_bytes().to_vec();
    }
    let compact: String = text.split_whitespace().collect();
    STANDARD.decode(compact).unwrap_or_default()
}
