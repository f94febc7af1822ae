//! Owns a compiled expression: what users of this module hold.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use serde_json::Value;

use super::ast::Query;
use super::error::{JsonPathError, TooManyNodes};
use super::evaluate::{Evaluation, Stop};
use super::parser;

/// A compiled JSONPath expression.
///
/// Asking it needs no lock but for regular expressions that come from the data, so one can be shared by many threads.
#[derive(Debug)]
pub struct JsonPath {
    text: String,
    query: Query,
}

impl JsonPath {
    /// Compiles an expression; fails with what is wrong and where.
    pub fn compile(text: &str) -> Result<Self, JsonPathError> {
        Ok(Self { text: text.to_owned(), query: parser::parse(text)? })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All values the expression selects, in the standard's order; fails after [`VISITED_NODES_MAX`] steps.
    ///
    /// [`VISITED_NODES_MAX`]: crate::limits::VISITED_NODES_MAX
    pub fn query<'v>(&self, root: &'v Value) -> Result<Vec<&'v Value>, TooManyNodes> {
        let mut selected = Vec::new();
        let evaluation = Evaluation::of(root);
        let ended = evaluation.run(&self.query, root, &mut |value| {
            selected.push(value);
            ControlFlow::Continue(())
        });
        match ended {
            ControlFlow::Break(Stop::Exhausted) => Err(evaluation.exhausted()),
            _ => Ok(selected),
        }
    }

    /// Whether the expression selects anything; stops at the first node. Too large a search counts as no.
    pub fn matches(&self, root: &Value) -> bool {
        self.try_matches(root).unwrap_or(false)
    }

    /// Whether the expression selects anything; fails after [`VISITED_NODES_MAX`] steps without an answer.
    ///
    /// [`VISITED_NODES_MAX`]: crate::limits::VISITED_NODES_MAX
    pub fn try_matches(&self, root: &Value) -> Result<bool, TooManyNodes> {
        let evaluation = Evaluation::of(root);
        match evaluation.run(&self.query, root, &mut |_| ControlFlow::Break(Stop::Enough)) {
            ControlFlow::Continue(()) => Ok(false),
            ControlFlow::Break(Stop::Enough) => Ok(true),
            ControlFlow::Break(Stop::Exhausted) => Err(evaluation.exhausted()),
        }
    }
}

impl FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::compile(text)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
