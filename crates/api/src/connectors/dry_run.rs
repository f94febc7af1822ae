//! Owns previews: filter and transform over history, without a sink.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_event::Position;
use forebay_runtime::Connectors;
use forebay_runtime::management::{PreviewOutcome, PreviewReport, PreviewRequest, PreviewSample};
use serde_json::{Value, json};

use super::settings_body::{number, object, wrapped};
use crate::request::Payload;
use crate::status::Refusal;

/// A report holds so many samples unless asked otherwise.
const SAMPLES_DEFAULT: u64 = 10;
/// A report holds at most so many samples.
const SAMPLES_MAX: u64 = 100;
/// What may stand beside the settings.
const BESIDE: [&str; 5] = ["name", "last", "from", "to", "samples"];

/// Runs a preview.
pub(super) async fn preview(State(connectors): State<Connectors>, Payload(body): Payload) -> Result<Response, Refusal> {
    let report = connectors.preview(read(&body)?).await?;
    Ok(Json(report_json(&report)).into_response())
}

fn read(body: &[u8]) -> Result<PreviewRequest, Refusal> {
    let object = object(body)?;
    let samples = number(&object, "samples")?.unwrap_or(SAMPLES_DEFAULT);
    if samples > SAMPLES_MAX {
        return Err(Refusal::field("samples", format!("samples is {samples}: expected at most {SAMPLES_MAX}")));
    }
    Ok(PreviewRequest {
        settings: wrapped(&object, &BESIDE)?,
        last: number(&object, "last")?,
        from: number(&object, "from")?.map(Position::new),
        to: number(&object, "to")?.map(Position::new),
        samples: usize::try_from(samples).unwrap_or(usize::MAX),
    })
}

fn report_json(report: &PreviewReport) -> Value {
    json!({
        "examined": report.examined,
        "matched": report.matched,
        "skipped": report.skipped,
        "failed": report.failed,
        "cutShort": report.cut_short,
        "samples": report.samples.iter().map(sample_json).collect::<Vec<_>>(),
    })
}

fn sample_json(sample: &PreviewSample) -> Value {
    let mut object = json!({
        "position": sample.position.to_string(),
        "stream": sample.stream,
        "revision": sample.revision,
    });
    let outcome = match &sample.outcome {
        PreviewOutcome::Matched { subject, data } => match serde_json::from_slice::<Value>(data) {
            Ok(data) => json!({ "outcome": "matched", "subject": subject, "data": data }),
            Err(_) => json!({ "outcome": "matched", "subject": subject, "dataBase64": STANDARD.encode(data) }),
        },
        PreviewOutcome::Failed { reason } => json!({ "outcome": "failed", "reason": reason }),
    };
    if let (Value::Object(object), Value::Object(outcome)) = (&mut object, outcome) {
        object.extend(outcome);
    }
    object
}
