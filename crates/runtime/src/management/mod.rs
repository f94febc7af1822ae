//! What users ask: commands and queries over a connector's own streams.
//!
//! ```text
//! command ─▶ rules of the state ─▶ event in `$connectors/{id}` ─▶ entity ─▶ supervisor (control)
//!                                           ▲                                  │
//!                                           └──────── reports of the host ◀────┘
//! ```

mod identity;
mod secrets;
mod event;
mod sharding;
mod entity;
mod journal;
mod snapshot;
mod follow;
mod facade;
mod create;
mod settings;
mod start;
mod stop;
mod reset;
mod rename;
mod delete;
mod parked;
mod view;
mod shards;
mod queries;
mod nodes;
mod declared;
pub mod apply;
mod error;
#[cfg(feature = "testing")]
pub mod doors;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod apply_tests;
#[cfg(test)]
mod log_tests;

pub use error::{ApplyError, CommandError, OpenError, QueryError, Violation};
pub use facade::{Connectors, RuntimeConfig};
pub use nodes::{NodeStanding, NodeView};
pub use parked::ParkedPage;
pub use shards::ShardView;
pub use view::{
    ConnectorState, ConnectorView, CreateConnector, ErrorDetails, ListQuery, PreviewOutcome, PreviewReport,
    PreviewRequest, PreviewSample,
};

pub(crate) use create::STREAM_EVENTS_MAX;
pub(crate) use entity::{Activation, Entity, Facts};
pub(crate) use event::{Happening, number};
pub(crate) use journal::{event_id, report, still_at};
pub(crate) use secrets::{Secrecy, Vault};
