//! Owns saying a filter in the protocol, or that it cannot be said there and is applied here.
//!
//! The server's regular expressions are of another dialect. One whose meaning could differ there is not sent: the whole
//! log is read and matched here, which costs traffic and never an event.

use forebay_store::{EventFilter, FilterSubject, Matcher};
use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::streams::read_req::options::filter_options::{Expression, Filter, Window};
use forebay_wire::event_store::client::streams::read_req::options::{FilterOption, FilterOptions};

/// The server counts what it has examined in windows of so many events.
const WINDOW: usize = 32;
/// A filter names at most so many prefixes there.
const PREFIXES_MAX: usize = 1000;
/// A regular expression has at most so many bytes there.
const EXPRESSION_LEN_MAX: usize = 4 << 10;
/// What leaves out the system's own events.
const NO_SYSTEM: &str = r"^[^\$]";
/// A prefix that newer servers take for the name of an index.
const INDEX_PREFIX: &str = "$idx-";

/// The filter as the server is asked for it; none in the protocol's sense when it is applied here.
pub(crate) fn option(filter: &EventFilter, checkpoint_every: usize) -> FilterOption {
    match expression(filter) {
        Some(filter) => FilterOption::Filter(options(filter, checkpoint_every)),
        None => FilterOption::NoFilter(Empty {}),
    }
}

fn options(filter: Filter, checkpoint_every: usize) -> FilterOptions {
    let window = checkpoint_every.clamp(1, WINDOW);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    FilterOptions {
        filter: Some(filter),
        window: Some(Window::Max(number(window))),
        checkpoint_interval_multiplier: number((checkpoint_every / window).max(1)),
    }
}

fn expression(filter: &EventFilter) -> Option<Filter> {
    match filter {
        EventFilter::All => None,
        EventFilter::ExcludeSystem => Some(Filter::EventType(regex(NO_SYSTEM))),
        EventFilter::Where(subject, matcher) => {
            let compared = compared(matcher)?;
            Some(match subject {
                FilterSubject::Stream => Filter::StreamIdentifier(compared),
                FilterSubject::EventType => Filter::EventType(compared),
            })
        }
    }
}

fn compared(matcher: &Matcher) -> Option<Expression> {
    match matcher {
        Matcher::Prefixes(prefixes) => {
            let is_sayable = (1..=PREFIXES_MAX).contains(&prefixes.len())
                && prefixes.iter().all(|prefix| !prefix.is_empty() && !prefix.starts_with(INDEX_PREFIX));
            is_sayable.then(|| Expression { regex: String::new(), prefix: prefixes.clone() })
        }
        Matcher::Regex(_) | Matcher::Except { .. } => {
            let text = said(matcher)?;
            let is_sayable = !text.is_empty() && text.len() <= EXPRESSION_LEN_MAX && means_the_same(&text);
            is_sayable.then(|| regex(&text))
        }
    }
}

/// The expression that a matcher was made from, look-aheads included.
fn said(matcher: &Matcher) -> Option<String> {
    match matcher {
        Matcher::Regex(regex) => Some(regex.as_str().to_owned()),
        Matcher::Except { excluded, kept } => {
            let excluded = excluded.as_str().strip_prefix('^')?;
            let kept = said(kept)?;
            Some(format!("^(?!{excluded}){}", kept.strip_prefix('^')?))
        }
        Matcher::Prefixes(_) => None,
    }
}

fn regex(text: &str) -> Expression {
    Expression { regex: text.to_owned(), prefix: Vec::new() }
}

/// Whether the server matches at least what we match. What is not surely so counts as not; what it matches beyond is
/// dropped here.
fn means_the_same(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    // There, characters beyond the first plane are two.
    if characters.iter().any(|character| u32::from(*character) > 0xFFFF) {
        return false;
    }
    let has_look_ahead = text.contains("(?!");
    let mut class: Option<Class> = None;
    for (index, character) in characters.iter().enumerate() {
        let is_escaped = is_escaped(&characters, index);
        let before = index.checked_sub(1).and_then(|before| characters.get(before));
        let behind: String = characters.iter().skip(index + 1).take(2).collect();
        let is_shared = match (character, &mut class) {
            (letter, _) if is_escaped => !letter.is_alphanumeric() || matches!(letter, 't' | 'r' | 'n'),
            ('\\', _) => !behind.is_empty(),
            (']', Some(inside)) => {
                let is_negated = inside.is_negated;
                class = None;
                !is_negated || may_follow_any(&behind, true)
            }
            // Classes within classes, and sets of classes, are of one dialect only.
            ('[', Some(_)) => false,
            ('&' | '~' | '-', Some(_)) => before != Some(character),
            ('[', None) => {
                class = Some(Class { is_negated: behind.starts_with('^') });
                !behind.starts_with(']') && !behind.starts_with("^]")
            }
            // There, a dollar also matches before a last line break: more, unless it says what must not follow.
            ('$', None) => !has_look_ahead,
            ('.', None) => may_follow_any(&behind, false),
            // Flags and names are written differently.
            ('(', None) if behind.starts_with('?') => matches!(behind.as_str(), "?:" | "?!"),
            _ => true,
        };
        if !is_shared {
            return false;
        }
    }
    true
}

/// A class that is open.
struct Class {
    is_negated: bool,
}

/// Whether a backslash stands before, that none stands before.
fn is_escaped(characters: &[char], index: usize) -> bool {
    let backslashes = characters.iter().take(index).rev().take_while(|character| **character == '\\').count();
    backslashes % 2 == 1
}

/// Whether "any character" may be half a character, as it is there, in front of this.
fn may_follow_any(behind: &str, may_be_any: bool) -> bool {
    behind.is_empty() || behind.starts_with(['*', '+']) || (may_be_any && (behind == ".*" || behind == ".+"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(matcher: Matcher) -> Option<String> {
        compared(&matcher).map(|expression| expression.regex)
    }

    fn sent_regex(text: &str) -> Option<String> {
        sent(Matcher::regex(text).unwrap())
    }

    #[test]
    fn what_both_dialects_share_is_sent_as_it_is() {
        for text in ["^order-", r"^[^\$].*", "a|b", r"^\$settings", "(?:a|b)c", r"^[A-Z]+\.v2$", "ä", "^a.*z$"] {
            assert_eq!(sent_regex(text).as_deref(), Some(text));
        }
        assert_eq!(sent_regex(r"^(?!\$)(?!x)order").as_deref(), Some(r"^(?!(?:\$))(?!(?:x))order"));
    }

    #[test]
    fn what_could_mean_something_else_is_matched_here() {
        for text in [
            r"\d",
            r"\pL",
            "(?i)a",
            "(?P<n>a)",
            "[a&&b]",
            "[a--b]",
            r"\x{41}",
            "[[:alpha:]]",
            r"\w",
            "^.x",
            "^[^a]x",
            "\u{1F600}",
        ] {
            assert_eq!(sent_regex(text), None, "{text}");
        }
        assert_eq!(sent_regex("^(?!a$)b"), None, "beside a look-ahead, more there is less");
        assert_eq!(sent(Matcher::Prefixes(vec![])), None);
        assert_eq!(sent(Matcher::Prefixes(vec!["$idx-ce-x".to_owned()])), None);
    }

    #[test]
    fn checkpoints_come_at_least_as_often_as_asked() {
        for every in [1, 5, 32, 33, 100, 1000, usize::MAX] {
            let FilterOption::Filter(options) = option(&EventFilter::ExcludeSystem, every) else { panic!() };
            let Some(Window::Max(window)) = options.window else { panic!() };
            let interval = u64::from(window) * u64::from(options.checkpoint_interval_multiplier);
            assert!(interval >= 1 && interval <= every as u64, "{every}: {interval}");
        }
    }
}
