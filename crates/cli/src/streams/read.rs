//! Owns `streams read`: pages of events until the limit or the end.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::args::ReadArgs;
use super::show::print_event;
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::numbers::point_of;
use crate::output::Output;

const PAGE_EVENTS_MAX: u64 = 500;

pub(super) async fn read(client: &Client, args: &ReadArgs, output: &mut Output) -> Result<(), Failure> {
    let filter = args.filter.query(&args.stream)?;
    let direction = if args.backward { "backward" } else { "forward" };
    let mut from = args.from.clone().unwrap_or_else(|| if args.backward { "end" } else { "start" }.to_owned());
    let mut left = args.limit;
    let action = format!("read stream {}", args.stream);
    while left > 0 {
        let ask = Ask::get(&["streams", &args.stream, "events"], &action).query("from", &from);
        let mut ask = ask.query("direction", direction).query("limit", left.min(PAGE_EVENTS_MAX));
        for (key, value) in &filter {
            ask = ask.query(key, value);
        }
        let body = client.ask_bytes(ask).await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|error| Failure::Answer { action: action.clone(), problem: error.to_string() })?;
        let events = &page.events;
        for event in events.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            print_event(event.get(), output)?;
        }
        left = left.saturating_sub(events.len() as u64);
        match next_of(&page, &from) {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(())
}

/// A page; its events are kept as they came, so that numbers keep all of their digits.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    events: Vec<Box<RawValue>>,
    next: Option<Value>,
    at_end: Option<bool>,
}

/// Where the next page begins; nothing at the end, and nothing when the server does not get on.
fn next_of(page: &Page, from: &str) -> Option<String> {
    let next = point_of(page.next.as_ref()?)?;
    // An empty page of a filtered read still gets on; one of a stream is its end.
    let ended = page.at_end.unwrap_or(page.events.is_empty());
    (!ended && next != from).then_some(next)
}
