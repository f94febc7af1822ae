//! Tests of serving over TLS: both protocols, renewed certificates, clients' certificates, clear text, silence.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_server::{Config, RunningServer, StartError, TlsFiles, start};
use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::gossip::gossip_client::GossipClient;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Longer than the server waits for a handshake.
const LIMIT: Duration = Duration::from_secs(30);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate signed by it, and its key, in PEM and for a client.
    fn sign(&self) -> (String, KeyPair, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key, certificate.der().clone())
    }

    fn write(&self, folder: &Path) {
        let (certificate, key, _) = self.sign();
        std::fs::write(folder.join("server.pem"), certificate).unwrap();
        std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("ca.pem"), self.0.pem()).unwrap();
    }
}

fn config(folder: &Path) -> Config {
    let path = |name: &str| folder.join(name);
    let tls = TlsFiles { certificate: path("server.pem"), key: path("server.key"), ca: Some(path("ca.pem")) };
    let listen = "127.0.0.1:0".parse().unwrap();
    Config { listen, data: path("data"), tls: Some(tls), auth: Some(false), ..Config::default() }
}

/// A client that trusts the authority; with a certificate of its own if one is given.
fn client(trusted: &Authority, shown: Option<&Authority>, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let (_, key, certificate) = authority.sign();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(server: &RunningServer, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address()).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Sends a request over HTTP/1.1 and reads the answer; a server that refuses a client's certificate says so only now.
async fn ask(server: &RunningServer, client: &TlsConnector, request: &str) -> std::io::Result<String> {
    let mut stream = connect(server, client).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn channel(server: &RunningServer, client: TlsConnector) -> Channel {
    let address = server.address();
    let connector = tower::service_fn(move |_: Uri| {
        let client = client.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The connector brings TLS itself, and the scheme alone would ask for it a second time.
    let endpoint = Endpoint::from_static("http://localhost").origin("https://localhost".parse().unwrap());
    endpoint.connect_with_connector(connector).await.unwrap()
}

const PING: &str = "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_served_and_the_better_one_is_chosen() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(folder.path());
    let server = start(config(folder.path())).await.unwrap();
    for (offered, chosen) in
        [(&[&b"http/1.1"[..], b"h2"][..], Some(&b"h2"[..])), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let stream = connect(&server, &client(&authority, None, offered)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
    }
    let one = client(&authority, None, &[b"http/1.1"]);
    let head = "POST /streams/s HTTP/1.1\r\nHost: localhost:7\r\nContent-Type: application/json\r\nES-EventType: T\r\n";
    let answer =
        ask(&server, &one, &format!("{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains("https://localhost:7/streams/s/0"), "a link leads back over TLS: {answer}");
    let mut gossip = GossipClient::new(channel(&server, client(&authority, None, &[b"h2"])).await);
    let members = gossip.read(Empty {}).await.unwrap().into_inner().members;
    let place = members.first().unwrap().http_end_point.clone().unwrap();
    assert_eq!((place.address.as_str(), place.port), ("localhost", 443));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_shown_to_whoever_connects_next() {
    let (folder, first) = (tempfile::tempdir().unwrap(), Authority::new());
    first.write(folder.path());
    let server = start(config(folder.path())).await.unwrap();
    let trusting_first = client(&first, None, &[b"http/1.1"]);
    let mut open = connect(&server, &trusting_first).await.unwrap();
    let second = Authority::new();
    second.write(folder.path());
    std::fs::write(folder.path().join("server.key"), "half written").unwrap();
    server.reload_certificates().await;
    assert!(ask(&server, &trusting_first, PING).await.unwrap().contains("200 OK"), "wrong files change nothing");
    second.write(folder.path());
    server.reload_certificates().await;
    assert!(ask(&server, &trusting_first, PING).await.is_err(), "the old authority does not know the new certificate");
    let trusting_second = client(&second, None, &[b"http/1.1"]);
    assert!(ask(&server, &trusting_second, PING).await.unwrap().contains("200 OK"));
    open.write_all(PING.as_bytes()).await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("200 OK"), "open connections go on: {answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_show_a_certificate_and_only_a_right_one() {
    let (folder, authority, stranger) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    authority.write(folder.path());
    let server = start(config(folder.path())).await.unwrap();
    let known = client(&authority, Some(&authority), &[b"http/1.1"]);
    assert!(ask(&server, &known, PING).await.unwrap().contains("200 OK"));
    let unknown = client(&authority, Some(&stranger), &[b"http/1.1"]);
    assert!(ask(&server, &unknown, PING).await.is_err());
    let anonymous = client(&authority, None, &[b"http/1.1"]);
    assert!(ask(&server, &anonymous, PING).await.unwrap().contains("200 OK"));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_is_refused_in_words_and_silence_ends() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(folder.path());
    let server = start(Config { connections_max: 2, ..config(folder.path()) }).await.unwrap();
    let mut plain = TcpStream::connect(server.address()).await.unwrap();
    plain.write_all(PING.as_bytes()).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("expected https"), "{answer}");

    // Both places are held by clients who begin a handshake and say no more.
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(&[22, 3, 1, 2]).await.unwrap();
        silent.push(stream);
    }
    let one = client(&authority, None, &[b"http/1.1"]);
    let asked = tokio::time::timeout(LIMIT, ask(&server, &one, PING)).await;
    assert!(asked.expect("handshakes end within their limit").unwrap().contains("200 OK"));
    tokio::time::timeout(LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_files_prevent_a_start_before_anything_else_happens() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(folder.path());
    std::fs::remove_file(folder.path().join("server.key")).unwrap();
    let Err(error) = start(config(folder.path())).await else { panic!("the key is missing") };
    assert!(matches!(error, StartError::Certificates(_)), "{error}");
    assert!(error.to_string().starts_with("tls.key: ") && error.to_string().contains("server.key"), "{error}");
    assert!(!folder.path().join("data").exists());
}
