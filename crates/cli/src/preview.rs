//! Owns `preview`: what a connector's filter and transform would do with history.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::command::ClientOptions;
use crate::failure::Failure;
use crate::numbers::number;
use crate::output::Output;
use crate::progress::grouped;
use crate::settings_file::{FileForm, read_settings};
use crate::table::{Table, shortened};

const DATA_CHARS_MAX: usize = 100;

/// Which settings, over which part of the log.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// A file of settings, or of connectors (YAML, TOML or JSON); `-` reads standard input
    file: PathBuf,
    /// Examines the last so many events of the log
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"], required_unless_present = "from")]
    last: Option<u64>,
    /// Begins at this position
    #[arg(long, value_name = "POSITION", requires = "to")]
    from: Option<u64>,
    /// Ends at this position
    #[arg(long, value_name = "POSITION", requires = "from")]
    to: Option<u64>,
    /// Shows at most so many samples
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=1000))]
    samples: u64,
    /// Which connector of the file, when it declares several
    #[arg(long, value_name = "ID")]
    connector: Option<String>,
    /// The form of the file, when its name does not say
    #[arg(long, value_name = "FORM")]
    format: Option<FileForm>,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

pub(crate) async fn run(args: PreviewArgs, output: &mut Output) -> Result<(), Failure> {
    let settings = read_settings(&args.file, args.format, args.connector.as_deref())?;
    let mut body = json!({ "settings": settings, "samples": args.samples });
    if let Some(object) = body.as_object_mut() {
        for (key, value) in [("last", args.last), ("from", args.from), ("to", args.to)] {
            value.map(|value| object.insert(key.to_owned(), value.into()));
        }
    }
    let client = Client::new(&args.client)?;
    let report = client.ask(Ask::post(&["preview"], "preview these settings").json(&body)).await?;
    if output.is_json() { output.document(&report) } else { output.text(&rendered(&report)) }
}

fn rendered(report: &Value) -> String {
    let count = |key: &str| grouped(number(report, key));
    let mut text = format!(
        "examined {} events: {} matched, {} skipped, {} failed\n",
        count("examined"),
        count("matched"),
        count("skipped"),
        count("failed")
    );
    if report.get("cutShort").and_then(Value::as_bool) == Some(true) {
        text.push_str("the range was longer than one preview may examine; the rest was left out\n");
    }
    let samples = report.get("samples").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !samples.is_empty() {
        let mut table = Table::headed(&["POSITION", "EVENT", "OUTCOME", "SUBJECT", "DATA OR REASON"]);
        samples.iter().for_each(|sample| table.row(row(sample)));
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

fn row(sample: &Value) -> Vec<String> {
    let text = |key: &str| sample.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let shown = match (sample.get("reason"), sample.get("data")) {
        (Some(Value::String(reason)), _) => reason.clone(),
        (_, Some(data)) => data.to_string(),
        _ => text("dataBase64"),
    };
    vec![
        number(sample, "position").to_string(),
        format!("{}@{}", text("stream"), number(sample, "revision")),
        text("outcome"),
        text("subject"),
        shortened(&shown, DATA_CHARS_MAX),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Fake;

    #[tokio::test]
    async fn preview_sends_flat_settings_and_shows_samples() {
        let fake = Fake::answering(|request| {
            assert_eq!(request.line(), "POST /preview");
            let body: Value = serde_json::from_str(&request.body).unwrap();
            assert_eq!(
                body,
                json!({"last": 500, "samples": 2, "settings": {"instanceTypeName": "http-sink", "filter:scope": "stream"}})
            );
            (200, r#"{"examined":500,"matched":"1","skipped":498,"failed":1,"cutShort":true,"samples":[
                {"position":"17","stream":"orders-1","revision":3,"outcome":"matched","subject":"Placed","data":{"a":1}},
                {"position":"18","stream":"orders-2","revision":0,"outcome":"failed","reason":"no such member"}]}"#)
        })
        .await;
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), "instanceTypeName: http-sink\nfilter: { scope: stream }\n").unwrap();
        let ran = fake.run(&["preview", file.path().to_str().unwrap(), "--last", "500", "--samples", "2"]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.starts_with("examined 500 events: 1 matched, 498 skipped, 1 failed\n"), "{}", ran.out);
        assert!(ran.out.contains("17        orders-1@3  matched  Placed   {\"a\":1}\n"), "{}", ran.out);
        assert!(ran.out.contains("failed            no such member\n"), "{}", ran.out);
    }
}
