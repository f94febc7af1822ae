//! Owns what the quickstart says at its end: the summary, and what to try next.

use serde_json::json;

use super::bundle::Bundle;
use super::ledger::Checked;
use super::story::CONNECTOR;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;

/// Read, skipped, delivered, and what the receiver found.
pub(super) fn summary(checked: &Checked, bundle: &Bundle, output: &mut Output) -> Result<(), Failure> {
    let expected = bundle.expected_count();
    let skipped = bundle.events - expected;
    let in_order = checked.problem_count == 0;
    if output.is_json() {
        return output.line(&json!({ "summary": {
            "read": bundle.events, "skipped": skipped, "expected": expected, "delivered": checked.delivered,
            "streams": checked.streams, "missing": checked.missing, "repeated": checked.repeats,
            "inOrder": in_order, "problems": checked.problems,
        }}));
    }
    let told = if in_order { "kept in every stream".to_owned() } else { checked.problems.join("; ") };
    output.text(&format!(
        "\nread       {}\nskipped    {}  (magnitude below the filter)\ndelivered  {} of {} expected, from {} streams; \
         {} missing, {} repeated\norder      {told}\n",
        grouped(bundle.events),
        grouped(skipped),
        grouped(checked.delivered),
        grouped(expected),
        checked.streams,
        grouped(checked.missing),
        grouped(checked.repeats),
    ))
}

/// Commands to go on with.
pub(super) fn next_steps(url: &str, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    output.text(&format!(
        r#"
Try next, in another terminal (this one shows what is delivered; Ctrl-C ends it):

  # a strong earthquake of your own: it is delivered at once
  curl -i {url}/streams/quakes-mine/events -H 'content-type: application/json' \
    -d '{{"events":[{{"type":"EarthquakeReported","data":{{"mag":6.1,"place":"here","time":0,"geometry":{{"coordinates":[0,0,10]}}}}}}]}}'
  # a weak one: the filter drops it
  curl -i {url}/streams/quakes-mine/events -H 'content-type: application/json' \
    -d '{{"events":[{{"type":"EarthquakeReported","data":{{"mag":0.4,"place":"here"}}}}]}}'

  # what the connector is doing, and how to stop and start it
  forebay connectors list --server {url}
  forebay connectors show {CONNECTOR} --server {url}
  forebay connectors stop {CONNECTOR} --server {url} --wait
  forebay connectors start {CONNECTOR} --server {url} --wait

  # read what is in the log
  forebay streams read quakes-us --limit 3 --server {url}
  curl -s '{url}/streams/quakes-us/events?from=end&direction=backward&limit=1'

  # what can be set, and the numbers
  forebay connectors describe http-sink --server {url}
  curl -s {url}/metrics

"#
    ))
}
