//! Owns the rules of a stream's name.

use std::fmt;
use std::sync::Arc;

/// The name of a stream: any text that is not empty, case-sensitive.
///
/// Cheap to clone. Names that begin with `$` belong to the system; `$$s` is the metadata stream of `s`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Takes a name as it is; fails when it is empty.
    pub fn new(name: &str) -> Result<Self, InvalidStreamName> {
        if name.is_empty() { Err(InvalidStreamName) } else { Ok(Self(Arc::from(name))) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name begins with `$`.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether this is the metadata stream of another stream.
    pub fn is_metadata(&self) -> bool {
        self.0.starts_with("$$")
    }

    /// The metadata stream of this stream.
    pub fn metadata_stream(&self) -> Self {
        Self(Arc::from(format!("$${}", self.0)))
    }

    /// The stream that this metadata stream describes, or nothing when this is not one.
    pub fn described_stream(&self) -> Option<Self> {
        self.0.strip_prefix("$$").and_then(|name| Self::new(name).ok())
    }

    /// The part before the first `-`, or the whole name when there is none.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&self.0, |(category, _)| category)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A stream's name was empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream's name must not be empty")]
pub struct InvalidStreamName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn category_ends_at_the_first_hyphen() {
        let category = |name: &str| StreamName::new(name).unwrap().category().to_owned();
        assert_eq!(category("order-2021-05"), "order");
        assert_eq!(category("order"), "order");
        assert_eq!(category("-x"), "");
    }

    #[test]
    fn metadata_stream_names_its_stream() {
        let orders = StreamName::new("orders").unwrap();
        assert_eq!(orders.metadata_stream().as_str(), "$$orders");
        assert_eq!(orders.metadata_stream().described_stream(), Some(orders.clone()));
        assert_eq!(orders.described_stream(), None);
        assert!(StreamName::new("").is_err());
    }
}
