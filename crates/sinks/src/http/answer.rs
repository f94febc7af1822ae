//! Owns what a target's answer means for a record.

use forebay_connector::http::Answer;
use forebay_connector::settings::MASK;
use forebay_connector::{Failure, FailureClass};
use forebay_event::Timestamp;

/// Statuses after which a request is tried again.
#[derive(Debug)]
pub(super) struct RetryCodes {
    patterns: Vec<[u8; 3]>,
}

impl RetryCodes {
    /// Reads patterns such as `404` and `5xx`; answers the first that is none.
    pub(super) fn parse(patterns: &[String]) -> Result<Self, String> {
        let pattern = |text: &String| {
            let lower = text.to_ascii_lowercase();
            let bytes: [u8; 3] = lower.as_bytes().try_into().map_err(|_| text.clone())?;
            let [first, second, third] = bytes;
            let is_rest = |byte: u8| byte.is_ascii_digit() || byte == b'x';
            let valid = (b'1'..=b'5').contains(&first) && is_rest(second) && is_rest(third);
            if valid { Ok(bytes) } else { Err(text.clone()) }
        };
        Ok(Self { patterns: patterns.iter().map(pattern).collect::<Result<_, _>>()? })
    }

    fn contain(&self, status: u16) -> bool {
        let digits = status.to_string();
        let fits = |pattern: &[u8; 3]| pattern.iter().zip(digits.bytes()).all(|(p, d)| *p == b'x' || *p == d);
        self.patterns.iter().any(fits)
    }
}

/// Sorts an answer: delivered, or what should happen next.
pub(super) fn judge(answer: &Answer, codes: &RetryCodes, at: Timestamp, secrets: &[String]) -> Result<(), Failure> {
    if answer.status.is_success() {
        return Ok(());
    }
    let status = answer.status.as_u16();
    let reason = format!("the target answered {}", answer.status);
    let unauthorised = matches!(status, 401 | 403 | 407);
    let class = if unauthorised { FailureClass::Unauthorised } else { FailureClass::Status(status) };
    let failure = if codes.contain(status) {
        let failure = Failure::retry(class, reason);
        match answer.retry_after(at.to_system_time()) {
            Some(pause) => failure.after(pause),
            None => failure,
        }
    } else if unauthorised {
        Failure::stop(class, format!("{reason}: it does not accept who we say we are"))
    } else if answer.status.is_redirection() {
        let place = answer.location().map(|place| format!(" and points to {place}")).unwrap_or_default();
        Failure::stop(class, format!("{reason}{place}; redirects are not followed"))
    } else if status == 413 {
        Failure::reject(FailureClass::TooLarge, reason)
    } else {
        Failure::reject(class, reason)
    };
    Err(if answer.body.is_empty() { failure } else { failure.with_excerpt(&without_secrets(&answer.body, secrets)) })
}

/// A target that echoes what it got must not bring credentials into logs and answers.
fn without_secrets(body: &[u8], secrets: &[String]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), MASK);
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::KIND;
    use ::http::{HeaderMap, StatusCode};
    use bytes::Bytes;
    use forebay_connector::{Next, default_action};
    use std::time::Duration;

    fn verdict(status: u16, patterns: &str) -> Result<(), Failure> {
        let patterns: Vec<String> = patterns.split(',').map(ToOwned::to_owned).collect();
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "3".parse().unwrap());
        headers.insert("location", "/elsewhere".parse().unwrap());
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from("a hunter2") };
        judge(&answer, &RetryCodes::parse(&patterns).unwrap(), Timestamp::default(), &["hunter2".to_owned()])
    }

    #[test]
    fn each_status_has_its_class() {
        const DEFAULT: &str = "408,421,425,429,5xx";
        let next = |status: u16| verdict(status, DEFAULT).map_err(|failure| failure.next);
        let retry = Err(Next::Retry { after: Some(Duration::from_secs(3)) });
        for status in [200, 201, 204, 299] {
            assert_eq!(next(status), Ok(()));
        }
        for status in [408, 421, 425, 429, 500, 503, 599] {
            assert_eq!(next(status), retry, "{status}");
        }
        for status in [400, 404, 409, 410, 413, 422, 451] {
            assert_eq!(next(status), Err(Next::Reject), "{status}");
        }
        for status in [301, 302, 304, 307, 401, 403, 407] {
            assert_eq!(next(status), Err(Next::Stop), "{status}");
        }
        assert!(verdict(302, DEFAULT).unwrap_err().reason.contains("/elsewhere"));
        assert_eq!(verdict(413, DEFAULT).unwrap_err().class, FailureClass::TooLarge);
        assert_eq!(verdict(400, DEFAULT).unwrap_err().excerpt.as_deref(), Some("a ********"));
        let listed = verdict(401, "401,404").unwrap_err();
        assert_eq!((Err(listed.next), listed.class), (retry, FailureClass::Unauthorised));
        assert_eq!(verdict(503, "401,4XX").unwrap_err().next, Next::Reject);
    }

    #[test]
    fn answers_are_sorted_as_the_kind_says() {
        for status in (100..600).filter(|status| !(200..300).contains(status)) {
            let failure = verdict(status, "408,421,425,429,5xx").unwrap_err();
            if let Some(action) = default_action(KIND.policy, failure.class) {
                assert!(action.is(failure.next), "{status}: {action:?} and {:?}", failure.next);
            } else {
                assert!(status < 200, "{status} is not in the table");
            }
        }
    }

    #[test]
    fn patterns_that_are_none_are_named() {
        for wrong in ["x00", "60x", "5", "5xxx", "abc", ""] {
            assert_eq!(RetryCodes::parse(&[wrong.to_owned()]).unwrap_err(), wrong);
        }
    }
}
