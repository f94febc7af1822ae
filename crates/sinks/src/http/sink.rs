//! Owns the HTTP sink itself: from settings to a target, from a batch to marks in a receipt.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_connector::http::{HttpClient, HttpLimits, HttpLink, TlsOptions};
use forebay_connector::settings::{SettingError, SettingsErrors, SettingsMap, decode, describe};
use forebay_connector::{
    Batch, DefaultAction, DefaultRow, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Next, Receipt, Sink,
    SinkContext, Target,
};
use http_body_util::Full;

use super::answer::{RetryCodes, judge};
use super::request::{Shape, batch_request, event_request};
use super::settings::{Authentication, AuthenticationMethod, CloudEvents, HttpSettings, Mode, Verb};
use super::signature::Signer;
use super::url;

/// How many records a batch holds unless set otherwise; in mode `event` it is how many go out between two checkpoints.
const BATCH_RECORDS_DEFAULT: usize = 64;
/// How many bytes of an answer are looked at for its excerpt.
const ANSWER_BYTES_MAX: usize = 4096;
/// Secrets shorter than this are not looked for in answers: they would be found everywhere.
const SECRET_BYTES_MIN: usize = 4;
/// Values of headers shorter than this are taken for words, not for credentials.
const HEADER_SECRET_BYTES_MIN: usize = 8;
/// Headers that belong to the connection and cannot be set.
const CONNECTION_HEADERS: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

const POLICY: &[DefaultRow] = &[
    DefaultRow::new(FailureClass::Connect, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    DefaultRow::status(*b"408", DefaultAction::Retry),
    DefaultRow::status(*b"421", DefaultAction::Retry),
    DefaultRow::status(*b"425", DefaultAction::Retry),
    DefaultRow::status(*b"429", DefaultAction::Retry),
    DefaultRow::status(*b"5xx", DefaultAction::Retry),
    DefaultRow::status(*b"4xx", DefaultAction::Reject),
    DefaultRow::new(FailureClass::TooLarge, DefaultAction::Reject),
    DefaultRow::new(FailureClass::Malformed, DefaultAction::Reject),
    DefaultRow::new(FailureClass::Unauthorised, DefaultAction::Stop),
    DefaultRow::status(*b"3xx", DefaultAction::Stop),
    DefaultRow::new(FailureClass::Broken, DefaultAction::Retry),
];

pub(crate) const KIND: Kind = Kind {
    name: "http-sink",
    aliases: &["HttpSink", "EventStore.Connectors.Http.HttpSink", "Kurrent.Connectors.Http.HttpSink"],
    title: "HTTP",
    summary: "sends each event, or each batch, to an HTTP endpoint",
    page: include_str!("page.md"),
    guarantee: Guarantee::AtLeastOnce,
    lanes: LaneSupport::Many,
    batch_records_default: BATCH_RECORDS_DEFAULT,
    policy: POLICY,
    settings: describe::<HttpSettings>,
    connect,
};

fn connect(map: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let plan = Plan::new(decode(map)?, context)?;
    Ok(Box::new(HttpTarget { plan: Arc::new(plan) }))
}

struct HttpTarget {
    plan: Arc<Plan>,
}

impl Target for HttpTarget {
    fn sink(&self, _lane: Lane) -> Box<dyn Sink> {
        Box::new(HttpSink { plan: Arc::clone(&self.plan), link: self.plan.client.link() })
    }

    /// A batch that is refused as a whole goes out one by one, so each mode may need a request per record.
    fn attempt_limit(&self, records: usize) -> Duration {
        let requests = u32::try_from(records).unwrap_or(u32::MAX).saturating_add(1);
        self.plan.request_limit.saturating_mul(requests)
    }

    fn endpoint(&self) -> Option<String> {
        Some(self.plan.client.origin().to_string())
    }

    fn sends_one_by_one(&self) -> bool {
        self.plan.shape.mode == Mode::Event
    }
}

/// What the lanes of one connector share.
pub(super) struct Plan {
    client: HttpClient,
    pub(super) shape: Shape,
    codes: RetryCodes,
    secrets: Vec<String>,
    request_limit: Duration,
}

impl Plan {
    pub(super) fn new(settings: HttpSettings, context: &SinkContext) -> Result<Self, SettingsErrors> {
        let mut errors = Vec::new();
        let mut note = |key: &str, found: String, expected: String| {
            errors.push(SettingError { key: key.to_owned(), found, expected });
        };
        check_combinations(&settings, &mut note);
        let codes = RetryCodes::parse(&settings.resilience.retry_on_http_codes)
            .map_err(|wrong| note("resilience:retryOnHttpCodes", format!("has {wrong:?}"), "404 or 5xx".into()))
            .ok();
        let target = url::Target::parse(&settings.url)
            .map_err(|wrong| note("url", "is not a URL for requests".into(), wrong.to_string()))
            .ok();
        let keys = [&settings.signature.secret, &settings.signature.previous_secret].into_iter().flatten();
        let signer = Signer::new(keys);
        if signer.is_none() {
            note("signature:secret", "is not valid".into(), "whsec_ and base64 of at least 24 bytes".into());
        }
        let headers = base_headers(&settings, &mut note);
        let client = target.as_ref().and_then(|target| {
            HttpClient::new(target.origin.clone(), &tls_options(&settings), limits(&settings))
                .map_err(|wrong| note("tls:*", "cannot be used".into(), wrong.to_string()))
                .ok()
        });
        SettingsErrors::check(errors)?;
        let (Some(codes), Some(target), Some(client)) = (codes, target, client) else {
            return Err(SettingsErrors::single("url", "cannot be used", "a URL"));
        };
        let mut headers = headers;
        headers.insert(HOST, target.origin.authority().clone());
        let shape = Shape {
            context: context.clone(),
            target,
            method: method(settings.method),
            headers,
            mode: settings.mode,
            envelope: settings.envelope,
            cloud_events: settings.cloud_events,
            signer: signer.filter(|_| settings.signature.secret.is_some()),
            idempotency_key: settings.idempotency_key,
        };
        let request_limit = settings.request_timeout_ms.0;
        Ok(Self { client, shape, codes, secrets: secrets(&settings), request_limit })
    }
}

type Note<'a> = &'a mut dyn FnMut(&str, String, String);

fn check_combinations(settings: &HttpSettings, note: Note<'_>) {
    if settings.mode != Mode::Event {
        if settings.cloud_events != CloudEvents::None {
            note("cloudEvents", "is set in a mode with batches".into(), "none, or mode event".into());
        }
        if url::Target::parse(&settings.url).is_ok_and(|target| target.has_placeholders()) {
            note("url", "has placeholders in a mode with batches".into(), "no placeholders, or mode event".into());
        }
    }
    if settings.signature.secret.is_none() && settings.signature.previous_secret.is_some() {
        note("signature:secret", "is missing".into(), "the key that signs now".into());
    }
    for (key, limit) in
        [("requestTimeoutMs", settings.request_timeout_ms), ("connectTimeoutMs", settings.connect_timeout_ms)]
    {
        if limit.0.is_zero() {
            note(key, "is 0".into(), "at least 1".into());
        }
    }
    let Authentication { method, basic, bearer } = &settings.authentication;
    if *method == AuthenticationMethod::Basic && basic.username.is_empty() {
        note("authentication:basic:username", "is missing".into(), "text".into());
    }
    if *method == AuthenticationMethod::Basic && basic.password.is_empty() {
        note("authentication:basic:password", "is missing".into(), "text".into());
    }
    if *method == AuthenticationMethod::Bearer && bearer.token.is_empty() {
        note("authentication:bearer:token", "is missing".into(), "text".into());
    }
}

fn base_headers(settings: &HttpSettings, note: Note<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("*"));
    for (name, value) in &settings.default_headers {
        let key = format!("defaultHeaders:{name}");
        if CONNECTION_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            note(&key, "belongs to the connection".into(), "another header".into());
            continue;
        }
        match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            // The value may be a credential, so it is not shown.
            _ => note(&key, "is not a valid header".into(), "a name and a value on one line".into()),
        }
    }
    if let Some((key, credentials)) = credentials(&settings.authentication) {
        match HeaderValue::try_from(credentials) {
            Ok(mut value) => {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            Err(_) => note(key, "is not valid".into(), "text on one line".into()),
        }
    }
    headers
}

fn credentials(authentication: &Authentication) -> Option<(&'static str, String)> {
    match authentication.method {
        AuthenticationMethod::None => None,
        AuthenticationMethod::Basic => {
            Some(("authentication:basic:password", format!("Basic {}", basic_token(authentication))))
        }
        AuthenticationMethod::Bearer => {
            Some(("authentication:bearer:token", format!("Bearer {}", authentication.bearer.token.expose())))
        }
    }
}

fn basic_token(authentication: &Authentication) -> String {
    let basic = &authentication.basic;
    STANDARD.encode(format!("{}:{}", basic.username, basic.password.expose()))
}

fn secrets(settings: &HttpSettings) -> Vec<String> {
    let Authentication { basic, bearer, .. } = &settings.authentication;
    let plain = [basic.password.expose().to_owned(), bearer.token.expose().to_owned()];
    let encoded = if basic.password.is_empty() { String::new() } else { basic_token(&settings.authentication) };
    let keys = [&settings.signature.secret, &settings.signature.previous_secret, &settings.tls.client_key];
    let keys = keys.into_iter().flatten().map(|key| key.expose().to_owned());
    plain
        .into_iter()
        .chain([encoded])
        .chain(keys)
        .chain(header_secrets(settings))
        .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
        .collect()
}

/// The values of headers that are the user's own choice: what follows a scheme such as `Bearer`, or all of it. Any may be
/// a credential; words that are in every answer are none.
fn header_secrets(settings: &HttpSettings) -> impl Iterator<Item = String> + '_ {
    settings
        .default_headers
        .values()
        .filter_map(|value| value.split_whitespace().last())
        .filter(|word| word.len() >= HEADER_SECRET_BYTES_MIN && !is_media_type(word))
        .map(ToOwned::to_owned)
}

fn is_media_type(word: &str) -> bool {
    ["application/", "text/", "*/"].iter().any(|family| word.starts_with(family))
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
        Verb::Get => Method::GET,
    }
}

fn limits(settings: &HttpSettings) -> HttpLimits {
    HttpLimits {
        connect: settings.connect_timeout_ms.0,
        request: settings.request_timeout_ms.0,
        connection_lifetime: settings.pooled_connection_lifetime.0,
        answer_bytes_max: ANSWER_BYTES_MAX,
    }
}

fn tls_options(settings: &HttpSettings) -> TlsOptions {
    TlsOptions {
        ca_certificate: settings.tls.ca_certificate.clone(),
        client_certificate: settings.tls.client_certificate.clone(),
        client_key: settings.tls.client_key.clone(),
    }
}

/// One lane: one connection.
struct HttpSink {
    plan: Arc<Plan>,
    link: HttpLink,
}

#[async_trait]
impl Sink for HttpSink {
    /// Opens the connection and shakes hands; a request would be a delivery.
    async fn probe(&mut self) -> Result<(), Failure> {
        self.link.open().await
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        if self.plan.shape.mode == Mode::Event {
            self.each(batch, receipt).await
        } else {
            self.whole(batch, receipt).await
        }
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.link.close();
        Ok(())
    }
}

impl HttpSink {
    /// One request per record, up to the first that is not delivered.
    async fn each(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        for (index, record) in batch.records().iter().enumerate() {
            let result = match event_request(&self.plan.shape, batch, record) {
                Ok(request) => self.send(batch, request).await,
                Err(failure) => Err(failure),
            };
            settle(receipt, index, result)?;
        }
        Ok(())
    }

    /// One request for all; when it is refused, one for each, so that only those records are refused that must be.
    async fn whole(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let result = match batch_request(&self.plan.shape, batch, batch.records()) {
            Ok(request) => self.send(batch, request).await,
            Err((_, failure)) => Err(failure),
        };
        match result {
            Ok(()) => {
                receipt.delivered_all();
                Ok(())
            }
            Err(failure) if failure.next == Next::Reject && batch.len() > 1 => self.one_by_one(batch, receipt).await,
            Err(failure) if failure.next == Next::Reject => settle(receipt, 0, Err(failure)),
            Err(failure) => Err(failure),
        }
    }

    async fn one_by_one(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        for (index, record) in batch.records().iter().enumerate() {
            let result = match batch_request(&self.plan.shape, batch, std::slice::from_ref(record)) {
                Ok(request) => self.send(batch, request).await,
                Err((_, failure)) => Err(failure),
            };
            settle(receipt, index, result)?;
        }
        Ok(())
    }

    async fn send(&mut self, batch: &Batch, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        let answer = self.link.send(request).await?;
        judge(&answer, &self.plan.codes, batch.at(), &self.plan.secrets)
    }
}

/// Marks a record; when it is not delivered, answers what holds for those behind it.
fn settle(receipt: &mut Receipt, index: usize, result: Result<(), Failure>) -> Result<(), Failure> {
    let Err(failure) = result else {
        receipt.delivered(index);
        return Ok(());
    };
    receipt.failed(index, failure.clone());
    if failure.next == Next::Reject {
        // Nothing is wrong with the records behind it: they were not sent yet, and may go at once.
        let waiting = Failure::retry(FailureClass::Broken, "not sent: a record before it was refused");
        return Err(waiting.after(Duration::ZERO));
    }
    Err(failure)
}
