//! Owns the counting of long work: how much, how fast.

use std::time::{Duration, Instant};

use crate::output::Output;

const REDRAWN_EVERY: Duration = Duration::from_millis(200);

/// Counts what is done and draws it now and then.
pub(crate) struct Progress {
    verb: &'static str,
    begun: Instant,
    drawn: Option<Instant>,
    count: u64,
}

impl Progress {
    /// Begins to count; `verb` says what happens to events, such as `appended`.
    pub(crate) fn begin(verb: &'static str) -> Self {
        Self { verb, begun: Instant::now(), drawn: None, count: 0 }
    }

    /// Counts so many more.
    pub(crate) fn add(&mut self, count: u64, output: &mut Output) {
        self.count += count;
        let now = Instant::now();
        if self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= REDRAWN_EVERY) {
            self.drawn = Some(now);
            output.progress(&format!("{} {} events, {}/s", self.verb, grouped(self.count), grouped(self.rate())));
        }
    }

    /// How many so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Events per second since the beginning.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people, never negative")]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(crate) fn rate(&self) -> u64 {
        (self.count as f64 / self.begun.elapsed().as_secs_f64().max(1e-6)) as u64
    }

    /// How long it has taken, rounded to milliseconds.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// A number with a comma between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1707), "1,707");
        assert_eq!(grouped(200_000), "200,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
