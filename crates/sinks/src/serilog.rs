//! Owns the sink that stands in for a Serilog logger: console and file, configured as Serilog is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_connector::settings::{SettingsErrors, SettingsMap, decode, describe};
use forebay_connector::{
    Batch, DefaultAction, DefaultRow, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink,
    SinkContext, Target,
};
use forebay_event::{Record, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::console::{Output, print, push_line};
use crate::envelope::push_display;
use crate::lines::LineFile;

const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);
const BATCH_RECORDS_DEFAULT: usize = 256;
/// So many outputs may be configured.
const OUTPUTS_MAX: usize = 16;

const POLICY: &[DefaultRow] = &[
    DefaultRow::new(FailureClass::Local, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Broken, DefaultAction::Retry),
];

pub(crate) const KIND: Kind = Kind {
    name: "serilog-sink",
    aliases: &["SerilogSink", "EventStore.Connectors.Serilog.SerilogSink", "Kurrent.Connectors.Serilog.SerilogSink"],
    title: "Serilog",
    summary: "writes one log entry per record to console and files, configured as Serilog is",
    page: "Writes one entry per record to the outputs that a Serilog configuration names: `Console` (one line of text) and \
           `File` (one line of JSON, with `path` and `rollingInterval`). Without a configuration it writes to the \
           console.\n\n**Guarantee.** At least once: an entry counts as delivered when the operating system has it.\n\n\
           **Repeats.** Entries may come again after a crash or when one of several outputs fails; each carries the \
           record's id.\n\n**Limits.** One lane. The `Seq` output is not offered, nor are enrichers and templates.",
    guarantee: Guarantee::AtLeastOnce,
    lanes: LaneSupport::One,
    batch_records_default: BATCH_RECORDS_DEFAULT,
    policy: POLICY,
    settings: describe::<SerilogSettings>,
    connect,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SerilogSettings {
    /// A logging configuration as base64 of JSON with the root `Serilog`; goes before `Serilog:*`.
    #[serde(default)]
    configuration: String,
    /// The same configuration as keys, such as `Serilog:WriteTo:0:Name`.
    #[serde(default, rename = "Serilog")]
    serilog: BTreeMap<String, String>,
    /// Whether entries in files hold the record's data.
    #[serde(default = "yes")]
    include_record_data: bool,
}

fn yes() -> bool {
    true
}

fn connect(map: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let settings: SerilogSettings = decode(map)?;
    let configuration = configuration(&settings)?;
    let outputs = outputs(configuration.get("WriteTo"))?;
    let writer = Writer {
        outputs: outputs.into_iter().map(|output| (output, None)).collect(),
        connector_id: Arc::clone(&context.connector_id),
        with_data: settings.include_record_data,
    };
    let console: Output = Arc::new(Mutex::new(std::io::stdout()));
    Ok(Box::new(SerilogTarget { writer: Arc::new(Mutex::new(writer)), console }))
}

/// The content of the root `Serilog`.
fn configuration(settings: &SerilogSettings) -> Result<Value, SettingsErrors> {
    if settings.configuration.trim().is_empty() {
        return Ok(SettingsMap::from_flat(settings.serilog.clone()).to_nested(&[]));
    }
    // The configuration may hold credentials, so it is not shown.
    let wrong = |expected| SettingsErrors::single("configuration", "is not valid", expected);
    let text = STANDARD.decode(settings.configuration.trim()).map_err(|_| wrong("a valid base64 encoded string"))?;
    let mut root: Value = serde_json::from_slice(&text).map_err(|_| wrong("JSON in base64"))?;
    root.get_mut("Serilog").map(Value::take).ok_or_else(|| wrong("JSON with the root Serilog"))
}

/// Where entries go.
#[derive(Clone, Debug, PartialEq)]
enum LogOutput {
    Console,
    File { path: PathBuf, interval: Interval },
}

/// How often a new file is begun: by how many digits of the time its name holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Interval {
    Infinite,
    Digits(usize),
}

fn outputs(write_to: Option<&Value>) -> Result<Vec<LogOutput>, SettingsErrors> {
    let outputs = match write_to {
        None | Some(Value::Null) => vec![LogOutput::Console],
        Some(Value::Array(items)) => items.iter().take(OUTPUTS_MAX).map(output).collect::<Result<_, _>>()?,
        Some(Value::Object(named)) if !named.contains_key("Name") => {
            named.values().take(OUTPUTS_MAX).map(output).collect::<Result<_, _>>()?
        }
        Some(one) => vec![output(one)?],
    };
    Ok(outputs)
}

fn output(item: &Value) -> Result<LogOutput, SettingsErrors> {
    const KEY: &str = "Serilog:WriteTo";
    let name = item.as_str().or_else(|| item.get("Name").and_then(Value::as_str)).unwrap_or_default();
    match name {
        "Console" => Ok(LogOutput::Console),
        "File" => {
            let argument = |key: &str| item.get("Args").and_then(|args| args.get(key)).and_then(Value::as_str);
            let path = argument("path").filter(|path| !path.is_empty()).ok_or_else(|| {
                SettingsErrors::single("Serilog:WriteTo:Args:path", "is missing", "the name of a file")
            })?;
            let interval = interval(argument("rollingInterval").unwrap_or("Infinite"))?;
            Ok(LogOutput::File { path: path.into(), interval })
        }
        "Seq" => Err(SettingsErrors::single(KEY, "names the output Seq, which is not offered", "Console or File")),
        other => Err(SettingsErrors::single(KEY, format!("names the output {other:?}"), "Console or File")),
    }
}

fn interval(text: &str) -> Result<Interval, SettingsErrors> {
    match text {
        "Infinite" => Ok(Interval::Infinite),
        "Year" => Ok(Interval::Digits(4)),
        "Month" => Ok(Interval::Digits(6)),
        "Day" => Ok(Interval::Digits(8)),
        "Hour" => Ok(Interval::Digits(10)),
        "Minute" => Ok(Interval::Digits(12)),
        other => Err(SettingsErrors::single(
            "Serilog:WriteTo:Args:rollingInterval",
            format!("is {other:?}"),
            "one of Infinite, Year, Month, Day, Hour, Minute",
        )),
    }
}

/// The file of this time: `log.txt` becomes `log20251121.txt` when a new one is begun each day.
fn dated(path: &Path, interval: Interval, at: Timestamp) -> PathBuf {
    let Interval::Digits(count) = interval else { return path.to_owned() };
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).take(count).collect();
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (part(path.file_stem()), part(path.extension()));
    let dot = if extension.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}{digits}{dot}{extension}"))
}

struct SerilogTarget {
    writer: Arc<Mutex<Writer>>,
    console: Output,
}

impl Target for SerilogTarget {
    fn sink(&self, _: Lane) -> Box<dyn Sink> {
        Box::new(SerilogSink { writer: Arc::clone(&self.writer), console: Arc::clone(&self.console) })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        ATTEMPT_LIMIT
    }
}

struct Writer {
    /// Each file output with the file in hand.
    outputs: Vec<(LogOutput, Option<(PathBuf, LineFile)>)>,
    connector_id: Arc<str>,
    with_data: bool,
}

struct SerilogSink {
    writer: Arc<Mutex<Writer>>,
    console: Output,
}

#[async_trait]
impl Sink for SerilogSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let writer = Arc::clone(&self.writer);
        let copy = batch.clone();
        // Off the tasks' threads: a slow disk blocks.
        let work = move || writer.lock().unwrap_or_else(PoisonError::into_inner).write(&copy);
        let to_console = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Failure::retry(FailureClass::Broken, format!("file work was cut off: {error}")))?
            .map_err(|error| Failure::retry(FailureClass::Local, format!("cannot write the log file: {error}")))?;
        if to_console {
            print(&self.console, console_lines(batch)).await?;
        }
        receipt.delivered_all();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Writer {
    /// Writes to all files; answers whether the console is an output too.
    fn write(&mut self, batch: &Batch) -> std::io::Result<bool> {
        let Self { outputs, connector_id, with_data } = self;
        let mut lines = None;
        for (output, open) in outputs.iter_mut() {
            let LogOutput::File { path, interval } = output else { continue };
            let lines = lines.get_or_insert_with(|| file_lines(batch, connector_id, *with_data));
            let wanted = dated(path, *interval, batch.at());
            if open.as_ref().is_none_or(|(path, _)| *path != wanted) {
                *open = Some((wanted.clone(), LineFile::open(&wanted)?));
            }
            if let Some((_, file)) = open {
                file.append(lines, false)?;
            }
        }
        Ok(outputs.iter().any(|(output, _)| *output == LogOutput::Console))
    }
}

/// `[HH:mm:ss:fff INF] SerilogSink {id} {stream}@{position} {type}`, one line per record.
fn console_lines(batch: &Batch) -> Vec<u8> {
    let time = batch.at().to_string();
    let (seconds, millis) = (time.get(11..19).unwrap_or_default(), time.get(20..23).unwrap_or_default());
    let mut lines = Vec::new();
    for record in batch.records() {
        lines.extend_from_slice(format!("[{seconds}:{millis} INF] SerilogSink ").as_bytes());
        push_line(record, &mut lines);
        lines.push(b'\n');
    }
    lines
}

fn file_lines(batch: &Batch, connector_id: &str, with_data: bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in batch.records() {
        push_display(&mut lines, &entry(batch, record, connector_id, with_data));
        lines.push(b'\n');
    }
    lines
}

fn entry(batch: &Batch, record: &Record, connector_id: &str, with_data: bool) -> Value {
    let event = record.event();
    let mut message = Vec::new();
    push_line(record, &mut message);
    let schema_type = match event.content_type() {
        forebay_event::ContentType::Json => "Json",
        forebay_event::ContentType::Bytes => "Bytes",
    };
    let headers: serde_json::Map<String, Value> = match record.headers() {
        Some(headers) => headers.clone(),
        None => forebay_connector::metadata_headers(event.metadata_slice()),
    }
    .into_iter()
    .map(|(key, value)| (key, Value::String(value)))
    .collect();
    serde_json::json!({
        "@t": batch.at().to_string(),
        "@m": String::from_utf8_lossy(&message),
        "SourceContext": "SerilogSink",
        "ConnectorId": connector_id,
        "Record": {
            "RecordId": event.id().to_string(),
            "StreamId": event.stream(),
            "LogPosition": event.position().to_string(),
            "IsRedacted": false,
            "SchemaInfo": {
                "Subject": record.subject(),
                "SchemaType": schema_type,
                "ContentType": event.content_type().media_type(),
            },
            "Headers": headers,
            "Data": with_data.then(|| STANDARD.encode(record.data_slice())),
            "Timestamp": event.created().to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::attempt;
    use forebay_connector::testing::samples::{SAMPLE_TIME, sample_batch, sample_context};

    fn connected(entries: &[(&str, &str)]) -> Result<Box<dyn Target>, SettingsErrors> {
        let flat = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        connect(&SettingsMap::from_flat(flat), &sample_context())
    }

    fn refused(entries: &[(&str, &str)]) -> String {
        connected(entries).err().expect("it is wrong").to_string()
    }

    #[test]
    fn a_configuration_is_read_in_both_forms() {
        assert!(connected(&[]).is_ok());
        assert!(connected(&[("Serilog:WriteTo:0:Name", "Console")]).is_ok());
        let text = STANDARD.encode(r#"{"Serilog":{"WriteTo":[{"Name":"Console"}]}}"#);
        assert!(connected(&[("configuration", &text)]).is_ok());
        assert!(refused(&[("configuration", "%")]).contains("a valid base64 encoded string"));
        assert!(refused(&[("configuration", &STANDARD.encode("{}"))]).contains("root Serilog"));
        assert!(refused(&[("Serilog:WriteTo:0:Name", "Seq")]).contains("Seq, which is not offered"));
        assert!(refused(&[("Serilog:WriteTo:0:Name", "File")]).contains("path is missing"));
    }

    #[test]
    fn files_are_named_for_the_time() {
        let name = |interval| dated(Path::new("a/log.txt"), interval, SAMPLE_TIME);
        assert_eq!(name(Interval::Infinite), Path::new("a/log.txt"));
        assert_eq!(name(Interval::Digits(8)), Path::new("a/log20251121.txt"));
        assert_eq!(name(Interval::Digits(12)), Path::new("a/log202511210800.txt"));
    }

    #[test]
    fn console_lines_have_the_known_form() {
        let lines = String::from_utf8(console_lines(&sample_batch(4..5))).unwrap();
        let id = "0f0e0000-0000-4000-8000-000000000004";
        assert_eq!(lines, format!("[08:00:00:000 INF] SerilogSink {id} order-1@104 OrderPlaced\n"));
    }

    #[tokio::test]
    async fn a_file_gets_one_entry_per_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let settings = [
            ("Serilog:WriteTo:0:Name", "File"),
            ("Serilog:WriteTo:0:Args:path", path.to_str().unwrap()),
            ("Serilog:WriteTo:0:Args:rollingInterval", "Day"),
        ];
        let mut sink = connected(&settings).unwrap().sink(Lane(0));
        assert!(attempt(&mut *sink, &sample_batch(0..3), ATTEMPT_LIMIT).await.is_complete());
        let text = std::fs::read_to_string(folder.path().join("log20251121.json")).unwrap();
        let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0]["Record"]["LogPosition"], "100");
        assert_eq!(entries[0]["Record"]["Data"], STANDARD.encode("{\"number\":0}"));
    }
}
