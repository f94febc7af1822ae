//! Tests the client against a receiver that misbehaves.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use url::Url;

use super::*;
use crate::testing::receiver::{Fault, Receiver, ReceiverOptions, Reply};
use crate::{Failure, FailureClass};

const LIMITS: HttpLimits = HttpLimits {
    connect: Duration::from_secs(5),
    request: Duration::from_secs(5),
    connection_lifetime: Duration::from_secs(300),
    answer_bytes_max: 1024,
};

fn link_to(url: &str, limits: HttpLimits) -> HttpLink {
    let origin = Origin::of(&Url::parse(url).unwrap()).unwrap();
    HttpClient::new(origin, &TlsOptions::default(), limits).unwrap().link()
}

fn request() -> Request<Full<Bytes>> {
    Request::post("/in").header("host", "test").body(Full::new(Bytes::from_static(b"{}"))).unwrap()
}

async fn failure_of(reply: Reply) -> Failure {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([reply]);
    let limits = HttpLimits { request: Duration::from_millis(300), ..LIMITS };
    let mut link = link_to(&receiver.url(), limits);
    let failure = link.send(request()).await.unwrap_err();
    assert_eq!(link.send(request()).await.unwrap().status, 200, "the link is usable again");
    failure
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer_with(|number, _| Reply::status(200).with_body(vec![b'x'; usize::try_from(number).unwrap() * 100]));
    let mut link = link_to(&receiver.url(), LIMITS);
    for number in 0..50 {
        assert_eq!(link.send(request()).await.unwrap().body.len(), (number * 100).min(1024));
    }
    assert_eq!((receiver.count(), receiver.connections()), (50, 1));
}

#[tokio::test]
async fn a_huge_answer_is_cut_and_the_connection_replaced() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::status(500).with_body(vec![b'x'; 2_000_000])]);
    let mut link = link_to(&receiver.url(), LIMITS);
    assert_eq!(link.send(request()).await.unwrap().body.len(), 1024);
    assert_eq!(link.send(request()).await.unwrap().status, 200);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::fault(Fault::CloseAfter)]);
    let mut link = link_to(&receiver.url(), LIMITS);
    link.send(request()).await.unwrap();
    link.send(request()).await.unwrap();
    assert_eq!((receiver.count(), receiver.connections()), (2, 2));
}

#[tokio::test]
async fn an_old_connection_is_replaced() {
    let receiver = Receiver::start().await.unwrap();
    let mut link = link_to(&receiver.url(), HttpLimits { connection_lifetime: Duration::ZERO, ..LIMITS });
    link.send(request()).await.unwrap();
    link.send(request()).await.unwrap();
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn faults_are_named() {
    let cases = [
        (Fault::ResetBeforeBody, FailureClass::Connect, "connection"),
        (Fault::ResetAfterBody, FailureClass::Connect, "connection"),
        (Fault::Silent, FailureClass::Timeout, "within 300 ms"),
        (Fault::Garbage, FailureClass::Connect, "not HTTP"),
    ];
    for (fault, class, words) in cases {
        let failure = failure_of(Reply::fault(fault)).await;
        assert_eq!(failure.class, class, "{fault:?}: {failure}");
        assert!(failure.reason.contains(words), "{fault:?}: {failure}");
    }
    let failure = failure_of(Reply::fault(Fault::Truncated).with_body("0123456789")).await;
    assert!(failure.reason.contains("closed"), "{failure}");
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_are_named() {
    let address = Receiver::start().await.unwrap().stop().await;
    let failure = link_to(&format!("http://{address}"), LIMITS).send(request()).await.unwrap_err();
    assert!(failure.reason.contains("connection refused"), "{failure}");
    let failure = link_to("http://no-such-host.invalid", LIMITS).open().await.unwrap_err();
    assert!(failure.reason.contains("cannot resolve host no-such-host.invalid"), "{failure}");
}

#[tokio::test]
async fn a_dropped_request_takes_its_connection_with_it() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::status(200), Reply::fault(Fault::Silent)]);
    let mut link = link_to(&receiver.url(), LIMITS);
    link.send(request()).await.unwrap();
    tokio::select! {
        answer = link.send(request()) => panic!("answered {answer:?}"),
        () = receiver.wait_for(2) => {}
    }
    assert_eq!(link.send(request()).await.unwrap().status, 200);
    assert_eq!((receiver.count(), receiver.connections()), (3, 2));
}

#[tokio::test]
async fn a_target_that_comes_back_is_found_again() {
    let receiver = Receiver::start().await.unwrap();
    let mut link = link_to(&receiver.url(), LIMITS);
    link.send(request()).await.unwrap();
    let address = receiver.stop().await;
    let options = ReceiverOptions { address: Some(address), ..ReceiverOptions::default() };
    let receiver = Receiver::start_with(options).await.unwrap();
    link.send(request()).await.unwrap();
    assert_eq!(receiver.count(), 1);
}

#[test]
fn retry_after_is_read_in_both_forms_and_bounded() {
    let asked = |value: &str, date: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", value.parse().unwrap());
        if let Some(date) = date {
            headers.insert("date", date.parse().unwrap());
        }
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() };
        answer.retry_after(SystemTime::UNIX_EPOCH).map(|pause| pause.as_secs())
    };
    assert_eq!(asked("7", None), Some(7));
    assert_eq!(asked("99999999999999999999", None), Some(3600));
    assert_eq!(asked("86400", None), Some(3600));
    assert_eq!(asked("soon", None), None);
    assert_eq!(asked("-1", None), None);
    assert_eq!(asked("", None), None);
    let (then, now) = ("Fri, 21 Nov 2025 08:00:30 GMT", "Fri, 21 Nov 2025 08:00:00 GMT");
    assert_eq!(asked(then, Some(now)), Some(30));
    assert_eq!(asked(now, Some(then)), Some(0));
    assert_eq!(asked(then, None), Some(3600));
}

#[test]
fn an_origin_is_http_or_https() {
    let of = |text: &str| Origin::of(&Url::parse(text).unwrap());
    let authority = |text: &str| of(text).unwrap().authority().to_str().unwrap().to_owned();
    assert_eq!(authority("http://Example.com:80/x"), "example.com");
    assert_eq!(authority("https://example.com:8443/x"), "example.com:8443");
    assert_eq!(authority("http://[::1]:9/x"), "[::1]:9");
    assert_eq!(of("ftp://x/").unwrap_err(), InvalidOrigin::Scheme("ftp".into()));
}
