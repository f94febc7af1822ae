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
/// The first version whose events in streams carry it.
const POSITIONS_SINCE: (u32, u32) = (22, 6);

/// What is known of the node that is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Where it is.
    pub node: NodeAddress,
    /// Its version, in its own words; none when it does not tell.
    pub version: Option<String>,
}

/// Asks what the node can do; refuses one that lacks what is needed, by name.
pub(super) async fn ask(connection: &Connection, node: &NodeAddress, limit: Duration) -> Result<ServerFacts, Failure> {
    let mut client = ServerFeaturesClient::with_origin(connection.clone(), connection.origin());
    let asked = client.get_supported_methods(Request::new(Empty {}));
    let answer = tokio::time::timeout(limit, asked).await.map_err(|_| Failure::Late { limit })?;
    match answer {
        Ok(methods) => judge(node, methods.into_inner()),
        // An older server has no such service; what it lacks shows when it is called.
        Err(status) if is_silence(status.code()) => Ok(ServerFacts { node: node.clone(), version: None }),
        Err(status) => Err(Failure::of(status)),
    }
}

fn is_silence(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::NotFound | Code::PermissionDenied)
}

fn judge(node: &NodeAddress, methods: SupportedMethods) -> Result<ServerFacts, Failure> {
    let version = methods.event_store_server_version;
    let lacks = |what: &str| Failure::Unreachable {
        reason: format!("{node}, version {version}, {what}, which is needed: expected EventStoreDB 22.6 or newer"),
    };
    let of_streams =
        |name: &str| methods.methods.iter().find(|method| method.service_name == STREAMS && method.method_name == name);
    // A node that names no method of streams at all tells nothing about them.
    let tells = methods.methods.iter().any(|method| method.service_name == STREAMS);
    if tells && let Some(lacking) = NEEDED.iter().find(|name| of_streams(name).is_none()) {
        return Err(lacks(&format!("does not serve {lacking} of streams")));
    }
    let features = of_streams("read").map(|read| read.features.as_slice()).unwrap_or_default();
    let lacks_positions = !features.is_empty() && !features.iter().any(|feature| feature == POSITION);
    if lacks_positions || is_too_old(&version) {
        return Err(lacks("does not tell the positions of events in streams"));
    }
    Ok(ServerFacts { node: node.clone(), version: Some(version).filter(|text| !text.is_empty()) })
}

/// Whether a version is surely older than the first that tells positions; one that cannot be read is not.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < POSITIONS_SINCE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_wire::event_store::client::server_features::SupportedMethod;

    fn judged(version: &str, names: &[&str]) -> Result<ServerFacts, String> {
        let method = |name: &&str| SupportedMethod {
            method_name: (*name).to_owned(),
            service_name: STREAMS.to_owned(),
            features: Vec::new(),
        };
        let methods = names.iter().map(method).collect();
        let node = NodeAddress { host: "a".to_owned(), port: 1 };
        let methods = SupportedMethods { methods, event_store_server_version: version.to_owned() };
        judge(&node, methods).map_err(|failure| failure.reason())
    }

    #[test]
    fn what_is_lacking_is_named() {
        let facts = judged("22.10.2", &NEEDED).unwrap();
        assert_eq!(facts.version.as_deref(), Some("22.10.2"));
        let reason = judged("22.10.2", &["read", "append", "delete"]).unwrap_err();
        assert!(reason.starts_with("a:1, version 22.10.2, does not serve tombstone of streams"), "{reason}");
        let reason = judged("21.10.9", &NEEDED).unwrap_err();
        assert!(reason.contains("version 21.10.9, does not tell the positions"), "{reason}");
        assert!(
            judged("", &[]).is_ok() && judged("next", &NEEDED).is_ok(),
            "a node that does not tell is asked all the same"
        );
    }
}
