//! What users ask: commands and queries over a connector's own streams.

mod view;
mod error;
mod facade;
pub mod apply;

pub use error::{ApplyError, CommandError, OpenError, QueryError, Violation};
pub use facade::{Connectors, RuntimeConfig};
pub use view::{
    ConnectorState, ConnectorView, CreateConnector, ErrorDetails, ListQuery, PreviewOutcome, PreviewReport,
    PreviewRequest, PreviewSample,
};
