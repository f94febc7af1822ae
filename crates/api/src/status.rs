//! Owns which status an answer has: nothing else decides it. Those of gRPC are in `grpc`.

pub(crate) mod grpc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use forebay_access::{AccessDenied, Refused, SignInError, UserError};
use forebay_connector::settings::SettingsErrors;
use forebay_runtime::management::{ApplyError, CommandError, QueryError, Violation};
use forebay_runtime::pipeline::ParkedRefusal;
use forebay_store::{AppendError, InvalidFilter, ReadError, SubscribeError};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// Codes of `google.rpc.Status`, as far as this API answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// A request that was not done: status, code, and what a person should know.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
    details: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    plain: bool,
}

impl Refusal {
    /// The request cannot be understood or is wrong in itself: says what and what is expected.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidArgument, message)
    }

    /// Fields of the request are wrong: `message` is a JSON text that maps fields to what is wrong with them.
    pub(crate) fn fields(violations: &[(String, String)]) -> Self {
        let mut by_field: Map<String, Value> = Map::new();
        for (field, problem) in violations {
            if let Value::Array(problems) = by_field.entry(field.clone()).or_insert_with(|| json!([])) {
                problems.push(Value::String(problem.clone()));
            }
        }
        let listed: Vec<Value> =
            violations.iter().map(|(field, problem)| json!({ "field": field, "description": problem })).collect();
        Self::bad_request(Value::Object(by_field).to_string())
            .detail(json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": listed }))
    }

    /// One field of the request is wrong.
    pub(crate) fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::fields(&[(field.to_owned(), problem.into())])
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, message)
    }

    /// The path exists, but not with this method.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}; see /openapi.json");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, message)
    }

    /// The body is larger than this route takes.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, message)
    }

    /// The body did not arrive in time.
    pub(crate) fn body_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::Unavailable, "the body did not arrive in time")
    }

    /// The body is in a form that this route does not take.
    pub(crate) fn media_type(found: &str, expected: &str) -> Self {
        let message = format!("the body is {found:?}: expected {expected}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, message)
    }

    /// The answer is wanted in a form that this route does not give.
    pub(crate) fn not_acceptable(wanted: &str, offered: &str) -> Self {
        let message = format!("an answer as {wanted:?} is wanted: offered are {offered}");
        Self::new(StatusCode::NOT_ACCEPTABLE, Code::InvalidArgument, message)
    }

    /// A page of another site asks in the name of whoever opened it.
    pub(crate) fn foreign_origin(origin: &str) -> Self {
        let message = format!("pages from {origin:?} may not manage this server");
        Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, message)
    }

    /// A request that names another host than this machine, to a server that serves this machine alone.
    pub(crate) fn foreign_host(host: &str) -> Self {
        let message = format!("this server serves its own machine alone and may not be managed as {host:?}");
        Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, message)
    }

    /// Credentials are missing or wrong. The scheme is not plain `Basic`, or browsers would ask for a password.
    fn unauthenticated(message: &str) -> Self {
        let refusal = Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, message);
        refusal.header("www-authenticate", "BasicCustom realm=\"forebay\"")
    }

    /// A bound on what is done at the same time is reached.
    pub(crate) fn too_many(what: &str, limit: usize) -> Self {
        let message = format!("there are {limit} {what} already, the most this server takes");
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, message)
    }

    /// The server is not in a state to answer.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message)
    }

    /// Something broke that should not; says nothing about what.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "the server failed on this request; see its log")
    }

    /// The preview API's way to refuse: 400 and plain text, unless the store is at fault.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { plain: true, ..Self::bad_request(message) }
    }

    /// The same refusal as the preview API words it: plain text, and 400 for whatever the caller can mend.
    pub(crate) fn into_plain(self) -> Self {
        let status = if self.status.is_server_error() { self.status } else { StatusCode::BAD_REQUEST };
        Self { status, plain: true, ..self }
    }

    fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), headers: Vec::new(), plain: false }
    }

    fn detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    fn resource(self, id: &str) -> Self {
        let description = self.message.clone();
        self.detail(json!({
            "@type": "type.googleapis.com/google.rpc.ResourceInfo",
            "resourceType": "connector", "resourceName": id, "description": description
        }))
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = if self.plain {
            (self.status, self.message).into_response()
        } else {
            let mut body = json!({ "code": self.code as i32, "message": self.message });
            if !self.details.is_empty()
                && let Some(object) = body.as_object_mut()
            {
                object.insert("details".to_owned(), Value::Array(self.details));
            }
            (self.status, Json(body)).into_response()
        };
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::Invalid(violations) => violations.as_slice().into(),
            CommandError::Settings(errors) => errors.into(),
            CommandError::NotFound { id } | CommandError::Deleted { id } => Self::not_found(message).resource(&id),
            CommandError::Exists { id } => Self::new(StatusCode::CONFLICT, Code::AlreadyExists, message).resource(&id),
            CommandError::IllegalTransition { .. } | CommandError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, Code::FailedPrecondition, message)
            }
            CommandError::Parked { id, refusal } => Self::of_parked(&id, *refusal, message),
            CommandError::NoSuchPosition { .. } => Self::bad_request(message),
            CommandError::TooManyGenerations { id, .. } => {
                Self::new(StatusCode::CONFLICT, Code::FailedPrecondition, message).resource(&id)
            }
            CommandError::TooMany { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, message),
            CommandError::Append(error) => Self::of_inner_append(error),
            CommandError::Read(error) => Self::of_inner_read(error),
        }
    }
}

impl From<&[Violation]> for Refusal {
    fn from(violations: &[Violation]) -> Self {
        let listed: Vec<_> = violations.iter().map(|v| (v.field.to_owned(), v.to_string())).collect();
        Self::fields(&listed)
    }
}

impl From<SettingsErrors> for Refusal {
    fn from(errors: SettingsErrors) -> Self {
        let listed: Vec<_> = errors.errors.iter().map(|error| (error.key.clone(), error.to_string())).collect();
        Self::fields(&listed)
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::NotFound { id } | QueryError::NotParked { id, .. } => Self::not_found(message).resource(&id),
            QueryError::Settings(errors) => errors.into(),
            QueryError::Read(error) => Self::of_inner_read(error),
        }
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Form { place, problem } => Self::field(&place, problem),
            ApplyError::Command { id, error } => {
                let refusal = Self::from(error);
                Self { message: format!("connector {id}: {}", refusal.message), ..refusal }
            }
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::StreamNotFound { .. } => Self::not_found(message),
            ReadError::StreamDeleted { .. } => Self::new(StatusCode::GONE, Code::FailedPrecondition, message),
            ReadError::Damaged { .. } => {
                tracing::error!(error = %message, "the store is damaged");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, message)
            }
            ReadError::Unavailable { .. } => Self::unavailable(message),
        }
    }
}

impl From<SubscribeError> for Refusal {
    fn from(error: SubscribeError) -> Self {
        let message = error.to_string();
        match error {
            SubscribeError::StreamDeleted { .. } => Self::new(StatusCode::GONE, Code::FailedPrecondition, message),
            SubscribeError::BehindEnd { .. } => Self::bad_request(message),
            SubscribeError::Closed => Self::unavailable(message),
            SubscribeError::Read(error) => error.into(),
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::WrongExpectedRevision { current, .. } => {
                let version = current.map_or_else(|| "-1".to_owned(), |revision| revision.to_string());
                Self::new(
                    StatusCode::BAD_REQUEST,
                    Code::FailedPrecondition,
                    format!("wrong expected revision: {message}"),
                )
                .detail(json!({
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "WRONG_EXPECTED_REVISION",
                    "domain": "streams", "metadata": { "currentRevision": version.clone() }
                }))
                .header("es-currentversion", &version)
                .header("kurrent-currentversion", &version)
            }
            AppendError::StreamDeleted { .. } => Self::new(StatusCode::GONE, Code::FailedPrecondition, message),
            AppendError::AppendTooLarge { .. } | AppendError::EventTooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument, message)
            }
            AppendError::Invalid { .. } => Self::bad_request(message),
            AppendError::Unavailable { .. } => Self::unavailable(message),
        }
    }
}

impl From<AccessDenied> for Refusal {
    fn from(denied: AccessDenied) -> Self {
        if denied.is_anonymous {
            Self::unauthenticated("access is denied without credentials: give login name and password")
        } else {
            Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, denied.to_string())
        }
    }
}

impl<E: Into<Self>> From<Refused<E>> for Refusal {
    fn from(refused: Refused<E>) -> Self {
        match refused {
            Refused::Denied(denied) => denied.into(),
            Refused::Unjudged(error) => Self::of_inner_read(error),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Self {
        let message = error.to_string();
        match error {
            SignInError::Wrong => Self::unauthenticated(&message),
            SignInError::Busy => Self::unavailable(message),
            SignInError::Read(error) => Self::of_inner_read(error),
        }
    }
}

impl From<UserError> for Refusal {
    fn from(error: UserError) -> Self {
        let message = error.to_string();
        match error {
            UserError::NotFound { .. } => Self::not_found(message),
            UserError::Conflict { .. } => Self::new(StatusCode::CONFLICT, Code::AlreadyExists, message),
            UserError::Invalid { field, .. } => Self::field(field, message),
            UserError::WrongPassword { .. } => Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, message),
            UserError::TooMany { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, message),
            UserError::Busy => Self::unavailable(message),
            UserError::NoRandom => Self::internal(),
            UserError::Read(error) => Self::of_inner_read(error),
            UserError::Append(error) => Self::of_inner_append(error),
        }
    }
}

impl From<InvalidFilter> for Refusal {
    fn from(error: InvalidFilter) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Trouble with a stream of our own, which the caller has not named and cannot mend.
impl Refusal {
    fn of_parked(id: &str, refusal: ParkedRefusal, message: String) -> Self {
        match refusal {
            ParkedRefusal::NoKey { .. } | ParkedRefusal::NoRecord { .. } => Self::not_found(message).resource(id),
            ParkedRefusal::Replaying { .. }
            | ParkedRefusal::NotRunning
            | ParkedRefusal::Elsewhere { .. }
            | ParkedRefusal::Conflict
            | ParkedRefusal::Full { .. } => Self::new(StatusCode::CONFLICT, Code::FailedPrecondition, message),
            ParkedRefusal::Busy { .. } => Self::unavailable(message),
            ParkedRefusal::Append(error @ (AppendError::EventTooLarge { .. } | AppendError::AppendTooLarge { .. })) => {
                error.into()
            }
            ParkedRefusal::Append(error) => Self::of_inner_append(error),
            ParkedRefusal::Read(error) => Self::of_inner_read(error),
        }
    }

    fn of_inner_append(error: AppendError) -> Self {
        match error {
            AppendError::Unavailable { .. } => error.into(),
            other => Self::of_inner(&other),
        }
    }

    fn of_inner_read(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable { .. } | ReadError::Damaged { .. } => error.into(),
            other => Self::of_inner(&other),
        }
    }

    fn of_inner(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a stream of the server's own cannot be used");
        Self::internal()
    }
}

/// Done; nothing to say: 200 and an empty object.
pub(crate) fn done() -> Response {
    Json(json!({})).into_response()
}

/// Done, as the preview API says it: 200 and an empty body.
pub(crate) fn done_silently() -> Response {
    StatusCode::OK.into_response()
}

/// Appended, and where the first event is.
pub(crate) fn created(location: &str) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Done, without a body.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Nothing new since the caller's copy.
pub(crate) fn not_modified() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

/// An answer that is there already as bytes.
pub(crate) fn bytes(media_type: &'static str, body: impl Into<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, media_type)], Body::from(body.into())).into_response()
}

/// Alive or ready, with the success code that the caller asked for.
pub(crate) fn healthy(code: Option<&str>) -> Result<Response, Refusal> {
    let Some(text) = code else { return Ok(no_content()) };
    match text.parse().ok().and_then(|number| StatusCode::from_u16(number).ok()) {
        Some(status) if status.is_success() => Ok(status.into_response()),
        _ => Err(Refusal::bad_request(format!("liveCode is {text:?}: expected a status between 200 and 299"))),
    }
}

/// Health in detail: 200 when all is well enough to serve, 503 otherwise, the same body in both.
pub(crate) fn health(detail: Value, serving: bool) -> Response {
    let status = if serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(detail)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
    use forebay_runtime::management::ConnectorState;

    fn status_of(error: impl Into<Refusal>) -> (u16, i32) {
        let refusal = error.into();
        (refusal.status.as_u16(), refusal.code as i32)
    }

    #[test]
    fn commands_are_refused_with_the_codes_that_protect_the_user() {
        let id = || "one-two".to_owned();
        assert_eq!(status_of(CommandError::NotFound { id: id() }), (404, 5));
        assert_eq!(status_of(CommandError::Deleted { id: id() }), (404, 5));
        assert_eq!(status_of(CommandError::Exists { id: id() }), (409, 6));
        assert_eq!(status_of(CommandError::Conflict { id: id() }), (409, 9));
        let running = CommandError::IllegalTransition { id: id(), command: "start", state: ConnectorState::Running };
        assert_eq!(status_of(running), (409, 9));
        let nowhere = CommandError::NoSuchPosition { position: Position::new(9), end: Position::new(3) };
        assert_eq!(status_of(nowhere), (400, 3));
        let closed = CommandError::Append(AppendError::Unavailable { reason: "disk full".to_owned() });
        assert_eq!(status_of(closed), (503, 14));
    }

    #[test]
    fn a_violation_names_field_and_expectation_in_message_and_detail() {
        let violation = Violation { field: "ConnectorId", problem: "must not be empty".to_owned() };
        let refusal = Refusal::from(CommandError::Invalid(vec![violation]));
        assert_eq!(refusal.message, r#"{"ConnectorId":["ConnectorId must not be empty"]}"#);
        assert_eq!(refusal.details[0]["fieldViolations"][0]["field"], "ConnectorId");
    }

    #[test]
    fn a_wrong_revision_is_400_with_the_current_one_in_headers() {
        let error = AppendError::WrongExpectedRevision {
            stream: StreamName::new("s").unwrap(),
            expected: ExpectedRevision::NoStream,
            current: Some(Revision::new(4)),
        };
        let response = Refusal::from(error).into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["ES-CurrentVersion"], "4");
        assert_eq!(response.headers()["Kurrent-CurrentVersion"], "4");
    }

    #[test]
    fn trouble_with_a_connectors_own_stream_is_not_blamed_on_the_caller() {
        let error = ReadError::StreamDeleted { stream: StreamName::new("$connectors/x").unwrap() };
        assert_eq!(status_of(QueryError::Read(error)), (500, 13));
    }
}
