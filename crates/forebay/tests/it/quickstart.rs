//! The first command a newcomer runs.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::server::{forebay, run};

fn summary(stdout: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stdout);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line.get("summary").cloned()).next_back().unwrap_or_else(|| panic!("no summary: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_takes_all_events_their_way() {
    let output = run(&["quickstart", "--exit-when-done", "--listen", "127.0.0.1:0", "--json"]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let summary = summary(&output.stdout);
    for (key, value) in [("read", 1707), ("delivered", 217), ("expected", 217), ("skipped", 1490), ("missing", 0)] {
        assert_eq!(summary[key], value, "{key}: {summary}");
    }
    assert_eq!(summary["inOrder"], true, "{summary}");
    assert_eq!(summary["repeated"], 0, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_goes_on_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().to_str().unwrap();
    let args = ["quickstart", "--exit-when-done", "--listen", "127.0.0.1:0", "--json", "--keep", keep];
    let mut child = forebay().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Killed as soon as a few deliveries have been shown.
    for _ in 0..20 {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        line.expect("deliveries are shown").unwrap().expect("it runs");
    }
    child.kill().await.unwrap();
    let output = run(&args).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = summary(&output.stdout);
    assert_eq!((&summary["delivered"], &summary["missing"]), (&217.into(), &0.into()), "{summary}");
    assert_eq!(summary["inOrder"], true, "{summary}");
    // What it leaves behind is sound.
    let data = directory.path().join("data");
    let output = run(&["log", "verify", data.to_str().unwrap(), "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
