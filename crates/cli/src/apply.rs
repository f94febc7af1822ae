//! Owns `apply`: making the connectors of a file so.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::client::{Ask, Client};
use crate::command::ClientOptions;
use crate::failure::Failure;
use crate::output::Output;
use crate::settings_file::{FileForm, read_text};

/// Which file, and whether to mean it.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A file of connectors (YAML, TOML or JSON); `-` reads standard input
    file: PathBuf,
    /// Says what would be done and does nothing
    #[arg(long)]
    dry_run: bool,
    /// The form of the file, when its name does not say
    #[arg(long, value_name = "FORM")]
    format: Option<FileForm>,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

pub(crate) async fn run(args: ApplyArgs, output: &mut Output) -> Result<(), Failure> {
    let form = FileForm::of(&args.file, args.format)?;
    let text = read_text(&args.file)?;
    let client = Client::new(&args.client)?;
    let ask = Ask::post(&["apply"], format!("apply {}", args.file.display())).query("dryRun", args.dry_run);
    let answer = client.ask(ask.text(form.media_type(), text)).await?;
    if output.is_json() { output.document(&answer) } else { output.text(&rendered(&answer, args.dry_run)) }
}

fn rendered(answer: &Value, dry_run: bool) -> String {
    let changes = answer.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    let mut changed = 0;
    for change in changes {
        let actions = texts(change, "actions");
        let id = change.get("id").and_then(Value::as_str).unwrap_or_default();
        if actions.is_empty() {
            text.push_str(&format!("{id}: left alone\n"));
        } else {
            changed += 1;
            text.push_str(&format!("{id}: {}\n", actions.join(", ")));
        }
        texts(change, "diff").iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    let verb = if dry_run { "would change" } else { "changed" };
    text.push_str(&format!("{verb} {changed} of {} declared connectors\n", changes.len()));
    text
}

fn texts<'a>(change: &'a Value, key: &str) -> Vec<&'a str> {
    change.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Fake;

    #[tokio::test]
    async fn apply_sends_the_file_as_it_is_and_shows_the_difference() {
        let fake = Fake::answering(|request| {
            assert_eq!(request.line(), "POST /apply?dryRun=true");
            assert_eq!(request.header("content-type"), "application/yaml");
            assert_eq!(request.body, "connectors: []\n");
            (
                200,
                r#"{"changes":[{"id":"orders","actions":["reconfigure","restart"],
                "diff":["- url: http://a/","+ url: http://b/"]},{"id":"bills","actions":[],"diff":[]}]}"#,
            )
        })
        .await;
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), "connectors: []\n").unwrap();
        let ran = fake.run(&["apply", file.path().to_str().unwrap(), "--dry-run"]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(
            ran.out,
            "orders: reconfigure, restart\n  - url: http://a/\n  + url: http://b/\nbills: left alone\n\
             would change 1 of 2 declared connectors\n"
        );
    }

    #[tokio::test]
    async fn a_file_without_a_known_ending_needs_its_form() {
        let fake = Fake::scripted(&[]).await;
        let ran = fake.run(&["apply", "connectors.txt"]).await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("--format json|yaml|toml"), "{}", ran.err);
    }
}
