//! Owns the preview: filter and transform over history, touching no sink.

use forebay_connector::Catalog;
use forebay_connector::settings::SettingsErrors;
use forebay_event::{Position, Record, RecordedEvent};
use forebay_script::{Transform, Transformed};
use forebay_store::{AllPage, Direction, EventStore, LogPoint, PageLimit, ReadAll, ReadError};

use super::Plan;
use super::filter::{Filter, Source};
use super::view::EventView;
use crate::management::{PreviewOutcome, PreviewReport, PreviewRequest, PreviewSample, QueryError};

/// A preview examines at most so many events.
const EXAMINED_MAX: u64 = 100_000;
/// A report holds at most so many samples.
const SAMPLES_MAX: usize = 100;
/// The most bytes of one payload in a sample.
const SAMPLE_BYTES_MAX: usize = 64 << 10;
const PAGE: PageLimit = PageLimit { events: 500, bytes: 1 << 20 };
/// The id that scripts and sinks see in a preview.
const PREVIEW_ID: &str = "preview";

/// Runs filter and transform of a connector over history.
///
/// The range is read without a filter, so that what is skipped can be counted; system events of the range count too.
pub async fn preview(
    store: &dyn EventStore,
    catalog: &Catalog,
    request: PreviewRequest,
) -> Result<PreviewReport, QueryError> {
    let (settings, catalog) = (request.settings.clone(), catalog.clone());
    let built = tokio::task::spawn_blocking(move || {
        let plan = Plan::build(PREVIEW_ID, &settings, &catalog)?;
        let transform = plan.script.as_ref().map(|script| script.start().map_err(|error| cannot_start(&error)));
        Ok::<_, SettingsErrors>((plan.filter, transform.transpose()?))
    });
    let built = built.await.map_err(|error| ReadError::Unavailable { reason: error.to_string() })?;
    let (filter, transform) = built.map_err(QueryError::Settings)?;
    let samples_max = request.samples.min(SAMPLES_MAX);
    let mut preview = Preview { filter, transform, report: PreviewReport::default(), samples_max };
    preview.run(store, &request).await?;
    Ok(preview.report)
}

fn cannot_start(error: &forebay_script::ScriptError) -> SettingsErrors {
    SettingsErrors::single("transformer:function", "cannot be used", format!("JavaScript that loads: {error}"))
}

struct Preview {
    filter: Filter,
    transform: Option<Transform>,
    report: PreviewReport,
    samples_max: usize,
}

impl Preview {
    async fn run(&mut self, store: &dyn EventStore, request: &PreviewRequest) -> Result<(), ReadError> {
        let mut from = match request.last {
            Some(last) => start_of_last(store, last.min(EXAMINED_MAX)).await?,
            None => request.from.map_or(LogPoint::Start, LogPoint::At),
        };
        let to = request.to.filter(|_| request.last.is_none());
        loop {
            let page = read(store, Direction::Forward, from, PAGE).await?;
            let mut at_end = page.at_end;
            let mut events = page.events;
            if let Some(to) = to {
                let inside = events.partition_point(|event| event.position() <= to);
                at_end |= inside < events.len();
                events.truncate(inside);
            }
            let left = usize::try_from(EXAMINED_MAX - self.report.examined).unwrap_or(usize::MAX);
            self.report.cut_short = events.len() > left || (events.len() == left && !at_end);
            events.truncate(left);
            self.examine(events).await;
            if at_end || self.report.cut_short {
                return Ok(());
            }
            from = page.next;
        }
    }

    async fn examine(&mut self, events: Vec<RecordedEvent>) {
        self.report.examined += events.len() as u64;
        let before = events.len();
        let kept: Vec<Record> = events.into_iter().filter(|event| self.keeps(event)).map(Record::of).collect();
        self.report.skipped += (before - kept.len()) as u64;
        let Some(transform) = &self.transform else {
            for record in kept {
                self.matched(&record);
            }
            return;
        };
        for result in transform.apply(kept).await {
            match result {
                Ok(Transformed::Unchanged(record) | Transformed::Changed(record)) => self.matched(&record),
                Ok(Transformed::Dropped(_)) => self.report.skipped += 1,
                Err(failure) => {
                    self.report.failed += 1;
                    let reason = format!("{}: {}", failure.kind, failure.message);
                    self.sample(&failure.record, PreviewOutcome::Failed { reason });
                }
            }
        }
    }

    fn keeps(&self, event: &RecordedEvent) -> bool {
        let passes = match self.filter.source() {
            Source::Log(filter) => filter.matches(event),
            Source::Stream(stream) => stream.as_str() == event.stream(),
        };
        passes && self.filter.keeps(&mut EventView::new(event))
    }

    fn matched(&mut self, record: &Record) {
        self.report.matched += 1;
        let data = record.data_slice();
        let outcome = PreviewOutcome::Matched {
            subject: record.subject().to_owned(),
            data: data.get(..data.len().min(SAMPLE_BYTES_MAX)).unwrap_or_default().to_vec(),
        };
        self.sample(record, outcome);
    }

    fn sample(&mut self, record: &Record, outcome: PreviewOutcome) {
        if self.report.samples.len() < self.samples_max {
            let event = record.event();
            self.report.samples.push(PreviewSample {
                position: event.position(),
                stream: event.stream().to_owned(),
                revision: event.revision().get(),
                outcome,
            });
        }
    }
}

/// Where the last so many events begin.
async fn start_of_last(store: &dyn EventStore, last: u64) -> Result<LogPoint, ReadError> {
    let (mut left, mut from, mut first) = (last, LogPoint::End, None::<Position>);
    while left > 0 {
        let events = PAGE.events.min(usize::try_from(left).unwrap_or(PAGE.events));
        let page = read(store, Direction::Backward, from, PageLimit { events, ..PAGE }).await?;
        left -= (page.events.len() as u64).min(left);
        first = page.events.last().map(RecordedEvent::position).or(first);
        if page.at_end {
            break;
        }
        from = page.next;
    }
    Ok(first.map_or(LogPoint::End, LogPoint::At))
}

async fn read(
    store: &dyn EventStore,
    direction: Direction,
    from: LogPoint,
    limit: PageLimit,
) -> Result<AllPage, ReadError> {
    let filter = forebay_store::EventFilter::All;
    store.read_all(ReadAll { direction, from, limit, filter }).await
}
