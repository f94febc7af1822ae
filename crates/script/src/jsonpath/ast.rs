//! Owns the form of a parsed expression.

use serde_json::Value;

use super::functions::Pattern;

/// A query: where it begins and how it goes on.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) anchor: Anchor,
    pub(super) segments: Vec<Segment>,
}

/// Where a query begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Root,
    Current,
}

/// One step of a query: from a node to some of its children, or of all its descendants' children.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) descendants: bool,
    pub(super) selectors: Vec<Selector>,
}

/// Which children a segment takes.
#[derive(Debug)]
pub(super) enum Selector {
    Name(String),
    Wildcard,
    Index(i64),
    Slice(Slice),
    Filter(Filter),
}

/// A range of array elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) step: i64,
}

/// A test on each child.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) test: Test,
    /// Whether the answer may differ from child to child; when not, it is asked once.
    pub(super) looks_at_current: bool,
}

/// A logical expression.
#[derive(Debug)]
pub(super) enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Exists(Query),
    Compare(Operand, Comparison, Operand),
    Text(TextTest),
}

/// A call of `match()` or `search()`.
#[derive(Debug)]
pub(super) struct TextTest {
    pub(super) subject: Operand,
    pub(super) pattern: Pattern,
}

/// How two operands are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Something that is one value or nothing.
#[derive(Debug)]
pub(super) enum Operand {
    Literal(Value),
    Singular(Singular),
    Length(Box<Operand>),
    Count(Query),
    Value(Query),
}

/// A query that selects at most one node.
#[derive(Debug)]
pub(super) struct Singular {
    pub(super) anchor: Anchor,
    pub(super) steps: Vec<Step>,
}

/// One step of a singular query.
#[derive(Debug)]
pub(super) enum Step {
    Name(String),
    Index(i64),
}

impl Query {
    /// The same query as a singular one, or the query itself when it may select several nodes.
    pub(super) fn into_singular(self) -> Result<Singular, Self> {
        let singular = self.segments.iter().all(|segment| {
            !segment.descendants && matches!(segment.selectors.as_slice(), [Selector::Name(_) | Selector::Index(_)])
        });
        if !singular {
            return Err(self);
        }
        let steps =
            self.segments.into_iter().flat_map(|segment| segment.selectors).filter_map(|selector| match selector {
                Selector::Name(name) => Some(Step::Name(name)),
                Selector::Index(index) => Some(Step::Index(index)),
                _ => None,
            });
        Ok(Singular { anchor: self.anchor, steps: steps.collect() })
    }

    fn looks_at_current(&self) -> bool {
        // Only the beginning counts: an `@` in a filter further down is a node below that beginning.
        self.anchor == Anchor::Current
    }
}

impl Test {
    /// Whether any part of it begins at the current node.
    pub(super) fn looks_at_current(&self) -> bool {
        match self {
            Self::Any(tests) | Self::All(tests) => tests.iter().any(Self::looks_at_current),
            Self::Not(test) => test.looks_at_current(),
            Self::Exists(query) => query.looks_at_current(),
            Self::Compare(left, _, right) => left.looks_at_current() || right.looks_at_current(),
            Self::Text(text) => text.subject.looks_at_current() || text.pattern.looks_at_current(),
        }
    }
}

impl Operand {
    /// Whether any part of it begins at the current node.
    pub(super) fn looks_at_current(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Singular(singular) => singular.anchor == Anchor::Current,
            Self::Length(operand) => operand.looks_at_current(),
            Self::Count(query) | Self::Value(query) => query.looks_at_current(),
        }
    }
}
