//! Owns the list of what a target may do wrong with one request.

use std::time::Duration;

/// What a target does with one request instead of taking it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Resets the connection when the first bytes are there, before the body was read.
    ResetBeforeBody,
    /// Reads the request whole, then resets the connection.
    ResetAfterBody,
    /// Takes the request, begins to say so, then resets the connection.
    ResetAfterTaking,
    /// Takes the request, then closes the connection without a word.
    CloseAfterTaking,
    /// Takes the request; the head of the answer comes one byte at a time, slower than the client waits.
    SlowHead(Duration),
    /// Takes the request; the body of the answer comes one byte at a time, slower than the client waits.
    SlowBody(Duration),
    /// Reads the request and never answers.
    Silent,
    /// Stops reading in the middle of a connection that worked, and never closes it: half-open.
    HalfOpen,
    /// Says 100 and 103 before the answer, and takes the request: no fault at all.
    Interim,
    /// Takes the request; the body of the answer ends before the length that it announced.
    Truncated,
    /// Takes the request; the length of the answer is no number.
    WrongLength,
    /// Takes the request; the chunks of the answer are not what they say.
    WrongChunk,
    /// Answers something that is not HTTP.
    Garbage,
    /// Takes the request and answers; more bytes than announced follow, which look like another answer.
    Surplus,
    /// Answers so, with these further lines of the head; the request is not taken.
    Answer(u16, Vec<String>),
    /// Closes its port for so long, and every connection with it.
    Down(Duration),
}

impl Fault {
    /// An answer with this status and one further line of the head.
    pub fn status(status: u16, line: &str) -> Self {
        Self::Answer(status, vec![line.to_owned()])
    }

    /// Whether the target has taken the record although the client may not learn of it.
    pub(super) fn takes(&self) -> bool {
        match self {
            Self::ResetAfterTaking
            | Self::CloseAfterTaking
            | Self::SlowHead(_)
            | Self::SlowBody(_)
            | Self::Interim
            | Self::Truncated
            | Self::WrongLength
            | Self::WrongChunk
            | Self::Surplus => true,
            Self::ResetBeforeBody
            | Self::ResetAfterBody
            | Self::Silent
            | Self::HalfOpen
            | Self::Garbage
            | Self::Answer(..)
            | Self::Down(_) => false,
        }
    }
}
