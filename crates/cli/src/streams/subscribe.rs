//! Owns `streams subscribe`: events as they come, also across a restart of the server.

use std::time::Duration;

use serde_json::Value;

use super::args::SubscribeArgs;
use super::show::print_event;
use crate::client::{Ask, Client, Lines};
use crate::failure::{Failure, Refusal};
use crate::numbers::point;
use crate::output::Output;
use crate::progress::Progress;

/// So many attempts to come back without an event in between; then it is given up.
const ATTEMPTS_MAX: u32 = 8;
const ALL: &str = "$all";
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How far a subscription has come.
struct Way<'a> {
    args: &'a SubscribeArgs,
    filter: Vec<(&'static str, String)>,
    from: String,
    left: Option<u64>,
    progress: Progress,
}

/// Why a subscription stopped handing out events.
enum Ended {
    /// All that was asked for has been printed.
    Done,
    /// The server ended it, or the connection broke, after so many events.
    Dropped(Option<Failure>, u64),
}

pub(super) async fn subscribe(client: &Client, args: &SubscribeArgs, output: &mut Output) -> Result<(), Failure> {
    let filter = args.filter.query(&args.stream)?;
    let progress = Progress::begin("received");
    let from = begin(client, args).await?;
    let mut way = Way { args, filter, from, left: args.limit, progress };
    // The first connection must stand; only what once stood is worth coming back to.
    let mut lines = way.open(client).await?;
    let (mut attempts, mut pause) = (0, PAUSE_MIN);
    loop {
        let (failure, events) = match way.follow(&mut lines, output).await? {
            Ended::Done => return Ok(()),
            Ended::Dropped(failure, events) => (failure, events),
        };
        if events > 0 {
            (attempts, pause) = (0, PAUSE_MIN);
        }
        lines = loop {
            attempts += 1;
            output.clear_progress();
            output.note(&format!("the subscription was dropped; going on from {}", way.from));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            match way.open(client).await {
                Ok(lines) => break lines,
                Err(error) if error.refusal().is_some() || attempts >= ATTEMPTS_MAX => {
                    return Err(failure.unwrap_or(error));
                }
                Err(_) => {}
            }
        };
    }
}

/// Where to begin. The end of a stream is asked for now, so that nothing is missed if the subscription is dropped before
/// it has handed out anything.
async fn begin(client: &Client, args: &SubscribeArgs) -> Result<String, Failure> {
    if args.stream == ALL || args.from != "end" {
        return Ok(args.from.clone());
    }
    let ask = Ask::get(&["streams", &args.stream, "events"], format!("read stream {}", args.stream));
    let last = client.ask(ask.query("from", "end").query("direction", "backward").query("limit", 1)).await;
    match last {
        Ok(page) => Ok(point(&page, "lastRevision").unwrap_or_else(|| args.from.clone())),
        Err(failure) if failure.refusal().is_some_and(|refusal| refusal.status == 404) => Ok("start".to_owned()),
        Err(failure) => Err(failure),
    }
}

impl Way<'_> {
    async fn open(&self, client: &Client) -> Result<Lines, Failure> {
        let stream = self.args.stream.as_str();
        let ask = Ask::get(&["streams", stream, "subscribe"], format!("subscribe to stream {stream}"));
        let mut ask = ask.query("from", &self.from);
        for (key, value) in &self.filter {
            ask = ask.query(key, value);
        }
        client.lines(ask).await
    }

    /// Prints events until the subscription ends; only what cannot be mended by coming back is a failure.
    async fn follow(&mut self, lines: &mut Lines, output: &mut Output) -> Result<Ended, Failure> {
        let mut events = 0;
        loop {
            let text = match lines.next().await {
                Ok(Some(text)) => text,
                Ok(None) => return Ok(Ended::Dropped(None, events)),
                Err(failure @ (Failure::Unreachable { .. } | Failure::TimedOut { .. })) => {
                    return Ok(Ended::Dropped(Some(failure), events));
                }
                Err(failure) => return Err(failure),
            };
            let line: Value = serde_json::from_str(&text).map_err(|error| lines.broken(&error.to_string()))?;
            if let Some(caught_up) = line.get("caughtUp") {
                if let (ALL, Some(position)) = (self.args.stream.as_str(), point(caught_up, "position")) {
                    self.from = position;
                }
                if self.args.until_caught_up {
                    output.clear_progress();
                    return Ok(Ended::Done);
                }
                continue;
            }
            if let Some(error) = line.get("error") {
                let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
                let refusal = Refusal { status: 200, message, ..Refusal::default() };
                let action = format!("go on with the subscription to stream {}", self.args.stream);
                return Ok(Ended::Dropped(Some(Failure::Refused { action, refusal }), events));
            }
            if line.get("type").is_none() {
                continue;
            }
            events += 1;
            self.print(&text, &line, output)?;
            if self.left == Some(0) {
                output.clear_progress();
                return Ok(Ended::Done);
            }
        }
    }

    fn print(&mut self, text: &str, event: &Value, output: &mut Output) -> Result<(), Failure> {
        output.clear_progress();
        print_event(text, output)?;
        let key = if self.args.stream == ALL { "position" } else { "revision" };
        if let Some(seen) = point(event, key) {
            self.from = seen;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.progress.add(1, output);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
