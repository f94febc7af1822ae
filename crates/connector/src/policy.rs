//! Owns a kind's default policy: what follows a failure of each class unless the connector's settings say otherwise.

use std::fmt;

use crate::{FailureClass, Next};

/// The failures that a row of a policy holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyClass {
    /// Failures whose class has this label.
    Named(&'static str),
    /// Answers with a status of these three digits, `x` for any.
    Status([u8; 3]),
}

impl PolicyClass {
    /// Whether it takes in failures of this class.
    pub fn holds(self, class: FailureClass) -> bool {
        match (self, class) {
            (Self::Status(digits), FailureClass::Status(status)) => {
                digits.iter().zip(status.to_string().bytes()).all(|(wanted, is)| *wanted == b'x' || *wanted == is)
            }
            (Self::Named(label), class) => label == class.label(),
            (Self::Status(_), _) => false,
        }
    }

    /// How many statuses it takes in, as a power of ten: of two rows that hold, the one with fewer counts.
    pub fn breadth(self) -> usize {
        match self {
            Self::Named(_) => 0,
            Self::Status(digits) => digits.iter().filter(|digit| **digit == b'x').count(),
        }
    }
}

impl fmt::Display for PolicyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(label) => f.write_str(label),
            Self::Status(digits) => write!(f, "status:{}", String::from_utf8_lossy(digits)),
        }
    }
}

/// What a kind does after a failure unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// The record waits and is tried again.
    Retry,
    /// The record is refused for good: the setting `errors:onReject` says whether that stops the connector or parks the
    /// record.
    Reject,
    /// The connector stops: a person must act, and no other record would get through either.
    Stop,
}

impl DefaultAction {
    /// The word in descriptions.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Stop => "stop",
        }
    }

    /// Whether a sink that answers this keeps to the action.
    pub const fn is(self, next: Next) -> bool {
        matches!(
            (self, next),
            (Self::Retry, Next::Retry { .. }) | (Self::Reject, Next::Reject) | (Self::Stop, Next::Stop)
        )
    }
}

/// One row of a kind's default policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRow {
    /// Which failures.
    pub class: PolicyClass,
    /// What follows.
    pub action: DefaultAction,
}

impl DefaultRow {
    /// A row for a class of failures.
    pub const fn new(class: FailureClass, action: DefaultAction) -> Self {
        Self { class: PolicyClass::Named(class.label()), action }
    }

    /// A row for a status such as `b"429"`, or a range of them such as `b"5xx"`.
    pub const fn status(digits: [u8; 3], action: DefaultAction) -> Self {
        Self { class: PolicyClass::Status(digits), action }
    }
}

/// What a table of defaults says of a class of failures: the most specific row, whatever their order.
pub fn default_action(rows: &[DefaultRow], class: FailureClass) -> Option<DefaultAction> {
    let holding = rows.iter().filter(|row| row.class.holds(class));
    holding.min_by_key(|row| row.class.breadth()).map(|row| row.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [DefaultRow; 4] = [
        DefaultRow::status(*b"4xx", DefaultAction::Reject),
        DefaultRow::status(*b"429", DefaultAction::Retry),
        DefaultRow::status(*b"42x", DefaultAction::Stop),
        DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    ];

    #[test]
    fn the_most_specific_row_holds() {
        let action = |class| default_action(&ROWS, class);
        assert_eq!(action(FailureClass::Status(429)), Some(DefaultAction::Retry));
        assert_eq!(action(FailureClass::Status(422)), Some(DefaultAction::Stop));
        assert_eq!(action(FailureClass::Status(404)), Some(DefaultAction::Reject));
        assert_eq!(action(FailureClass::Timeout), Some(DefaultAction::Retry));
        assert_eq!((action(FailureClass::Status(500)), action(FailureClass::Connect)), (None, None));
    }

    #[test]
    fn classes_are_written_as_in_settings() {
        assert_eq!(ROWS.map(|row| row.class.to_string()), ["status:4xx", "status:429", "status:42x", "timeout"]);
    }
}
