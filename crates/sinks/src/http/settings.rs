//! Owns the settings of the HTTP sink.

use std::collections::BTreeMap;

use forebay_connector::settings::{DurationMs, Secret, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A target that is slower than this is not waited for.
const REQUEST_TIMEOUT_DEFAULT: DurationMs = DurationMs::millis(30_000);
/// A target that cannot be reached in this time is down.
const CONNECT_TIMEOUT_DEFAULT: DurationMs = DurationMs::millis(10_000);
/// The documented default.
const CONNECTION_LIFETIME_DEFAULT: Span = Span::secs(300);
/// Statuses that may pass.
const RETRY_CODES_DEFAULT: [&str; 5] = ["408", "421", "425", "429", "5xx"];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpSettings {
    /// Where requests go. `{schema-subject}` and `{event-type}` stand for the type in lower case with hyphens
    /// (`OrderPlaced` becomes `order-placed`), `{stream}` and `{category}` for the stream's name and the part before its
    /// first hyphen. They may stand in path and query, and each is encoded as one path segment.
    pub(super) url: String,
    /// The method of every request.
    #[serde(default)]
    pub(super) method: Verb,
    /// Headers of every request. `Accept-Encoding` is `*` unless set here; `Content-Type` is the event's unless set here.
    #[serde(default)]
    pub(super) default_headers: BTreeMap<String, String>,
    /// The age from which a connection is replaced, so that changes of the name's addresses are seen.
    #[serde(default = "connection_lifetime_default")]
    pub(super) pooled_connection_lifetime: Span,
    #[serde(default)]
    pub(super) authentication: Authentication,
    #[serde(default)]
    pub(super) tls: Tls,
    /// How long a request may take, from connecting to the end of the answer.
    #[serde(default = "request_timeout_default")]
    pub(super) request_timeout_ms: DurationMs,
    /// How long connecting may take.
    #[serde(default = "connect_timeout_default")]
    pub(super) connect_timeout_ms: DurationMs,
    #[serde(default)]
    pub(super) resilience: HttpResilience,
    /// What one request holds: one event, or a batch in one of three forms.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Whether the items of `jsonArray` and `ndjson` are objects with id, stream, revision, position, type, time and
    /// data. Without it an item is the data alone, and events that are not JSON are refused.
    #[serde(default = "yes")]
    pub(super) envelope: bool,
    /// Whether an event goes out as a CloudEvent, with its attributes in headers or around its data. Only in mode
    /// `event`; mode `cloudEventsBatch` is always structured.
    #[serde(default)]
    pub(super) cloud_events: CloudEvents,
    #[serde(default)]
    pub(super) signature: Signature,
    /// Whether requests carry a stable `Idempotency-Key`.
    #[serde(default = "yes")]
    pub(super) idempotency_key: bool,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verb {
    #[default]
    Post,
    Put,
    Patch,
    Delete,
    Get,
}

/// What one request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Mode {
    #[default]
    Event,
    JsonArray,
    Ndjson,
    CloudEventsBatch,
}

/// How an event is put into a CloudEvent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum CloudEvents {
    #[default]
    None,
    Binary,
    Structured,
}

/// Who we are to the target.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Authentication {
    /// How we say who we are.
    #[serde(default)]
    pub(super) method: AuthenticationMethod,
    #[serde(default)]
    pub(super) basic: Basic,
    #[serde(default)]
    pub(super) bearer: Bearer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(super) enum AuthenticationMethod {
    #[default]
    None,
    Basic,
    Bearer,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Basic {
    /// The user's name; needed with method `Basic`.
    #[serde(default)]
    pub(super) username: String,
    /// The user's password.
    #[serde(default)]
    pub(super) password: Secret,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Bearer {
    /// The token; needed with method `Bearer`.
    #[serde(default)]
    pub(super) token: Secret,
}

/// What secure connections trust and show.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tls {
    /// Authorities trusted besides those of the machine: PEM text, or base64 of it.
    pub(super) ca_certificate: Option<String>,
    /// The certificate chain that we show: PEM text, or base64 of it.
    pub(super) client_certificate: Option<String>,
    /// The key that goes with it: PEM text, or base64 of it.
    pub(super) client_key: Option<Secret>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpResilience {
    /// Statuses after which a request is tried again, such as `404,408,5xx`; replaces the list that holds otherwise.
    #[serde(default = "retry_codes_default")]
    pub(super) retry_on_http_codes: Vec<String>,
}

impl Default for HttpResilience {
    fn default() -> Self {
        Self { retry_on_http_codes: retry_codes_default() }
    }
}

/// Signs requests as the Standard Webhooks specification says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signature {
    /// The key that signs: `whsec_` and base64. Requests are signed when it is given.
    pub(super) secret: Option<Secret>,
    /// The key before it: requests carry both signatures while receivers change over.
    pub(super) previous_secret: Option<Secret>,
}

fn yes() -> bool {
    true
}

fn connection_lifetime_default() -> Span {
    CONNECTION_LIFETIME_DEFAULT
}

fn request_timeout_default() -> DurationMs {
    REQUEST_TIMEOUT_DEFAULT
}

fn connect_timeout_default() -> DurationMs {
    CONNECT_TIMEOUT_DEFAULT
}

fn retry_codes_default() -> Vec<String> {
    RETRY_CODES_DEFAULT.map(ToOwned::to_owned).to_vec()
}
