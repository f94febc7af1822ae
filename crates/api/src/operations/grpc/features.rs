//! Owns the list of what works; clients choose by it which calls they make.

use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::server_features::server_features_server::ServerFeatures;
use forebay_wire::event_store::client::server_features::{SupportedMethod, SupportedMethods};
use tonic::{Request, Response, Status};

/// The version of the protocol that is spoken. Clients read it as digits and choose by it.
pub(crate) const PROTOCOL_VERSION: &str = "24.10.0";

/// Service, method, features; all in lower case.
const METHODS: &[(&str, &str, &[&str])] = &[
    ("event_store.client.streams.streams", "read", &["position", "events"]),
    ("event_store.client.streams.streams", "append", &[]),
    ("event_store.client.streams.streams", "batchappend", &["deadline_duration"]),
    ("event_store.client.streams.streams", "delete", &[]),
    ("event_store.client.streams.streams", "tombstone", &[]),
    ("event_store.client.persistent_subscriptions.persistentsubscriptions", "list", &[]),
    ("event_store.client.server_features.serverfeatures", "getsupportedmethods", &[]),
    ("event_store.client.gossip.gossip", "read", &[]),
    ("event_store.client.operations.operations", "mergeindexes", &[]),
    ("event_store.client.operations.operations", "stopscavenge", &[]),
    ("event_store.client.operations.operations", "shutdown", &[]),
    ("event_store.client.operations.operations", "resignnode", &[]),
    ("event_store.client.operations.operations", "setnodepriority", &[]),
    ("event_store.client.monitoring.monitoring", "stats", &[]),
    ("event_store.client.users.users", "create", &[]),
    ("event_store.client.users.users", "update", &[]),
    ("event_store.client.users.users", "delete", &[]),
    ("event_store.client.users.users", "disable", &[]),
    ("event_store.client.users.users", "enable", &[]),
    ("event_store.client.users.users", "details", &[]),
    ("event_store.client.users.users", "changepassword", &[]),
    ("event_store.client.users.users", "resetpassword", &[]),
];

/// Tells what works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeaturesService;

#[tonic::async_trait]
impl ServerFeatures for FeaturesService {
    async fn get_supported_methods(&self, _request: Request<Empty>) -> Result<Response<SupportedMethods>, Status> {
        let methods = METHODS.iter().map(|(service, method, features)| SupportedMethod {
            method_name: (*method).to_owned(),
            service_name: (*service).to_owned(),
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        });
        Ok(Response::new(SupportedMethods {
            methods: methods.collect(),
            event_store_server_version: PROTOCOL_VERSION.to_owned(),
        }))
    }
}
