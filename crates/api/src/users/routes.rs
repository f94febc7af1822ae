//! Owns the table of routes of users.

use axum::routing::{delete, get, post, put};
use forebay_access::{Access, Need};

use super::http;
use crate::routes::{Answer, Content, Route, RouteDoc, Verb};

const JSON: &str = "application/json";
const DONE: Answer = (200, JSON, "Empty", "Done and durable.");
const WRONG: Answer = (400, JSON, "Status", "The request is wrong; the message names field and expectation.");
const MISSING: Answer = (404, JSON, "Status", "There is no such user.");
const CONFLICT: Answer = (409, JSON, "Status", "There is such a user already, or others change it at the same time.");
const NEW_PASSWORD: Content = (JSON, "NewPassword", "The password to be.");

const fn doc(verb: Verb, path: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(verb, path, summary).tag("users").needs(Need::Admin)
}

const fn command(verb: Verb, path: &'static str, summary: &'static str) -> RouteDoc {
    doc(verb, path, summary).answers(&[DONE, WRONG, MISSING, CONFLICT])
}

/// Routes of users.
pub(crate) const ROUTES: &[Route<Access>] = &[
    Route {
        doc: doc(Verb::Get, "/users", "Lists users")
            .notes("In the order of their creation. For administrators.")
            .answers(&[(200, JSON, "UserList", "All users.")]),
        handler: || get(http::list),
    },
    Route {
        doc: command(Verb::Post, "/users", "Creates a user").notes("For administrators.").body(&[(
            JSON,
            "NewUser",
            "The user and its password.",
        )]),
        handler: || post(http::create),
    },
    Route {
        doc: doc(Verb::Get, "/users/{login}", "Shows a user")
            .needs(Need::SignedIn)
            .notes("For the user itself and for administrators. $current is the user who asks.")
            .answers(&[(200, JSON, "User", "The user."), MISSING]),
        handler: || get(http::show),
    },
    Route {
        doc: command(Verb::Put, "/users/{login}", "Replaces a user's full name and groups")
            .notes("For administrators.")
            .body(&[(JSON, "UserUpdate", "Full name and groups.")]),
        handler: || put(http::update),
    },
    Route {
        doc: command(Verb::Delete, "/users/{login}", "Deletes a user").notes("For administrators."),
        handler: || delete(http::remove),
    },
    Route {
        doc: command(Verb::Post, "/users/{login}/command/enable", "Lets a user sign in").notes("For administrators."),
        handler: || post(http::enable),
    },
    Route {
        doc: command(Verb::Post, "/users/{login}/command/disable", "Does not let a user sign in any more")
            .notes("For administrators. Its running subscriptions end."),
        handler: || post(http::disable),
    },
    Route {
        doc: command(Verb::Post, "/users/{login}/command/reset-password", "Gives a user another password")
            .notes("For administrators.")
            .body(&[NEW_PASSWORD]),
        handler: || post(http::reset_password),
    },
    Route {
        doc: command(Verb::Post, "/users/{login}/command/change-password", "Replaces a user's own password")
            .needs(Need::SignedIn)
            .notes("For the user itself and for administrators; the present password must be given.")
            .body(&[(JSON, "ChangePassword", "The present password and the one to be.")]),
        handler: || post(http::change_password),
    },
];
