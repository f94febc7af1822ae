//! Owns `streams append`: lines in, batches out, a rate shown.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::args::AppendArgs;
use super::proposed::{Defaults, LineReader, Proposed, Sent};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::numbers::number;
use crate::output::Output;
use crate::progress::{Progress, grouped};

/// The most appends under way at once; each to another stream.
const APPENDS_AT_ONCE_MAX: usize = 16;
/// The most bytes of lines in hand.
const WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of one append that goes into one request.
const REQUEST_BYTES_MAX: usize = 900 * 1024;

/// Whether the order of the file is kept across streams. Within a stream it always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Streams go their own ways: a window of lines becomes one append per stream, several at once.
    PerStream,
    /// Lines next to each other in one stream become one append, and one append follows the other.
    WholeFile,
}

/// Appends lines in windows; knows how far it has come.
pub(crate) struct Appender {
    client: Client,
    defaults: Defaults,
    order: Order,
    lines_max: usize,
    expected: Option<Value>,
    last_position: u64,
}

/// One request: events for one stream.
struct Batch {
    stream: String,
    events: Vec<Sent>,
    bytes: usize,
}

/// The body of one request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    events: &'a [Sent],
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_revision: Option<&'a Value>,
}

/// What an append came to.
pub(crate) struct Appended {
    pub(crate) events: u64,
    pub(crate) last_position: u64,
}

impl Appender {
    /// An appender that expects nothing of the streams.
    pub(crate) fn new(client: Client, order: Order, lines_max: usize) -> Self {
        Self { client, defaults: Defaults::default(), order, lines_max, expected: None, last_position: 0 }
    }

    /// Appends all lines, leaving out the first ones if asked.
    pub(crate) async fn run(
        &mut self,
        lines: &mut LineReader,
        skip: u64,
        output: &mut Output,
    ) -> Result<Appended, Failure> {
        let mut progress = Progress::begin("appended");
        let mut confirmed = skip;
        loop {
            let window = self.window(lines, skip)?;
            let Some(last_line) = window.last().map(|(number, ..)| *number) else { break };
            let appended = self.append(batches(window, self.order), &mut progress, output).await;
            appended.map_err(|cause| self.partly(confirmed, progress.count(), cause))?;
            confirmed = last_line;
        }
        output.clear_progress();
        Ok(Appended { events: progress.count(), last_position: self.last_position })
    }

    fn window(&self, lines: &mut LineReader, skip: u64) -> Result<Vec<(u64, String, Sent, usize)>, Failure> {
        let (mut window, mut bytes) = (Vec::new(), 0);
        while window.len() < self.lines_max && bytes < WINDOW_BYTES_MAX {
            let Some((number, line)) = lines.next()? else { break };
            if number <= skip {
                continue;
            }
            let (stream, event) = Proposed::parse(&line, number)?.complete(&self.defaults, number)?;
            bytes += line.len();
            window.push((number, stream, event, line.len()));
        }
        Ok(window)
    }

    async fn append(
        &mut self,
        batches: Vec<Vec<Batch>>,
        progress: &mut Progress,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut waiting = batches.into_iter();
        let mut under_way = JoinSet::new();
        let at_once = if self.order == Order::WholeFile || self.expected.is_some() { 1 } else { APPENDS_AT_ONCE_MAX };
        loop {
            while under_way.len() < at_once {
                let Some(row) = waiting.next() else { break };
                let (client, expected) = (self.client.clone(), self.expected.clone());
                under_way.spawn(async move { append_row(&client, row, expected).await });
            }
            // Every append that was begun is waited for, also after one has failed: an append that is cut off may
            // or may not have been made.
            match under_way.join_next().await {
                None => return Ok(()),
                Some(Ok(Ok(row))) => {
                    self.last_position = self.last_position.max(row.last_position);
                    self.expected = self.expected.is_some().then(|| row.last_revision.clone());
                    progress.add(row.events, output);
                }
                Some(Ok(Err(failure))) => {
                    while under_way.join_next().await.is_some() {}
                    return Err(failure);
                }
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
    }

    fn partly(&self, confirmed: u64, events: u64, cause: Failure) -> Failure {
        let done = format!(
            "{} events are appended, all of the first {confirmed} lines among them; go on with --skip {confirmed} \
             (lines with an `id` are not appended twice)",
            grouped(events)
        );
        Failure::Partly { done, cause: Box::new(cause) }
    }
}

struct RowAppended {
    events: u64,
    last_revision: Value,
    last_position: u64,
}

/// Appends batches of one stream, one after the other.
async fn append_row(client: &Client, row: Vec<Batch>, mut expected: Option<Value>) -> Result<RowAppended, Failure> {
    let mut appended = RowAppended { events: 0, last_revision: Value::Null, last_position: 0 };
    for batch in row {
        let body = Body { events: &batch.events, expected_revision: expected.as_ref() };
        let action = format!("append {} events to stream {}", batch.events.len(), batch.stream);
        let answer = client.ask(Ask::post(&["streams", &batch.stream, "events"], action).json(&body)).await?;
        appended.events += batch.events.len() as u64;
        appended.last_revision = number(&answer, "lastRevision").into();
        appended.last_position = number(&answer, "position");
        expected = expected.map(|_| appended.last_revision.clone());
    }
    Ok(appended)
}

/// Groups a window into rows; batches of one row follow each other, rows may overtake one another.
fn batches(window: Vec<(u64, String, Sent, usize)>, order: Order) -> Vec<Vec<Batch>> {
    let mut rows: Vec<Vec<Batch>> = Vec::new();
    let mut row_of: HashMap<String, usize> = HashMap::new();
    let mut last: Option<usize> = None;
    for (_, stream, event, bytes) in window {
        let known = match order {
            Order::PerStream => row_of.get(&stream).copied(),
            Order::WholeFile => {
                last.filter(|row| rows.get(*row).and_then(|r| r.last()).is_some_and(|batch| batch.stream == stream))
            }
        };
        let index = known.unwrap_or(rows.len());
        if index == rows.len() {
            rows.push(Vec::new());
        }
        row_of.insert(stream.clone(), index);
        last = Some(index);
        let Some(row) = rows.get_mut(index) else { continue };
        match row.last_mut().filter(|batch| batch.bytes + bytes <= REQUEST_BYTES_MAX) {
            Some(batch) => {
                batch.events.push(event);
                batch.bytes += bytes;
            }
            None => row.push(Batch { stream, events: vec![event], bytes }),
        }
    }
    rows
}

pub(super) async fn append(client: &Client, args: AppendArgs, output: &mut Output) -> Result<(), Failure> {
    let order = if args.in_file_order { Order::WholeFile } else { Order::PerStream };
    let mut appender = Appender::new(client.clone(), order, usize::from(args.batch));
    appender.expected = args.expected_revision.as_deref().map(expected_value);
    appender.defaults = Defaults { stream: args.stream, event_type: args.event_type };
    let mut lines = LineReader::new(match &args.data {
        Some(data) => one_line(data)?,
        None => open(&args.file)?,
    });
    let timer = Progress::begin("appended");
    let appended = appender.run(&mut lines, args.skip, output).await?;
    let elapsed = timer.elapsed();
    let rate = u128::from(appended.events) * 1000 / elapsed.as_millis().max(1);
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    let told = json!({
        "appended": appended.events, "position": appended.last_position,
        "elapsedMs": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), "eventsPerSecond": rate,
    });
    let count = grouped(appended.events);
    let text = format!("appended {count} events in {} ({}/s)", humantime::format_duration(elapsed), grouped(rate));
    output.done(&text, &told)
}

fn expected_value(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}

fn one_line(data: &str) -> Result<Box<dyn BufRead + Send>, Failure> {
    let parsed: Result<Value, _> = serde_json::from_str(data);
    parsed.map_err(|error| Failure::usage("--data", error.to_string(), "JSON, such as '{\"total\": 3}'"))?;
    // JSON may be spread over lines, and a line of events may not.
    let flat = data.replace(['\n', '\r'], " ");
    Ok(Box::new(Cursor::new(format!("{{\"data\":{flat}}}"))))
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = std::fs::File::open(path).map_err(|error| Failure::File { path: path.to_owned(), error })?;
    Ok(Box::new(BufReader::new(file)))
}
