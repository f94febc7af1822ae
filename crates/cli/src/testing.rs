//! Owns the fake server that commands are tested against.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::command::Command;
use crate::output::Output;
use crate::run::{Surroundings, conclude};

/// A request as the fake server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    /// Method and target, such as `GET /connectors`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// A header's value; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }
}

/// How a command ended.
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

type Answer = dyn FnMut(&Seen) -> (u16, String) + Send;

/// A server that answers what the test says, and remembers what it was asked.
pub(crate) struct Fake {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Answers every request with what the function says: status and body.
    pub(crate) async fn answering<B: Into<String>>(mut answer: impl FnMut(&Seen) -> (u16, B) + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Mutex<Box<Answer>>> = Arc::new(Mutex::new(Box::new(move |request| {
            let (status, body) = answer(request);
            (status, body.into())
        })));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(accept(listener, answer, Arc::clone(&seen)));
        Self { url, seen }
    }

    /// Answers one request after the other from a list; more requests than answers get a 500.
    pub(crate) async fn scripted(answers: &[(u16, &str)]) -> Self {
        let mut left: VecDeque<(u16, String)> =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        Self::answering(move |_| left.pop_front().unwrap_or((500, "not scripted".to_owned()))).await
    }

    /// The fake's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What was asked, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Runs a command against this server.
    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        let mut whole = vec!["forebay"];
        whole.extend(args);
        whole.extend(["--server", &self.url]);
        run(&whole).await
    }

    /// The same with somebody who answers questions.
    pub(crate) async fn run_answering(&self, answers: &'static str, args: &[&str]) -> Ran {
        let mut whole = vec!["forebay"];
        whole.extend(args);
        whole.extend(["--server", &self.url]);
        run_with(&whole, Some(answers)).await
    }
}

#[derive(Parser)]
struct Whole {
    #[command(subcommand)]
    command: Command,
}

/// Runs a whole command line.
pub(crate) async fn run(args: &[&str]) -> Ran {
    run_with(args, None).await
}

async fn run_with(args: &[&str], answers: Option<&'static str>) -> Ran {
    let (out, err) = (Shared::default(), Shared::default());
    let mut output = Output::to(out.clone(), err.clone());
    if let Some(answers) = answers {
        output = output.answering(answers);
    }
    let command = match Whole::try_parse_from(args) {
        Ok(whole) => whole.command,
        Err(error) => return Ran { code: 2, out: String::new(), err: error.to_string() },
    };
    let surroundings = Surroundings {
        whole: crate::command(),
        start_server: Box::new(|_, _| Box::pin(async { Err(anyhow::anyhow!("no server in this test")) })),
    };
    let code = conclude(command, surroundings, &mut output).await;
    Ran { code, out: out.text(), err: err.text() }
}

async fn accept(listener: TcpListener, answer: Arc<Mutex<Box<Answer>>>, seen: Arc<Mutex<Vec<Seen>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let request = Seen {
                    method: parts.method.to_string(),
                    target: parts.uri.to_string(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                seen.lock().unwrap().push(request.clone());
                let (status, body) = answer.lock().unwrap()(&request);
                let response = Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), service).await.is_ok() });
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
