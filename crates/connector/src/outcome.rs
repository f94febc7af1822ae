//! Owns what a sink answers: per record, what happened to it and what should happen next.

use std::time::Duration;

use crate::Batch;

/// What should happen next with a record that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again, not before this delay if one is given; without one the resilience settings decide.
    Retry {
        /// The least time to wait, as the target asked for it.
        after: Option<Duration>,
    },
    /// The target will never take this record: park it or stop, as the settings say.
    Reject,
    /// A person must act; nothing else will get through either.
    Stop,
}

/// What kind of failure it was, for policies and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// No connection: refused, reset, name not resolved, handshake failed.
    Connect,
    /// The target did not answer within the time limit.
    Timeout,
    /// The target answered with this status.
    Status(u16),
    /// The target does not accept who we say we are.
    Unauthorised,
    /// The record cannot be put into the form the target wants.
    Malformed,
    /// The record is larger than the target or a limit allows.
    TooLarge,
    /// A user's script failed on the record.
    Script,
    /// Local trouble: disk, file, operating system.
    Local,
    /// The target is there and cannot take the record now: overloaded, full, starting, in conflict with another writer.
    Busy,
    /// The target, as it is, takes no record until a person mends it: no such database, table or column, no right kind
    /// of file, damage.
    Setup,
    /// A newer owner of the connector has written to the target: this one may write nothing more.
    Fenced,
    /// The sink broke its contract or crashed.
    Broken,
}

impl FailureClass {
    /// The label used in metrics and error codes.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::Unauthorised => "unauthorised",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Script => "script",
            Self::Local => "local",
            Self::Busy => "busy",
            Self::Setup => "setup",
            Self::Fenced => "fenced",
            Self::Broken => "broken",
        }
    }
}

/// An excerpt of a target's answer is cut to so many bytes.
const EXCERPT_BYTES_MAX: usize = 1024;

/// Why a record was not delivered. Holds no secrets: whoever makes one leaves credentials and payloads out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What should happen next.
    pub next: Next,
    /// What kind of failure it was.
    pub class: FailureClass,
    /// What failed, for a person: completes "failed to deliver: …".
    pub reason: String,
    /// The beginning of the target's answer, if there was one.
    pub excerpt: Option<String>,
}

impl Failure {
    /// A failure that may pass.
    pub fn retry(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { next: Next::Retry { after: None }, class, reason: reason.into(), excerpt: None }
    }

    /// A failure of this record alone, for good.
    pub fn reject(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { next: Next::Reject, class, reason: reason.into(), excerpt: None }
    }

    /// A failure that a person must mend.
    pub fn stop(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { next: Next::Stop, class, reason: reason.into(), excerpt: None }
    }

    /// The same failure with the delay the target asked for; changes nothing unless it is one that may pass.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Next::Retry { after } = &mut self.next {
            *after = Some(delay);
        }
        self
    }

    /// The same failure with the beginning of the target's answer.
    #[must_use]
    pub fn with_excerpt(mut self, answer: &[u8]) -> Self {
        let cut = answer.get(..answer.len().min(EXCERPT_BYTES_MAX)).unwrap_or_default();
        self.excerpt = Some(String::from_utf8_lossy(cut).into_owned());
        self
    }
}

/// What happened to one record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has not said: it failed before, or was cut off by the time limit.
    Unanswered,
    /// Durable at the far end.
    Delivered,
    /// Not delivered, for this reason.
    Failed(Failure),
}

/// One answer per record of a batch, marked by the sink while it delivers.
///
/// A mark is kept even if the attempt fails or is cut off afterwards, so nothing that is durable is sent again. There
/// is no way to make one but [`attempt`](crate::attempt), and no way to mark one but inside a sink.
#[derive(Debug)]
pub struct Receipt {
    outcomes: Vec<Outcome>,
}

impl Receipt {
    pub(crate) fn of(batch: &Batch) -> Self {
        Self { outcomes: vec![Outcome::Unanswered; batch.len()] }
    }

    /// Marks the record at this index of the batch as durable at the far end.
    pub fn delivered(&mut self, index: usize) {
        self.mark(index, Outcome::Delivered);
    }

    /// Marks every record of the batch as durable at the far end.
    pub fn delivered_all(&mut self) {
        self.outcomes.fill(Outcome::Delivered);
    }

    /// Marks the record at this index of the batch as not delivered.
    pub fn failed(&mut self, index: usize, failure: Failure) {
        self.mark(index, Outcome::Failed(failure));
    }

    /// The answers, one per record of the batch, in its order.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Whether every record is delivered.
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|outcome| *outcome == Outcome::Delivered)
    }

    pub(crate) fn fail_unanswered(&mut self, failure: &Failure) {
        for outcome in &mut self.outcomes {
            if *outcome == Outcome::Unanswered {
                *outcome = Outcome::Failed(failure.clone());
            }
        }
    }

    fn mark(&mut self, index: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(index) {
            *slot = outcome;
        }
    }
}
