//! Owns the receiver's HTTP: `POST /in/SLOT` books, the other paths answer for the bench.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::account::Account;
use crate::clock::now_us;

/// How many paths are told apart.
pub(crate) const SLOTS_MAX: usize = 32;

/// What the receiver does to those who call it.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    delay: Duration,
    /// Each so-manieth request is answered with 503 and not booked; 0 for none.
    fail_every: u64,
}

/// Everything it knows; one thread owns it.
struct Receiver {
    faults: Faults,
    requests: u64,
    slots: Vec<Account>,
}

/// Serves until it is killed; its first line of output says where.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let faults = read_faults(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(faults))
}

fn read_faults(arguments: &[&str]) -> Result<Faults> {
    let mut faults = Faults::default();
    for pair in arguments.chunks(2) {
        match pair {
            ["--delay-ms", number] => faults.delay = Duration::from_millis(number.parse().context("--delay-ms")?),
            ["--fail-every", number] => faults.fail_every = number.parse().context("--fail-every")?,
            _ => bail!("not known: {}", pair.join(" ")),
        }
    }
    Ok(faults)
}

async fn serve(faults: Faults) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a port of loopback")?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    let receiver = Rc::new(RefCell::new(Receiver { faults, requests: 0, slots: vec![Account::default(); SLOTS_MAX] }));
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(connection(stream, Rc::clone(&receiver)));
    }
}

async fn connection(stream: TcpStream, receiver: Rc<RefCell<Receiver>>) {
    let service = service_fn(move |request| answer(Rc::clone(&receiver), request));
    // A caller that goes away in the middle is its own affair.
    let _ended = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    receiver: Rc<RefCell<Receiver>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(status(StatusCode::BAD_REQUEST)) };
    let mut segments = parts.uri.path().trim_start_matches('/').split('/');
    let (verb, slot) = (segments.next().unwrap_or_default(), segments.next().and_then(|text| text.parse().ok()));
    let Some(slot) = slot.filter(|slot: &usize| *slot < SLOTS_MAX) else { return Ok(status(StatusCode::NOT_FOUND)) };
    if verb == "in" && parts.method == Method::POST {
        let delay = receiver.borrow().faults.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        return Ok(status(receiver.borrow_mut().book(slot, &parts.headers, &body.to_bytes())));
    }
    Ok(receiver.borrow_mut().control(verb, slot))
}

impl Receiver {
    fn book(&mut self, slot: usize, headers: &hyper::HeaderMap, body: &[u8]) -> StatusCode {
        self.requests += 1;
        if self.faults.fail_every > 0 && self.requests.is_multiple_of(self.faults.fail_every) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let (Some(account), Ok(text)) = (self.slots.get_mut(slot), std::str::from_utf8(body)) else {
            return StatusCode::BAD_REQUEST;
        };
        if account.headers.is_empty() {
            let shown =
                headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
            account.headers = shown.collect();
        }
        account.book(text, now_us());
        StatusCode::NO_CONTENT
    }

    fn control(&mut self, verb: &str, slot: usize) -> Response<Full<Bytes>> {
        let Some(account) = self.slots.get_mut(slot) else { return status(StatusCode::NOT_FOUND) };
        match verb {
            "count" => text(account.distinct.to_string()),
            "report" => text(account.report().to_string()),
            "forget-latency" => {
                account.forget_latency();
                text(String::new())
            }
            "forget" => {
                *account = Account::default();
                text(String::new())
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}

fn text(content: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(content)))
}
