//! Parked keys from outside: seen, tried again, changed, given up and replayed over REST and by commands.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::eventually;
use crate::load::Load;
use crate::receiver::Receiver;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(60);
const PARK: [(&str, &str); 2] = [("ordering", "stream"), ("errors:onReject", "park")];
const EVENTS: u64 = 12;

async fn parked(server: &Server) -> Value {
    server.http.get("/connectors/parking/parked").await
}

async fn has_parked(server: &Server, records: u64) {
    eventually(&format!("{records} records are parked"), LIMIT, || async {
        parked(server).await["records"] == records
    })
    .await;
}

/// The name of the one key that is parked.
async fn only_key(server: &Server) -> String {
    parked(server).await["items"][0]["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_key_is_seen_mended_and_replayed_through_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    receiver.refuse_with(422);
    server.connect("parking", &receiver.url(), &PARK).await;
    Load { streams: 1, events: EVENTS }.write(server.http.clone()).await;
    has_parked(&server, EVENTS).await;
    let key = only_key(&server).await;
    let path = format!("/connectors/parking/parked/{key}");

    let shown = server.http.get(&path).await;
    assert_eq!(shown["items"][0]["reason"], "rejected");
    assert!(shown["items"][0]["error"]["message"].as_str().unwrap().contains("422"), "{shown}");
    let health = server.http.get("/health").await;
    assert_eq!((&health["status"], &health["connectors"][0]["parked"]), (&json!("degraded"), &json!(EVENTS)));
    assert_eq!(server.http.metric("forebay_parked_records").await, Some(12.0));
    let refused = server.command(&["parked", "retry", "parking", &key]).await;
    assert_eq!(refused.status.code(), Some(1));

    // Stopped: what needs the target is refused, edits and drops work.
    server.http.post("/connectors/parking/stop", &json!({})).await;
    server.reaches("parking", "STOPPED").await;
    let (status, answer) =
        server.http.try_send(Method::POST, &format!("{path}/replay"), Some(&json!({}))).await.unwrap();
    assert_eq!(status, 409, "{}", String::from_utf8_lossy(&answer));
    let number = |index: usize| shown["items"][index]["record"].to_string();
    let edit = ["parked", "edit", "parking", &key, "--record", &number(0), "--data", "{}", "--reason", "mended"];
    server.command_json(&edit).await;
    server.command_json(&["parked", "drop", "parking", &key, "--record", &number(11), "--reason", "not ours"]).await;
    let edited = server.http.get(&path).await;
    assert_eq!((&edited["items"][0]["data"], &edited["items"][0]["editReason"]), (&json!({}), &json!("mended")));
    assert_eq!(edited["items"][0]["original"], shown["items"][0]["data"]);

    receiver.refuse_with(0);
    server.command_json(&["connectors", "start", "parking", "--wait"]).await;
    server.command_json(&["parked", "replay", "parking", &key, "--rate", "4", "--yes"]).await;
    receiver.has(3, LIMIT).await;
    server.kill().await;
    server.launch().await;
    receiver.has(EVENTS - 1, LIMIT).await;
    has_parked(&server, 0).await;
    receiver.arrivals().assert_in_order();
    let types = server.http.get("/streams/$connectors%2Fparking/events").await.to_string();
    assert!(
        ["retry", "replay", "edit", "drop"].iter().all(|word| types.contains(&format!("parked-{word}"))),
        "{types}"
    );
    assert!(server.log_text().contains("parked a record and its key"));
}
