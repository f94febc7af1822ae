//! Owns reading a stream as a JSON feed, and one event of it.

use std::time::Duration;

use axum::response::Response;
use forebay_event::{RecordedEvent, Revision};
use forebay_store::{Direction, PageLimit, ReadStream, StreamPage, StreamPoint};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use serde_json::{Value, json};

use super::append::{base, escaped};
use super::entry::{AUTHOR, Embed, Media, entry};
use super::feed_all;
use super::links::Shown;
use super::long_poll;
use super::point::{ALL, stream_name};
use super::state::CallersStreams;
use crate::request::{QueryPairs, UrlPath, header_text, twin_flag, twin_header};
use crate::status::{self, Refusal};

/// A page of a feed holds so many entries unless asked otherwise.
pub(super) const PAGE_EVENTS: usize = 20;
/// A page of a feed holds at most so many entries.
const PAGE_EVENTS_MAX: usize = 4096;
/// A full page in the past never changes.
const CACHE_PAST: &str = "max-age=31536000, public";
/// The newest page may change at any time.
const CACHE_HEAD: &str = "max-age=0, no-cache, must-revalidate";

/// What a caller of a feed wants of it, besides which page.
pub(super) struct FeedRequest {
    pub(super) base: String,
    pub(super) media: Media,
    pub(super) embed: Embed,
    /// Whether links are shown as what they point to.
    follows_links: bool,
    /// For how long the caller will wait for news.
    pub(super) patience: Option<Duration>,
    if_none_match: String,
}

impl FeedRequest {
    /// Reads the headers and the query.
    pub(super) fn read(uri: &Uri, headers: &HeaderMap, query: &QueryPairs) -> Result<Self, Refusal> {
        Ok(Self {
            base: base(uri, headers),
            media: Media::choose(headers)?,
            embed: Embed::read(query, Embed::None)?,
            follows_links: follows_links(headers)?,
            patience: long_poll::patience(headers)?,
            if_none_match: header_text(headers, header::IF_NONE_MATCH).to_owned(),
        })
    }

    /// The tag of a page whose content is decided by one number.
    pub(super) fn tag(&self, version: &str) -> String {
        format!("\"{version};{}{}{}\"", self.media as u8, self.embed as u8, u8::from(self.follows_links))
    }

    /// Whether the caller has the page of this tag already.
    pub(super) fn holds(&self, tag: &str) -> bool {
        self.if_none_match.split(',').any(|held| held.trim() == tag)
    }

    /// The events as they are shown: links are followed unless the caller wants them as they are.
    pub(super) async fn show(&self, api: &CallersStreams, events: &[RecordedEvent]) -> Result<Vec<Shown>, Refusal> {
        let mut shown = Vec::with_capacity(events.len());
        for event in events {
            let event = event.clone();
            shown.push(if self.follows_links { Shown::follow(&api.store, event).await? } else { Shown::plain(event) });
        }
        Ok(shown)
    }

    /// Answers a feed, or that the caller's copy is still right.
    pub(super) fn answer(&self, feed: &Value, tag: &str, past: bool) -> Response {
        let mut response = if self.holds(tag) {
            status::not_modified()
        } else {
            status::bytes(self.media.content_type(), feed.to_string())
        };
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::ETAG, tag);
        set(header::CACHE_CONTROL, if past { CACHE_PAST } else { CACHE_HEAD });
        response
    }
}

/// The newest page.
pub(super) async fn newest(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    uri: Uri,
    headers: HeaderMap,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let request = FeedRequest::read(&uri, &headers, &query)?;
    if name == ALL {
        return feed_all::newest(&api, &request, PAGE_EVENTS).await;
    }
    page(&api, &request, &name, (StreamPoint::End, Direction::Backward, PAGE_EVENTS)).await
}

/// A page that descends from an event.
pub(super) async fn backward(
    api: CallersStreams,
    UrlPath((name, from, count)): UrlPath<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let request = FeedRequest::read(&uri, &headers, &query)?;
    let count = page_size(&count)?;
    if name == ALL {
        return feed_all::backward(&api, &request, &from, count).await;
    }
    let from = if from == "head" { StreamPoint::End } else { StreamPoint::At(revision(&from)?) };
    page(&api, &request, &name, (from, Direction::Backward, count)).await
}

/// A page that ascends from an event; its entries are listed newest first all the same.
pub(super) async fn forward(
    api: CallersStreams,
    UrlPath((name, from, count)): UrlPath<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let request = FeedRequest::read(&uri, &headers, &query)?;
    let count = page_size(&count)?;
    if name == ALL {
        return feed_all::forward(&api, &request, &from, count).await;
    }
    page(&api, &request, &name, (StreamPoint::At(revision(&from)?), Direction::Forward, count)).await
}

/// One event: its data alone as `application/json`, else its entry.
pub(super) async fn event(
    api: CallersStreams,
    UrlPath((name, number)): UrlPath<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let media = Media::choose(&headers)?;
    let embed = Embed::read(&query, Embed::Content)?;
    let wanted = if number == "head" { None } else { Some(revision(&number)?) };
    let (direction, from) = match wanted {
        None => (Direction::Backward, StreamPoint::End),
        Some(revision) => (Direction::Forward, StreamPoint::At(revision)),
    };
    let read = ReadStream { stream: stream_name(&name)?, direction, from, limit: PageLimit::events(1) };
    let page = api.store.read_stream(read).await?;
    let found = page.events.first().filter(|event| wanted.is_none_or(|wanted| event.revision() == wanted));
    let event = found.ok_or_else(|| Refusal::not_found(format!("stream {name} has no event {number}")))?.clone();
    let shown = if follows_links(&headers)? { Shown::follow(&api.store, event).await? } else { Shown::plain(event) };
    if media == Media::Json {
        return Ok(status::bytes(shown.event.content_type().media_type(), shown.event.data()));
    }
    Ok(status::bytes(media.content_type(), entry(&shown, &base(&uri, &headers), embed).to_string()))
}

async fn page(
    api: &CallersStreams,
    request: &FeedRequest,
    name: &str,
    (from, direction, count): (StreamPoint, Direction, usize),
) -> Result<Response, Refusal> {
    let stream = stream_name(name)?;
    let asked = match from {
        StreamPoint::At(revision) => Some(revision),
        StreamPoint::Start | StreamPoint::End => None,
    };
    let read = ReadStream { stream: stream.clone(), direction, from, limit: PageLimit::events(count) };
    let mut page = api.store.read_stream(read.clone()).await?;
    if let Some(patience) = request.patience {
        let known = match asked {
            None => request.holds(&request.tag(&page.last_revision.to_string())),
            Some(_) => direction == Direction::Forward && page.events.is_empty(),
        };
        if known {
            long_poll::for_stream(api, &stream, page.last_revision, patience).await?;
            page = api.store.read_stream(read).await?;
        }
    }
    if direction == Direction::Forward {
        page.events.reverse();
    }
    let at_head = page.events.first().is_none_or(|newest| newest.revision() >= page.last_revision);
    let past = asked.is_some() && page.events.len() == count;
    let version =
        asked.map_or_else(|| page.last_revision.to_string(), |asked| format!("{asked}-{}", page.last_revision));
    let tag = request.tag(&version);
    let shown = request.show(api, &page.events).await?;
    let mut feed = feed(request, name, &shown, (&tag, at_head));
    let links = links(request, name, &page, (asked.unwrap_or(page.last_revision), count));
    if let Some(object) = feed.as_object_mut() {
        object.insert("links".to_owned(), links);
    }
    Ok(request.answer(&feed, &tag, past))
}

/// A feed without its links.
pub(super) fn feed(request: &FeedRequest, name: &str, newest_first: &[Shown], (tag, at_head): (&str, bool)) -> Value {
    let uri = format!("{}/streams/{}", request.base, escaped(name));
    let entries: Vec<_> = newest_first.iter().map(|shown| entry(shown, &request.base, request.embed)).collect();
    json!({
        "title": format!("Event stream '{name}'"),
        "id": uri,
        "updated": newest_first.first().map(|shown| shown.event.created().to_string()),
        "streamId": name,
        "author": { "name": AUTHOR },
        "headOfStream": at_head,
        "selfUrl": uri,
        "eTag": tag.trim_matches('"'),
        "entries": entries,
    })
}

fn links(request: &FeedRequest, name: &str, page: &StreamPage, (asked, count): (Revision, usize)) -> Value {
    let uri = format!("{}/streams/{}", request.base, escaped(name));
    let oldest = page.events.last().map_or(asked.get(), |event| event.revision().get());
    let newest = page.events.first().map(|event| event.revision().get());
    let mut links = vec![
        json!({ "uri": uri, "relation": "self" }),
        json!({ "uri": format!("{uri}/head/backward/{count}"), "relation": "first" }),
    ];
    if oldest > 0 {
        links.push(json!({ "uri": format!("{uri}/0/forward/{count}"), "relation": "last" }));
        links.push(json!({ "uri": format!("{uri}/{}/backward/{count}", oldest - 1), "relation": "next" }));
    }
    let newer = newest.map_or(asked.get(), |newest| newest + 1);
    links.push(json!({ "uri": format!("{uri}/{newer}/forward/{count}"), "relation": "previous" }));
    links.push(json!({ "uri": format!("{uri}/metadata"), "relation": "metadata" }));
    Value::Array(links)
}

/// The header `ES-ResolveLinkTos`: links are followed unless it says false.
fn follows_links(headers: &HeaderMap) -> Result<bool, Refusal> {
    Ok(twin_header(headers, "resolvelinktos")?.is_none() || twin_flag(headers, "resolvelinktos")?)
}

fn revision(text: &str) -> Result<Revision, Refusal> {
    let number = text.parse().map(Revision::new);
    number.map_err(|_| Refusal::field("revision", format!("revision is {text:?}: expected a number or head")))
}

fn page_size(text: &str) -> Result<usize, Refusal> {
    let size = text.parse().ok().filter(|size| (1..=PAGE_EVENTS_MAX).contains(size));
    size.ok_or_else(|| {
        Refusal::field("count", format!("count is {text:?}: expected a number from 1 to {PAGE_EVENTS_MAX}"))
    })
}
