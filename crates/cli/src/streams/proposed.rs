//! Owns the events that a file proposes: one JSON object per line.

use std::io::BufRead;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::failure::Failure;

/// The most bytes of one line.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One line: an event and its stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Proposed {
    /// The stream; that of the command line when absent.
    pub(crate) stream: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    id: Option<Uuid>,
    content_type: Option<String>,
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
    metadata: Option<Box<RawValue>>,
    metadata_base64: Option<String>,
}

/// An event as it is sent; what is in it is never parsed, so numbers keep all of their digits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
}

/// What lines may leave out.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) stream: Option<String>,
    pub(crate) event_type: Option<String>,
}

impl Proposed {
    /// Reads one line; `number` counts from 1.
    pub(crate) fn parse(line: &str, number: u64) -> Result<Self, Failure> {
        serde_json::from_str(line).map_err(|error| {
            let expected = r#"one event per line: {"stream"?, "type", "id"?, "data" or "dataBase64", "metadata"?}"#;
            Failure::usage(format!("line {number}"), error.to_string(), expected)
        })
    }

    /// The stream and the event to send, with what the line leaves out.
    pub(crate) fn complete(self, defaults: &Defaults, number: u64) -> Result<(String, Sent), Failure> {
        let missing = |what: &str, option: &str| {
            Failure::usage(format!("line {number}"), format!("no `{what}`"), format!("one in the line, or {option}"))
        };
        let stream = self.stream.or_else(|| defaults.stream.clone());
        let stream = stream.filter(|name| !name.is_empty()).ok_or_else(|| missing("stream", "--stream NAME"))?;
        let event_type = self.event_type.or_else(|| defaults.event_type.clone());
        let event_type = event_type.filter(|name| !name.is_empty()).ok_or_else(|| missing("type", "--type TYPE"))?;
        if self.data.is_some() && self.data_base64.is_some() {
            return Err(Failure::usage(format!("line {number}"), "both `data` and `dataBase64`", "one of them"));
        }
        let sent = Sent {
            // An id that is ours from the beginning lets a repeated request write nothing twice.
            id: self.id.unwrap_or_else(Uuid::new_v4),
            event_type,
            content_type: self.content_type,
            data: self.data,
            data_base64: self.data_base64,
            metadata: self.metadata,
            metadata_base64: self.metadata_base64,
        };
        Ok((stream, sent))
    }
}

/// Lines of a file, counted, bounded in length.
pub(crate) struct LineReader {
    input: Box<dyn BufRead + Send>,
    number: u64,
}

impl LineReader {
    pub(crate) fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self { input, number: 0 }
    }

    /// The next line that is not empty, with its number from 1.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, String)>, Failure> {
        loop {
            let mut line = Vec::new();
            self.number += 1;
            let wrong = |found: String| Failure::usage(format!("line {}", self.number), found, "a line of JSON");
            let mut bounded = std::io::Read::take(&mut self.input, LINE_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut line).map_err(|error| wrong(error.to_string()))?;
            if read == 0 {
                return Ok(None);
            }
            if read > LINE_BYTES_MAX {
                return Err(wrong(format!("more than {LINE_BYTES_MAX} bytes")));
            }
            let text = String::from_utf8(line).map_err(|error| wrong(error.to_string()))?;
            if !text.trim().is_empty() {
                return Ok(Some((self.number, text)));
            }
        }
    }
}
