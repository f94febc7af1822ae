//! Owns what can be wrong with an expression, and where.

use std::fmt;

/// An expression that cannot be used: what is wrong with it and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPathError {
    /// The byte of the expression at which the problem begins.
    pub at: usize,
    /// What the expression says there; empty at its end.
    pub excerpt: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else must stand here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The expression is longer than the bound.
    #[error("the expression has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// Filters, parentheses or calls nest deeper than the bound.
    #[error("nested deeper than {depth_max} levels")]
    TooDeep {
        /// The bound.
        depth_max: usize,
    },
    /// The expression has more segments than the bound.
    #[error("more than {segments_max} segments")]
    TooManySegments {
        /// The bound.
        segments_max: usize,
    },
    /// A number is outside the range that JSON can exchange.
    #[error("number is out of range, integers end at 9007199254740991")]
    NumberRange,
    /// A surrogate escape without its other half.
    #[error("surrogate escape without its other half")]
    LoneSurrogate,
    /// A function that does not exist.
    #[error("unknown function {name:?}, there are length, count, match, search and value")]
    UnknownFunction {
        /// The name as written.
        name: String,
    },
    /// A function called with too few or too many arguments.
    #[error("{function}() takes {wanted} argument(s), {given} given")]
    ArgumentCount {
        /// The function.
        function: &'static str,
        /// How many it takes.
        wanted: usize,
        /// How many were written.
        given: usize,
    },
    /// A query that may select several nodes where one value is needed.
    #[error("a query that may select more than one node cannot be used as a value")]
    NotSingular,
    /// A value where a test is needed.
    #[error("{what} is not a test, compare it with something")]
    NotATest {
        /// The offending part.
        what: &'static str,
    },
    /// The result of a test used as a value.
    #[error("the result of {function}() is not a value and cannot be compared or passed on")]
    NotAValue {
        /// The function.
        function: &'static str,
    },
    /// A literal regular expression that is not valid or too large.
    #[error("regular expression {pattern:?} cannot be used: {reason}")]
    Pattern {
        /// The expression as written.
        pattern: String,
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for JsonPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSONPath is not valid at byte {}: {}", self.at, self.problem)?;
        if self.excerpt.is_empty() { f.write_str(", at its end") } else { write!(f, ", near {:?}", self.excerpt) }
    }
}

impl std::error::Error for JsonPathError {}

/// An evaluation was given up because it visited too many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSONPath visited more than {nodes_max} nodes")]
pub struct TooManyNodes {
    /// The bound.
    pub nodes_max: u64,
}
