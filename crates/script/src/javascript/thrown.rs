//! Owns why a script stopped early: its deadline, and what it threw.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rquickjs::{Ctx, Error, Exception, Value};

use super::failure::FailureKind;
use crate::limits::MESSAGE_BYTES_MAX;

/// The name of the user's script in messages.
pub(super) const SCRIPT_NAME: &str = "transform.js";

/// When the script has to stop, looked at by the engine every few thousand instructions.
pub(super) struct Watch {
    deadline: Cell<Option<Instant>>,
    interrupted: Cell<bool>,
    abandoned: Arc<AtomicBool>,
}

impl Watch {
    /// A watch without a deadline.
    pub(super) fn new(abandoned: Arc<AtomicBool>) -> Self {
        Self { deadline: Cell::new(None), interrupted: Cell::new(false), abandoned }
    }

    /// Gives the script until then.
    pub(super) fn arm(&self, deadline: Instant) {
        self.interrupted.set(false);
        self.deadline.set(Some(deadline));
    }

    /// Whether the script has to stop now; remembered until armed again.
    pub(super) fn must_stop(&self) -> bool {
        let late = self.deadline.get().is_some_and(|deadline| Instant::now() > deadline);
        let stop = late || self.abandoned.load(Ordering::Relaxed);
        if stop {
            self.interrupted.set(true);
        }
        stop
    }
}

/// What a script threw, as far as it can be told.
pub(super) struct Thrown {
    pub(super) kind: FailureKind,
    pub(super) is_syntax: bool,
    pub(super) message: String,
    /// Line and column in the user's script.
    pub(super) place: Option<(u32, u32)>,
}

impl Thrown {
    /// Takes the pending exception. Reading it may run the script's own getters: they are under the same deadline.
    pub(super) fn catch(ctx: &Ctx<'_>, watch: &Watch, error: Error) -> Self {
        let mut thrown = match error {
            Error::Exception | Error::Unknown => Self::read(ctx.catch()),
            Error::Allocation => Self::of(FailureKind::OutOfMemory, "out of memory"),
            Error::Utf8(_) => Self::of(FailureKind::InvalidResult, "a text has half a surrogate pair"),
            error => Self::of(FailureKind::Threw, error.to_string()),
        };
        // What the reading itself threw must not be pending at the next call.
        drop(ctx.catch());
        if watch.interrupted.get() {
            thrown.kind = FailureKind::TimedOut;
        }
        thrown.message = shortened(thrown.message);
        thrown
    }

    fn of(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, is_syntax: false, message: message.into(), place: None }
    }

    fn read(value: Value<'_>) -> Self {
        if let Some(exception) = value.as_object().cloned().and_then(Exception::from_object) {
            return Self::read_error(&exception);
        }
        let message = match value.as_string() {
            Some(text) => text.to_string().unwrap_or_default(),
            None => match (value.as_number(), value.as_bool()) {
                (Some(number), _) => number.to_string(),
                (_, Some(truth)) => truth.to_string(),
                _ => format!("a value of type {} that is no Error", value.type_name()),
            },
        };
        // The engine throws `null` when there is no memory left for an error.
        Self::of(if value.is_null() { FailureKind::OutOfMemory } else { FailureKind::Threw }, message)
    }

    fn read_error(exception: &Exception<'_>) -> Self {
        let message = exception.message().unwrap_or_default();
        let name: String = exception.get("name").unwrap_or_default();
        let kind = match (name.as_str(), message.as_str()) {
            ("InternalError", "out of memory") => FailureKind::OutOfMemory,
            ("RangeError", "Maximum call stack size exceeded") => FailureKind::StackOverflow,
            _ => FailureKind::Threw,
        };
        let place = exception.stack().as_deref().and_then(place_in);
        let message = if name.is_empty() { message } else { format!("{name}: {message}") };
        Self { kind, is_syntax: name == "SyntaxError", message, place }
    }

    pub(super) fn with_line(&self) -> String {
        match self.place {
            Some((line, _)) => format!("{} (line {line})", self.message),
            None => self.message.clone(),
        }
    }
}

/// The first line and column of the user's script in a stack.
fn place_in(stack: &str) -> Option<(u32, u32)> {
    let (_, place) = stack.split_once(SCRIPT_NAME)?;
    let mut numbers = place.trim_start_matches(':').split(|letter: char| !letter.is_ascii_digit());
    let line = numbers.next()?.parse().ok()?;
    Some((line, numbers.next().and_then(|column| column.parse().ok()).unwrap_or(0)))
}

/// Cuts a text that a script made to a bounded length.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}
