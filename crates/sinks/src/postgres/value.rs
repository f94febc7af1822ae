//! Owns values on their way to the server: as text, which the server reads as whatever the column is.

use std::error::Error;
use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::table::Cell;

/// A value of a statement.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) &'a Cell);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match text(self.0, is_json(kind)) {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.put_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn is_json(kind: &Type) -> bool {
    match kind.kind() {
        Kind::Domain(inner) => is_json(inner),
        _ => *kind == Type::JSON || *kind == Type::JSONB,
    }
}

/// The text of a value; nothing for null. What goes into JSON is JSON, so text is quoted there.
pub(super) fn text(cell: &Cell, into_json: bool) -> Option<String> {
    match cell {
        Cell::Null | Cell::Json(Value::Null) => None,
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Text(text) => Some(text.clone()),
        Cell::Bytes(bytes) => {
            let mut text = String::with_capacity(2 + 2 * bytes.len());
            text.push_str("\\x");
            for byte in bytes {
                // Writing to text cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            Some(text)
        }
        Cell::Json(Value::String(text)) if !into_json => Some(text.clone()),
        Cell::Json(json) => Some(json.to_string()),
    }
}
