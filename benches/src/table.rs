//! Owns what is printed: figures with their yardstick, and whether an aim is met.

use std::fmt;

/// What a case has shown.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) rate: Rate,
    /// The plain loop's events/s with the same requests in the same run.
    pub(crate) baseline: Option<f64>,
    /// Latency from append to receipt while live, in microseconds: median and 99th percentile.
    pub(crate) latency_us: Option<(u64, u64)>,
    pub(crate) peak_mb: f64,
    pub(crate) cpu_s: f64,
    /// From the order to start to the first receipt.
    pub(crate) first_ms: f64,
}

/// Events in a second, or why there is no such figure.
#[derive(Clone, Debug)]
pub(crate) enum Rate {
    /// All rounds; the median counts.
    Measured(Vec<f64>),
    /// Something was lost or came out of order.
    Refused(String),
}

impl Rate {
    /// The median of the rounds.
    pub(crate) fn median(&self) -> Option<f64> {
        match self {
            Self::Measured(rounds) => {
                let mut sorted = rounds.clone();
                sorted.sort_by(f64::total_cmp);
                sorted.get(sorted.len() / 2).copied()
            }
            Self::Refused(_) => None,
        }
    }
}

/// One aim, and what was reached.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    pub(crate) what: &'static str,
    pub(crate) reached: Option<f64>,
    pub(crate) least: f64,
    /// Whether less is better.
    pub(crate) at_most: bool,
}

impl Aim {
    fn is_met(&self) -> bool {
        self.reached.is_some_and(|reached| if self.at_most { reached <= self.least } else { reached >= self.least })
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_met() { "met   " } else { "MISSED" };
        let relation = if self.at_most { "at most" } else { "at least" };
        match self.reached {
            Some(reached) => write!(f, "{mark} {}: {reached:.2}, aim {relation} {}", self.what, self.least),
            None => write!(f, "{mark} {}: no figure, aim {relation} {}", self.what, self.least),
        }
    }
}

/// The headings of the rows.
pub(crate) fn headings() -> String {
    format!(
        "{:<34} {:>12} {:>12} {:>7} {:>11} {:>11} {:>9} {:>8} {:>9}",
        "case", "events/s", "plain loop", "ratio", "p50 ms", "p99 ms", "peak MB", "CPU s", "first ms"
    )
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dash = || "-".to_owned();
        let whole = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.0}"));
        let ratio = self.rate.median().zip(self.baseline).map(|(rate, baseline)| format!("{:.2}", rate / baseline));
        // A quantile beyond 2^53 microseconds is not a latency.
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a run fit into a f64 exactly")]
        let millis = |value: Option<u64>| value.map_or_else(dash, |value| format!("{:.2}", value as f64 / 1000.0));
        write!(
            f,
            "{:<34} {:>12} {:>12} {:>7} {:>11} {:>11} {:>9.1} {:>8.2} {:>9.1}",
            self.case,
            whole(self.rate.median()),
            whole(self.baseline),
            ratio.unwrap_or_else(dash),
            millis(self.latency_us.map(|pair| pair.0)),
            millis(self.latency_us.map(|pair| pair.1)),
            self.peak_mb,
            self.cpu_s,
            self.first_ms,
        )?;
        match &self.rate {
            Rate::Refused(reason) => write!(f, "\n  no figure: {reason}"),
            Rate::Measured(rounds) if rounds.len() > 1 => {
                let shown: Vec<String> = rounds.iter().map(|round| format!("{round:.0}")).collect();
                write!(f, "\n  rounds: {}", shown.join(", "))
            }
            Rate::Measured(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_run_shows_no_figure() {
        let row = Row {
            case: "strict",
            rate: Rate::Refused("2 missing".to_owned()),
            baseline: Some(10.0),
            latency_us: None,
            peak_mb: 1.0,
            cpu_s: 1.0,
            first_ms: 1.0,
        };
        let text = row.to_string();
        assert!(text.contains("no figure: 2 missing"), "{text}");
        assert_eq!(row.rate.median(), None);
    }

    #[test]
    fn an_aim_without_a_figure_is_missed() {
        let aim = Aim { what: "strict to loop", reached: None, least: 0.9, at_most: false };
        assert!(aim.to_string().starts_with("MISSED"));
        assert!(Aim { reached: Some(59.0), least: 60.0, at_most: true, ..aim }.to_string().starts_with("met"));
    }

    #[test]
    fn the_median_is_of_the_sorted_rounds() {
        assert_eq!(Rate::Measured(vec![30.0, 10.0, 20.0]).median(), Some(20.0));
    }
}
