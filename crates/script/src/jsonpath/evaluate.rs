//! Owns the walk over a document: selectors, filters, comparisons, and the bound on the walk's length.

use std::cell::Cell;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use serde_json::{Number, Value};

use super::ast::{
    Anchor, Comparison, Filter, Operand, Query, Segment, Selector, Singular, Slice, Step, Test, TextTest,
};
use super::error::TooManyNodes;
use super::functions::Pattern;
use crate::limits::VISITED_NODES_MAX;

/// Why a walk ended before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Whoever asked has seen enough.
    Enough,
    /// The bound on steps was reached.
    Exhausted,
}

type Walk = ControlFlow<Stop>;
type Visit<'a, 'v> = &'a mut dyn FnMut(&'v Value) -> Walk;

/// How many bytes of text count as one step.
const TEXT_BYTES_PER_STEP: usize = 64;

/// One walk over one document.
pub(super) struct Evaluation<'v> {
    root: &'v Value,
    steps_left: Cell<u64>,
}

/// A value that an operand stands for: one of the document's or of the expression's, or a number made here.
#[derive(Clone, Copy)]
enum Operated<'a> {
    Nothing,
    Value(&'a Value),
    Count(usize),
}

impl<'v> Evaluation<'v> {
    /// A walk that has not begun.
    pub(super) fn of(root: &'v Value) -> Self {
        Self { root, steps_left: Cell::new(VISITED_NODES_MAX) }
    }

    /// The error for a walk that was too long.
    pub(super) fn exhausted(&self) -> TooManyNodes {
        TooManyNodes { nodes_max: VISITED_NODES_MAX }
    }

    /// Shows every selected node, in order.
    pub(super) fn run(&self, query: &Query, current: &'v Value, visit: Visit<'_, 'v>) -> Walk {
        let start = self.start(query.anchor, current);
        self.segments(&query.segments, start, visit)
    }

    fn start(&self, anchor: Anchor, current: &'v Value) -> &'v Value {
        match anchor {
            Anchor::Root => self.root,
            Anchor::Current => current,
        }
    }

    fn spend(&self, steps: usize) -> Walk {
        match self.steps_left.get().checked_sub(steps as u64) {
            Some(left) => {
                self.steps_left.set(left);
                ControlFlow::Continue(())
            }
            None => {
                self.steps_left.set(0);
                ControlFlow::Break(Stop::Exhausted)
            }
        }
    }

    fn spend_text(&self, text: &str) -> Walk {
        self.spend(1 + text.len() / TEXT_BYTES_PER_STEP)
    }

    fn segments(&self, segments: &[Segment], node: &'v Value, visit: Visit<'_, 'v>) -> Walk {
        let Some((segment, rest)) = segments.split_first() else {
            return visit(node);
        };
        if !segment.descendants {
            return self.children(segment, rest, node, visit);
        }
        // Nodes still to be seen, the next one last: documents may be deeper than the stack.
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            self.spend(1)?;
            self.children(segment, rest, node, visit)?;
            match node {
                Value::Array(elements) => waiting.extend(elements.iter().rev()),
                Value::Object(members) => waiting.extend(members.values().rev()),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn children(&self, segment: &Segment, rest: &[Segment], node: &'v Value, visit: Visit<'_, 'v>) -> Walk {
        for selector in &segment.selectors {
            self.spend(1)?;
            match (selector, node) {
                (Selector::Name(name), Value::Object(members)) => {
                    if let Some(child) = members.get(name) {
                        self.segments(rest, child, visit)?;
                    }
                }
                (Selector::Index(index), Value::Array(elements)) => {
                    if let Some(child) = element(elements, *index) {
                        self.segments(rest, child, visit)?;
                    }
                }
                (Selector::Slice(slice), Value::Array(elements)) => {
                    for index in slice_indices(*slice, elements.len()) {
                        self.spend(1)?;
                        if let Some(child) = elements.get(index) {
                            self.segments(rest, child, visit)?;
                        }
                    }
                }
                (Selector::Wildcard, _) => self.each_child(node, &mut |child| {
                    self.spend(1)?;
                    self.segments(rest, child, visit)
                })?,
                (Selector::Filter(filter), _) => self.filtered(filter, rest, node, visit)?,
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn each_child(&self, node: &'v Value, visit: Visit<'_, 'v>) -> Walk {
        match node {
            Value::Array(elements) => elements.iter().try_for_each(visit),
            Value::Object(members) => members.values().try_for_each(visit),
            _ => ControlFlow::Continue(()),
        }
    }

    fn filtered(&self, filter: &Filter, rest: &[Segment], node: &'v Value, visit: Visit<'_, 'v>) -> Walk {
        if !filter.looks_at_current && !self.holds(&filter.test, node)? {
            return ControlFlow::Continue(());
        }
        self.each_child(node, &mut |child| {
            self.spend(1)?;
            if !filter.looks_at_current || self.holds(&filter.test, child)? {
                self.segments(rest, child, visit)?;
            }
            ControlFlow::Continue(())
        })
    }

    fn holds(&self, test: &Test, current: &'v Value) -> ControlFlow<Stop, bool> {
        self.spend(1)?;
        match test {
            Test::Any(tests) => {
                for test in tests {
                    if self.holds(test, current)? {
                        return ControlFlow::Continue(true);
                    }
                }
                ControlFlow::Continue(false)
            }
            Test::All(tests) => {
                for test in tests {
                    if !self.holds(test, current)? {
                        return ControlFlow::Continue(false);
                    }
                }
                ControlFlow::Continue(true)
            }
            Test::Not(test) => ControlFlow::Continue(!self.holds(test, current)?),
            Test::Exists(query) => match self.run(query, current, &mut |_| ControlFlow::Break(Stop::Enough)) {
                ControlFlow::Continue(()) => ControlFlow::Continue(false),
                ControlFlow::Break(Stop::Enough) => ControlFlow::Continue(true),
                ControlFlow::Break(Stop::Exhausted) => ControlFlow::Break(Stop::Exhausted),
            },
            Test::Compare(left, comparison, right) => {
                let left = self.operand(left, current)?;
                let right = self.operand(right, current)?;
                self.compare(left, *comparison, right)
            }
            Test::Text(text) => self.text(text, current),
        }
    }

    fn text(&self, test: &TextTest, current: &'v Value) -> ControlFlow<Stop, bool> {
        let Operated::Value(Value::String(subject)) = self.operand(&test.subject, current)? else {
            return ControlFlow::Continue(false);
        };
        self.spend_text(subject)?;
        let matched = match &test.pattern {
            Pattern::Literal(regex) => regex.is_match(subject),
            Pattern::Never => false,
            Pattern::Dynamic(operand, cache) => match self.operand(operand, current)? {
                Operated::Value(Value::String(pattern)) => {
                    // Compiling is far dearer than a step of the walk.
                    self.spend(64 + pattern.len())?;
                    cache.get(pattern).is_some_and(|regex| regex.is_match(subject))
                }
                _ => false,
            },
        };
        ControlFlow::Continue(matched)
    }

    fn operand<'a>(&self, operand: &'a Operand, current: &'v Value) -> ControlFlow<Stop, Operated<'a>>
    where
        'v: 'a,
    {
        let operated = match operand {
            Operand::Literal(value) => Operated::Value(value),
            Operand::Singular(singular) => self.singular(singular, current)?.map_or(Operated::Nothing, Operated::Value),
            Operand::Length(operand) => match self.operand(operand, current)? {
                Operated::Value(Value::String(text)) => {
                    self.spend_text(text)?;
                    Operated::Count(text.chars().count())
                }
                Operated::Value(Value::Array(elements)) => Operated::Count(elements.len()),
                Operated::Value(Value::Object(members)) => Operated::Count(members.len()),
                _ => Operated::Nothing,
            },
            Operand::Count(query) => {
                let mut count = 0;
                self.run(query, current, &mut |_| {
                    count += 1;
                    self.spend(1)
                })?;
                Operated::Count(count)
            }
            Operand::Value(query) => {
                let mut only = Operated::Nothing;
                let mut seen = 0;
                let walked = self.run(query, current, &mut |value| {
                    seen += 1;
                    only = Operated::Value(value);
                    if seen > 1 { ControlFlow::Break(Stop::Enough) } else { ControlFlow::Continue(()) }
                });
                match walked {
                    ControlFlow::Break(Stop::Exhausted) => return ControlFlow::Break(Stop::Exhausted),
                    ControlFlow::Break(Stop::Enough) => Operated::Nothing,
                    ControlFlow::Continue(()) => only,
                }
            }
        };
        ControlFlow::Continue(operated)
    }

    fn singular(&self, singular: &Singular, current: &'v Value) -> ControlFlow<Stop, Option<&'v Value>> {
        let mut node = self.start(singular.anchor, current);
        self.spend(singular.steps.len())?;
        for step in &singular.steps {
            let child = match (step, node) {
                (Step::Name(name), Value::Object(members)) => members.get(name),
                (Step::Index(index), Value::Array(elements)) => element(elements, *index),
                _ => None,
            };
            let Some(child) = child else {
                return ControlFlow::Continue(None);
            };
            node = child;
        }
        ControlFlow::Continue(Some(node))
    }

    fn compare(&self, left: Operated<'_>, comparison: Comparison, right: Operated<'_>) -> ControlFlow<Stop, bool> {
        let holds = match comparison {
            Comparison::Equal => self.equal(left, right)?,
            Comparison::NotEqual => !self.equal(left, right)?,
            Comparison::Less => self.less(left, right)?,
            Comparison::Greater => self.less(right, left)?,
            Comparison::LessOrEqual => self.less(left, right)? || self.equal(left, right)?,
            Comparison::GreaterOrEqual => self.less(right, left)? || self.equal(left, right)?,
        };
        ControlFlow::Continue(holds)
    }

    fn less(&self, left: Operated<'_>, right: Operated<'_>) -> ControlFlow<Stop, bool> {
        if let (Operated::Value(Value::String(left)), Operated::Value(Value::String(right))) = (left, right) {
            self.spend_text(if left.len() < right.len() { left } else { right })?;
            return ControlFlow::Continue(left < right);
        }
        let order = match (left.as_number(), right.as_number()) {
            (Some(left), Some(right)) => order_of(&left, &right),
            _ => None,
        };
        ControlFlow::Continue(order == Some(Ordering::Less))
    }

    fn equal(&self, left: Operated<'_>, right: Operated<'_>) -> ControlFlow<Stop, bool> {
        match (left, right) {
            (Operated::Nothing, Operated::Nothing) => ControlFlow::Continue(true),
            (Operated::Value(left), Operated::Value(right)) => self.equal_values(left, right),
            (left, right) => match (left.as_number(), right.as_number()) {
                (Some(left), Some(right)) => ControlFlow::Continue(order_of(&left, &right) == Some(Ordering::Equal)),
                _ => ControlFlow::Continue(false),
            },
        }
    }

    /// Equality of whole values: numbers by what they are worth, members in any order.
    fn equal_values(&self, left: &Value, right: &Value) -> ControlFlow<Stop, bool> {
        let mut waiting = vec![(left, right)];
        while let Some(pair) = waiting.pop() {
            self.spend(1)?;
            let same = match pair {
                (Value::Null, Value::Null) => true,
                (Value::Bool(left), Value::Bool(right)) => left == right,
                (Value::Number(left), Value::Number(right)) => order_of(left, right) == Some(Ordering::Equal),
                (Value::String(left), Value::String(right)) => {
                    left.len() == right.len() && {
                        self.spend_text(left)?;
                        left == right
                    }
                }
                (Value::Array(left), Value::Array(right)) => {
                    waiting.extend(left.iter().zip(right));
                    left.len() == right.len()
                }
                (Value::Object(left), Value::Object(right)) => {
                    left.len() == right.len()
                        && left.iter().all(|(name, value)| match right.get(name) {
                            Some(other) => {
                                waiting.push((value, other));
                                true
                            }
                            None => false,
                        })
                }
                _ => false,
            };
            if !same {
                return ControlFlow::Continue(false);
            }
        }
        ControlFlow::Continue(true)
    }
}

impl Operated<'_> {
    fn as_number(&self) -> Option<Number> {
        match self {
            Self::Value(Value::Number(number)) => Some(number.clone()),
            Self::Count(count) => Some(Number::from(*count as u64)),
            _ => None,
        }
    }
}

/// The order of two numbers by what they are worth: exact for integers, as floating point as soon as one is.
fn order_of(left: &Number, right: &Number) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (as_integer(left), as_integer(right)) {
        return Some(left.cmp(&right));
    }
    left.as_f64()?.partial_cmp(&right.as_f64()?)
}

fn as_integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// The element at an index; negative ones count from the end.
fn element(elements: &[Value], index: i64) -> Option<&Value> {
    let place = if index < 0 { index.checked_add(i64::try_from(elements.len()).ok()?)? } else { index };
    elements.get(usize::try_from(place).ok()?)
}

/// The indices a slice takes from an array of so many elements, in the order it takes them.
fn slice_indices(slice: Slice, length: usize) -> impl Iterator<Item = usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let step = slice.step;
    let from_end = |index: i64| if index < 0 { length.saturating_add(index) } else { index };
    let (mut next, end) = if step >= 0 {
        let start = from_end(slice.start.unwrap_or(0)).clamp(0, length);
        (start, from_end(slice.end.unwrap_or(length)).clamp(0, length))
    } else {
        let start = slice.start.map_or(length - 1, from_end).clamp(-1, length - 1);
        (start, slice.end.map_or(-1, from_end).clamp(-1, length - 1))
    };
    std::iter::from_fn(move || {
        let inside = (step > 0 && next < end) || (step < 0 && next > end);
        if !inside {
            return None;
        }
        let index = next;
        next = next.saturating_add(step);
        usize::try_from(index).ok()
    })
}
