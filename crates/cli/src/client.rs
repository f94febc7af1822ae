//! Owns the connection to a server: requests, their time limits, answers and refusals.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use url::Url;

use crate::command::ClientOptions;
use crate::failure::{Failure, Refusal};
use crate::password;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most bytes of one line of an answer that does not end.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A subscription sends an empty line now and then; without any line for so long, the connection is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A client of one server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    base: Url,
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    limit: Duration,
}

/// What is asked of a server: where, and in words.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
    action: String,
}

impl Ask {
    /// A request without a body; `action` completes "the server refused to …".
    pub(crate) fn new(method: Method, segments: &[&str], action: impl Into<String>) -> Self {
        let segments = segments.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, segments, query: Vec::new(), body: None, action: action.into() }
    }

    /// A read.
    pub(crate) fn get(segments: &[&str], action: impl Into<String>) -> Self {
        Self::new(Method::GET, segments, action)
    }

    /// A command.
    pub(crate) fn post(segments: &[&str], action: impl Into<String>) -> Self {
        Self::new(Method::POST, segments, action)
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// Adds a JSON body.
    pub(crate) fn json(self, body: &impl serde::Serialize) -> Self {
        let text = serde_json::to_vec(body).expect("maps with text as keys are always written to memory");
        self.text("application/json", text)
    }

    /// Adds a body of any media type.
    pub(crate) fn text(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = Some((media_type, body.into()));
        self
    }
}

impl Client {
    /// A client for the server that the options name; connects with the first request.
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Failure> {
        let mut base = options.server.clone();
        let authorization = authorization(options)?;
        let _ = base.set_username("");
        let _ = base.set_password(None);
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_connect_timeout(Some(CONNECT_LIMIT));
        plain.set_nodelay(true);
        let tls = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls_config(options)?);
        let connector = tls.https_or_http().enable_http1().wrap_connector(plain);
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base, http, authorization, limit: options.timeout })
    }

    /// The server's address, without credentials.
    pub(crate) fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks and reads the whole answer as JSON; an empty answer is null.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Value, Failure> {
        let action = ask.action.clone();
        let body = self.ask_bytes(ask).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Answer { action, problem: error.to_string() })
    }

    /// Asks and reads the whole answer as it is.
    pub(crate) async fn ask_bytes(&self, ask: Ask) -> Result<Bytes, Failure> {
        let action = ask.action.clone();
        let answer = async {
            let response = self.response(ask).await?;
            self.collect(response, &action).await
        };
        match tokio::time::timeout(self.limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(&action, self.limit)),
        }
    }

    /// Asks for an answer that does not end, to be read line by line.
    pub(crate) async fn lines(&self, ask: Ask) -> Result<Lines, Failure> {
        let action = ask.action.clone();
        let response = tokio::time::timeout(self.limit, self.response(ask)).await;
        let response = response.map_err(|_| self.timed_out(&action, self.limit))??;
        Ok(Lines { body: response.into_body(), unread: BytesMut::new(), client: self.clone(), action })
    }

    async fn response(&self, ask: Ask) -> Result<Response<Incoming>, Failure> {
        let action = ask.action.clone();
        let request = self.request(ask)?;
        let response = self.http.request(request).await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.collect(response, &action).await?;
        Err(Failure::Refused { action, refusal: Refusal::parse(status, &body) })
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, Failure> {
        let mut url = self.base.clone();
        if let Some(name) = ask.segments.iter().find(|name| matches!(name.as_str(), "" | "." | "..")) {
            return Err(Failure::usage("NAME", format!("`{name}`"), "a name that can stand in a URL"));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&ask.segments);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut request = Request::builder().method(ask.method).uri(url.as_str()).header(ACCEPT, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let body = match ask.body {
            Some((media_type, body)) => {
                request = request.header(CONTENT_TYPE, media_type);
                Full::new(body)
            }
            None => Full::default(),
        };
        request.body(body).map_err(|error| Failure::usage("--server", error.to_string(), "an address of a server"))
    }

    async fn collect(&self, response: Response<Incoming>, action: &str) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| Failure::Answer {
            action: action.to_owned(),
            problem: format!("it broke off: {error}"),
        };
        Ok(body.map_err(broken)?.to_bytes())
    }

    fn timed_out(&self, action: &str, limit: Duration) -> Failure {
        Failure::TimedOut { server: self.server().to_owned(), action: action.to_owned(), limit }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        // The outer errors only say that there was one; the innermost says which.
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Failure::Unreachable { server: self.server().to_owned(), reason: innermost.to_string() }
    }
}

/// An answer that does not end, line by line.
pub(crate) struct Lines {
    body: Incoming,
    unread: BytesMut,
    client: Client,
    action: String,
}

impl Lines {
    /// The next line that is not empty, or nothing when the server ended the answer. A line that breaks off is never
    /// handed out.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end + 1);
                let line = line.trim_ascii();
                if !line.is_empty() {
                    let text = std::str::from_utf8(line).map_err(|error| self.broken(&error.to_string()))?;
                    return Ok(Some(text.to_owned()));
                }
            }
            if self.unread.len() > LINE_BYTES_MAX {
                return Err(self.broken(&format!("a line is longer than {LINE_BYTES_MAX} bytes")));
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            match frame.map_err(|_| self.client.timed_out(&self.action, SILENCE_MAX))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.client.unreachable(&error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.unread.extend_from_slice(data);
                    }
                }
            }
        }
    }

    /// Tells that a line is not understood.
    pub(crate) fn broken(&self, problem: &str) -> Failure {
        Failure::Answer { action: self.action.clone(), problem: problem.to_owned() }
    }
}

/// What is said about who asks: by the server's address, else by the options, else nothing.
fn authorization(options: &ClientOptions) -> Result<Option<HeaderValue>, Failure> {
    let url = &options.server;
    let pair = if url.username().is_empty() {
        let Some(login) = &options.user else { return Ok(None) };
        format!("{login}:{}", password::to_sign_in(options.password_file.as_deref())?)
    } else {
        format!("{}:{}", percent_decoded(url.username()), percent_decoded(url.password().unwrap_or_default()))
    };
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
    let mut value = value.expect("base64 is text that a header may hold");
    value.set_sensitive(true);
    Ok(Some(value))
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn tls_config(options: &ClientOptions) -> Result<rustls::ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    // The system's certificates are read only for https; a machine without any can still speak http.
    if options.server.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(path) = &options.ca_file {
        let wrong = |problem: String| Failure::usage("--ca-file", format!("{}: {problem}", path.display()), "PEM");
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::usage("--server", error.to_string(), "TLS 1.2 or 1.3"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
