//! Owns the table of routes of streams.

use axum::routing::{delete, get, post};
use forebay_access::Need;

use super::state::StreamsApi;
use super::{append, append_plain, feed, metadata, read_plain, remove, subscribe};
use crate::routes::{Answer, Parameter, Route, RouteDoc, Verb};

const TAG: &str = "streams";
const FEED_JSON: &str = "application/vnd.eventstore.atom+json";
const EXPECTED: Parameter = (
    "ES-ExpectedVersion",
    "integer",
    "Condition on the stream: -2 any (default), -1 no stream, -4 exists, otherwise the revision of its last event. \
     Also as Kurrent-ExpectedVersion.",
);
const EMBED: Parameter =
    ("embed", "string", "How much of each event is shown: none (default of feeds), content, rich or body.");
const RESOLVE: Parameter = (
    "ES-ResolveLinkTos",
    "boolean",
    "Whether links are shown as the events they point to; true unless said otherwise. Also as Kurrent-ResolveLinkTos.",
);
const LONG_POLL: Parameter = (
    "ES-LongPoll",
    "integer",
    "Waits so many seconds, 60 at most, when there is nothing new: on the newest page with the tag of If-None-Match, and \
     on an ascending page without events. Also as Kurrent-LongPoll.",
);
const FEED: Answer = (200, FEED_JSON, "Feed", "A page of the feed, newest entry first.");
const UNCHANGED: Answer = (304, "", "", "The page has the tag given with If-None-Match.");
const MISSING: Answer = (404, "application/json", "Status", "There is no such stream or event, or it was deleted.");
const GONE: Answer = (410, "application/json", "Status", "The stream was deleted for good.");
const FORMS_WRONG: Answer = (406, "application/json", "Status", "Only JSON is offered; feeds in XML are not.");
const WRONG_VERSION: Answer = (
    400,
    "application/json",
    "Status",
    "The request is wrong, or the stream is at another revision: the latter with headers ES-CurrentVersion and \
     Kurrent-CurrentVersion.",
);
const TOO_LARGE: Answer = (413, "application/json", "Status", "The body or an event is larger than the limit.");
const UNAVAILABLE: Answer = (503, "application/json", "Status", "The store cannot answer now.");

const fn doc(verb: Verb, path: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(verb, path, summary).tag(TAG).needs(Need::Streams)
}

/// Routes of streams.
pub(crate) const ROUTES: &[Route<StreamsApi>] = &[
    Route {
        doc: doc(Verb::Post, "/streams/{stream}", "Appends one event, or an array of events, as curl sends them")
            .notes(
                "The media type decides the form: an array of {eventId, eventType, data, metadata}, or one event whose \
                 type stands in ES-EventType. An event without an id is appended under a fresh one: give an id to make \
                 a repeated request harmless. Every ES- header is also known under Kurrent-. A text in data or metadata \
                 that itself holds a JSON object or array counts as that.",
            )
            .headers(&[
                ("ES-EventType", "string", "Type of the one event in the body."),
                ("ES-EventId", "string", "UUID of the one event in the body; a fresh one when absent."),
                EXPECTED,
            ])
            .body(&[
                ("application/vnd.eventstore.events+json", "EventArray", "Events in order, appended all or none."),
                ("application/vnd.kurrent.events+json", "EventArray", "The same."),
                ("application/json", "Any", "The data of one event."),
                ("application/octet-stream", "Binary", "The data of one event."),
            ])
            .answers(&[
                (201, "", "", "Appended and durable; Location names the first event."),
                WRONG_VERSION,
                GONE,
                TOO_LARGE,
                (415, "application/json", "Status", "The media type is not one of these."),
                UNAVAILABLE,
            ]),
        handler: || post(append::append),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}", "Reads the newest page of a stream, or of $all, as a feed")
            .notes("The newest 20 events, newest first. Links lead to older (next) and newer (previous) pages.")
            .query(&[EMBED])
            .headers(&[RESOLVE, LONG_POLL])
            .answers(&[FEED, UNCHANGED, MISSING, FORMS_WRONG, GONE, UNAVAILABLE]),
        handler: || get(feed::newest),
    },
    Route {
        doc: doc(Verb::Delete, "/streams/{stream}", "Deletes a stream")
            .notes(
                "Softly: its events are no longer read and a later append continues its numbers. With ES-HardDelete \
                 the name can never be used again.",
            )
            .headers(&[("ES-HardDelete", "boolean", "Deletes for good. Also as Kurrent-HardDelete."), EXPECTED])
            .answers(&[(204, "", "", "Deleted."), WRONG_VERSION, GONE, UNAVAILABLE]),
        handler: || delete(remove::remove),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}/metadata", "Reads a stream's metadata")
            .answers(&[(200, "application/json", "Object", "The metadata; empty when none was written."), GONE]),
        handler: || get(metadata::get),
    },
    Route {
        doc: doc(Verb::Post, "/streams/{stream}/metadata", "Replaces a stream's metadata")
            .notes("Keys the store obeys: $maxCount, $maxAge (seconds), $tb (truncate before). All others are kept.")
            .headers(&[EXPECTED])
            .body(&[
                ("application/json", "Object", "The metadata."),
                ("application/vnd.eventstore.events+json", "EventArray", "Exactly one event whose data is the metadata."),
            ])
            .answers(&[(201, "", "", "Written and durable."), WRONG_VERSION, GONE, UNAVAILABLE]),
        handler: || post(metadata::set),
    },
    Route {
        doc: doc(Verb::Post, "/streams/{stream}/events", "Appends events in the plain JSON form")
            .notes(
                "Answered when the events are durable. Repeating the request with the same event ids writes nothing \
                 twice; an event without an id gets a fresh one.",
            )
            .body(&[("application/json", "Append", "The condition and the events, appended all or none.")])
            .answers(&[
                (200, "application/json", "Appended", "Appended and durable."),
                WRONG_VERSION,
                GONE,
                TOO_LARGE,
                UNAVAILABLE,
            ]),
        handler: || post(append_plain::append),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}/events", "Reads events in the plain JSON form")
            .notes(
                "Of one stream, or of the whole log with $all. Reads include the event at `from`, but for a backward \
                 read of $all, which begins before it. `next` is where the next page begins; for a stream it is null at \
                 the end, for $all see `atEnd`. Filters are for $all only and all of them must hold.",
            )
            .query(&[
                ("from", "string", "start, end, or a revision (of $all: a position). Default: start, backward: end."),
                ("direction", "string", "forward (default) or backward."),
                ("limit", "integer", "At most so many events, 1 to 4096; default 100."),
                ("streamPrefix", "string", "Only streams whose name begins so; may be repeated. $all only."),
                ("typePrefix", "string", "Only events whose type begins so; may be repeated. $all only."),
                ("excludeSystem", "boolean", "Leaves out events whose type begins with $. $all only."),
            ])
            .answers(&[(200, "application/json", "Page", "A page of events."), MISSING, GONE, UNAVAILABLE]),
        handler: || get(read_plain::read),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}/subscribe", "Follows a stream, or the whole log with $all")
            .notes(
                "One event per line, in the plain JSON form; {\"caughtUp\":{\"position\":…}} when history is finished; \
                 an empty line after 15 s of silence; {\"error\":{\"message\":…}} as the last line when it cannot go on. \
                 Begins behind `from`. Read at the client's speed; ends when the server stops.",
            )
            .query(&[
                ("from", "string", "start (default), end, or a revision (of $all: a position) to begin behind."),
                ("streamPrefix", "string", "As for reading. $all only."),
                ("typePrefix", "string", "As for reading. $all only."),
                ("excludeSystem", "boolean", "As for reading. $all only."),
            ])
            .answers(&[
                (200, "application/x-ndjson", "Event", "Lines without end."),
                GONE,
                (429, "application/json", "Status", "There are too many subscriptions."),
                UNAVAILABLE,
            ]),
        handler: || get(subscribe::subscribe),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}/{revision}", "Reads one event")
            .notes("As application/json its data alone, else its entry.")
            .query(&[EMBED])
            .headers(&[RESOLVE])
            .answers(&[(200, FEED_JSON, "Entry", "The event."), MISSING, FORMS_WRONG, GONE, UNAVAILABLE]),
        handler: || get(feed::event),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}/{revision}/backward/{count}", "Reads a page of a feed, descending")
            .notes("From a revision or `head`. Of $all: from before a position of 32 hex digits, or `head`.")
            .query(&[EMBED])
            .headers(&[RESOLVE])
            .answers(&[FEED, UNCHANGED, MISSING, FORMS_WRONG, GONE, UNAVAILABLE]),
        handler: || get(feed::backward),
    },
    Route {
        doc: doc(Verb::Get, "/streams/{stream}/{revision}/forward/{count}", "Reads a page of a feed, ascending")
            .notes("From a revision; of $all: from a position of 32 hex digits. Entries are listed newest first.")
            .query(&[EMBED])
            .headers(&[RESOLVE, LONG_POLL])
            .answers(&[FEED, UNCHANGED, MISSING, FORMS_WRONG, GONE, UNAVAILABLE]),
        handler: || get(feed::forward),
    },
];
