//! Owns the door for fuzzing: the requests that settings make of records, without a target.

use ::http::Request;
use bytes::Bytes;
use forebay_connector::Failure;
use forebay_connector::settings::{SettingsErrors, SettingsMap, decode};
use forebay_connector::testing::samples::{batch_of, sample_context};
use forebay_event::Record;
use http_body_util::Full;

use super::request::{batch_request, event_request};
use super::settings::Mode;
use super::sink::Plan;

/// The requests that an `http-sink` with these settings sends for records, which are at least one.
///
/// # Panics
/// When there are no records.
pub fn http_requests(
    settings: &SettingsMap,
    records: Vec<Record>,
) -> Result<Vec<Result<Request<Full<Bytes>>, Failure>>, SettingsErrors> {
    let shape = Plan::new(decode(settings)?, &sample_context())?.shape;
    let batch = batch_of(records);
    if shape.mode == Mode::Event {
        return Ok(batch.records().iter().map(|record| event_request(&shape, &batch, record)).collect());
    }
    Ok(vec![batch_request(&shape, &batch, batch.records()).map_err(|(_, failure)| failure)])
}
