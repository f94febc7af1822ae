//! JSONPath after RFC 9535: an expression is parsed and type-checked once, then asked of many documents.
//!
//! The whole standard is here: all selectors, descendants, filters with comparisons, existence tests and the five
//! functions, absolute queries inside filters. Two things are stricter than the standard, for the author's sake: a
//! regular expression written as a literal must be valid (the standard would let it match nothing), and sizes are
//! bounded. Regular expressions may use more than I-Regexp: whatever has linear time.

mod parser;
mod filters;
mod ast;
mod functions;
mod evaluate;
mod path;
mod error;
#[cfg(test)]
mod tests;

pub use error::{JsonPathError, Problem, TooManyNodes};
pub use path::JsonPath;
