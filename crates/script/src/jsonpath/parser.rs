//! Owns the grammar: text to a checked query, by recursive descent; what stands behind `?` is in the file beside.

use serde_json::{Number, Value};

use super::ast::{Anchor, Filter, Query, Segment, Selector, Slice};
use super::error::{JsonPathError, Problem};
use crate::limits::{EXPRESSION_BYTES_MAX, NESTING_MAX, SEGMENTS_MAX};

/// The largest integer that every JSON implementation can exchange.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// How many characters of the expression an error shows.
const EXCERPT_CHARS: usize = 24;

/// Parses a whole expression.
pub(super) fn parse(text: &str) -> Result<Query, JsonPathError> {
    let mut parser = Parser { text, at: 0, depth: 0, segments: 0 };
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(parser.error(Problem::TooLong { bytes: text.len(), bytes_max: EXPRESSION_BYTES_MAX }));
    }
    if !parser.eat("$") {
        return Err(parser.expected("`$` at the beginning"));
    }
    let segments = parser.segments()?;
    if parser.at < text.len() {
        return Err(parser.expected("`.`, `[` or the end"));
    }
    Ok(Query { anchor: Anchor::Root, segments })
}

pub(super) type Parsed<T> = Result<T, JsonPathError>;

pub(super) struct Parser<'t> {
    text: &'t str,
    /// The byte to be read next, always at a character's boundary.
    pub(super) at: usize,
    depth: usize,
    segments: usize,
}

impl Parser<'_> {
    pub(super) fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    pub(super) fn eat_after_blanks(&mut self, token: &str) -> bool {
        self.blanks();
        self.eat(token)
    }

    fn error(&self, problem: Problem) -> JsonPathError {
        self.error_at(self.at, problem)
    }

    pub(super) fn error_at(&self, at: usize, problem: Problem) -> JsonPathError {
        let excerpt = self.text.get(at..).unwrap_or_default().chars().take(EXCERPT_CHARS).collect();
        JsonPathError { at, excerpt, problem }
    }

    pub(super) fn expected(&self, what: &'static str) -> JsonPathError {
        self.error(Problem::Expected(what))
    }

    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= NESTING_MAX {
            return Err(self.error(Problem::TooDeep { depth_max: NESTING_MAX }));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    // Segments and selectors.

    pub(super) fn segments(&mut self) -> Parsed<Vec<Segment>> {
        let mut segments = Vec::new();
        loop {
            let before = self.at;
            self.blanks();
            let Some(segment) = self.segment()? else {
                // Blanks belong to a query only when a segment follows.
                self.at = before;
                return Ok(segments);
            };
            self.segments += 1;
            if self.segments > SEGMENTS_MAX {
                return Err(self.error_at(before, Problem::TooManySegments { segments_max: SEGMENTS_MAX }));
            }
            segments.push(segment);
        }
    }

    fn segment(&mut self) -> Parsed<Option<Segment>> {
        if self.eat("..") {
            let selectors = match self.peek() {
                Some('[') => self.bracketed()?,
                _ => vec![self.shorthand("a name, `*` or `[` after `..`")?],
            };
            return Ok(Some(Segment { descendants: true, selectors }));
        }
        let selectors = match self.peek() {
            Some('[') => self.bracketed()?,
            Some('.') => {
                self.at += 1;
                vec![self.shorthand("a name or `*` after `.`")?]
            }
            _ => return Ok(None),
        };
        Ok(Some(Segment { descendants: false, selectors }))
    }

    fn shorthand(&mut self, what: &'static str) -> Parsed<Selector> {
        if self.eat("*") {
            return Ok(Selector::Wildcard);
        }
        let is_first = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii();
        if !self.peek().is_some_and(is_first) {
            return Err(self.expected(what));
        }
        let rest = self.rest();
        let end = rest.find(|letter: char| !is_first(letter) && !letter.is_ascii_digit()).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        Ok(Selector::Name(name))
    }

    fn bracketed(&mut self) -> Parsed<Vec<Selector>> {
        self.at += 1;
        let mut selectors = Vec::new();
        loop {
            self.blanks();
            selectors.push(self.selector()?);
            if self.eat_after_blanks("]") {
                return Ok(selectors);
            }
            if !self.eat(",") {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn selector(&mut self) -> Parsed<Selector> {
        match self.peek() {
            Some('\'' | '"') => Ok(Selector::Name(self.string()?)),
            Some('*') => {
                self.at += 1;
                Ok(Selector::Wildcard)
            }
            Some('?') => {
                self.at += 1;
                self.deeper(|parser| {
                    parser.blanks();
                    let test = parser.any()?;
                    let looks_at_current = test.looks_at_current();
                    Ok(Selector::Filter(Filter { test, looks_at_current }))
                })
            }
            Some(':' | '-' | '0'..='9') => self.index_or_slice(),
            _ => Err(self.expected("a quoted name, an index, a slice, `*` or `?`")),
        }
    }

    fn index_or_slice(&mut self) -> Parsed<Selector> {
        let start = self.optional_integer()?;
        let before = self.at;
        if !self.eat_after_blanks(":") {
            self.at = before;
            return start.map(Selector::Index).ok_or_else(|| self.expected("an index"));
        }
        self.blanks();
        let end = self.optional_integer()?;
        let before = self.at;
        let mut step = None;
        if self.eat_after_blanks(":") {
            let before = self.at;
            self.blanks();
            step = self.optional_integer()?;
            if step.is_none() {
                self.at = before;
            }
        } else {
            self.at = before;
        }
        Ok(Selector::Slice(Slice { start, end, step: step.unwrap_or(1) }))
    }

    fn optional_integer(&mut self) -> Parsed<Option<i64>> {
        match self.peek() {
            Some('-' | '0'..='9') => self.integer().map(Some),
            _ => Ok(None),
        }
    }

    fn integer(&mut self) -> Parsed<i64> {
        let start = self.at;
        let negative = self.eat("-");
        let digits = self.digits();
        if digits == 0 {
            return Err(self.expected("a digit"));
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if digits > 1 && text.trim_start_matches('-').starts_with('0') {
            return Err(self.error_at(start, Problem::Expected("an integer without leading zeros")));
        }
        if negative && text == "-0" {
            return Err(self.error_at(start, Problem::Expected("an integer other than -0")));
        }
        match text.parse::<i64>() {
            Ok(number) if number.abs() <= INTEGER_MAX => Ok(number),
            _ => Err(self.error_at(start, Problem::NumberRange)),
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some('0'..='9')) {
            self.at += 1;
        }
        self.at - start
    }

    // Literals.

    pub(super) fn string(&mut self) -> Parsed<String> {
        let Some(quote) = self.next() else {
            return Err(self.expected("a quoted text"));
        };
        let mut text = String::new();
        loop {
            let start = self.at;
            match self.next() {
                None => return Err(self.expected("the closing quote")),
                Some(letter) if letter == quote => return Ok(text),
                Some('\\') => text.push(self.escape(start, quote)?),
                Some(letter) if letter < ' ' => {
                    return Err(self.error_at(start, Problem::Expected("control characters to be escaped")));
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    fn escape(&mut self, start: usize, quote: char) -> Parsed<char> {
        match self.next() {
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => self.unicode_escape(start),
            Some(letter) if letter == quote || letter == '/' || letter == '\\' => Ok(letter),
            _ => Err(self.error_at(
                start,
                Problem::Expected("one of the escapes \\b \\f \\n \\r \\t \\/ \\\\ \\uXXXX, or this quote"),
            )),
        }
    }

    fn unicode_escape(&mut self, start: usize) -> Parsed<char> {
        let first = self.hex4(start)?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !self.eat("\\u") {
                    return Err(self.error_at(start, Problem::LoneSurrogate));
                }
                let second = self.hex4(start)?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.error_at(start, Problem::LoneSurrogate));
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.error_at(start, Problem::LoneSurrogate))
    }

    fn hex4(&mut self, start: usize) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|letter| letter.to_digit(16));
            let Some(digit) = digit else {
                return Err(self.error_at(start, Problem::Expected("four hexadecimal digits")));
            };
            code = code * 16 + digit;
        }
        Ok(code)
    }

    pub(super) fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        self.eat("-");
        let whole = self.at;
        let digits = self.digits();
        if digits == 0 {
            return Err(self.expected("a digit"));
        }
        if digits > 1 && self.text.get(whole..).is_some_and(|text| text.starts_with('0')) {
            return Err(self.error_at(start, Problem::Expected("a number without leading zeros")));
        }
        let mut is_integer = true;
        if self.eat(".") {
            is_integer = false;
            if self.digits() == 0 {
                return Err(self.expected("a digit after the decimal point"));
            }
        }
        if self.eat("e") || self.eat("E") {
            is_integer = false;
            if !self.eat("-") {
                self.eat("+");
            }
            if self.digits() == 0 {
                return Err(self.expected("a digit in the exponent"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let number = match text.parse::<i64>() {
            Ok(number) if is_integer => (number.abs() <= INTEGER_MAX).then(|| Number::from(number)),
            Err(_) if is_integer => None,
            _ => text.parse::<f64>().ok().and_then(Number::from_f64),
        };
        number.map(Value::Number).ok_or_else(|| self.error_at(start, Problem::NumberRange))
    }
}
