//! Owns a connector as JSON.

use std::collections::BTreeMap;

use forebay_connector::Catalog;
use forebay_connector::settings::{SettingDescription, SettingsMap};
use forebay_event::Timestamp;
use forebay_runtime::management::{ConnectorView, ShardView};
use forebay_runtime::pipeline::Progress;
use forebay_runtime::settings::shared_descriptions;
use serde_json::{Map, Value, json};

/// Which of the two forms of settings go along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Include {
    /// The flat map.
    pub(super) settings: bool,
    /// The nested object; wins over the flat map.
    pub(super) configuration: bool,
}

/// A connector as lists and queries show it.
pub(super) fn connector(view: &ConnectorView, include: Include, nesting: &mut Nesting<'_>) -> Value {
    let mut object = json!({
        "connectorId": view.id,
        "instanceTypeName": view.kind,
        "name": view.name,
        "state": view.state.wire_name(),
        "stateUpdateTime": time(view.state_at),
        "settings": {},
        "createTime": time(view.created_at),
        "updateTime": time(view.updated_at),
        "revision": view.revision,
        "restartNeeded": view.restart_needed,
    });
    let mut optional = |name: &str, value: Option<Value>| {
        if let (Some(value), Some(object)) = (value, object.as_object_mut()) {
            object.insert(name.to_owned(), value);
        }
    };
    if include.configuration {
        optional("configuration", Some(nesting.configuration(view)));
        optional("configurationUpdateTime", Some(time(view.settings_at)));
    } else {
        optional("settingsUpdateTime", Some(time(view.settings_at)));
        optional("settings", include.settings.then(|| flat(&view.settings)));
    }
    optional("position", view.position.map(|position| Value::String(position.to_string())));
    optional("positionUpdateTime", view.position_at.map(time));
    optional("deleteTime", view.deleted_at.map(time));
    let error = view.error.as_ref();
    optional("errorDetails", error.map(|error| json!({ "code": error.code, "message": error.message })));
    let parked = Some(view.parked).filter(|parked| parked.records > 0);
    optional("parked", parked.map(|now| json!({ "keys": now.keys, "records": now.records, "bytes": now.bytes })));
    optional("progress", view.progress.as_ref().map(progress));
    let shards = Some(&view.shards).filter(|shards| !shards.is_empty());
    optional("shards", shards.map(|shards| Value::Array(shards.iter().map(shard).collect())));
    object
}

fn shard(view: &ShardView) -> Value {
    json!({
        "shard": view.shard.index,
        "generation": view.shard.generation,
        "state": view.state.wire_name(),
        "nodeId": view.node.map(|node| node.to_string()),
        "nodeName": view.node_name,
        "position": view.position.map(|position| position.to_string()),
        "positionUpdateTime": view.position_at.map(time),
        "lag": view.behind,
        "parked": view.parked.records,
        "progress": view.progress.as_ref().map(progress),
    })
}

/// The settings as a flat map.
pub(super) fn flat(settings: &SettingsMap) -> Value {
    let entries = settings.iter().map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// A point in time as JSON.
pub(super) fn time(time: Timestamp) -> Value {
    Value::String(time.to_string())
}

fn progress(progress: &Progress) -> Value {
    json!({
        "read": progress.read,
        "delivered": progress.delivered,
        "skipped": progress.skipped,
        "parked": progress.parked,
        "settled": progress.settled.map(|position| position.to_string()),
        "lastProgressTime": progress.last_progress.map(time),
        "caughtUp": progress.caught_up,
        "failing": progress.failing.map(|(since, class)| json!({ "since": time(since), "class": class.label() })),
        "stalledSince": progress.stalled.map(time),
        "oldestUndelivered": progress.oldest.map(time),
        "breaker": progress.breaker.word(),
    })
}

/// Turns flat settings into nested ones; what a kind's settings look like is described once per kind.
pub(super) struct Nesting<'a> {
    catalog: &'a Catalog,
    descriptions: BTreeMap<String, Vec<SettingDescription>>,
}

impl<'a> Nesting<'a> {
    /// Nests settings of the kinds of this catalogue.
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, descriptions: BTreeMap::new() }
    }

    /// The settings of a connector as a nested object.
    pub(super) fn configuration(&mut self, view: &ConnectorView) -> Value {
        let catalog = self.catalog;
        let descriptions = self.descriptions.entry(view.kind.clone()).or_insert_with(|| {
            let own = catalog.find(&view.kind).map(|kind| (kind.settings)()).unwrap_or_default();
            own.into_iter().chain(shared_descriptions()).collect()
        });
        view.settings.to_nested(descriptions)
    }
}
