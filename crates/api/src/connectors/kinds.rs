//! Owns what is told about kinds of connectors.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_connector::settings::SettingDescription;
use forebay_connector::{DefaultRow, Guarantee, Kind, LaneSupport};
use forebay_runtime::Connectors;
use forebay_runtime::settings::shared_descriptions;
use serde_json::{Value, json};

use crate::request::UrlPath;
use crate::status::Refusal;

/// Lists the kinds.
pub(super) async fn list(State(connectors): State<Connectors>) -> Response {
    Json(connectors.catalog().kinds().iter().map(summary).collect::<Vec<_>>()).into_response()
}

/// Describes one kind: its page, its own settings, and those that all connectors share.
pub(super) async fn describe(
    State(connectors): State<Connectors>,
    UrlPath(name): UrlPath<String>,
) -> Result<Response, Refusal> {
    let catalog = connectors.catalog();
    let kind = catalog.find(&name).ok_or_else(|| {
        let known: Vec<_> = catalog.kinds().iter().map(|kind| kind.name).collect();
        Refusal::not_found(format!("kind {name} is not known: expected one of {}", known.join(", ")))
    })?;
    let mut description = summary(kind);
    if let Some(object) = description.as_object_mut() {
        object.insert("page".to_owned(), json!(kind.page));
        object.insert("batchRecordsDefault".to_owned(), json!(kind.batch_records_default));
        object.insert("policy".to_owned(), kind.policy.iter().map(row).collect());
        object.insert("settings".to_owned(), (kind.settings)().iter().map(setting).collect());
        object.insert("shared".to_owned(), shared_descriptions().iter().map(setting).collect());
    }
    Ok(Json(description).into_response())
}

fn summary(kind: &Kind) -> Value {
    json!({
        "name": kind.name,
        "aliases": kind.aliases,
        "title": kind.title,
        "summary": kind.summary,
        "guarantee": match kind.guarantee {
            Guarantee::AtLeastOnce => "atLeastOnce",
            Guarantee::EffectivelyOnce => "effectivelyOnce",
        },
        "lanes": match kind.lanes {
            LaneSupport::Many => "many",
            LaneSupport::One => "one",
        },
    })
}

/// What follows failures of one class.
fn row(row: &DefaultRow) -> Value {
    json!({ "class": row.class.to_string(), "action": row.action.word() })
}

fn setting(setting: &SettingDescription) -> Value {
    json!({
        "key": setting.key,
        "expected": setting.expected,
        "default": setting.default,
        "required": setting.required,
        "secret": setting.secret,
        "words": setting.words,
        "doc": setting.doc,
    })
}
