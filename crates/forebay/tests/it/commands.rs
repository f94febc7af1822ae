//! The operator's commands against a live server, with `--json`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Load;
use crate::receiver::Receiver;
use crate::server::{Server, free_address, run};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn connectors_live_from_create_to_delete() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    Load { streams: 2, events: 50 }.write(server.http.clone()).await;
    let url = format!("url={}", receiver.url());
    let create = ["connectors", "create", "orders-http", "--kind", "http-sink", "--set", &url, "--name", "Orders"];
    server.command_json(&[&create[..], &["--start", "--from", "earliest", "--wait"]].concat()).await;
    receiver.has(50, LIMIT).await;
    let list = server.command_json(&["connectors", "list"]).await;
    assert_eq!(list["items"][0]["connectorId"], "orders-http");
    assert_eq!(list["items"][0]["state"], "CONNECTOR_STATE_RUNNING");
    let again = server.command(&create).await;
    assert_eq!(again.status.code(), Some(1));

    server.command_json(&["connectors", "rename", "orders-http", "Bills"]).await;
    server.command_json(&["connectors", "reconfigure", "orders-http", "--set", "method=PUT"]).await;
    let view = server.command_json(&["connectors", "show", "orders-http"]).await;
    assert_eq!((&view["name"], &view["settings"]["method"]), (&json!("Bills"), &json!("PUT")), "{view}");
    assert_eq!(view["settings"]["url"], receiver.url());

    let delete = server.command(&["connectors", "delete", "orders-http"]).await;
    assert_eq!(delete.status.code(), Some(1), "a running one is not deleted");
    server.command_json(&["connectors", "stop", "orders-http", "--wait"]).await;
    server.command_json(&["connectors", "reset", "orders-http", "--wait"]).await;
    receiver.has(50, LIMIT).await;
    crate::http::eventually("all is delivered again", LIMIT, || async { receiver.asked() >= 100 }).await;
    server.command_json(&["connectors", "stop", "orders-http", "--wait"]).await;
    server.command_json(&["connectors", "delete", "orders-http"]).await;
    assert_eq!(server.command_json(&["connectors", "list"]).await["items"], json!([]));
    let gone = server.command(&["connectors", "start", "orders-http"]).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("orders-http"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_appended_read_and_followed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let file = directory.path().join("events.ndjson");
    let line = |n: u64| json!({"stream": format!("cli-{}", n % 3), "type": "Counted", "data": {"n": n}}).to_string();
    std::fs::write(&file, (0..300).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let told = server.command_json(&["streams", "append", file.to_str().unwrap()]).await;
    assert_eq!(told["appended"], 300);
    let one = ["streams", "append", "--stream", "cli-0", "--type", "Last", "--data", r#"{"n": 300}"#];
    server.command_json(&[&one[..], &["--expected-revision", "99"]].concat()).await;
    let refused = server.command(&[&one[..], &["--expected-revision", "7"]].concat()).await;
    assert_eq!(refused.status.code(), Some(1));

    let lines = |output: std::process::Output| -> Vec<Value> {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let read = lines(server.command(&["streams", "read", "cli-0", "--limit", "1000", "--json"]).await);
    let numbers: Vec<_> = read.iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..=300).step_by(3).collect::<Vec<_>>());
    let backward = ["streams", "read", "$all", "--backward", "--limit", "1", "--json"];
    assert_eq!(lines(server.command(&backward).await)[0]["type"], "Last");
    let follow = ["streams", "subscribe", "$all", "--from", "start", "--type-prefix", "Counted", "--until-caught-up"];
    assert_eq!(lines(server.command(&[&follow[..], &["--json"]].concat()).await).len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_applied_and_previewed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    Load { streams: 2, events: 40 }.write(server.http.clone()).await;
    let file = directory.path().join("connectors.yaml");
    let declared = format!(
        "connectors:\n- id: declared\n  state: running\n  startFrom: earliest\n  settings:\n    \
         instanceTypeName: http-sink\n    url: {}\n    subscription: {{ filter: {{ scope: stream, filterType: prefix, \
         expression: load-1 }} }}\n    transformer:\n      enabled: true\n      function: |\n        \
         function transform(record) {{\n          record.value = {{ revision: record.value.revision }};\n        }}\n",
        receiver.url()
    );
    std::fs::write(&file, declared).unwrap();
    let file = file.to_str().unwrap();
    let report = server.command_json(&["preview", file, "--last", "1000", "--samples", "3"]).await;
    assert_eq!((&report["matched"], &report["failed"]), (&json!(20), &json!(0)), "{report}");
    assert_eq!(report["samples"][0]["data"], json!({"revision": 0}), "{report}");
    assert_eq!(receiver.asked(), 0, "a preview touches no sink");

    let would = server.command_json(&["apply", file, "--dry-run"]).await;
    assert_eq!(would["changes"][0]["id"], "declared");
    assert!(server.command_json(&["connectors", "list"]).await["items"].as_array().unwrap().is_empty());
    server.command_json(&["apply", file]).await;
    receiver.has(20, LIMIT).await;
    let again = server.command_json(&["apply", file]).await;
    assert_eq!(again["changes"][0]["actions"], json!([]), "what is so already is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_described_and_wrong_settings_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let kinds = server.command_json(&["connectors", "describe"]).await;
    assert!(kinds.to_string().contains("http-sink"), "{kinds}");
    let kind = server.command_json(&["connectors", "describe", "http-sink"]).await;
    let keys: Vec<_> = kind["settings"].as_array().unwrap().iter().map(|setting| &setting["key"]).collect();
    assert!(keys.contains(&&json!("url")), "{keys:?}");
    let wrong = ["connectors", "create", "wrong-one", "--kind", "http-sink", "--set", "urll=http://127.0.0.1:1/"];
    let output = server.command(&wrong).await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("urll") && told.contains("url"), "{told}");
}

#[tokio::test]
async fn exit_codes_are_as_documented() {
    let nowhere = format!("http://{}", free_address());
    assert_eq!(run(&["connectors", "list", "--server", &nowhere]).await.status.code(), Some(3));
    assert_eq!(run(&["connectors", "lst"]).await.status.code(), Some(2));
    assert_eq!(run(&["--help"]).await.status.code(), Some(0));
    let completions = run(&["completions", "bash"]).await;
    let script = String::from_utf8(completions.stdout).unwrap();
    assert!(script.contains("serve") && script.contains("quickstart") && script.contains("log"), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_checked_offline() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    Load { streams: 3, events: 500 }.write(server.http.clone()).await;
    server.kill().await;
    let data = server.data().to_str().unwrap();
    let report = run(&["log", "verify", data, "--json"]).await;
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["sound"], true, "{report}");
    assert!(report["events"].as_u64().unwrap() >= 500, "{report}");
    let info = run(&["log", "info", data, "--json"]).await;
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert!(info["streams"].as_u64().unwrap() >= 3, "{info}");
    let nothing = run(&["log", "info", directory.path().join("nothing").to_str().unwrap()]).await;
    assert_eq!(nothing.status.code(), Some(1));
}
