//! Owns waiting for a connector to reach a state.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::client::{Ask, Client};
use crate::failure::Failure;

const ASKED_EVERY: Duration = Duration::from_millis(100);

/// The state in a connector's view as people say it: `running`, `stopped`, and `failed` for stopped by an error.
pub(crate) fn state_of(view: &Value) -> String {
    let state = view.get("state").and_then(Value::as_str).unwrap_or("unknown");
    let state = state.trim_start_matches("CONNECTOR_STATE_").to_ascii_lowercase();
    if state == "stopped" && error_of(view).is_some() { "failed".to_owned() } else { state }
}

/// Why a connector failed, when it did.
pub(crate) fn error_of(view: &Value) -> Option<String> {
    let details = view.get("errorDetails").filter(|details| details.is_object())?;
    let text = |key: &str| details.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(format!("{}: {}", text("code"), text("message")))
}

/// Asks for a connector until it is in the wanted state; its view. A failure ends the wait for `running` at once.
pub(crate) async fn wait_for(client: &Client, id: &str, wanted: &str, limit: Duration) -> Result<Value, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        let view = client.ask(Ask::get(&["connectors", id], format!("show connector {id}"))).await?;
        let state = state_of(&view);
        let stopped = matches!(state.as_str(), "stopped" | "failed");
        if state == wanted || (wanted == "stopped" && stopped) {
            return Ok(view);
        }
        let reason = match error_of(&view) {
            Some(error) if state == "failed" => error,
            _ if Instant::now() >= deadline => format!("waited {limit:?}"),
            _ => {
                tokio::time::sleep(ASKED_EVERY).await;
                continue;
            }
        };
        return Err(Failure::NotReached { id: id.to_owned(), state, wanted: wanted.to_owned(), reason });
    }
}
