//! Owns `nodes`: the nodes that share the store.

use clap::Args;
use serde_json::Value;

use crate::client::{Ask, Client};
use crate::command::ClientOptions;
use crate::failure::Failure;
use crate::numbers::number;
use crate::output::Output;
use crate::table::Table;

/// Which server to ask.
#[derive(Debug, Args)]
pub struct NodesArgs {
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

pub(crate) async fn run(args: NodesArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    let answer = client.ask(Ask::get(&["nodes"], "list nodes")).await?;
    if output.is_json() {
        return output.document(&answer);
    }
    let Some(Value::Array(nodes)) = answer.get("nodes") else {
        let problem = "it holds no `nodes`".to_owned();
        return Err(Failure::Answer { action: "list nodes".to_owned(), problem });
    };
    output.text(&rendered(nodes))
}

fn rendered(nodes: &[Value]) -> String {
    let mut table = Table::headed(&["NAME", "ID", "STATE", "CONNECTORS", "LABELS", "ADDRESS", "STARTED", ""]);
    for node in nodes {
        let text = |key: &str| node.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is = |key: &str| node.get(key).and_then(Value::as_bool).unwrap_or(false);
        let remarks = [("isThis", "asked"), ("isLeader", "leader")];
        let remarks: Vec<_> = remarks.iter().filter(|(key, _)| is(key)).map(|(_, word)| *word).collect();
        let connectors = number(node, "connectorCount").to_string();
        let row = [text("name"), text("id"), text("state"), connectors, labels(node), text("address")];
        table.row(row.into_iter().chain([text("startedAt"), remarks.join(", ")]).collect());
    }
    table.render()
}

fn labels(node: &Value) -> String {
    let labels = node.get("labels").and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<_> = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;
    use serde_json::json;

    #[tokio::test]
    async fn the_server_is_asked_for_its_nodes() {
        let server = Fake::scripted(&[(200, r#"{"nodes":[{"name":"a","state":"active"}]}"#), (200, "{}")]).await;
        let ran = server.run(&["nodes"]).await;
        assert_eq!((ran.code, server.seen()[0].line().as_str()), (0, "GET /nodes"));
        assert!(ran.out.contains("active"));
        assert_eq!(server.run(&["nodes"]).await.code, 1, "an answer without nodes");
    }

    #[test]
    fn nodes_are_a_table() {
        let nodes = [
            json!({"name": "a", "id": "1", "state": "active", "connectorCount": 2, "labels": {"zone": "eu"},
                "address": "10.0.0.1:2113", "startedAt": "2026-01-01T00:00:00Z", "isThis": true, "isLeader": true}),
            json!({"name": "b", "id": "2", "state": "suspect", "connectorCount": 1, "labels": {}, "address": null}),
        ];
        let text = rendered(&nodes);
        assert!(text.contains("zone=eu") && text.contains("asked, leader"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
