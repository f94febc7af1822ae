//! Owns the record of what nodes asked of a lease or checkpoint stream and were answered, with when.

use forebay_event::{ExpectedRevision, StreamName};
use forebay_store::{AppendError, AppendRequest, Appended, ReadError, StreamPage};
use parking_lot::Mutex;

/// All operations of a run on the streams that decide who owns what.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    /// Counts invocations and returns, so that two in the same millisecond have an order.
    ticks: u64,
    operations: Vec<Operation>,
}

/// A stream as a register: what stands at its end, changed on the condition of its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Register {
    Lease,
    Checkpoint,
}

/// An operation of a node.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) register: Register,
    pub(crate) node: usize,
    pub(crate) invoked: Moment,
    /// None when the node never heard of its outcome: it may have come about at any time since, or not at all.
    pub(crate) returned: Option<Moment>,
    pub(crate) call: Call,
}

/// When something was, in the order of the run and in simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) tick: u64,
    pub(crate) at_ms: u64,
}

/// What was asked, and answered if an answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// To put a value at the end, on a condition. The same value again is answered with where it stands already.
    Put { expected: Expected, value: u128, answer: Option<PutAnswer> },
    /// What stands at the end.
    Look { answer: Option<Option<End>> },
}

/// The condition of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Anything,
    /// So many values are there.
    Length(u64),
    /// At least one is there.
    Something,
}

/// What a put was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutAnswer {
    /// It stands at this revision.
    Stored(u64),
    /// It was refused, as so many values are there.
    Refused(u64),
}

/// The end of a register: its last revision and the value there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) revision: u64,
    pub(crate) value: u128,
}

/// An operation that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnderWay(usize);

impl Operations {
    /// A node is about to append, if it is to one of the streams in question.
    pub(crate) fn appends(&self, node: usize, at_ms: u64, request: &AppendRequest) -> Option<UnderWay> {
        let register = register_of(&request.stream)?;
        let [event] = request.events.as_slice() else { return None };
        let expected = match request.expected {
            ExpectedRevision::Any => Expected::Anything,
            ExpectedRevision::NoStream => Expected::Length(0),
            ExpectedRevision::StreamExists => Expected::Something,
            ExpectedRevision::Exact(revision) => Expected::Length(revision.get() + 1),
        };
        let call = Call::Put { expected, value: event.id.as_u128(), answer: None };
        Some(self.begin((register, node), at_ms, call))
    }

    /// A node is about to read the end of a stream, if it is one of those in question.
    pub(crate) fn looks(&self, node: usize, at_ms: u64, stream: &StreamName) -> Option<UnderWay> {
        let register = register_of(stream)?;
        Some(self.begin((register, node), at_ms, Call::Look { answer: None }))
    }

    fn begin(&self, (register, node): (Register, usize), at_ms: u64, call: Call) -> UnderWay {
        let mut recorded = self.0.lock();
        recorded.ticks += 1;
        let invoked = Moment { tick: recorded.ticks, at_ms };
        recorded.operations.push(Operation { register, node, invoked, returned: None, call });
        UnderWay(recorded.operations.len() - 1)
    }

    /// The node has its answer; one that says nothing about the outcome counts as none.
    pub(crate) fn appended(&self, under_way: UnderWay, at_ms: u64, answer: &Result<Appended, AppendError>) {
        let heard = match answer {
            Ok(appended) => appended.last_revision.map(|revision| PutAnswer::Stored(revision.get())),
            Err(AppendError::WrongExpectedRevision { current, .. }) => {
                Some(PutAnswer::Refused(current.map_or(0, |revision| revision.get() + 1)))
            }
            Err(_) => None,
        };
        self.end(under_way, at_ms, heard.is_some(), |call| {
            if let Call::Put { answer, .. } = call {
                *answer = heard;
            }
        });
    }

    /// The node has its answer.
    pub(crate) fn looked(&self, under_way: UnderWay, at_ms: u64, page: &Result<StreamPage, ReadError>) {
        let heard = match page {
            Ok(page) => page
                .events
                .first()
                .map(|event| Some(End { revision: event.revision().get(), value: event.id().as_u128() })),
            Err(ReadError::StreamNotFound { .. }) => Some(None),
            Err(_) => None,
        };
        self.end(under_way, at_ms, heard.is_some(), |call| {
            if let Call::Look { answer } = call {
                *answer = heard;
            }
        });
    }

    fn end(&self, UnderWay(index): UnderWay, at_ms: u64, is_heard: bool, fill: impl FnOnce(&mut Call)) {
        let mut recorded = self.0.lock();
        recorded.ticks += 1;
        let returned = Moment { tick: recorded.ticks, at_ms };
        if let Some(operation) = recorded.operations.get_mut(index).filter(|_| is_heard) {
            operation.returned = Some(returned);
            fill(&mut operation.call);
        }
    }

    /// The operations on one register, in the order of their invocation.
    pub(crate) fn of(&self, register: Register) -> Vec<Operation> {
        self.0.lock().operations.iter().filter(|operation| operation.register == register).cloned().collect()
    }
}

fn register_of(stream: &StreamName) -> Option<Register> {
    // What begins with two is a stream's metadata.
    let name = Some(stream.as_str()).filter(|name| !name.starts_with("$$"))?;
    match name.rsplit_once('/')?.1 {
        "leases" => Some(Register::Lease),
        "checkpoints" => Some(Register::Checkpoint),
        _ => None,
    }
}
