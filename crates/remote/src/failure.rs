//! Owns what a failed call says about its outcome, and whether another attempt can help.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

use crate::settings::NodeAddress;

/// The trailer that names what a node refuses.
const EXCEPTION: &str = "exception";
/// Where the leader is, when another node was asked.
const LEADER_HOST: &str = "leader-endpoint-host";
const LEADER_PORT: &str = "leader-endpoint-port";
/// What a node says that knows of no leader, in the one case without a trailer.
const NO_LEADER: &str = "No leader info available";

/// What our own side says of an answer that was cut off where no error shows, by a proxy for example.
const NO_STATUS: &str = "grpc-status";
/// What our own side says when the connection ended before the call was sent.
const NOT_SENT: &str = "Service was not ready";

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// No node could be reached; nothing was sent.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The connection or the call broke; what was sent may have been done.
    Lost {
        /// How.
        reason: String,
    },
    /// The node cannot serve at the moment: starting, stopping, busy, without a leader. What was sent may have been done.
    NotNow {
        /// In the node's words.
        reason: String,
    },
    /// Only the leader does this, and another node was asked. Nothing was done.
    NotLeader {
        /// Where the leader is, if the node knows.
        leader: Option<NodeAddress>,
    },
    /// No answer came in time; what was sent may have been done.
    Late {
        /// How long was waited.
        limit: Duration,
    },
    /// The node has answered, and another attempt is answered the same.
    Refused(Status),
}

impl Failure {
    /// Reads what a status says.
    pub(crate) fn of(status: Status) -> Self {
        // Only what came about on this side has a source: the connection or the call broke.
        if let Some(source) = status.source() {
            return Self::Lost { reason: innermost(source) };
        }
        if exception(&status) == Some("not-leader") {
            return Self::NotLeader { leader: leader(&status) };
        }
        let reason = status.message().to_owned();
        match status.code() {
            Code::Unavailable | Code::Aborted | Code::ResourceExhausted | Code::DeadlineExceeded => {
                Self::NotNow { reason }
            }
            Code::Cancelled => Self::Lost { reason },
            Code::Unknown if reason.contains(NO_LEADER) => Self::NotNow { reason },
            Code::Unknown if reason.contains(NO_STATUS) => Self::Lost { reason },
            Code::Unknown if reason.starts_with(NOT_SENT) => Self::Unreachable { reason },
            _ => Self::Refused(status),
        }
    }

    /// Whether another attempt may be answered.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// Whether what was sent may have been done all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::NotNow { .. } | Self::Late { .. })
    }

    /// The failure in words, for whoever asked.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unreachable { reason } => reason.clone(),
            Self::Lost { reason } => format!("the connection broke: {reason}"),
            Self::NotNow { reason } => format!("the node says {reason:?}"),
            Self::NotLeader { leader: Some(leader) } => format!("the node does not lead, {leader} does"),
            Self::NotLeader { leader: None } => "the node does not lead, and knows of no leader".to_owned(),
            Self::Late { limit } => format!("no answer within {} ms", limit.as_millis()),
            Self::Refused(status) => match status.code() {
                Code::PermissionDenied => "the credentials do not permit this".to_owned(),
                Code::Unauthenticated => "the credentials are refused, or some are needed".to_owned(),
                code => format!("the node refuses: {} ({code:?})", status.message()),
            },
        }
    }
}

/// What a status names in its trailer.
pub(crate) fn exception(status: &Status) -> Option<&str> {
    trailer(status, EXCEPTION)
}

/// A trailer as text.
pub(crate) fn trailer<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    status.metadata().get(key)?.to_str().ok()
}

fn leader(status: &Status) -> Option<NodeAddress> {
    let host = trailer(status, LEADER_HOST).filter(|host| !host.is_empty())?;
    let port = trailer(status, LEADER_PORT)?.parse().ok()?;
    Some(NodeAddress { host: host.to_owned(), port })
}

/// The last of a chain of errors says what happened; those before it say where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataMap;

    fn status(code: Code, trailers: &[(&'static str, &'static str)]) -> Status {
        let mut metadata = MetadataMap::new();
        for (key, value) in trailers {
            metadata.insert(*key, value.parse().unwrap());
        }
        Status::with_metadata(code, "No leader info available in response", metadata)
    }

    #[test]
    fn a_node_that_does_not_lead_names_who_does() {
        let trailers = [("exception", "not-leader"), (LEADER_HOST, "node2"), (LEADER_PORT, "2114")];
        let Failure::NotLeader { leader } = Failure::of(status(Code::NotFound, &trailers)) else { panic!() };
        assert_eq!(leader, Some(NodeAddress { host: "node2".to_owned(), port: 2114 }));
        let nobody = Failure::of(status(Code::NotFound, &trailers[..1]));
        assert!(matches!(nobody, Failure::NotLeader { leader: None }) && !nobody.leaves_doubt());
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in [Code::Unavailable, Code::Aborted, Code::DeadlineExceeded, Code::Unknown, Code::Cancelled] {
            let failure = Failure::of(status(code, &[]));
            assert!(failure.may_pass() && failure.leaves_doubt(), "{failure:?}");
        }
        // In the words of the library that reads answers: an answer without an end is none.
        let cut = "protocol error: missing grpc-status trailer, stream was terminated without a final status";
        assert!(matches!(Failure::of(Status::unknown(cut)), Failure::Lost { .. }));
        assert!(!Failure::of(Status::unknown("Exception was thrown by handler.")).may_pass());
        for code in [Code::PermissionDenied, Code::InvalidArgument, Code::FailedPrecondition] {
            assert!(!Failure::of(status(code, &[])).may_pass());
        }
    }
}
