//! Owns the three modes: the SQL of each, and the values a record gives it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use forebay_connector::{Failure, FailureClass};
use forebay_event::Record;
use forebay_script::JsonPath;
use serde_json::Value;

use super::document::{document, find, malformed};
use super::names::{TableName, quoted};
use super::plan::{Cell, Command, DataType, Dialect};
use crate::envelope::is_json;

/// One row per record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append {
    pub(super) data_type: DataType,
    pub(super) dialect: Dialect,
}

const APPEND_COLUMNS: [&str; 8] = ["position", "stream", "revision", "type", "data", "metadata", "created", "event_id"];

impl Append {
    /// A row that is there already, as after a reset, is left as it is.
    pub(super) fn insert(self, table: &TableName) -> String {
        let placeholder = self.dialect.placeholder();
        let values = (1..=APPEND_COLUMNS.len()).map(|number| format!("{placeholder}{number}"));
        format!(
            "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
            columns(),
            values.collect::<Vec<_>>().join(", ")
        )
    }

    pub(super) fn bulk(self, table: &TableName) -> Option<String> {
        if self.dialect != Dialect::Postgres {
            return None;
        }
        let arrays: Vec<_> = (1..=APPEND_COLUMNS.len()).map(|number| format!("${number}::text[]")).collect();
        let casts: Vec<_> =
            self.types().iter().zip(APPEND_COLUMNS).map(|(kind, name)| format!("r.{}::{kind}", quoted(name))).collect();
        let sql = "INSERT INTO {table} ({columns}) SELECT {casts} FROM unnest({arrays}) AS r({columns}) ON CONFLICT DO NOTHING";
        let sql = sql.replace("{casts}", &casts.join(", ")).replace("{arrays}", &arrays.join(", "));
        Some(sql.replace("{columns}", &columns()).replace("{table}", &table.to_string()))
    }

    /// The key holds stream and revision too: in old clusters several events may share one position.
    pub(super) fn creates(self, table: &TableName) -> Vec<String> {
        let is_null = |name: &str| matches!(name, "data" | "metadata");
        let lines = APPEND_COLUMNS
            .iter()
            .zip(self.types())
            .map(|(name, kind)| format!("{} {kind}{}", quoted(name), if is_null(name) { "" } else { " NOT NULL" }));
        let lines: Vec<_> = lines.collect();
        let key = "PRIMARY KEY (\"position\", \"stream\", \"revision\")";
        create(table, &format!("{}, {key}", lines.join(", ")))
    }

    fn types(self) -> [&'static str; 8] {
        match self.dialect {
            Dialect::Postgres => {
                let data = match self.data_type {
                    DataType::Jsonb => "jsonb",
                    DataType::Text => "text",
                    DataType::Bytes => "bytea",
                };
                ["bigint", "text", "bigint", "text", data, data, "timestamptz", "uuid"]
            }
            Dialect::Sqlite => {
                let data = if self.data_type == DataType::Bytes { "BLOB" } else { "TEXT" };
                ["INTEGER", "TEXT", "INTEGER", "TEXT", data, data, "TEXT", "TEXT"]
            }
        }
    }

    pub(super) fn command(self, record: &Record) -> Result<Command, Failure> {
        let event = record.event();
        let cells = vec![
            Cell::Integer(number(event.position().commit())?),
            Cell::Text(event.stream().to_owned()),
            Cell::Integer(number(event.revision().get())?),
            Cell::Text(record.subject().to_owned()),
            self.data(record)?,
            self.metadata(record),
            Cell::Text(event.created().to_string()),
            Cell::Text(event.id().to_string()),
        ];
        Ok(Command { statement: 0, cells })
    }

    fn data(self, record: &Record) -> Result<Cell, Failure> {
        let data = record.data_slice();
        if data.is_empty() {
            return Ok(Cell::Null);
        }
        match self.data_type {
            DataType::Bytes => Ok(Cell::Bytes(record.data())),
            DataType::Jsonb if !is_json(data) => Err(malformed("the data is not JSON (setting dataType)")),
            DataType::Jsonb | DataType::Text => {
                text(data).ok_or_else(|| malformed("the data is not UTF-8 (setting dataType)"))
            }
        }
    }

    /// Metadata that cannot be stored this way is left out.
    fn metadata(self, record: &Record) -> Cell {
        if let Some(headers) = record.headers() {
            let object = headers.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
            return Cell::Text(Value::Object(object).to_string());
        }
        let metadata = record.event().metadata_slice();
        match self.data_type {
            _ if metadata.is_empty() => Cell::Null,
            DataType::Bytes => Cell::Bytes(record.event().metadata()),
            DataType::Jsonb if !is_json(metadata) => Cell::Null,
            DataType::Jsonb | DataType::Text => text(metadata).unwrap_or(Cell::Null),
        }
    }
}

fn columns() -> String {
    APPEND_COLUMNS.map(quoted).join(", ")
}

fn text(bytes: &[u8]) -> Option<Cell> {
    std::str::from_utf8(bytes).ok().map(|text| Cell::Text(text.to_owned()))
}

pub(super) fn number(number: u64) -> Result<i64, Failure> {
    i64::try_from(number).map_err(|_| {
        Failure::reject(
            FailureClass::TooLarge,
            format!("{number} is larger than a column of 64 bits with a sign holds"),
        )
    })
}

/// Makes the schema, if one is named, and the table.
pub(super) fn create(table: &TableName, columns: &str) -> Vec<String> {
    let schema = table.schema.iter().map(|schema| format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)));
    schema.chain([format!("CREATE TABLE IF NOT EXISTS {table} ({columns})")]).collect()
}

/// One row per key.
#[derive(Debug)]
pub(super) struct Upsert {
    pub(super) columns: Vec<(String, JsonPath)>,
    /// Which of the columns are the key.
    pub(super) key: Vec<usize>,
    pub(super) delete_types: HashSet<String>,
}

const UPSERT: usize = 0;
const DELETE: usize = 1;

impl Upsert {
    /// The statements at [`UPSERT`] and [`DELETE`].
    pub(super) fn statements(&self, table: &TableName, dialect: Dialect) -> Vec<String> {
        let placeholder = dialect.placeholder();
        let names: Vec<_> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        let values: Vec<_> = (1..=names.len()).map(|number| format!("{placeholder}{number}")).collect();
        let others = self.columns.iter().enumerate().filter(|(index, _)| !self.key.contains(index));
        let sets: Vec<_> = others.map(|(_, (name, _))| format!("{0} = excluded.{0}", quoted(name))).collect();
        let change = if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(", ")) };
        let same: Vec<_> = self
            .key_names()
            .enumerate()
            .map(|(index, name)| format!("{} = {placeholder}{}", quoted(name), index + 1))
            .collect();
        let (names, values, key) = (names.join(", "), values.join(", "), self.key_list());
        vec![
            format!("INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT ({key}) DO {change}"),
            format!("DELETE FROM {table} WHERE {}", same.join(" AND ")),
        ]
    }

    pub(super) fn creates(&self, table: &TableName, types: &BTreeMap<String, String>) -> Vec<String> {
        let kind = |name: &str| types.get(name).map_or("text", String::as_str);
        let lines: Vec<_> = self.columns.iter().map(|(name, _)| format!("{} {}", quoted(name), kind(name))).collect();
        create(table, &format!("{}, PRIMARY KEY ({})", lines.join(", "), self.key_list()))
    }

    /// Deletes the row when the data is null or empty, or the type is one that deletes.
    pub(super) fn command(&self, record: &Record) -> Result<Command, Failure> {
        let document = document(record)?;
        let is_null = document.get("value").is_none_or(Value::is_null);
        if is_null || self.delete_types.contains(record.subject()) {
            let cells =
                self.key.iter().filter_map(|index| self.columns.get(*index)).map(|column| key(column, &document));
            return Ok(Command { statement: DELETE, cells: cells.collect::<Result<_, _>>()? });
        }
        let cells = self.columns.iter().enumerate().map(|(index, column)| {
            if self.key.contains(&index) { key(column, &document) } else { find(&column.1, &document).map(Cell::Json) }
        });
        Ok(Command { statement: UPSERT, cells: cells.collect::<Result<_, _>>()? })
    }

    fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().filter_map(|index| self.columns.get(*index)).map(|(name, _)| name.as_str())
    }

    fn key_list(&self) -> String {
        self.key_names().map(quoted).collect::<Vec<_>>().join(", ")
    }
}

fn key((name, path): &(String, JsonPath), document: &Value) -> Result<Cell, Failure> {
    match find(path, document)? {
        Value::Null => Err(malformed(&format!("key column {name}: {path} finds nothing in the record"))),
        value => Ok(Cell::Json(value)),
    }
}

/// The statement at this index, with the expressions of its parameters; or nothing to write.
type Chosen = Option<(usize, Vec<Arc<JsonPath>>)>;

/// One statement per event type.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) by_type: HashMap<String, Chosen>,
    /// What holds for other types.
    pub(super) any: Option<Chosen>,
}

impl Statements {
    pub(super) fn command(&self, record: &Record) -> Result<Option<Command>, Failure> {
        let subject = record.subject();
        let Some(chosen) = self.by_type.get(subject).or(self.any.as_ref()) else {
            let reason = format!("no statement for type {subject:?} (setting statements:{subject} or statements:*)");
            return Err(malformed(&reason));
        };
        let Some((statement, paths)) = chosen else { return Ok(None) };
        let document = document(record)?;
        let cells = paths.iter().map(|path| find(path, &document).map(Cell::Json)).collect::<Result<_, _>>()?;
        Ok(Some(Command { statement: *statement, cells }))
    }
}
