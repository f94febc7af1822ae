//! Owns the settings of the PostgreSQL sink.

use std::collections::BTreeMap;

use forebay_connector::settings::{DurationMs, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::table::{DataType, Mode, TableSettings, positions_table};

/// A server that cannot be reached in this time is down.
const CONNECT_TIMEOUT_DEFAULT: DurationMs = DurationMs::millis(10_000);
/// A statement that takes longer is given up and tried again.
const STATEMENT_TIMEOUT_DEFAULT: DurationMs = DurationMs::millis(30_000);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostgresSettings {
    /// Where the server is and who we are: `postgresql://user:password@host:port/database`, `host=… dbname=…`, or
    /// `Host=…;Database=…;Username=…;Password=…`. The keys below override its parts.
    pub(super) connection_string: Option<Secret>,
    /// The server's name or address, or the folder of its socket.
    pub(super) host: Option<String>,
    /// The server's port; 5432 unless given.
    #[schemars(range(min = 1))]
    pub(super) port: Option<u16>,
    /// The database; named like the user unless given.
    pub(super) database: Option<String>,
    #[serde(default)]
    pub(super) authentication: Authentication,
    /// How the connection is secured. Without it the connection string decides, and `verify-full` holds otherwise.
    pub(super) ssl_mode: Option<SslMode>,
    #[serde(default)]
    pub(super) tls: Tls,
    /// How long connecting may take.
    #[serde(default = "connect_timeout_default")]
    pub(super) connect_timeout_ms: DurationMs,
    /// How long one statement may take, a wait for locks included, and how long a transaction may lie idle.
    #[serde(default = "statement_timeout_default")]
    pub(super) statement_timeout_ms: DurationMs,
    /// What a record becomes.
    #[serde(default)]
    mode: Mode,
    /// The table that is written in modes `append` and `upsert`: its name, or `schema.table`.
    table: Option<String>,
    /// How data and metadata are stored in mode `append`: as `jsonb`, `text` or `bytea`.
    #[serde(default)]
    data_type: DataType,
    /// Whether schemas and tables that are missing are made, the positions table included.
    #[serde(default)]
    create_table: bool,
    /// The table in which each lane's position is kept: its name, or `schema.table`.
    #[serde(default = "positions_table")]
    positions_table: String,
    /// Mode `upsert`: a column, and the JSONPath of its value in the record (`$.value.total`, `$.position.streamId`,
    /// `$.timestamp`). What is not found is null; objects and arrays are given as JSON text.
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
}

/// Who we are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Authentication {
    /// The role that connects.
    pub(super) username: Option<String>,
    /// Its password.
    pub(super) password: Option<Secret>,
}

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SslMode {
    /// Not at all.
    Disable,
    /// Encrypted, whoever is at the other end.
    Require,
    /// Encrypted, and the server's certificate must be of a trusted authority and for this host.
    VerifyFull,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tls {
    /// Authorities trusted besides those of the machine: PEM text, or base64 of it.
    pub(super) ca_certificate: Option<String>,
    /// The certificate chain that we show: PEM text, or base64 of it.
    pub(super) client_certificate: Option<String>,
    /// The key that goes with it: PEM text, or base64 of it.
    pub(super) client_key: Option<Secret>,
}

fn connect_timeout_default() -> DurationMs {
    CONNECT_TIMEOUT_DEFAULT
}

fn statement_timeout_default() -> DurationMs {
    STATEMENT_TIMEOUT_DEFAULT
}

impl PostgresSettings {
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
