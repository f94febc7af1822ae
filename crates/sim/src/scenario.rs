//! Owns a scenario: what a seed says about the connector, the load and the faults of a run.

use forebay_connector::settings::SettingsMap;

use crate::chance::Chance;
use crate::check::Terms;

/// The id of the connector that every run has.
pub(crate) const CONNECTOR: &str = "orders-sim";
/// Streams of events that are to be delivered begin with this; those of the others do not.
pub(crate) const WANTED: &str = "order-";

/// All that a seed decides beforehand; what it decides on the way is drawn from the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// By how many millionths each node's clock is fast, or slow.
    pub(crate) drifts_ppm: Vec<i64>,
    pub(crate) lease_ms: u64,
    pub(crate) events: u64,
    pub(crate) keys: u64,
    /// Events appended at once, at most.
    pub(crate) burst_max: u64,
    pub(crate) pause_ms_max: u64,
    pub(crate) one_key: bool,
    pub(crate) once: bool,
    pub(crate) lanes: u64,
    pub(crate) batch: u64,
    pub(crate) batch_age_ms: u64,
    pub(crate) threshold: u64,
    pub(crate) interval_ms: u64,
    /// Calls to the store that get lost, each way.
    pub(crate) call_lost_permille: u64,
    pub(crate) call_late_permille: u64,
    pub(crate) delay_ms_max: u64,
    pub(crate) crashes: u64,
    pub(crate) steps_max: u64,
    /// What is done to the world: pause between two faults.
    pub(crate) trouble_ms_max: u64,
    pub(crate) freezes: bool,
    pub(crate) target: TargetTerms,
}

/// How the target behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetTerms {
    pub(crate) latency_ms_max: u64,
    /// Attempts that do not go well.
    pub(crate) trouble_permille: u64,
    /// Records that it never takes.
    pub(crate) refused_permille: u64,
    /// Answers that a person must act on.
    pub(crate) stop_permille: u64,
}

impl Scenario {
    /// What this seed says.
    pub(crate) fn of(seed: u64) -> Self {
        let chance = Chance::of(seed, "scenario");
        let nodes = if chance.hits(400) { 2 } else { 1 };
        let once = chance.hits(300);
        let one_key = once || chance.hits(150);
        let is_wild = chance.hits(600);
        let freezes = nodes == 2 && chance.hits(400);
        Self {
            seed,
            nodes,
            drifts_ppm: (0..nodes).map(|_| i64::try_from(chance.between(0, 20_000)).unwrap_or(0) - 10_000).collect(),
            lease_ms: if chance.hits(400) { chance.between(400, 1_000) } else { chance.between(1_500, 6_000) },
            events: chance.between(30, 300),
            keys: chance.between(1, 24),
            burst_max: chance.between(1, 12),
            pause_ms_max: chance.between(50, 700),
            one_key,
            once,
            lanes: if one_key { 1 } else { chance.between(1, 8) },
            batch: chance.between(1, 12),
            batch_age_ms: if chance.hits(500) { 0 } else { chance.between(1, 100) },
            threshold: chance.between(5, 60),
            interval_ms: chance.between(200, 3_000),
            call_lost_permille: if is_wild { chance.between(0, 40) } else { 0 },
            call_late_permille: if is_wild { chance.between(0, 20) } else { 0 },
            delay_ms_max: chance.between(0, 30),
            crashes: chance.between(0, 8),
            steps_max: chance.between(20, 500),
            trouble_ms_max: if is_wild || freezes { chance.between(500, 8_000) } else { 60_000 },
            freezes,
            target: TargetTerms {
                latency_ms_max: chance.between(0, 60),
                trouble_permille: if chance.hits(800) { chance.between(10, 400) } else { 0 },
                refused_permille: if chance.hits(400) && !one_key { chance.between(2, 40) } else { 0 },
                stop_permille: if chance.hits(300) { 4 } else { 0 },
            },
        }
    }

    /// What the checker is told.
    pub(crate) fn terms(&self) -> Terms {
        Terms { one_key: self.one_key, wanted: WANTED, once: self.once, sound_clocks: !self.freezes }
    }

    /// The settings of the connector.
    pub(crate) fn settings(&self) -> SettingsMap {
        let kind = if self.once { "sim-table-sink" } else { "sim-sink" };
        let numbers = [
            ("batching:batchSize", self.batch),
            ("batching:batchTimeoutMs", self.batch_age_ms),
            ("autocommit:recordsThreshold", self.threshold),
            ("autocommit:interval", self.interval_ms),
            ("resilience:firstDelayBound:delayMs", 150),
            ("resilience:firstDelayBound:upperLimitMs", 2_000),
            ("resilience:secondDelayBound:delayMs", 1_000),
            ("resilience:secondDelayBound:upperLimitMs", 20_000),
            ("resilience:thirdDelayBound:delayMs", 4_000),
            ("resilience:retryAfterMaxMs", 5_000),
            ("restart:delayMs", 500),
            ("restart:delayMaxMs", 5_000),
            ("lanes", self.lanes),
        ];
        let words = [
            ("instanceTypeName", kind),
            ("subscription:initialPosition", "earliest"),
            ("subscription:filter:scope", "stream"),
            ("subscription:filter:filterType", "prefix"),
            ("subscription:filter:expression", WANTED),
            ("ordering", if self.one_key { "all" } else { "stream" }),
            ("errors:onReject", "park"),
            ("restart:policy", "onFailure"),
            ("logging:enabled", "false"),
        ];
        let numbers = numbers.map(|(key, number)| (key.to_owned(), number.to_string()));
        let words = words.map(|(key, word)| (key.to_owned(), word.to_owned()));
        SettingsMap::from_flat(numbers.into_iter().chain(words))
    }
}
