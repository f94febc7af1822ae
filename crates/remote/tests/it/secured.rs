//! Tests of secure connections: an authority of our own, a client certificate, and what is refused.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use forebay_remote::{ConnectError, RemoteSettings, RemoteStore};
use forebay_store::EventStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::node::{LIMIT, Node, clock};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A secure door in front of a server, which asks for a client certificate.
async fn secure_door(server: SocketAddr, authority: &Authority) -> (SocketAddr, AbortOnDropHandle<()>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut secured) = acceptor.accept(socket).await else { return };
                let mut inner = TcpStream::connect(server).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut secured, &mut inner).await);
            });
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

fn connect(settings: &str) -> Result<RemoteStore, ConnectError> {
    RemoteStore::connect(settings.parse::<RemoteSettings>().unwrap(), clock())
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_trusted_and_shown_is_decided_by_the_connection_string() {
    let mut node = Node::start().await;
    let authority = authority();
    let (door, _serving) = secure_door(node.address, &authority).await;
    let files = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let ca = write(files.path(), "ca.pem", &authority.pem());
    let certificate = write(files.path(), "client.pem", &certificate.pem());
    let key = write(files.path(), "client.key", &key.serialize_pem());
    let shown = format!("userCertFile={certificate}&userKeyFile={key}");
    let host = format!("esdb://localhost:{}", door.port());

    for trusted in [format!("tlsCaFile={ca}"), "tlsVerifyCert=false".to_owned()] {
        let store = connect(&format!("{host}?{trusted}&{shown}")).unwrap();
        tokio::time::timeout(LIMIT, store.connected()).await.unwrap().unwrap();
        assert!(store.head().await.unwrap().is_some());
    }
    for refused in [format!("tlsCaFile={ca}"), shown.clone()] {
        let store = connect(&format!("{host}?{refused}&defaultDeadline=300")).unwrap();
        assert!(tokio::time::timeout(LIMIT, store.head()).await.unwrap().is_err(), "{refused}");
        assert!(store.outage().is_some());
    }
    let missing = connect(&format!("{host}?tlsCaFile=/no/such/file.pem")).unwrap_err();
    assert!(missing.to_string().contains("/no/such/file.pem"), "{missing}");
    let wrong = connect(&format!("{host}?tlsCaFile={key}")).unwrap_err();
    assert!(wrong.to_string().ends_with("does not hold a certificate in PEM form"), "{wrong}");
    node.stop().await;
}
