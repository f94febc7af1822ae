//! Owns reading what a read or subscription asks for, and refusing what cannot be asked together.

use forebay_event::{Position, Revision, StreamName};
use forebay_store::{Direction, LogPoint, StreamPoint};
use forebay_wire::event_store::client::streams::ReadReq;
use forebay_wire::event_store::client::streams::read_req::Options;
use forebay_wire::event_store::client::streams::read_req::options::all_options::AllOption;
use forebay_wire::event_store::client::streams::read_req::options::stream_options::RevisionOption;
use forebay_wire::event_store::client::streams::read_req::options::uuid_option::Content as UuidContent;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, Position as WirePosition, ReadDirection, StreamOption, StreamOptions,
};
use tonic::Status;

use super::filter::{self, FilterRequest};
use super::names::{IdForm, revision, stream_name};
use crate::status::grpc::{invalid, invalid_position};
use crate::streams::point::ALL;

/// What stands for "the end" where a number is expected.
const END: u64 = u64::MAX;

/// A read or subscription, checked.
#[derive(Debug)]
pub(super) struct ReadRequest {
    /// What is read.
    pub(super) target: Target,
    /// Whether it ends.
    pub(super) extent: Extent,
    /// How ids are written.
    pub(super) form: IdForm,
    /// Whether links are answered with what they point to.
    pub(super) resolve_links: bool,
    /// Whether the caller understands where a stream ends.
    pub(super) tells_last: bool,
}

/// What is read.
#[derive(Debug)]
pub(super) enum Target {
    /// One stream.
    Stream {
        /// Which.
        stream: StreamName,
        /// From where.
        from: StreamPoint,
    },
    /// The whole log.
    All {
        /// From where.
        from: LogPoint,
        /// Which events; all when there is none.
        filter: Option<FilterRequest>,
    },
}

/// Whether a read ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// It does, after so many events.
    Count(Direction, u64),
    /// It does not.
    Subscription,
}

/// Reads and checks a request.
pub(super) fn read(request: ReadReq) -> Result<ReadRequest, Status> {
    let options = request.options.ok_or_else(|| invalid("the read has no options"))?;
    let form = match options.uuid_option.ok_or_else(|| invalid("the form of ids is missing"))?.content {
        Some(UuidContent::String(_)) => IdForm::Text,
        _ => IdForm::Structured,
    };
    let extent = extent(&options)?;
    let is_subscription = extent == Extent::Subscription;
    let resolve_links = options.resolve_links;
    let tells_last = options.control_option.is_some_and(|control| control.compatibility >= 1);
    let filter = match options.filter_option.ok_or_else(|| invalid("the filter is missing: expected one, or none"))? {
        FilterOption::NoFilter(_) => None,
        FilterOption::Filter(given) => Some(filter::read(given, is_subscription)?),
    };
    let target = match options.stream_option.ok_or_else(|| invalid("the read names neither a stream nor all"))? {
        StreamOption::Stream(_) if filter.is_some() => {
            return Err(invalid("a filter is given for one stream: expected it for all streams only"));
        }
        StreamOption::Stream(stream) => {
            let (stream, from) = stream_target(stream)?;
            Target::Stream { stream, from }
        }
        StreamOption::All(all) => Target::All { from: log_point(all)?, filter },
    };
    Ok(ReadRequest { target, extent, form, resolve_links, tells_last })
}

fn extent(options: &Options) -> Result<Extent, Status> {
    let direction = match ReadDirection::try_from(options.read_direction) {
        Ok(ReadDirection::Forwards) => Direction::Forward,
        Ok(ReadDirection::Backwards) => Direction::Backward,
        Err(_) => return Err(invalid(format!("the read's direction is {}: expected 0 or 1", options.read_direction))),
    };
    match options.count_option {
        Some(CountOption::Count(count)) => Ok(Extent::Count(direction, count)),
        Some(CountOption::Subscription(_)) if direction == Direction::Backward => {
            Err(invalid("a subscription goes backward: expected forward"))
        }
        Some(CountOption::Subscription(_)) => Ok(Extent::Subscription),
        None => Err(invalid("the read has neither a count nor a subscription")),
    }
}

fn stream_target(options: StreamOptions) -> Result<(StreamName, StreamPoint), Status> {
    let stream = stream_name(options.stream_identifier)?;
    if stream.as_str() == ALL {
        return Err(invalid("$all is the whole log: expected one stream's name"));
    }
    let from = match options.revision_option {
        Some(RevisionOption::Start(_)) => StreamPoint::Start,
        Some(RevisionOption::End(_) | RevisionOption::Revision(END)) => StreamPoint::End,
        Some(RevisionOption::Revision(number)) => StreamPoint::At(revision(number)?),
        None => return Err(invalid("the read has no revision to begin at: expected start, end or a revision")),
    };
    Ok((stream, from))
}

fn log_point(options: AllOptions) -> Result<LogPoint, Status> {
    match options.all_option {
        Some(AllOption::Start(_)) => Ok(LogPoint::Start),
        Some(AllOption::End(_)) => Ok(LogPoint::End),
        Some(AllOption::Position(position)) => log_position(position),
        None => Err(invalid("the read has no position to begin at: expected start, end or a position")),
    }
}

fn log_position(position: WirePosition) -> Result<LogPoint, Status> {
    let (commit, prepare) = (position.commit_position, position.prepare_position);
    match (commit, prepare) {
        (END, END) => Ok(LogPoint::End),
        _ if commit > Revision::MAX.get() || prepare > commit => Err(invalid_position()),
        _ => Ok(LogPoint::At(Position::from_parts(commit, prepare))),
    }
}
