//! Owns following a link to the event it points to.

use forebay_access::{Guard, Refused};
use forebay_event::{RecordedEvent, Revision, StreamName};
use forebay_store::{Direction, PageLimit, ReadError, ReadStream, StreamPoint};

/// The type of a link; its data names revision and stream, as `7@orders`.
const LINK_TYPE: &str = "$>";

/// Whether an event is a link.
pub(crate) fn is_link(event: &RecordedEvent) -> bool {
    event.event_type() == LINK_TYPE
}

/// The event that a link points to; none when it is not there, is hidden, may not be read by the caller, or the link
/// names none.
pub(crate) async fn target(store: &Guard, link: &RecordedEvent) -> Result<Option<RecordedEvent>, Refused<ReadError>> {
    let Some((stream, revision)) = parse(link.data_slice()) else { return Ok(None) };
    let limit = PageLimit::events(1);
    let read = ReadStream { stream, direction: Direction::Forward, from: StreamPoint::At(revision), limit };
    match store.read_stream(read).await {
        Ok(page) => Ok(page.events.into_iter().next().filter(|event| event.revision() == revision)),
        Err(Refused::Denied(_)) => Ok(None),
        Err(Refused::Failed(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An event as a caller is shown it: with what it points to, when it is a link that is followed.
pub(crate) struct Shown {
    /// The event, or the one that the link points to.
    pub(crate) event: RecordedEvent,
    /// The link that led to it.
    pub(crate) link: Option<RecordedEvent>,
}

impl Shown {
    /// Follows a link; one that leads nowhere is shown itself.
    pub(crate) async fn follow(store: &Guard, event: RecordedEvent) -> Result<Self, Refused<ReadError>> {
        if !is_link(&event) {
            return Ok(Self::plain(event));
        }
        Ok(match target(store, &event).await? {
            Some(target) => Self { event: target, link: Some(event) },
            None => Self::plain(event),
        })
    }

    /// An event as it is.
    pub(crate) fn plain(event: RecordedEvent) -> Self {
        Self { event, link: None }
    }
}

/// The first `@` divides: a stream's name may hold others.
fn parse(data: &[u8]) -> Option<(StreamName, Revision)> {
    let (revision, stream) = std::str::from_utf8(data).ok()?.split_once('@')?;
    let revision = revision.parse().ok().filter(|number| *number <= Revision::MAX.get())?;
    Some((StreamName::new(stream).ok()?, Revision::new(revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_sign_divides() {
        let (stream, revision) = parse(b"12@user@here").unwrap();
        assert_eq!((stream.as_str(), revision.get()), ("user@here", 12));
        for wrong in [&b"12"[..], b"@s", b"x@s", b"1@", b"\xff@s", b"9223372036854775808@s"] {
            assert!(parse(wrong).is_none());
        }
    }
}
