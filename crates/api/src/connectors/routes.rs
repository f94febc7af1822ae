//! Owns the table of routes of connectors.

use axum::routing::{delete, get, post, put};
use forebay_access::Need;
use forebay_runtime::Connectors;

use super::{apply, commands, dry_run, kinds, parked, preview_api, queries};
use crate::routes::{Answer, Content, Parameter, Route, RouteDoc, Verb};

const TAG: &str = "connectors";
const TAG_PREVIEW: &str = "connectors, preview API";
const JSON: &str = "application/json";
const DONE: Answer = (200, JSON, "Empty", "Accepted and stored; its effect follows.");
const DONE_SILENTLY: Answer = (200, "", "", "Done, or already so.");
const WRONG: Answer =
    (400, JSON, "Status", "The request or a setting is wrong; details name key, value and expectation.");
const WRONG_PLAIN: Answer = (400, "text/plain", "Text", "Refused, with the reason as text.");
const MISSING: Answer = (404, JSON, "Status", "There is no such connector, or it was deleted.");
const CONFLICT: Answer =
    (409, JSON, "Status", "The command does not fit the connector's state, or somebody else was faster.");
const UNAVAILABLE: Answer = (503, JSON, "Status", "The store cannot answer now.");
const COMMAND: &[Answer] = &[DONE, WRONG, MISSING, CONFLICT, UNAVAILABLE];
const NOT_PARKED: Answer = (404, JSON, "Status", "There is no such connector, or nothing is parked under this key.");
const PARKED_COMMAND: &[Answer] = &[
    (200, JSON, "ParkedOutcome", "What came of it: delivered, refused again, edited, dropped; and how many are left."),
    WRONG,
    NOT_PARKED,
    CONFLICT,
    UNAVAILABLE,
];
const PAGING: &[Parameter] = &[("page", "integer", "From 1."), ("pageSize", "integer", "1 to 100, default 100.")];
const INCLUDE_CONFIGURATION: Parameter =
    ("includeConfiguration", "boolean", "Shows the settings as a nested object instead of a flat map.");
const FLAT: Content = (JSON, "Settings", "The settings as a flat map with colon keys.");
const NESTED: Content = (JSON, "Object", "The settings as a nested object.");

const fn doc(verb: Verb, path: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(verb, path, summary).tag(TAG)
}

const fn command(verb: Verb, path: &'static str, summary: &'static str) -> RouteDoc {
    doc(verb, path, summary).answers(COMMAND)
}

/// A command that changes what runs, but not what it does.
const fn operation(path: &'static str, summary: &'static str) -> RouteDoc {
    command(Verb::Post, path, summary).needs(Need::Operator)
}

const fn parked_command(path: &'static str, summary: &'static str) -> RouteDoc {
    doc(Verb::Post, path, summary).answers(PARKED_COMMAND)
}

const fn preview(verb: Verb, path: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(verb, path, summary).tag(TAG_PREVIEW).answers(&[DONE_SILENTLY, WRONG_PLAIN])
}

/// Routes of connectors.
pub(crate) const ROUTES: &[Route<Connectors>] = &[
    Route {
        doc: doc(Verb::Get, "/connectors", "Lists connectors")
            .notes("In the order of their creation. totalSize counts the items of this page, totalCount all that fit.")
            .query(&[
                ("state", "string", "Only in this state, such as CONNECTOR_STATE_RUNNING; may be repeated."),
                ("instanceTypeName", "string", "Only of this kind, as given at creation; may be repeated."),
                ("connectorId", "string", "Only this id; may be repeated."),
                ("includeSettings", "boolean", "Shows the settings, secrets masked."),
                INCLUDE_CONFIGURATION,
                ("showDeleted", "boolean", "Shows deleted connectors as well."),
                ("page", "integer", "From 1; also as paging.page."),
                ("pageSize", "integer", "1 to 100, default 100; also as paging.pageSize."),
            ])
            .answers(&[(200, JSON, "ConnectorList", "One page of connectors."), WRONG, UNAVAILABLE]),
        handler: || get(queries::list),
    },
    Route {
        doc: doc(Verb::Get, "/connectors/{id}", "Shows one connector, its settings and its progress")
            .notes("Deleted ones are found as well. Secrets are masked.")
            .query(&[INCLUDE_CONFIGURATION])
            .answers(&[(200, JSON, "Connector", "The connector."), MISSING, UNAVAILABLE]),
        handler: || get(queries::get),
    },
    Route {
        doc: command(Verb::Post, "/connectors/{id}", "Creates a connector")
            .notes(
                "It is stopped until started. Settings are given flat (settings), nested (configuration, which wins) or \
                 bare. The id has 5 to 50 letters, digits, hyphens and underscores. A body with a member Sink is a create \
                 of the preview API: Sink (console://, http://… or https://…), Filter (JSONPath), Affinity, \
                 CheckpointInterval, Enable; it starts at the beginning of the log and at once, unless Enable is false.",
            )
            .body(&[(JSON, "CreateConnector", "Name and settings.")]),
        handler: || post(commands::create),
    },
    Route {
        doc: command(Verb::Delete, "/connectors/{id}", "Deletes a stopped connector"),
        handler: || delete(commands::delete),
    },
    Route {
        doc: doc(Verb::Get, "/connectors/{id}/settings", "Shows the settings as a flat map, secrets masked")
            .answers(&[(200, JSON, "SettingsAnswer", "The settings."), MISSING, UNAVAILABLE]),
        handler: || get(queries::settings),
    },
    Route {
        doc: command(Verb::Put, "/connectors/{id}/settings", "Replaces the settings by a flat map")
            .notes("All of them: what is not given is gone. A running connector keeps the old ones until restarted.")
            .body(&[FLAT]),
        handler: || put(commands::reconfigure_flat),
    },
    Route {
        doc: doc(Verb::Get, "/connectors/{id}/configuration", "Shows the settings as a nested object, secrets masked")
            .answers(&[(200, JSON, "ConfigurationAnswer", "The settings."), MISSING, UNAVAILABLE]),
        handler: || get(queries::configuration),
    },
    Route {
        doc: command(Verb::Put, "/connectors/{id}/configuration", "Replaces the settings by a nested object")
            .notes("All of them: what is not given is gone. A running connector keeps the old ones until restarted.")
            .body(&[NESTED]),
        handler: || put(commands::reconfigure_nested),
    },
    Route {
        doc: operation("/connectors/{id}/start", "Starts a connector")
            .notes(
                "Behind its checkpoint, else where its settings say. The optional body {\"from\": \"earliest\" | \
                 \"latest\" | position} says otherwise.",
            )
            .optional_body(&[(JSON, "StartFrom", "Where to begin.")]),
        handler: || post(commands::start),
    },
    Route {
        doc: operation("/connectors/{id}/start/{log_position}", "Starts a connector behind a position"),
        handler: || post(commands::start_at),
    },
    Route {
        doc: operation("/connectors/{id}/reset", "Starts a stopped connector anew from the beginning")
            .notes(
                "With {CommitPosition, PreparePosition} in the body it is the reset of the preview API: an enabled \
                 connector goes on behind that position, a disabled one is refused.",
            )
            .optional_body(&[(JSON, "ResetPositions", "Positions, for the preview API only.")]),
        handler: || post(commands::reset),
    },
    Route {
        doc: operation("/connectors/{id}/reset/{log_position}", "Starts a stopped connector anew behind a position"),
        handler: || post(commands::reset_at),
    },
    Route {
        doc: operation("/connectors/{id}/stop", "Stops a connector")
            .notes("Answered at once; the batch in hand is finished first. Stopping a stopped one changes nothing."),
        handler: || post(commands::stop),
    },
    Route {
        doc: command(Verb::Put, "/connectors/{id}/rename", "Gives a connector another name")
            .body(&[(JSON, "Rename", "The name, 3 to 50 characters.")]),
        handler: || put(commands::rename),
    },
    Route {
        doc: doc(Verb::Get, "/connectors/{id}/parked", "Lists the keys whose records are parked")
            .notes("Ordered by key. keys, records and bytes count all of them, also those on other pages.")
            .query(PAGING)
            .answers(&[(200, JSON, "ParkedKeys", "One page of keys."), WRONG, MISSING, UNAVAILABLE]),
        handler: || get(parked::keys),
    },
    Route {
        doc: doc(Verb::Get, "/connectors/{id}/parked/{key}", "Shows a parked key and its records, in their order")
            .query(PAGING)
            .answers(&[(200, JSON, "ParkedRecords", "The key and one page of its records."), WRONG, NOT_PARKED,
                UNAVAILABLE]),
        handler: || get(parked::records),
    },
    Route {
        doc: parked_command("/connectors/{id}/parked/{key}/retry", "Tries the first parked record of a key once")
            .notes("Answered when the target has answered. The connector must run here."),
        handler: || post(parked::retry),
    },
    Route {
        doc: parked_command("/connectors/{id}/parked/{key}/replay", "Delivers the parked records of a key in order")
            .notes(
                "The first one goes alone as a probe, and its outcome is the answer; if it is delivered the rest follow, \
                 and new records of the key behind them. Goes on after a restart. The connector must run here.",
            )
            .optional_body(&[(JSON, "Replay", "How fast, or only how many.")]),
        handler: || post(parked::replay),
    },
    Route {
        doc: parked_command("/connectors/{id}/parked/{key}/edit", "Gives a parked record another payload")
            .notes("The original is kept beside it. Works on a stopped connector too.")
            .body(&[(JSON, "ParkedEdit", "Which record, its payload, and why.")]),
        handler: || post(parked::edit),
    },
    Route {
        doc: parked_command("/connectors/{id}/parked/{key}/drop", "Gives up parked records, all of a key or one")
            .notes("They are never delivered. Works on a stopped connector too.")
            .body(&[(JSON, "ParkedDrop", "Which record if it is one, and why.")]),
        handler: || post(parked::give_up),
    },
    Route {
        doc: preview(Verb::Get, "/connectors/list", "Lists connectors in the preview's words")
            .answers(&[(200, JSON, "PreviewList", "All connectors."), UNAVAILABLE]),
        handler: || get(preview_api::list),
    },
    Route {
        doc: preview(Verb::Get, "/connectors/activeOnNode", "Lists the ids of connectors that run on this node")
            .answers(&[(200, JSON, "Ids", "The ids."), UNAVAILABLE]),
        handler: || get(preview_api::active_on_node),
    },
    Route {
        doc: preview(Verb::Post, "/connectors/{id}/enable", "Enables a connector").needs(Need::Operator),
        handler: || post(preview_api::enable),
    },
    Route {
        doc: preview(Verb::Post, "/connectors/{id}/disable", "Disables a connector").needs(Need::Operator),
        handler: || post(preview_api::disable),
    },
    Route {
        doc: doc(Verb::Get, "/kinds", "Lists the kinds of connectors")
            .needs(Need::SignedIn)
            .answers(&[(200, JSON, "KindList", "The kinds.")]),
        handler: || get(kinds::list),
    },
    Route {
        doc: doc(Verb::Get, "/kinds/{kind}", "Describes a kind: its page, its settings, and those all kinds share")
            .needs(Need::SignedIn)
            .answers(&[(200, JSON, "Kind", "The kind."), (404, JSON, "Status", "There is no such kind.")]),
        handler: || get(kinds::describe),
    },
    Route {
        doc: doc(Verb::Post, "/preview", "Runs filter and transform over history, without a sink")
            .notes("Over the last so many events, or between two positions. Nothing is delivered or stored.")
            .body(&[(JSON, "PreviewRequest", "Settings, range, number of samples (default 10, at most 100).")])
            .answers(&[(200, JSON, "PreviewReport", "What it found."), WRONG, UNAVAILABLE]),
        handler: || post(dry_run::preview),
    },
    Route {
        doc: doc(Verb::Post, "/apply", "Makes the connectors of a file so")
            .notes("Created, reconfigured, renamed, started, stopped or left alone; those not declared are left alone.")
            .query(&[("dryRun", "boolean", "Only says what would be done.")])
            .body(&[
                ("application/yaml", "ConnectorFile", "The file."),
                ("application/toml", "ConnectorFile", "The file."),
                (JSON, "ConnectorFile", "The file."),
            ])
            .answers(&[
                (200, JSON, "Changes", "What was done, or would be."),
                WRONG,
                CONFLICT,
                (415, JSON, "Status", "The media type is not one of these."),
                UNAVAILABLE,
            ]),
        handler: || post(apply::apply),
    },
];
