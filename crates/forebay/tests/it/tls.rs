//! The operator's commands over TLS: with certificates that the program makes, and with ones that nobody trusts.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::http::eventually;
use crate::server::{forebay, free_address, run};

/// What the server is told that its administrator's password is.
const ADMIN_PASSWORD: &str = "behind-glass";

/// A server is up within so long.
const READY_LIMIT: Duration = Duration::from_secs(30);

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

fn serve(directory: &Path, address: SocketAddr) -> Child {
    let mut command: Command = forebay();
    command.arg("serve").args(["--data", &path(directory, "data"), "--listen", &address.to_string()]);
    command.args(["--tls-certificate", &path(directory, "server.pem"), "--tls-key", &path(directory, "server.key")]);
    command.env("FOREBAY_ADMIN_PASSWORD", ADMIN_PASSWORD);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_speak_tls_with_certificates_of_the_programs_own_making() {
    let directory = tempfile::tempdir().unwrap();
    let made = run(&["certificates", "dev", "--out", &path(directory.path(), "")]).await;
    assert!(
        made.status.success() && said(&made).contains("forebay connectors list --server https://"),
        "{}",
        said(&made)
    );
    let again = run(&["certificates", "dev", "--out", &path(directory.path(), "")]).await;
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten: {}", said(&again));

    let address = free_address();
    let mut server = serve(directory.path(), address);
    let ca = path(directory.path(), "ca.pem");
    let url = format!("https://admin:{ADMIN_PASSWORD}@localhost:{}", address.port());
    let list = ["connectors", "list", "--json", "--server", &url, "--ca-file", &ca];
    eventually("the server answers over TLS", READY_LIMIT, || async { run(&list).await.status.success() }).await;
    let plain = format!("http://localhost:{}", address.port());
    for (server, trusts_it, expected) in [
        (&url, false, "certificate"),
        (&plain, true, "400"),
        (&url.replace("localhost", "127.0.0.1"), true, "[]"),
        (&url.replace(ADMIN_PASSWORD, "wrong"), true, "401"),
    ] {
        let mut args = vec!["connectors", "list", "--json", "--server", server];
        if trusts_it {
            args.extend(["--ca-file", &ca]);
        }
        let output = run(&args).await;
        assert!(said(&output).contains(expected), "{server}: {}", said(&output));
    }
    server.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_certificates_are_named_and_the_exit_code_says_config() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("server.pem"), "nothing").unwrap();
    std::fs::write(directory.path().join("server.key"), "nothing").unwrap();
    let mut server = serve(directory.path(), free_address());
    assert_eq!(server.wait().await.unwrap().code(), Some(2));
    let data = path(directory.path(), "data");
    let output = run(&["serve", "--data", &data, "--tls-certificate", &path(directory.path(), "server.pem")]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("tls.key is missing"), "{}", said(&output));
}
