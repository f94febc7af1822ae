//! Owns reading where something is from text: stream names, revisions, positions, expected revisions.

use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
use forebay_store::{Direction, LogPoint, StreamPoint};
use http::HeaderMap;

use crate::request::{QueryPairs, twin_header};
use crate::status::Refusal;

/// The name that stands for the whole log.
pub(crate) const ALL: &str = "$all";

/// A stream's name from the path.
pub(crate) fn stream_name(text: &str) -> Result<StreamName, Refusal> {
    if text == ALL {
        return Err(Refusal::field("stream", format!("{ALL} is the whole log: expected one stream's name")));
    }
    StreamName::new(text).map_err(|error| Refusal::field("stream", error.to_string()))
}

/// The header `ES-ExpectedVersion`; absent means any.
pub(crate) fn expected_version(headers: &HeaderMap) -> Result<ExpectedRevision, Refusal> {
    let Some(text) = twin_header(headers, "expectedversion")? else { return Ok(ExpectedRevision::Any) };
    match text.parse::<i64>() {
        Ok(-2) => Ok(ExpectedRevision::Any),
        Ok(-1) => Ok(ExpectedRevision::NoStream),
        Ok(-4) => Ok(ExpectedRevision::StreamExists),
        Ok(number) if number >= 0 => Ok(ExpectedRevision::Exact(Revision::new(number.unsigned_abs()))),
        _ => Err(Refusal::field(
            "ES-ExpectedVersion",
            format!("ES-ExpectedVersion is {text:?}: expected -2 (any), -1 (no stream), -4 (exists) or a revision"),
        )),
    }
}

/// `from` of a stream: `start`, `end` or a revision; absent is what `otherwise` says.
pub(crate) fn stream_point(query: &QueryPairs, otherwise: StreamPoint) -> Result<StreamPoint, Refusal> {
    match query.one("from") {
        None => Ok(otherwise),
        Some("start") => Ok(StreamPoint::Start),
        Some("end") => Ok(StreamPoint::End),
        Some(text) => match text.parse() {
            Ok(number) => Ok(StreamPoint::At(Revision::new(number))),
            Err(_) => Err(Refusal::field("from", format!("from is {text:?}: expected start, end or a revision"))),
        },
    }
}

/// `from` of the log: `start`, `end` or a position; absent is what `otherwise` says.
pub(crate) fn log_point(query: &QueryPairs, otherwise: LogPoint) -> Result<LogPoint, Refusal> {
    match query.one("from") {
        None => Ok(otherwise),
        Some("start") => Ok(LogPoint::Start),
        Some("end") => Ok(LogPoint::End),
        Some(text) => match position(text) {
            Some(position) => Ok(LogPoint::At(position)),
            None => Err(Refusal::field("from", format!("from is {text:?}: expected start, end or a position"))),
        },
    }
}

/// `direction`: forward unless said otherwise.
pub(crate) fn direction(query: &QueryPairs) -> Result<Direction, Refusal> {
    match query.one("direction") {
        None | Some("forward") => Ok(Direction::Forward),
        Some("backward") => Ok(Direction::Backward),
        Some(text) => Err(Refusal::field("direction", format!("direction is {text:?}: expected forward or backward"))),
    }
}

/// A position as text: its number, or commit and prepare with `/` between where they differ.
pub(crate) fn position_text(position: Position) -> String {
    if position.commit() == position.prepare() {
        position.commit().to_string()
    } else {
        format!("{}/{}", position.commit(), position.prepare())
    }
}

/// Reads a position back from its text.
pub(crate) fn position(text: &str) -> Option<Position> {
    match text.split_once('/') {
        None => text.parse().ok().map(Position::new),
        Some((commit, prepare)) => Some(Position::from_parts(commit.parse().ok()?, prepare.parse().ok()?)),
    }
}

/// A point of the log as text, in the words of `from`.
pub(crate) fn log_point_text(point: LogPoint) -> String {
    match point {
        LogPoint::Start => "start".to_owned(),
        LogPoint::End => "end".to_owned(),
        LogPoint::At(position) => position_text(position),
    }
}

/// A position as 32 hex digits, commit then prepare.
pub(crate) fn position_hex(position: Position) -> String {
    format!("{:016X}{:016X}", position.commit(), position.prepare())
}

/// Reads a position from 32 hex digits.
pub(crate) fn position_from_hex(text: &str) -> Result<Position, Refusal> {
    let read = || {
        let (commit, prepare) = (text.get(..16)?, text.get(16..32)?);
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        (text.len() == 32).then_some(Position::from_parts(number(commit)?, number(prepare)?))
    };
    read().ok_or_else(|| {
        Refusal::field("position", format!("position is {text:?}: expected 32 hex digits, commit then prepare"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_both_texts() {
        for position in [Position::new(0), Position::new(77), Position::from_parts(9, 4)] {
            assert_eq!(super::position(&position_text(position)), Some(position));
            assert_eq!(position_from_hex(&position_hex(position)).unwrap(), position);
        }
        assert!(position_from_hex("12").is_err() && position_from_hex("é".repeat(16).as_str()).is_err());
        assert_eq!(super::position("1/x"), None);
    }
}
