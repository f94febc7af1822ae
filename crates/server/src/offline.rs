//! Owns `forebay log`: the checks and figures of a data directory that no server has open.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use forebay_log::{LogInfo, OpenError, VerifyProgress, VerifyReport};
use serde_json::{Value, json};

/// What the exit codes mean.
const EXIT_CODES: &str = "\
Exit codes:
  0  the log is sound (verify), its figures are printed (info)
  1  the log is damaged, or cannot be opened
  2  the command is wrong";

/// The offline commands on a log.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Checks every block, every index entry and the ends of all streams
    #[command(after_help = EXIT_CODES)]
    Verify(DirectoryArgs),
    /// Prints how many events and bytes there are
    #[command(after_help = EXIT_CODES)]
    Info(DirectoryArgs),
}

#[derive(Debug, Args)]
struct DirectoryArgs {
    /// The data directory; no server may have it open
    directory: PathBuf,
    /// Writes JSON that programs can rely on instead of text for people
    #[arg(long)]
    json: bool,
    /// Writes nothing but results and errors
    #[arg(long, short)]
    quiet: bool,
}

/// What a command found.
struct Found {
    text: String,
    value: Value,
    sound: bool,
}

/// Does what the command says. Answers 0 when the log is sound, 1 when it is damaged or cannot be opened.
pub fn run_offline(args: &LogArgs) -> ExitCode {
    let (directory, found) = match &args.command {
        LogCommand::Verify(args) => {
            (args, forebay_log::verify(&args.directory, shown(args)).map(|report| verified(&report)))
        }
        LogCommand::Info(args) => (args, forebay_log::info(&args.directory, shown(args)).map(|info| figures(&info))),
    };
    if shows_progress(directory) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    match print(directory, found) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn print(args: &DirectoryArgs, found: Result<Found, OpenError>) -> io::Result<u8> {
    match found {
        Ok(found) => {
            let text = if args.json { format!("{:#}\n", found.value) } else { found.text };
            io::stdout().write_all(text.as_bytes())?;
            Ok(u8::from(!found.sound))
        }
        Err(error) => {
            if args.json {
                writeln!(io::stderr(), "{}", json!({"error": {"exitCode": 1, "message": error.to_string()}}))?;
            } else {
                writeln!(io::stderr(), "error: {error}")?;
            }
            Ok(1)
        }
    }
}

fn shows_progress(args: &DirectoryArgs) -> bool {
    !args.quiet && io::stderr().is_terminal()
}

fn shown(args: &DirectoryArgs) -> impl FnMut(VerifyProgress) {
    let shows = shows_progress(args);
    move |progress| {
        if shows {
            let VerifyProgress { events, events_expected } = progress;
            let _ = write!(io::stderr(), "\r\x1b[K{events} of {events_expected} events");
        }
    }
}

fn verified(report: &VerifyReport) -> Found {
    let damages = report.damages.iter().map(|damage| json!({"place": damage.place, "reason": damage.reason}));
    let value = json!({
        "sound": report.is_sound(), "events": report.events, "streams": report.streams, "blocks": report.blocks,
        "indexEntries": report.index_entries, "lastPosition": report.last_position, "highWater": report.high_water,
        "cutBytes": report.cut_bytes, "damageCount": report.damage_count, "damages": damages.collect::<Vec<_>>(),
    });
    let mut text = table(&value, &["events", "streams", "blocks", "indexEntries", "lastPosition", "cutBytes"]);
    if report.is_sound() {
        text.push_str("the log is sound\n");
    } else {
        for damage in &report.damages {
            text.push_str(&format!("damaged: {}: {}\n", damage.place, damage.reason));
        }
        text.push_str(&format!("the log is damaged in {} places\n", report.damage_count));
    }
    Found { text, value, sound: report.is_sound() }
}

fn figures(info: &LogInfo) -> Found {
    let value = json!({
        "directory": info.directory.display().to_string(), "formatVersion": info.format_version,
        "events": info.events, "streams": info.streams, "blocks": info.blocks, "rawBytes": info.raw_bytes,
        "storedBytes": info.stored_bytes, "diskBytes": info.disk_bytes, "firstPosition": info.first_position,
        "lastPosition": info.last_position, "highWater": info.high_water,
    });
    let keys = ["directory", "formatVersion", "events", "streams", "blocks", "rawBytes", "storedBytes", "diskBytes"];
    let text = table(&value, &keys) + &table(&value, &["firstPosition", "lastPosition", "highWater"]);
    Found { text, value, sound: true }
}

fn table(value: &Value, keys: &[&str]) -> String {
    const NAME_WIDTH: usize = 14;
    let line = |key: &&str| {
        let shown = match value.get(*key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "none".to_owned(),
            Some(other) => other.to_string(),
        };
        format!("{key:<NAME_WIDTH$} {shown}\n")
    };
    keys.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use forebay_log::Damage;

    use super::*;

    #[test]
    fn damages_are_told_with_place_and_reason() {
        let damages = vec![Damage { place: "block 17".to_owned(), reason: "its checksum differs".to_owned() }];
        let report = VerifyReport { events: 5, damages, damage_count: 1, ..VerifyReport::default() };
        let found = verified(&report);
        assert!(!found.sound);
        assert!(found.text.contains("events         5\n"), "{}", found.text);
        assert!(found.text.contains("damaged: block 17: its checksum differs\n"), "{}", found.text);
        assert_eq!(found.value["damages"][0]["place"], "block 17");
    }

    #[test]
    fn a_directory_without_a_log_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let args = DirectoryArgs { directory: directory.path().join("none"), json: true, quiet: true };
        assert!(forebay_log::verify(&args.directory, shown(&args)).is_err());
        assert!(!args.directory.exists());
    }
}
