//! Owns the metrics of control: leases that this node holds, and the nodes around it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use forebay_event::Clock;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// Which lease a series belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabels {
    connector_id: String,
}

/// The seconds that a lease lasts from now, told when it is asked for.
#[derive(Clone, Default)]
struct SecondsLeft(Arc<Mutex<Option<End>>>);

/// When a lease ends, by which monotonic clock.
struct End {
    clock: Arc<dyn Clock>,
    at: Duration,
}

impl fmt::Debug for SecondsLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecondsLeft").finish_non_exhaustive()
    }
}

impl TypedMetric for SecondsLeft {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for SecondsLeft {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let left = self.0.lock().as_ref().map_or(Duration::ZERO, |end| end.at.saturating_sub(end.clock.monotonic()));
        encoder.encode_gauge(&left.as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// All metrics of control; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlMetrics {
    held: Gauge<i64, AtomicI64>,
    epoch: Family<LeaseLabels, Gauge<i64, AtomicI64>>,
    renewals: Family<LeaseLabels, Counter>,
    left: Family<LeaseLabels, SecondsLeft>,
    nodes: Gauge<i64, AtomicI64>,
    announcements: Counter,
    announcements_failed: Counter,
    handed_over: Counter,
}

impl ControlMetrics {
    /// Registers them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("forebay_leases_held", "Leases that this node holds", self.held.clone());
        let help = "Epoch of a lease that this node holds";
        registry.register("forebay_lease_epoch", help, self.epoch.clone());
        let help = "Renewals of a lease since this node took it";
        registry.register("forebay_lease_renewals", help, self.renewals.clone());
        let help = "Seconds that a lease lasts without another renewal";
        registry.register("forebay_lease_seconds_left", help, self.left.clone());
        let help = "Nodes that live, as this one sees it, itself among them; 0 when it is alone by config";
        registry.register("forebay_nodes", help, self.nodes.clone());
        let help = "Announcements that this node has made";
        registry.register("forebay_node_announcements", help, self.announcements.clone());
        let help = "Announcements that the store did not take";
        registry.register("forebay_node_announcements_failed", help, self.announcements_failed.clone());
        let help = "Connectors that this node has handed over to another";
        registry.register("forebay_connectors_handed_over", help, self.handed_over.clone());
    }

    /// The metrics of a lease that was taken, until they are dropped.
    pub(crate) fn lease(&self, connector_id: &str, epoch: u64) -> LeaseMeasure {
        let labels = LeaseLabels { connector_id: connector_id.to_owned() };
        self.held.inc();
        self.epoch.get_or_create(&labels).set(i64::try_from(epoch).unwrap_or(i64::MAX));
        let (renewals, left) = (self.renewals.get_or_create_owned(&labels), self.left.get_or_create_owned(&labels));
        LeaseMeasure { of: self.clone(), labels, renewals, left }
    }

    /// So many nodes live.
    pub(crate) fn nodes(&self, nodes: usize) {
        self.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// The node announced itself, or could not.
    pub(crate) fn announced(&self, done: bool) {
        if done { &self.announcements } else { &self.announcements_failed }.inc();
    }

    /// A connector was handed over.
    pub(crate) fn handed_over(&self) {
        self.handed_over.inc();
    }
}

/// The metrics of one lease; its series end with it.
pub(crate) struct LeaseMeasure {
    of: ControlMetrics,
    labels: LeaseLabels,
    renewals: Counter,
    left: SecondsLeft,
}

impl LeaseMeasure {
    /// It was renewed.
    pub(crate) fn renewed(&self) {
        self.renewals.inc();
    }

    /// It lasts until then, by this monotonic clock.
    pub(crate) fn lasts_until(&self, clock: &Arc<dyn Clock>, at: Duration) {
        *self.left.0.lock() = Some(End { clock: Arc::clone(clock), at });
    }
}

impl Drop for LeaseMeasure {
    fn drop(&mut self) {
        self.of.held.dec();
        self.of.epoch.remove(&self.labels);
        self.of.renewals.remove(&self.labels);
        self.of.left.remove(&self.labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::ManualClock;

    #[test]
    fn a_lease_is_told_while_it_is_held() {
        let (mut registry, metrics) = (Registry::default(), ControlMetrics::default());
        metrics.register(&mut registry);
        let told = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        let manual = Arc::new(ManualClock::default());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual);
        let measure = metrics.lease("orders", 7);
        measure.lasts_until(&clock, Duration::from_secs(10));
        measure.renewed();
        manual.advance(Duration::from_secs(4));
        let text = told(&registry);
        for line in [
            "forebay_leases_held 1",
            r#"forebay_lease_epoch{connector_id="orders"} 7"#,
            r#"forebay_lease_renewals_total{connector_id="orders"} 1"#,
            r#"forebay_lease_seconds_left{connector_id="orders"} 6.0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        drop(measure);
        let text = told(&registry);
        assert!(text.contains("forebay_leases_held 0") && !text.contains("orders"), "{text}");
    }
}
