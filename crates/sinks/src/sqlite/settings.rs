//! Owns the settings of the SQLite sink.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_connector::settings::DurationMs;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::table::{DataType, Mode, TableSettings, positions_table};

/// Another program that writes to the file is waited for so long.
const BUSY_TIMEOUT_DEFAULT: DurationMs = DurationMs::millis(5_000);
/// The driver counts milliseconds in 32 bits; no writer should keep a file for an hour.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SqliteSettings {
    /// The database file. With `createTable` it is made if it is missing, and folders on the way to it.
    pub(super) path: String,
    /// What a record becomes.
    #[serde(default)]
    mode: Mode,
    /// The table that is written in modes `append` and `upsert`.
    table: Option<String>,
    /// How data and metadata are stored in mode `append`: JSON and text become text, bytes a blob.
    #[serde(default)]
    data_type: DataType,
    /// Whether tables that are missing are made, the positions table included.
    #[serde(default)]
    create_table: bool,
    /// The table in which each lane's position is kept.
    #[serde(default = "positions_table")]
    positions_table: String,
    /// Mode `upsert`: a column, and the JSONPath of its value in the record (`$.value.total`, `$.position.streamId`,
    /// `$.timestamp`). What is not found is null; objects and arrays are stored as JSON text.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// Mode `upsert`: the columns that are the row's key. A record in which one is not found is refused.
    #[serde(default)]
    key: Vec<String>,
    /// Mode `upsert` with `createTable`: a column's SQL type, `text` unless given.
    #[serde(default)]
    column_types: BTreeMap<String, String>,
    /// Mode `upsert`: event types that delete the row of their key. A record whose data is null deletes it too.
    #[serde(default)]
    delete_types: Vec<String>,
    /// Mode `statement`: an event type, and the SQL statement that its records execute, with parameters such as
    /// `:total`. The type `*` stands for all others, the word `nothing` for writing nothing. Without a statement a record
    /// is refused.
    #[serde(default)]
    statements: BTreeMap<String, String>,
    /// Mode `statement`: a parameter's name, and the JSONPath of its value in the record.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// How long another program that holds the file is waited for; at most an hour.
    #[serde(default = "busy_timeout_default")]
    busy_timeout_ms: DurationMs,
}

fn busy_timeout_default() -> DurationMs {
    BUSY_TIMEOUT_DEFAULT
}

impl SqliteSettings {
    pub(super) fn busy_timeout(&self) -> Duration {
        self.busy_timeout_ms.0.min(BUSY_TIMEOUT_MAX)
    }

    pub(super) fn into_table(self) -> TableSettings {
        TableSettings {
            mode: self.mode,
            table: self.table,
            data_type: self.data_type,
            create_table: self.create_table,
            positions_table: self.positions_table,
            columns: self.columns,
            key: self.key,
            column_types: self.column_types,
            delete_types: self.delete_types,
            statements: self.statements,
            parameters: self.parameters,
        }
    }
}
