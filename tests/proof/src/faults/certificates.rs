//! Owns an authority of the test's own, and certificates that are right, expired, or for another host.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// Nothing.
    None,
    /// It has expired.
    Expired,
    /// It is for another host.
    OtherHost,
}

/// An authority that signs certificates for `127.0.0.1` and `localhost`.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// When the cryptography library makes no keys.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate can be made") }
    }

    /// Its certificate, for clients that are to trust it.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// What takes secure connections with a certificate that has this fault.
    ///
    /// # Panics
    /// When the cryptography library makes no certificates.
    pub fn acceptor(&self, fault: TlsFault) -> TlsAcceptor {
        let names = match fault {
            TlsFault::OtherHost => vec!["elsewhere.test".to_owned()],
            TlsFault::None | TlsFault::Expired => vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        };
        let mut params = CertificateParams::new(names).expect("the names are names");
        if fault == TlsFault::Expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows a version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key fits its certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
