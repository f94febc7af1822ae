//! Owns the metrics of connectors: the documented names and ours.
//!
//! Names of counters end in `_total`, as OpenMetrics has it. The documented names that do not fit that
//! (`kurrent_sink_written_total_records`, `messaging_kurrent_consumer_message_count`,
//! `messaging_kurrent_processor_error_count`) are exposed exactly, with the type `unknown`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

use crate::control::ControlMetrics;
use crate::pipeline::BreakerState;

/// Upper bounds of the buckets of all histograms, in seconds.
const BUCKETS_S: [f64; 14] =
    [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// Which connector a series belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectorLabels {
    connector_id: String,
    sink: String,
    /// Which shard, if the connector has several.
    #[prometheus(flatten)]
    shard: ShardLabel,
}

/// Nothing, or the number of a shard.
type ShardLabel = Vec<(&'static str, u32)>;

/// Which connector and what kind of error a series belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    connector_id: String,
    sink: String,
    error_type: &'static str,
    #[prometheus(flatten)]
    shard: ShardLabel,
}

/// A number that only rises, under a name that no counter could have.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<AtomicU64>);

impl Tally {
    fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }
}

impl TypedMetric for Tally {
    const TYPE: MetricType = MetricType::Unknown;
}

impl EncodeMetric for Tally {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.0.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[derive(Clone, Debug, Default)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS_S)
    }
}

#[derive(Clone, Debug)]
struct Histograms(Family<ConnectorLabels, Histogram, Buckets>);

impl Default for Histograms {
    fn default() -> Self {
        Self(Family::new_with_constructor(Buckets))
    }
}

type Counters = Family<ConnectorLabels, Counter>;
type Gauges = Family<ConnectorLabels, Gauge<i64, AtomicI64>>;
type Tallies = Family<ConnectorLabels, Tally>;

/// All metrics of all connectors of this process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    active: Gauges,
    written: Tallies,
    errors: Family<ErrorLabels, Counter>,
    failures: Tallies,
    transform_duration: Histograms,
    write_latency: Histograms,
    consumed: Tallies,
    commit_latency: Histograms,
    lag: Gauges,
    read: Counters,
    delivered: Counters,
    skipped: Counters,
    parked: Counters,
    in_flight: Gauges,
    checkpoint_position: Gauges,
    checkpoints_written: Counters,
    lag_seconds: Gauges,
    retries: Counters,
    lanes_busy: Gauges,
    left_out: Counters,
    missing: Counters,
    stalled: Gauges,
    oldest_age: Gauges,
    breaker: Gauges,
    lanes_limit: Gauges,
    pace: Gauges,
    parked_keys: Gauges,
    parked_records: Gauges,
    parked_bytes: Gauges,
    replayed: Counters,
    parked_dropped: Counters,
    control: ControlMetrics,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_documented(registry);
        metrics.register_own(registry);
        metrics.control.register(registry);
        metrics
    }

    /// The metrics of leases and nodes.
    pub(crate) fn control(&self) -> &ControlMetrics {
        &self.control
    }

    /// The metrics of one connector, resolved once so that counting is an addition.
    pub fn of(&self, connector_id: &str, sink: &str) -> ConnectorMetrics {
        self.of_shard(connector_id, sink, None)
    }

    /// The metrics of one shard of a connector, or of a connector without shards.
    pub(crate) fn of_shard(&self, connector_id: &str, sink: &str, shard: Option<u32>) -> ConnectorMetrics {
        let shard = shard.map(|shard| ("shard", shard)).into_iter().collect();
        let labels = ConnectorLabels { connector_id: connector_id.to_owned(), sink: sink.to_owned(), shard };
        ConnectorMetrics {
            active: self.active.get_or_create_owned(&labels),
            written: self.written.get_or_create_owned(&labels),
            errors: self.errors.clone(),
            failures: self.failures.get_or_create_owned(&labels),
            transform_duration: self.transform_duration.0.get_or_create_owned(&labels),
            write_latency: self.write_latency.0.get_or_create_owned(&labels),
            consumed: self.consumed.get_or_create_owned(&labels),
            commit_latency: self.commit_latency.0.get_or_create_owned(&labels),
            lag: self.lag.get_or_create_owned(&labels),
            read: self.read.get_or_create_owned(&labels),
            delivered: self.delivered.get_or_create_owned(&labels),
            skipped: self.skipped.get_or_create_owned(&labels),
            parked: self.parked.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            checkpoint_position: self.checkpoint_position.get_or_create_owned(&labels),
            checkpoints_written: self.checkpoints_written.get_or_create_owned(&labels),
            lag_seconds: self.lag_seconds.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            lanes_busy: self.lanes_busy.get_or_create_owned(&labels),
            left_out: self.left_out.get_or_create_owned(&labels),
            missing: self.missing.get_or_create_owned(&labels),
            stalled: self.stalled.get_or_create_owned(&labels),
            oldest_age: self.oldest_age.get_or_create_owned(&labels),
            breaker: self.breaker.get_or_create_owned(&labels),
            lanes_limit: self.lanes_limit.get_or_create_owned(&labels),
            pace: self.pace.get_or_create_owned(&labels),
            parked_keys: self.parked_keys.get_or_create_owned(&labels),
            parked_records: self.parked_records.get_or_create_owned(&labels),
            parked_bytes: self.parked_bytes.get_or_create_owned(&labels),
            replayed: self.replayed.get_or_create_owned(&labels),
            parked_dropped: self.parked_dropped.get_or_create_owned(&labels),
            labels,
        }
    }

    fn register_documented(&self, registry: &mut Registry) {
        add(registry, "kurrent_connector_active_total", "Connectors active now", &self.active);
        add(registry, "kurrent_sink_written_total_records", "Records the sink confirmed", &self.written);
        add(registry, "kurrent_sink_errors", "Failures the sink answered", &self.errors);
        add(registry, "messaging_kurrent_processor_error_count", "Failures that ended it", &self.failures);
        let help = "Seconds a batch spent in the transform";
        add(registry, "kurrent_sink_transform_duration_s", help, &self.transform_duration.0);
        let help = "Seconds from creation to confirmation, of the oldest record of each batch";
        add(registry, "kurrent_sink_write_latency_s", help, &self.write_latency.0);
        let help = "Events handed out by the subscription";
        add(registry, "messaging_kurrent_consumer_message_count", help, &self.consumed);
        let help = "Seconds it took to store a checkpoint";
        add(registry, "messaging_kurrent_consumer_commit_latency_s", help, &self.commit_latency.0);
        let help = "Position of the last event of the log less the position up to which all is settled";
        add(registry, "messaging_kurrent_consumer_lag", help, &self.lag);
    }

    fn register_own(&self, registry: &mut Registry) {
        let help = "Events read: delivered, skipped, parked and in flight together";
        add(registry, "forebay_records_read", help, &self.read);
        add(registry, "forebay_records_delivered", "Records the sink confirmed", &self.delivered);
        add(registry, "forebay_records_skipped", "Events that filter or transform dropped", &self.skipped);
        add(registry, "forebay_records_parked", "Records set aside", &self.parked);
        add(registry, "forebay_records_in_flight", "Records read and not settled", &self.in_flight);
        let help = "Position of the last stored checkpoint";
        add(registry, "forebay_checkpoint_position", help, &self.checkpoint_position);
        add(registry, "forebay_checkpoints_written", "Checkpoints stored", &self.checkpoints_written);
        let help = "Age of the last settled record while the connector is behind, in seconds";
        add(registry, "forebay_lag_seconds", help, &self.lag_seconds);
        add(registry, "forebay_retries", "Attempts after the first one", &self.retries);
        add(registry, "forebay_lanes_busy", "Lanes with a batch on its way", &self.lanes_busy);
        let help = "Records that could not be delivered and were left out by policy; counted as skipped too";
        add(registry, "forebay_records_left_out", help, &self.left_out);
        let help = "Events that were truncated, expired, scavenged or deleted before they were read";
        add(registry, "forebay_events_missing", help, &self.missing);
        self.register_flow(registry);
        self.register_parked(registry);
    }

    fn register_flow(&self, registry: &mut Registry) {
        let help = "1 while the connector is behind and nothing moves, else 0";
        add(registry, "forebay_stalled", help, &self.stalled);
        let help = "Age of the oldest event that is read and not settled, in seconds";
        add(registry, "forebay_oldest_undelivered_seconds", help, &self.oldest_age);
        let help = "Whether the target is taken to be down: 0 closed, 1 half-open, 2 open";
        add(registry, "forebay_breaker_state", help, &self.breaker);
        let help = "Batches that may be on their way to the target at once, of all connectors that send there";
        add(registry, "forebay_target_lanes_limit", help, &self.lanes_limit);
        let help = "Requests per second that the target takes, found from its refusals; 0 while there is no limit";
        add(registry, "forebay_target_pace", help, &self.pace);
    }

    fn register_parked(&self, registry: &mut Registry) {
        add(registry, "forebay_parked_keys", "Keys with parked records", &self.parked_keys);
        add(registry, "forebay_parked_records", "Records that are parked", &self.parked_records);
        add(registry, "forebay_parked_bytes", "Bytes that are parked", &self.parked_bytes);
        add(registry, "forebay_parked_replayed", "Parked records that were delivered after all", &self.replayed);
        add(registry, "forebay_parked_dropped", "Parked records that were given up", &self.parked_dropped);
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(name, help, metric.clone());
}

/// The metrics of one connector.
#[derive(Clone, Debug)]
pub struct ConnectorMetrics {
    labels: ConnectorLabels,
    errors: Family<ErrorLabels, Counter>,
    written: Tally,
    failures: Tally,
    consumed: Tally,
    active: Gauge<i64, AtomicI64>,
    transform_duration: Histogram,
    write_latency: Histogram,
    commit_latency: Histogram,
    lag: Gauge<i64, AtomicI64>,
    read: Counter,
    delivered: Counter,
    skipped: Counter,
    parked: Counter,
    in_flight: Gauge<i64, AtomicI64>,
    checkpoint_position: Gauge<i64, AtomicI64>,
    checkpoints_written: Counter,
    lag_seconds: Gauge<i64, AtomicI64>,
    retries: Counter,
    lanes_busy: Gauge<i64, AtomicI64>,
    left_out: Counter,
    missing: Counter,
    stalled: Gauge<i64, AtomicI64>,
    oldest_age: Gauge<i64, AtomicI64>,
    breaker: Gauge<i64, AtomicI64>,
    lanes_limit: Gauge<i64, AtomicI64>,
    pace: Gauge<i64, AtomicI64>,
    parked_keys: Gauge<i64, AtomicI64>,
    parked_records: Gauge<i64, AtomicI64>,
    parked_bytes: Gauge<i64, AtomicI64>,
    replayed: Counter,
    parked_dropped: Counter,
}

/// What a look at a running connector found.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// It is behind and nothing moves.
    pub stalled: bool,
    /// The age of the oldest event that is read and not settled, in seconds.
    pub oldest_age_s: u64,
    /// Whether its target is taken to be down.
    pub breaker: BreakerState,
    /// Batches that may be on their way to the target at once.
    pub lanes_limit: usize,
    /// Requests per second that the target takes, if it has refused any.
    pub pace: Option<f64>,
}

impl ConnectorMetrics {
    /// The connector runs, or does not.
    pub fn active(&self, active: bool) {
        self.active.set(i64::from(active));
        if !active {
            let rest = [&self.stalled, &self.oldest_age, &self.breaker, &self.lanes_limit, &self.pace];
            for gauge in [&self.in_flight, &self.lanes_busy, &self.lag, &self.lag_seconds].into_iter().chain(rest) {
                gauge.set(0);
            }
        }
    }

    /// The connector ended because it could not go on.
    pub fn ended_in_failure(&self) {
        self.failures.add(1);
    }

    /// Events were read, so many of them dropped by the filter.
    pub fn read(&self, events: u64, skipped: u64) {
        self.consumed.add(events);
        self.read.inc_by(events);
        self.skipped.inc_by(skipped);
        self.in_flight.inc_by(signed(events.saturating_sub(skipped)));
    }

    /// Records were confirmed by the sink.
    pub fn delivered(&self, records: u64) {
        self.written.add(records);
        self.delivered.inc_by(records);
        self.in_flight.dec_by(signed(records));
    }

    /// Records were dropped by the transform.
    pub fn skipped(&self, records: u64) {
        self.skipped.inc_by(records);
        self.in_flight.dec_by(signed(records));
    }

    /// Records were set aside.
    pub fn parked(&self, records: u64) {
        self.parked.inc_by(records);
        self.in_flight.dec_by(signed(records));
    }

    /// A record that could not be delivered was left out by policy.
    pub fn left_out(&self) {
        self.left_out.inc();
    }

    /// So many events were gone before they were read.
    pub fn missing(&self, events: u64) {
        self.missing.inc_by(events);
    }

    /// So much is parked.
    pub fn parked_now(&self, keys: u64, records: u64, bytes: u64) {
        self.parked_keys.set(signed(keys));
        self.parked_records.set(signed(records));
        self.parked_bytes.set(signed(bytes));
    }

    /// Parked records were delivered after all.
    pub fn replayed(&self, records: u64) {
        self.replayed.inc_by(records);
    }

    /// Parked records were given up.
    pub fn parked_dropped(&self, records: u64) {
        self.parked_dropped.inc_by(records);
    }

    /// An attempt begins.
    pub fn attempt_begins(&self, is_retry: bool) {
        self.lanes_busy.inc();
        if is_retry {
            self.retries.inc();
        }
    }

    /// An attempt ended; the oldest record of its batch is so many seconds old, if it was confirmed.
    pub fn attempt_ended(&self, age_s: Option<f64>) {
        self.lanes_busy.dec();
        if let Some(age_s) = age_s {
            self.write_latency.observe(age_s);
        }
    }

    /// A failure was answered, of this kind.
    pub fn failed(&self, error_type: &'static str) {
        let ConnectorLabels { connector_id, sink, shard } = self.labels.clone();
        self.errors.get_or_create(&ErrorLabels { connector_id, sink, error_type, shard }).inc();
    }

    /// A batch spent so many seconds in the transform.
    pub fn transformed(&self, seconds: f64) {
        self.transform_duration.observe(seconds);
    }

    /// A checkpoint at this position was stored; it took so many seconds.
    pub fn checkpoint(&self, position: u64, seconds: f64) {
        self.checkpoint_position.set(signed(position));
        self.checkpoints_written.inc();
        self.commit_latency.observe(seconds);
    }

    /// A look at the connector found this.
    #[expect(clippy::cast_possible_truncation, reason = "a pace is far below 2^63, and casts saturate")]
    pub fn watched(&self, watched: &Watched) {
        self.stalled.set(i64::from(watched.stalled));
        self.oldest_age.set(signed(watched.oldest_age_s));
        self.breaker.set(match watched.breaker {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        });
        self.lanes_limit.set(signed(watched.lanes_limit as u64));
        self.pace.set(watched.pace.unwrap_or_default().round() as i64);
    }

    /// How far the connector is behind the end of the log.
    pub fn lag(&self, events: u64, seconds: u64) {
        self.lag.set(signed(events));
        self.lag_seconds.set(signed(seconds));
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_names_are_exposed_and_the_identity_holds() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry).of("orders-http", "http-sink");
        metrics.active(true);
        metrics.read(10, 3);
        metrics.delivered(4);
        metrics.skipped(1);
        metrics.parked(1);
        metrics.failed("connect");
        metrics.attempt_begins(true);
        metrics.attempt_ended(Some(0.2));
        metrics.checkpoint(7, 0.01);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let labels = r#"{connector_id="orders-http",sink="http-sink"}"#;
        for line in [
            format!("kurrent_connector_active_total{labels} 1"),
            format!("kurrent_sink_written_total_records{labels} 4"),
            r#"kurrent_sink_errors_total{connector_id="orders-http",sink="http-sink",error_type="connect"} 1"#
                .to_owned(),
            format!("messaging_kurrent_consumer_message_count{labels} 10"),
            format!("kurrent_sink_write_latency_s_count{labels} 1"),
            format!("messaging_kurrent_consumer_commit_latency_s_count{labels} 1"),
            format!("messaging_kurrent_consumer_lag{labels} 0"),
            format!("forebay_records_read_total{labels} 10"),
            format!("forebay_records_delivered_total{labels} 4"),
            format!("forebay_records_skipped_total{labels} 4"),
            format!("forebay_records_parked_total{labels} 1"),
            format!("forebay_records_in_flight{labels} 1"),
            format!("forebay_checkpoint_position{labels} 7"),
            format!("forebay_retries_total{labels} 1"),
            format!("forebay_lanes_busy{labels} 0"),
        ] {
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
    }
}
