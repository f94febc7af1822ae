//! Owns a gate: lets so many in at once, in the order they came, those in a hurry first but never for ever.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// So many in a hurry may pass one after the other while somebody without hurry waits.
const HASTE_MAX: u32 = 4;

/// How soon somebody wants to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Before those without.
    Hurried,
    /// In turn.
    Patient,
}

/// A gate whose width may change.
#[derive(Debug)]
pub(super) struct Gate {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    width: usize,
    inside: usize,
    hurried: VecDeque<oneshot::Sender<Inside>>,
    patient: VecDeque<oneshot::Sender<Inside>>,
    hurried_in_a_row: u32,
}

/// The right to be inside, until it is dropped.
#[derive(Debug)]
pub(super) struct Inside {
    gate: Option<Arc<Gate>>,
}

impl Gate {
    pub(super) fn new(width: usize) -> Arc<Self> {
        let inner = Inner {
            width: width.max(1),
            inside: 0,
            hurried: VecDeque::new(),
            patient: VecDeque::new(),
            hurried_in_a_row: 0,
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// Waits to be let in. Whoever stops waiting loses nothing but the place.
    pub(super) async fn enter(self: &Arc<Self>, haste: Haste) -> Inside {
        let turn = {
            let mut inner = self.inner.lock();
            if inner.inside < inner.width && inner.hurried.is_empty() && inner.patient.is_empty() {
                inner.inside += 1;
                return Inside { gate: Some(Arc::clone(self)) };
            }
            let (give, turn) = oneshot::channel();
            match haste {
                Haste::Hurried => inner.hurried.push_back(give),
                Haste::Patient => inner.patient.push_back(give),
            }
            turn
        };
        // The gate outlives everybody who waits at it, and gives up nobody's turn.
        turn.await.unwrap_or(Inside { gate: None })
    }

    /// Lets so many in at once from now on; those inside stay.
    pub(super) fn widen_to(self: &Arc<Self>, width: usize) {
        self.inner.lock().width = width.max(1);
        self.let_in();
    }

    /// How many are inside.
    pub(super) fn inside(&self) -> usize {
        self.inner.lock().inside
    }

    fn let_in(self: &Arc<Self>) {
        loop {
            let mut inner = self.inner.lock();
            if inner.inside >= inner.width {
                return;
            }
            let Some(next) = inner.next() else { return };
            inner.inside += 1;
            drop(inner);
            if let Err(mut unwanted) = next.send(Inside { gate: Some(Arc::clone(self)) }) {
                unwanted.gate = None;
                self.inner.lock().inside -= 1;
            }
        }
    }
}

impl Inner {
    fn next(&mut self) -> Option<oneshot::Sender<Inside>> {
        if self.hurried_in_a_row >= HASTE_MAX
            && let Some(patient) = self.patient.pop_front()
        {
            self.hurried_in_a_row = 0;
            return Some(patient);
        }
        if let Some(hurried) = self.hurried.pop_front() {
            self.hurried_in_a_row = self.hurried_in_a_row.saturating_add(1);
            return Some(hurried);
        }
        self.hurried_in_a_row = 0;
        self.patient.pop_front()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.inner.lock().inside -= 1;
            gate.let_in();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets those who wait run until nothing moves.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    type Order = Arc<Mutex<Vec<&'static str>>>;

    fn visitor(gate: &Arc<Gate>, order: &Order, name: &'static str, haste: Haste) -> tokio::task::JoinHandle<()> {
        let (gate, order) = (Arc::clone(gate), Arc::clone(order));
        tokio::spawn(async move {
            let inside = gate.enter(haste).await;
            order.lock().push(name);
            tokio::task::yield_now().await;
            drop(inside);
        })
    }

    #[tokio::test]
    async fn who_is_in_a_hurry_goes_first_but_not_for_ever() {
        let (gate, order) = (Gate::new(1), Order::default());
        let closed = gate.enter(Haste::Patient).await;
        for _ in 0..3 {
            visitor(&gate, &order, "patient", Haste::Patient);
            settle().await;
        }
        for _ in 0..6 {
            visitor(&gate, &order, "hurried", Haste::Hurried);
            settle().await;
        }
        drop(closed);
        settle().await;
        let letters: String = order.lock().iter().map(|name| &name[..1]).collect();
        assert_eq!(letters, "hhhhphhpp");
        assert_eq!(gate.inside(), 0);
    }

    #[tokio::test]
    async fn a_place_given_up_goes_to_the_next() {
        let (gate, order) = (Gate::new(2), Order::default());
        let first = gate.enter(Haste::Patient).await;
        let second = gate.enter(Haste::Patient).await;
        assert_eq!(gate.inside(), 2);
        let gone = visitor(&gate, &order, "gone", Haste::Patient);
        settle().await;
        visitor(&gate, &order, "next", Haste::Patient);
        settle().await;
        gone.abort();
        gate.widen_to(1);
        drop(first);
        settle().await;
        assert!(order.lock().is_empty(), "one is inside, and there is room for one");
        drop(second);
        settle().await;
        assert_eq!((order.lock().as_slice(), gate.inside()), (["next"].as_slice(), 0));
        let held = gate.enter(Haste::Patient).await;
        visitor(&gate, &order, "wider", Haste::Patient);
        settle().await;
        gate.widen_to(2);
        settle().await;
        assert_eq!(order.lock().len(), 2);
        drop(held);
    }
}
