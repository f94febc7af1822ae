//! Owns the console sink: one line per record on standard output.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap, decode, describe};
use forebay_connector::{
    Batch, DefaultAction, DefaultRow, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink,
    SinkContext, Target,
};
use forebay_event::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::push_envelope;

/// Printing is over long before, unless the reader of a pipe has stopped reading.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);
const BATCH_RECORDS_DEFAULT: usize = 256;

const POLICY: &[DefaultRow] = &[
    DefaultRow::new(FailureClass::Local, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Setup, DefaultAction::Stop),
    DefaultRow::new(FailureClass::Broken, DefaultAction::Retry),
];

pub(crate) const KIND: Kind = Kind {
    name: "console-sink",
    aliases: &[
        "ConsoleSink",
        "logger-sink",
        "LoggerSink",
        "EventStore.Connectors.Testing.LoggerSink",
        "EventStore.Connectors.ConsoleSink",
    ],
    title: "Console",
    summary: "prints one line per record to standard output",
    page: "Prints one line per record to the server's standard output.\n\n**Guarantee.** At least once: a record counts as \
           delivered when its line is handed to the operating system.\n\n**Repeats.** Lines may come again after a crash; \
           each begins with the record's id.\n\n**Limits.** One lane. When standard output is closed, the connector stops.",
    guarantee: Guarantee::AtLeastOnce,
    lanes: LaneSupport::One,
    batch_records_default: BATCH_RECORDS_DEFAULT,
    policy: POLICY,
    settings: describe::<ConsoleSettings>,
    connect,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ConsoleSettings {
    /// What a line holds: `text` is id, stream, position and type; `json` is the whole record with its data.
    #[serde(default)]
    format: Format,
    /// Taken for compatibility and without effect: records are printed whatever the level of logs.
    #[serde(default)]
    #[expect(dead_code, reason = "the key is known, its value has no effect")]
    log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum LogLevel {
    Trace,
    #[default]
    Debug,
    Information,
    Warning,
    Error,
    Critical,
    None,
}

/// Where lines go; shared with writes that outlive a cancelled attempt.
pub(crate) type Output = Arc<Mutex<dyn Write + Send>>;

fn connect(map: &SettingsMap, _: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let settings: ConsoleSettings = decode(map)?;
    Ok(Box::new(ConsoleTarget { format: settings.format, output: Arc::new(Mutex::new(io::stdout())) }))
}

struct ConsoleTarget {
    format: Format,
    output: Output,
}

impl Target for ConsoleTarget {
    fn sink(&self, _: Lane) -> Box<dyn Sink> {
        Box::new(ConsoleSink { format: self.format, output: Arc::clone(&self.output) })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        ATTEMPT_LIMIT
    }
}

struct ConsoleSink {
    format: Format,
    output: Output,
}

#[async_trait]
impl Sink for ConsoleSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for record in batch.records() {
            match self.format {
                Format::Text => push_line(record, &mut lines),
                Format::Json => push_envelope(record, &mut lines),
            }
            lines.push(b'\n');
        }
        print(&self.output, lines).await?;
        receipt.delivered_all();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Adds the text form of a record: `{id} {stream}@{position} {type}`; line breaks in names do not break lines.
pub(crate) fn push_line(record: &Record, line: &mut Vec<u8>) {
    let event = record.event();
    let text = format!("{} {}@{} {}", event.id(), event.stream(), event.position(), record.subject());
    line.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
}

/// Writes all bytes, off the tasks' threads: a pipe that nobody reads blocks.
pub(crate) async fn print(output: &Output, bytes: Vec<u8>) -> Result<(), Failure> {
    let output = Arc::clone(output);
    let printed = tokio::task::spawn_blocking(move || {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&bytes).and_then(|()| output.flush())
    });
    match printed.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Failure::stop(FailureClass::Setup, "standard output is closed"))
        }
        Ok(Err(error)) => Err(Failure::retry(FailureClass::Local, format!("cannot print: {error}"))),
        Err(error) => Err(Failure::retry(FailureClass::Broken, format!("printing was cut off: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::testing::contract::{Fixture, check_sink};
    use forebay_connector::testing::samples::{sample_batch, sample_record};
    use forebay_connector::{Next, Outcome, attempt};

    /// What was printed, and errors to give first.
    #[derive(Default)]
    struct Paper {
        text: Vec<u8>,
        errors: Vec<io::ErrorKind>,
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(kind) = self.errors.pop() {
                return Err(kind.into());
            }
            self.text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Printed(Arc<Mutex<Paper>>);

    #[async_trait]
    impl Fixture for Printed {
        fn connect(&self) -> Box<dyn Target> {
            let paper: Output = self.0.clone();
            Box::new(ConsoleTarget { format: Format::Text, output: paper })
        }

        async fn arrived(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().text.clone()).unwrap().lines().map(ToOwned::to_owned).collect()
        }

        fn identity(&self, number: u64) -> String {
            let mut line = Vec::new();
            push_line(&sample_record(number), &mut line);
            String::from_utf8(line).unwrap()
        }

        async fn refuse_after(&self, _: usize) -> bool {
            self.0.lock().unwrap().errors.push(io::ErrorKind::StorageFull);
            true
        }

        async fn stall(&self) -> bool {
            false
        }

        async fn restart(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        check_sink(&Printed(Arc::default())).await;
    }

    #[tokio::test]
    async fn a_closed_output_stops_the_connector() {
        let fixture = Printed(Arc::default());
        fixture.0.lock().unwrap().errors.push(io::ErrorKind::BrokenPipe);
        let mut sink = fixture.connect().sink(Lane(0));
        let receipt = attempt(&mut *sink, &sample_batch(0..2), ATTEMPT_LIMIT).await;
        let Outcome::Failed(failure) = &receipt.outcomes()[0] else { panic!("it was not printed") };
        assert_eq!(failure.next, Next::Stop);
    }

    #[test]
    fn a_line_names_the_record() {
        let mut line = Vec::new();
        push_line(&sample_record(4), &mut line);
        assert_eq!(line, b"0f0e0000-0000-4000-8000-000000000004 order-1@104 OrderPlaced");
    }
}
