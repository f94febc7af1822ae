//! Owns names of tables and columns: read from settings, quoted for SQL.

use std::fmt;

/// PostgreSQL cuts longer names, which could make two into one.
const NAME_BYTES_MAX: usize = 63;

/// A table's name, with its schema when one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

impl TableName {
    /// Reads `table` or `schema.table`; names are taken as they are, letters in either case included.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.').map(str::trim);
        let (first, second, None) = (parts.next()?, parts.next(), parts.next()) else { return None };
        let (schema, table) = second.map_or((None, first), |table| (Some(first), table));
        let is_usable = is_name(table) && schema.is_none_or(is_name);
        is_usable.then(|| Self { schema: schema.map(str::to_owned), table: table.to_owned() })
    }
}

/// Writes the name quoted.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.table))
    }
}

/// Whether this can be the name of a table or a column.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

/// A name in the quotes of standard SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether this can be a column's type: words, numbers, commas, parentheses and brackets, which cannot end a statement.
pub(super) fn is_type(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | ',' | '(' | ')' | '[' | ']');
    !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_cannot_break_out() {
        assert_eq!(TableName::parse("sales.Orders").unwrap().to_string(), "\"sales\".\"Orders\"");
        assert_eq!(TableName::parse("a\"; DROP TABLE b; --").unwrap().to_string(), "\"a\"\"; DROP TABLE b; --\"");
        for wrong in ["", "a.b.c", ".a", "a.", "a\0b", &"x".repeat(64)] {
            assert_eq!(TableName::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn types_hold_no_punctuation_that_ends_a_statement() {
        assert!(is_type("numeric(10, 2)") && is_type("text[]") && is_type("timestamp with time zone"));
        assert!(!is_type("text); DROP TABLE a") && !is_type("text--") && !is_type(" "));
    }
}
