//! Owns the certificates that the server shows: reading them from PEM files, and taking renewed ones while it serves.
//!
//! A connection is greeted with what was read last. Renewed files that are wrong change nothing but the log: whoever
//! connects still meets the certificate that was right.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::TlsFiles;

/// A PEM file larger than this is refused, in bytes.
const PEM_SIZE_MAX: u64 = 1 << 20;
/// The files are looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The protocols that are offered, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What encrypted keys begin with in PEM.
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{key}: {} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// The key of the config.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
    /// A file is larger than any certificate.
    #[error("{key}: {} holds more than {PEM_SIZE_MAX} bytes: expected {expected}", .path.display())]
    TooLarge {
        /// The key of the config.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is expected in it.
        expected: &'static str,
    },
    /// A file holds something else.
    #[error("{key}: {} {found}: expected {expected}", .path.display())]
    Content {
        /// The key of the config.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What was found in it.
        found: String,
        /// What is expected in it.
        expected: &'static str,
    },
    /// Each file is right and both together are not.
    #[error("{} and {} cannot be used together: {reason}", .certificate.display(), .key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        reason: String,
    },
}

/// One of the files, and what should be in it.
#[derive(Clone, Copy)]
struct Wanted {
    key: &'static str,
    expected: &'static str,
}

const CERTIFICATE: Wanted =
    Wanted { key: "tls.certificate", expected: "certificates in PEM, the server's own first, then those that sign it" };
const KEY: Wanted = Wanted { key: "tls.key", expected: "a private key in PEM without a password" };
const CLIENT_CA: Wanted = Wanted { key: "tls.ca", expected: "certificates in PEM of those who sign clients'" };

/// The files as they were read, to notice when they change.
#[derive(PartialEq, Eq)]
struct Bytes {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

/// Why the files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Somebody asked for it.
    Anew,
    /// It is time to see whether they have changed.
    ForChanges,
}

/// What connections are greeted with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Certificates {
    files: Arc<TlsFiles>,
    current: watch::Sender<Arc<ServerConfig>>,
    /// What was read last, whether it was right or wrong; none when it could not be read.
    read: Arc<Mutex<Option<Bytes>>>,
}

impl Certificates {
    /// Reads the files.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, CertificateError> {
        let bytes = Bytes::read(files)?;
        let (current, _) = watch::channel(Arc::new(bytes.config(files)?));
        Ok(Self { files: Arc::new(files.clone()), current, read: Arc::new(Mutex::new(Some(bytes))) })
    }

    /// What a new connection is greeted with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.borrow().clone()
    }

    /// Reads the files again, and logs what came of it.
    pub(crate) async fn reload(&self) {
        self.take(Look::Anew).await;
    }

    async fn take(&self, look: Look) {
        let again = self.clone();
        match tokio::task::spawn_blocking(move || again.try_take(look)).await {
            Ok(Ok(true)) => {
                tracing::info!(certificate = %self.files.certificate.display(), "certificates were read again");
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(%error, "new certificates are wrong; the last right ones stay in use"),
            Err(error) => tracing::error!(%error, "the certificates could not be read again"),
        }
    }

    /// Reads the files; answers whether they were taken. Whoever looks for changes is told of what is wrong once.
    fn try_take(&self, look: Look) -> Result<bool, CertificateError> {
        let mut last = self.read.lock();
        let bytes = match Bytes::read(&self.files) {
            Ok(bytes) => bytes,
            Err(_) if look == Look::ForChanges && last.is_none() => return Ok(false),
            Err(error) => {
                *last = None;
                return Err(error);
            }
        };
        if look == Look::ForChanges && last.as_ref() == Some(&bytes) {
            return Ok(false);
        }
        let config = bytes.config(&self.files);
        *last = Some(bytes);
        self.current.send_replace(Arc::new(config?));
        Ok(true)
    }

    /// Looks at the files now and then, until told to stop.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => self.take(Look::ForChanges).await,
            }
        }
    }
}

impl Bytes {
    fn read(files: &TlsFiles) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: read(&files.certificate, CERTIFICATE)?,
            key: read(&files.key, KEY)?,
            ca: files.ca.as_ref().map(|path| read(path, CLIENT_CA)).transpose()?,
        })
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, CertificateError> {
        let chain = certificates(&self.certificate, &files.certificate, CERTIFICATE)?;
        let key = private_key(&self.key, &files.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let builder = match (&self.ca, &files.ca) {
            (Some(bytes), Some(path)) => {
                let roots = roots(bytes, path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| content(path, CLIENT_CA, format!("cannot be used ({error})")))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| CertificateError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            reason: error.to_string(),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn read(path: &Path, wanted: Wanted) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |error: std::io::Error| CertificateError::Unreadable {
        key: wanted.key,
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(PEM_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > PEM_SIZE_MAX {
        return Err(CertificateError::TooLarge { key: wanted.key, path: path.to_owned(), expected: wanted.expected });
    }
    Ok(bytes)
}

fn certificates(bytes: &[u8], path: &Path, wanted: Wanted) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(content(path, wanted, "holds no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(content(path, wanted, format!("is not PEM ({error})"))),
    }
}

fn roots(bytes: &[u8], path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes, path, CLIENT_CA)? {
        let wrong = |error| content(path, CLIENT_CA, format!("holds a certificate that cannot be used ({error})"));
        roots.add(certificate).map_err(wrong)?;
    }
    Ok(roots)
}

fn private_key(bytes: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    if bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(content(path, KEY, "holds a key with a password".to_owned()));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| content(path, KEY, format!("holds no private key ({error})")))
}

fn content(path: &Path, wanted: Wanted, found: String) -> CertificateError {
    CertificateError::Content { key: wanted.key, path: path.to_owned(), found, expected: wanted.expected }
}

#[cfg(test)]
mod tests;
