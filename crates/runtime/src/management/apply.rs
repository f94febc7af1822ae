//! Owns connector files: what is declared, how it differs from what is there, and making it so.

use serde_json::Value;

use super::{ApplyError, Connectors};

/// What applying a file does (or would do) to one connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The connector's id.
    pub id: String,
    /// What is done: `create`, `reconfigure`, `rename`, `start`, `stop`, `restart`; empty when left alone.
    pub actions: Vec<&'static str>,
    /// Differing settings, one line each: `- key: old`, `+ key: new`, secrets masked.
    pub diff: Vec<String>,
}

impl Connectors {
    /// Makes the declared connectors so, in order; with `dry_run` only says what it would do. Connectors that are not
    /// declared are left alone.
    ///
    /// `file` is `{"connectors": [{id, name?, state?: running|stopped, startFrom?: earliest|latest|position, settings}]}`.
    pub async fn apply(&self, _file: &Value, _dry_run: bool) -> Result<Vec<Change>, ApplyError> {
        unimplemented!()
    }
}
