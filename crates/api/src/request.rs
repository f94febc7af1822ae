//! Owns reading what a request says: path, query, headers, body; each wrong part is named.

use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::status::Refusal;

/// A management body holds at most so many bytes.
pub(crate) const MANAGEMENT_BODY_SIZE_MAX: usize = 1 << 20;

/// A management body arrives within so long.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Parts of the path, decoded.
pub(crate) struct UrlPath<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for UrlPath<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        read.map(|Path(value)| Self(value))
            .map_err(|error| Refusal::bad_request(format!("the path cannot be read: {}", error.body_text())))
    }
}

/// The body, whole, up to the limit of the route.
pub(crate) struct Payload(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let read = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        read.map_err(|_| Refusal::body_timeout())?
            .map(Self)
            .map_err(|error| refuse_body(&error, MANAGEMENT_BODY_SIZE_MAX))
    }
}

/// Says why a body could not be read.
pub(crate) fn refuse_body(error: &BytesRejection, limit: usize) -> Refusal {
    if error.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::too_large(limit)
    } else {
        Refusal::bad_request(format!("the body cannot be read: {}", error.body_text()))
    }
}

/// The query string as names and values, in order.
pub(crate) struct QueryPairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryPairs {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Refusal::bad_request(format!("the query cannot be read: {}", error.body_text())))?;
        Ok(Self(pairs))
    }
}

impl QueryPairs {
    /// Refuses every name that is not among these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let expected = known.join(", ");
                Err(Refusal::field(name, format!("query parameter {name} is not known: expected one of {expected}")))
            }
        }
    }

    /// The last value of a name.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
    }

    /// A switch: absent is false, present without a value is true.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.one(name) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(Refusal::field(name, format!("{name} is {text:?}: expected true or false"))),
        }
    }

    /// A whole number, if given.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.one(name)
            .map(|text| {
                text.parse().map_err(|_| Refusal::field(name, format!("{name} is {text:?}: expected a whole number")))
            })
            .transpose()
    }
}

/// The value of a header under its `ES-` or its `Kurrent-` name.
pub(crate) fn twin_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    for prefix in ["es-", "kurrent-"] {
        if let Some(value) = headers.get(format!("{prefix}{name}")) {
            let text = value.to_str();
            return text.map(|text| Some(text.trim())).map_err(|_| {
                Refusal::bad_request(format!("header {prefix}{name} holds characters that no header may hold"))
            });
        }
    }
    Ok(None)
}

/// Whether a header of either name is there and says true.
pub(crate) fn twin_flag(headers: &HeaderMap, name: &str) -> Result<bool, Refusal> {
    match twin_header(headers, name)? {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(text) => Err(Refusal::bad_request(format!("header ES-{name} is {text:?}: expected true or false"))),
    }
}

/// The media type of the body, in lower case and without parameters; empty when there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    header_text(headers, header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A header as text; empty when it is absent or not text.
pub(crate) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads a JSON body; what is wrong with it is said with line and column.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body is not as expected: {error}")))
}
