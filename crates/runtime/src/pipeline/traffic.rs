//! Owns what connectors of one process share: the targets they send to, and turns at work that keeps a processor busy.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerLimits, BreakerState, Change, Pass};
use super::concurrency::Concurrency;
use super::gate::Gate;
use super::log_end::LogEnd;
use super::pace::Pace;
use super::rate::{RateGuard, RateLimits};
use super::signal::{Follower, Signal};

/// What connectors of one process share; cheap to clone.
///
/// Connectors that send to the same place share its breaker, rate limit and pace. All of them take turns at reading, so
/// that one with a long history to go through leaves room for those that follow the end of the log.
#[derive(Clone)]
pub struct Traffic {
    shared: Arc<Shared>,
}

struct Shared {
    /// Places that some connector sends to now.
    endpoints: Mutex<HashMap<String, Weak<Endpoint>>>,
    reading: Arc<Gate>,
    log_end: Arc<LogEnd>,
}

impl Default for Traffic {
    fn default() -> Self {
        // Half the processors read and filter at most; the others deliver and answer.
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shared =
            Shared { endpoints: Mutex::default(), reading: Gate::new(processors / 2), log_end: Arc::default() };
        Self { shared: Arc::new(shared) }
    }
}

impl Traffic {
    /// The gate at which readers take turns.
    pub(super) fn reading(&self) -> Arc<Gate> {
        Arc::clone(&self.shared.reading)
    }

    /// Where the log ends, looked up for all connectors at once.
    pub(super) fn log_end(&self) -> Arc<LogEnd> {
        Arc::clone(&self.shared.log_end)
    }

    /// The place of this name, the same for all that use it at the same time.
    pub(super) fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let mut endpoints = self.shared.endpoints.lock();
        if let Some(known) = endpoints.get(name).and_then(Weak::upgrade) {
            return known;
        }
        endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
        let endpoint = Arc::new(Endpoint::new(name));
        endpoints.insert(name.to_owned(), Arc::downgrade(&endpoint));
        endpoint
    }
}

/// A place that is sent to.
pub(super) struct Endpoint {
    name: String,
    /// Holds as many batches as may be on their way at once.
    pub(super) gate: Arc<Gate>,
    state: Mutex<EndpointState>,
    /// Given at changes of the breaker.
    changes: Signal,
    /// Given when the target came back.
    recoveries: Signal,
}

/// What is known about a place; locked for moments only.
pub(super) struct EndpointState {
    pub(super) breaker: Breaker,
    pub(super) pace: Pace,
    pub(super) concurrency: Concurrency,
    pub(super) rate: Option<RateGuard>,
    /// What each connector wants the rate to be.
    wishes: Vec<(u64, RateLimits)>,
    next_wish: u64,
}

/// What a place looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct EndpointView {
    pub(super) breaker: BreakerState,
    /// Batches that may be on their way at once.
    pub(super) lanes_limit: usize,
    /// Requests per second, if it is paced.
    pub(super) pace: Option<f64>,
}

impl Endpoint {
    fn new(name: &str) -> Self {
        let state = EndpointState {
            breaker: Breaker::default(),
            pace: Pace::new(Instant::now()),
            concurrency: Concurrency::new(),
            rate: None,
            wishes: Vec::new(),
            next_wish: 0,
        };
        Self {
            name: name.to_owned(),
            gate: Gate::new(1),
            state: Mutex::new(state),
            changes: Signal::default(),
            recoveries: Signal::default(),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connector with so many lanes begins to send here, and wants this rate to hold.
    pub(super) fn join(self: &Arc<Self>, lanes: usize, wish: RateLimits) -> Seat {
        let mut state = self.state.lock();
        let number = state.next_wish;
        state.next_wish += 1;
        if !wish.is_none() {
            state.wishes.push((number, wish));
            state.agree();
        }
        state.concurrency.joined(lanes);
        let limit = state.concurrency.limit();
        drop(state);
        self.gate.widen_to(limit);
        Seat { endpoint: Arc::clone(self), lanes, number }
    }

    /// Does something with what is known, and lets in as many as may be after it.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut EndpointState, Instant) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.concurrency.limit();
        let result = change(&mut state, Instant::now());
        let limit = state.concurrency.limit();
        drop(state);
        if limit != before {
            self.gate.widen_to(limit);
        }
        result
    }

    /// Waits until the breaker lets an attempt through; answers whether that attempt is the probe.
    pub(super) async fn pass(self: &Arc<Self>) -> bool {
        let mut changes = self.changes.follow();
        loop {
            let pass = self.with(|state, now| state.breaker.pass(now));
            match pass {
                Pass::Go => return false,
                Pass::Probe => return true,
                Pass::NotBefore(at) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(at) => {}
                    () = changes.changed() => {}
                },
                Pass::AfterProbe => changes.changed().await,
            }
        }
    }

    /// Tells the breaker how an attempt went: the target answered, or was found down under these limits.
    pub(super) fn tell_breaker(self: &Arc<Self>, was_probe: bool, down: Option<BreakerLimits>) -> Change {
        let change = self.with(|state, now| match down {
            None => state.breaker.answered(),
            Some(limits) => state.breaker.failed(now, was_probe, limits),
        });
        match change {
            Change::None => {}
            Change::Opened => self.changes.give(),
            Change::Closed => {
                self.changes.give();
                self.recoveries.give();
            }
        }
        change
    }

    /// The probe ended without telling anything.
    pub(super) fn abandon_probe(self: &Arc<Self>) {
        self.with(|state, now| state.breaker.abandoned(now));
        self.changes.give();
    }

    /// Follows how often the target came back.
    pub(super) fn recoveries(&self) -> Follower {
        self.recoveries.follow()
    }

    /// What it looks like now.
    pub(super) fn view(&self) -> EndpointView {
        let state = self.state.lock();
        EndpointView {
            breaker: state.breaker.state(Instant::now()),
            lanes_limit: state.concurrency.limit(),
            pace: state.pace.per_second(),
        }
    }
}

impl EndpointState {
    /// Makes the rate the strictest that anybody wants.
    fn agree(&mut self) {
        let limits = self.wishes.iter().map(|(_, wish)| *wish).reduce(RateLimits::stricter);
        let holds = self.rate.as_ref().map(|guard| *guard.limits());
        if limits != holds {
            self.rate = limits.map(|limits| RateGuard::new(limits, Instant::now()));
        }
    }
}

/// A connector's place at an endpoint, until it is dropped.
pub(super) struct Seat {
    endpoint: Arc<Endpoint>,
    lanes: usize,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (lanes, number) = (self.lanes, self.number);
        self.endpoint.with(|state, _| {
            state.concurrency.left(lanes);
            let before = state.wishes.len();
            state.wishes.retain(|(known, _)| *known != number);
            if state.wishes.len() != before {
                state.agree();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wish(events: f64) -> RateLimits {
        RateLimits { events: Some(events), bytes: None, burst: Duration::from_secs(1) }
    }

    fn agreed(endpoint: &Arc<Endpoint>) -> Option<f64> {
        endpoint.with(|state, _| state.rate.as_ref().and_then(|rate| rate.limits().events))
    }

    #[tokio::test]
    async fn who_names_the_same_place_shares_it_while_somebody_is_there() {
        let traffic = Traffic::default();
        let first = traffic.endpoint("https://a");
        assert!(Arc::ptr_eq(&first, &traffic.clone().endpoint("https://a")));
        assert!(!Arc::ptr_eq(&first, &traffic.endpoint("https://b")));
        first.tell_breaker(false, Some(BreakerLimits { failures: 1, delay: Duration::from_secs(60) }));
        assert_eq!(traffic.endpoint("https://a").view().breaker, BreakerState::Open);
        drop(first);
        assert_eq!(traffic.endpoint("https://a").view().breaker, BreakerState::Closed, "nobody was left to remember");
        assert!(traffic.shared.endpoints.lock().len() <= 2);
    }

    #[tokio::test]
    async fn the_smallest_wish_holds_while_its_connector_is_there() {
        let endpoint = Traffic::default().endpoint("https://a");
        let (fast, slow) = (endpoint.join(16, wish(50.0)), endpoint.join(4, wish(5.0)));
        let none = endpoint.join(2, RateLimits::default());
        assert_eq!((agreed(&endpoint), endpoint.view().lanes_limit), (Some(5.0), 22));
        drop(slow);
        assert_eq!((agreed(&endpoint), endpoint.view().lanes_limit), (Some(50.0), 18));
        drop((fast, none));
        assert_eq!((agreed(&endpoint), endpoint.view().lanes_limit), (None, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_is_taken_over() {
        let endpoint = Traffic::default().endpoint("https://a");
        endpoint.tell_breaker(false, Some(BreakerLimits { failures: 1, delay: Duration::from_secs(5) }));
        assert!(endpoint.pass().await, "the first to come is the probe");
        let second = tokio::spawn({
            let endpoint = Arc::clone(&endpoint);
            async move { endpoint.pass().await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!second.is_finished());
        endpoint.abandon_probe();
        assert!(second.await.unwrap());
        let third = tokio::spawn({
            let endpoint = Arc::clone(&endpoint);
            async move { endpoint.pass().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(endpoint.tell_breaker(true, None), Change::Closed);
        assert!(!third.await.unwrap(), "it goes on as one of many");
    }
}
