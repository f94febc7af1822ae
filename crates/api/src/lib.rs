//! HTTP and gRPC: translate, call, translate back.
//!
//! This crate owns paths, bodies, headers and status codes of the public API, its OpenAPI document, the client protocol
//! of EventStoreDB over gRPC, and the form of connector files. It is not a server: it binds nothing, and whoever serves the [`router`] bounds connections and time.
//! It decides nothing about streams or connectors: the store and the runtime do; who may what is decided by the access crate.
//!
//! Invariants: no request reaches a stream but through the guard of its caller; only `status` decides statuses; one route table builds the router and the document; a client that does
//! not read costs one page of memory; no answer holds a stack trace or a secret.
//!
//! Begin reading at `router`, then `routes`, then one handler such as `streams::append`.

mod router;
mod routes;
mod request;
mod limits;
mod grpc;
mod origin;
mod auth;
mod streams;
mod connectors;
mod users;
mod operations;
mod waiting;
mod openapi;
mod status;
#[cfg(feature = "testing")]
pub mod testing;

pub use connectors::{FileFormat, ParseError, parse_connector_file};
pub use limits::AppendLimits;
pub use openapi::document as openapi_document;
pub use origin::TrustedHosts;
pub use router::{Api, NodeFacts, router};
pub use waiting::waiting_router;
