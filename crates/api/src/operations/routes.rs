//! Owns the table of routes of operation.

use axum::routing::get;
use forebay_access::Need;

use super::node::OperationsApi;
use super::{gossip, health, metrics, node, nodes};
use crate::routes::{Parameter, Route, RouteDoc, Verb};

const JSON: &str = "application/json";
const LIVE_CODE: Parameter = ("liveCode", "integer", "The status of success, instead of 204.");

const fn doc(path: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(Verb::Get, path, summary).tag("operation")
}

/// Routes of operation.
pub(crate) const ROUTES: &[Route<OperationsApi>] = &[
    Route {
        doc: doc("/info", "Tells version, state and features of the node").needs(Need::Nothing).answers(&[(
            200,
            JSON,
            "Object",
            "The facts.",
        )]),
        handler: || get(node::info),
    },
    Route {
        doc: doc("/ping", "Answers that there is somebody").needs(Need::Nothing).answers(&[(
            200,
            JSON,
            "Object",
            "There is.",
        )]),
        handler: || get(node::ping),
    },
    Route {
        doc: doc("/gossip", "Tells who the members of the cluster are")
            .needs(Need::Nothing)
            .notes("There is one: this node, at the address that the request names.")
            .answers(&[(200, JSON, "Object", "The members."), (400, JSON, "Status", "The request names no host.")]),
        handler: || get(gossip::members),
    },
    Route {
        doc: doc("/stats", "Tells a few numbers of the node").needs(Need::SignedIn).answers(&[(
            200,
            JSON,
            "Object",
            "The numbers.",
        )]),
        handler: || get(node::stats),
    },
    Route {
        doc: doc("/nodes", "Lists the nodes that share the store, as this one sees them")
            .notes(
                "The oldest comes first. state is active, suspect (silent for longer than it should be) or leaving. \
                 connectors maps each connector that a node has to the epoch of its lease.",
            )
            .answers(&[(200, JSON, "Nodes", "The nodes; one when the store is not shared.")]),
        handler: || get(nodes::list),
    },
    Route {
        doc: doc("/health", "Tells the health of the store and of each connector")
            .needs(Need::Operator)
            .notes("status is ok, degraded (a connector has failed) or unavailable. lag counts positions not settled.")
            .answers(&[(200, JSON, "Health", "It serves."), (503, JSON, "Health", "It does not serve.")]),
        handler: || get(health::detail),
    },
    Route {
        doc: doc("/health/live", "Tells that the process is alive")
            .needs(Need::Nothing)
            .query(&[LIVE_CODE])
            .answers(&[(204, "", "", "It is.")]),
        handler: || get(health::live),
    },
    Route {
        doc: doc("/health/ready", "Tells whether the node takes requests")
            .needs(Need::Nothing)
            .query(&[LIVE_CODE])
            .answers(&[
                (204, "", "", "It does."),
                (503, JSON, "Status", "It is stopping, or the store does not answer."),
            ]),
        handler: || get(health::ready),
    },
    Route {
        doc: doc("/metrics", "Tells all metrics for Prometheus").needs(Need::Operator).answers(&[(
            200,
            "application/openmetrics-text",
            "Text",
            "The metrics.",
        )]),
        handler: || get(metrics::metrics),
    },
    Route {
        doc: doc("/openapi.json", "This document").needs(Need::Nothing).answers(&[(
            200,
            JSON,
            "Object",
            "The document.",
        )]),
        handler: || get(node::document),
    },
];
