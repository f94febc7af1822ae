//! Tests of argument parsing, and the golden help.

use crate::testing::{Fake, run};

#[test]
fn the_command_tree_is_sound() {
    crate::command().debug_assert();
}

#[tokio::test]
async fn what_is_wrong_in_arguments_is_exit_code_2() {
    for (args, expected) in [
        (vec!["connectors", "start", "orders", "--from", "now"], "expected earliest, latest or a position"),
        (vec!["connectors", "create", "orders", "--from", "latest"], "--start"),
        (vec!["streams", "read", "a", "--from", "1x"], "expected start, end or a number"),
        (vec!["streams", "append", "--data", "{}"], "--stream"),
        (vec!["preview", "f.yaml"], "--last"),
        (vec!["preview", "f.yaml", "--from", "1"], "--to"),
        (vec!["connectors", "list", "--server", "ftp://x"], "expected http://HOST:PORT"),
        (vec!["connectors", "list", "--timeout", "0s"], "expected more than zero"),
    ] {
        let ran = run(&[&["forebay"], &args[..]].concat()).await;
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.err.contains(expected), "{args:?}: {}", ran.err);
    }
}

#[tokio::test]
async fn credentials_in_the_url_become_a_header_and_are_not_shown() {
    let fake = Fake::answering(|_| (403, r#"{"code":7,"message":"permission denied"}"#)).await;
    let url = fake.url().replace("http://", "http://ops:p%40ss@");
    let ran = run(&["forebay", "connectors", "delete", "orders", "--server", &url]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(fake.seen()[0].header("authorization"), "Basic b3BzOnBAc3M=");
    assert!(!ran.err.contains("p%40ss") && !ran.err.contains("p@ss"), "{}", ran.err);
}

#[tokio::test]
async fn credentials_come_from_a_user_and_a_file() {
    let fake = Fake::answering(|_| (200, r#"{"items":[],"totalCount":0,"totalSize":0}"#)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "p@ss\nmore\n").unwrap();
    let ran = fake.run(&["connectors", "list", "--user", "ops", "--password-file", file.to_str().unwrap()]).await;
    assert_eq!((ran.code, fake.seen()[0].header("authorization")), (0, "Basic b3BzOnBAc3M="), "{}", ran.err);
    let ran = fake.run(&["connectors", "list", "--user", "ops"]).await;
    assert!(ran.code == 2 && ran.err.contains("--password-file"), "{}", ran.err);
    let none = folder.path().join("none");
    let ran = fake.run(&["connectors", "list", "--user", "ops", "--password-file", none.to_str().unwrap()]).await;
    assert!(ran.code != 0 && ran.err.contains("none"), "{}", ran.err);
    assert_eq!(fake.seen().len(), 1, "nothing is asked without the credentials that were meant");
}

#[tokio::test]
async fn completions_come_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(&["forebay", "completions", shell]).await;
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("quickstart"), "{shell}");
    }
}

/// The help of every command, compared with `tests/help.txt`. `BLESS=1` rewrites that file.
#[test]
fn help_is_as_reviewed() {
    let mut text = String::new();
    let mut whole = crate::command().term_width(100);
    whole.build();
    help_of(&mut whole, "", &mut text);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(text == reviewed, "the help differs from {golden}; run this test with BLESS=1 and review the difference");
}

fn help_of(command: &mut clap::Command, above: &str, text: &mut String) {
    let name = format!("{above}{}", command.get_name());
    text.push_str(&format!("# {name}\n\n{}\n\n", command.render_long_help().to_string().trim_end()));
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        help_of(inner, &format!("{name} "), text);
    }
}
