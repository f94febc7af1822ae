//! Tests of the connector commands against a fake server.

use serde_json::json;

use crate::testing::{Fake, run};

const VIEW: &str = r#"{"connectorId":"orders","instanceTypeName":"http-sink","name":"Orders",
    "state":"CONNECTOR_STATE_RUNNING","stateUpdateTime":"2026-01-01T00:00:00Z","position":"42",
    "settings":{"url":"http://a/","transformer:function":"function transform(r) {\n  r.value.x = 1;\n}\n"}}"#;
const FAILED: &str = r#"{"connectorId":"orders","state":"CONNECTOR_STATE_STOPPED",
    "errorDetails":{"code":"Rejected","message":"410 Gone"}}"#;

#[tokio::test]
async fn create_with_start_sends_both_requests() {
    let fake = Fake::scripted(&[(200, "{}"), (200, "{}")]).await;
    let args = ["connectors", "create", "orders", "--kind", "http-sink", "--set", "url=http://a/", "--name", "Orders"];
    let ran = fake.run(&[&args[..], &["--start", "--from", "earliest"]].concat()).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "created and started connector orders\n"), "{}", ran.err);
    let seen = fake.seen();
    assert_eq!(seen[0].line(), "POST /connectors/orders");
    let settings = json!({"instanceTypeName": "http-sink", "url": "http://a/"});
    assert_eq!(seen[0].json(), json!({"name": "Orders", "settings": settings}));
    assert_eq!(seen[1].line(), "POST /connectors/orders/start");
    assert_eq!(seen[1].json(), json!({"from": "earliest"}));
}

#[tokio::test]
async fn create_with_start_must_say_where_to_begin() {
    let fake = Fake::scripted(&[(200, "{}"), (200, "{}")]).await;
    let args = ["connectors", "create", "orders", "--kind", "http-sink", "--start"];
    let ran = fake.run(&args).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--from: neither it nor the settings say where to begin"), "{}", ran.err);
    assert!(fake.seen().is_empty());
    let ran = fake.run(&[&args[..], &["--set", "Subscription:InitialPosition=latest"]].concat()).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fake.seen()[1].body, "");
}

#[tokio::test]
async fn a_start_that_fails_after_create_says_what_stands() {
    let fake = Fake::scripted(&[(200, "{}"), (500, r#"{"code":13,"message":"no lease"}"#)]).await;
    let args = ["connectors", "create", "orders", "-k", "http-sink", "--start", "--from", "latest"];
    let ran = fake.run(&args).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("connector orders is created but does not run; then: "), "{}", ran.err);
    assert!(ran.err.contains("no lease (HTTP 500)"), "{}", ran.err);
}

#[tokio::test]
async fn start_waits_until_it_runs_or_says_why_not() {
    let activating = r#"{"state":"CONNECTOR_STATE_ACTIVATING"}"#;
    let fake = Fake::scripted(&[(200, "{}"), (200, activating), (200, VIEW)]).await;
    let ran = fake.run(&["connectors", "start", "orders", "--from", "17", "--wait", "--json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told, json!({"connectorId": "orders", "done": "started", "state": "CONNECTOR_STATE_RUNNING"}));
    let fake = Fake::scripted(&[(200, "{}"), (200, FAILED)]).await;
    let ran = fake.run(&["connectors", "start", "orders", "--wait"]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("orders is failed and did not become running: Rejected: 410 Gone"), "{}", ran.err);
}

#[tokio::test]
async fn reconfigure_with_set_changes_what_is_there() {
    let settings = r#"{"settings":{"instanceTypeName":"http-sink","URL":"http://a/","method":"PUT"}}"#;
    let fake = Fake::scripted(&[(200, settings), (200, "{}")]).await;
    let ran = fake.run(&["connectors", "reconfigure", "orders", "--set", "url=http://b/", "--unset", "Method"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let seen = fake.seen();
    assert_eq!(seen[0].line(), "GET /connectors/orders/settings");
    assert_eq!(seen[1].line(), "PUT /connectors/orders/settings");
    assert_eq!(seen[1].json(), json!({"instanceTypeName": "http-sink", "url": "http://b/"}));
}

#[tokio::test]
async fn the_other_commands_use_the_documented_routes() {
    for (args, line, body) in [
        (vec!["stop", "orders"], "POST /connectors/orders/stop", ""),
        (vec!["reset", "orders"], "POST /connectors/orders/reset", ""),
        (vec!["reset", "orders", "--to", "9"], "POST /connectors/orders/reset/9", ""),
        (vec!["rename", "orders", "Bills"], "PUT /connectors/orders/rename", r#"{"name":"Bills"}"#),
        (vec!["delete", "orders"], "DELETE /connectors/orders", ""),
    ] {
        let fake = Fake::scripted(&[(200, "{}")]).await;
        let ran = fake.run(&[&["connectors"], &args[..]].concat()).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!((fake.seen()[0].line().as_str(), fake.seen()[0].body.as_str()), (line, body));
        let quiet = fake.run(&[&["connectors", "--quiet"], &args[..]].concat()).await;
        assert_eq!(quiet.out, "");
    }
}

#[tokio::test]
async fn list_reads_all_pages_and_aligns() {
    let full: Vec<String> = (0..100).map(|n| format!(r#"{{"connectorId":"c{n}"}}"#)).collect();
    let first = format!(r#"{{"items":[{}],"totalSize":100}}"#, full.join(","));
    let second = format!(r#"{{"items":[{VIEW},{FAILED}],"totalSize":2}}"#);
    let fake = Fake::scripted(&[(200, &first), (200, &second)]).await;
    let ran = fake.run(&["connectors", "list", "--state", "running", "--kind", "http-sink", "--deleted"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        fake.seen()[1].line(),
        "GET /connectors?page=2&pageSize=100&state=CONNECTOR_STATE_RUNNING&instanceTypeName=http-sink&showDeleted=true"
    );
    assert_eq!(ran.out.lines().count(), 103);
    assert!(ran.out.starts_with("ID      KIND       STATE    POSITION  CHANGED"), "{}", ran.out);
    assert!(ran.out.contains("orders  http-sink  running  42        2026-01-01T00:00:00Z\n"), "{}", ran.out);
    assert!(ran.out.contains("failed") && ran.out.contains("Rejected: 410 Gone"), "{}", ran.out);
}

#[tokio::test]
async fn show_keeps_scripts_readable() {
    let fake = Fake::scripted(&[(200, VIEW), (404, r#"{"code":5,"message":"connector orders is not found"}"#)]).await;
    let ran = fake.run(&["connectors", "show", "orders"]).await;
    assert!(ran.out.contains("state            running\n"), "{}", ran.out);
    assert!(ran.out.contains("  transformer:function = function transform(r) {\n        r.value.x = 1;\n      }\n"));
    let ran = fake.run(&["connectors", "show", "orders"]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "error: the server refused to show connector orders: connector orders is not found (HTTP 404)\n\
         hint: `forebay connectors list` shows what is there\n"
    );
}

#[tokio::test]
async fn describe_lists_settings_with_what_they_expect() {
    let kind = r#"{"name":"http-sink","title":"HTTP","summary":"Sends records.","guarantee":"at least once","lanes":true,
        "settings":[{"key":"url","expected":"URL","required":true,"doc":"Where to send."},
        {"key":"method","expected":"word","default":"POST","words":["POST","PUT"],"doc":"The verb."}],
        "shared":[{"key":"logging:enabled","expected":"true or false","default":"true","doc":"Logs."}]}"#;
    let fake = Fake::scripted(&[(200, kind)]).await;
    let ran = fake.run(&["connectors", "describe", "http-sink"]).await;
    assert!(ran.out.starts_with("http-sink (HTTP)\nSends records.\n"), "{}", ran.out);
    assert!(ran.out.contains("  url  (URL, required)\n      Where to send.\n"), "{}", ran.out);
    assert!(ran.out.contains("  method  (word, POST | PUT, default POST)\n"), "{}", ran.out);
    assert!(ran.out.contains("settings of every connector\n  logging:enabled"), "{}", ran.out);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_code_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ran = run(&["forebay", "connectors", "list", "--server", &url]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("cannot reach http://127.0.0.1") && ran.err.contains("forebay serve"), "{}", ran.err);
    let ran = run(&["forebay", "connectors", "list", "--json", "--server", &url]).await;
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["exitCode"], 3);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ran = run(&["forebay", "connectors", "list", "--timeout", "50ms", "--server", &url]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("did not answer within 50ms when asked to list connectors"), "{}", ran.err);
}
