//! Owns a small HTTP client and the waiting for conditions.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// One request may take so long.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// Why there was no answer.
pub(crate) type NoAnswer = String;

impl Http {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base: format!("http://{address}") }
    }

    /// Asks once; status and body, or why there is no answer.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Bytes), NoAnswer> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json").header("accept", "application/json");
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(REQUEST_LIMIT, answer).await.map_err(|_| "no answer in time".to_owned())?
    }

    /// Asks and expects success; the body as JSON, null when it is empty.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.try_send(method.clone(), path, body).await.unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(Method::POST, path, Some(body)).await
    }

    /// The sum over all series of a metric; none when there is no such metric.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = self.try_send(Method::GET, "/metrics", None).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let of_metric = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values: Vec<f64> =
            text.lines().filter(of_metric).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

/// Looks again and again until the condition holds; fails the test after the limit, saying what it waited for.
pub(crate) async fn eventually<F, Fut>(what: &str, limit: Duration, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain: {what}");
        // tidy: sleep allowed: this is the wait for a condition, between two looks.
        tokio::time::sleep(LOOKED_EVERY).await;
    }
}
