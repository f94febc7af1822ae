//! Owns the route table's shape: what one line of it says, and mounting a table on a router.

use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Router, middleware};
use forebay_access::{Access, Need};
use http::{HeaderMap, Method, Uri};

use crate::status::Refusal;
use crate::{auth, connectors, grpc, operations, streams, users};

/// One route: what the document says of it, and who answers it.
pub(crate) struct Route<S: 'static> {
    /// What the document says.
    pub(crate) doc: RouteDoc,
    /// Who answers; made anew for each router.
    pub(crate) handler: fn() -> MethodRouter<S>,
}

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Reads.
    Get,
    /// Asks or adds.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

impl Verb {
    /// The name in the document.
    pub(crate) const fn lower(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// One query parameter or header: name, type (`string`, `integer`, `boolean`), meaning.
pub(crate) type Parameter = (&'static str, &'static str, &'static str);

/// One form of a body: media type, schema in the document's components, meaning.
pub(crate) type Content = (&'static str, &'static str, &'static str);

/// One answer: status, media type (empty for none), schema (empty for none), meaning.
pub(crate) type Answer = (u16, &'static str, &'static str, &'static str);

/// What the OpenAPI document says of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteDoc {
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) notes: &'static str,
    pub(crate) query: &'static [Parameter],
    pub(crate) headers: &'static [Parameter],
    pub(crate) body: &'static [Content],
    pub(crate) body_required: bool,
    pub(crate) answers: &'static [Answer],
    need: Option<Need>,
}

impl RouteDoc {
    /// A route with a one-line summary and no more said.
    pub(crate) const fn new(verb: Verb, path: &'static str, summary: &'static str) -> Self {
        let (tag, notes) = ("", "");
        let (query, headers, body, answers) = (&[], &[], &[], &[]);
        Self { verb, path, tag, summary, notes, query, headers, body, body_required: true, answers, need: None }
    }

    /// The chapter it belongs to.
    pub(crate) const fn tag(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// What else a caller should know.
    pub(crate) const fn notes(self, notes: &'static str) -> Self {
        Self { notes, ..self }
    }

    /// Its query parameters.
    pub(crate) const fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    /// Its request headers.
    pub(crate) const fn headers(self, headers: &'static [Parameter]) -> Self {
        Self { headers, ..self }
    }

    /// The forms of body it takes; one is required.
    pub(crate) const fn body(self, body: &'static [Content]) -> Self {
        Self { body, ..self }
    }

    /// The forms of body it takes; none is required.
    pub(crate) const fn optional_body(self, body: &'static [Content]) -> Self {
        Self { body, body_required: false, ..self }
    }

    /// What a caller must be, where that is not what its method says: operators read, administrators change.
    pub(crate) const fn needs(self, need: Need) -> Self {
        Self { need: Some(need), ..self }
    }

    /// What a caller must be.
    pub(crate) const fn need(&self) -> Need {
        match (self.need, self.verb) {
            (Some(need), _) => need,
            (None, Verb::Get) => Need::Operator,
            (None, Verb::Post | Verb::Put | Verb::Delete) => Need::Admin,
        }
    }

    /// What it answers besides refusals that every route shares.
    pub(crate) const fn answers(self, answers: &'static [Answer]) -> Self {
        Self { answers, ..self }
    }
}

/// Every route's line of the document, in the order of the chapters.
pub(crate) fn documents() -> impl Iterator<Item = &'static RouteDoc> {
    let connectors = connectors::ROUTES.iter().map(|route| &route.doc);
    let streams = streams::ROUTES.iter().map(|route| &route.doc);
    let operations = operations::ROUTES.iter().map(|route| &route.doc);
    let users = users::ROUTES.iter().map(|route| &route.doc);
    connectors.chain(streams).chain(users).chain(operations)
}

/// Mounts a table, each route behind what it needs; another method on one of its paths is refused by name.
pub(crate) fn mount<S: Clone + Send + Sync + 'static>(table: &'static [Route<S>], state: S, access: &Access) -> Router {
    let mut router = Router::new();
    for route in table {
        let gate = middleware::from_fn_with_state((access.clone(), route.doc.need()), auth::let_in);
        router = router.route(route.doc.path, (route.handler)().route_layer(gate));
    }
    router.method_not_allowed_fallback(wrong_method).with_state(state)
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::method_not_allowed(method.as_str(), uri.path())
}

/// Answers a path that no table holds, in the caller's own protocol.
pub(crate) async fn unknown_path(uri: Uri, headers: HeaderMap) -> Response {
    if grpc::is_call(&headers) {
        return grpc::not_served(uri.path());
    }
    Refusal::not_found(format!("there is no route {}; see /openapi.json", uri.path())).into_response()
}
