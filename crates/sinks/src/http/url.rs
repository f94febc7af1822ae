//! Owns the URL's template: what stands for the event's type, stream and category.

use std::fmt::Write;

use ::http::Uri;
use forebay_connector::http::{InvalidOrigin, Origin};
use forebay_connector::{Failure, FailureClass};
use forebay_event::Record;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// Everything but the characters that no URL encodes.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What may stand in a URL.
const PLACEHOLDERS: [(&str, Part); 4] = [
    ("{schema-subject}", Part::Subject),
    ("{event-type}", Part::EventType),
    ("{stream}", Part::Stream),
    ("{category}", Part::Category),
];

/// Stands for placeholders while the rest is parsed; no URL parser touches it.
const MARK: &str = "f0rebay-pl4ce-";

/// Where requests go.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) origin: Origin,
    path: Path,
}

#[derive(Debug)]
enum Path {
    Fixed(Uri),
    Template(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Subject,
    EventType,
    Stream,
    Category,
}

/// A URL that requests cannot go to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidTarget {
    #[error("a URL such as https://example.com/events")]
    Url,
    #[error("an http or https URL with a host: {0}")]
    Origin(#[from] InvalidOrigin),
    #[error("no placeholder before the path")]
    PlaceholderInHost,
    #[error("one of {{schema-subject}}, {{event-type}}, {{stream}}, {{category}} between braces")]
    UnknownPlaceholder,
    #[error("no user name or password in the URL (settings authentication:basic:*)")]
    Credentials,
}

impl Target {
    pub(super) fn parse(template: &str) -> Result<Self, InvalidTarget> {
        let template = template.trim();
        let authority_start = template.find("://").map_or(0, |at| at + 3);
        let after = template.get(authority_start..).unwrap_or_default();
        let path_start = authority_start + after.find(['/', '?', '#']).unwrap_or(after.len());
        let (before, rest) = template.split_at_checked(path_start).ok_or(InvalidTarget::Url)?;
        if before.contains(['{', '}']) {
            return Err(InvalidTarget::PlaceholderInHost);
        }
        let mut marked = rest.to_owned();
        for (index, (name, _)) in PLACEHOLDERS.iter().enumerate() {
            marked = marked.replace(name, &format!("{MARK}{index}-"));
        }
        if marked.contains(['{', '}']) {
            return Err(InvalidTarget::UnknownPlaceholder);
        }
        let url = Url::parse(&format!("{before}{marked}")).map_err(|_| InvalidTarget::Url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidTarget::Credentials);
        }
        let origin = Origin::of(&url)?;
        let text = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let parts = split(&text);
        let path = match parts.as_slice() {
            [Part::Literal(only)] => Path::Fixed(only.parse().map_err(|_| InvalidTarget::Url)?),
            _ => Path::Template(parts),
        };
        Ok(Self { origin, path })
    }

    pub(super) fn has_placeholders(&self) -> bool {
        matches!(self.path, Path::Template(_))
    }

    /// Path and query of a record's request.
    pub(super) fn uri(&self, record: &Record) -> Result<Uri, Failure> {
        let parts = match &self.path {
            Path::Fixed(uri) => return Ok(uri.clone()),
            Path::Template(parts) => parts,
        };
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Subject => push_segment(&mut text, &kebab_case(record.subject()))?,
                Part::EventType => push_segment(&mut text, &kebab_case(record.event().event_type()))?,
                Part::Stream => push_segment(&mut text, record.event().stream())?,
                Part::Category => push_segment(&mut text, category(record.event().stream()))?,
            }
        }
        let length = text.len();
        Uri::try_from(text).map_err(|_| {
            let reason = format!("the URL for this record is not valid (its path has {length} bytes)");
            Failure::reject(FailureClass::Malformed, reason)
        })
    }
}

fn split(text: &str) -> Vec<Part> {
    let mut pieces = text.split(MARK);
    let mut parts: Vec<Part> = pieces.next().map(|first| Part::Literal(first.to_owned())).into_iter().collect();
    for piece in pieces {
        let placeholder = piece.split_once('-').and_then(|(index, rest)| {
            PLACEHOLDERS.get(index.parse::<usize>().ok()?).map(|(_, part)| (part.clone(), rest))
        });
        match placeholder {
            Some((part, rest)) => parts.extend([part, Part::Literal(rest.to_owned())]),
            None => parts.push(Part::Literal(format!("{MARK}{piece}"))),
        }
    }
    parts
}

/// Adds a value as one path segment. Dots alone would lead to another place, and no encoding hides them from a server.
fn push_segment(text: &mut String, value: &str) -> Result<(), Failure> {
    if value == "." || value == ".." {
        let reason = format!("{value} cannot stand in a URL's path");
        return Err(Failure::reject(FailureClass::Malformed, reason));
    }
    // Writing to text cannot fail.
    let _ = write!(text, "{}", utf8_percent_encode(value, SEGMENT));
    Ok(())
}

fn category(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

/// `OrderPlaced` becomes `order-placed`, `HTTPServer` becomes `http-server`.
fn kebab_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::with_capacity(name.len() + 4);
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| letters.get(at));
        let after = letters.get(index + 1);
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if starts_word {
            text.push('-');
        }
        if matches!(letter, '_' | ' ') {
            text.push('-');
        } else {
            text.extend(letter.to_lowercase());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::testing::samples::sample_record;
    use forebay_event::Reshape;

    fn path(template: &str, subject: &str) -> Result<String, Failure> {
        let reshape = Reshape { subject: Some(subject.to_owned()), ..Reshape::default() };
        Target::parse(template).unwrap().uri(&sample_record(1).reshaped(reshape)).map(|uri| uri.to_string())
    }

    #[test]
    fn placeholders_become_one_segment_each() {
        assert_eq!(path("http://h/a/{schema-subject}?s={stream}", "TestEvent").unwrap(), "/a/test-event?s=order-1");
        assert_eq!(path("http://h/{category}/{event-type}", "x").unwrap(), "/order/order-placed");
        assert_eq!(path("http://h/{schema-subject}", "a/b ?#ü%").unwrap(), "/a%2Fb-%3F%23%C3%BC%25");
        assert_eq!(path("http://h/x/../y", "x").unwrap(), "/y");
        assert_eq!(path("http://h", "x").unwrap(), "/");
        assert_eq!(path("http://h/{schema-subject}", "..").unwrap_err().class, FailureClass::Malformed);
    }

    #[test]
    fn names_become_lower_case_words() {
        for (name, kebab) in
            [("TestEvent", "test-event"), ("HTTPServer", "http-server"), ("a1B", "a1-b"), ("$x", "$x"), ("A_b", "a-b")]
        {
            assert_eq!(kebab_case(name), kebab);
        }
    }

    #[test]
    fn wrong_urls_are_refused() {
        let wrong = |text: &str| Target::parse(text).unwrap_err();
        assert_eq!(wrong("http://{stream}/x"), InvalidTarget::PlaceholderInHost);
        assert_eq!(wrong("{stream}"), InvalidTarget::PlaceholderInHost);
        assert_eq!(wrong("http://h/{streams}"), InvalidTarget::UnknownPlaceholder);
        assert_eq!(wrong("http://u:p@h/"), InvalidTarget::Credentials);
        assert_eq!(wrong("/x"), InvalidTarget::Url);
        assert!(matches!(wrong("ftp://h/"), InvalidTarget::Origin(_)));
    }
}
