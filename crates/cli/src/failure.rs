//! Owns why a command fails, how that is told, and with which exit code.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An argument is wrong in a way that its own parser cannot see.
    #[error("{key}: {found}; expected {expected}")]
    Usage {
        /// Which argument or setting.
        key: String,
        /// What was found.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A file cannot be read or written.
    #[error("file {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The server answered that it does not want to, or cannot.
    #[error("the server refused to {action}: {refusal}")]
    Refused {
        /// What was asked, such as `create connector orders`.
        action: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// There is no connection.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// Why.
        reason: String,
    },
    /// The answer takes too long.
    #[error("{server} did not answer within {limit:?} when asked to {action}")]
    TimedOut {
        /// The server's address.
        server: String,
        /// What was asked.
        action: String,
        /// The limit that was reached.
        limit: Duration,
    },
    /// The answer is not what the API promises.
    #[error("the server's answer to {action} is not understood: {problem}; is this a Forebay server?")]
    Answer {
        /// What was asked.
        action: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// Part of the work is done, and then something failed.
    #[error("{done}; then: {cause}")]
    Partly {
        /// What stands, and how to go on.
        done: String,
        /// What failed.
        cause: Box<Failure>,
    },
    /// A connector did not reach the state that was waited for.
    #[error("connector {id} is {state} and did not become {wanted}: {reason}")]
    NotReached {
        /// Which connector.
        id: String,
        /// What it is.
        state: String,
        /// What was waited for.
        wanted: String,
        /// Its error, or that time was up.
        reason: String,
    },
    /// The quickstart's receiver found something wrong.
    #[error("the check failed: {problem}")]
    Check {
        /// What is missing, out of order or not expected.
        problem: String,
    },
    /// The server inside this process did not start.
    #[error("the server did not start: {0:#}")]
    Start(anyhow::Error),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// What a server says when it refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The number of `google.rpc.Code`, if the answer has one.
    pub(crate) code: Option<i64>,
    /// What is wrong, for a person.
    pub(crate) message: String,
    /// Fields and what is wrong with each.
    pub(crate) violations: Vec<(String, String)>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (HTTP {})", self.message, self.status)?;
        self.violations.iter().try_for_each(|(field, problem)| write!(f, "\n  {field}: {problem}"))
    }
}

impl Refusal {
    /// Reads the body of a refusal: `google.rpc.Status` as JSON, or whatever came.
    pub(crate) fn parse(status: u16, body: &[u8]) -> Self {
        const SHOWN_BYTES_MAX: usize = 2000;
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            let text = String::from_utf8_lossy(body.get(..SHOWN_BYTES_MAX).unwrap_or(body)).trim().to_owned();
            let message = if text.is_empty() { "no reason given".to_owned() } else { text };
            return Self { status, message, ..Self::default() };
        };
        let violations = violations(&value);
        let message = match value.get("message").and_then(Value::as_str) {
            // Validation errors carry a JSON map as message; the violations say the same, readable.
            Some(text) if text.starts_with('{') && !violations.is_empty() => "the request is not valid".to_owned(),
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => "no reason given".to_owned(),
        };
        Self { status, code: value.get("code").and_then(Value::as_i64), message, violations }
    }
}

fn violations(status: &Value) -> Vec<(String, String)> {
    let details = status.get("details").and_then(Value::as_array).into_iter().flatten();
    let fields = details.filter_map(|detail| detail.get("fieldViolations")?.as_array()).flatten();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    fields.map(|field| (text(field, "field"), text(field, "description"))).collect()
}

impl Failure {
    /// A wrong argument.
    pub(crate) fn usage(key: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Usage { key: key.into(), found: found.into(), expected: expected.into() }
    }

    /// The exit code: see the help of any command.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused { .. } | Self::Answer { .. } | Self::NotReached { .. } => 1,
            Self::Check { .. } | Self::Start(_) | Self::Output(_) => 1,
            Self::Usage { .. } | Self::File { .. } => 2,
            Self::Unreachable { .. } | Self::TimedOut { .. } => 3,
            Self::Partly { cause, .. } => cause.exit_code(),
        }
    }

    /// What to do next, if that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("start one with `forebay serve`, or name another with --server URL".to_owned())
            }
            Self::TimedOut { .. } => Some("allow more time with --timeout, or look at the server's log".to_owned()),
            Self::Refused { action, refusal } if refusal.status == 404 => not_found_hint(action),
            Self::Refused { refusal, .. } if matches!(refusal.status, 401 | 403) => {
                Some("name a user: --server http://user:password@HOST:PORT".to_owned())
            }
            Self::Refused { refusal, .. } if !refusal.violations.is_empty() => {
                Some("`forebay connectors describe KIND` lists every setting and what it expects".to_owned())
            }
            Self::NotReached { id, .. } => Some(format!("`forebay connectors show {id}` says more")),
            Self::Partly { cause, .. } => cause.hint(),
            _ => None,
        }
    }

    /// The failure as JSON, as `--json` writes it to standard error.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({ "exitCode": self.exit_code(), "message": self.to_string() });
        if let (Some(object), Some(refusal)) = (error.as_object_mut(), self.refusal()) {
            object.insert("httpStatus".to_owned(), refusal.status.into());
            object.insert("code".to_owned(), refusal.code.into());
            let violations = refusal.violations.iter();
            let violations =
                violations.map(|(field, problem)| json!({"field": field, "description": problem})).collect();
            object.insert("violations".to_owned(), Value::Array(violations));
        }
        json!({ "error": error })
    }

    /// What the server said, when it was the server that refused.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Partly { cause, .. } => cause.refusal(),
            _ => None,
        }
    }
}

/// Where to look for what is there, by what was asked for.
fn not_found_hint(action: &str) -> Option<String> {
    let hints = [
        ("connector ", "`forebay connectors list` shows what is there"),
        ("kind ", "`forebay connectors describe` lists the kinds"),
        ("stream ", "`forebay streams read '$all'` shows what is there"),
    ];
    hints.iter().find(|(noun, _)| action.contains(noun)).map(|(_, hint)| (*hint).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_errors_name_field_and_problem() {
        let body = br#"{"code":3,"message":"{\"url\":[\"is missing\"]}","details":[{"@type":"x",
            "fieldViolations":[{"field":"url","description":"is missing"}]}]}"#;
        let refusal = Refusal::parse(400, body);
        assert_eq!(refusal.violations, [("url".to_owned(), "is missing".to_owned())]);
        let failure = Failure::Refused { action: "create connector orders".to_owned(), refusal };
        assert_eq!(
            failure.to_string(),
            "the server refused to create connector orders: the request is not valid (HTTP 400)\n  url: is missing"
        );
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.hint().unwrap().contains("describe"));
        assert_eq!(failure.to_json()["error"]["violations"][0]["field"], "url");
    }

    #[test]
    fn an_answer_that_is_no_json_is_shown_as_it_is() {
        assert_eq!(Refusal::parse(502, b"bad gateway\n").to_string(), "bad gateway (HTTP 502)");
        assert_eq!(Refusal::parse(500, b"").message, "no reason given");
    }

    #[test]
    fn exit_codes_are_as_documented() {
        assert_eq!(Failure::usage("a", "b", "c").exit_code(), 2);
        let unreachable = Failure::Unreachable { server: "x".to_owned(), reason: "refused".to_owned() };
        assert_eq!(unreachable.exit_code(), 3);
        assert_eq!(Failure::Partly { done: "half".to_owned(), cause: Box::new(unreachable) }.exit_code(), 3);
        assert_eq!(Failure::Output(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
    }
}
