//! Owns regular expressions of `match()` and `search()`: translated, bounded, compiled once.

use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

use super::ast::Operand;
use crate::limits::{PATTERN_BYTES_MAX, PATTERN_CACHE_MAX, PATTERN_COMPILED_BYTES_MAX};

/// Where the regular expression of a call comes from.
#[derive(Debug)]
pub(super) enum Pattern {
    /// A literal, compiled with the expression.
    Literal(Regex),
    /// A literal that is no text: it matches nothing.
    Never,
    /// The data itself.
    Dynamic(Box<Operand>, PatternCache),
}

impl Pattern {
    /// Whether it begins at the current node.
    pub(super) fn looks_at_current(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Never => false,
            Self::Dynamic(operand, _) => operand.looks_at_current(),
        }
    }
}

/// Whether a regular expression must fit the whole text or any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Part,
}

/// The regular expressions that the data brought lately, newest last; those that are not valid are remembered as well.
#[derive(Debug)]
pub(super) struct PatternCache {
    extent: Extent,
    entries: Mutex<Vec<(String, Option<Regex>)>>,
}

impl PatternCache {
    /// An empty cache for one call of a function.
    pub(super) fn new(extent: Extent) -> Self {
        Self { extent, entries: Mutex::new(Vec::new()) }
    }

    /// The compiled form of a pattern, or nothing when it is not valid or too large.
    pub(super) fn get(&self, pattern: &str) -> Option<Regex> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return None;
        }
        let mut entries = self.entries.lock();
        if let Some(found) = entries.iter().position(|(text, _)| text == pattern) {
            let entry = entries.remove(found);
            let compiled = entry.1.clone();
            entries.push(entry);
            return compiled;
        }
        let compiled = compile_pattern(pattern, self.extent).ok();
        if entries.len() >= PATTERN_CACHE_MAX {
            entries.remove(0);
        }
        entries.push((pattern.to_owned(), compiled.clone()));
        compiled
    }
}

/// Compiles an I-Regexp (RFC 9485); fails with the reason when it is not valid or too large.
pub(super) fn compile_pattern(pattern: &str, extent: Extent) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("it has {} bytes, at most {PATTERN_BYTES_MAX} are allowed", pattern.len()));
    }
    let translated = translate(pattern);
    // Compiled bare first: within the anchoring group, `a)(b` would pass.
    let bare = build(&translated)?;
    match extent {
        Extent::Part => Ok(bare),
        Extent::Whole => build(&format!(r"\A(?:{translated})\z")),
    }
}

fn build(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .size_limit(PATTERN_COMPILED_BYTES_MAX)
        .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
        .nest_limit(64)
        .build();
    built.map_err(|error| {
        let text = error.to_string();
        // A syntax error comes with a drawing of several lines; its last line says it in words.
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// A dot takes anything but line feed and carriage return, and inside of classes there are no set operations.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                translated.push('\\');
                translated.extend(letters.next());
            }
            '.' if !in_class => translated.push_str(r"[^\n\r]"),
            '[' if !in_class => {
                in_class = true;
                translated.push('[');
            }
            ']' if in_class => {
                in_class = false;
                translated.push(']');
            }
            '&' | '~' if in_class => {
                translated.push('\\');
                translated.push(letter);
            }
            _ => translated.push(letter),
        }
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, text: &str) -> bool {
        compile_pattern(pattern, Extent::Whole).unwrap().is_match(text)
    }

    #[test]
    fn dots_leave_out_both_line_ends_but_not_inside_classes() {
        assert!(whole("a.c", "abc") && whole("a.c", "a\u{2028}c") && whole("a.c", "a𐄁c"));
        assert!(!whole("a.c", "a\nc") && !whole("a.c", "a\rc"));
        assert!(whole("a[.b]c", "a.c") && !whole("a[.b]c", "axc"));
        assert!(whole(r"a\.c", "a.c") && !whole(r"a\.c", "abc"));
        assert!(whole(r"a\\.c", r"a\bc"));
        assert!(whole(r"a[\].]b", "a]b") && whole(r"[a&&b]", "&"));
    }

    #[test]
    fn what_does_not_stand_alone_is_refused() {
        assert!(compile_pattern("a)(b", Extent::Whole).is_err());
        assert!(compile_pattern("[", Extent::Part).is_err());
        assert!(compile_pattern("a{1000}{1000}", Extent::Part).is_err());
        assert!(compile_pattern(&"a".repeat(2000), Extent::Part).is_err());
        assert!(compile_pattern(&"(".repeat(900), Extent::Part).is_err());
    }

    #[test]
    fn the_cache_stays_small_and_remembers_failures() {
        let cache = PatternCache::new(Extent::Whole);
        for number in 0..1000 {
            assert!(cache.get(&format!("a{number}")).is_some());
            assert!(cache.get("[").is_none());
        }
        assert_eq!(cache.entries.lock().len(), PATTERN_CACHE_MAX);
    }
}
