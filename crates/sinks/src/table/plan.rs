//! Owns the plan: settings compiled once into the statements that every record uses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use forebay_connector::Failure;
use forebay_connector::settings::{SettingError, SettingsErrors};
use forebay_event::Record;
use forebay_script::JsonPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::modes::{Append, Statements, Upsert};
use super::names::{TableName, is_name, is_type};
use super::statement;

/// The key under which the statement of all other event types stands.
const ANY_TYPE: &str = "*";
/// What stands in place of a statement when nothing is to be written.
const NOTHING: &str = "nothing";

/// Which SQL a sink speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

impl Dialect {
    pub(super) fn placeholder(self) -> char {
        match self {
            Self::Postgres => '$',
            Self::Sqlite => '?',
        }
    }
}

/// What a record becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    /// One row per record in one table, with its coordinates, data and metadata.
    #[default]
    Append,
    /// One row per key: inserted, replaced or deleted.
    Upsert,
    /// A statement of the user's, chosen by the event's type.
    Statement,
}

/// How data and metadata are stored in mode `append`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DataType {
    /// As JSON; data that is not JSON is refused.
    #[default]
    Jsonb,
    /// As text; data that is not UTF-8 is refused.
    Text,
    /// As the bytes they are.
    Bytes,
}

/// What the settings of a sink say about writing.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableSettings {
    pub(crate) mode: Mode,
    pub(crate) table: Option<String>,
    pub(crate) data_type: DataType,
    pub(crate) create_table: bool,
    pub(crate) positions_table: String,
    pub(crate) columns: BTreeMap<String, String>,
    pub(crate) key: Vec<String>,
    pub(crate) column_types: BTreeMap<String, String>,
    pub(crate) delete_types: Vec<String>,
    pub(crate) statements: BTreeMap<String, String>,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// A value on its way into a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Bytes),
    /// What an expression found; its form depends on the column.
    Json(Value),
}

/// One statement with its values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    /// Which of the plan's statements.
    pub(crate) statement: usize,
    /// The values of its placeholders, in order.
    pub(crate) cells: Vec<Cell>,
}

/// Settings compiled into SQL.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The statements that commands name by index.
    pub(crate) statements: Vec<String>,
    /// A statement that takes a whole batch as one array per column, where the mode and the dialect have one.
    pub(crate) bulk: Option<String>,
    /// What makes schema and tables, in order; empty unless asked for.
    pub(crate) creates: Vec<String>,
    /// The table of modes `append` and `upsert`.
    pub(crate) table: Option<TableName>,
    /// Where positions are kept.
    pub(crate) positions: TableName,
    writing: Writing,
}

#[derive(Debug)]
enum Writing {
    Append(Append),
    Upsert(Upsert),
    Statement(Statements),
}

impl Plan {
    /// Checks and compiles; everything that is wrong is said at once.
    pub(crate) fn new(settings: &TableSettings, dialect: Dialect) -> Result<Self, SettingsErrors> {
        let mut notes = Notes::default();
        let positions = notes.table("positionsTable", Some(&settings.positions_table));
        check_mode(settings, &mut notes);
        let has_table = settings.mode != Mode::Statement;
        let table = has_table.then(|| notes.table("table", settings.table.as_deref()));
        let (writing, statements, bulk, mut creates) = match (settings.mode, &table) {
            (Mode::Append, Some(table)) => {
                let append = Append { data_type: settings.data_type, dialect };
                let creates = append.creates(table);
                (Writing::Append(append), vec![append.insert(table)], append.bulk(table), creates)
            }
            (Mode::Upsert, Some(table)) => {
                let upsert = upsert(settings, &mut notes);
                let statements = upsert.statements(table, dialect);
                let creates = upsert.creates(table, &settings.column_types);
                (Writing::Upsert(upsert), statements, None, creates)
            }
            (Mode::Statement, _) | (_, None) => {
                let (by_type, texts) = statements(settings, dialect, &mut notes);
                (Writing::Statement(by_type), texts, None, Vec::new())
            }
        };
        if settings.create_table {
            creates.extend(super::progress::creates(&positions));
            creates.retain(|create| dialect == Dialect::Postgres || !create.starts_with("CREATE SCHEMA"));
        } else {
            creates.clear();
        }
        SettingsErrors::check(notes.errors)?;
        Ok(Self { statements, bulk, creates, table, positions, writing })
    }

    /// What a record becomes; nothing when only its position is to be noted.
    pub(crate) fn command(&self, record: &Record) -> Result<Option<Command>, Failure> {
        match &self.writing {
            Writing::Append(append) => append.command(record).map(Some),
            Writing::Upsert(upsert) => upsert.command(record).map(Some),
            Writing::Statement(statements) => statements.command(record),
        }
    }
}

/// Gathers what is wrong.
#[derive(Default)]
pub(super) struct Notes {
    errors: Vec<SettingError>,
}

impl Notes {
    fn add(&mut self, key: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) {
        self.errors.push(SettingError { key: key.into(), found: found.into(), expected: expected.into() });
    }

    /// A table's name; some name when it is wrong, so that the rest can be checked too.
    fn table(&mut self, key: &str, text: Option<&str>) -> TableName {
        let fallback = TableName { schema: None, table: key.to_owned() };
        let expected = "the name of a table, or schema.table";
        match text {
            None => self.add(key, "is missing", expected),
            Some(text) => match TableName::parse(text) {
                Some(name) => return name,
                None => self.add(key, format!("is {text:?}"), expected),
            },
        }
        fallback
    }

    fn path(&mut self, key: String, text: &str) -> Option<JsonPath> {
        match JsonPath::compile(text.trim()) {
            Ok(path) => Some(path),
            Err(error) => {
                self.add(key, format!("is {text:?}"), error.to_string());
                None
            }
        }
    }
}

/// Settings of another mode are refused: they would do nothing.
fn check_mode(settings: &TableSettings, notes: &mut Notes) {
    let of_upsert = [
        ("columns:*", settings.columns.is_empty()),
        ("key", settings.key.is_empty()),
        ("columnTypes:*", settings.column_types.is_empty()),
        ("deleteTypes", settings.delete_types.is_empty()),
    ];
    let of_statement =
        [("statements:*", settings.statements.is_empty()), ("parameters:*", settings.parameters.is_empty())];
    let mut refuse = |mode: Mode, word: &str, keys: &[(&str, bool)]| {
        for (key, _) in keys.iter().filter(|(_, is_empty)| settings.mode != mode && !is_empty) {
            notes.add(*key, "is set in another mode", format!("mode {word}"));
        }
    };
    refuse(Mode::Upsert, "upsert", &of_upsert);
    refuse(Mode::Statement, "statement", &of_statement);
    if settings.mode == Mode::Statement && settings.table.is_some() {
        notes.add("table", "is set in mode statement", "statements that name their tables");
    }
}

fn upsert(settings: &TableSettings, notes: &mut Notes) -> Upsert {
    let mut columns = Vec::new();
    for (name, text) in &settings.columns {
        let key = format!("columns:{name}");
        if !is_name(name) {
            notes.add(key.clone(), "is not a column", "the name of a column of at most 63 bytes");
        }
        if let Some(path) = notes.path(key, text) {
            columns.push((name.clone(), path));
        }
    }
    for (name, text) in
        settings.column_types.iter().filter(|(name, text)| !settings.columns.contains_key(*name) || !is_type(text))
    {
        notes.add(format!("columnTypes:{name}"), format!("is {text:?}"), "the SQL type of a column in columns:*");
    }
    if settings.key.is_empty() {
        notes.add("key", "is missing", "one or more columns, separated by commas");
    }
    let mut key = Vec::new();
    for name in &settings.key {
        match columns.iter().position(|(column, _)| column == name) {
            Some(index) => key.push(index),
            None => notes.add("key", format!("names {name:?}"), "columns that columns:* defines"),
        }
    }
    Upsert { columns, key, delete_types: settings.delete_types.iter().cloned().collect() }
}

fn statements(settings: &TableSettings, dialect: Dialect, notes: &mut Notes) -> (Statements, Vec<String>) {
    let paths: HashMap<&str, Arc<JsonPath>> = settings
        .parameters
        .iter()
        .filter_map(|(name, text)| Some((name.as_str(), Arc::new(notes.path(format!("parameters:{name}"), text)?))))
        .collect();
    if settings.statements.is_empty() {
        notes.add("statements:*", "is missing", "a statement per event type");
    }
    let (mut by_type, mut texts) = (HashMap::new(), Vec::new());
    for (event_type, text) in &settings.statements {
        let key = format!("statements:{event_type}");
        if text.trim().eq_ignore_ascii_case(NOTHING) {
            by_type.insert(event_type.clone(), None);
            continue;
        }
        match statement::parse(text, dialect.placeholder()) {
            Err(wrong) => notes.add(key, "cannot be used", wrong.to_string()),
            Ok(parsed) => {
                let mut found = Vec::new();
                for name in &parsed.parameters {
                    match paths.get(name.as_str()) {
                        Some(path) => found.push(Arc::clone(path)),
                        None if settings.parameters.contains_key(name) => {}
                        None => notes.add(key.clone(), format!("uses :{name}"), format!("parameters:{name} to be set")),
                    }
                }
                by_type.insert(event_type.clone(), Some((texts.len(), found)));
                texts.push(parsed.sql);
            }
        }
    }
    let any = by_type.remove(ANY_TYPE);
    (Statements { by_type, any }, texts)
}
