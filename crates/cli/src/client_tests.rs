//! Tests the client over https against a server with a certificate of the test's own.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::testing::run;

/// A server that answers each request with an empty list; answers its port and its certificate.
async fn secure_server(name: &str) -> (u16, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut secure) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                if secure.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let body = r#"{"items":[],"totalCount":0,"totalSize":0,"paging":{"page":1,"pageSize":100}}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(secure.write_all(answer.as_bytes()).await);
            drop(secure.shutdown().await);
        }
    });
    (port, cert.pem())
}

async fn list(port: u16, certificate: Option<&str>) -> crate::testing::Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let server = format!("https://127.0.0.1:{port}");
    let mut args = vec!["forebay", "connectors", "list", "--server", &server];
    if let Some(pem) = certificate {
        std::fs::write(&file, pem).unwrap();
        args.extend(["--ca-file", file.to_str().unwrap()]);
    }
    run(&args).await
}

#[tokio::test]
async fn a_server_is_reached_over_https_when_its_authority_is_given() {
    let (port, certificate) = secure_server("127.0.0.1").await;
    let ran = list(port, Some(&certificate)).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[tokio::test]
async fn an_authority_that_is_not_known_is_named() {
    let (port, _) = secure_server("127.0.0.1").await;
    let ran = list(port, None).await;
    assert!(ran.code != 0 && ran.err.contains("UnknownIssuer"), "{} {}", ran.code, ran.err);
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let (port, certificate) = secure_server("elsewhere.test").await;
    let ran = list(port, Some(&certificate)).await;
    assert!(ran.code != 0 && ran.err.contains("not valid for name"), "{} {}", ran.code, ran.err);
}
