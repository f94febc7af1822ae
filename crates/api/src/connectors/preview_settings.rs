//! Owns the preview API's words for a connector, and their translation to settings and back.

use forebay_connector::settings::SettingsMap;
use forebay_runtime::management::{ConnectorState, ConnectorView};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::status::Refusal;

/// A checkpoint is written after so many events unless asked otherwise.
const CHECKPOINT_INTERVAL_DEFAULT: u64 = 10;
/// Where affinity, filter and sink are kept as they were given; keys that begin with `_` are comments.
const AFFINITY_KEY: &str = "_preview:affinity";
const FILTER_KEY: &str = "_preview:filter";
const SINK_KEY: &str = "_preview:sink";
const INTERVAL_KEY: &str = "autocommit:recordsThreshold";
const AFFINITIES: [&str; 3] = ["Leader", "Follower", "ReadOnlyReplica"];
/// Members of the preview's filter document, and where a record has the same.
const MEMBERS: [(&str, &str); 7] = [
    ("eventId", "recordId"),
    ("eventType", "schemaInfo.subject"),
    ("stream", "position.streamId"),
    ("eventNumber", "position.streamRevision"),
    ("commitPosition", "position.logPosition"),
    ("data", "value"),
    ("metadata", "headers"),
];

/// A connector in the preview's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreviewConnector {
    pub(super) sink: String,
    pub(super) filter: String,
    pub(super) affinity: &'static str,
    pub(super) checkpoint_interval: u64,
    pub(super) enable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
struct Body {
    sink: Option<String>,
    filter: Option<String>,
    affinity: Option<String>,
    #[serde(rename = "checkpointinterval")]
    checkpoint_interval: Option<u64>,
    enable: Option<bool>,
}

impl PreviewConnector {
    /// Reads a create body; names of members are compared without regard to case, unknown ones refused.
    pub(super) fn read(object: Map<String, Value>) -> Result<Self, Refusal> {
        let lowered: Map<_, _> = object.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
        let body: Body =
            serde_json::from_value(Value::Object(lowered)).map_err(|error| Refusal::plain(error.to_string()))?;
        let sink = body.sink.filter(|sink| !sink.trim().is_empty());
        let sink = sink.ok_or_else(|| Refusal::plain("Sink is null or white space"))?;
        let affinity = body.affinity.as_deref().unwrap_or("Leader");
        let affinity = AFFINITIES.into_iter().find(|known| known.eq_ignore_ascii_case(affinity));
        let unknown = || Refusal::plain(format!("Affinity was not recognised: expected {}", AFFINITIES.join(", ")));
        Ok(Self {
            sink,
            filter: body.filter.unwrap_or_default(),
            affinity: affinity.ok_or_else(unknown)?,
            checkpoint_interval: body.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL_DEFAULT),
            enable: body.enable.unwrap_or(true),
        })
    }

    /// The settings that do the same.
    pub(super) fn to_settings(&self) -> Result<SettingsMap, Refusal> {
        let mut settings = SettingsMap::default();
        match self.sink.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest)) {
            Some((scheme, rest)) if matches!(scheme.as_str(), "http" | "https") && !rest.is_empty() => {
                settings.insert("instanceTypeName", "http-sink");
                settings.insert("url", &self.sink.replace("{eventType}", "{event-type}"));
            }
            // What stands behind it means nothing, so whoever the URI names would only be shown to everybody.
            Some((scheme, rest)) if scheme == "console" && !rest.contains('@') => {
                settings.insert("instanceTypeName", "console-sink")
            }
            _ => {
                // Nothing of it is told again: it may hold a name and a password.
                let expected = "expected console://, http://… or https://…, without user name and password";
                return Err(Refusal::plain(format!("Invalid sink URI: {expected}")));
            }
        }
        if !self.filter.is_empty() {
            settings.insert("subscription:filter:scope", "record");
            settings.insert("subscription:filter:filterType", "jsonPath");
            settings.insert("subscription:filter:expression", &record_expression(&self.filter));
            settings.insert(FILTER_KEY, &self.filter);
        }
        settings.insert("subscription:initialPosition", "earliest");
        settings.insert(INTERVAL_KEY, &self.checkpoint_interval.to_string());
        settings.insert(AFFINITY_KEY, self.affinity);
        settings.insert(SINK_KEY, &self.sink);
        Ok(settings)
    }

    /// How the preview would describe a connector, whichever way it was made.
    pub(super) fn of_view(view: &ConnectorView) -> Self {
        let setting = |key: &str| view.settings.get(key);
        let sink = setting(SINK_KEY).or_else(|| setting("url"));
        let filter = setting(FILTER_KEY).or_else(|| setting("subscription:filter:expression"));
        let affinity = setting(AFFINITY_KEY).unwrap_or("Leader");
        Self {
            sink: sink.map_or_else(|| format!("{}://", view.kind), str::to_owned),
            filter: filter.unwrap_or_default().to_owned(),
            affinity: AFFINITIES.into_iter().find(|known| *known == affinity).unwrap_or("Leader"),
            checkpoint_interval: setting(INTERVAL_KEY).and_then(|text| text.parse().ok()).unwrap_or(1000),
            enable: is_enabled(view.state),
        }
    }
}

/// Whether the preview calls a connector in this state enabled.
pub(super) fn is_enabled(state: ConnectorState) -> bool {
    matches!(state, ConnectorState::Activating | ConnectorState::Running)
}

/// One line of the preview's list.
pub(super) fn list_item(view: &ConnectorView) -> Value {
    let connector = PreviewConnector::of_view(view);
    let checkpoint = view
        .position
        .map(|position| json!({ "commitPosition": position.commit(), "preparePosition": position.prepare() }));
    json!({
        "id": view.id,
        "filter": connector.filter,
        "sink": connector.sink,
        "affinity": connector.affinity,
        "enabled": connector.enable,
        "resetTo": { "round": view.revision, "checkpoint": checkpoint },
        "checkpointConfig": { "interval": connector.checkpoint_interval },
    })
}

/// The filter over a record that does what the preview's filter did over its own document: members behind `$.` are
/// renamed, text in quotes is left alone.
fn record_expression(filter: &str) -> String {
    let (mut out, mut rest, mut quote) = (String::new(), filter, None);
    while let Some(next) = rest.chars().next() {
        if quote.is_none()
            && let Some(behind) = rest.strip_prefix("$.")
            && let Some((from, to)) = MEMBERS.into_iter().find(|(from, _)| is_member(behind, from))
        {
            out.push_str("$.");
            out.push_str(to);
            rest = behind.get(from.len()..).unwrap_or_default();
            continue;
        }
        quote = match (quote, next) {
            (None, '\'' | '"') => Some(next),
            (Some(open), close) if open == close => None,
            (unchanged, _) => unchanged,
        };
        out.push(next);
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
    }
    out
}

fn is_member(text: &str, name: &str) -> bool {
    let behind = text.strip_prefix(name);
    behind.is_some_and(|behind| !behind.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<PreviewConnector, Refusal> {
        PreviewConnector::read(body.as_object().unwrap().clone())
    }

    #[test]
    fn members_are_read_in_any_case_and_unknown_ones_refused() {
        let connector =
            read(&json!({ "SINK": "console://", "affinity": "follower", "checkpointInterval": 3 })).unwrap();
        assert_eq!((connector.affinity, connector.checkpoint_interval, connector.enable), ("Follower", 3, true));
        assert!(format!("{:?}", read(&json!({ "Sink": "console://", "Sync": 1 })).unwrap_err()).contains("sync"));
        assert!(format!("{:?}", read(&json!({ "Sink": " " })).unwrap_err()).contains("Sink is null or white space"));
    }

    #[test]
    fn sinks_become_kinds() {
        let translate = |sink: &str| {
            let body = json!({ "Sink": sink, "Filter": "$[?($.data.a=='$.data')]" });
            read(&body).unwrap().to_settings()
        };
        let http = translate("https://x.test/{eventType}/{stream}").unwrap();
        assert_eq!(http.get("instanceTypeName"), Some("http-sink"));
        assert_eq!(http.get("url"), Some("https://x.test/{event-type}/{stream}"));
        assert_eq!(http.get("subscription:filter:expression"), Some("$[?($.value.a=='$.data')]"));
        assert_eq!(http.get("subscription:initialPosition"), Some("earliest"));
        assert_eq!(translate("console://").unwrap().get("instanceTypeName"), Some("console-sink"));
        assert!(translate("ftp://x.test/").is_err() && translate("no uri at all").is_err());
    }
}
