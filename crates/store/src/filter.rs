//! Owns the filter that a store applies while it reads the whole log.

use forebay_event::RecordedEvent;
use regex::Regex;

use crate::look_ahead;

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
    /// Begins with nothing that `excluded` matches, and passes `kept`.
    Except {
        /// What the text must not begin with; anchored at the start.
        excluded: Regex,
        /// What it must pass besides.
        kept: Box<Matcher>,
    },
}

/// Compiled regular expressions larger than this are refused.
pub(crate) const REGEX_SIZE_MAX: usize = 1 << 20;
/// What clients send to leave out system events, in the forms that are known.
const NO_DOLLAR: [&str; 2] = [r"^[^\$]", r"^[^$]"];
const NO_DOLLAR_EXCLUDED: [&str; 2] = [r"^(?:\$)", r"^(?:\$.*)"];
/// An expression begins with at most so many look-aheads.
const LOOK_AHEADS_MAX: usize = 8;

impl Matcher {
    /// Compiles an expression; linear in time by construction, bounded in size.
    ///
    /// Of look-around it takes what can be said without: `^(?!A)B`, which is what does not begin with `A` and matches
    /// `^B`. Clients of the protocol send that form to leave out system events.
    pub fn regex(expression: &str) -> Result<Self, InvalidFilter> {
        Self::within(expression, expression, LOOK_AHEADS_MAX)
    }

    /// Compiles `expression`, which is `given` without the look-aheads already taken off.
    fn within(expression: &str, given: &str, left: usize) -> Result<Self, InvalidFilter> {
        let refused = |reason: &str| InvalidFilter { expression: given.to_owned(), reason: reason.to_owned() };
        match look_ahead::split(expression) {
            None => compile(expression, given).map(Self::Regex),
            Some(Err(reason)) => Err(refused(reason)),
            Some(Ok(_)) if left == 0 => Err(refused("it begins with too many look-aheads")),
            Some(Ok((excluded, rest))) => {
                let excluded = compile(&format!("^(?:{excluded})"), given)?;
                let kept = Self::within(&format!("^{rest}"), given, left - 1)?;
                Ok(Self::Except { excluded, kept: Box::new(kept) })
            }
        }
    }

    /// Whether surely nothing matches that begins with `$`.
    fn needs_other_than_dollar(&self) -> bool {
        match self {
            Self::Prefixes(prefixes) => prefixes.iter().all(|prefix| !prefix.is_empty() && !prefix.starts_with('$')),
            Self::Regex(regex) => begins_with_other_than_dollar(regex.as_str()),
            Self::Except { excluded, kept } => {
                NO_DOLLAR_EXCLUDED.contains(&excluded.as_str()) || kept.needs_other_than_dollar()
            }
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())),
            Self::Regex(regex) => regex.is_match(text),
            Self::Except { excluded, kept } => !excluded.is_match(text) && kept.matches(text),
        }
    }
}

/// Whether an expression is anchored and begins with a plain character, or with the class of all but `$`. Of all others
/// nothing is said.
fn begins_with_other_than_dollar(expression: &str) -> bool {
    if NO_DOLLAR.contains(&expression) {
        return true;
    }
    let Some(rest) = expression.strip_prefix('^').filter(|rest| !rest.contains('|')) else { return false };
    let mut characters = rest.chars();
    let begins_plainly = characters.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == '_');
    begins_plainly && !characters.next().is_some_and(|second| "?*{".contains(second))
}

/// Compiles `expression`, which is `given` or a part of it.
fn compile(expression: &str, given: &str) -> Result<Regex, InvalidFilter> {
    regex::RegexBuilder::new(expression)
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|error| InvalidFilter { expression: given.to_owned(), reason: error.to_string() })
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

    /// Whether no bookkeeping passes: no event whose stream and type both begin with `$`. False when that is not sure.
    pub fn leaves_out_bookkeeping(&self) -> bool {
        match self {
            Self::All => false,
            Self::ExcludeSystem => true,
            Self::Where(_, matcher) => matcher.needs_other_than_dollar(),
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
    fn bookkeeping_is_left_out_only_where_that_is_sure() {
        let by = |subject, matcher| EventFilter::Where(subject, matcher).leaves_out_bookkeeping();
        let prefixes = |texts: &[&str]| Matcher::Prefixes(texts.iter().map(|text| (*text).to_owned()).collect());
        assert!(EventFilter::ExcludeSystem.leaves_out_bookkeeping() && !EventFilter::All.leaves_out_bookkeeping());
        assert!(by(FilterSubject::Stream, prefixes(&["order-", "cart-"])));
        for texts in [&["order-", "$c"][..], &[""]] {
            assert!(!by(FilterSubject::EventType, prefixes(texts)));
        }
        let expressions = [
            (r"^[^\$]", true),
            (r"^[^$]", true),
            (r"^(?!\$).*", true),
            ("^order-[0-9]+$", true),
            ("order", false),
            ("^o?", false),
            ("^o*x", false),
            (r"^o{0}\$", false),
            (r"^a|^\$", false),
            (r"^\$", false),
            ("^.", false),
            ("^(?!a)b", true),
            ("^(?!a)", false),
        ];
        for (expression, sure) in expressions {
            let matcher = Matcher::regex(expression).unwrap();
            assert!(!(sure && matcher.matches("$conn-ctrl-lease")), "{expression}");
            assert_eq!(by(FilterSubject::Stream, matcher), sure, "{expression}");
        }
    }

    #[test]
    fn a_leading_negative_look_ahead_is_understood() {
        let passes = |expression: &str, text: &str| Matcher::regex(expression).unwrap().matches(text);
        let python = r"^(?!(\$.+$|A$))";
        assert!(!passes(python, "$metadata") && !passes(python, "A") && passes(python, "AB") && passes(python, "$"));
        assert!(passes(r"^(?!\$).*", "order") && !passes(r"^(?!\$).*", "$settings"));
        assert!(passes(r"^(?!a)(?!b)\w+$", "cd") && !passes(r"^(?!a)(?!b)\w+$", "bd"));
        assert!(passes(r"^(?![)(]|\))x", "x") && !passes(r"^(?!x)x", "x"));
    }

    #[test]
    fn other_look_around_is_refused_by_name() {
        for expression in ["(?!a)b", "^a(?=b)", "(?<!a)b", "^(?!a)b|c", "^(?!a"] {
            let error = Matcher::regex(expression).unwrap_err();
            assert_eq!(error.expression, expression);
        }
        assert!(Matcher::regex("^a(?=b)").unwrap_err().reason.contains("look-around"));
        assert!(Matcher::regex("^(?!a)b|c").unwrap_err().reason.contains("parentheses"));
    }

    #[test]
    fn an_invalid_expression_is_shown_back() {
        assert!(Matcher::regex("(").unwrap_err().to_string().starts_with("\"(\" is not a valid regular expression"));
    }
}
