//! Owns the pages about settings: one for each kind of connector, one for what all of them share.

use forebay_connector::settings::SettingDescription;
use forebay_connector::{DefaultAction, DefaultRow, Guarantee, Kind, LaneSupport};

use crate::page::{Page, cell, line};

/// The page of a kind: what it says of itself, what it promises, its settings.
pub(crate) fn kind_page(kind: &Kind) -> Page {
    let mut body = format!("{}\n\n", kind.page.trim());
    line(&mut body, format_args!("| | |"));
    line(&mut body, format_args!("| --- | --- |"));
    line(&mut body, format_args!("| `instanceTypeName` | `{}`{} |", kind.name, aliases(kind.aliases)));
    line(&mut body, format_args!("| repeats | {} |", guarantee(kind.guarantee)));
    line(&mut body, format_args!("| lanes | {} |", lanes(kind.lanes)));
    line(&mut body, format_args!("| records in a batch, unless set | {} |", kind.batch_records_default));
    body.push_str("\n## After a failure\n\n");
    body.push_str(&policy(kind.policy));
    body.push_str("\n## Settings of its own\n\n");
    body.push_str(&settings(&(kind.settings)()));
    body.push_str("\nIt takes the [settings of every connector](settings.md) as well.\n");
    Page { name: format!("{}.md", kind.name), title: kind.title.to_owned(), summary: sentence(kind.summary), body }
}

/// What follows a failure of each class, unless set otherwise.
fn policy(rows: &[DefaultRow]) -> String {
    let mut table = String::from("| class | what follows |\n| --- | --- |\n");
    for row in rows {
        let follows = match row.action {
            DefaultAction::Retry => "it is tried again, as `resilience:*` says",
            DefaultAction::Reject => {
                "`errors:onReject`: the connector stops (the default) or parks the record and its key"
            }
            DefaultAction::Stop => "the connector stops: a person must act",
        };
        line(&mut table, format_args!("| `{}` | {follows} |", row.class));
    }
    table.push_str(
        "| `script` | `errors:onScriptError`: the connector stops (the default) or parks the record and its key |\n",
    );
    table.push_str("\nThe most specific row holds. A row of `errors:policy` takes the place of the row of its class: see [when a record cannot be delivered](../guides/error-policy.md).\n");
    table
}

/// The page of the settings that the runtime reads, whatever the kind.
pub(crate) fn shared_page(descriptions: &[SettingDescription]) -> Page {
    Page {
        name: "settings.md".to_owned(),
        title: "Settings of every connector".to_owned(),
        summary: "Subscription, filter, transform, order, batches, resilience and checkpoint.".to_owned(),
        body: format!("Whatever its kind, a connector takes these.\n\n{}", settings(descriptions)),
    }
}

fn settings(descriptions: &[SettingDescription]) -> String {
    if descriptions.is_empty() {
        return "None.\n".to_owned();
    }
    let mut table = String::from("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for one in descriptions {
        let meaning = cell(&one.doc);
        line(&mut table, format_args!("| `{}` | {} | {} | {meaning} |", one.key, value(one), default(one)));
    }
    table
}

fn value(description: &SettingDescription) -> String {
    let mut text = if description.words.is_empty() {
        cell(&description.expected)
    } else {
        description.words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    };
    if description.secret {
        text.push_str(" (secret: never shown again)");
    }
    text
}

fn default(description: &SettingDescription) -> String {
    match &description.default {
        _ if description.required => "must be given".to_owned(),
        Some(text) if text.is_empty() => "empty".to_owned(),
        Some(text) => format!("`{}`", cell(text)),
        None => "none".to_owned(),
    }
}

fn aliases(names: &[&str]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("; also {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
}

fn guarantee(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::AtLeastOnce => "at least once: a record may come again after a crash, with the same identity",
        Guarantee::EffectivelyOnce => "effectively once: a repeat changes nothing at the target",
    }
}

fn lanes(lanes: LaneSupport) -> &'static str {
    match lanes {
        LaneSupport::Many => "any number",
        LaneSupport::One => "one",
    }
}

/// A summary as a sentence.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use forebay_connector::settings::ValueKind;

    use super::*;

    fn described(key: &str) -> SettingDescription {
        SettingDescription {
            key: key.to_owned(),
            value: ValueKind::Text,
            expected: "text".to_owned(),
            default: None,
            required: false,
            secret: false,
            words: Vec::new(),
            doc: "Says what.".to_owned(),
        }
    }

    #[test]
    fn a_setting_is_one_row() {
        let table = settings(&[
            described("url"),
            SettingDescription { required: true, secret: true, ..described("password") },
            SettingDescription {
                default: Some("POST".to_owned()),
                words: vec!["POST".to_owned()],
                ..described("method")
            },
        ]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `url` | text | none | Says what. |",
                "| `password` | text (secret: never shown again) | must be given | Says what. |",
                "| `method` | `POST` | `POST` | Says what. |",
            ]
        );
    }

    #[test]
    fn a_summary_becomes_a_sentence() {
        assert_eq!(sentence("writes lines"), "Writes lines.");
        assert_eq!(sentence("Writes lines."), "Writes lines.");
    }
}
