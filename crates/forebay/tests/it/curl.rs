//! The forms of the quick-starts, as people paste them: curl from the command line.

use std::process::Command;

use crate::server::Server;

/// Runs curl and answers status and body; nothing when curl is not installed.
fn curl(args: &[&str]) -> Option<(u16, String)> {
    let output = Command::new("curl").args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]).args(args).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: curl cannot be run: {error}");
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{args:?}: {text}"));
    Some((status.parse().unwrap(), body.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_connectors_by_curl() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let at = |path: &str| format!("http://{}{path}", server.address);
    let events = r#"[{"eventId":"fbf4a1a1-b4a3-4dfe-a01f-ec52c34e16e4","eventType":"event-type","data":{"a":"1"}}]"#;
    let media = "Content-Type: application/vnd.eventstore.events+json";
    let Some((status, body)) = curl(&["-X", "POST", "-d", events, &at("/streams/newstream"), "-H", media]) else {
        return;
    };
    assert_eq!(status, 201, "{body}");
    let accept = "Accept: application/vnd.eventstore.atom+json";
    let (status, body) = curl(&[&at("/streams/newstream"), "-H", accept]).unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("newstream"), "{body}");
    let (status, body) = curl(&[&at("/streams/newstream/0"), "-H", "Accept: application/json"]).unwrap();
    assert!(status == 200 && body.contains('1'), "{status} {body}");

    let settings = r#"{"settings":{"instanceTypeName":"http-sink","url":"http://127.0.0.1:9/",
        "subscription:filter:scope":"stream","subscription:filter:expression":"orders"}}"#;
    let json = "Content-Type: application/json";
    let create = ["-X", "POST", "-H", json, "-d", settings];
    let (status, body) = curl(&[&create[..], &[&at("/connectors/by-curl")]].concat()).unwrap();
    assert_eq!((status, body.as_str()), (200, "{}"));
    let (status, body) = curl(&[&create[..], &[&at("/connectors/by-curl")]].concat()).unwrap();
    assert_eq!(status, 409, "{body}");
    let (status, body) = curl(&[&at("/connectors?includeSettings=true")]).unwrap();
    assert!(status == 200 && body.contains("by-curl") && body.contains("http-sink"), "{status} {body}");
    let (status, body) = curl(&["-X", "DELETE", &at("/connectors/by-curl")]).unwrap();
    assert_eq!((status, body.as_str()), (200, "{}"));
}
