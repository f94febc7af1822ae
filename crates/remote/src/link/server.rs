//! Owns what the node at the end of a connection can do: asked once, when the connection is opened.

use std::time::Duration;

use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::server_features::SupportedMethods;
use forebay_wire::event_store::client::server_features::server_features_client::ServerFeaturesClient;
use tonic::{Code, Request};

use super::connection::Connection;
use crate::failure::Failure;
use crate::settings::NodeAddress;

/// The service that everything here goes through.
const STREAMS: &str = "event_store.client.streams.streams";
/// What a node must be able to do.
const NEEDED: [&str; 4] = ["read", "append", "delete", "tombstone"];
/// What tells that events of a stream carry their place in the log.
const POSITION: &str = "position";

/// What is known of the node that is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Where it is.
    pub node: NodeAddress,
    /// Its version, in its own words; none when it does not tell.
    pub version: Option<String>,
    /// Whether events read from a stream carry their place in the whole log; assumed when it does not tell.
    pub tells_positions: bool,
}

/// Asks what the node can do; refuses one that lacks what is needed, by name.
pub(super) async fn ask(connection: &Connection, node: &NodeAddress, limit: Duration) -> Result<ServerFacts, Failure> {
    let mut client = ServerFeaturesClient::with_origin(connection.clone(), connection.origin());
    let asked = client.get_supported_methods(Request::new(Empty {}));
    let answer = tokio::time::timeout(limit, asked).await.map_err(|_| Failure::Late { limit })?;
    match answer {
        Ok(methods) => judge(node, methods.into_inner()),
        // An older server has no such service; what it lacks shows when it is called.
        Err(status) if is_silence(status.code()) => {
            Ok(ServerFacts { node: node.clone(), version: None, tells_positions: true })
        }
        Err(status) => Err(Failure::of(status)),
    }
}

fn is_silence(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::NotFound | Code::PermissionDenied)
}

fn judge(node: &NodeAddress, methods: SupportedMethods) -> Result<ServerFacts, Failure> {
    let version = methods.event_store_server_version;
    let of_streams =
        |name: &str| methods.methods.iter().find(|method| method.service_name == STREAMS && method.method_name == name);
    // A node that names no method of streams at all tells nothing about them.
    let tells = methods.methods.iter().any(|method| method.service_name == STREAMS);
    if tells && let Some(lacking) = NEEDED.iter().find(|name| of_streams(name).is_none()) {
        let reason = format!(
            "{node}, version {version}, does not serve {lacking} of streams, which is needed: expected EventStoreDB 20.6 or newer"
        );
        return Err(Failure::Unreachable { reason });
    }
    let features = of_streams("read").map(|read| read.features.as_slice()).unwrap_or_default();
    // Servers tell features since 21.10; one that tells none is older than the list, not worse.
    let tells_positions = features.is_empty() || features.iter().any(|feature| feature == POSITION);
    Ok(ServerFacts { node: node.clone(), version: Some(version).filter(|text| !text.is_empty()), tells_positions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_wire::event_store::client::server_features::SupportedMethod;

    fn judged(names: &[&str]) -> Result<ServerFacts, Failure> {
        let method = |name: &&str| SupportedMethod {
            method_name: (*name).to_owned(),
            service_name: STREAMS.to_owned(),
            features: Vec::new(),
        };
        let methods = names.iter().map(method).collect();
        let node = NodeAddress { host: "a".to_owned(), port: 1 };
        judge(&node, SupportedMethods { methods, event_store_server_version: "20.10.2".to_owned() })
    }

    #[test]
    fn what_is_lacking_is_named() {
        let facts = judged(&["read", "append", "delete", "tombstone"]).unwrap();
        assert_eq!(facts.version.as_deref(), Some("20.10.2"));
        let reason = judged(&["read", "append", "delete"]).unwrap_err().reason();
        assert!(reason.starts_with("a:1, version 20.10.2, does not serve tombstone of streams"), "{reason}");
        assert!(judged(&[]).is_ok(), "a node that does not tell is asked all the same");
    }
}
