//! Secured connections: trusted, distrusted, and not offered.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use forebay_connector::{Failure, FailureClass, Lane, Next};

use super::lane::target;
use super::server::{Server, own};

struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

fn certificates() -> Certificates {
    let mut authority_of = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority_of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = authority_of.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority_of, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    Certificates { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

fn write(data: &Path, name: &str, text: &str) {
    let path = data.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    own(&path);
}

async fn probe(server: &Server, more: &[(&str, &str)]) -> Result<(), Failure> {
    let settings = [&[("table", "events"), ("createTable", "true"), ("host", "localhost")], more].concat();
    target(server, &settings).sink(Lane(0)).probe().await
}

#[tokio::test]
async fn certificates_and_passwords_are_checked() {
    let made = certificates();
    let started = Server::start_with(&["ssl=on"], |data| {
        write(data, "server.crt", &made.certificate);
        write(data, "server.key", &made.key);
    });
    let Some(server) = started.await else { return };
    let trusted = [("sslMode", "verify-full"), ("tls:caCertificate", made.authority.as_str())];
    probe(&server, &trusted).await.unwrap();
    probe(&server, &[("sslMode", "require")]).await.unwrap();
    let unknown = probe(&server, &[("sslMode", "verify-full")]).await.unwrap_err();
    assert!(unknown.class == FailureClass::Connect && unknown.reason.contains("tls:caCertificate"), "{unknown}");
    let other_host = [&trusted[..], &[("host", "127.0.0.1")]].concat();
    assert!(probe(&server, &other_host).await.unwrap_err().reason.contains("secure connection failed"));

    server.run("CREATE ROLE keyed LOGIN SUPERUSER PASSWORD 'right-canary'").await;
    let rules = "CREATE TABLE rules (line text); SELECT 1";
    server.run(rules).await;
    let file = server.rows("SELECT current_setting('hba_file')").await.remove(0);
    write(
        Path::new(&file).parent().unwrap(),
        "pg_hba.conf",
        "host all keyed all scram-sha-256\nhost all all all trust\n",
    );
    server.run("SELECT pg_reload_conf()").await;
    let keyed = |password| {
        [&trusted[..], &[("authentication:username", "keyed"), ("authentication:password", password)]].concat()
    };
    // The rules hold from the moment the server has read them.
    while probe(&server, &keyed("wrong-canary")).await.is_ok() {}
    probe(&server, &keyed("right-canary")).await.unwrap();
    let refused = probe(&server, &keyed("wrong-canary")).await.unwrap_err();
    assert_eq!((refused.next, refused.class), (Next::Stop, FailureClass::Unauthorised), "{refused}");
    assert!(!format!("{refused:?}").contains("canary"));
    let missing = probe(&server, &[&trusted[..], &[("authentication:username", "keyed")]].concat()).await.unwrap_err();
    assert_eq!((missing.next, missing.class), (Next::Stop, FailureClass::Unauthorised), "{missing}");
}

#[tokio::test]
async fn a_server_without_certificates_and_one_that_is_down() {
    let Some(server) = Server::start().await else { return };
    let plain = probe(&server, &[("sslMode", "require")]).await.unwrap_err();
    assert!(plain.next == Next::Stop && plain.reason.contains("sslMode"), "{plain}");
    server.stop_immediately();
    let down = probe(&server, &[]).await.unwrap_err();
    assert_eq!((down.next, down.class), (Next::Retry { after: None }, FailureClass::Connect));
    assert!(down.reason.contains("connection refused"), "{down}");
}
