//! Owns a user's statement: SQL whose `:name` parameters become the driver's.

/// A statement longer than this is refused.
const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// More distinct parameters than this are refused.
const PARAMETERS_MAX: usize = 1000;
/// What would end, or begin, the transaction that position and data share.
const TRANSACTION_WORDS: [&str; 10] =
    ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare", "detach"];

/// A statement whose parameters are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The SQL with numbered placeholders.
    pub(super) sql: String,
    /// The names behind the numbers, counted from 1.
    pub(super) parameters: Vec<String>,
}

/// Why a statement cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidStatement {
    #[error("one statement of at most {STATEMENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("at most {PARAMETERS_MAX} parameters")]
    TooManyParameters,
    #[error("one statement, without another after it")]
    Several,
    #[error("a statement that changes data: {word} would end the transaction that holds the position")]
    Transaction { word: String },
    #[error("a closing {quote}")]
    Open { quote: String },
    #[error("a statement")]
    Empty,
}

/// Numbers the parameters of a statement: `:name` outside of literals, quoted names and comments.
pub(super) fn parse(text: &str, placeholder: char) -> Result<Statement, InvalidStatement> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(InvalidStatement::TooLong);
    }
    let mut scanner = Scanner { rest: text, sql: String::with_capacity(text.len()), parameters: Vec::new() };
    let mut is_ended = false;
    while let Some(piece) = scanner.next()? {
        match piece {
            Piece::Blank(blank) => scanner.sql.push_str(blank),
            _ if is_ended => return Err(InvalidStatement::Several),
            Piece::End => is_ended = true,
            Piece::Text(text) => scanner.sql.push_str(text),
            Piece::Parameter(name) => scanner.parameter(name, placeholder)?,
        }
    }
    let sql = scanner.sql.trim().to_owned();
    let first = sql.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    if sql.is_empty() {
        return Err(InvalidStatement::Empty);
    }
    if TRANSACTION_WORDS.iter().any(|word| word.eq_ignore_ascii_case(first)) {
        return Err(InvalidStatement::Transaction { word: first.to_uppercase() });
    }
    Ok(Statement { sql, parameters: scanner.parameters })
}

enum Piece<'a> {
    /// Space, or a comment as one.
    Blank(&'a str),
    Text(&'a str),
    Parameter(&'a str),
    End,
}

struct Scanner<'a> {
    rest: &'a str,
    sql: String,
    parameters: Vec<String>,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Result<Option<Piece<'a>>, InvalidStatement> {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let one = first.len_utf8();
        let word = |from: usize| from + name_length(rest.get(from..).unwrap_or_default());
        let piece = match first {
            _ if first.is_whitespace() => Piece::Blank(self.take(one)),
            // Comments are left out, so that the first word is the statement's own.
            '-' if rest.starts_with("--") => {
                self.take(rest.find('\n').unwrap_or(rest.len()));
                Piece::Blank(" ")
            }
            '/' if rest.starts_with("/*") => {
                self.take(enclosed(rest, "/*", "*/")?);
                Piece::Blank(" ")
            }
            '\'' | '"' | '`' => {
                let quote = rest.get(..one).unwrap_or_default();
                Piece::Text(self.take(enclosed(rest, quote, quote)?))
            }
            'e' | 'E' if rest.get(1..).is_some_and(|rest| rest.starts_with('\'')) => {
                Piece::Text(self.take(escaped_length(rest)?))
            }
            '$' => match dollar_quote(rest) {
                Some(quote) => Piece::Text(self.take(enclosed(rest, quote, quote)?)),
                None => Piece::Text(self.take(one)),
            },
            ';' => {
                self.take(one);
                Piece::End
            }
            ':' if rest.starts_with("::") || rest.starts_with(":=") => Piece::Text(self.take(2)),
            ':' if word(1) > 1 => {
                let name = self.take(word(1));
                Piece::Parameter(name.get(1..).unwrap_or_default())
            }
            // A whole word at once, so that neither its letters nor its `$` begin anything.
            _ if word(0) > 0 => {
                let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                Piece::Text(self.take(rest.find(|c| !is_inside(c)).unwrap_or(rest.len())))
            }
            _ => Piece::Text(self.take(one)),
        };
        Ok(Some(piece))
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn parameter(&mut self, name: &str, placeholder: char) -> Result<(), InvalidStatement> {
        let known = self.parameters.iter().position(|known| known == name);
        let index = known.unwrap_or(self.parameters.len());
        if known.is_none() {
            if index >= PARAMETERS_MAX {
                return Err(InvalidStatement::TooManyParameters);
            }
            self.parameters.push(name.to_owned());
        }
        self.sql.push_str(&format!("{placeholder}{}", index + 1));
        Ok(())
    }
}

fn name_length(text: &str) -> usize {
    let starts = text.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    if starts { text.find(|c| !is_inside(c)).unwrap_or(text.len()) } else { 0 }
}

/// The length of what begins with one mark and goes to the next other mark; a doubled quote simply begins anew.
fn enclosed(text: &str, open: &str, close: &str) -> Result<usize, InvalidStatement> {
    let inside = text.get(open.len()..).unwrap_or_default();
    let end = inside.find(close).ok_or_else(|| InvalidStatement::Open { quote: close.to_owned() })?;
    Ok(open.len() + end + close.len())
}

/// The length of `E'…'`, in which a backslash hides a quote.
fn escaped_length(text: &str) -> Result<usize, InvalidStatement> {
    let mut is_hidden = false;
    for (at, c) in text.char_indices().skip(2) {
        match c {
            _ if is_hidden => is_hidden = false,
            '\\' => is_hidden = true,
            '\'' => return Ok(at + 1),
            _ => {}
        }
    }
    Err(InvalidStatement::Open { quote: "'".to_owned() })
}

/// The opening mark `$$` or `$tag$` at the beginning of a text.
fn dollar_quote(text: &str) -> Option<&str> {
    let inside = text.get(1..)?;
    let length = name_length(inside);
    inside.get(length..)?.starts_with('$').then(|| text.get(..length + 2)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(text: &str) -> (String, Vec<String>) {
        let statement = parse(text, '$').unwrap();
        (statement.sql, statement.parameters)
    }

    #[test]
    fn parameters_are_numbered_in_the_order_of_their_names() {
        let (sql, names) = numbered("UPDATE t SET a = :a, b = :b_2::jsonb WHERE a <> :a;");
        assert_eq!(sql, "UPDATE t SET a = $1, b = $2::jsonb WHERE a <> $1");
        assert_eq!(names, ["a", "b_2"]);
    }

    #[test]
    fn literals_and_quoted_names_are_left_alone_and_comments_left_out() {
        let (sql, names) = numbered("INSERT INTO t -- :a ;\n VALUES (1) /* :a ; */ ; -- the end");
        assert_eq!(
            (sql.split_whitespace().collect::<Vec<_>>().join(" ").as_str(), names.len()),
            ("INSERT INTO t VALUES (1)", 0)
        );
        for text in [
            "INSERT INTO t VALUES (':a', \"x:a\", 'it''s :a')",
            "INSERT INTO t VALUES (E'\\':a', $$ :a $$, $tag$ :a $$ ; $tag$)",
            "INSERT INTO t VALUES (x[1:2], a$b$c)",
        ] {
            assert_eq!(numbered(text), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn what_would_break_the_transaction_is_refused() {
        assert_eq!(parse("INSERT INTO t DEFAULT VALUES; DELETE FROM t", '$'), Err(InvalidStatement::Several));
        assert_eq!(parse(" /* x */ ;", '$'), Err(InvalidStatement::Empty));
        assert!(matches!(parse("/* x */ commit", '$'), Err(InvalidStatement::Transaction { .. })));
        assert!(matches!(parse("INSERT 'x", '$'), Err(InvalidStatement::Open { .. })));
    }
}
