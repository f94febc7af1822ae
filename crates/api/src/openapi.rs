//! Owns the OpenAPI document: made from the route tables, with schemas written by hand.

use forebay_access::Need;
use serde_json::{Map, Value, json};

use crate::routes::{Parameter, RouteDoc, documents};

/// Builds the OpenAPI 3.1 document of the whole API.
pub fn document() -> Value {
    let mut paths = Map::new();
    for doc in documents() {
        let item = paths.entry(doc.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(doc.verb.lower().to_owned(), operation(doc));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Forebay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Event streams and connectors over HTTP. Refusals are google.rpc.Status as JSON, but for the \
                            preview API, which refuses with plain text. Any route answers 500 without detail when the \
                            server fails on a request; unknown paths answer 404, wrong methods 405. A server that asks \
                            callers who they are answers 401 without credentials and 403 with too small rights.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:2113" }],
        "paths": paths,
        "components": { "schemas": schemas(), "securitySchemes": {
            "basic": { "type": "http", "scheme": "basic", "description": "Login name and password of a user." },
        } },
    })
}

fn operation(doc: &RouteDoc) -> Value {
    let mut operation = json!({
        "tags": [doc.tag],
        "summary": doc.summary,
        "operationId": operation_id(doc),
        "parameters": parameters(doc),
        "responses": responses(doc),
        "security": if doc.need() == Need::Nothing { json!([]) } else { json!([{ "basic": [] }]) },
    });
    if let Some(object) = operation.as_object_mut() {
        if !doc.notes.is_empty() {
            object.insert("description".to_owned(), json!(doc.notes));
        }
        if !doc.body.is_empty() {
            let forms = doc.body.iter().map(|(media, schema, meaning)| {
                ((*media).to_owned(), json!({ "schema": { "$ref": reference(schema), "description": meaning } }))
            });
            let content: Map<_, _> = forms.collect();
            object.insert("requestBody".to_owned(), json!({ "required": doc.body_required, "content": content }));
        }
    }
    operation
}

fn operation_id(doc: &RouteDoc) -> String {
    let words = doc.path.split(['/', '{', '}', '_', '.']).filter(|word| !word.is_empty());
    words.fold(doc.verb.lower().to_owned(), |mut id, word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        id.push_str(&first.to_uppercase());
        id.push_str(rest);
        id
    })
}

fn parameters(doc: &RouteDoc) -> Vec<Value> {
    let path = doc.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| {
        json!({
            "name": name, "in": "path", "required": true,
            "schema": { "type": "string" }, "description": path_parameter(name),
        })
    });
    let of = |place: &'static str| move |(name, kind, meaning): &Parameter| json!({ "name": name, "in": place, "schema": { "type": kind }, "description": meaning });
    path.chain(doc.query.iter().map(of("query"))).chain(doc.headers.iter().map(of("header"))).collect()
}

fn path_parameter(name: &str) -> &'static str {
    match name {
        "id" => "The connector's id.",
        "login" => "The user's login name.",
        "key" => "The key: a stream, or what ordering says; $all for the one key of all records, $none without one.",
        "kind" => "The name of a kind, or an alias of it.",
        "log_position" => "A position in the log.",
        "stream" => "The stream's name; $all is the whole log. A slash in it is written %2F.",
        "revision" => "An event's number in its stream, or head. Of $all: a position as 32 hex digits.",
        "count" => "At most so many events, 1 to 4096.",
        _ => "",
    }
}

fn responses(doc: &RouteDoc) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, media, schema, meaning) in doc.answers {
        let mut response = json!({ "description": meaning });
        if let (false, Some(object)) = (media.is_empty(), response.as_object_mut()) {
            object.insert("content".to_owned(), json!({ *media: { "schema": { "$ref": reference(schema) } } }));
        }
        responses.insert(status.to_string(), response);
    }
    responses
}

pub(crate) fn reference(schema: &str) -> String {
    format!("#/components/schemas/{schema}")
}

pub(crate) fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

pub(crate) fn list_of(schema: &str) -> Value {
    json!({ "type": "array", "items": { "$ref": reference(schema) } })
}

fn schemas() -> Map<String, Value> {
    let mut schemas = shared_schemas();
    schemas.extend(stream_schemas());
    schemas.extend(connector_schemas());
    schemas.extend(query_schemas());
    schemas.extend(kind_schemas());
    schemas.extend(user_schemas());
    schemas.extend(crate::connectors::parked_schemas());
    schemas
}

pub(crate) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub(crate) fn whole(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

pub(crate) fn named<const N: usize>(schemas: [(&str, Value); N]) -> Map<String, Value> {
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn shared_schemas() -> Map<String, Value> {
    named([
        ("Any", json!({ "description": "Any JSON." })),
        ("Binary", json!({ "type": "string", "format": "binary" })),
        ("Text", json!({ "type": "string" })),
        ("Object", json!({ "type": "object" })),
        ("Empty", json!({ "type": "object", "maxProperties": 0 })),
        ("Ids", json!({ "type": "array", "items": { "type": "string" } })),
        (
            "Status",
            object(
                &["code", "message"],
                json!({
                    "code": whole("A code of google.rpc."),
                    "message": text("What is wrong; of a validation a JSON text that maps fields to problems."),
                    "details": { "type": "array", "items": { "type": "object" } },
                }),
            ),
        ),
        ("Nodes", object(&["nodes"], json!({ "nodes": { "type": "array", "items": { "type": "object" } } }))),
        (
            "Health",
            object(
                &["status", "store", "connectors"],
                json!({
                    "status": { "enum": ["ok", "degraded", "unavailable"] },
                    "store": { "type": "object" },
                    "connectors": { "type": "array", "items": { "type": "object" } },
                }),
            ),
        ),
    ])
}

fn user_schemas() -> Map<String, Value> {
    let groups =
        || json!({ "type": "array", "items": { "type": "string" }, "description": "Such as $admins or $ops." });
    let login = || text("1 to 128 bytes, without colon, slash, or $ at its begin.");
    let password = || json!({ "type": "string", "format": "password", "description": "1 to 1024 bytes." });
    named([
        (
            "User",
            json!({ "type": "object", "properties": {
                "loginName": login(), "fullName": text("For people."), "groups": groups(),
                "disabled": { "type": "boolean" }, "dateLastUpdated": { "type": "string", "format": "date-time" },
            } }),
        ),
        ("UserList", object(&["users"], json!({ "users": list_of("User") }))),
        (
            "NewUser",
            object(
                &["loginName", "password"],
                json!({
                    "loginName": login(), "password": password(), "fullName": text("For people."), "groups": groups(),
                }),
            ),
        ),
        ("UserUpdate", object(&["fullName", "groups"], json!({ "fullName": text("For people."), "groups": groups() }))),
        ("NewPassword", object(&["newPassword"], json!({ "newPassword": password() }))),
        (
            "ChangePassword",
            object(
                &["currentPassword", "newPassword"],
                json!({ "currentPassword": password(), "newPassword": password() }),
            ),
        ),
    ])
}

fn stream_schemas() -> Map<String, Value> {
    let payload = json!({ "description": "Any JSON." });
    named([
        (
            "Event",
            object(
                &["id", "stream", "revision", "position", "type", "contentType", "created"],
                json!({
                    "id": { "type": "string", "format": "uuid" },
                    "stream": text("The stream's name."),
                    "revision": whole("The event's number in its stream."),
                    "position": text("Its place in the log."),
                    "type": text("What happened."),
                    "contentType": text("application/json or application/octet-stream."),
                    "created": { "type": "string", "format": "date-time" },
                    "data": payload,
                    "dataBase64": text("The data, when it is not JSON."),
                    "metadata": payload,
                    "metadataBase64": text("The metadata, when it is not JSON; absent when there is none."),
                }),
            ),
        ),
        (
            "Page",
            object(
                &["events", "next"],
                json!({
                    "events": list_of("Event"),
                    "next": { "type": ["integer", "string", "null"], "description": "Where the next page begins." },
                    "lastRevision": whole("Of a stream: its last revision."),
                    "atEnd": { "type": "boolean", "description": "Of $all: whether the end was reached." },
                }),
            ),
        ),
        (
            "Append",
            object(
                &["events"],
                json!({
                    "expectedRevision": {
                        "type": ["string", "integer"],
                        "description": "any (default), noStream, streamExists, or the revision of the last event.",
                    },
                    "events": { "type": "array", "minItems": 1, "maxItems": 10_000, "items": object(&["type"], json!({
                        "id": { "type": "string", "format": "uuid" }, "type": text("What happened."),
                        "contentType": text("application/json unless data is base64."), "data": payload,
                        "dataBase64": text("The data as base64."), "metadata": payload,
                        "metadataBase64": text("The metadata as base64."),
                    })) },
                }),
            ),
        ),
        (
            "Appended",
            object(&[], json!({ "lastRevision": whole("Of the last event."), "position": text("Of the last event.") })),
        ),
        (
            "EventArray",
            json!({ "type": "array", "minItems": 1, "items": object(&["eventType"], json!({
                "eventId": { "type": "string", "format": "uuid" }, "eventType": text("What happened."),
                "data": payload, "metadata": payload,
            })) }),
        ),
        ("Entry", json!({ "type": "object", "description": "One event as an entry of a feed." })),
        (
            "Feed",
            object(
                &["title", "id", "entries", "links"],
                json!({
                    "title": text("A heading."), "id": text("The stream's URL."), "streamId": text("The stream's name."),
                    "headOfStream": { "type": "boolean" }, "eTag": text("The tag of this page."),
                    "links": { "type": "array", "items": { "type": "object" } }, "entries": list_of("Entry"),
                }),
            ),
        ),
    ])
}

fn connector_schemas() -> Map<String, Value> {
    named([
        (
            "Settings",
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
                    "description": "Keys with colons between levels, such as subscription:filter:scope." }),
        ),
        (
            "CreateConnector",
            object(
                &[],
                json!({
                    "name": text("A name to show; the id when absent."),
                    "settings": { "$ref": reference("Settings") },
                    "configuration": { "type": "object", "description": "The settings as a nested object; wins." },
                }),
            ),
        ),
        ("Rename", object(&["name"], json!({ "name": text("The name.") }))),
        (
            "StartFrom",
            object(
                &[],
                json!({ "from": {
                "type": ["string", "integer"], "description": "earliest, latest, or a position to begin behind.",
            } }),
            ),
        ),
        (
            "ResetPositions",
            object(
                &[],
                json!({ "CommitPosition": whole("0 when absent."), "PreparePosition": whole("0 when absent.") }),
            ),
        ),
        (
            "ConnectorFile",
            object(
                &["connectors"],
                json!({ "connectors": { "type": "array", "items": object(&["id", "settings"], json!({
                "id": text("The connector's id."), "name": text("A name to show."),
                "state": { "enum": ["running", "stopped"] },
                "startFrom": { "type": ["string", "integer"], "description": "earliest, latest or a position." },
                "settings": { "type": "object", "description": "Flat or nested." },
            })) } }),
            ),
        ),
        (
            "Changes",
            object(
                &["changes"],
                json!({ "changes": { "type": "array", "items": object(&["id", "actions", "diff"], json!({
                "id": text("The connector's id."),
                "actions": { "type": "array", "items": { "type": "string" } },
                "diff": { "type": "array", "items": { "type": "string" } },
            })) } }),
            ),
        ),
        (
            "PreviewRequest",
            object(
                &[],
                json!({
                    "settings": { "$ref": reference("Settings") }, "configuration": { "type": "object" },
                    "last": whole("The last so many events; wins over from and to."),
                    "from": whole("Begins at this position."), "to": whole("Ends at this position."),
                    "samples": whole("At most so many samples."),
                }),
            ),
        ),
    ])
}

fn kind_schemas() -> Map<String, Value> {
    named([
        (
            "Kind",
            object(
                &["name", "title", "summary", "guarantee", "lanes"],
                json!({
                    "name": text("As in instanceTypeName."), "aliases": { "$ref": reference("Ids") },
                    "title": text("A heading."), "summary": text("One line."), "page": text("The manual's page."),
                    "guarantee": { "enum": ["atLeastOnce", "effectivelyOnce"] }, "lanes": { "enum": ["many", "one"] },
                    "batchRecordsDefault": whole("Records of a batch unless set otherwise."),
                    "policy": list_of("PolicyRow"), "settings": list_of("Setting"), "shared": list_of("Setting"),
                }),
            ),
        ),
        (
            "PolicyRow",
            object(
                &["class", "action"],
                json!({
                    "class": text("Class of failures, such as timeout or status:5xx; the most specific row holds."),
                    "action": { "enum": ["retry", "reject", "stop"] },
                }),
            ),
        ),
        ("KindList", list_of("Kind")),
        (
            "Setting",
            object(
                &["key", "expected", "required", "secret", "doc"],
                json!({
                    "key": text("With colons between levels."), "expected": text("What a value looks like."),
                    "default": { "type": ["string", "null"] }, "required": { "type": "boolean" },
                    "secret": { "type": "boolean" }, "words": { "$ref": reference("Ids") }, "doc": text("The manual."),
                }),
            ),
        ),
    ])
}

fn shard_schema() -> Value {
    object(
        &["shard", "generation", "state"],
        json!({
            "shard": whole("Its number, from 0."),
            "generation": whole("Which way to spread the connector's records it belongs to, from 1."),
            "state": text("Its state, one of those of a connector."),
            "nodeId": { "type": ["string", "null"], "description": "The node that has it." },
            "nodeName": text("That node's name."),
            "position": { "type": ["string", "null"], "description": "Its last checkpoint." },
            "positionUpdateTime": { "type": ["string", "null"], "format": "date-time" },
            "lag": { "type": ["integer", "null"], "description": "How far the log goes on behind that." },
            "parked": whole("The records it has parked."),
            "progress": { "type": ["object", "null"], "description": "What its pipeline has done, if it runs on the node \
                          that is asked." },
        }),
    )
}

fn query_schemas() -> Map<String, Value> {
    let time = json!({ "type": "string", "format": "date-time" });
    named([
        (
            "Connector",
            object(
                &["connectorId", "instanceTypeName", "name", "state"],
                json!({
                    "connectorId": text("Its id."), "instanceTypeName": text("Its kind."), "name": text("Its name."),
                    "state": { "enum": ["CONNECTOR_STATE_ACTIVATING", "CONNECTOR_STATE_RUNNING",
                                        "CONNECTOR_STATE_DEACTIVATING", "CONNECTOR_STATE_STOPPED"] },
                    "stateUpdateTime": time, "settings": { "$ref": reference("Settings") }, "settingsUpdateTime": time,
                    "configuration": { "type": "object" }, "configurationUpdateTime": time,
                    "position": text("Its last checkpoint."), "positionUpdateTime": time,
                    "createTime": time, "updateTime": time, "deleteTime": time,
                    "errorDetails": { "type": "object", "description": "Why it failed: code and message." },
                    "revision": whole("Counts the reconfigurations."),
                    "parked": { "type": "object", "description": "What is parked: keys, records, bytes; absent when \
                                nothing is." },
                    "restartNeeded": { "type": "boolean", "description": "It runs with older settings." },
                    "shards": list_of("ConnectorShard"),
                    "progress": { "type": "object", "description": "What the running pipeline has done: read, delivered, \
                                  skipped, parked, settled, lastProgressTime, caughtUp, failing, stalledSince, \
                                  oldestUndelivered, breaker." },
                }),
            ),
        ),
        ("ConnectorShard", shard_schema()),
        (
            "ConnectorList",
            object(
                &["items", "totalSize", "totalCount"],
                json!({
                    "items": list_of("Connector"), "totalSize": whole("Items on this page."),
                    "totalCount": whole("All that fit."),
                }),
            ),
        ),
        (
            "SettingsAnswer",
            object(&["settings"], json!({ "settings": { "$ref": reference("Settings") }, "settingsUpdateTime": time })),
        ),
        (
            "ConfigurationAnswer",
            object(
                &["configuration"],
                json!({ "configuration": { "type": "object" }, "configurationUpdateTime": time }),
            ),
        ),
        (
            "PreviewList",
            json!({ "type": "array", "items": object(&["id"], json!({
                "id": text("Its id."), "filter": text("JSONPath."), "sink": text("Where to."),
                "affinity": text("Leader, Follower or ReadOnlyReplica."), "enabled": { "type": "boolean" },
                "resetTo": { "type": "object" }, "checkpointConfig": { "type": "object" },
            })) }),
        ),
        (
            "PreviewReport",
            object(
                &["examined", "matched", "skipped", "failed", "cutShort", "samples"],
                json!({
                    "examined": whole("Events."), "matched": whole("Records that would be delivered."),
                    "skipped": whole("Events dropped."), "failed": whole("Records the transform failed on."),
                    "cutShort": { "type": "boolean", "description": "The bound on examined events was reached." },
                    "samples": { "type": "array", "items": { "type": "object" } },
                }),
            ),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = document();
        let mut documented: Vec<String> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            documented.extend(item.as_object().unwrap().keys().map(|verb| format!("{verb} {path}")));
        }
        let mut routed: Vec<_> = documents().map(|doc| format!("{} {}", doc.verb.lower(), doc.path)).collect();
        documented.sort();
        routed.sort();
        assert_eq!(documented, routed, "a route that is listed twice is in the document once");
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = document();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is not there");
        }
        for name in schemas.keys() {
            assert!(text.contains(&format!("#/components/schemas/{name}\"")), "{name} is not used");
        }
    }

    #[test]
    fn every_route_says_what_it_does_and_answers() {
        let mut ids = std::collections::BTreeSet::new();
        for doc in documents() {
            assert!(!doc.summary.is_empty() && !doc.tag.is_empty() && !doc.answers.is_empty(), "{}", doc.path);
            assert!(ids.insert(operation_id(doc)), "{} is named twice", operation_id(doc));
            for parameter in parameters(doc) {
                assert_ne!(parameter["description"], "", "{} of {}", parameter["name"], doc.path);
            }
        }
    }
}
