//! Connectors over HTTP: commands, queries, the preview API's older words, kinds, previews, files.

mod routes;
mod settings_body;
mod commands;
mod preview_api;
mod preview_settings;
mod queries;
mod view;
mod kinds;
mod dry_run;
mod apply;
mod file;
#[cfg(feature = "testing")]
pub(crate) mod doors;

pub use file::{FileFormat, ParseError, parse_connector_file};
pub(crate) use routes::ROUTES;
