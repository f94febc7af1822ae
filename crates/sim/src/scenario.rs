//! Owns a scenario: what a seed says about the connector, the load and the faults of a run.

use forebay_connector::settings::SettingsMap;

use crate::chance::Chance;
use crate::check::Terms;
use crate::pace::Bounds;
use crate::policy::Refusals;
use crate::variants::Variants;

/// The id of the connector that every run has; further ones have a number behind it.
const CONNECTOR: &str = "orders-sim";
/// Streams of events that are to be delivered begin with this; those of the others do not.
pub(crate) const WANTED: &str = "order-";

/// The id of a connector.
pub(crate) fn connector_id(index: usize) -> String {
    if index == 0 { CONNECTOR.to_owned() } else { format!("{CONNECTOR}-{index}") }
}

/// Which connector has an id.
pub(crate) fn connector_at(id: &str) -> Option<usize> {
    match id.strip_prefix(CONNECTOR)? {
        "" => Some(0),
        behind => behind.strip_prefix('-')?.parse().ok(),
    }
}

/// All that a seed decides beforehand; what it decides on the way is drawn from the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) variants: Variants,
    pub(crate) nodes: usize,
    pub(crate) connectors: usize,
    /// Only nodes go down, stand still or are cut off: then how long a take-over lasts can be held to a bound.
    pub(crate) is_drill: bool,
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
    /// Nodes are suspended or stopped for a while.
    pub(crate) freezes: bool,
    /// Nodes are cut off from the store for a while.
    pub(crate) cuts: bool,
    pub(crate) target: TargetTerms,
    pub(crate) refusals: Refusals,
    /// After so many retries a record is given up.
    pub(crate) retries_max: Option<u64>,
    /// At most so many records per second, after a burst of so many milliseconds.
    pub(crate) rate: Option<(u64, u64)>,
    /// The breaker opens after so many failures, for so many milliseconds; none when there is no breaker.
    pub(crate) breaker: Option<(u64, u64)>,
    pub(crate) adapts: bool,
}

/// How the target behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetTerms {
    pub(crate) latency_ms_max: u64,
    /// Attempts that do not go well.
    pub(crate) trouble_permille: u64,
    /// Answers that a person must act on.
    pub(crate) stop_permille: u64,
}

impl Scenario {
    /// What this seed says.
    pub(crate) fn of(seed: u64) -> Self {
        let (chance, variants) = (Chance::of(seed, "scenario"), Variants::of(seed));
        let nodes = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4].get(chance.size(0, 9)).copied().unwrap_or(1);
        let nodes = variants.cluster.map_or(nodes, |cluster| cluster.nodes);
        let is_drill = nodes > 1 && chance.hits(300);
        let once = chance.hits(300);
        let one_key = chance.hits(200);
        let is_wild = !is_drill && chance.hits(600);
        let freezes = nodes > 1 && chance.hits(400);
        let lease_ms = match chance.hits(400) {
            true if !is_drill => chance.between(400, 1_000),
            _ => chance.between(1_500, 6_000),
        };
        let is_slow = chance.hits(50);
        let refused = chance.hits(400);
        let refused_permille = if refused { chance.between(2, 40) } else { 0 };
        let refused_permille = variants.operators.map_or(refused_permille, |operators| operators.refused_permille);
        let refusals = Refusals::of(seed, refused_permille, !is_drill);
        // A record that is given up and parked while its transaction is in doubt may be written again when another owner
        // replays it: a known gap of transactional targets.
        let has_known_gap = once && variants.operators.is_some();
        Self {
            seed,
            variants,
            nodes,
            connectors: variants.cluster.map_or(1, |cluster| cluster.connectors),
            is_drill,
            drifts_ppm: (0..nodes).map(|_| i64::try_from(chance.between(0, 20_000)).unwrap_or(0) - 10_000).collect(),
            lease_ms,
            events: chance.between(30, if is_slow { 60 } else { 300 }),
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
            trouble_ms_max: if is_wild || is_drill || freezes { chance.between(500, 8_000) } else { 60_000 },
            freezes,
            cuts: !is_drill || chance.hits(500),
            target: TargetTerms {
                latency_ms_max: if is_slow { 1_800 } else { chance.between(0, 60) },
                trouble_permille: if chance.hits(800) { chance.between(10, 400) } else { 0 },
                stop_permille: if chance.hits(300) && !is_drill { 4 } else { 0 },
            },
            refusals,
            retries_max: chance.hits(100).then(|| chance.between(1, 4)).filter(|_| !has_known_gap),
            rate: chance.hits(250).then(|| (chance.between(20, 200), chance.between(100, 2_000))),
            breaker: chance.hits(850).then(|| (chance.between(1, 10), chance.between(200, 5_000))),
            adapts: chance.hits(750),
        }
    }

    /// What the checker is told.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            one_key: self.one_key,
            wanted: WANTED,
            once: self.once,
            sound_clocks: !self.freezes,
            refusals: self.refusals.clone(),
            gives_up: self.retries_max.is_some(),
            lease_ms: self.lease_ms,
            is_drill: self.is_drill,
            is_cluster: self.variants.cluster.is_some(),
            bounds: Bounds {
                rate: self.rate,
                threshold: self.threshold,
                in_flight_max: self.lanes * self.batch,
                repeats_are_bound: self.is_drill && !self.freezes && !self.cuts,
            },
        }
    }

    /// The settings of the connector.
    pub(crate) fn settings(&self) -> SettingsMap {
        let kind = if self.once { "sim-table-sink" } else { "sim-sink" };
        let (breaker_failures, breaker_ms) = self.breaker.unwrap_or((1, 1));
        let (per_second, burst_ms) = self.rate.unwrap_or((1_000_000, 1_000));
        let retries_max = self.retries_max.map_or("-1".to_owned(), |most| most.to_string());
        let policy = self.refusals.table();
        let numbers = [
            ("breaker:failures", breaker_failures),
            ("breaker:delayMs", breaker_ms),
            ("rateLimit:eventsPerSecond", per_second),
            ("rateLimit:burstMs", burst_ms),
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
            ("breaker:enabled", if self.breaker.is_some() { "true" } else { "false" }),
            ("adaptive:enabled", if self.adapts { "true" } else { "false" }),
            ("resilience:maxRetries", &retries_max),
            ("errors:policy", &policy),
        ];
        let numbers = numbers.map(|(key, number)| (key.to_owned(), number.to_string()));
        let words = words.map(|(key, word)| (key.to_owned(), word.to_owned()));
        let is_given = |(key, word): &(String, String)| key != "errors:policy" || !word.is_empty();
        SettingsMap::from_flat(numbers.into_iter().chain(words).filter(is_given))
    }
}
