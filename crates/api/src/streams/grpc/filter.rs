//! Owns reading a filter: what it looks at, how it compares, and how often checkpoints are wanted.

use forebay_store::{EventFilter, FilterSubject, Matcher};
use forebay_wire::event_store::client::streams::read_req::options::FilterOptions;
use forebay_wire::event_store::client::streams::read_req::options::filter_options::{Expression, Filter, Window};
use tonic::Status;

use crate::status::grpc::{invalid, of_filter};

/// The window of a filter that names none.
const WINDOW_DEFAULT: u32 = 32;
/// A regular expression holds at most so many bytes.
const EXPRESSION_LEN_MAX: usize = 64 << 10;
/// A filter names at most so many prefixes.
const PREFIXES_MAX: usize = 10_000;

/// A filter as it was asked for.
#[derive(Debug)]
pub(super) struct FilterRequest {
    /// Which events.
    pub(super) filter: EventFilter,
    /// A checkpoint is due after so many events examined; at least 1.
    pub(super) checkpoint_every: u64,
}

/// Reads the filter of a read; without a subscription nobody asks for checkpoints.
pub(super) fn read(options: FilterOptions, is_subscription: bool) -> Result<FilterRequest, Status> {
    let window = match options.window {
        Some(Window::Max(0)) => return Err(invalid("the filter's window is 0: expected at least 1")),
        Some(Window::Max(max)) => max,
        Some(Window::Count(_)) => WINDOW_DEFAULT,
        None => return Err(invalid("the filter has no window: expected a maximum, or count for the default")),
    };
    if is_subscription && options.checkpoint_interval_multiplier == 0 {
        return Err(invalid("the filter's checkpoint interval multiplier is 0: expected at least 1"));
    }
    let filter = match options.filter {
        Some(Filter::StreamIdentifier(expression)) => EventFilter::Where(FilterSubject::Stream, matcher(expression)?),
        Some(Filter::EventType(expression)) => EventFilter::Where(FilterSubject::EventType, matcher(expression)?),
        None => return Err(invalid("the filter looks at nothing: expected the stream's name or the event's type")),
    };
    let checkpoint_every = u64::from(window) * u64::from(options.checkpoint_interval_multiplier.max(1));
    Ok(FilterRequest { filter, checkpoint_every })
}

fn matcher(expression: Expression) -> Result<Matcher, Status> {
    let Expression { regex, prefix } = expression;
    if regex.len() > EXPRESSION_LEN_MAX {
        let length = regex.len();
        return Err(invalid(format!("the filter's expression holds {length} bytes, more than {EXPRESSION_LEN_MAX}")));
    }
    if prefix.len() > PREFIXES_MAX {
        return Err(invalid(format!("the filter names {} prefixes, more than {PREFIXES_MAX}", prefix.len())));
    }
    match (regex.is_empty(), prefix.is_empty()) {
        (false, _) => Matcher::regex(&regex).map_err(|error| of_filter(&error)),
        (true, false) => Ok(Matcher::Prefixes(prefix)),
        (true, true) => Err(invalid("the filter compares with nothing: expected an expression or prefixes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_wire::event_store::client::Empty;
    use tonic::Code;

    fn options(regex: &str, window: Option<Window>, multiplier: u32) -> FilterOptions {
        let expression = Expression { regex: regex.to_owned(), prefix: Vec::new() };
        FilterOptions {
            filter: Some(Filter::EventType(expression)),
            window,
            checkpoint_interval_multiplier: multiplier,
        }
    }

    #[test]
    fn the_interval_is_window_times_multiplier() {
        assert_eq!(read(options("^A", Some(Window::Max(5)), 3), true).unwrap().checkpoint_every, 15);
        assert_eq!(read(options("^A", Some(Window::Count(Empty {})), 2), true).unwrap().checkpoint_every, 64);
        assert_eq!(read(options("^A", Some(Window::Max(1)), 0), false).unwrap().checkpoint_every, 1);
    }

    #[test]
    fn what_no_filter_can_mean_is_refused() {
        for wrong in [
            options("^A", None, 1),
            options("^A", Some(Window::Max(0)), 1),
            options("^A", Some(Window::Max(1)), 0),
            options("", Some(Window::Max(1)), 1),
            options("a(?=b)", Some(Window::Max(1)), 1),
            options(&"a".repeat(EXPRESSION_LEN_MAX + 1), Some(Window::Max(1)), 1),
        ] {
            assert_eq!(read(wrong, true).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
