//! Tests of reading certificates, and of taking renewed ones.

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};

struct Folder {
    folder: tempfile::TempDir,
    files: TlsFiles,
}

impl Folder {
    /// Files that are right.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = TlsFiles { certificate: path("c.pem"), key: path("k.pem"), ca: None };
        let made = Self { folder, files };
        made.renew();
        made
    }

    fn renew(&self) -> CertifiedKey<rcgen::KeyPair> {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&self.files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&self.files.key, made.signing_key.serialize_pem()).unwrap();
        made
    }

    fn refusal(&self) -> String {
        match Certificates::load(&self.files) {
            Ok(_) => panic!("the files are wrong"),
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn every_wrong_file_is_named_with_what_is_expected() {
    let made = Folder::new();
    assert!(Certificates::load(&made.files).is_ok());
    let key = std::fs::read(&made.files.key).unwrap();
    for (content, expected) in [
        (&b""[..], "k.pem holds no private key"),
        (b"\x30\x82\x01\x0a", "k.pem holds no private key"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "with a password"),
    ] {
        std::fs::write(&made.files.key, content).unwrap();
        let said = made.refusal();
        assert!(said.starts_with("tls.key: ") && said.contains(expected), "{said}");
        assert!(said.ends_with("expected a private key in PEM without a password"), "{said}");
    }
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&made.files.key, other.signing_key.serialize_pem()).unwrap();
    assert!(made.refusal().contains("cannot be used together"), "{}", made.refusal());
    std::fs::write(&made.files.certificate, &key).unwrap();
    assert!(made.refusal().contains("c.pem holds no certificate: expected certificates in PEM"), "{}", made.refusal());
    std::fs::write(&made.files.certificate, vec![b'-'; (1 << 20) + 1]).unwrap();
    assert!(made.refusal().contains("c.pem holds more than 1048576 bytes"), "{}", made.refusal());
    std::fs::remove_file(&made.files.certificate).unwrap();
    assert!(made.refusal().starts_with("tls.certificate: ") && made.refusal().contains("c.pem cannot be read: "));
}

#[test]
fn an_authority_of_clients_is_read_and_checked() {
    let mut made = Folder::new();
    let ca = made.folder.path().join("ca.pem");
    made.files.ca = Some(ca.clone());
    std::fs::write(&ca, "nobody").unwrap();
    assert!(made.refusal().starts_with("tls.ca: ") && made.refusal().contains("ca.pem holds no certificate"));
    std::fs::copy(&made.files.certificate, &ca).unwrap();
    assert!(Certificates::load(&made.files).is_ok());
}

#[test]
fn renewed_files_are_taken_and_wrong_ones_change_nothing() {
    let made = Folder::new();
    let certificates = Certificates::load(&made.files).unwrap();
    let first = certificates.current();
    assert!(!certificates.try_take(Look::ForChanges).unwrap(), "nothing has changed");
    assert!(Arc::ptr_eq(&first, &certificates.current()));
    made.renew();
    assert!(certificates.try_take(Look::ForChanges).unwrap());
    let second = certificates.current();
    assert!(!Arc::ptr_eq(&first, &second));

    let key = std::fs::read(&made.files.key).unwrap();
    std::fs::write(&made.files.key, "half").unwrap();
    assert!(certificates.try_take(Look::ForChanges).is_err());
    assert!(!certificates.try_take(Look::ForChanges).unwrap(), "what is wrong is said once");
    assert!(certificates.try_take(Look::Anew).is_err(), "whoever asks is told again");
    std::fs::remove_file(&made.files.key).unwrap();
    assert!(certificates.try_take(Look::ForChanges).is_err());
    assert!(!certificates.try_take(Look::ForChanges).unwrap());
    assert!(Arc::ptr_eq(&second, &certificates.current()));
    std::fs::write(&made.files.key, key).unwrap();
    assert!(certificates.try_take(Look::ForChanges).unwrap());
    assert!(!Arc::ptr_eq(&second, &certificates.current()));
}

#[tokio::test(start_paused = true)]
async fn the_files_are_looked_at_now_and_then() {
    let made = Folder::new();
    let certificates = Certificates::load(&made.files).unwrap();
    let mut changes = certificates.current.subscribe();
    let stop = CancellationToken::new();
    let watching = tokio::spawn(certificates.clone().watch(stop.clone()));
    made.renew();
    changes.changed().await.unwrap();
    stop.cancel();
    watching.await.unwrap();
}
