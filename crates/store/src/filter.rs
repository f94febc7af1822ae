//! Owns the filter that a store applies while it reads the whole log.

use forebay_event::RecordedEvent;
use regex::Regex;

/// Which events of the whole log a read or subscription hands out.
#[derive(Clone, Debug, Default)]
pub enum EventFilter {
    /// All of them.
    #[default]
    All,
    /// All whose type does not begin with `$`.
    ExcludeSystem,
    /// Those whose stream name or event type matches.
    Where(FilterSubject, Matcher),
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterSubject {
    /// The stream's name.
    Stream,
    /// The event's type.
    EventType,
}

/// How a filter compares.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Begins with any of these, case-sensitive.
    Prefixes(Vec<String>),
    /// Matches this expression anywhere.
    Regex(Regex),
}

/// Compiled regular expressions larger than this are refused.
pub(crate) const REGEX_SIZE_MAX: usize = 1 << 20;

impl Matcher {
    /// Compiles an expression; linear in time by construction, bounded in size.
    pub fn regex(expression: &str) -> Result<Self, InvalidFilter> {
        regex::RegexBuilder::new(expression)
            .size_limit(REGEX_SIZE_MAX)
            .build()
            .map(Self::Regex)
            .map_err(|error| InvalidFilter { expression: expression.to_owned(), reason: error.to_string() })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl EventFilter {
    /// Whether an event passes.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::All => true,
            Self::ExcludeSystem => !event.is_system(),
            Self::Where(FilterSubject::Stream, matcher) => matcher.matches(event.stream()),
            Self::Where(FilterSubject::EventType, matcher) => matcher.matches(event.event_type()),
        }
    }

    /// Whether every event passes without a look.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// A filter's expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expression:?} is not a valid regular expression: {reason}")]
pub struct InvalidFilter {
    /// What was given.
    pub expression: String,
    /// Where and why it fails.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{Position, ProposedEvent, Revision, StreamName, Timestamp};
    use uuid::Uuid;

    fn event(stream: &str, event_type: &str) -> RecordedEvent {
        let proposed = ProposedEvent::json(Uuid::from_u128(1), event_type, "{}");
        let stream = StreamName::new(stream).unwrap();
        RecordedEvent::record(&proposed, &stream, Revision::FIRST, Position::new(1), Timestamp::default())
    }

    #[test]
    fn regex_is_unanchored_and_prefixes_are_any_of() {
        let regex = EventFilter::Where(FilterSubject::Stream, Matcher::regex("order").unwrap());
        assert!(regex.matches(&event("preorder-1", "A")));
        let prefixes =
            EventFilter::Where(FilterSubject::EventType, Matcher::Prefixes(vec!["X".to_owned(), "Order".to_owned()]));
        assert!(prefixes.matches(&event("s", "OrderPlaced")) && !prefixes.matches(&event("s", "PreOrder")));
    }

    #[test]
    fn system_events_are_told_by_their_type() {
        assert!(!EventFilter::ExcludeSystem.matches(&event("s", "$metadata")));
        assert!(EventFilter::ExcludeSystem.matches(&event("$s", "A")));
    }

    #[test]
    fn an_invalid_expression_is_shown_back() {
        assert!(Matcher::regex("(").unwrap_err().to_string().starts_with("\"(\" is not a valid regular expression"));
    }
}
