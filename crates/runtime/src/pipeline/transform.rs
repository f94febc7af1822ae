//! Owns the transform: batches of records through the user's script, on their way to the lanes.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_connector::settings::SettingsErrors;
use forebay_connector::{Failure, FailureClass};
use forebay_event::Record;
use forebay_script::{Limits, ScriptError, Transform, TransformFailure, Transformed};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lanes::{Router, Tracked};
use super::report::{Report, Settlement};
use super::run::PipelineFailure;
use crate::metrics::ConnectorMetrics;
use crate::settings::TransformerSettings;

const FUNCTION_KEY: &str = "transformer:function";
const TIMEOUT_KEY: &str = "transformer:executionTimeoutMs";

/// How many batches may wait for the script besides the one it works on.
pub(super) const QUEUED_BATCHES_MAX: usize = 2;

/// A user's script that loads and has a `transform`.
#[derive(Clone, Debug)]
pub(super) struct Script {
    source: Arc<str>,
    limits: Limits,
}

impl Script {
    /// Checks the settings and loads the script once; none when there is no transform.
    pub(super) fn new(settings: &TransformerSettings) -> Result<Option<Self>, SettingsErrors> {
        if !settings.enabled {
            return Ok(None);
        }
        if settings.function.trim().is_empty() {
            let expected = "JavaScript that defines function transform(record), as transformer:enabled is true";
            return Err(SettingsErrors::single(FUNCTION_KEY, "is missing", expected));
        }
        let time = settings.execution_timeout_ms.0;
        if time.as_millis() == 0 {
            return Err(SettingsErrors::single(TIMEOUT_KEY, format!("is \"{}\"", time.as_millis()), "at least 1 ms"));
        }
        let limits = Limits { time, ..Limits::default() };
        let source = source_text(&settings.function)?;
        forebay_script::validate(&source, limits).map_err(|error| wrong(&error))?;
        Ok(Some(Self { source: source.into(), limits }))
    }

    /// Loads the script to be used; blocks for a moment.
    pub(super) fn start(&self) -> Result<Transform, ScriptError> {
        Transform::start(&self.source, self.limits)
    }
}

/// Plain text, or what base64 of UTF-8 says. No JavaScript with a function in it is valid base64.
fn source_text(function: &str) -> Result<Cow<'_, str>, SettingsErrors> {
    let compact: String = function.split_ascii_whitespace().collect();
    match STANDARD.decode(&compact) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| SettingsErrors::single(FUNCTION_KEY, "is base64 of something else than UTF-8", "JavaScript")),
        Err(_) => Ok(Cow::Borrowed(function)),
    }
}

fn wrong(error: &ScriptError) -> SettingsErrors {
    SettingsErrors::single(FUNCTION_KEY, "cannot be used", format!("JavaScript that loads: {error}"))
}

/// The station between reading and lanes.
pub(super) struct Transformer {
    pub(super) script: Script,
    pub(super) input: mpsc::Receiver<Vec<Tracked>>,
    pub(super) router: Router,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) metrics: ConnectorMetrics,
    pub(super) stop: CancellationToken,
}

impl Transformer {
    /// Transforms batches until there are no more, or it is asked to stop.
    pub(super) async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.transform_all() => {}
        }
    }

    async fn transform_all(mut self) {
        let script = self.script.clone();
        let transform = match tokio::task::spawn_blocking(move || script.start()).await {
            Ok(Ok(transform)) => transform,
            Ok(Err(error)) => return self.fail(error.to_string()).await,
            Err(_) => return self.fail("the script's engine crashed".to_owned()).await,
        };
        while let Some(batch) = self.input.recv().await {
            let begun = Instant::now();
            let (batch, dropped) = transformed(&transform, batch).await;
            self.metrics.transformed(begun.elapsed().as_secs_f64());
            if !dropped.seqs.is_empty() && self.reports.send(Report::Settled(dropped)).await.is_err() {
                return;
            }
            if self.router.send(batch).await.is_err() {
                return;
            }
        }
    }

    async fn fail(&self, reason: String) {
        let message = format!("the transform cannot be started: {reason}");
        let _ = self.reports.send(Report::Fatal(PipelineFailure { code: "script", message })).await;
    }
}

/// The records that go on, those that failed marked so; and those that the script dropped.
async fn transformed(transform: &Transform, batch: Vec<Tracked>) -> (Vec<Tracked>, Settlement) {
    let mut dropped = Settlement::skipped();
    let records: Vec<Record> = batch.iter().map(|tracked| tracked.record.clone()).collect();
    let results = transform.apply(records).await;
    let mut kept = Vec::with_capacity(batch.len());
    for (mut tracked, result) in batch.into_iter().zip(results) {
        match result {
            Ok(Transformed::Unchanged(record) | Transformed::Changed(record)) => tracked.record = record,
            Ok(Transformed::Dropped(_)) => {
                dropped.add(&tracked);
                continue;
            }
            Err(failure) => tracked.doomed = Some(Box::new(failure_of(&failure))),
        }
        kept.push(tracked);
    }
    (kept, dropped)
}

/// What a failed transform means for its record.
pub(super) fn failure_of(failure: &TransformFailure) -> Failure {
    Failure::reject(FailureClass::Script, format!("{}: {}", failure.kind, failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::settings::DurationMs;

    fn settings(function: &str) -> TransformerSettings {
        TransformerSettings { enabled: true, function: function.to_owned(), ..TransformerSettings::default() }
    }

    #[test]
    fn scripts_come_as_text_or_base64() {
        let plain = "function transform(record) { record.value.seen = true; }";
        assert!(Script::new(&settings(plain)).unwrap().is_some());
        assert!(Script::new(&settings(&STANDARD.encode(plain))).unwrap().is_some());
        let off = TransformerSettings { enabled: false, ..settings("nonsense(") };
        assert!(Script::new(&off).unwrap().is_none());
    }

    #[test]
    fn scripts_that_cannot_run_are_refused() {
        for function in ["", "function transform(record) {", "function other(record) {}"] {
            let refused = Script::new(&settings(function)).unwrap_err();
            assert_eq!(refused.errors[0].key, FUNCTION_KEY);
        }
        let refused = Script::new(&settings(&STANDARD.encode([0xff, 0xfe, 0x01]))).unwrap_err();
        assert!(refused.to_string().contains("UTF-8"), "{refused}");
        let mut hasty = settings("function transform(r) {}");
        hasty.execution_timeout_ms = DurationMs::millis(0);
        assert_eq!(Script::new(&hasty).unwrap_err().errors[0].key, TIMEOUT_KEY);
    }
}
