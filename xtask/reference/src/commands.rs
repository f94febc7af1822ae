//! Owns the page about the command line: the help of every command, as it is printed.

use clap::Command;

use crate::page::{Page, line};

/// Wide enough for a page, and the same on every terminal.
const WIDTH: usize = 100;

/// The page of all commands.
pub(crate) fn page(root: Command) -> Page {
    let mut body = String::from("The help of every command, as it is printed.\n\n");
    let mut root = plain(root.term_width(WIDTH).max_term_width(WIDTH));
    root.build();
    section(&mut body, &mut root, "");
    Page {
        name: "cli.md".to_owned(),
        title: "Command line".to_owned(),
        summary: "What every command of `forebay` takes and does.".to_owned(),
        body,
    }
}

/// Without what differs from one machine to the next.
fn plain(command: Command) -> Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(plain)
}

fn section(body: &mut String, command: &mut Command, above: &str) {
    let name = if above.is_empty() { command.get_name().to_owned() } else { format!("{above} {}", command.get_name()) };
    line(body, format_args!("## `{name}`\n\n```text"));
    body.push_str(command.render_long_help().to_string().trim());
    body.push_str("\n```\n\n");
    let shown = command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    shown.for_each(|sub| section(body, sub, &name));
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn every_command_has_its_section() {
        let inner = Command::new("list").about("Lists them.").arg(Arg::new("json").long("json").help("Answers JSON."));
        let hidden = Command::new("secret").hide(true);
        let page =
            page(Command::new("forebay").subcommand(Command::new("connectors").subcommand(inner)).subcommand(hidden));
        assert!(page.body.contains("## `forebay connectors list`"), "{}", page.body);
        assert!(page.body.contains("Answers JSON."), "{}", page.body);
        assert!(!page.body.contains("## `forebay secret`"), "{}", page.body);
    }
}
