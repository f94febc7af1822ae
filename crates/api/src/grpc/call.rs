//! Owns the time that a caller gives a call.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::status::grpc::deadline_exceeded;

/// The header of the time a call may take: up to eight digits and a unit.
const TIMEOUT_HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;
/// A longer time is no limit.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// When the call must be over; none when the caller set no time, or none that can be read.
pub(crate) fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    Some(Instant::now() + limit(metadata.get(TIMEOUT_HEADER)?.to_str().ok()?)?)
}

/// The time that the header's text gives.
pub(super) fn limit(text: &str) -> Option<Duration> {
    parse(text).map(|timeout| timeout.min(TIMEOUT_MAX))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Does the work unless the deadline passes first. What the work had begun in the store may still be done.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match deadline {
        None => work.await,
        Some(deadline) => match tokio::time::timeout_at(deadline, work).await {
            Ok(done) => done,
            Err(_) => Err(deadline_exceeded()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        assert_eq!(parse("1m"), Some(Duration::from_millis(1)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "m", "123456789S", "1x", "-1S", "+1S", "1µ"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_too_long_is_answered_with_the_deadline() {
        let deadline = Instant::now() + Duration::from_millis(1);
        let late = within(Some(deadline), std::future::pending::<Result<(), Status>>()).await;
        assert_eq!(late.unwrap_err().code(), tonic::Code::DeadlineExceeded);
        assert!(within(None, async { Ok(()) }).await.is_ok());
    }
}
