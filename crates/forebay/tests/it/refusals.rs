//! What the server refuses at its start, and how it says so.

use crate::server::{Server, free_address, run};

async fn refused(args: &[&str], expected: &[&str]) {
    let output = run(args).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} is not refused");
    for word in expected {
        assert!(told.contains(word), "{args:?}: {word:?} is not told: {told}");
    }
    assert!(!told.contains("panicked"), "{told}");
}

#[tokio::test]
async fn wrong_config_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let config = directory.path().join("forebay.toml");
    let listen = free_address().to_string();
    let usual = ["serve", "--data", data, "--listen", &listen, "--config", config.to_str().unwrap()];
    refused(&usual, &["forebay.toml"]).await;
    std::fs::write(&config, "lisen = \"127.0.0.1:2113\"\n").unwrap();
    refused(&usual, &["lisen", "listen"]).await;
    std::fs::write(&config, "listen = \n").unwrap();
    refused(&usual, &["forebay.toml"]).await;
    let output = run(&["serve", "--data", data, "--listen", "nowhere"]).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"));
}

#[tokio::test]
async fn a_wrong_connector_file_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let connectors = directory.path().join("connectors.yaml");
    std::fs::write(&connectors, "connectors:\n- id: orders\n  settings: { instanceTypeName: no-such-sink }\n").unwrap();
    let listen = free_address().to_string();
    let (data, connectors) = (data.to_str().unwrap(), connectors.to_str().unwrap());
    let args = ["serve", "--data", data, "--listen", &listen, "--connectors", connectors];
    refused(&args, &["orders", "no-such-sink"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let data = server.data().to_str().unwrap();
    refused(&["serve", "--data", data, "--listen", &free_address().to_string()], &[data]).await;
    refused(&["log", "verify", data], &[data]).await;
    // The first one has not noticed.
    server.http.get("/info").await;
}
