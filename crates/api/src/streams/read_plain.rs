//! Owns reading a page of a stream or of the whole log in the plain JSON form.

use axum::response::Response;
use forebay_event::{RecordedEvent, Revision};
use forebay_store::{
    Direction, EventFilter, FilterSubject, LogPoint, Matcher, PageLimit, ReadAll, ReadStream, StreamPoint,
};

use super::event_json::write_event;
use super::point::{ALL, direction, log_point, log_point_text, stream_name, stream_point};
use super::state::CallersStreams;
use crate::request::{QueryPairs, UrlPath};
use crate::status::{self, Refusal};

/// A page holds so many events unless asked otherwise.
const LIMIT_DEFAULT: u64 = 100;
/// A page holds at most so many events.
const LIMIT_MAX: u64 = 4096;

/// Reads a page.
pub(super) async fn read(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    if name == ALL { read_log(&api, &query).await } else { read_stream(&api, &name, &query).await }
}

async fn read_stream(api: &CallersStreams, name: &str, query: &QueryPairs) -> Result<Response, Refusal> {
    query.only(&["from", "direction", "limit"])?;
    let direction = direction(query)?;
    let otherwise = if direction == Direction::Forward { StreamPoint::Start } else { StreamPoint::End };
    let read = ReadStream {
        stream: stream_name(name)?,
        direction,
        from: stream_point(query, otherwise)?,
        limit: limit(query)?,
    };
    let page = api.store.read_stream(read).await?;
    let mut out = write_events(&page.events);
    let next = page.next.map_or_else(|| "null".to_owned(), |revision: Revision| revision.to_string());
    out.extend_from_slice(format!(",\"next\":{next},\"lastRevision\":{}}}", page.last_revision).as_bytes());
    Ok(status::bytes("application/json", out))
}

async fn read_log(api: &CallersStreams, query: &QueryPairs) -> Result<Response, Refusal> {
    query.only(&["from", "direction", "limit", "streamPrefix", "typePrefix", "excludeSystem"])?;
    let direction = direction(query)?;
    let otherwise = if direction == Direction::Forward { LogPoint::Start } else { LogPoint::End };
    let wanted = Wanted::read(query)?;
    let read = ReadAll { direction, from: log_point(query, otherwise)?, limit: limit(query)?, filter: wanted.pushed() };
    let page = api.store.read_all(read).await?;
    let events: Vec<_> = page.events.into_iter().filter(|event| wanted.fits(event)).collect();
    let mut out = write_events(&events);
    let next = log_point_text(page.next);
    out.extend_from_slice(format!(",\"next\":\"{next}\",\"atEnd\":{}}}", page.at_end).as_bytes());
    Ok(status::bytes("application/json", out))
}

fn write_events(events: &[RecordedEvent]) -> Vec<u8> {
    let mut out = b"{\"events\":[".to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_event(&mut out, event);
    }
    out.push(b']');
    out
}

fn limit(query: &QueryPairs) -> Result<PageLimit, Refusal> {
    let limit = query.number("limit")?.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::field("limit", format!("limit is {limit}: expected a number from 1 to {LIMIT_MAX}")));
    }
    Ok(PageLimit::events(usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Which events of the log a caller wants: every condition given must hold.
pub(super) struct Wanted {
    stream_prefixes: Vec<String>,
    type_prefixes: Vec<String>,
    exclude_system: bool,
}

impl Wanted {
    /// Reads `streamPrefix`, `typePrefix` (each may be repeated) and `excludeSystem`.
    pub(super) fn read(query: &QueryPairs) -> Result<Self, Refusal> {
        Ok(Self {
            stream_prefixes: query.all("streamPrefix"),
            type_prefixes: query.all("typePrefix"),
            exclude_system: query.flag("excludeSystem")?,
        })
    }

    /// The one condition that the store applies while it reads: the most telling one.
    pub(super) fn pushed(&self) -> EventFilter {
        let prefixes =
            |subject, prefixes: &Vec<String>| EventFilter::Where(subject, Matcher::Prefixes(prefixes.clone()));
        if !self.stream_prefixes.is_empty() {
            prefixes(FilterSubject::Stream, &self.stream_prefixes)
        } else if !self.type_prefixes.is_empty() {
            prefixes(FilterSubject::EventType, &self.type_prefixes)
        } else if self.exclude_system {
            EventFilter::ExcludeSystem
        } else {
            EventFilter::All
        }
    }

    /// Whether an event that the store let pass meets the other conditions.
    pub(super) fn fits(&self, event: &RecordedEvent) -> bool {
        let any = |prefixes: &[String], text: &str| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))
        };
        any(&self.stream_prefixes, event.stream())
            && any(&self.type_prefixes, event.event_type())
            && !(self.exclude_system && event.is_system())
    }
}
