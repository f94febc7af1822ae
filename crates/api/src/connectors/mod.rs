//! Connectors over HTTP: commands, queries, parked records, the preview API's older words, kinds, previews, files.

mod routes;
mod settings_body;
mod commands;
mod preview_api;
mod preview_settings;
mod queries;
mod view;
mod parked;
mod parked_schemas;
mod kinds;
mod dry_run;
mod apply;
mod file;
#[cfg(feature = "testing")]
pub(crate) mod doors;

pub use file::{FileFormat, ParseError, parse_connector_file};
pub(crate) use parked_schemas::parked_schemas;
pub(crate) use routes::ROUTES;
